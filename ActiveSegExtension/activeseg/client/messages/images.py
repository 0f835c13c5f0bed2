"""Images in messages: a file, a DICOM series, or an array file with its geometry. Arrays never travel in messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from activeseg.io.npy import read_array, write_array


@dataclass(frozen=True)
class ImageFile:
    """A file or folder; ``series`` is the UID of one of several DICOM series."""

    path: Path
    series: str | None = None


@dataclass(frozen=True)
class ArrayFile:
    """An ``.npy`` file with axes (k, j, i), and where its grid lies."""

    array: Path
    geometry: Geometry

    @classmethod
    def write(cls, path: Path, volume: Volume) -> ArrayFile:
        """Write a volume's array to ``path`` (``.npy``). Raises OSError."""
        write_array(path, volume.array)
        return cls(path, volume.geometry)

    def read(self, name: str = "image") -> Volume:
        """The volume, in memory. Raises InputError."""
        return Volume(read_array(self.array), self.geometry, name)


Image = Path | ImageFile | ArrayFile

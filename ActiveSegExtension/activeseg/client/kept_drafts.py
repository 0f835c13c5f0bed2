"""Drafts as they are read, with and without an engine: which there are, and what is in one of them.

Only the engine writes drafts (``activeseg.corrections.drafts``, which says what lies where); its record is replaced
whole, so that a reader finds the draft before or the draft after.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.records import NOT_WRITTEN, Matches, damaged, from_json
from activeseg.core.uncertainty_scale import coarsened
from activeseg.core.volume import Volume
from activeseg.io.images import read_label_map, read_volume
from activeseg.io.npy import read_array
from activeseg.io.npz import read_npz
from activeseg.system.files import is_temporary_file, sync_to_disk
from activeseg.system.regular_files import is_link, read_bytes, read_json

RECORD, CASE_RECORD, MARK = "draft.json", "case.json", ".activeseg-draft"
FORMAT = 1
IMAGE = re.compile(r"image\d{1,6}-[0-9a-f]{32}\.npy")
FOLDER = re.compile(r"(base|edits)-[0-9a-f]{32}")
_ACTION = "Discard the draft."
_OLD_KEYS = {"spacing_xyz": "spacing_xyz_mm", "origin_lps": "origin_lps_mm"}
"""How version 0.1.0 spelt parts of a geometry in a draft's record."""
_PATCHES_LIMIT = 1 << 30
_MOST_LAYERS = 64
"""Bytes of layers for each voxel of the image; more is no draft."""

FolderName = Annotated[str, Matches(re.compile(rf"({FOLDER.pattern})?"))]
Kept = TypeVar("Kept", bound="KeptDraft")


@dataclass(frozen=True)
class StoredImage:
    """One channel: a file of the draft, its grid, and ``Volume.sha256``."""

    file: Annotated[str, Matches(IMAGE)]
    geometry: Geometry
    sha256: str


@dataclass(frozen=True)
class KeptDraft:
    """A draft as its record says that it is; the files are read when they are asked for.

    Attributes
    ----------
    folder
        Its name is the case's id.
    created, saved
        ISO 8601, UTC.
    state
        The client's own words, as it gave them to ``draft.save``: names, notes, seconds, ...
    has_edits
        Whether anything would be lost with it; the client says so.
    images
        By channel.
    base, edits
        Names of sub-folders; ``edits`` is empty before the first ``draft.save``.
    """

    folder: Path = field(metadata=NOT_WRITTEN)
    created: str
    saved: str
    state: Mapping[str, Any] = field(default_factory=dict)
    has_edits: bool = False
    images: Mapping[str, StoredImage] = field(default_factory=dict)
    base: FolderName = ""
    edits: FolderName = ""

    def __post_init__(self) -> None:
        if self.saved_at.tzinfo is None:
            raise ValueError("'saved' has no time zone")

    @classmethod
    def open(cls: type[Kept], folder: Path) -> Kept:
        """Raises InputError when there is no draft, or it is damaged or written by a newer version."""
        draft = cls.find(folder)
        if draft is None:
            raise InputError(f"There is no draft in '{folder}'.", "It may have been discarded or exported.")
        return draft

    @classmethod
    def find(cls: type[Kept], folder: Path) -> Kept | None:
        """None when there is none. Raises InputError when it is damaged or written by a newer version."""
        if not os.path.lexists(folder / RECORD):
            return None
        record = read_json(folder / RECORD, InputError, _ACTION)
        if record.get("format") != FORMAT:
            raise InputError(f"The draft in '{folder}' was not written by this version.", "Update ActiveSeg.")
        with damaged(InputError, f"The draft in '{folder}'", _ACTION):
            draft = from_json(cls, _with_new_keys(record), complete=True, given={"folder": folder})
        if not draft.images:
            raise InputError(f"The draft in '{folder}' is damaged: 'images' is {{}}.", _ACTION)
        linked = [name for name in draft.files() if name and is_link(folder / name)]
        if linked:
            raise InputError(f"The draft in '{folder}' is damaged: '{linked[0]}' is a link.", _ACTION)
        return draft

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def saved_at(self) -> datetime.datetime:
        return datetime.datetime.fromisoformat(self.saved)

    def files(self) -> set[str]:
        """What its record names, and the record."""
        return {RECORD, self.base, self.edits, *(image.file for image in self.images.values())}

    def size(self) -> int:
        """Bytes on disk of what the record names."""
        total = 0
        for name in self.files() - {""}:
            path = self.folder / name
            with contextlib.suppress(OSError):
                inner = list(path.iterdir()) if path.is_dir() else [path]
                total += sum(part.lstat().st_size for part in inner)
        return total

    def read_images(self) -> dict[str, Volume]:
        """What was segmented, by channel. Raises InputError when one is damaged."""
        return {
            channel: Volume(read_array(self.folder / image.file), image.geometry, channel)
            for channel, image in self.images.items()
        }

    def read_image(self) -> Volume:
        """The first channel. Raises InputError."""
        if not self.images:
            raise InputError(f"The draft in '{self.folder}' is damaged: it names no image.", _ACTION)
        return next(iter(self.read_images().values()))

    def read_labels(self) -> Volume:
        """The label map that the edits started from, on the image's grid. Raises InputError."""
        return read_label_map(self.folder / self.base / "labels.nii.gz")

    def read_record(self) -> dict[str, Any]:
        """``prediction.json``, or ``case.json`` of a case that was opened from a dataset. Raises InputError.

        Without the fingerprints of the files beside it, which belong to that folder and not to the case.
        """
        folder = self.folder / self.base
        predicted = (folder / "prediction.json").is_file()
        record = read_json(folder / ("prediction.json" if predicted else CASE_RECORD), InputError, _ACTION)
        return {key: value for key, value in record.items() if key != "files"}

    def read_uncertainty(self) -> Volume | None:
        """The measure that the record names, coarse enough to be shown; None when none was computed."""
        path = self.folder / self.base / "uncertainty.nii.gz"
        if not path.is_file():
            return None
        volume = read_volume(path, allow_nan=True)
        return coarsened(volume) if np.isfinite(volume.array).any() else None

    def read_layers(self) -> tuple[dict[str, Any], list[npt.NDArray[Any]]] | None:
        """The client's own description of the segmentation and its arrays; None before the first ``draft.save``."""
        if not self.edits:
            return None
        folder = self.folder / self.edits
        described = read_json(folder / "layers.json", InputError, _ACTION)
        voxels = max((math.prod(image.geometry.shape_kji) for image in self.images.values()), default=0)
        what = f"The file 'layers.npz' of the draft in '{self.folder}'"
        files = read_npz(folder / "layers.npz", _MOST_LAYERS * voxels + 2**20, what, _ACTION)
        try:
            return described, [files[str(number)] for number in range(len(files))]
        except KeyError as error:
            raise self._damaged(error) from error

    def read_regions(self) -> tuple[list[dict[str, Any]], bytes] | None:
        """Entries of ``regions.json`` with their last states, and the bytes of ``alternatives.npz``; None: no list."""
        return self.regions_in(self.edits) or self.regions_in(self.base)

    def regions_in(self, name: str) -> tuple[list[dict[str, Any]], bytes] | None:
        """The same of one sub-folder."""
        folder = self.folder / name
        if not name or not (folder / "regions.json").is_file():
            return None
        entries = read_json(folder / "regions.json", InputError, _ACTION).get("regions")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._damaged(ValueError("'regions' is not a list of objects"))
        try:
            return entries, read_bytes(folder / "alternatives.npz", _PATCHES_LIMIT)
        except OSError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> InputError:
        return InputError(f"The draft in '{self.folder}' is damaged: {error}.", _ACTION)


def _with_new_keys(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of 0.1.0 with the keys of now; what cannot be one stays as it is."""

    def image(value: Any) -> Any:
        geometry = value.get("geometry") if isinstance(value, dict) else None
        if not isinstance(geometry, dict):
            return value
        return {**value, "geometry": {_OLD_KEYS.get(key, key): part for key, part in geometry.items()}}

    images = record.get("images")
    if not isinstance(images, dict):
        return dict(record)
    return {**record, "images": {channel: image(value) for channel, value in images.items()}}


def drafts_in(folder: Path) -> list[KeptDraft]:
    """All drafts of a folder that can be read, the one saved last first."""
    found = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if (path / RECORD).is_file():
                try:
                    found.append(KeptDraft.open(path))
                except InputError as error:
                    print(error, file=sys.stderr)
    return sorted(found, key=lambda draft: draft.saved, reverse=True)


def remove_draft(folder: Path) -> None:
    """Remove a draft where no engine is there to do it; what is not ours in its folder stays.

    Raises InputError when that is not possible.
    """
    if is_link(folder) or not (folder / RECORD).is_file():
        return
    with contextlib.suppress(OSError):  # on a full disk it must still be possible
        (folder / MARK).touch(exist_ok=False)  # by it an engine knows what is left here when this is not ended
    try:
        (folder / RECORD).unlink()  # without it the rest is waste
        sync_to_disk(folder)  # else a power failure might keep the record, and not what it names
    except OSError as error:
        raise InputError(f"The draft could not be removed: {error.strerror or error}.") from error
    for path in folder.iterdir():
        if _is_ours(path.name):
            if path.is_dir() and not is_link(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
    with contextlib.suppress(OSError):
        if not any(_is_ours(path.name) for path in folder.iterdir()):
            (folder / MARK).unlink(missing_ok=True)
        folder.rmdir()


def _is_ours(name: str) -> bool:
    return FOLDER.fullmatch(name) is not None or IMAGE.fullmatch(name) is not None or is_temporary_file(name)

"""Drafts as a client reads them without an engine: which there are, and what is in one of them.

Only the engine writes drafts (``activeseg.corrections.drafts``, which says what lies where); its record is replaced
whole, so that
a reader finds the draft before or the draft after.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.core.uncertainty_scale import coarsened
from activeseg.core.volume import Volume
from activeseg.io.images import read_label_map, read_volume
from activeseg.io.npy import read_array, read_geometry
from activeseg.io.npz import read_npz
from activeseg.system.files import is_temporary_file, sync_to_disk
from activeseg.system.regular_files import is_link, read_bytes, read_json

RECORD = "draft.json"
FORMAT = 1
_MARK = ".activeseg-draft"
_ACTION = "Discard the draft."
_FOLDERS = {"base": re.compile(r"base-[0-9a-f]{32}"), "edits": re.compile(r"edits-[0-9a-f]{32}|")}
_IMAGE = re.compile(r"image\d+-[0-9a-f]{32}\.npy")
_OURS = re.compile(r"(image\d+|base|edits)-[0-9a-f]{32}(\.npy)?")
_PATCHES_LIMIT = 1 << 30
_MOST_LAYERS = 64
"""Bytes of layers for each voxel of the image; more is no draft."""


@dataclass(frozen=True)
class KeptDraft:
    """A draft as its record says that it is.

    Attributes
    ----------
    folder : its name is the case's id
    saved : when, in UTC
    has_edits : whether anything would be lost with it
    state : the client's own words, as it gave them to ``draft.save``
    """

    folder: Path
    saved: datetime.datetime
    has_edits: bool
    state: Mapping[str, Any]
    image: Mapping[str, Any]
    base: str
    edits: str

    @classmethod
    def read(cls, folder: Path) -> KeptDraft:
        """Raises InputError when there is none, or it is damaged or written by another version."""
        if not (folder / RECORD).exists():
            raise InputError(f"There is no draft in '{folder}'.", "It may have been discarded or exported.")
        record = read_json(folder / RECORD, InputError, _ACTION)
        if record.get("format") != FORMAT:
            raise InputError(f"The draft in '{folder}' was not written by this version.", "Update ActiveSeg.")
        try:
            saved = datetime.datetime.fromisoformat(record["saved"])
            if saved.tzinfo is None:
                raise ValueError("'saved' has no time zone")
            image = dict(next(iter(record["images"].values())))
            names = {kind: str(record[kind]) for kind in _FOLDERS}
            wrong = [name for kind, name in names.items() if not _FOLDERS[kind].fullmatch(name)]
            if wrong or not _IMAGE.fullmatch(str(image["file"])):
                raise ValueError(f"it names the file '{(wrong or [image['file']])[0]}'")
            read_geometry(image["geometry"])
            return cls(folder, saved, bool(record["has_edits"]), dict(record["state"]), image, **names)
        except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
            raise _damaged(folder, error) from error

    @property
    def id(self) -> str:
        return self.folder.name

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.lstat().st_size for path in self.folder.rglob("*") if path.is_file())

    def read_image(self) -> Volume:
        """The image that was segmented; its first channel. Raises InputError."""
        array = read_array(self.folder / str(self.image["file"]))
        return Volume(array, read_geometry(self.image["geometry"]))

    def read_labels(self) -> Volume:
        """The label map that the edits started from, on the image's grid. Raises InputError."""
        return read_label_map(self.folder / self.base / "labels.nii.gz")

    def read_record(self) -> dict[str, Any]:
        """``prediction.json``, or ``case.json`` of a case that was opened from a dataset. Raises InputError."""
        folder = self.folder / self.base
        predicted = (folder / "prediction.json").is_file()
        record = read_json(folder / ("prediction.json" if predicted else "case.json"), InputError, _ACTION)
        return {key: value for key, value in record.items() if key != "files"}  # of that folder

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
        most = _MOST_LAYERS * math.prod(self.image["geometry"]["shape_kji"]) + 2**20
        what = f"The file 'layers.npz' of the draft in '{self.folder}'"
        files = read_npz(folder / "layers.npz", most, what, _ACTION)
        try:
            return described, [files[str(number)] for number in range(len(files))]
        except KeyError as error:
            raise _damaged(self.folder, error) from error

    def read_regions(self) -> tuple[list[dict[str, Any]], bytes] | None:
        """Entries of ``regions.json`` with their last states, and the bytes of ``alternatives.npz``; None: no list."""
        for name in filter(None, (self.edits, self.base)):
            folder = self.folder / name
            if (folder / "regions.json").is_file():
                entries = read_json(folder / "regions.json", InputError, _ACTION).get("regions")
                if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                    raise _damaged(self.folder, ValueError("'regions' is not a list of objects"))
                try:
                    return entries, read_bytes(folder / "alternatives.npz", _PATCHES_LIMIT)
                except OSError as error:
                    raise _damaged(self.folder, error) from error
        return None


def drafts_in(folder: Path) -> list[KeptDraft]:
    """All drafts of a folder that can be read, the one saved last first."""
    found = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if (path / RECORD).is_file():
                try:
                    found.append(KeptDraft.read(path))
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
        (folder / _MARK).touch(exist_ok=False)  # by it an engine knows what is left here when this is not ended
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
            (folder / _MARK).unlink(missing_ok=True)
        folder.rmdir()


def _is_ours(name: str) -> bool:
    return _OURS.fullmatch(name) is not None or is_temporary_file(name)


def _damaged(folder: Path, error: Exception) -> InputError:
    return InputError(f"The draft in '{folder}' is damaged: {error}.", _ACTION)

"""A draft: a case with the user's edits as they were a moment ago, so that a crash costs little.

A folder of its own, for the engine alone. ``draft.json`` names all that counts; replacing it is the one commit point:
a crash at any instant leaves the draft before or the draft after. What it does not name is waste, and is removed where
the folder is ours: it has the mark, or a record. A folder from elsewhere may hold anything; nothing in it is followed
out of it, and only what has the names below is read or removed::

    .activeseg-draft        the mark: a draft is being made or removed here; only while there is no record
    draft.json              state, and the names of the rest
    image<n>-<hex>.npy      the images that were segmented, voxel for voxel
    base-<hex>/             a prediction folder, or a case of a dataset (``case.json``, ``labels.nii.gz``)
    edits-<hex>/            ``layers.json``, ``layers.npz``, ``regions.json``, ``alternatives.npz``
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.client.kept_drafts import CASE_RECORD, FOLDER, FORMAT, IMAGE, MARK, RECORD, KeptDraft, StoredImage
from activeseg.core.errors import EngineError, InputError
from activeseg.core.records import to_json
from activeseg.core.volume import Volume
from activeseg.corrections.opened import Base, OpenedLabels
from activeseg.io.images import write_volume
from activeseg.io.npy import write_array
from activeseg.predictions.prediction import Prediction
from activeseg.predictions.prediction_folder import RECORD as PREDICTION_RECORD
from activeseg.predictions.region_files import read_regions, write_regions
from activeseg.system.file_lock import held
from activeseg.system.files import is_temporary_file, make_folder, new_folder, remove_abandoned, replacing, sync_to_disk
from activeseg.system.regular_files import is_link, read_json

LOCK_WAIT_S = 60.0
"""How long a writer waits for another one; storing a large CT takes seconds."""
_LOCK = ".lock"

Step = Callable[[str], None]


def _no_step(_: str) -> None:
    pass


@dataclass(frozen=True)
class Edits:
    """What the user has done, as the client took it.

    Attributes
    ----------
    layers : the client's own description of ``arrays``
    regions : entries of ``regions.json`` with the states that they have now; None while there are no regions
    patches : the bytes of ``alternatives.npz``
    """

    layers: Mapping[str, Any]
    arrays: tuple[npt.NDArray[Any], ...]
    regions: tuple[Mapping[str, Any], ...] | None = None
    patches: bytes = b""


class Draft(KeptDraft):
    """A draft, with what only an engine can read."""

    def read_base(self) -> Base:
        """What the edits started from; its regions are those that the user saw last. Raises InputError."""
        folder = self.folder / self.base
        if (folder / PREDICTION_RECORD).is_file():
            prediction = Prediction.load(folder)
            if self.edits and (self.folder / self.edits / "regions.json").is_file():
                prediction = replace(prediction, regions=read_regions(self.folder / self.edits))
            return prediction
        listed = next(
            (at for at in (self.edits, self.base) if at and (self.folder / at / "regions.json").is_file()), ""
        )
        regions = read_regions(self.folder / listed) if listed else ()
        return OpenedLabels.from_record(self.read_record(), self.read_labels(), regions)

    def read_edits(self) -> Edits | None:
        """None before the first ``save``. Raises InputError when they are damaged."""
        found = self.read_layers()
        if found is None:
            return None
        entries, patches = self.regions_in(self.edits) or (None, b"")
        return Edits(found[0], tuple(found[1]), None if entries is None else tuple(entries), patches)


def store_base(folder: Path, base: Base, images: Mapping[str, Volume], step: Step = _no_step) -> Draft:
    """Make a draft; one that is there gets this base in place of its own and keeps what the user did.

    ``step`` is told of every step that changed something on disk. Raises EngineError when the disk is full or another
    program holds on to the drafts; then nothing was changed.
    """
    with _writing(folder, step) as writer:
        return writer.commit(writer.with_base(writer.before or _new(folder), base, images))


def save_edits(
    folder: Path,
    edits: Edits,
    state: Mapping[str, Any],
    has_edits: bool = True,
    base: tuple[Base, Mapping[str, Volume]] | None = None,
    step: Step = _no_step,
) -> Draft:
    """Replace what the draft says that the user did.

    ``base`` (with its images) is stored when the folder has none yet; a draft without one raises InputError whose
    details say ``missing: "base"``. Otherwise raises as ``store_base``, and InputError for regions that are none.
    """
    with _writing(folder, step) as writer:
        draft = writer.before
        if draft is None:
            if base is None:
                raise InputError(
                    f"There is no draft in '{folder}' yet.", "Save it with what the edits started from.", missing="base"
                )
            draft = writer.with_base(_new(folder), *base)
        name = writer.folder_of("edits", lambda made: _write_edits(made, edits))
        return writer.commit(replace(draft, edits=name, state=dict(state), has_edits=has_edits, saved=_now()))


def discard(folder: Path) -> bool:
    """Remove a draft, and say whether there was one. Raises EngineError when that is not possible.

    A folder that is not a draft's, and what else lies in a draft's, stays.
    """
    if not _is_ours(folder):
        return False
    with _locked(folder.parent):
        found = (folder / RECORD).is_file()
        with contextlib.suppress(OSError):  # on a full disk it must still be possible
            (folder / MARK).touch(exist_ok=False)  # a link is not followed
        try:
            (folder / RECORD).unlink(missing_ok=True)  # without it the rest is waste
            sync_to_disk(folder)  # else a power failure might keep the record, and not what it names
        except OSError as error:
            raise EngineError(f"The draft could not be removed: {error.strerror or error}.") from error
        _remove_waste(folder)
    return found


def drafts_in(folder: Path) -> list[Draft]:
    """All drafts of a folder, the one saved last first; what writers that crashed left is removed.

    A draft that cannot be read is left where it is, and told in the log. Raises InputError when the folder cannot be
    read.
    """
    if not folder.is_dir():
        return []
    try:
        paths = [path for path in folder.iterdir() if path.is_dir() and not is_link(path)]
    except OSError as error:
        raise InputError(f"The folder '{folder}' cannot be read: {error.strerror or error}.") from error
    remove_abandoned(folder, staging=True)
    waste = [path for path in paths if _is_unfinished(path)]
    if waste:
        with contextlib.suppress(EngineError), _locked(folder, 0.0):
            for path in waste:  # looked at again: somebody may have finished it meanwhile
                if _is_unfinished(path):
                    _remove_waste(path)
    found = []
    for path in paths:
        try:
            draft = Draft.find(path)
        except InputError as error:
            print(f"A draft cannot be read ({type(error.__cause__).__name__}).", file=sys.stderr)
            continue
        if draft is not None:
            found.append(draft)
    return sorted(found, key=lambda draft: draft.saved, reverse=True)


def _is_ours(folder: Path) -> bool:
    """Whether a folder was made for a draft: by its mark, or, before there were marks, by its record."""
    if is_link(folder) or not folder.is_dir():
        return False
    try:
        if (folder / MARK).is_file():
            return True
        record = read_json(folder / RECORD)
    except InputError:
        return False
    return record.get("format") == FORMAT and {"images", "base", "edits", "has_edits"} <= set(record)


def _is_unfinished(folder: Path) -> bool:
    return (folder / MARK).is_file() and not os.path.lexists(folder / RECORD)


@dataclass
class _Writer:
    folder: Path
    before: Draft | None
    step: Step

    def with_base(self, draft: Draft, base: Base, images: Mapping[str, Volume]) -> Draft:
        """Images that are there already are not written again."""
        stored = {}
        for number, (channel, image) in enumerate(images.items()):
            known, sha256 = draft.images.get(channel), image.sha256()
            if known is not None and known.sha256 == sha256:
                stored[channel] = known
                continue
            file = self.folder / f"image{number}-{uuid.uuid4().hex}.npy"
            write_array(file, image.array)
            sync_to_disk(file)
            self.step("image written")
            stored[channel] = StoredImage(file.name, image.geometry, sha256)
        name = self.folder_of("base", lambda made: _write_base(made, base))
        return replace(draft, base=name, images=stored)

    def folder_of(self, kind: str, write: Callable[[Path], None]) -> str:
        """The name of a new sub-folder, written by ``write`` and on disk."""
        made = self.folder / f"{kind}-{uuid.uuid4().hex}"
        made.mkdir()
        self.step(f"{kind} begun")
        write(made)
        for path in (*made.iterdir(), made):
            sync_to_disk(path)
        self.step(f"{kind} written")
        return made.name

    def commit(self, draft: Draft) -> Draft:
        sync_to_disk(self.folder)
        with replacing(self.folder / RECORD, ".json") as fresh:
            fresh.write_text(json.dumps({"format": FORMAT, **to_json(draft)}, indent=1) + "\n", encoding="utf-8")
            self.step("record written")
        self.step("committed")
        return draft


@contextlib.contextmanager
def _writing(folder: Path, step: Step) -> Iterator[_Writer]:
    """Be the only writer; afterwards nothing lies in the folder but what its record names."""
    try:
        make_folder(folder.parent, 0o700)
        with _locked(folder.parent):
            before = Draft.find(folder) if os.path.lexists(folder) else None
            _make(folder, step)
            try:
                step("folder made")
                yield _Writer(folder, before, step)
            finally:
                _remove_waste(folder)
                step("waste removed")
    except OSError as error:
        raise EngineError(
            f"The draft could not be saved: {error.strerror or error}.",
            "What was saved before is kept. Check the disk's free space and the folder's permissions.",
        ) from error


def _locked(folder: Path, wait_s: float = LOCK_WAIT_S) -> AbstractContextManager[None]:
    def busy() -> EngineError:
        return EngineError(
            f"Another program has been writing drafts in '{folder}' for {wait_s:.0f} s.",
            "Try again when it is done, or end it.",
        )

    def failed(error: OSError) -> EngineError:
        return EngineError(
            f"The folder '{folder}' cannot be locked, so no draft can be written there: {error.strerror or error}.",
            "Choose a folder on another disk.",
        )

    return held(folder / _LOCK, wait_s, busy=busy, failed=failed)


def _make(folder: Path, step: Step) -> None:
    """The draft's folder, with its mark from the first moment on; one that is there gets it if it holds a draft.

    Raises InputError when somebody else's things lie there.
    """
    if is_link(folder) or (folder.exists() and not folder.is_dir()):
        raise InputError(f"'{folder}' is not a folder.", "Choose another one for the draft.")
    if not folder.exists():
        with new_folder(folder, 0o700) as fresh:
            step("folder begun")
            (fresh / MARK).touch()
            step("folder marked")
    elif not _is_ours(folder):
        if any(folder.iterdir()):
            raise InputError(f"The folder '{folder}' holds other things than a draft.", "Choose another one.")
        (folder / MARK).touch()
        sync_to_disk(folder)


def _remove_waste(folder: Path) -> None:
    """What the record does not name, as far as it has our names; without a record the folder, too."""
    try:
        draft = Draft.find(folder)
    except InputError:
        return  # what it named is unknown
    named = draft.files() if draft else set()
    for path in list(folder.iterdir()):
        if path.name in named or (path.name == MARK and draft is None):
            continue
        with contextlib.suppress(OSError):
            if is_link(path):
                continue
            if FOLDER.fullmatch(path.name) and path.is_dir():
                shutil.rmtree(path)
            elif path.name == MARK or IMAGE.fullmatch(path.name) or is_temporary_file(path.name):
                path.unlink()
    if draft is None:
        with contextlib.suppress(OSError):
            if {path.name for path in folder.iterdir()} <= {MARK}:
                (folder / MARK).unlink(missing_ok=True)
                folder.rmdir()


def _write_base(folder: Path, base: Base) -> None:
    if isinstance(base, Prediction):
        base.write(folder)
    else:
        write_volume(base.labels, folder / "labels.nii.gz")
        if base.regions:
            write_regions(folder, base.regions)
        (folder / CASE_RECORD).write_text(json.dumps(base.to_dict()), encoding="utf-8")


def _write_edits(folder: Path, edits: Edits) -> None:
    (folder / "layers.json").write_text(json.dumps(dict(edits.layers)), encoding="utf-8")
    arrays = {str(number): array for number, array in enumerate(edits.arrays)}
    np.savez_compressed(folder / "layers.npz", allow_pickle=False, **arrays)
    if edits.regions is not None:
        write_region_files(folder, edits.regions, edits.patches)
        read_regions(folder)


def write_region_files(folder: Path, entries: Sequence[Mapping[str, Any]], patches: bytes) -> None:
    """The files of ``write_regions`` from what they hold."""
    record = {"regions": [dict(entry) for entry in entries]}
    (folder / "regions.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "alternatives.npz").write_bytes(patches)


def _new(folder: Path) -> Draft:
    return Draft(folder, _now(), _now())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")

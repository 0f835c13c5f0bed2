"""Taking back what a dataset does not list, and a listing that is damaged or gone, from the records of the cases.

Nothing is removed. What cannot be taken back is moved into ``set_aside/<time>/`` in the dataset's folder, which neither
this program nor nnU-Net reads, so that its names are free again.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from activeseg.core.errors import ActiveSegError, DatasetError, InputError
from activeseg.core.json_values import WrongField
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.records import HEX_32, UNFIT, from_json
from activeseg.dataset import unlisted, voxels
from activeseg.dataset.dataset import LOCK_WAIT_S
from activeseg.dataset.layout import IMAGES, LISTING, PROVENANCE, check_folders, find_dataset, named_file, schema_file
from activeseg.dataset.listing import FORMAT, MOST_SCHEMAS, CaseEntry, Listing, channel_names_of, format_of, read_schema
from activeseg.dataset.private_map import PrivateMap
from activeseg.dataset.record import CaseRecord, StoredFile
from activeseg.dataset.transaction import Change, Transaction, locked
from activeseg.io.images import read_label_map, read_volume
from activeseg.system.files import replacing
from activeseg.system.folders import private_folder
from activeseg.system.regular_files import is_link, own_file, own_path, read_json

SET_ASIDE = "set_aside"


@dataclass(frozen=True)
class Recovered:
    """What recovering a dataset did.

    Attributes
    ----------
    folder : of the dataset
    listed : cases that are listed again, or in their later revision -> that revision
    lost : case or file -> why it could not be taken back; its files were set aside
    set_aside : files that were moved, relative to the dataset's folder
    rebuilt : the listing itself was damaged or gone, and was made again
    """

    folder: Path
    listed: Mapping[str, int]
    lost: Mapping[str, str]
    set_aside: tuple[str, ...]
    rebuilt: bool

    def sentences(self) -> tuple[str, ...]:
        told = ["The dataset's list of cases was damaged and has been made again."] if self.rebuilt else []
        if self.listed:
            count = len(self.listed)
            told.append(f"{count} case{'s' * (count > 1)} listed again: {', '.join(sorted(self.listed))}.")
        told += [f"Not recoverable: {name}: {why}" for name, why in sorted(self.lost.items())]
        if self.set_aside:
            count = len(self.set_aside)
            told.append(f"{count} file{'s' * (count > 1)} moved to '{SET_ASIDE}' in the dataset's folder.")
        return tuple(told) or ("There was nothing to recover.",)


def recover_dataset(
    folder: str | Path,
    *,
    channel_names: Sequence[str] = (),
    private_dir: Path | None = None,
    lock_wait_s: float = LOCK_WAIT_S,
    progress: Progress | None = None,
) -> Recovered:
    """List again every case whose record, label map and images are whole; a damaged ``dataset.json`` is made again.

    Of a case the latest revision that is whole counts. Which structures a case still waits for is then known from its
    records only: those that were added after its label map was made.

    Parameters
    ----------
    channel_names : of the images, where ``dataset.json`` is gone and the schema's file does not name them

    Raises DatasetError when the folder is no dataset, its schema or its channels are not known; Cancelled.
    """
    progress = progress or Progress()
    target = _folder(Path(folder))
    check_folders(target)
    try:
        listing, rebuilt = Listing.read(target), False
    except DatasetError:
        format = format_of(_damaged_listing(target))
        if isinstance(format, int) and format > FORMAT:
            raise  # it is whole for the version that wrote it
        listing, rebuilt = _new_listing(target, channel_names, private_folder(private_dir)), True
    private = PrivateMap(listing.id, target, private_folder(private_dir))
    if rebuilt:
        _keep_damaged(target, listing, lock_wait_s)
    with Transaction(target, private, lambda _: None, lock_wait_s) as change, change.locked():
        listing = Listing.read(target)
        found = unlisted.find(target, listing)
        whole, lost = _whole_cases(target, listing, found, progress)
        entries = {**listing.cases, **whole}
        again = replace(listing, cases=entries, next_case=_next_case(target, listing))
        left = [file for file in found.files if not unlisted.is_listed(file, again)]
        for file in left:
            named = named_file(file)
            if named is None or (named.case not in whole and named.case not in listing.cases):
                lost.setdefault(named.case if named else file, "its record, label map or image is missing.")
        moved = _set_aside(target, left)
        if whole or again.next_case != listing.next_case:
            change.commit(again, Change())
    return Recovered(target, {name: entry.revision for name, entry in whole.items()}, lost, moved, rebuilt)


def _folder(folder: Path) -> Path:
    """Raises DatasetError when nothing there is, or was, a dataset of ActiveSeg."""
    found = find_dataset(folder)
    folder = found or folder.expanduser().absolute()
    if _schema_numbers(folder):
        return folder
    raise DatasetError(f"'{folder}' holds no schema of a dataset ('{PROVENANCE}/schema.1.json').", "Check the path.")


def _schema_numbers(folder: Path) -> list[int]:
    own_path(folder, PROVENANCE, DatasetError)
    return [n for n in range(1, MOST_SCHEMAS + 1) if (folder / schema_file(n)).is_file()]


def _new_listing(folder: Path, channel_names: Sequence[str], private_dir: Path) -> Listing:
    """An empty listing from the newest schema's file, and from what of ``dataset.json`` can be read."""
    number = max(_schema_numbers(folder))
    schema = read_schema(folder, number)
    kept = read_json(folder / schema_file(number), DatasetError)
    id, channels = "", tuple(channel_names)
    ours = _damaged_listing(folder).get("activeseg")
    for given in (kept.get("dataset"), ours.get("id") if isinstance(ours, dict) else None):
        if not id and isinstance(given, str) and HEX_32.fullmatch(given):
            id = given
    if not channels:
        channels = _channels(folder, kept)
    return Listing(id or _id_in_private_files(folder, private_dir) or uuid.uuid4().hex, schema, number, channels)


def _damaged_listing(folder: Path) -> dict[str, Any]:
    """As far as ``dataset.json`` is JSON."""
    try:
        return read_json(folder / LISTING)
    except ActiveSegError:
        return {}


def _channels(folder: Path, schema: Mapping[str, Any]) -> tuple[str, ...]:
    """From the schema's file, from ``dataset.json``, or ``CT`` for images of one channel. Raises DatasetError."""
    with contextlib.suppress(WrongField):
        return from_json(tuple[str, ...], schema.get("channels"), "channels")
    with contextlib.suppress(ActiveSegError, WrongField):
        return channel_names_of(_damaged_listing(folder))
    images = os.listdir(folder / IMAGES) if (folder / IMAGES).is_dir() else []
    numbers = {named.channel for name in images if (named := named_file(f"{IMAGES}/{name}"))}
    if numbers <= {0}:
        return ("CT",)
    raise DatasetError(
        f"The images have {max(numbers) + 1} channels, and nothing says what they are.", "Name the channels."
    )


def _id_in_private_files(folder: Path, private_dir: Path) -> str:
    """The id under which the only private file that names this folder knows it; empty when none or several do."""
    found = []
    for path in sorted(private_dir.glob("*.jsonl")) if private_dir.is_dir() else []:
        if HEX_32.fullmatch(path.stem):
            try:
                known = PrivateMap(path.stem, folder, private_dir).datasets()
            except DatasetError:
                continue
            found += [path.stem] if str(folder) in known else []
    return found[0] if len(found) == 1 else ""


def _keep_damaged(folder: Path, listing: Listing, wait_s: float) -> None:
    """Put an empty listing in the place of the damaged one, which is set aside; the cases follow in one change."""
    try:
        with locked(folder, wait_s), replacing(folder / LISTING, ".json") as fresh:
            fresh.write_text(listing.to_json(), encoding="utf-8")
            if os.path.lexists(folder / LISTING):
                _set_aside(folder, [LISTING])
    except OSError as error:
        raise DatasetError(
            f"The dataset '{folder.name}' could not be changed: {error.strerror or error}.",
            "Check the disk's free space and the folder's permissions.",
        ) from error


def _whole_cases(
    folder: Path, listing: Listing, found: unlisted.Unlisted, progress: Progress
) -> tuple[dict[str, CaseEntry], dict[str, str]]:
    """Cases to list (again), and why others cannot be."""
    whole: dict[str, CaseEntry] = {}
    lost: dict[str, str] = {}
    records = sorted(
        (named for file in found.files if (named := named_file(file)) and named.kind == PROVENANCE),
        key=lambda named: (named.case, -named.revision),
    )
    for done, named in enumerate(records):
        progress("verify", done / len(records), named.case)
        listed = listing.cases.get(named.case)
        if named.case in whole or (listed and listed.revision >= named.revision):
            continue
        try:
            whole[named.case] = _checked(folder, listing, named.case, named.revision)
            lost.pop(named.case, None)
        except (ActiveSegError, OSError, EOFError, *UNFIT) as error:
            lost.setdefault(named.case, str(error))
    progress("verify", 1.0)
    return whole, lost


def _checked(folder: Path, listing: Listing, name: str, revision: int) -> CaseEntry:
    """The entry of a case whose files are what its record says. Raises what reading them raises."""
    record = CaseRecord.read(folder, name, revision, len(listing.channel_names))
    if record.current.schema != listing.schema_number:
        raise DatasetError(f"its label map has schema {record.current.schema}, the dataset {listing.schema_number}.")
    for stored in (*record.images, record.current.label, *(past.label for past in record.history)):
        if StoredFile.of(own_file(folder, stored.file, DatasetError), stored.file).sha256 != stored.sha256:
            raise DatasetError(f"'{stored.file}' was changed: its fingerprint is not the recorded one.")
    labels = read_label_map(folder / record.current.label.file)
    if labels.array.max() > listing.schema.ignore_value:
        raise InputError(f"'{record.current.label.file}' holds values that the dataset's schema does not have.")
    images = [read_volume(folder / image.file) for image in record.images]
    if not all(image.geometry.same_grid(labels.geometry) for image in images):
        raise InputError("its image and its label map lie on different grids.")
    return CaseEntry(revision, voxels.voxels_sha256(images), _waiting(folder, listing.schema, record))


def _waiting(folder: Path, schema: LabelSchema, record: CaseRecord) -> tuple[str, ...]:
    """Structures that the schema got after somebody last made the case's label map; migrating keeps the provenance."""
    made = record.current
    for past in reversed(record.history):
        if past.provenance != made.provenance:
            break
        made = past
    known = schema.names if made.schema == record.current.schema else read_schema(folder, made.schema).names
    return tuple(name for name in schema.names if name not in known)


def _next_case(folder: Path, listing: Listing) -> int:
    numbers = [name.rpartition("_")[2] for name in (*listing.cases, *unlisted.names(folder))]
    return max(listing.next_case, *(int(n) + 1 for n in numbers if n.isdecimal() and n.isascii() and len(n) <= 8), 1)


def _set_aside(folder: Path, files: Sequence[str]) -> tuple[str, ...]:
    """Move files out of the way, each below its own path. Raises DatasetError through a link."""
    if not files:
        return ()
    time = f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S-%f}"
    moved = []
    for file in files:
        own_path(folder, file.rpartition("/")[0] or ".", DatasetError)
        kept = own_path(folder, f"{SET_ASIDE}/{time}/{file}", DatasetError)
        kept.parent.mkdir(parents=True, exist_ok=True)
        if is_link(folder / file) or (folder / file).is_file():
            os.rename(folder / file, kept)  # a link itself, never what it leads to
            moved.append(kept.relative_to(folder).as_posix())
    return tuple(moved)

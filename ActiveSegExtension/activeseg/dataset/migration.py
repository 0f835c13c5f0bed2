"""A dataset for another schema: a new folder, because ``ignore`` is max + 1 and would collide with a new structure."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from activeseg.core.errors import DatasetError
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.volume import Volume
from activeseg.dataset import voxels
from activeseg.dataset.dataset import Dataset
from activeseg.dataset.layout import LISTING, folder_to_create, history_file, label_file, record_file, schema_file
from activeseg.dataset.listing import CaseEntry, Listing
from activeseg.dataset.new_dataset import appearing_whole, write_text
from activeseg.dataset.record import CaseRecord, Revision, StoredFile
from activeseg.dataset.relabel import new_names, relabelled
from activeseg.dataset.transaction import locked
from activeseg.io.images import read_label_map
from activeseg.system.files import sync_to_disk
from activeseg.system.regular_files import own_file


def migrate_dataset(
    dataset: Dataset,
    new_folder: str | Path,
    new_schema: LabelSchema,
    rename: Mapping[str, str | None] | None = None,
    *,
    private_dir: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Make a new dataset with all cases under another schema; the old one stays as it is.

    Values follow names, ``ignore`` moves, the label map before is kept as history. A structure that ``new_schema``
    lacks becomes background. A structure that is new there has been annotated in no case: all cases wait, out of
    training, until a label map for all structures is added to it. What a case was waiting for goes on.

    Parameters
    ----------
    new_folder : as in ``Dataset.create``; nothing is there until everything is
    rename : old name -> new name, or None for background; two old structures may become one

    Raises DatasetError, InputError (unknown names, damaged files), Cancelled.
    """
    progress, rename = progress or Progress(), dict(rename or {})
    names = new_names(dataset.schema, new_schema, rename)
    added = [name for name in new_schema.names if name not in names.values()]
    target = folder_to_create(Path(new_folder))
    with locked(dataset.folder, dataset.lock_wait_s), appearing_whole(target) as staging:
        old = dataset.listing()
        number = old.schema_number + 1
        for n in range(1, number):
            _copy(dataset.folder, schema_file(n), staging / schema_file(n))
        cases = {}
        for done, (name, entry) in enumerate(old.cases.items()):
            progress("migrate", done / len(old.cases), name)
            record = CaseRecord.read(dataset.folder, name, entry.revision, len(old.channel_names))
            _migrate_case(dataset.folder, staging, record, old.schema, new_schema, rename, number, progress)
            waiting = [*added, *(names[structure] for structure in entry.waiting)]
            still = tuple(structure for structure in new_schema.names if structure in waiting)
            cases[name] = CaseEntry(entry.revision + 1, entry.voxels_sha256, still)
        listing = Listing(uuid.uuid4().hex, new_schema, number, old.channel_names, old.next_case, cases, old.other)
        new = Dataset(target, listing, private_dir or dataset.private.path.parent, dataset.lock_wait_s)
        write_text(staging / schema_file(number), listing.schema_json())
        write_text(staging / LISTING, listing.to_json())
    sources = dataset.private.sources()
    for name in cases:
        new.private.add(name, sources.get(name, {}))
    progress("migrate", 1.0)
    return new


def _migrate_case(
    source: Path,
    target: Path,
    record: CaseRecord,
    old_schema: LabelSchema,
    new_schema: LabelSchema,
    rename: Mapping[str, str | None],
    schema_number: int,
    progress: Progress,
) -> None:
    """Images and history as they are, the label map in new values as one more revision."""
    for stored in (*record.images, *(revision.label for revision in record.history)):
        _copy(source, stored.file, target / stored.file)
    before = record.current
    past_file = history_file(record.name, before.number)
    _copy(source, before.label.file, target / past_file)
    labels = read_label_map(own_file(source, before.label.file, DatasetError))
    changed = Volume(relabelled(labels.array, old_schema, new_schema, rename), labels.geometry)
    file = label_file(record.name, before.number + 1)
    voxels.write(target / file, changed, progress)
    sync_to_disk(target / file)
    current = Revision(before.number + 1, schema_number, StoredFile.of(target / file, file), before.provenance)
    past = replace(before, label=replace(before.label, file=past_file))
    migrated = replace(record, current=current, history=(*record.history, past))
    write_text(target / record_file(record.name, current.number), migrated.to_json())


def _copy(dataset: Path, file: str, target: Path) -> None:
    """Raises DatasetError when the file is missing, or lies elsewhere."""
    shutil.copyfile(own_file(dataset, file, DatasetError), target)
    sync_to_disk(target)

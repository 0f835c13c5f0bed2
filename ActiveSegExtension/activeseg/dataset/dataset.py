"""A dataset on disk: a plain nnU-Net v2 raw dataset with one fixed schema, and provenance beside it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from activeseg.core.channel_names import different_names
from activeseg.core.errors import DatasetError, InputError
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.volume import Volume
from activeseg.dataset import unlisted, voxels
from activeseg.dataset.layout import (
    ENDING,
    LISTING,
    check_case_name,
    find_dataset,
    folder_to_create,
    folder_to_open,
    history_file,
    image_file,
    label_file,
    record_file,
    schema_file,
)
from activeseg.dataset.listing import CaseEntry, Listing, read_schema
from activeseg.dataset.new_case import CheckedCase, NewCase, OpenedCase, Saved
from activeseg.dataset.new_dataset import new_dataset, present, remove_if_unused, write_text
from activeseg.dataset.private_map import PrivateMap
from activeseg.dataset.record import CaseRecord, Revision, StoredFile
from activeseg.dataset.sweeping import sweep
from activeseg.dataset.transaction import Change, Step, Transaction
from activeseg.io.images import read_label_map, read_volume
from activeseg.system.disk import refuse_full
from activeseg.system.folders import private_folder
from activeseg.system.regular_files import own_file

LOCK_WAIT_S = 10.0
"""How long a writer waits for another one; the lock is held for moments, not while images are compressed."""


def _no_step(_: str) -> None:
    pass


class Dataset:
    """A nnU-Net v2 raw dataset that ActiveSeg keeps.

    Every change happens whole or not at all, and one writer at a time (``transaction``). The listing is read from disk
    for each call, so that several processes may work on one dataset.

    Attributes
    ----------
    folder : ``.../DatasetNNN_Name``
    schema : the structures; it never changes (``migration.migrate_dataset`` makes a new dataset)
    channel_names : the images that each case has
    private : which patient and file a case comes from; outside of the dataset
    swept : what crashed writers were known to have left, and opening to change it removed
    lock_wait_s : how long to wait for another writer
    """

    def __init__(
        self,
        folder: Path,
        listing: Listing,
        private_dir: Path | None = None,
        lock_wait_s: float = LOCK_WAIT_S,
        step: Step = _no_step,
    ) -> None:
        """Use ``create`` or ``open``. ``step`` is told of every step that changed something on disk."""
        self.folder = folder
        self.schema = listing.schema
        self.channel_names = listing.channel_names
        self.private = PrivateMap(listing.id, folder, private_folder(private_dir))
        self.swept: tuple[str, ...] = ()
        self._schema_number = listing.schema_number
        self.lock_wait_s = lock_wait_s
        self._step = step

    @classmethod
    def create(
        cls,
        folder: str | Path,
        schema: LabelSchema,
        channel_names: Sequence[str] = ("CT",),
        *,
        private_dir: Path | None = None,
        lock_wait_s: float = LOCK_WAIT_S,
        step: Step = _no_step,
    ) -> Dataset:
        """Make an empty dataset; ``.folder`` says where.

        nnU-Net needs ``DatasetNNN_Name``: another name gets a free id (``layout.folder_to_create``). Raises
        DatasetError when that does not work, InputError for an empty schema or wrong channel names.
        """
        if not len(schema):
            raise InputError("A dataset needs at least one structure.", "Give a schema with structures.")
        if not channel_names or not all(channel_names):
            raise InputError(f"The channels {list(channel_names)} cannot be used.", "Give each image a name.")
        listing = Listing(uuid.uuid4().hex, schema, 1, different_names(channel_names))
        with new_dataset(lambda: folder_to_create(Path(folder)), lock_wait_s) as (staging, target):
            made = cls(target, listing, private_dir, lock_wait_s, step)
            write_text(staging / schema_file(1), listing.schema_json())
            write_text(staging / LISTING, listing.to_json())
        return made

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        private_dir: Path | None = None,
        lock_wait_s: float = LOCK_WAIT_S,
        step: Step = _no_step,
        only_look: bool = False,
    ) -> Dataset:
        """Open a dataset, ``only_look`` to change nothing on disk whatever is found.

        Otherwise what crashed writers are known to have left is removed. What is not listed and may be a case of
        somebody stays in any case (``unlisted``). Raises DatasetError when it is not one, or damaged.
        """
        found = folder_to_open(Path(folder))
        dataset = cls(found, Listing.read(found), private_dir, lock_wait_s, step)
        if not only_look:
            dataset.swept = sweep(found, dataset.private)
        return dataset

    @classmethod
    def _present(
        cls,
        stack: contextlib.ExitStack,
        folder: Path,
        schema: LabelSchema,
        channel_names: Sequence[str],
        private_dir: Path | None,
    ) -> tuple[Dataset, bool]:
        """The dataset, which stays there until the stack is closed, and whether it was made; others may make or remove
        it at the same moment."""
        while True:
            made = None
            if not find_dataset(folder):
                try:
                    made = cls.create(folder, schema, channel_names, private_dir=private_dir)
                except DatasetError:
                    if not find_dataset(folder):
                        raise
            try:
                dataset = made or cls.open(folder, private_dir=private_dir)
                stack.enter_context(present(dataset.folder, dataset.lock_wait_s))
            except DatasetError:
                if find_dataset(folder):
                    raise
            else:
                return dataset, made is not None

    @classmethod
    @contextlib.contextmanager
    def opened_or_created(
        cls,
        folder: str | Path,
        schema: LabelSchema,
        channel_names: Sequence[str] = ("CT",),
        *,
        private_dir: Path | None = None,
    ) -> Iterator[Dataset]:
        """The dataset of that name, to add a case in the block; one that is not there is made with ``schema``.

        If the block fails, a dataset that was made for it goes again when it holds no case and no other process is
        about to add one. Errors as in ``open`` and ``create``.
        """
        with contextlib.ExitStack() as stack:
            dataset, made = cls._present(stack, Path(folder), schema, channel_names, private_dir)
            try:
                yield dataset
            except BaseException:
                stack.close()
                if made:
                    remove_if_unused(dataset.folder)
                raise

    def listing(self) -> Listing:
        """The state on disk now. Raises DatasetError when it is damaged, or another dataset than the one opened."""
        listing = Listing.read(self.folder)
        if listing.schema_number != self._schema_number or listing.schema.names != self.schema.names:
            raise DatasetError(f"The dataset '{self.folder.name}' was replaced by another one.", "Open it again.")
        return listing

    def cases(self) -> dict[str, CaseEntry]:
        """All cases by name, in order of arrival; those with ``waiting`` are not trained on."""
        return dict(self.listing().cases)

    def record(self, name: str) -> CaseRecord:
        """Provenance and history of a case. Raises DatasetError when there is none, or it is damaged."""
        return self._record(self.listing(), name)

    def add_case(self, case: NewCase, progress: Progress | None = None) -> Saved:
        """Store a case. The same image again is an update of its case, which keeps the label map before as history.

        ``Saved`` says which of the two it was. A case that was updated waits no longer.

        Raises
        ------
        InputError
            For images or labels that do not fit.
        DatasetError
            When something would be lost or guessed, when another program writes for too long, when the disk is full.
        DeviceError
            When the disk is too full for the case; before anything is written.

        After each nothing was changed.
        """
        progress = progress or Progress()
        ready = case.checked(self.schema, self.channel_names)
        if case.name is not None:
            check_case_name(case.name)
        known = None if case.same_image_again else self._same_image(self.listing(), ready)
        progress("store", 0.0)
        needed = ready.labels.nbytes + (0 if known else sum(image.array.nbytes for image in ready.images))
        refuse_full({self.folder: needed}, "this case")
        with Transaction(self.folder, self.private, self._step, self.lock_wait_s) as change:
            label = self._stage(change, voxels.stored_labels(ready.labels, case.geometry, self.schema), progress)
            staged = [] if known else [self._stage(change, image, progress) for image in ready.images]
            progress("store", 0.9)
            with change.locked():
                listing = self.listing()
                again = None if case.same_image_again else self._same_image(listing, ready)
                if again and case.name not in (None, again):
                    raise DatasetError(
                        f"This image is in the dataset already, as '{again}'.",
                        f"Leave the name '{case.name}' out to update it, or say that it is to be stored twice.",
                    )
                if again:
                    return self._revise(change, listing, again, label, case)
                if known:
                    raise DatasetError(f"Somebody removed the case '{known}' in the meantime.", "Export again.")
                return self._insert(change, listing, ready, staged, label)

    def check_case(self, case: NewCase) -> str | None:
        """The case that ``add_case`` would update, None when it would add one; nothing is changed.

        Raises what ``add_case`` raises before it writes.
        """
        return self._same_image(self.listing(), case.checked(self.schema, self.channel_names))

    def remove_case(self, name: str) -> None:
        """Remove a case with its history and its line in the private file; its name is not given to another case."""
        with Transaction(self.folder, self.private, self._step, self.lock_wait_s) as change, change.locked():
            listing = self.listing()
            entry = listing.entry(name)
            obsolete = [*listing.images_of(name), label_file(name, entry.revision), record_file(name, entry.revision)]
            obsolete += [history_file(name, revision) for revision in range(1, entry.revision)]
            change.commit(listing.without(name), Change(obsolete=obsolete, forgotten=name))

    def open_case(self, name: str) -> OpenedCase:
        """Images and label map as they were given, for another correction.

        Raises DatasetError when there is no such case, InputError when a file is damaged.
        """
        listing = self.listing()
        record = self.record(name)

        def original(volume: Volume) -> Volume:
            return Volume(record.geometry.array_from_canonical(volume.array), record.geometry, name)

        return OpenedCase(
            name,
            {
                channel: original(read_volume(self.own(image.file)))
                for channel, image in zip(self.channel_names, record.images, strict=True)
            },
            original(read_label_map(self.own(record.current.label.file))),
            record,
            listing.entry(name).waiting,
        )

    def schema_of(self, revision: Revision) -> LabelSchema:
        """The schema whose values the label map of a revision holds. Raises DatasetError when its file is damaged."""
        return read_schema(self.folder, revision.schema)

    def own(self, file: str) -> Path:
        """The path of a file that a record names. Raises DatasetError unless it is there, regular, and no link."""
        return own_file(self.folder, file, DatasetError)

    def unlisted(self) -> unlisted.Unlisted:
        """What lies in the dataset's folders and its listing does not know; see ``unlisted``."""
        return unlisted.find(self.folder, self.listing())

    def _record(self, listing: Listing, name: str) -> CaseRecord:
        return CaseRecord.read(self.folder, name, listing.entry(name).revision, len(self.channel_names))

    def _stage(self, change: Transaction, volume: Volume, progress: Progress) -> Path:
        return change.stage(lambda path: voxels.write(path, volume, progress), ENDING)

    def _same_image(self, listing: Listing, ready: CheckedCase) -> str | None:
        """The case with the same voxels at the same place (DICOM and its NIfTI copy round differently)."""
        for name, entry in listing.cases.items():
            if entry.voxels_sha256 == ready.voxels_sha256:
                record = self._record(listing, name)
                if record.geometry.canonical().same_grid(ready.case.geometry.canonical()):
                    return name
        return None

    def _insert(
        self, change: Transaction, listing: Listing, ready: CheckedCase, images: Sequence[Path], label: Path
    ) -> Saved:
        """Commit staged files as a new case; the lock is held."""
        case, name = ready.case, ready.case.name
        if name is None:
            name, number = listing.neutral_name(unlisted.names(self.folder))
            listing = replace(listing, next_case=number)
        elif name.casefold() in {other.casefold() for other in listing.cases}:
            raise DatasetError(
                f"There is a case '{name}' already, with another image.",
                "Choose another name, or remove that case first.",
            )
        files = tuple(StoredFile.of(path, image_file(name, n)) for n, path in enumerate(images))
        current = Revision(1, self._schema_number, StoredFile.of(label, label_file(name, 1)), case.provenance)
        record = change.stage_text(CaseRecord(name, files, case.geometry, current).to_json())
        places = {path: file.file for path, file in zip(images, files, strict=True)}
        places |= {label: current.label.file, record: record_file(name, 1)}
        entry = CaseEntry(1, ready.voxels_sha256)
        change.commit(listing.with_case(name, entry), Change(places, noted=(name, case.source or {})))
        return Saved(name, 1, True)

    def _revise(self, change: Transaction, listing: Listing, name: str, label: Path, case: NewCase) -> Saved:
        """Commit a staged label map as the next revision of a case; the lock is held."""
        entry = listing.entry(name)
        record = self._record(listing, name)
        before, number = record.current, entry.revision + 1
        kept = change.stage_copy(self.own(before.label.file))
        past = replace(before, label=replace(before.label, file=history_file(name, before.number)))
        provenance = replace(case.provenance, replaces=before.number)
        current = Revision(number, self._schema_number, StoredFile.of(label, label_file(name, number)), provenance)
        new = replace(record, current=current, history=(*record.history, past))
        staged_record = change.stage_text(new.to_json())
        change.commit(
            listing.with_case(name, CaseEntry(number, entry.voxels_sha256)),
            Change(
                {kept: past.label.file, label: current.label.file, staged_record: record_file(name, number)},
                [before.label.file, record_file(name, before.number)],
                noted=None if case.source is None else (name, case.source),
            ),
        )
        return Saved(name, number, False)

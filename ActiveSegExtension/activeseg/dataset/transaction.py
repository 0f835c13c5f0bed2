"""A change to a dataset that happens whole or not at all, whatever crashes in between.

Files are written under neutral names into a staging folder inside the dataset (the same file system) and flushed. What
will be moved where is written into the staging folder's journal, and flushed. Then the files are renamed to names that
nothing refers to yet, and flushed again. Replacing ``dataset.json`` is the one commit point: before it, readers see the
old state and the new files are waste; after it, the files it no longer names are waste.

``sweep`` removes waste, and only that: what the journal of a change names whose process is gone. Whatever else lies in
the folders and is not listed (an older ``dataset.json`` was restored, a folder was synchronised) may be a case that
somebody confirmed, and is never removed, see ``unlisted``.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activeseg.core.errors import ActiveSegError, DatasetError
from activeseg.core.records import Count, Sha256, WrongField, from_json, to_json
from activeseg.dataset.layout import FOLDERS, LISTING, check_folders, label_file, named_file, record_file
from activeseg.dataset.listing import Listing
from activeseg.dataset.private_map import PrivateMap
from activeseg.system import file_lock
from activeseg.system.files import check_replacing, is_staging_folder, new_folder, remove_abandoned, sync_to_disk
from activeseg.system.regular_files import is_link, own_path, read_bytes, read_json

Step = Callable[[str], None]
LISTING_LIMIT = 64 * 2**20
_LOCK = ".lock"
_WRITER = ".writer.json"
_JOURNAL, _COMMITTED = "journal.json", "committed"
_UNLOCKED_S = 600.0
"""A staging folder whose lock was never made is waste when it is so old; making the lock takes milliseconds."""
_PARENT_LOCK = ".activeseg-new-dataset.lock"


@dataclass(frozen=True)
class _WriterOfDataset:
    """Told to others while they wait."""

    user: str
    host: str
    pid: Count


@contextlib.contextmanager
def locked(folder: Path, wait_s: float) -> Iterator[None]:
    """Be the only writer. Raises DatasetError that names the other one when it takes longer than ``wait_s``."""

    def busy() -> DatasetError:
        return DatasetError(
            f"The dataset '{folder.name}' is being changed by {_writer(folder)}.",
            "Try again when that is done, or end that program.",
        )

    with file_lock.held(folder / _LOCK, wait_s, busy=busy, failed=lambda error: _failed(folder, error)):
        try:
            with contextlib.suppress(OSError):
                (folder / _WRITER).unlink(missing_ok=True)  # even a link: it is not followed
                with open(folder / _WRITER, "x", encoding="utf-8") as file:
                    json.dump(to_json(_WriterOfDataset(_user(), socket.gethostname(), os.getpid())), file)
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / _WRITER).unlink(missing_ok=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such account, for example in a container
        return "somebody"


def _writer(folder: Path) -> str:
    try:
        who = from_json(_WriterOfDataset, read_json(own_path(folder, _WRITER)))
        return f"{who.user} on {who.host} (process {who.pid})"
    except (ActiveSegError, WrongField):
        return "another program"


@dataclass(frozen=True)
class Change:
    """What a commit does to the files.

    Attributes
    ----------
    places : staged file -> its name in the dataset, which nothing has yet
    obsolete : files that the new listing does not name any more
    noted : case and source for the private map
    forgotten : case that goes from the private map
    """

    places: Mapping[Path, str] = field(default_factory=dict)
    obsolete: Sequence[str] = ()
    noted: tuple[str, Mapping[str, Any]] | None = None
    forgotten: str = ""


@dataclass(frozen=True)
class _Journal:
    """What a staging folder says about its change: SHA-256 of the listing before and after it, and its files."""

    before: Sha256
    after: Sha256
    places: tuple[str, ...]
    obsolete: tuple[str, ...]
    forgotten: str

    @classmethod
    def read(cls, path: Path) -> _Journal | None:
        """None when there is none, or it is none of ours."""
        try:
            journal = from_json(cls, read_json(own_path(path.parent, path.name)))
        except (ActiveSegError, WrongField):
            return None
        return journal if all(named_file(file) for file in (*journal.places, *journal.obsolete)) else None


class Transaction:
    """One change: stage files; then, with the dataset ``locked``, commit. A context manager.

    ``step`` is told of every step that changed something on disk; tests end the process there.
    Leaving without a commit removes everything that was staged or placed.
    """

    def __init__(self, folder: Path, private: PrivateMap, step: Step, wait_s: float) -> None:
        self._folder = folder
        self._private = private
        self._step = step
        self._wait_s = wait_s
        self._staging = folder / f".staging-{uuid.uuid4().hex}"
        self._alive: Any = None
        self._placed: list[Path] = []
        self._noted = False

    @property
    def id(self) -> str:
        """Of this change, 32 hex digits."""
        return self._staging.name.removeprefix(".staging-")

    def __enter__(self) -> Transaction:
        # The folder's own lock is held while this process lives, so that others know that it is no waste. Both come
        # into being under the dataset's lock, which a sweep holds, too.
        with locked(self._folder, self._wait_s):
            check_folders(self._folder)
            sweep_locked(self._folder, self._private)
            try:
                self._staging.mkdir()
                self._alive = file_lock.acquire(self._staging / _LOCK)
                check_replacing(self._folder)
            except OSError as error:
                self._release()
                raise _failed(self._folder, error) from error
        self._step("staging folder made")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._release()
        self._step("staging folder removed")
        if isinstance(error, OSError):
            raise _failed(self._folder, error) from error

    def _release(self) -> None:
        if self._alive is not None:
            self._alive.release()
        shutil.rmtree(self._staging, ignore_errors=True)

    def stage(self, write: Callable[[Path], object], ending: str = "") -> Path:
        """A new file on disk, written by ``write``; a commit gives it its name."""
        fresh = self._staging / f"{uuid.uuid4().hex}{ending}"
        write(fresh)
        sync_to_disk(fresh)
        self._step("staged")
        return fresh

    def stage_text(self, text: str) -> Path:
        return self.stage(lambda path: path.write_text(text, encoding="utf-8"))

    def stage_copy(self, source: Path) -> Path:
        """The same bytes under a second name; files of a dataset are never written to, so a link will do."""

        def link(fresh: Path) -> None:
            try:
                os.link(source, fresh)
            except OSError:  # a file system without hard links
                shutil.copyfile(source, fresh)

        return self.stage(link)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer. What was placed and not committed is removed before the next writer's turn."""
        with locked(self._folder, self._wait_s):
            check_folders(self._folder)
            sweep_locked(self._folder, self._private)  # journals are of no use once a later change was committed
            try:
                yield
            finally:
                if self._placed:
                    self._remove(self._placed)
                if self._noted:
                    self._private.forget_change(self.id)

    def commit(self, listing: Listing, change: Change) -> None:
        """Make ``listing`` the state of the dataset; the dataset is ``locked``.

        Raises DatasetError when one of the files is there already, or the disk does not do as it is told.
        """
        for file in change.places.values():
            if os.path.lexists(self._folder / file):
                raise DatasetError(
                    f"'{file}' lies in '{self._folder.name}' already, and the dataset does not list it.",
                    "Recover the dataset first: that takes back what is readable and sets the rest aside.",
                )
        text = listing.to_json()
        staged = self.stage_text(text)
        self._write_journal(text, change)
        if change.noted:
            self._noted = True
            self._private.add(*change.noted, self.id)
            self._step("noted in the private file")
        for path, file in change.places.items():
            self._placed.append(self._folder / file)
            os.replace(path, self._folder / file)
            self._step(f"placed {file}")
        for folder in {path.parent for path in self._placed}:
            sync_to_disk(folder)
        # From here on waste is left to a sweep: an interrupt must not remove what was committed.
        self._placed, self._noted = [], False
        os.replace(staged, self._folder / LISTING)
        self._step("committed")
        try:
            sync_to_disk(self._folder)
        except OSError as error:
            raise DatasetError(
                f"The dataset '{self._folder.name}' was changed, but the disk does not confirm it: {error.strerror}.",
                "Check the disk, then verify the dataset.",
            ) from error
        (self._staging / _COMMITTED).touch()
        self._step("journal closed")
        self._remove([self._folder / file for file in change.obsolete])
        if change.forgotten:
            self._private.forget(change.forgotten)
            self._step("forgotten in the private file")

    def _write_journal(self, text: str, change: Change) -> None:
        before = read_bytes(self._folder / LISTING, LISTING_LIMIT) if (self._folder / LISTING).is_file() else b""
        journal = _Journal(
            hashlib.sha256(before).hexdigest(),
            hashlib.sha256(text.encode()).hexdigest(),
            tuple(change.places.values()),
            tuple(change.obsolete),
            change.forgotten,
        )
        os.replace(self.stage_text(json.dumps(to_json(journal))), self._staging / _JOURNAL)
        sync_to_disk(self._staging)
        sync_to_disk(self._folder)
        self._step("journal written")

    def _remove(self, paths: Sequence[Path]) -> None:
        for path in paths:
            with contextlib.suppress(OSError):  # what cannot be removed now is swept later
                path.unlink(missing_ok=True)
            self._step(f"removed {path.name}")
        for folder in {path.parent for path in paths}:
            with contextlib.suppress(OSError):  # not removed for good: then it is unlisted, and told
                sync_to_disk(folder)


def sweep(folder: Path, private: PrivateMap) -> tuple[str, ...]:
    """Remove what crashed writers left; gives the names. Skipped while somebody writes, or without the right to.

    Raises DatasetError when the dataset's folders are links.
    """
    check_folders(folder)
    try:
        lock = file_lock.acquire(folder / _LOCK)
    except OSError:
        return ()
    if lock is None:
        return ()
    try:
        return tuple(sweep_locked(folder, private))
    finally:
        lock.release()


def sweep_locked(folder: Path, private: PrivateMap) -> list[str]:
    """``sweep``, by the one who is the only writer."""
    private.sweep()
    removed = remove_abandoned(folder)
    for staging in _staging_folders(folder):
        if _is_alive(staging, never_locked=False):
            continue
        with contextlib.suppress(ActiveSegError):  # a private file that cannot be changed now: the journal stays
            removed += _undo(folder, staging, private)
            shutil.rmtree(staging, ignore_errors=True)
            removed.append(staging.name)
    return removed


def _undo(folder: Path, staging: Path, private: PrivateMap) -> list[str]:
    """Remove the files that the change of a process that is gone has left, in the dataset and in the private map."""
    removed = []
    for file in waste_of(folder, staging):
        path = own_path(folder, file, DatasetError)
        with contextlib.suppress(OSError):
            path.unlink()
            removed.append(file)
    for parent in {(folder / file).parent for file in removed}:
        with contextlib.suppress(OSError):
            sync_to_disk(parent)
    journal, committed = _journal_of(folder, staging)
    if journal is None:
        return removed
    if committed and journal.forgotten and journal.forgotten not in Listing.read(folder).cases:
        private.forget(journal.forgotten)
    if not committed and _sha256_of_listing(folder) == journal.before:
        private.forget_change(staging.name.removeprefix(".staging-"))
    return removed


def waste_of(folder: Path, staging: Path) -> list[str]:
    """The files that a change has left, or is about to remove, by its journal; relative to the dataset's folder.

    Of a change that was committed what it made obsolete, of another one what it had placed. When ``dataset.json`` is
    neither of the two that the change knew, somebody put another one there, and nothing is known to be waste.
    """
    journal, committed = _journal_of(folder, staging)
    if journal is None:
        return []
    now = _sha256_of_listing(folder)
    if now not in ((journal.after,) if committed else (journal.before, journal.after)):
        return []
    files = journal.obsolete if committed or now == journal.after else journal.places
    known = _listed(Listing.read(folder))
    return [file for file in files if file not in known]


def waste(folder: Path) -> set[str]:
    """``waste_of`` all changes, those included that go on at this moment."""
    return {file for staging in _staging_folders(folder) for file in waste_of(folder, staging)}


def _listed(listing: Listing) -> set[str]:
    """Images, current label map and record of each case; what a change may place or make obsolete."""
    found: set[str] = set()
    for name, entry in listing.cases.items():
        found |= {*listing.images_of(name), label_file(name, entry.revision), record_file(name, entry.revision)}
    return found


def _journal_of(folder: Path, staging: Path) -> tuple[_Journal | None, bool]:
    """The journal, and whether its change was committed for sure."""
    return _Journal.read(staging / _JOURNAL), os.path.lexists(staging / _COMMITTED)


def _sha256_of_listing(folder: Path) -> str:
    try:
        return hashlib.sha256(read_bytes(own_path(folder, LISTING), LISTING_LIMIT)).hexdigest()
    except (OSError, ActiveSegError):
        return ""


@contextlib.contextmanager
def present(folder: Path, wait_s: float) -> Iterator[None]:
    """Be known to a process that would remove an empty dataset (``remove_if_unused``) as one who is about to write.

    Raises DatasetError when the dataset is not there any more.
    """
    staging = folder / f".staging-{uuid.uuid4().hex}"
    try:
        with locked(folder, wait_s):
            Listing.read(folder)
            staging.mkdir()
            alive = file_lock.acquire(staging / _LOCK)
    except OSError as error:
        raise _failed(folder, error) from error
    try:
        yield
    finally:
        if alive is not None:
            alive.release()
        shutil.rmtree(staging, ignore_errors=True)


def remove_if_unused(folder: Path) -> None:
    """Remove a dataset without a case, unless another process is about to write, or writes."""
    with contextlib.suppress(ActiveSegError, OSError):
        lock = file_lock.acquire(folder / _LOCK)
        if lock is None:
            return
        try:
            others = any(_is_alive(staging, never_locked=True) for staging in _staging_folders(folder))
            if others or Listing.read(folder).cases or any(_held_files(folder)):
                return
            (folder / LISTING).unlink()  # from now on other processes see that there is none
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            lock.release()
        if not (folder / LISTING).exists():
            shutil.rmtree(folder, ignore_errors=True)  # on Windows an open lock kept the folder


def _held_files(folder: Path) -> Iterator[Path]:
    for part in FOLDERS:
        yield from (path for path in (folder / part).iterdir() if not path.is_dir() and "schema." not in path.name)


@contextlib.contextmanager
def new_dataset(place: Callable[[], Path], wait_s: float) -> Iterator[tuple[Path, Path]]:
    """A folder to build a dataset in, with its sub-folders, and where it will lie; it appears whole if the block
    succeeds.

    ``place`` says where: it is asked while no other process makes a dataset in the same folder, so that no id is given
    twice. Raises DatasetError when something appeared there meanwhile, or the disk refuses.
    """
    first = place()
    parent = first.parent

    def busy() -> DatasetError:
        return DatasetError(f"Another program is making a dataset in '{parent}'.", "Try again when that is done.")

    def failed(error: OSError) -> DatasetError:
        return _failed(first, error)

    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failed(error) from error
    lock = parent / _PARENT_LOCK
    with file_lock.held(lock, wait_s, busy=busy, failed=failed, needed=False):
        try:
            target = place()
            with appearing_whole(target) as staging:
                yield staging, target
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()  # while it is held: who waits for it makes a new one


@contextlib.contextmanager
def appearing_whole(target: Path) -> Iterator[Path]:
    """A folder to build a dataset in, with its sub-folders; it takes ``target``'s place if the block succeeds."""
    alive = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep_beside(target.parent)
        with new_folder(target) as staging:
            try:
                alive = file_lock.acquire(staging / _LOCK)
                for part in FOLDERS:
                    (staging / part).mkdir(parents=True, exist_ok=True)
                yield staging
                for part in FOLDERS:
                    sync_to_disk(staging / part)
            finally:
                if alive is not None:
                    alive.release()  # Windows renames no folder in which a file is open
    except OSError as error:
        if (target / LISTING).exists():
            raise DatasetError(f"There is a dataset '{target.name}' already.", "Open that one.") from error
        raise _failed(target, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a file and wait until it is on disk."""
    path.write_text(text, encoding="utf-8")
    sync_to_disk(path)


def _staging_folders(folder: Path) -> list[Path]:
    """Folders that have the name of our staging folders and are no links."""
    found = [path for path in folder.glob(".staging-*") if is_staging_folder(path.name)]
    return sorted(path for path in found if not is_link(path) and path.is_dir())


def _sweep_beside(folder: Path) -> None:
    """Remove the staging folders of datasets whose makers are gone."""
    for path in _staging_folders(folder):
        if not _is_alive(path, never_locked=True):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(staging: Path, never_locked: bool) -> bool:
    """Whether the process that made this staging folder still holds its lock.

    ``never_locked`` counts one without a lock as alive while it is young: its maker may not have come to locking it.
    Who holds the lock under which such folders are made knows better.
    """
    lock = staging / _LOCK
    if not lock.exists() or is_link(lock):
        try:
            return never_locked and time.time() - staging.stat().st_mtime < _UNLOCKED_S
        except OSError:
            return False
    try:
        return file_lock.is_held(lock)
    except OSError:
        return True


def _failed(folder: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"The dataset '{folder.name}' could not be changed: {error.strerror or error}.",
        "Nothing was changed. Check the disk's free space and the folder's permissions.",
    )

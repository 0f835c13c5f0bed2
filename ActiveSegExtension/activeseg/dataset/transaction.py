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
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activeseg.core.errors import ActiveSegError, DatasetError
from activeseg.core.json_values import WrongField
from activeseg.core.records import Count, from_json, to_json
from activeseg.dataset.layout import LISTING, check_folders
from activeseg.dataset.listing import Listing
from activeseg.dataset.private_map import PrivateMap
from activeseg.dataset.sweeping import COMMITTED, JOURNAL, LISTING_LIMIT, LOCK, Journal, sweep_locked
from activeseg.system import file_lock
from activeseg.system.files import check_replacing, sync_to_disk
from activeseg.system.regular_files import own_path, read_bytes, read_json

Step = Callable[[str], None]
_WRITER = ".writer.json"


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

    with file_lock.held(folder / LOCK, wait_s, busy=busy, failed=lambda error: failed(folder, error)):
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
                self._alive = file_lock.acquire(self._staging / LOCK)
                check_replacing(self._folder)
            except OSError as error:
                self._release()
                raise failed(self._folder, error) from error
        self._step("staging folder made")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._release()
        self._step("staging folder removed")
        if isinstance(error, OSError):
            raise failed(self._folder, error) from error

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
        (self._staging / COMMITTED).touch()
        self._step("journal closed")
        self._remove([self._folder / file for file in change.obsolete])
        if change.forgotten:
            self._private.forget(change.forgotten)
            self._step("forgotten in the private file")

    def _write_journal(self, text: str, change: Change) -> None:
        before = read_bytes(self._folder / LISTING, LISTING_LIMIT) if (self._folder / LISTING).is_file() else b""
        journal = Journal(
            hashlib.sha256(before).hexdigest(),
            hashlib.sha256(text.encode()).hexdigest(),
            tuple(change.places.values()),
            tuple(change.obsolete),
            change.forgotten,
        )
        os.replace(self.stage_text(json.dumps(to_json(journal))), self._staging / JOURNAL)
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


def failed(folder: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"The dataset '{folder.name}' could not be changed: {error.strerror or error}.",
        "Nothing was changed. Check the disk's free space and the folder's permissions.",
    )

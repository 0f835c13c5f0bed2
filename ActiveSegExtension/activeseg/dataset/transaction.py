"""A change to a dataset that happens whole or not at all, whatever crashes in between.

Files are written under neutral names into a staging folder inside the dataset (the same file system), flushed to disk,
renamed to names that nothing refers to yet, and flushed again. Replacing ``dataset.json`` is the one commit point:
before it, readers see the old state and the new files are waste; after it, the files it no longer names are waste.
``sweep`` removes waste.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from activeseg.dataset.layout import (
    FOLDERS,
    HISTORY,
    IMAGES,
    LABELS,
    LISTING,
    PROVENANCE,
    history_file,
    label_file,
    record_file,
    schema_file,
)
from activeseg.dataset.listing import Listing
from activeseg.errors import DatasetError
from activeseg.volume import sync_to_disk

Step = Callable[[str], None]
_LOCK = ".lock"
_WRITER = ".writer.json"
_STAGING = ".staging-"


@contextlib.contextmanager
def locked(folder: Path, wait_s: float) -> Iterator[None]:
    """Be the only writer. Raises DatasetError that names the other one when it takes longer than ``wait_s``."""
    lock = FileLock(str(folder / _LOCK))
    try:
        lock.acquire(timeout=wait_s)
    except Timeout as error:
        raise DatasetError(
            f"The dataset '{folder.name}' is being changed by {_writer(folder)}.",
            "Try again when that is done, or end that program.",
        ) from error
    except OSError as error:
        raise _failed(folder, error) from error
    try:
        with contextlib.suppress(OSError):
            who = {"user": _user(), "host": socket.gethostname(), "pid": os.getpid()}
            (folder / _WRITER).write_text(json.dumps(who), encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / _WRITER).unlink(missing_ok=True)
        lock.release()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such account, for example in a container
        return "somebody"


def _writer(folder: Path) -> str:
    try:
        who = json.loads((folder / _WRITER).read_text(encoding="utf-8"))
        return f"{who['user']} on {who['host']} (process {who['pid']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another program"


class Transaction:
    """One change: stage files; then, with the dataset ``locked``, place them and commit. A context manager.

    ``step`` is told of every step that changed something on disk; tests end the process there.
    Leaving without a commit removes everything that was staged or placed.
    """

    def __init__(self, folder: Path, step: Step, wait_s: float) -> None:
        self._folder = folder
        self._step = step
        self._wait_s = wait_s
        self._staging = folder / f"{_STAGING}{uuid.uuid4().hex}"
        self._alive = FileLock(str(self._staging / _LOCK))
        self._placed: list[Path] = []

    def __enter__(self) -> Transaction:
        # The folder's own lock is held while this process lives, so that others know that it is no waste. Both come
        # into being under the dataset's lock, which a sweep holds, too.
        with locked(self._folder, self._wait_s):
            try:
                self._staging.mkdir()
                self._alive.acquire(timeout=0)
            except OSError as error:
                raise _failed(self._folder, error) from error
        self._step("staging folder made")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._alive.release()
        shutil.rmtree(self._staging, ignore_errors=True)
        self._step("staging folder removed")
        if isinstance(error, OSError):
            raise _failed(self._folder, error) from error

    def stage(self, write: Callable[[Path], object], ending: str = "") -> Path:
        """A new file on disk, written by ``write``; ``place`` gives it its name."""
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
            try:
                yield
            finally:
                self._remove(self._placed)

    def place(self, staged: Path, file: str) -> None:
        """Rename to ``file`` (relative to the dataset), a name that ``dataset.json`` does not mention."""
        target = self._folder / file
        self._placed.append(target)
        os.replace(staged, target)
        self._step(f"placed {file}")

    def commit(self, listing: Listing, obsolete: list[str]) -> None:
        """Make ``listing`` the state of the dataset, then remove the files ``obsolete``."""
        for folder in {path.parent for path in self._placed}:
            sync_to_disk(folder)
        staged = self.stage_text(listing.to_json())
        self._placed = []  # from here on waste is left to a sweep: an interrupt must not remove what was committed
        os.replace(staged, self._folder / LISTING)
        self._step("committed")
        try:
            sync_to_disk(self._folder)
        except OSError as error:
            raise DatasetError(
                f"The dataset '{self._folder.name}' was changed, but the disk does not confirm it: {error.strerror}.",
                "Check the disk, then verify the dataset.",
            ) from error
        self._remove([self._folder / file for file in obsolete])

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            with contextlib.suppress(OSError):  # what cannot be removed now is swept later
                path.unlink(missing_ok=True)
            self._step(f"removed {path.name}")


def sweep(folder: Path) -> tuple[str, ...]:
    """Remove what crashed writers left; gives the names. Skipped while somebody writes, or without the right to.

    All ``.nii.gz`` and ``.json`` files that the listing does not mention go: a dataset's folders are its own.
    """
    removed: list[str] = []
    lock = FileLock(str(folder / _LOCK))
    try:
        lock.acquire(timeout=0)
    except OSError:  # Timeout is one
        return ()
    try:
        removed += _sweep_staging(folder)
        for path in unreferenced(folder, Listing.read(folder)):
            with contextlib.suppress(OSError):
                path.unlink()
                removed.append(path.relative_to(folder).as_posix())
    finally:
        lock.release()
    return tuple(removed)


def unreferenced(folder: Path, listing: Listing) -> list[Path]:
    """Images, label maps and records that the listing does not mention."""
    known = {schema_file(number) for number in range(1, listing.schema_number + 1)}
    for name, entry in listing.cases.items():
        known |= {*listing.images_of(name), label_file(name, entry.revision), record_file(name, entry.revision)}
        known |= {history_file(name, revision) for revision in range(1, entry.revision)}
    candidates = [path for part in (IMAGES, LABELS, HISTORY) for path in (folder / part).glob("*.nii.gz")]
    candidates += (folder / PROVENANCE).glob("*.json")
    return [path for path in sorted(candidates) if path.relative_to(folder).as_posix() not in known]


@contextlib.contextmanager
def appearing_whole(target: Path) -> Iterator[Path]:
    """A folder to build a dataset in, with its sub-folders; it takes ``target``'s place if the block succeeds."""
    staging = target.with_name(f"{_STAGING}{uuid.uuid4().hex}")
    alive = FileLock(str(staging / _LOCK))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep_staging(target.parent)
        for part in FOLDERS:
            (staging / part).mkdir(parents=True)
        alive.acquire(timeout=0)
        yield staging
        for path in (staging, *(staging / part for part in FOLDERS)):
            sync_to_disk(path)
        alive.release()
        if target.is_dir():
            target.rmdir()  # only an empty one
        os.rename(staging, target)
        sync_to_disk(target.parent)
    except OSError as error:
        raise _failed(target, error) from error
    finally:
        alive.release()
        shutil.rmtree(staging, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a file and wait until it is on disk."""
    path.write_text(text, encoding="utf-8")
    sync_to_disk(path)


def _sweep_staging(folder: Path) -> list[str]:
    """Remove the staging folders of processes that are gone; gives their names."""
    dead = [path for path in folder.glob(f"{_STAGING}*") if not _is_alive(path)]
    for path in dead:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in dead]


def _is_alive(staging: Path) -> bool:
    """Whether the process that made this staging folder still holds its lock, or has not come to locking it yet."""
    if not (staging / _LOCK).exists():
        return True
    lock = FileLock(str(staging / _LOCK))
    try:
        lock.acquire(timeout=0)
    except OSError:  # Timeout is one
        return True
    lock.release()
    return False


def _failed(folder: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"The dataset '{folder.name}' could not be changed: {error.strerror or error}.",
        "Nothing was changed. Check the disk's free space and the folder's permissions.",
    )

"""How a dataset comes into being, whole or not at all, and goes again when nothing was put into it."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from activeseg.core.errors import ActiveSegError, DatasetError
from activeseg.dataset.layout import FOLDERS, LISTING
from activeseg.dataset.listing import Listing
from activeseg.dataset.sweeping import LOCK, is_alive, staging_folders, sweep_beside
from activeseg.dataset.transaction import failed, locked
from activeseg.system import file_lock
from activeseg.system.files import new_folder, sync_to_disk

_PARENT_LOCK = ".activeseg-new-dataset.lock"


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
            alive = file_lock.acquire(staging / LOCK)
    except OSError as error:
        raise failed(folder, error) from error
    try:
        yield
    finally:
        if alive is not None:
            alive.release()
        shutil.rmtree(staging, ignore_errors=True)


def remove_if_unused(folder: Path) -> None:
    """Remove a dataset without a case, unless another process is about to write, or writes."""
    with contextlib.suppress(ActiveSegError, OSError):
        lock = file_lock.acquire(folder / LOCK)
        if lock is None:
            return
        try:
            others = any(is_alive(staging, never_locked=True) for staging in staging_folders(folder))
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

    def refused(error: OSError) -> DatasetError:
        return failed(first, error)

    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(error) from error
    lock = parent / _PARENT_LOCK
    with file_lock.held(lock, wait_s, busy=busy, failed=refused, needed=False):
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
        sweep_beside(target.parent)
        with new_folder(target) as staging:
            try:
                alive = file_lock.acquire(staging / LOCK)
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
        raise failed(target, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a file and wait until it is on disk."""
    path.write_text(text, encoding="utf-8")
    sync_to_disk(path)

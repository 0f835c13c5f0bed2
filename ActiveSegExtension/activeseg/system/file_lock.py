"""Locks between processes: one holder at a time, given back by the system when the holder dies."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from activeseg.core.errors import ActiveSegError

if TYPE_CHECKING:
    from filelock import FileLock

_NO_LOCKS = frozenset(
    getattr(errno, name) for name in ("ENOTSUP", "EOPNOTSUPP", "ENOLCK", "ENOSYS", "EINVAL") if hasattr(errno, name)
)


class NoLocks(OSError):
    """The drive cannot lock files, so it is not known whether somebody else holds the lock."""


def acquire(path: Path, wait_s: float = 0.0) -> FileLock | None:
    """The lock on the file ``path`` (made when it is not there), held until its ``release``.

    None when another process holds it for longer than ``wait_s``. Raises OSError, NoLocks for a drive without locks.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(str(path))
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        return None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocks(error.errno, f"this drive cannot lock files ({error.strerror})", str(path)) from error
        raise
    return lock


@contextlib.contextmanager
def held(
    path: Path,
    wait_s: float,
    *,
    busy: Callable[[], ActiveSegError],
    failed: Callable[[OSError], ActiveSegError],
    needed: bool = True,
) -> Iterator[None]:
    """Hold the lock on the file ``path`` for a block.

    Parameters
    ----------
    wait_s
        How long to wait for another holder.
    busy
        The error to raise when that takes longer.
    failed
        The error to raise when the file cannot be made or locked.
    needed
        False goes on without a lock on a drive that has none.
    """
    lock = None
    try:
        lock = acquire(path, wait_s)
        if lock is None:
            raise busy()
    except OSError as error:
        if needed or not isinstance(error, NoLocks):
            raise failed(error) from error
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def is_held(path: Path, wait_s: float = 0.0) -> bool:
    """Whether another process holds the lock, at the end of ``wait_s`` at the latest. Raises as ``acquire``."""
    lock = acquire(path, wait_s)
    if lock is None:
        return True
    lock.release()
    return False

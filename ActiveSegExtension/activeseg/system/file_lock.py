"""Locks between processes: one holder at a time, given back by the system when the holder dies."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

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

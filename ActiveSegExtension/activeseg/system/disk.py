"""Disks that are full: told before the work with what is needed, and afterwards with which disk it is."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from activeseg.core.errors import DeviceError
from activeseg.core.sizes import size_text

RESERVE_BYTES = 64 << 20
"""Kept free beside what is needed: other programs write too."""

_FULL = frozenset(getattr(errno, name) for name in ("ENOSPC", "EDQUOT") if hasattr(errno, name))
_SAID = re.compile(r"no space left|disk quota exceeded|\d+ requested and \d+ written", re.IGNORECASE)
"""Where a library keeps no number: ITK, zlib, and numpy's ``tofile``."""
_ACTION = "Free some space on that disk, or choose a folder on another one."


def free_bytes(folder: Path) -> int | None:
    """Bytes free where a folder is or will be; None where the system does not say."""
    for existing in (folder, *folder.parents):
        try:
            return shutil.disk_usage(existing).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def refuse_full(needed: Mapping[Path, int], what: str) -> None:
    """Raise DeviceError when fewer bytes are free than are needed in the folders for ``what`` (a sentence's end).

    Folders on one disk count together; the error names the first of them.
    """
    first: dict[int, Path] = {}
    together: dict[int, int] = {}
    for folder, count in needed.items():
        disk = _disk_of(folder)
        first.setdefault(disk, folder)
        together[disk] = together.get(disk, RESERVE_BYTES) + count
    for disk, count in together.items():
        free = free_bytes(first[disk])
        if free is not None and free < count:
            raise DeviceError(
                f"The disk with '{first[disk]}' is too full: about {size_text(count)} are needed for {what}, "
                f"{size_text(free)} are free.",
                _ACTION,
                cause="disk",
                folder=str(first[disk]),
                needed_bytes=count,
                free_bytes=free,
            )


def _disk_of(folder: Path) -> int:
    for existing in (folder, *folder.parents):
        try:
            return existing.stat().st_dev
        except OSError:
            continue
    return -1


def told_full(error: BaseException | None, folder: Path) -> DeviceError | None:
    """The error for a disk that was full or read-only, if that is what happened; else None.

    ``folder`` is where the work was done; a file that the error names tells better.
    """
    seen = 0
    while error is not None and seen < 20:
        number = error.errno if isinstance(error, OSError) else None
        full = number in _FULL or (isinstance(error, OSError | RuntimeError) and _SAID.search(str(error)) is not None)
        if full or number == errno.EROFS:
            return _told(folder if not isinstance(error, OSError) else _place(error, folder), full)
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def _place(error: OSError, folder: Path) -> Path:
    named = error.filename2 or error.filename
    return Path(named).absolute().parent if isinstance(named, str) and named else folder


def _told(folder: Path, full: bool) -> DeviceError:
    if not full:
        return DeviceError(
            f"The folder '{folder}' cannot be written: its disk is read-only.",
            "Choose a folder on another disk.",
            cause="disk",
            folder=str(folder),
        )
    free = free_bytes(folder)
    left = "" if free is None else f" ({size_text(free)} are free)"
    return DeviceError(
        f"The disk with '{folder}' is full{left}: nothing more can be written to it.",
        _ACTION,
        cause="disk",
        folder=str(folder),
        free_bytes=free,
    )

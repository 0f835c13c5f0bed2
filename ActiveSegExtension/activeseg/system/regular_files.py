"""Files of strangers: opened only when they are regular files, and read no further than a sane size.

A FIFO would hang its reader, ``/dev/zero`` would fill the memory, and JSON can be nested deeper than Python's stack.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from activeseg.core.errors import ActiveSegError, InputError

JSON_LIMIT = 64 * 2**20
"""The largest JSON file that is read (bytes); nnU-Net's plans and our records of 100,000 cases are far below."""


def open_regular(path: Path) -> BinaryIO:
    """A regular file, opened for reading.

    Raises
    ------
    OSError
        It is not there or cannot be opened.
    InputError
        It is a folder, FIFO, socket or device. Nothing was read from it, and nothing waited for.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags)
    except PermissionError:
        if path.is_dir():  # how Windows answers for a folder
            raise _not_a_file(path) from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _not_a_file(path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: Path, limit: int) -> bytes:
    """All bytes of a regular file of at most ``limit`` bytes. Raises as ``open_regular``, InputError when larger."""
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"'{path.name}' is larger than {limit // 2**20} MiB, which no such file is.")
    return data


def read_json(
    path: Path, error: type[ActiveSegError] = InputError, action: str = "", *, limit: int = JSON_LIMIT, **details: Any
) -> dict[str, Any]:
    """The JSON object in a file.

    Raises
    ------
    error
        Whatever is wrong: missing, unreadable, not a regular file, larger than ``limit`` bytes, no JSON, nested too
        deeply, or not an object. The sentence names the file; ``action`` follows it, its details are
        ``details`` and ``file``, the path.
    """
    try:
        data = json.loads(read_bytes(path, limit).decode("utf-8"))
    except FileNotFoundError:
        why = "is missing"
    except OSError as cause:
        why = f"cannot be read: {cause.strerror or cause}"
    except InputError as cause:
        raise error(cause.message, action, file=str(path), **details) from cause
    except RecursionError:
        why = "is damaged: it is nested too deeply"
    except ValueError as cause:  # UnicodeDecodeError and JSONDecodeError, and numbers of more than 4,300 digits
        why = f"is damaged: {cause}"
    else:
        if isinstance(data, dict):
            return data
        why = f"is damaged: it holds a {type(data).__name__}, not an object"
    raise error(f"The file '{path.name}' {why}.", action, file=str(path), **details)


def is_link(path: Path) -> bool:
    """Whether a name is a symbolic link, or a junction of Windows, wherever it leads; False when nothing is there."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return False
    tags = (getattr(stat, "IO_REPARSE_TAG_SYMLINK", -1), getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1))
    return stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", 0) in tags


def own_path(folder: Path, name: str, error: type[ActiveSegError] = InputError) -> Path:
    """``folder/name`` (parts divided by ``/``), which lies there itself: no part of ``name`` is a link.

    Raises ``error`` when one is; nothing need be there.
    """
    path = folder
    for part in name.split("/"):
        path = path / part
        if is_link(path):
            where = path.relative_to(folder).as_posix()
            raise error(
                f"'{where}' in '{folder.name}' is a link; what belongs to it must lie in its own folder.",
                "Replace the link by what it leads to, if you know where that is from.",
                file=str(path),
            )
    return path


def own_file(folder: Path, name: str, error: type[ActiveSegError] = InputError) -> Path:
    """As ``own_path``, of a regular file that is there. Raises ``error`` otherwise."""
    path = own_path(folder, name, error)
    try:
        found = os.lstat(path)
    except OSError as cause:
        raise error(
            f"The file '{name}' is missing in '{folder.name}'.", "Restore it from a backup.", file=str(path)
        ) from cause
    if not stat.S_ISREG(found.st_mode):
        raise error(f"'{name}' in '{folder.name}' is not a regular file.", "Restore it from a backup.", file=str(path))
    return path


def _not_a_file(path: Path) -> InputError:
    return InputError(f"'{path.name}' is not a regular file.", "Give a file, not a folder, a pipe or a device.")

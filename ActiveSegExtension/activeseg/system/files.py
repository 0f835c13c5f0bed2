"""Files that appear whole or not at all, on disk for good; and what killed writers left behind."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from activeseg.system.regular_files import is_link


@contextlib.contextmanager
def replacing(path: Path, suffix: str) -> Iterator[Path]:
    """A fresh sibling to write to (its name ends in ``suffix``), which takes ``path``'s place if the block succeeds.

    The file and the folder's entry are on disk before the block counts as done. Otherwise the sibling is removed; that
    of a process that was killed is removed by ``remove_abandoned``.
    """
    fresh = _temporary(path.parent, "activeseg", suffix)
    try:
        yield fresh
        sync_to_disk(fresh)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_to_disk(path.parent)


def write_json(path: Path, content: Any, mode: int = 0o666, indent: int | None = 1) -> None:
    """Replace a file by this content (``replacing``); ``mode`` are its rights, less those that the user withholds."""
    text = json.dumps(content, indent=indent) + "\n"
    with replacing(path, path.suffix) as fresh, open(fresh, "x", encoding="utf-8", opener=_with_mode(mode)) as file:
        file.write(text)


def _with_mode(mode: int) -> Any:
    return lambda name, flags: os.open(name, flags, mode)


@contextlib.contextmanager
def a_new_file(path: Path) -> Iterator[Path]:
    """As ``replacing``, but a file that is there meanwhile, or already, stays as it is and the new one goes."""
    fresh = _temporary(path.parent, "activeseg", path.suffix)
    try:
        yield fresh
        sync_to_disk(fresh)
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        except OSError:  # a drive without hard links
            if not path.exists():
                os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_to_disk(path.parent)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it where they are missing, on disk for good. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    for path in missing:
        sync_to_disk(path.parent)


@contextlib.contextmanager
def new_folder(target: Path, mode: int = 0o777) -> Iterator[Path]:
    """A fresh sibling folder to fill, which becomes ``target`` if the block succeeds; an empty one there gives way.

    The block flushes the files; the folder and its entry are on disk before it counts as done. Otherwise the sibling
    is removed; that of a process that was killed is removed by ``remove_abandoned``.

    Raises
    ------
    OSError
        Something lies at ``target`` (it stays), or the disk refuses.
    """
    fresh = staging_folder(target.parent)
    fresh.mkdir(mode=mode)
    try:
        yield fresh
        sync_to_disk(fresh)
        if target.is_dir():
            target.rmdir()
        os.rename(fresh, target)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    sync_to_disk(target.parent)


_TEMPORARY = re.compile(
    r"\.(?P<kind>activeseg|staging)"
    r"-(?:(?P<place>[0-9a-f]{12})-(?P<pid>\d{1,10})-[0-9a-f]{12}|[0-9a-f]{32})(\.\w+)*"
)
"""Names of ``replacing`` and ``staging_folder``, also as earlier versions gave them."""
_ABANDONED_S = 3600.0


def staging_folder(folder: Path) -> Path:
    """A name in ``folder`` for a new folder that is renamed when it is whole; ``remove_abandoned`` knows it."""
    return _temporary(folder, "staging")


def is_temporary_file(name: str) -> bool:
    """Whether ``replacing`` gives such names."""
    found = _TEMPORARY.fullmatch(name)
    return found is not None and found["kind"] == "activeseg"


def is_staging_folder(name: str) -> bool:
    """Whether ``staging_folder`` gives such names."""
    found = _TEMPORARY.fullmatch(name)
    return found is not None and found["kind"] == "staging"


def _temporary(folder: Path, kind: str, suffix: str = "") -> Path:
    return folder / f".{kind}-{_writer()}-{uuid.uuid4().hex[:12]}{suffix}"


def remove_abandoned(folder: Path, staging: bool = False) -> list[str]:
    """Remove the siblings of ``replacing`` whose writer was killed, with ``staging`` also the folders of
    ``staging_folder``; gives their names.

    The writer is known by the name: a process of this computer that is no more, else (another computer, a program of
    an earlier version) one that has not touched the file for an hour. Links are left alone.
    """
    removed = []
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            named = _TEMPORARY.fullmatch(entry.name)
            if named is None or is_link(Path(entry.path)):
                continue
            if (named["kind"] == "staging") != entry.is_dir() or (entry.is_dir() and not staging):
                continue
            with contextlib.suppress(OSError):
                old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_S
                if old or _is_gone(named["place"], named["pid"]):
                    (shutil.rmtree if entry.is_dir() else os.unlink)(entry.path)
                    removed.append(entry.name)
    return sorted(removed)


def _writer() -> str:
    """This process, as others of this computer can look it up."""
    return f"{_place()}-{os.getpid()}"


def _place() -> str:
    """Where a process id means something: this computer, and on Linux this container."""
    import platform

    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:12]


def _is_gone(place: str | None, pid: str | None) -> bool:
    if os.name != "posix" or pid is None or place != _place():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


_NOT_OFFERED = frozenset(
    getattr(errno, name)
    for name in ("EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EPERM", "EACCES", "ENOTTY", "EBADF", "EISDIR")
    if hasattr(errno, name)
)
"""How network drives and foreign file systems answer for what they do not offer; none of it says that data are lost."""


def sync_to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on disk, as far as the drive offers it.

    Raises OSError for a real fault (full, broken, not there), not for a drive that cannot flush (EINVAL, ENOTSUP).
    """
    folder = path.is_dir()
    if folder and os.name != "posix":
        return
    try:
        handle = os.open(path, (os.O_RDONLY if folder else os.O_RDWR) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if folder and error.errno in _NOT_OFFERED:
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
    finally:
        os.close(handle)


def set_rights(path: Path | int, mode: int) -> bool:
    """``chmod`` (a path, or an open file's number where the system can), as far as the drive keeps rights.

    Returns whether it took them. Raises OSError for a real fault, not for a drive that refuses (EPERM, ENOTSUP).
    """
    if isinstance(path, int) and os.chmod not in os.supports_fd:
        return False
    try:
        os.chmod(path, mode)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
        return False
    return True


def check_replacing(folder: Path) -> None:
    """Raise OSError when the drive does not let one file take another one's place: found out before work, not after.

    Nothing stays in ``folder``.
    """
    old, new = (_temporary(folder, "activeseg", ".probe") for _ in range(2))
    try:
        old.write_bytes(b"")
        new.write_bytes(b"")
        try:
            os.replace(new, old)
        except OSError as error:
            why = error.strerror or str(error)
            raise OSError(error.errno, f"this drive does not let a file replace another one ({why})") from error
    finally:
        for path in (old, new):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

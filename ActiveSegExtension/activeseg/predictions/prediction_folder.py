"""The folder of a prediction as one thing: which files in it are ours, and how a new prediction takes its place.

The new one is made in a hidden sibling, gets (as hard links where the disk has them) what else lies in the old folder,
and is exchanged with it in one step. Killed at any moment, the folder holds the old prediction or the new one, and the
user's own files; only where the system cannot exchange folders it is missing for an instant, and ``recover`` brings it
back. What is left in siblings is swept by the next ``recover``.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from activeseg.core.errors import EngineError, InputError
from activeseg.system.files import is_temporary_file, make_folder, sync_to_disk
from activeseg.system.regular_files import is_link, open_regular

RECORD = "prediction.json"
FILES = frozenset(
    {
        RECORD,
        "alternatives.npz",
        "labels.nii.gz",
        "overview.png",
        "regions.json",
        "segmentation.seg.nrrd",
        "uncertainty.nii.gz",
    }
)
"""Names of a prediction's own files; everything else in such a folder is the user's."""
LOCK_WAIT_S = 60.0
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h, RENAME_SWAP of sys/stdio.h
_AT_FDCWD = -100


def fingerprints(folder: Path) -> dict[str, str]:
    """SHA-256 of each of our files that lies in a folder, but of the record itself."""
    found = {}
    for name in sorted(FILES - {RECORD}):
        if (folder / name).is_file():
            with open_regular(folder / name) as file:
                found[name] = _sha256(file)
    return found


def is_unchanged(path: Path, sha256: str) -> bool:
    """Whether a file is there, a regular one, and holds what was written."""
    if is_link(path):
        return False
    try:
        with open_regular(path) as file:
            return _sha256(file) == sha256
    except (OSError, InputError):  # missing, a folder, a pipe: not what was written
        return False


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def making(folder: Path) -> Iterator[Path]:
    """A new folder of mode 0700 to be filled, which takes ``folder``'s place when the block succeeds.

    Others who write beside it wait meanwhile. Raises OSError, and EngineError when it takes them too long; then
    ``folder`` is as it was.
    """
    make_folder(folder.parent)
    with _alone(folder.parent, LOCK_WAIT_S) as alone:
        _recover(folder, alone)
        fresh = Path(tempfile.mkdtemp(prefix=temporary_prefix(folder, "new"), dir=folder.parent))
        try:
            yield fresh
            _replace(fresh, folder)
        except BaseException:
            _merge_back(fresh, folder)
            raise


def restore(folder: Path) -> None:
    """Bring a folder back that a writer was about to replace when it was killed; nothing is removed."""
    if not os.path.lexists(folder):
        for path in _siblings(folder, "old"):
            with contextlib.suppress(OSError):
                os.rename(path, folder)
                return


def recover(folder: Path, wait_s: float = LOCK_WAIT_S, spared: frozenset[str] | None = None) -> None:
    """``restore``, and sweep what dead writers left beside the folder.

    ``spared`` names siblings that stay: with it given, those of an unknown writer are swept even where
    the disk has no locks. Raises EngineError when another writer is at it for longer than ``wait_s``.
    """
    if not _siblings(folder, "old") and not _siblings(folder, "new"):
        return
    with _alone(folder.parent, wait_s) as alone:
        _recover(folder, alone or spared is not None, spared or frozenset())


def names_beside(folder: Path) -> frozenset[str]:
    """Names of the siblings that writers have made so far."""
    return frozenset(path.name for kind in ("new", "old") for path in _siblings(folder, kind))


def remove_ours(folder: Path) -> None:
    """Remove our files from a folder, and the folder if nothing else is in it."""
    for name in FILES:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def temporary_prefix(folder: Path, kind: str) -> str:
    """Without the folder's name: that may be a patient's, and as long as a name can be."""
    known = hashlib.sha256(folder.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f".activeseg-{known}-{kind}-"


def _siblings(folder: Path, kind: str) -> list[Path]:
    prefix = temporary_prefix(folder, kind)
    try:
        names = sorted(name for name in os.listdir(folder.parent) if name.startswith(prefix))
    except OSError:
        return []
    return [path for path in (folder.parent / name for name in names) if path.is_dir() and not is_link(path)]


def _recover(folder: Path, sweep: bool, spared: frozenset[str] = frozenset()) -> None:
    restore(folder)
    for path in (*_siblings(folder, "old"), *_siblings(folder, "new")) if sweep else ():
        if path.name not in spared:
            _merge_back(path, folder)


def _replace(fresh: Path, folder: Path) -> None:
    """All is on disk before it is exchanged, and the exchange before anything of the old folder is removed."""
    for path in fresh.iterdir():
        sync_to_disk(path)
    if not os.path.lexists(folder):
        sync_to_disk(fresh)
        os.rename(fresh, folder)
        sync_to_disk(folder.parent)
        return
    for entry in folder.iterdir():
        if entry.name not in FILES:
            _carry(entry, fresh / entry.name)
    sync_to_disk(fresh)
    old = fresh
    if not _exchanged(fresh, folder):
        old = folder.with_name(fresh.name.replace("-new-", "-old-"))
        os.rename(folder, old)
        try:
            os.rename(fresh, folder)
        except BaseException:
            os.rename(old, folder)
            raise
    sync_to_disk(folder.parent)
    _merge_back(old, folder)


def _carry(entry: Path, target: Path) -> None:
    """The user's file, link or folder once more, on disk: as hard links where the disk has them, else as copies."""
    kind = entry.lstat().st_mode
    if stat.S_ISDIR(kind):
        target.mkdir()
        for inner in entry.iterdir():
            _carry(inner, target / inner.name)
        sync_to_disk(target)
        with contextlib.suppress(OSError):
            shutil.copystat(entry, target)
    elif stat.S_ISLNK(kind):
        os.symlink(os.readlink(entry), target)
    else:
        try:
            os.link(entry, target, follow_symlinks=False)
        except (OSError, NotImplementedError):
            if not stat.S_ISREG(kind):
                raise
            shutil.copyfile(entry, target)
            sync_to_disk(target)
            with contextlib.suppress(OSError):  # a drive without rights
                shutil.copystat(entry, target)


def _merge_back(left: Path, folder: Path) -> None:
    """Remove a sibling: our files go; of the user's each stays in ``folder``, where a newer one takes its place."""
    with contextlib.suppress(OSError):
        for entry in list(left.iterdir()):
            if is_temporary_file(entry.name) or (entry.name in FILES and not entry.is_dir()):
                entry.unlink()
            elif os.path.lexists(folder):
                _merge_entry(entry, folder / entry.name)
        left.rmdir()


def _merge_entry(entry: Path, place: Path) -> None:
    with contextlib.suppress(OSError):
        if not os.path.lexists(place):
            os.rename(entry, place)
        elif _is_folder(entry) and _is_folder(place):
            for inner in list(entry.iterdir()):
                _merge_entry(inner, place / inner.name)
            entry.rmdir()
        elif not _is_folder(entry) and not _is_folder(place):
            if not _same(entry, place) and entry.lstat().st_mtime_ns > place.lstat().st_mtime_ns:
                os.replace(entry, place)
            else:
                entry.unlink()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not is_link(path)


def _same(one: Path, other: Path) -> bool:
    if is_link(one) or is_link(other):
        return is_link(one) and is_link(other) and os.readlink(one) == os.readlink(other)
    if os.path.samestat(one.lstat(), other.lstat()):
        return True
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change their names in one step; False where the system or the disk cannot."""
    if sys.platform == "win32":
        return False
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            return int(libc.renamex_np(first, second, _EXCHANGE)) == 0
        return int(libc.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _EXCHANGE)) == 0
    except AttributeError:
        return False


@contextlib.contextmanager
def _alone(parent: Path, wait_s: float) -> Iterator[bool]:
    """Hold the lock on a folder for its writers of predictions; False where there is none. It leaves no file."""
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    descriptor = os.open(parent, os.O_RDONLY)
    try:
        end = time.monotonic() + wait_s
        locked = False
        while not locked:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                    break  # this drive has no locks
                if time.monotonic() >= end:
                    raise EngineError(
                        f"Another program has been writing in '{parent}' for {wait_s:.0f} s.",
                        "Try again when it is done, or end it.",
                    ) from error
                time.sleep(0.05)
        yield locked
    finally:
        os.close(descriptor)

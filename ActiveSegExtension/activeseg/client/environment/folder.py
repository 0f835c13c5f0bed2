"""The folder that holds the engine's environment: what is in it, whose it is, how large it is, how it is emptied.

::

    activeseg-environment.json   marker: this folder is ours; how it was installed, or which other Python is used
    activeseg-environment.lock   held while something in it is being changed
    environment/                 the Python environment; installed.json in it is written last
    staging/                     the next one while it is being made; renamed to environment/
    uv/  python/  cache/         the installer, a Python if one had to be downloaded, what was downloaded so far
    install.log                  what the installer said the last time
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.client.environment.failure import failure_of
from activeseg.core.errors import EngineError, InputError
from activeseg.core.progress import Progress
from activeseg.core.sizes import size_text
from activeseg.system.files import is_temporary_file, remove_abandoned, write_json
from activeseg.system.regular_files import read_bytes
from activeseg.system.regular_files import read_json as read_object

FORMAT = 1
MARKER, LOCK_FILE, INSTALLED = "activeseg-environment.json", "activeseg-environment.lock", "installed.json"
DOWNLOADS = "downloads.json"
PRIVATE = 0o600
"""Records are readable only for the user: an index's address tells where an organisation keeps its packages."""
_MARKER_LIMIT = 1 << 20
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_SITE_PACKAGES = ("lib/*/site-packages", "Lib/site-packages")
_FOLDERS = ("staging", "replaced", "cache", "environment", "uv", "python")
_LARGE = (
    *(f"{name}/{packages}/*" for name in ("staging", "replaced", "environment") for packages in _SITE_PACKAGES),
    "cache/*/*",
    "python/*",
)
"""What is removed piece by piece, so that progress can be told."""
_FILES = ("uv.toml", "requirements.txt", "pins.txt", "excludes.txt", "packages.txt", DOWNLOADS, "install.log")
_BEGINNING = re.compile(r'\s*\{\s*"activeseg_environment": 1\b')
_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, getattr(errno, "EDEADLOCK", errno.EAGAIN)}


@dataclass(frozen=True)
class EnvironmentFolder:
    """Paths in one such folder, and what may be done to it."""

    path: Path

    @property
    def environment(self) -> Path:
        return self.path / "environment"

    @property
    def staging(self) -> Path:
        return self.path / "staging"

    @property
    def replaced(self) -> Path:
        return self.path / "replaced"

    @property
    def uv(self) -> Path:
        return self.path / "uv"

    @property
    def python(self) -> Path:
        return self.path / "python"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def log(self) -> Path:
        return self.path / "install.log"

    def marker(self) -> dict[str, Any] | None:
        """What the marker says; None when the folder is not ours.

        Of a marker that was cut off (a full disk, a power failure) nothing is known; the folder is ours if it begins as
        ours do, or holds nothing but what we make. Then the answer is empty.
        """
        found = read_json(self.path / MARKER)
        if found is not None:
            return found if found.get("activeseg_environment") == FORMAT else None
        try:
            text = read_bytes(self.path / MARKER, _MARKER_LIMIT).decode("utf-8")
            json.loads(text)
        except (OSError, InputError, UnicodeError, RecursionError):
            return None
        except ValueError:
            return {} if _BEGINNING.match(text) or (not text.strip("\0 \n") and self._is_made_by_us()) else None
        return None

    def _is_made_by_us(self) -> bool:
        """Whether nothing lies here but what we make."""
        ours = {*_FOLDERS, *_FILES, MARKER, LOCK_FILE}
        if not {entry.name for entry in self.path.iterdir() if not is_temporary_file(entry.name)} <= ours:
            return False
        environments = [path for path in (self.environment, self.staging, self.replaced) if path.exists()]
        return all((path / "pyvenv.cfg").is_file() or not any(path.iterdir()) for path in environments)

    def installed(self, environment: Path | None = None) -> dict[str, Any] | None:
        """What was installed; None when that was not completed."""
        return read_json((environment or self.environment) / INSTALLED)

    def refuse_foreign(self) -> None:
        """Raise InputError when there is something in the folder and no marker, or a file in its place."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"'{self.path}' is a file.", "Choose a folder.")
        if self.marker() is not None or not self.path.is_dir():
            return
        names = sorted(entry.name for entry in self.path.iterdir())
        strange = [name for name in names if name != LOCK_FILE and not is_temporary_file(name)]
        if strange:
            raise InputError(
                f"The folder '{self.path}' holds other things, such as '{strange[0]}', and was not made by ActiveSeg.",
                "Choose a new or an empty folder. Nothing was changed.",
            )

    def claim(self, content: Mapping[str, Any]) -> None:
        """Make the folder if need be and write its marker. Raises InputError when it is someone else's."""
        self.refuse_foreign()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.path / MARKER, {"activeseg_environment": FORMAT, **content}, PRIVATE)
        except OSError as error:
            raise failure_of(f"The folder '{self.path}' cannot be written", error) from error

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[int | None]:
        """Keep others from changing the folder; gives the descriptor that holds the lock, for child processes.

        The system frees the lock when all who hold it are gone: a killed Slicer leaves none behind, and an installer
        that outlives it still keeps others out. filelock's locks are not inherited, and Slicer lacks it. Raises
        EngineError when another program is at it.
        """
        self.refuse_foreign()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o600)
        except OSError as error:
            raise failure_of(f"The folder '{self.path}' cannot be written", error) from error
        try:
            try:
                _lock(descriptor)
            except OSError as error:
                if error.errno in _BUSY:
                    raise self._busy(descriptor) from error
                raise EngineError(
                    f"The drive of '{self.path}' cannot lock files ({error.strerror or error}), so two programs could "
                    "install there at once.",
                    "Choose a folder on another drive.",
                    cause="locks",
                ) from error
            self._unlink_links()
            remove_abandoned(self.path)
            yield descriptor
        finally:
            os.close(descriptor)

    def share(self) -> int | None:
        """Keep others from changing the folder while an engine runs in it; several may share it.

        Gives a descriptor to be closed at the end, None where there is nothing to hold on to: no such folder, a drive
        without locks, or Windows, which does not replace a program that runs. Raises EngineError (cause ``busy``) while
        another program is changing it.
        """
        try:
            descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | _NO_LINK)
        except OSError:
            return None
        try:
            held = _share(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _BUSY:
                raise _being_changed(self.path) from error
            return None
        if held:
            return descriptor
        os.close(descriptor)
        return None

    def _busy(self, descriptor: int) -> EngineError:
        """Why the folder cannot be changed now: another program does that, or an engine runs in it."""
        try:
            is_used = _share(descriptor)
        except OSError:
            is_used = False
        if not is_used:
            return _being_changed(self.path)
        return EngineError(
            f"The engine in '{self.path}' is used by another Slicer.",
            "Close it, or stop its engine, then try again.",
            cause="used",
        )

    def _unlink_links(self) -> None:
        """Remove links that stand where our own files and folders go: what they lead to is not ours."""
        for name in (*_FOLDERS, *_FILES, MARKER):
            if (self.path / name).is_symlink():
                _remove(self.path / name)

    def clear(self, *names: str) -> None:
        """Remove ActiveSeg's folders by name. Raises EngineError when something holds on to them."""
        assert set(names) <= set(_FOLDERS)
        for name in names:
            _remove(self.path / name)

    def commit(self) -> None:
        """Put the finished staging folder in the place of the environment. Killed in between, ``recover`` ends it."""
        try:
            self.clear("replaced")
            if self.environment.exists():
                self.environment.rename(self.replaced)
            self.staging.rename(self.environment)
        except OSError as error:
            if not self.environment.exists() and self.replaced.exists():
                self.replaced.rename(self.environment)
            raise failure_of("The new environment cannot take the place of the old one", error) from error
        self.clear("replaced")

    def recover(self) -> None:
        """Finish a replacement that was interrupted between its two steps."""
        if not self.environment.exists():
            if self.installed(self.staging) is not None:
                self.staging.rename(self.environment)
            elif self.installed(self.replaced) is not None:
                self.replaced.rename(self.environment)
        if self.environment.exists():
            self.clear("replaced")

    def empty(self, progress: Progress) -> None:
        """Remove all that is ours, the marker last, so that an interrupted removal can be repeated."""
        progress("remove", 0.0)
        _remove(self.environment / INSTALLED)  # what is left of it is no environment
        parts = [part for pattern in _LARGE for part in sorted(self.path.glob(pattern))]
        sizes = [size_of(part) for part in parts]
        total, done = sum(sizes), 0
        for part, size in zip(parts, sizes, strict=True):
            progress.amount(done, total)
            progress("remove", 0.9 * done / max(total, 1), f"{size_text(done)} of {size_text(total)} removed")
            _remove(part)
            done += size
        progress.amount(total, total)
        progress("remove", 0.9)
        self.clear(*_FOLDERS)
        begun = [entry.name for entry in self.path.iterdir() if is_temporary_file(entry.name)]
        for name in (*_FILES, *begun, MARKER):
            _remove(self.path / name)

    def disappear(self) -> list[str]:
        """After ``empty`` and outside of ``exclusive``: the folder itself, if nothing else is in it; what is left."""
        _remove(self.path / LOCK_FILE)
        left = sorted(entry.name for entry in self.path.iterdir())
        if not left and not self.path.is_symlink():
            with contextlib.suppress(OSError):  # somebody's current folder, on Windows
                self.path.rmdir()
        return left

    def size(self) -> int:
        """Bytes on disk; files that several places share count once."""
        return size_of(self.path)


def size_of(folder: Path) -> int:
    """Bytes that a folder takes, without what it links to; 0 if there is none."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for where, _, names in os.walk(extended(folder)):
        for name in names:
            with contextlib.suppress(OSError):  # goes away while we look
                entry = os.lstat(os.path.join(where, name))
                if (entry.st_dev, entry.st_ino) not in seen or entry.st_ino == 0:
                    seen.add((entry.st_dev, entry.st_ino))
                    total += entry.st_size
    return total


def free_bytes(folder: Path) -> int:
    """Free space where a folder is or will be. Raises InputError when its disk does not exist."""
    for existing in (folder, *folder.parents):
        if existing.exists():
            try:
                return shutil.disk_usage(existing).free
            except OSError as error:
                raise failure_of(f"The disk of '{folder}' cannot be read", error) from error
    raise InputError(f"The disk of '{folder}' does not exist.", "Choose another folder.")


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None when there is no such file, half of one, or something else of that name."""
    try:
        return read_object(path)
    except InputError:
        return None


def _being_changed(folder: Path) -> EngineError:
    return EngineError(
        f"Another program is installing into '{folder}' right now.", "Wait until it is done, or close it.", cause="busy"
    )


def _remove(path: Path) -> None:
    """Remove a file, a link (never what it leads to) or a folder with everything in it."""
    try:
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(extended(path), **_ON_ERROR)
    except OSError as error:
        raise failure_of(f"'{path}' cannot be removed", error) from error


def extended(path: Path, system: str = sys.platform) -> str:
    """A path whose files may have more than 260 characters on Windows too; uv writes such files (licences)."""
    return f"\\\\?\\{path}" if system == "win32" and not str(path).startswith("\\\\") else str(path)


def make_writable(function: Callable[[str], object], path: str, _: object) -> None:
    """Windows does not delete what is read-only, and a POSIX folder must be writable to lose its files."""
    parent = os.path.dirname(path)
    os.chmod(parent, os.stat(parent).st_mode | stat.S_IRWXU)
    kind = os.lstat(path).st_mode
    # Not what a link leads to, and on POSIX no file, which may be known by another name elsewhere too.
    if not stat.S_ISLNK(kind) and (os.name == "nt" or stat.S_ISDIR(kind)):
        os.chmod(path, kind | stat.S_IRWXU)
    function(path)


_ON_ERROR: dict[str, Any] = {"onexc" if sys.version_info >= (3, 12) else "onerror": make_writable}


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _share(descriptor: int) -> bool:
        return False

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _share(descriptor: int) -> bool:
        """Whether the lock is shared now. Raises OSError while another program holds it alone."""
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True

"""Folders for what jobs leave for their client; what an engine that crashed left is swept by the next one."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from pathlib import Path

import psutil

_NAME = re.compile(r"engine-(?P<host>.+)-(?P<pid>\d+)-(?P<started>\d+)-\w+")


class Scratch:
    """This engine's own folder below ``<home>/scratch``, mode 0700: one sub-folder for each job, one for the client."""

    def __init__(self, home: Path) -> None:
        """Sweep what dead engines of this computer left, and make a fresh folder."""
        root = home / "scratch"
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in root.iterdir():
            if _is_dead(path.name):
                shutil.rmtree(path, ignore_errors=True)
        started = int(psutil.Process().create_time())
        prefix = f"engine-{_host()}-{os.getpid()}-{started}-"
        self.folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        self.inbox = self.folder / "inbox"
        self.inbox.mkdir(mode=0o700)
        self._count = 0

    def job(self) -> Path:
        """A fresh folder for one job; it holds ``temporary``, where libraries put their own files."""
        self._count += 1
        folder = self.folder / f"job{self._count}"
        folder.mkdir(mode=0o700)
        (folder / "temporary").mkdir(mode=0o700)
        return folder

    @staticmethod
    def remove(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _host() -> str:
    return re.sub(r"\W", "_", platform.node()) or "localhost"


def _is_dead(name: str) -> bool:
    """Whether this is the folder of an engine of this computer that no longer runs."""
    match = _NAME.fullmatch(name)
    if match is None or match["host"] != _host():
        return False
    try:
        created = float(psutil.Process(int(match["pid"])).create_time())
        return abs(created - int(match["started"])) > 2
    except psutil.NoSuchProcess:
        return True

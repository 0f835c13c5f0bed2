"""The engine's log: what the libraries print, in a file that does not grow for ever."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections import deque
from pathlib import Path

KEPT_LINES = 400
LINE_LENGTH = 2000


class LogFile:
    """A log of at most ``limit`` bytes, with the one before it in ``<name>.1``; safe to use from several threads.

    The file is emptied in place, never renamed: descriptors that append to it go on, and Windows allows it.
    """

    def __init__(self, path: Path, limit: int) -> None:
        """Make the file, readable for its owner only."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._limit = limit
        self._lock = threading.Lock()
        self._last: deque[str] = deque(maxlen=KEPT_LINES)

    def write(self, line: str) -> None:
        """Add one line (longer ones are cut). On a full disk the file lacks it, and ``tail`` has it."""
        line = line[:LINE_LENGTH]
        data = line.encode("utf-8", "replace") + b"\n"
        with self._lock, contextlib.suppress(OSError):
            self._last.append(line)
            if os.fstat(self.descriptor).st_size + len(data) > self._limit:
                self._copy(self.path.with_name(f"{self.path.name}.1"))
                os.truncate(self.path, 0)
            os.write(self.descriptor, data)

    def _copy(self, earlier: Path) -> None:
        handle = os.open(earlier, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as target, self.path.open("rb") as source:
            shutil.copyfileobj(source, target)

    def tail(self, count: int) -> list[str]:
        """The last lines that were written here, oldest first."""
        with self._lock:
            return list(self._last)[-count:] if count > 0 else []


def remove_old_logs(folder: Path, keep: int = 10) -> None:
    """Leave the newest logs only: each engine that runs at the same time has its own.

    What another engine removes just now, or still holds open on Windows, is passed over.
    """
    logs: list[tuple[float, Path]] = []
    for path in folder.glob("engine-*.log*"):
        with contextlib.suppress(OSError):
            logs.append((path.stat().st_mtime, path))
    for _, path in sorted(logs, reverse=True)[keep:]:
        with contextlib.suppress(OSError):
            path.unlink()

"""The descriptors that the messages go through, out of the reach of libraries that print or start programs."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

CHUNK = 65536


@dataclass(frozen=True)
class Pipes:
    """Private copies of what were descriptors 0 and 1; children do not inherit them."""

    source: int
    target: int

    @classmethod
    def take_over(cls, log: int | None) -> Pipes:
        """Copy 0 and 1, then point 0 at the null device and 1 (and 2) at ``log``; None points 1 at 2."""
        source, target = os.dup(0), os.dup(1)
        if os.name == "nt":
            import msvcrt

            for descriptor in (source, target):
                msvcrt.setmode(descriptor, os.O_BINARY)  # type: ignore[attr-defined]
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        if log is not None:
            os.dup2(log, 2)
        os.dup2(2, 1)
        return cls(source, target)

    def read_all(self, received: Callable[[bytes], object]) -> None:
        """Pass on what arrives, until the other side has closed or is gone."""
        read_all(self.source, received)


def read_all(descriptor: int, received: Callable[[bytes], object]) -> None:
    """Pass on what arrives at a descriptor, until its end."""
    while True:
        try:
            data = os.read(descriptor, CHUNK)
        except OSError:  # Windows says so when the other side was killed
            return
        if not data:
            return
        received(data)


class Writer:
    """Writes lines in a thread of its own, so that a slow reader stops no other work."""

    def __init__(self, descriptor: int, broken: Callable[[], object]) -> None:
        """``broken`` is called once, from the thread, when the reader has ended."""
        self._descriptor = descriptor
        self._broken = broken
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """How many lines wait."""
        return self._lines.qsize()

    def send(self, line: bytes) -> None:
        self._lines.put(line)

    def close(self, timeout_s: float) -> None:
        """Write what waits, for so long at most."""
        self._lines.put(None)
        self._thread.join(timeout_s)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            view = memoryview(line)
            try:
                while view:
                    view = view[os.write(self._descriptor, view) :]
            except OSError:
                self._broken()
                return

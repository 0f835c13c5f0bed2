"""Functions for the next turns of the event loop.

Slicer replaces ``QTimer.singleShot`` by one that keeps the function, and all that it refers to, for the whole session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..slicer_types import Qt
from .signals import connect


class Later:
    """Calls the functions that it is given, one in each turn of the event loop, in their order."""

    def __init__(self, qt: Qt) -> None:
        self._due: deque[Callable[[], object]] = deque()
        self._closed = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        connect(self._timer, "timeout()", self._run)

    def __call__(self, function: Callable[[], object]) -> None:
        """Call it at a later turn, so that the window is drawn in between; after ``close`` never."""
        if not self._closed:
            self._due.append(function)
            if not self._timer.isActive():
                self._timer.start()

    def close(self) -> None:
        """Forget what is due, and all that will be."""
        self._closed = True
        self._due.clear()
        self._timer.stop()

    def _run(self) -> None:
        if self._due:
            function = self._due.popleft()
            if self._due:
                self._timer.start()  # before the call, which may open a dialog or raise
            function()

"""How long a run will still take, counted down between one estimate of the engine and the next. No widgets."""

from __future__ import annotations

import time
from collections.abc import Callable


class Countdown:
    """An estimate that was told a while ago, less that while."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._told: tuple[float | None, object] = None, None
        self._since = 0.0

    def tell(self, seconds: float | None, about: object = None) -> None:
        """There are so many seconds left, None: nobody knows.

        ``about`` says of what moment that is true; the same estimate of the same moment does not begin again.
        """
        if (seconds, about) != self._told:
            self._told, self._since = (seconds, about), self._now()

    @property
    def left(self) -> float | None:
        """Seconds; 0 when it takes longer than was told, None when nothing was."""
        seconds = self._told[0]
        return None if seconds is None else max(0.0, seconds - (self._now() - self._since))

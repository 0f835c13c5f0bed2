"""Progress reports and cancellation for long work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from activeseg.core.errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """Passed down into every long call.

    ``report(stage, fraction, text)`` receives the stage's name, its part done in 0..1 and a short text.
    ``cancelled()`` is asked often (before every layer of a network) and must be quick.
    ``amount(done, total)`` receives bytes, in a stage that writes or removes many, before it is reported.
    """

    report: Callable[[str, float, str], None] = field(default=lambda stage, fraction, text: None)
    cancelled: Callable[[], bool] = field(default=lambda: False)
    amount: Callable[[int, int], None] = field(default=lambda done, total: None)

    def check(self) -> None:
        """Raise ``Cancelled`` when the user asked to stop."""
        if self.cancelled():
            raise Cancelled()

    def __call__(self, stage: str, fraction: float, text: str = "") -> None:
        """Report, after checking for cancellation."""
        self.check()
        self.report(stage, min(max(fraction, 0.0), 1.0), text)

    def part(self, start: float, stop: float) -> Progress:
        """A progress whose 0..1 is ``start``..``stop`` of this one (same stages)."""
        return Progress(lambda s, f, t: self.report(s, start + (stop - start) * f, t), self.cancelled, self.amount)

"""How long a job will still take, from what each of its stages took the last time and how fast this one goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_ENOUGH = 0.05  # part of a stage after which its own speed says more than the estimate


@dataclass
class Eta:
    """Seconds left of one job.

    ``expected`` are seconds for each stage in their order, from the estimate; stages that it does not know are
    judged by their own speed alone.
    """

    expected: Mapping[str, float] = field(default_factory=dict)
    _stage: str = ""
    _entered: float = 0.0
    _fraction: float = 0.0
    _seen: float = 0.0
    _passed: int = 0

    def report(self, stage: str, fraction: float, now: float) -> None:
        """The job says that it is so far with this stage."""
        if stage != self._stage or fraction < self._fraction:
            self._stage, self._entered = stage, now
        self._fraction, self._seen = fraction, now
        if stage in self.expected:
            self._passed = list(self.expected).index(stage) + 1

    def seconds_left(self, now: float) -> float | None:
        """None when nothing is known."""
        later = sum(list(self.expected.values())[self._passed :])
        spent = now - self._entered
        if self._fraction >= _ENOUGH:
            whole = (self._seen - self._entered) / self._fraction
        elif self._stage in self.expected:
            whole = self.expected[self._stage]
        elif self.expected:
            whole = spent  # a short stage that the estimate leaves out
        else:
            return None
        return round(max(whole - spent, 0.0) + later, 1)

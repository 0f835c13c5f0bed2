"""How far a job is and how long it will still take, from what its stages took the last time and how fast this one goes.

The part done never falls: it is the time that passed as part of that time and what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_ENOUGH = 0.05  # part of a stage after which its own speed says more than the estimate
_GRACE, _GRACE_S = 0.2, 3.0  # a stage is late when it takes so much longer than was expected
_LATE_REST = 0.1  # of a stage that is late, what is left is taken for this part of its time
_MOST = 0.99  # only the end of a job is its end
_SPANS = {
    "start": (0.0, 0.0),
    "check": (0.0, 0.01),
    "read": (0.01, 0.03),
    "load": (0.03, 0.1),
    "preprocess": (0.1, 0.15),
    "network": (0.15, 0.8),
    "uncertainty": (0.8, 0.85),
    "resample": (0.85, 0.93),
    "regions": (0.93, 0.97),
    "save": (0.97, 1.0),
}
"""Parts of a segmentation whose stages were never measured here: all that is known is the time of its network."""


@dataclass
class Eta:
    """Seconds left of one job.

    ``expected`` are seconds for each stage in their order, from the estimate; stages that it does not know are
    judged by their own speed alone. Where it knows one stage only, others have no time at all. ``label_first`` are
    those of a first pass, after which the label is told.
    """

    expected: Mapping[str, float] = field(default_factory=dict)
    label_first: Mapping[str, float] = field(default_factory=dict)
    _stage: str = ""
    _began: float | None = None
    _entered: float = 0.0
    _entered_at: float = 0.0
    _fraction: float = 0.0
    _seen: float = 0.0
    _passed: int = 0
    _done: float = 0.0
    _passes: int = 1

    def report(self, stage: str, fraction: float, now: float) -> None:
        """The job says that it is so far with this stage."""
        if self._began is None:
            self._began = now
        if stage != self._stage or fraction < self._fraction:
            self._stage, self._entered, self._entered_at = stage, now, fraction
        self._fraction, self._seen = fraction, now
        if stage in self._pass:
            self._passed = list(self._pass).index(stage) + 1

    def label_told(self) -> None:
        """The first pass is over."""
        if self.label_first:
            self._passes = 2
        self.label_first, self._passed = {}, 0

    def seconds_left(self, now: float) -> float | None:
        """None when nothing is known, and when the stage is late."""
        whole, later = self._whole(now), self._later
        unknown = len(self.expected) == 1 and self._stage not in self.expected
        if whole is None or unknown or self.is_late(now):
            return None
        return round(max(whole - (now - self._entered), 0.0) + later, 1)

    def is_late(self, now: float) -> bool:
        """Whether the stage takes longer than was expected, so that nobody knows how long."""
        whole = self._whole(now)
        return whole is not None and now - self._entered > whole * (1 + _GRACE) + _GRACE_S

    def part_done(self, now: float) -> float:
        """Of the whole job, 0..1; it never falls. Without an estimate it is that of the stage that is furthest."""
        whole = self._whole(now)
        part = self._fraction
        if len(self.expected) == 1:
            start, stop = _SPANS.get(self._stage, (0.0, 0.0))
            part = start + (stop - start) * part
            part = part / 2 if self.label_first else (self._passes - 1 + part) / self._passes
        elif self.expected and whole is not None and self._began is not None:
            spent = now - self._entered
            left = max(whole - spent, _LATE_REST * spent if self.is_late(now) else 0.0) + self._later
            passed = now - self._began
            part = passed / (passed + left) if passed + left > 0 else 0.0
        self._done = max(self._done, min(part, _MOST))
        return self._done

    @property
    def _pass(self) -> Mapping[str, float]:
        return self.label_first or self.expected

    @property
    def _later(self) -> float:
        """Seconds of the stages that are still to come."""
        later = sum(list(self._pass.values())[self._passed :])
        return later + (sum(self.expected.values()) if self.label_first else 0.0)

    def _whole(self, now: float) -> float | None:
        """Seconds of this stage from when it was entered; None when nothing is known."""
        part, rest = self._fraction - self._entered_at, 1 - self._entered_at
        if part >= _ENOUGH:
            return (self._seen - self._entered) / part * rest
        if self._stage in self._pass:
            return self._pass[self._stage] * rest
        return 0.0 if self._pass else None  # a short stage that the estimate leaves out

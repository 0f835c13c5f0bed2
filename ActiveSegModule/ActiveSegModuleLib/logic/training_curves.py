"""The curves of a training: loss and mean Dice of every epoch, and how they fit into a picture. No widgets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TICKS = 4


@dataclass(frozen=True)
class Curve:
    """Values by epoch, counted from 1 through all members; an epoch without a value is left out."""

    points: tuple[tuple[int, float], ...]

    @property
    def last(self) -> float | None:
        return self.points[-1][1] if self.points else None

    @property
    def span(self) -> tuple[float, float]:
        """Lowest and highest value, never the same; 0 to 1 without any."""
        values = [value for _epoch, value in self.points]
        if not values:
            return 0.0, 1.0
        low, high = min(values), max(values)
        return (low, high) if high > low else (low - 0.5, high + 0.5)


@dataclass(frozen=True)
class Curves:
    """
    Attributes
    ----------
    loss, dice
        Of each epoch; Dice is the mean over the structures, on patches of the training cases
    count
        How many epochs there are
    members
        The epochs with which another member begins, without the first one
    """

    loss: Curve
    dice: Curve
    count: int
    members: tuple[int, ...]

    @staticmethod
    def of(epochs: Sequence[Mapping[str, Any]]) -> Curves:
        """From what the engine told of each epoch, of one member after the other."""
        loss, dice, members = [], [], []
        for number, epoch in enumerate(epochs, start=1):
            value = epoch.get("loss")
            if value is not None and math.isfinite(value):
                loss.append((number, float(value)))
            found = [score for score in (epoch.get("dice") or {}).values() if score is not None]
            if found:
                dice.append((number, sum(found) / len(found)))
            if number > 1 and epoch.get("member") != epochs[number - 2].get("member"):
                members.append(number)
        return Curves(Curve(tuple(loss)), Curve(tuple(dice)), len(epochs), tuple(members))


def ticks(low: float, high: float) -> list[float]:
    """Round values from ``low`` to ``high``, a few of them."""
    if high <= low:
        return [low]
    least = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [number * step for number in numbers]


def trained_seconds(epochs: Sequence[Mapping[str, Any]]) -> float:
    """How long all epochs took together."""
    return sum(float(epoch.get("seconds") or 0.0) for epoch in epochs)

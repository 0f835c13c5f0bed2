"""What shape structures usually have, and what is unusual about one: a warning, which changes no voxel and no order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from activeseg.core.records import Count, Within, written_as

FEWEST_LABELS = 8
"""With fewer labels of a structure nobody can say what is usual."""

LogMl = Annotated[float, Within(-50, 50)]
Solidity = Annotated[float, Within(0, 1.01)]
Deviation = Annotated[float, Within(0, 50)]


@dataclass(frozen=True)
class UsualShape:
    """The shapes that one structure has in the labels that a model learned from, each label a different image.

    Attributes
    ----------
    labels
        How many there are.
    log_ml
        Mean and standard deviation of the volume's natural logarithm; the volume is in mL.
    solidity
        Mean and standard deviation of the volume as a part of its convex hull's.
    pieces
        How many of the labels have one piece, how many two, and so on.
    """

    labels: Annotated[int, Within(FEWEST_LABELS, 10**9)]
    log_ml: tuple[LogMl, Deviation]
    solidity: tuple[Solidity, Deviation]
    pieces: tuple[Count, ...]

    def __post_init__(self) -> None:
        if sum(self.pieces) != self.labels:
            raise ValueError(f"{sum(self.pieces)} labels have pieces, and there are {self.labels}")


ShapeReference = Mapping[str, UsualShape]
"""By the names of structures; those of which there are too few labels are not in it."""


_IN_WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}


class ShapeFeature(StrEnum):
    """What can be unusual about a structure's shape."""

    PIECES = "pieces"
    SOLIDITY = "solidity"
    VOLUME = "volume"


@dataclass(frozen=True)
class ShapeWarning:
    """One unusual thing about one structure.

    Attributes
    ----------
    structure
        Its name.
    feature, value
        What is unusual: the number of pieces, the solidity, or the volume in mL.
    usual
        The lowest and the highest value that would not be unusual.
    center_ras
        Where to look, mm: in the largest piece beside the main one, in the deepest notch or hole, or in the structure.
    """

    structure: str
    feature: ShapeFeature
    value: float
    usual: tuple[float, float]
    center_ras: tuple[float, float, float] = field(metadata=written_as("center_ras_mm"))

    @property
    def words(self) -> str:
        """What is unusual, to be put behind *unusual*: ``two pieces``, ``12 mL instead of 150 to 210 mL``."""
        value, low, high = self.numbers
        if self.feature is ShapeFeature.VOLUME:
            return f"{value} mL instead of {low} to {high} mL"
        if self.feature is ShapeFeature.SOLIDITY:
            return f"solidity {value} instead of {low} to {high}"
        pieces = f"{_IN_WORDS.get(round(self.value), value)} piece{'s' * (self.value != 1)}"
        if self.usual == (1, 1):
            return pieces
        return f"{pieces} instead of {low}" if low == high else f"{pieces} instead of {low} to {high}"

    @property
    def numbers(self) -> tuple[str, str, str]:
        """``value`` and ``usual`` in as many figures as a person needs."""
        value, low, high = (self._text(number) for number in (self.value, *self.usual))
        return value, low, high

    def _text(self, number: float) -> str:
        if self.feature is ShapeFeature.PIECES:
            return str(round(number))
        if self.feature is ShapeFeature.SOLIDITY:
            return f"{number:.2f}"
        return f"{number:.0f}" if number >= 10 else f"{number:.1f}" if number >= 1 else f"{number:.2f}"

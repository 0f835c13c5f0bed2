"""What was decided on regions, so that it can be taken back and made again. No widgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from activeseg.core.correction import RegionState


@dataclass(frozen=True)
class Decision:
    """One decision on one region.

    Attributes
    ----------
    number : of the region
    before, after : its state
    at : when, on the clock of the review; tells whether an edit was later
    """

    number: int
    before: RegionState
    after: RegionState
    at: float


class Decisions:
    """Decisions in the order in which they were made, and those that were taken back.

    One whose region has another state by now, since it was edited, waits until that edit is undone.
    """

    def __init__(self) -> None:
        self._made: list[Decision] = []
        self._taken_back: list[Decision] = []

    def record(self, decision: Decision) -> None:
        """One more; what was taken back before cannot be made again."""
        self._made.append(decision)
        self._taken_back.clear()

    def clear(self) -> None:
        """Another list of regions."""
        self._made.clear()
        self._taken_back.clear()

    def to_undo(self, states: Mapping[int, RegionState]) -> Decision | None:
        """The latest decision that still holds; ``states`` are those of now."""
        return next((made for made in reversed(self._made) if states.get(made.number) is made.after), None)

    def to_redo(self, states: Mapping[int, RegionState]) -> Decision | None:
        """The decision that was taken back last, while nothing else became of its region."""
        return next((gone for gone in reversed(self._taken_back) if states.get(gone.number) is gone.before), None)

    def note_undone(self, decision: Decision) -> None:
        self._made.remove(decision)
        self._taken_back.append(decision)

    def note_redone(self, decision: Decision) -> None:
        self._taken_back.remove(decision)
        self._made.append(decision)

"""The judge: half of each region is left out, and looked at with what the other halves taught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from activeseg.refiners.evidence import Evidence
from activeseg.refiners.learning import Learner
from activeseg.refiners.part_model import Term, Values, merged

LEAST_GAIN = 0.06
"""Mean rise of the Dice in halves that were left out, below which nothing is offered. On phantoms whose rest became
worse it was 0.035 or less."""
LEAST_MOVED = 10.0
"""Voxels of the network's grid that a person must have moved from one structure to another, before others follow."""
_LEAST_SEEN = 20.0
"""Voxels of the network's grid that a structure needs in the left-out halves to count."""

Moves = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LeftOut:
    """What leaving halves of regions out says.

    Attributes
    ----------
    gain
        Mean rise of the Dice over the structures in the left-out halves, 0..1.
    right, wrong
        Voxels of the network's grid there that became right, and that were right before.
    """

    gain: float
    right: float
    wrong: float

    @property
    def improves(self) -> bool:
        """Whether it should be offered."""
        return self.gain >= LEAST_GAIN


def moves_shown(evidence: Evidence, values: int, but_half: int | None = None) -> Moves:
    """(values, values): whether a person showed that what the model calls the one (row) can be the other (column)."""
    return evidence.moves(values, but_half) >= LEAST_MOVED


def judged(evidence: Evidence, learners: Sequence[Learner], values: int, tick: Callable[[], None]) -> LeftOut:
    """Learn from one half of each region and look at the other, twice.

    Parameters
    ----------
    values
        How many values there are, from background on.
    tick
        Called after each half.
    """
    said = evidence.said.copy()
    for half in (0, 1):
        new = relabelled(
            evidence, learners, [learner.term(evidence.half != half) for learner in learners], values, but_half=half
        )
        np.copyto(said, new, where=evidence.half == half)
        tick()
    seen = evidence.half >= 0
    taught, before, after = evidence.taught[seen], evidence.said[seen], said[seen]
    volume = evidence.volume[seen]

    def amounts(of: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        return np.asarray(np.bincount(of, volume, values), float)

    def dice(of: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        both = np.bincount(of[of == taught], volume[of == taught], values)
        return np.asarray(2 * both / np.maximum(amounts(taught) + amounts(of), 1e-6))

    counts = np.maximum(amounts(taught), amounts(before)) >= _LEAST_SEEN
    counts[0] = False
    gain = float((dice(after) - dice(before))[counts].mean()) if counts.any() else 0.0
    changed = after != before
    right = float(volume[changed & (after == taught)].sum())
    wrong = float(volume[changed & (before == taught)].sum())
    return LeftOut(gain, right, wrong)


def relabelled(
    evidence: Evidence,
    learners: Sequence[Learner],
    terms: Sequence[Term | None],
    values: int,
    but_half: int | None = None,
) -> Values:
    """(N,) what the parts say at the evidence with these terms, as far as such moves were shown."""
    new = merged([learner.would_say(term) for learner, term in zip(learners, terms, strict=True)])
    allowed = moves_shown(evidence, values, but_half)
    return np.where(allowed[evidence.said, new], new, evidence.said)

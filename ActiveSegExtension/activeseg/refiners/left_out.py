"""The judge: half of each region is left out, and looked at with what the other halves taught."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from activeseg.refiners.evidence import Evidence
from activeseg.refiners.learning import Learner
from activeseg.refiners.part_model import Term, Values, merged

LEAST_GAIN = 0.06
"""Mean rise of the Dice in left-out halves that is needed after ``MANY_REGIONS`` reviewed regions and more."""
MANY_REGIONS = 10
"""Of fewer regions more is asked, in proportion: 0.12 of five, for they show less of what the rest is like."""
LEAST_MOVED = 10.0
"""Voxels of the network's grid that a person must have moved from one structure to another, before others follow."""
_LEAST_SEEN = 20.0
"""Voxels of the network's grid that a structure needs in the left-out halves to count."""

Moves = npt.NDArray[np.bool_]


def improves(gain: float, regions: int) -> bool:
    """Whether such a rise of the Dice in the left-out halves of so many regions is enough."""
    return gain >= least_gain(regions)


def least_gain(regions: int) -> float:
    """The rise of the Dice (0..1) that so many regions have to show: the fewer, the clearer."""
    return LEAST_GAIN * max(1.0, MANY_REGIONS / regions)


def moves_shown(evidence: Evidence, values: int, but_half: int | None = None) -> Moves:
    """(values, values): whether a person showed that what the model calls the one (row) can be the other (column)."""
    return evidence.moves(values, but_half) >= LEAST_MOVED


def left_out_gain(evidence: Evidence, learners: Sequence[Learner], values: int, tick: Callable[[], None]) -> float:
    """Mean rise of the Dice (0..1) in halves of regions that are left out, when the others are learned from.

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
    taught, before, after, volume = evidence.taught, evidence.said, said, evidence.volume

    def amounts(of: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        return np.asarray(np.bincount(of, volume, values), float)

    def dice(of: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        both = np.bincount(of[of == taught], volume[of == taught], values)
        return np.asarray(2 * both / np.maximum(amounts(taught) + amounts(of), 1e-6))

    counts = np.maximum(amounts(taught), amounts(before)) >= _LEAST_SEEN
    counts[0] = False
    return float((dice(after) - dice(before))[counts].mean()) if counts.any() else 0.0


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

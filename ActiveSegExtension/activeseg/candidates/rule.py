"""Which voxels of an old label map a proposal may change without a person, and where the two only differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.label_map import slabs, smallest_dtype
from activeseg.core.labels import LabelSchema


@dataclass(frozen=True)
class Rule:
    """When a voxel changes: all members see the same there, surely, and agree on the whole of the structures concerned.

    The defaults are what ``Testing/benchmarks/refine.py`` measured.

    Attributes
    ----------
    least_agreement
        The mean pairwise Dice of the members is higher, for the structure that the voxel has and for the one that it
        gets.
    least_probability
        The members' mean probability is higher.
    """

    least_agreement: float = 0.85
    least_probability: float = 0.9


DEFAULT_RULE = Rule()


@dataclass(frozen=True, eq=False)
class Proposal:
    """What somebody else makes of an image, in the values and on the grid of the old label map.

    Attributes
    ----------
    labels
        (k, j, i); a structure that was not looked for has no voxels in it.
    sure
        (k, j, i) boolean: all members see this label there, with more than the rule's probability.
    agreement
        For each structure that was looked for the mean pairwise Dice of the members; None where that is not known: a
        single member, or none that found it.
    members
        How many there are.
    resolution_mm
        What is thinner is no difference that it could see: the largest spacing of its own grid.
    """

    labels: npt.NDArray[Any]
    sure: npt.NDArray[np.bool_]
    agreement: Mapping[str, float | None]
    members: int
    resolution_mm: float


@dataclass(frozen=True, eq=False)
class Refined:
    """An old label map after the rule.

    Attributes
    ----------
    labels
        (k, j, i): the candidate.
    differs
        (k, j, i) boolean: where the proposal still differs from it.
    agreeing
        The structures whose members agree, so that they may change.
    """

    labels: npt.NDArray[Any]
    differs: npt.NDArray[np.bool_]
    agreeing: tuple[str, ...]


def refined(old: npt.NDArray[Any], proposal: Proposal, schema: LabelSchema, rule: Rule = DEFAULT_RULE) -> Refined:
    """Apply the rule to an old label map (k, j, i) of ``schema``; it stays as it is.

    * A structure that was not looked for keeps its voxels. Where the proposal wants one of them for another structure,
      the two differ.
    * ``ignore`` stays: nobody has said what is there, so nothing can differ.
    * A structure that no member found is not removed: the two differ.
    """
    looked_for = np.zeros(schema.ignore_value + 1, bool)
    may_change = looked_for.copy()
    may_change[0] = True
    agreeing = []
    for name, dice in proposal.agreement.items():
        value = schema.named(name).value
        looked_for[value] = True
        if dice is not None and dice > rule.least_agreement:
            may_change[value] = True
            agreeing.append(name)
    labels = old.astype(smallest_dtype(schema.ignore_value))
    differs = np.empty(old.shape, bool)
    for slab in slabs(old.shape):
        before, after = old[slab], proposal.labels[slab]
        differs[slab] = (before != after) & (before != schema.ignore_value) & (looked_for[before] | looked_for[after])
        changes = differs[slab] & proposal.sure[slab] & may_change[before] & may_change[after]
        labels[slab][changes] = after[changes]
        differs[slab] &= ~changes
    return Refined(labels, differs, tuple(agreeing))

"""Corrections spread over the rest of a case: learned from what was reviewed, judged, and proposed.

The last layer of a network is linear in its decoder features. A term that is linear in them, too, is fitted to what a
person taught (``learning``) and added to the logits; no network runs again. Half of each region is left out to judge it
(``left_out``). It is a proposal: only voxels that nobody decided change, only in ways that the person has shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import RegionReview
from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry, index_map
from activeseg.core.label_map import LabelMap, check_label_map
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.resample import sampled
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes
from activeseg.refiners.evidence import gathered, protected_voxels
from activeseg.refiners.learning import Learner, Learning
from activeseg.refiners.left_out import Moves, improves, least_gain, left_out_gain, moves_shown
from activeseg.refiners.part_model import PartModel, Term, Values, answers

LEAST_REGIONS = 3
"""With fewer reviewed regions nothing is tried."""
LEAST_ALIKE = 9
"""Of a voxel's 26 neighbours that must be of the structure that it would join: a tube of 2 x 2 voxels has 11."""


@dataclass(frozen=True, eq=False)
class SpreadCase:
    """A case in which corrections may be spread.

    Attributes
    ----------
    geometry
        Of the CT; label maps are on its grid.
    schema
        Of the label maps.
    votes
        What the model said about the whole case, with its decoder features.
    predicted
        (k, j, i) what the model said on the CT's grid; after corrections were spread once, what was taken then.
    labels
        (k, j, i) as the person has them now; may hold ``ignore``, and structures that no network knows.
    """

    geometry: Geometry
    schema: LabelSchema
    votes: GridVotes
    predicted: LabelMap
    labels: LabelMap


@dataclass(frozen=True)
class SpreadEffect:
    """What spreading does to one structure, in voxels of the CT and in mm3."""

    name: str
    voxels_gained: int
    voxels_lost: int
    voxel_mm3: float

    @property
    def mm3_gained(self) -> float:
        return self.voxels_gained * self.voxel_mm3

    @property
    def mm3_lost(self) -> float:
        return self.voxels_lost * self.voxel_mm3


@dataclass(frozen=True, eq=False)
class Spread:
    """A proposal for the rest of a case, or why there is none.

    Attributes
    ----------
    offered
        Whether parts of regions that were left out became better.
    why
        A sentence: why it is offered or not.
    expected_gain
        Mean rise of the Dice in the left-out parts of the regions, 0..1. They hold the most doubtful voxels: over the
        rest of the case it is less: a quarter to two thirds of that on phantoms.
    regions_used
        Numbers of the regions that it learned from.
    changes
        By structure, the largest first; empty where nothing is offered.
    voxels_kji, before, after
        (3, N) the voxels of the CT that would change, and their labels (N,).
    terms
        What each part model learned; None for one that stays as it is.
    """

    case: SpreadCase
    offered: bool
    why: str
    expected_gain: float
    regions_used: tuple[int, ...]
    changes: tuple[SpreadEffect, ...] = ()
    voxels_kji: Values = field(default_factory=lambda: np.zeros((3, 0), np.intp))
    before: Values = field(default_factory=lambda: np.zeros(0, np.intp))
    after: Values = field(default_factory=lambda: np.zeros(0, np.intp))
    terms: tuple[Term | None, ...] = ()

    def labels(self, structures: Collection[str] | None = None) -> LabelMap:
        """The case's label map (k, j, i) with the changes of these structures; None means all.

        A voxel that moves from one structure to another belongs to the one that gains it, else to the one that loses
        it. Raises InputError for a structure that the model does not know.
        """
        taken = self.case.labels.copy()
        chosen = np.ones(len(self.after), bool)
        if structures is not None:
            wanted = [self.case.schema.named(name).value for name in structures]
            chosen = np.isin(np.where(self.after > 0, self.after, self.before), wanted)
        k, j, i = self.voxels_kji[:, chosen]
        taken[k, j, i] = self.after[chosen]
        return taken


def spread(
    case: SpreadCase,
    regions: Sequence[RegionReview],
    progress: Progress | None = None,
    learning: Learning | None = None,
) -> Spread:
    """Learn from a case's reviewed regions, judge that, and propose labels for the rest.

    Parameters
    ----------
    regions
        With their states. Accepted and corrected ones are learned from; they, and edits elsewhere, stay as they are.

    Returns
    -------
    Spread
        A proposal, or the reason why none is made. The same arguments give the same.

    Raises
    ------
    InputError
        The model kept no features, fewer than three regions were reviewed, or nothing was corrected.
    Cancelled
    """
    progress = progress or Progress()
    reviewed = _checked(case, regions)
    parts = [PartModel(kept) for kept in case.votes.features]
    values = len(case.schema) + 1
    progress("spread", 0.0)
    decided = protected_voxels(case.labels, case.predicted, reviewed)
    evidence = gathered(parts, case.geometry, case.labels, case.predicted, reviewed)
    if not (evidence.taught != evidence.said).any():
        raise InputError(
            "Nothing that the model knows was corrected in this case, so there is nothing to learn from.",
            "Correct some regions first.",
        )
    learning = learning or Learning()
    learners = [Learner(part, evidence, decided, case.geometry, learning) for part in parts]
    progress("spread", 0.3)
    gain = left_out_gain(evidence, learners, values, progress.check)
    used = tuple(region.number for region in reviewed)
    if not improves(gain, len(reviewed)):
        return Spread(case, False, _why_not(gain, len(reviewed)), gain, used)
    progress("spread", 0.7)
    terms = tuple(learner.term(np.ones(len(evidence.taught), bool)) for learner in learners)
    allowed = moves_shown(evidence, values)
    voxels, before, after = _changes(case, parts, terms, allowed, decided, progress)
    if not len(after):
        return Spread(case, False, "What was corrected occurs nowhere else in this case.", gain, used)
    return Spread(
        case,
        True,
        f"In parts of the regions that were left out, the Dice rose by {100 * gain:.0f} points.",
        gain,
        used,
        _by_structure(case, before, after),
        voxels,
        before,
        after,
        terms,
    )


def reviewed_of(regions: Sequence[RegionReview]) -> list[RegionReview]:
    """The reviewed regions. Raises InputError where these are too few to learn from."""
    reviewed = [region for region in regions if region.state.reviewed]
    if len(reviewed) < LEAST_REGIONS:
        raise InputError(
            f"Corrections can be spread from {LEAST_REGIONS} reviewed regions on; this case has {len(reviewed)}.",
            "Review more regions first.",
        )
    return reviewed


def _checked(case: SpreadCase, regions: Sequence[RegionReview]) -> list[RegionReview]:
    """The reviewed regions, where all is there that is needed. Raises InputError."""
    for what, labels in (("predicted", case.predicted), ("edited", case.labels)):
        check_label_map(labels, case.schema, case.geometry.shape_kji, f"The {what} label map")
    if not case.votes.features:
        raise InputError(
            "Corrections cannot be spread in this case: what its model computed before its last layer was not kept.",
            "Correct the other regions one by one.",
        )
    return reviewed_of(regions)


def _why_not(gain: float, regions: int) -> str:
    where = "In parts of the regions that were left out, the Dice"
    if gain <= 0:
        return f"{where} did not rise, so the rest of the case stays as it is."
    return (
        f"{where} rose by {int(100 * gain)} points. With {regions} reviewed regions at least "
        f"{100 * least_gain(regions):.0f} are needed to change the rest of the case; more reviewed regions "
        "need fewer."
    )


def _changes(
    case: SpreadCase,
    parts: Sequence[PartModel],
    terms: Sequence[Term | None],
    allowed: Moves,
    decided: npt.NDArray[np.bool_],
    progress: Progress,
) -> tuple[Values, Values, Values]:
    """The voxels of the CT (3, N) that would change, and their labels before and after.

    Old and new answer are taken from the same points, so that the way between grids changes nothing; a voxel whose
    label is not the old answer stays as it is.
    """
    near = np.zeros(case.geometry.shape_kji, bool)
    for part, term in zip(parts, terms, strict=True):
        if term is not None:
            moved = Volume(_moved(part, term, progress).astype(np.float32), part.geometry)
            for start, share in sampled(moved, case.geometry):
                near[start : start + len(share)] |= share > 0
    near &= ~decided
    voxels = np.stack(np.nonzero(near))
    old, new = answers(parts, terms, voxels, case.geometry)
    now = case.labels[tuple(voxels)].astype(np.intp)
    changed = (old != new) & (old == now) & allowed[old, new]
    voxels, now, new = voxels[:, changed], now[changed], new[changed]
    kept = _among_their_like(case, parts[0].geometry, voxels, new)
    return voxels[:, kept], now[kept], new[kept]


def _among_their_like(case: SpreadCase, network: Geometry, voxels: Values, new: Values) -> npt.NDArray[np.bool_]:
    """Which changes (N,) have enough neighbours of their new structure, when only these are made: no specks.

    Neighbours are as far away as voxels of the network.
    """
    labels = case.labels.copy()
    labels[tuple(voxels)] = new
    last = np.array(labels.shape)[:, None] - 1
    matrix, _ = index_map(network, case.geometry)
    steps = np.maximum(1, np.rint(np.abs(matrix).max(axis=1))).astype(np.intp)
    offsets = [steps * offset for offset in itertools.product((-1, 0, 1), repeat=3) if any(offset)]
    kept = np.arange(len(new))
    while True:
        alike = np.zeros(len(kept), np.uint8)
        for offset in offsets:
            near = np.clip(voxels[:, kept] + offset[:, None], 0, last)
            alike += labels[tuple(near)] == new[kept]
        alone = kept[alike < LEAST_ALIKE]
        if not len(alone):
            return np.isin(np.arange(len(new)), kept)
        labels[tuple(voxels[:, alone])] = case.labels[tuple(voxels[:, alone])]
        kept = kept[alike >= LEAST_ALIKE]


def _moved(part: PartModel, term: Term, progress: Progress) -> npt.NDArray[np.bool_]:
    """Where on its own grid a network decides otherwise with its term, (k, j, i)."""
    moved = np.zeros(part.geometry.shape_kji, bool)
    others = np.ones(len(part.values), bool)
    others[term.rows] = False
    for planes, features in part.slabs():
        progress.check()
        logits = part.logits(features)
        rest = logits[others].max(axis=0) if others.any() else np.full(logits.shape[1], -np.inf, np.float32)
        mine = logits[term.rows]
        old_row, old_most = mine.argmax(axis=0), mine.max(axis=0)
        mine += term.of(features)
        new_row, new_most = mine.argmax(axis=0), mine.max(axis=0)
        was, is_now = old_most > rest, new_most > rest
        moved[planes] = ((was != is_now) | (was & (old_row != new_row))).reshape(moved[planes].shape)
    return moved


def _by_structure(case: SpreadCase, before: Values, after: Values) -> tuple[SpreadEffect, ...]:
    values = len(case.schema) + 1
    lost, gained = np.bincount(before, minlength=values), np.bincount(after, minlength=values)
    changes = [
        SpreadEffect(label.name, int(gained[label.value]), int(lost[label.value]), case.geometry.voxel_mm3)
        for label in case.schema.labels
        if gained[label.value] or lost[label.value]
    ]
    return tuple(sorted(changes, key=lambda change: -(change.voxels_gained + change.voxels_lost)))

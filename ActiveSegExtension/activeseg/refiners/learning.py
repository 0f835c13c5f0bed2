"""How one network learns what a person taught in a case: its term, fitted to some of the evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from activeseg.core.geometry import Geometry, index_map
from activeseg.refiners.evidence import Evidence
from activeseg.refiners.part_model import FloatMap, PartModel, Term, Values
from activeseg.refiners.term_fitting import Directions, Lesson, fitted, softmax


@dataclass(frozen=True)
class Learning:
    """How it is learned; the defaults are what ``Testing/benchmarks/spread.py`` chose.

    Attributes
    ----------
    strength
        How strongly the old answer of a lone member holds: of the squared change of logits, against a cross entropy.
        It is divided by the number of members: the features of several tell more, and are less noisy.
    voxels
        That are learned from at a time, drawn such that large structures do not drown small ones.
    looked_at
        Voxels elsewhere of which the certain ones hold the old answer.
    certain
        Entropy in nats, below which a voxel elsewhere is certain.
    least_taught
        Voxels of the network's grid that a class needs in the evidence to be moved.
    steps
        Of the fit.
    """

    strength: float = 0.12
    voxels: int = 3000
    looked_at: int = 12_000
    certain: float = 0.05
    least_taught: float = 30
    steps: int = 30


_SEED = 20_001


class Learner:
    """One network with what it needs to learn several times from parts of the evidence."""

    def __init__(
        self,
        part: PartModel,
        evidence: Evidence,
        decided: npt.NDArray[np.bool_],
        geometry: Geometry,
        settings: Learning,
    ) -> None:
        """``decided`` (k, j, i) are the voxels of the CT (``geometry``) that the person reviewed or edited."""
        self.part, self._evidence, self._settings = part, evidence, settings
        points, self._reached = part.points_of(evidence.voxels_kji, geometry)
        self.features = part.at_points(points)
        self.logits = part.logits(self.features)
        self.said = np.where(self._reached, part.said(self.logits), 0)
        self._target = self._targets()
        elsewhere = _features_elsewhere(part, decided, geometry, settings)
        self._directions = Directions.of(elsewhere)
        self._along = self._directions.along(self.features)
        self._held = self._certain(elsewhere)

    def _targets(self) -> FloatMap:
        """(N, C) what each evidence voxel should be: the class that it is, or those of the taught value."""
        evidence, values = self._evidence, self.part.values
        logits = self.logits.T
        now = logits.argmax(axis=1)
        target = np.zeros_like(logits)
        target[np.arange(len(now)), now] = 1
        wrong = np.flatnonzero(evidence.taught != evidence.said)
        meant = np.where(np.isin(evidence.taught[wrong], values), evidence.taught[wrong], 0)
        classes = values[None, :] == meant[:, None]
        p = np.where(classes, softmax(logits[wrong]) + 1e-6, 0)
        target[wrong] = p / p.sum(axis=1, keepdims=True)
        return target

    def _certain(self, features: FloatMap) -> Lesson:
        """The old answer of certain voxels elsewhere, those of small structures more often than their part."""
        logits = np.ascontiguousarray(self.part.logits(features).T)
        p = softmax(logits)
        sure = np.flatnonzero(-(p * np.log(np.maximum(p, 1e-12))).sum(axis=1) < self._settings.certain)
        random = np.random.default_rng(_SEED)
        used = _drawn(random, sure, logits[sure].argmax(axis=1), self._settings.voxels)
        weights = np.full(len(used), 1 / max(len(used), 1), np.float32)
        return Lesson(self._directions.along(features[:, used]), logits[used], p[used], weights)

    def term(self, used: npt.NDArray[np.bool_]) -> Term | None:
        """What is learned from these voxels of the evidence (N,); None where they teach this network nothing."""
        used = used & self._reached
        at = np.flatnonzero(used)
        taught = self._target[at].argmax(axis=1)
        volume = self._evidence.volume[at]
        amount = np.bincount(taught, volume, len(self.part.values))
        rows = np.flatnonzero(amount >= self._settings.least_taught)
        if not len(rows) or not (taught != self.logits[:, at].argmax(axis=0)).any():
            return None
        random = np.random.default_rng(_SEED)
        drawn = _drawn(random, np.arange(len(at)), taught, self._settings.voxels)
        at, taught = at[drawn], taught[drawn]
        weights = 1 / np.sqrt(np.maximum(np.bincount(taught, minlength=len(self.part.values)), 20))[taught]
        weights = (weights / weights.sum()).astype(np.float32)
        lesson = Lesson(self._along[at], self.logits[:, at].T, self._target[at], weights)
        strength = self._settings.strength / len(self.part.kept.features)
        return fitted([lesson, self._held], rows, self._directions, strength, self._settings.steps)

    def would_say(self, term: Term | None) -> Values:
        """(N,) what it says at the voxels of the evidence with a term; 0 where it does not reach."""
        if term is None:
            return self.said
        logits = self.logits.copy()
        logits[term.rows] += term.of(self.features)
        return np.where(self._reached, self.part.said(logits), 0)


def _drawn(random: np.random.Generator, among: Values, kinds: Values, most: int) -> Values:
    """At most so many of them, in order; one kind's chance falls with the root of its number."""
    if len(among) <= most:
        return among
    chance = 1 / np.sqrt(np.bincount(kinds))[kinds]
    return np.sort(random.choice(among, most, replace=False, p=chance / chance.sum()))


def _features_elsewhere(
    part: PartModel, decided: npt.NDArray[np.bool_], geometry: Geometry, settings: Learning
) -> FloatMap:
    """Features (F, N) of voxels of the network that nobody decided, drawn at random."""
    random = np.random.default_rng(_SEED)
    shape = part.geometry.shape_kji
    flat = np.sort(random.integers(np.prod(shape), size=settings.looked_at))
    voxels = np.stack(np.unravel_index(flat, shape)).astype(np.intp)
    matrix, shift = index_map(part.geometry, geometry)
    at = np.rint(matrix @ voxels + shift[:, None]).astype(np.intp)
    limit = np.array(decided.shape)[:, None]
    inside = ((at >= 0) & (at < limit)).all(axis=0)
    free = np.asarray(~inside)
    free[inside] = ~decided[tuple(at[:, inside])]
    if not free.any():
        free[:] = True
    return part.at_voxels(voxels[:, free])

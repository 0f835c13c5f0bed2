"""What the members say after a proposal was taken, so that regions to review can be found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.geometry import Geometry, index_map
from activeseg.core.label_map import LabelMap
from activeseg.core.progress import Progress
from activeseg.core.votes import DecoderFeatures, GridVotes, MemberKind
from activeseg.refiners.part_model import FloatMap, PartModel, Term, Values, merged
from activeseg.refiners.spreading import Spread
from activeseg.refiners.term_fitting import softmax


def adapted_votes(spread: Spread, labels: LabelMap, progress: Progress | None = None) -> GridVotes:
    """The trained members' votes and uncertainty with what they learned.

    What one member learned all did, so that they differ as before. Where the new answer was not taken everything is as
    it was. Views are no members any more: they are not computed again.

    Parameters
    ----------
    labels
        (k, j, i) on the CT's grid, after the proposal or a part of it was taken: it says which changes were.

    Returns
    -------
    GridVotes
        On the grid of the case's votes. Its features have heads whose mean is what all members say together now, so
        that corrections can be spread again from there.
    """
    progress = progress or Progress()
    case = spread.case
    before, geometry = case.votes, case.votes.geometry
    trained = [n for n, member in enumerate(before.members) if member.kind is MemberKind.TRAINED]
    parts = [PartModel(kept) for kept in before.features]
    shape, count = geometry.shape_kji, len(trained)
    answer = before.labels.copy()
    votes = [before.votes[n].copy() for n in trained]
    entropy = before.entropy.copy()
    variance, information = (_copy(before.variance), _copy(before.mutual_information)) if count > 1 else (None, None)
    matrix, shift = index_map(geometry, case.geometry)
    limit = np.array(case.geometry.shape_kji)[:, None] - 1
    step = max(1, min(part.at_once for part in parts) // (shape[1] * shape[2]))
    for start in range(0, shape[0], step):
        progress("spread", start / shape[0])
        planes = slice(start, min(start + step, shape[0]))
        inside = (planes.stop - planes.start, *shape[1:])
        voxels = np.indices(inside).reshape(3, -1)
        voxels[0] += start
        seen = _Opinions.of(parts, spread.terms, voxels, geometry, count, before.entropy_bound)
        at = np.clip(np.rint(matrix @ voxels + shift[:, None]), 0, limit).astype(np.intp)
        kept = ((seen.old == seen.new) | (labels[tuple(at)] == seen.new)) & seen.reached
        moved = kept & (seen.old != seen.new)
        changed: list[tuple[npt.NDArray[Any] | None, npt.NDArray[Any] | None, npt.NDArray[np.bool_]]] = [
            (answer, seen.new, moved),
            (entropy, seen.entropy, kept),
            (variance, seen.variance, kept),
            (information, seen.information, kept),
            *((vote, said, kept) for vote, said in zip(votes, seen.votes, strict=True)),
        ]
        for array, value, where in changed:
            if array is not None and value is not None:
                np.copyto(array[planes], value.reshape(inside), where=where.reshape(inside), casting="unsafe")
    return replace(
        before,
        labels=answer,
        members=tuple(before.members[n] for n in trained),
        votes=tuple(votes),
        entropy=entropy,
        variance=variance,
        mutual_information=information,
        voting=None,
        features=tuple(
            part.kept if term is None else _with_term(part.kept, term)
            for part, term in zip(parts, spread.terms, strict=True)
        ),
    )


@dataclass(frozen=True, eq=False)
class _Opinions:
    """What all parts say at some voxels (N,), as ``GridVotes`` has it; variance and information None for one member."""

    reached: npt.NDArray[np.bool_]
    old: Values
    new: Values
    votes: list[Values]
    entropy: FloatMap
    variance: FloatMap | None
    information: FloatMap | None

    @classmethod
    def of(
        cls,
        parts: Sequence[PartModel],
        terms: Sequence[Term | None],
        voxels: Values,
        geometry: Geometry,
        members: int,
        bound: float,
    ) -> _Opinions:
        count = voxels.shape[1]
        old = np.zeros((len(parts), count), np.intp)
        new = old.copy()
        votes = np.zeros((members, len(parts), count), np.intp)
        most = np.full((3, count), np.nan, np.float32)
        for number, (part, term) in enumerate(zip(parts, terms, strict=True)):
            points, known = part.points_of(voxels, geometry)
            features = part.at_points(points[:, known])
            logits = part.logits(features)
            old[number, known] = part.said(logits)
            rows, added = (slice(0), np.zeros((0, 1), np.float32)) if term is None else (term.rows, term.of(features))
            logits[rows] += added
            new[number, known] = part.said(logits)
            p = np.zeros_like(logits.T)
            each, squares = np.zeros(len(p), np.float32), np.zeros(len(p), np.float32)
            for member, own in enumerate(part.logits_of_members(features)):
                own[rows] += added
                votes[member, number, known] = part.said(own)
                q = softmax(own.T)
                p += q / members
                each += _entropy(q) / members
                squares += (q * q).sum(axis=1) / members
            whole = _entropy(p)
            classes = len(part.values)
            alike = min(max(members, 2), classes)
            measures = (
                np.clip(whole / bound, 0, 1),
                np.clip((squares - (p * p).sum(axis=1)) / (1 - 1 / alike), 0, 1),
                np.clip((whole - each) / np.log(alike), 0, 1),
            )
            for largest, measure in zip(most, measures, strict=True):
                largest[known] = np.fmax(largest[known], measure)
        return cls(
            ~np.isnan(most[0]),
            merged(old),
            merged(new),
            [merged(vote) for vote in votes],
            most[0],
            most[1] if members > 1 else None,
            most[2] if members > 1 else None,
        )


def _with_term(kept: DecoderFeatures, term: Term) -> DecoderFeatures:
    """The same features with heads whose mean has the term."""
    weights, biases, start = [], [], 0
    for own, bias in zip(kept.weights, kept.biases, strict=True):
        stop = start + own.shape[1]
        weights.append(own.copy())
        weights[-1][term.rows] += len(kept.weights) * term.weights[:, start:stop]
        biases.append(bias.copy())
        biases[-1][term.rows] += term.biases
        start = stop
    return replace(kept, weights=tuple(weights), biases=tuple(biases))


def _entropy(p: FloatMap) -> FloatMap:
    """In nats, of probabilities (N, C)."""
    return np.asarray(-(p * np.log(np.maximum(p, 1e-12))).sum(axis=1), np.float32)


def _copy(array: FloatMap | None) -> FloatMap | None:
    return None if array is None else array.copy()

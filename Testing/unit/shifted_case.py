"""A case in which a network takes one structure for another, because the image is of a new kind: made of features.

Each structure has a code, and a voxel's features are that of its structure with noise. The heads know the codes of the
old kind of images. In this case the spleen's is another one, which the heads take for the liver's, although a direction
that they do not look at tells the two apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import RegionReview, RegionState
from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.core.votes import DecoderFeatures, GridVotes, Member, MemberKind
from activeseg.refiners.adapted_votes import adapted_votes
from activeseg.refiners.spreading import Spread, SpreadCase

SCHEMA = LabelSchema.from_names(["liver", "spleen", "kidney", "tumour"])  # no network knows the tumour
LIVER, SPLEEN, KIDNEY, TUMOUR = (label.value for label in SCHEMA.labels)
SHAPE = (30, 32, 36)
NETWORK = Geometry.from_ijk_to_ras(np.diag([3.0, 3.0, 3.0, 1.0]), SHAPE)
_CODES = np.eye(6)[[0, 1, 2, 3]]
_NEW_SPLEEN = np.array([0.0, 0.75, 0.35, 0.0, 0.9, 0.0])
BOXES = (
    ((2, 12), (2, 12), (2, 12)),
    ((2, 12), (18, 28), (2, 12)),
    ((16, 26), (2, 12), (4, 14)),
    ((16, 26), (18, 28), (4, 14)),
)

LabelMap = npt.NDArray[Any]


def true_labels() -> LabelMap:
    """Pieces of all structures on the network's grid, some of each in every box and elsewhere."""
    k, j, i = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[(j % 16 < 12) & (i % 18 < 15)] = LIVER
    labels[(k % 14 > 5) & (j % 16 < 8) & (i % 18 < 9)] = SPLEEN
    labels[(k % 14 < 3) & (j % 16 > 6) & (i % 18 > 6)] = KIDNEY
    return labels


def shifted_case(
    members: int = 4, parts: Sequence[Sequence[int]] = ((0, LIVER, SPLEEN, KIDNEY),), geometry: Geometry = NETWORK
) -> tuple[SpreadCase, LabelMap]:
    """The case as the network sees it, with nothing corrected yet, and the truth, both on the CT's ``geometry``.

    ``parts`` are the values that each part model knows, background first.
    """
    truth = true_labels()
    codes = _CODES.copy()
    codes[SPLEEN] = _NEW_SPLEEN
    random = np.random.default_rng(5)
    kept = []
    for values in parts:
        features = [
            (codes[truth].transpose(3, 0, 1, 2) + random.normal(0, 0.13, (6, *SHAPE))).astype(np.float16)
            for _ in range(members)
        ]
        others = [value for value in range(4) if value not in values]
        weights = 12 * _CODES[list(values)].astype(np.float32)
        weights[0] += 12 * _CODES[others].sum(axis=0, dtype=np.float32) if others else 0
        biases = np.zeros(len(values), np.float32)
        kept.append(
            DecoderFeatures(NETWORK, tuple(features), (weights,) * members, (biases,) * members, np.array(values))
        )
    votes = network_votes(tuple(kept))
    predicted = on(geometry, votes.labels)
    return SpreadCase(geometry, SCHEMA, votes, predicted, predicted.copy()), on(geometry, truth)


def network_votes(features: tuple[DecoderFeatures, ...]) -> GridVotes:
    """What the members say, by the very code that says it after something was learned."""
    members = len(features[0].features)
    empty = np.zeros(SHAPE, np.uint8)
    named = tuple(Member(f"fold {n}", MemberKind.TRAINED) for n in range(members))
    several = np.zeros(SHAPE, np.float32) if members > 1 else None
    votes = GridVotes(
        NETWORK, empty, named, (empty,) * members, np.zeros(SHAPE, np.float32), several, several, None,
        float(np.log(max(len(part.values) for part in features))), features,
    )  # fmt: skip
    case = SpreadCase(NETWORK, SCHEMA, votes, empty, empty)
    nothing = Spread(case, True, "", 0.0, (), terms=(None,) * len(features))
    said = adapted_votes(nothing, empty)
    return replace(said, labels=said.votes[0])


def on(geometry: Geometry, labels: LabelMap) -> LabelMap:
    """Labels of the network's grid on that of a CT, nearest neighbour."""
    return Volume(labels, NETWORK).resample_labels_to(geometry).array.astype(np.uint8)


def regions_on(geometry: Geometry, count: int = 4) -> list[RegionReview]:
    """The first of ``BOXES`` on a CT's grid, corrected."""
    found = []
    for number, box in enumerate(BOXES[:count], start=1):
        marked = np.zeros(SHAPE, np.uint8)
        marked[tuple(slice(*span) for span in box)] = 1
        there = np.argwhere(on(geometry, marked))
        k, j, i = zip(there.min(axis=0).tolist(), (there.max(axis=0) + 1).tolist(), strict=True)
        found.append(RegionReview(number, (k, j, i), RegionState.CORRECTED))
    return found


def corrected(
    case: SpreadCase,
    truth: LabelMap,
    regions: Sequence[RegionReview],
    person: Callable[[LabelMap], LabelMap] = lambda true: true,
) -> SpreadCase:
    """The case with the truth in the regions, as a ``person`` sees it."""
    labels = case.labels.copy()
    for region in regions:
        labels[region.slices] = person(truth[region.slices])
    return replace(case, labels=labels)


def outside(case: SpreadCase, regions: Sequence[RegionReview]) -> npt.NDArray[np.bool_]:
    free = np.ones(case.geometry.shape_kji, bool)
    for region in regions:
        free[region.slices] = False
    return free


def dice(labels: LabelMap, truth: LabelMap, value: int, where: npt.NDArray[np.bool_]) -> float:
    a, b = (labels == value) & where, (truth == value) & where
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))

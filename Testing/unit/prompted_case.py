"""A case with known errors for prompts: the same patient on every grid, and a model that misses a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from activeseg.core.geometry import Box, Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.prompt import Prompt, PromptKind
from activeseg.core.volume import Volume
from activeseg.core.votes import DecoderFeatures, GridVotes, Member, MemberKind
from activeseg.refiners.base import RefinableCase

SCHEMA = LabelSchema.from_names(["liver", "spleen"])
LIVER, SPLEEN, IGNORE = 1, 2, 3
MISSED, FOUND, NEIGHBOUR, ISLAND, NOWHERE = (0, 8, 0), (0, -9, 0), (25, 0, 0), (-26, 0, 0), (0, 24, 12)
"""Points in RAS mm: liver that the model missed, liver that it found, the spleen, what it took for liver, and fat."""


@dataclass(frozen=True)
class Prompted:
    """``labels`` and ``truth`` are (k, j, i) on the CT's grid."""

    case: RefinableCase
    labels: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint8]

    def voxel(self, ras: Sequence[float]) -> tuple[int, int, int]:
        i, j, k = np.rint(self.case.ct.geometry.ijk_of_ras(ras)).astype(int).tolist()
        return k, j, i

    def prompt(self, *ras: Sequence[float], **changes: Any) -> Prompt:
        """A point for the liver, unless said otherwise."""
        given = {"kind": PromptKind.POINT, "structure": "liver", **changes}
        return Prompt(points_kji=tuple(self.voxel(point) for point in ras), **given)

    @property
    def box(self) -> Box:
        """Of the whole CT."""
        k, j, i = self.labels.shape
        return (0, k), (0, j), (0, i)

    def wrong(self, labels: npt.NDArray[Any]) -> int:
        return int(np.count_nonzero(labels != self.truth))


def grid(spacing: Sequence[float] = (2, 2, 2), turn: npt.ArrayLike | None = None, half: float = 36.0) -> Geometry:
    """Around the patient, ``2 half`` mm wide (72 mm by default); the columns of ``turn`` are its axes in RAS."""
    axes = np.eye(3) if turn is None else np.asarray(turn, float)
    shape = [int(2 * half / step) for step in spacing]
    matrix = np.eye(4)
    matrix[:3, :3] = axes * np.asarray(spacing, float)
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry.from_ijk_to_ras(matrix, shape[::-1])


def prompted(
    ct: Geometry | None = None, votes: Geometry | None = None, members: int = 3, parts: int = 1, noise: float = 10.0
) -> Prompted:
    """The patient on a grid; ``parts`` networks of one structure each or of both (0: a model without features)."""
    ct = ct or grid()
    votes = votes or grid((3, 3, 3), half=33.0)
    truth, hu = _anatomy(_ras(ct))
    hu += np.random.default_rng(0).normal(0, noise, hu.shape)
    said = [_model(_ras(votes), cut) for cut in np.linspace(-3.0, -1.0, members)]
    entropy = np.std(said, axis=0).astype(np.float32)
    who = tuple(Member(f"fold {n}", MemberKind.TRAINED) for n in range(members))
    grid_votes = GridVotes(votes, said[0], who, tuple(said), entropy, features=_features(votes, said, parts))
    case = RefinableCase(Volume(np.rint(hu).astype(np.int16), ct), SCHEMA, grid_votes)
    return Prompted(case, _model(_ras(ct), -2.0), truth)


def _ras(geometry: Geometry) -> npt.NDArray[np.float64]:
    kji = np.indices(geometry.shape_kji)
    return geometry.ras_of_ijk(np.moveaxis(kji[::-1], 0, -1))


def _ball(ras: npt.NDArray[np.float64], centre: Sequence[float], radius: float) -> npt.NDArray[np.bool_]:
    return np.asarray(np.linalg.norm(ras - np.asarray(centre, float), axis=-1) <= radius)


def _anatomy(ras: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    truth = np.zeros(ras.shape[:-1], np.uint8)
    truth[_ball(ras, NEIGHBOUR, 10)] = SPLEEN
    truth[_ball(ras, (0, 0, 0), 16)] = LIVER
    hu = np.where(truth > 0, 120.0, -80.0)
    hu[_ball(ras, ISLAND, 6)] = 40.0
    return truth, hu


def _model(ras: npt.NDArray[np.float64], cut: float) -> npt.NDArray[np.uint8]:
    """It misses the liver in front of ``cut``, and takes an island beside it for liver."""
    labels, _ = _anatomy(ras)
    labels[(labels == LIVER) & (ras[..., 1] > cut)] = 0
    labels[_ball(ras, ISLAND, 6)] = LIVER
    return labels


def _features(geometry: Geometry, said: Sequence[npt.NDArray[np.uint8]], parts: int) -> tuple[DecoderFeatures, ...]:
    """Three features: what the member holds for liver and for spleen, and how dense it is there."""
    _, hu = _anatomy(_ras(geometry))
    dense = gaussian_filter(hu, 0.7) / 100
    maps = [np.stack([gaussian_filter((one == v) * 4.0, 0.7) for v in (LIVER, SPLEEN)] + [dense]) for one in said]
    features = tuple(member.astype(np.float16) for member in maps)
    heads = {0: [], 1: [[LIVER, SPLEEN]], 2: [[LIVER], [SPLEEN]]}[parts]
    found = []
    for values in heads:
        weights = np.zeros((len(values) + 1, 3), np.float32)
        for row, value in enumerate(values, start=1):
            weights[row, value - 1] = 2.0
        biases = np.array([0.0] + [-4.0] * len(values), np.float32)
        all_alike = len(said)
        found.append(
            DecoderFeatures(geometry, features, (weights,) * all_alike, (biases,) * all_alike, np.array([0, *values]))
        )
    return tuple(found)

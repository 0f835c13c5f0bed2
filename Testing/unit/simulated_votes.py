"""Ensembles with known truth: organs, members with noisy surfaces everywhere, and blobs of error in places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter

from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.votes import GridVotes, Member, MemberKind, Segmented
from activeseg.review.uncertainty import measures_from_votes

SCHEMA = LabelSchema.from_names(["liver", "spleen", "kidney", "aorta", "gland", "spine"])
_ORGANS = [  # centre and half axes as parts of the volume (k, j, i)
    ((0.55, 0.40, 0.30), (0.26, 0.24, 0.20)),
    ((0.62, 0.62, 0.76), (0.15, 0.13, 0.10)),
    ((0.35, 0.66, 0.30), (0.16, 0.09, 0.08)),
    ((0.50, 0.60, 0.54), (0.60, 0.045, 0.045)),
    ((0.50, 0.62, 0.42), (0.04, 0.04, 0.03)),
    ((0.50, 0.80, 0.50), (0.60, 0.09, 0.08)),
]


@dataclass(frozen=True)
class Case:
    """A segmentation, its truth and the mask of the errors that were put in, (k, j, i) on the network's grid."""

    segmented: Segmented
    truth: npt.NDArray[np.uint8]
    blobs: npt.NDArray[np.bool_]
    body_mm3: float


def simulated_case(
    seed: int,
    shape: tuple[int, int, int] = (40, 40, 44),
    spacing: float = 5.0,
    members: int = 4,
    blobs: int = 4,
    false_alarms: int = 2,
    surface_noise: float = 0.6,
    blob_mm: tuple[float, float] = (9.0, 16.0),
) -> Case:
    """Members whose surfaces wobble by ``surface_noise`` voxels, and blobs where most of them take another structure.

    Radii are drawn from ``blob_mm``; at ``false_alarms`` places a single member is wrong and the ensemble right.
    """
    random = np.random.default_rng(seed)
    truth = _organs(random, shape)
    classes = len(SCHEMA) + 1
    inside = np.stack([_signed_distance(truth == value) for value in range(classes)]).astype(np.float32)
    blob_mask = np.zeros(shape, bool)
    logits = []
    for _ in range(members):
        wobble = np.stack([gaussian_filter(random.standard_normal(shape, np.float32), 2.0) for _ in range(classes)])
        wobble *= surface_noise / wobble.std()
        logits.append(2.0 * np.clip(inside + wobble, -6, 6))
    surface = np.argwhere((truth > 0) & (np.abs(inside).min(axis=0) < 2))
    grid = np.stack(np.indices(shape, np.float32), axis=-1)
    for number in range(blobs + false_alarms):
        center = surface[random.integers(len(surface))]
        radius = random.uniform(*blob_mm) / spacing
        ball = np.linalg.norm((grid - center) * (1, random.uniform(0.8, 1.3), 1), axis=-1) <= radius
        old = np.bincount(truth[ball], minlength=classes).argmax()
        new = 0 if old else int(truth[tuple(center)])
        real = number < blobs
        wrong = random.permutation(members)[: max(1, round(0.75 * members)) if real else 1]
        for member in wrong:
            logits[member][new][ball] = 8.0 + random.normal()
        if real:
            blob_mask |= ball & (truth != new)
    return Case(_segmented(logits, shape, spacing), truth, blob_mask, float(0.6 * truth.size * spacing**3))


def geometry_of(shape: tuple[int, int, int], spacing: float) -> Geometry:
    """A RAS-oriented grid with its corner somewhere off zero."""
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = (-100.0, -80.0, 40.0)
    return Geometry.from_ijk_to_ras(matrix, shape)


def segmented_from(votes: Sequence[npt.NDArray[Any]], geometry: Geometry, **changes: Any) -> Segmented:
    """A result of members that give labels; the first vote is the ensemble's label map."""
    entropy, variance, information = measures_from_votes(votes, len(SCHEMA) + 1)
    members = tuple(Member(f"fold {n}", MemberKind.TRAINED) for n in range(len(votes)))
    bound = float(np.log(len(SCHEMA) + 1))
    grid = GridVotes(geometry, votes[0], members, tuple(votes), entropy, variance, information, entropy_bound=bound)
    return Segmented(votes[0], SCHEMA, SCHEMA.names, replace(grid, **changes))


def ball(shape: Sequence[int], center: Sequence[float], radius: float) -> npt.NDArray[np.bool_]:
    return np.asarray(sum((n - c) ** 2 for n, c in zip(np.indices(shape), center, strict=True)) <= radius**2)


def _organs(random: np.random.Generator, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    truth = np.zeros(shape, np.uint8)
    axes = np.stack(np.indices(shape), axis=-1) / np.array(shape)
    for value, (center, radii) in enumerate(_ORGANS, start=1):
        middle = np.array(center) + random.normal(0, 0.015, 3)
        half = np.array(radii) * random.uniform(0.9, 1.1, 3)
        truth[(((axes - middle) / half) ** 2).sum(axis=-1) <= 1] = value
    return truth


def _signed_distance(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.floating[Any]]:
    return np.asarray(distance_transform_edt(mask) - distance_transform_edt(~mask)) - 0.5 * np.where(mask, 1, -1)


def _segmented(logits: list[npt.NDArray[np.floating[Any]]], shape: tuple[int, int, int], spacing: float) -> Segmented:
    classes, members = len(logits[0]), len(logits)
    p = []
    for logit in logits:
        e = np.exp(logit - logit.max(axis=0))
        p.append(e / e.sum(axis=0))
    mean = sum(p) / members
    entropy = _entropy(mean)
    variance = sum((q**2).sum(axis=0) for q in p) / members - (mean**2).sum(axis=0)
    information = entropy - sum(_entropy(q) for q in p) / members
    top = min(members, classes)
    labels = (sum(logits) / members).argmax(axis=0).astype(np.uint8)
    grid = GridVotes(
        geometry=geometry_of(shape, spacing),
        labels=labels,
        members=tuple(Member(f"fold {m}", MemberKind.TRAINED) for m in range(members)),
        votes=tuple(logit.argmax(axis=0).astype(np.uint8) for logit in logits),
        entropy=(entropy / np.log(classes)).astype(np.float32),
        variance=(variance.clip(0) / (1 - 1 / top)).astype(np.float32) if members > 1 else None,
        mutual_information=(information.clip(0) / np.log(top)).astype(np.float32) if members > 1 else None,
    )
    return Segmented(labels, SCHEMA, SCHEMA.names, grid)


def _entropy(p: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    return np.asarray(-(p * np.log(p.clip(1e-12))).sum(axis=0))

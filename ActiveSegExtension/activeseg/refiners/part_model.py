"""The mean logits of one network's members, which are linear in what those computed before their last layers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from activeseg.core.geometry import FloatArray, Geometry, index_map
from activeseg.core.votes import DecoderFeatures

FloatMap = npt.NDArray[np.float32]
Values = npt.NDArray[np.intp]
_SLAB_VALUES = 1 << 24
"""Features and logits (float32) that are held at a time: 64 MB."""
_ON_A_VOXEL = 1e-4
"""Part of a voxel; points that lie this close to voxels' centres are not interpolated."""


@dataclass(frozen=True, eq=False)
class Term:
    """What is added to the logits of some classes: linear in the features of all members.

    Attributes
    ----------
    rows
        (R,) the classes.
    weights, biases
        (R, F of all members) and (R,), float32.
    """

    rows: Values
    weights: FloatMap
    biases: FloatMap

    def of(self, features: FloatMap) -> FloatMap:
        """(R, N) of features (F of all members, N)."""
        return np.asarray(self.weights @ features + self.biases[:, None], np.float32)


@dataclass(frozen=True, eq=False)
class PartModel:
    """One network: its features on its own grid, and what its members make of them together.

    Features are arrays (F of all members, N): those of the first member, then of the second, and so on.
    """

    kept: DecoderFeatures

    @property
    def geometry(self) -> Geometry:
        return self.kept.geometry

    @cached_property
    def values(self) -> Values:
        """(C,) the schema's value of each class."""
        return np.asarray(self.kept.values, np.intp)

    @cached_property
    def weights(self) -> FloatMap:
        """(C, F of all members), of the mean logits."""
        return np.concatenate(self.kept.weights, axis=1) / np.float32(len(self.kept.features))

    @cached_property
    def biases(self) -> FloatMap:
        """(C,), of the mean logits."""
        return np.asarray(np.mean(self.kept.biases, axis=0, dtype=np.float32))

    @property
    def at_once(self) -> int:
        """How many voxels should be worked on at a time."""
        return max(1, _SLAB_VALUES // sum(self.weights.shape))

    def logits(self, features: FloatMap) -> FloatMap:
        """(C, N): the members' mean."""
        return np.asarray(self.weights @ features + self.biases[:, None], np.float32)

    def logits_of_members(self, features: FloatMap) -> Iterator[FloatMap]:
        """(C, N) of one member after the other."""
        start = 0
        for weights, biases in zip(self.kept.weights, self.kept.biases, strict=True):
            stop = start + weights.shape[1]
            yield np.asarray(weights @ features[start:stop] + biases[:, None], np.float32)
            start = stop

    def said(self, logits: FloatMap) -> Values:
        """(N,) values of the schema that logits (C, N) decide for, the first class of equal ones."""
        return np.asarray(self.values[logits.argmax(axis=0)])

    def at_voxels(self, voxels_kji: Values) -> FloatMap:
        """Features of voxels (3, N) of its grid."""
        k, j, i = voxels_kji
        return np.concatenate([member[:, k, j, i] for member in self.kept.features]).astype(np.float32)

    def at_points(self, points_kji: FloatArray) -> FloatMap:
        """Features at points (3, N) of its grid, linear between voxels; beyond the outermost ones theirs count."""
        last = np.array(self.geometry.shape_kji)[:, None] - 1
        points = np.clip(points_kji, 0, last)
        nearest = np.rint(points)
        points = np.where(np.abs(points - nearest) < _ON_A_VOXEL, nearest, points)
        low = points.astype(np.intp)
        share = (points - low).astype(np.float32)
        found = np.zeros((self.weights.shape[1], points.shape[1]), np.float32)
        for corner in itertools.product((0, 1), repeat=3):
            up = np.array(corner)[:, None]
            weight = np.prod(np.where(up, share, 1 - share), axis=0)
            if weight.any():
                found += weight * self.at_voxels(np.minimum(low + up, last))
        return found

    def slabs(self) -> Iterator[tuple[slice, FloatMap]]:
        """Its whole grid: ranges along k, and the features (F of all members, N) of their voxels in order."""
        depth, rows, columns = self.geometry.shape_kji
        step = max(1, self.at_once // (rows * columns))
        for start in range(0, depth, step):
            part = slice(start, min(start + step, depth))
            yield part, np.concatenate([f[:, part].reshape(len(f), -1) for f in self.kept.features]).astype(np.float32)

    def points_of(self, voxels_kji: Values, geometry: Geometry) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Where voxels (3, N) of another grid lie on its own (3, N), and whether that is within its voxels (N,)."""
        matrix, shift = index_map(geometry, self.geometry)
        points = matrix @ voxels_kji + shift[:, None]
        limit = np.array(self.geometry.shape_kji)[:, None] - 0.5
        return points, np.asarray(((points >= -0.5) & (points < limit)).all(axis=0))


def merged(said: Sequence[Values] | Values) -> Values:
    """What all parts (P, N) say together: a later one wins wherever it sees a structure."""
    together: Values = said[0].copy()
    for values in said[1:]:
        np.copyto(together, values, where=values != 0)
    return together


def answers(
    parts: Sequence[PartModel], terms: Sequence[Term | None], voxels_kji: Values, geometry: Geometry
) -> tuple[Values, Values]:
    """What all parts say at voxels (3, N) of any grid, without and with their terms: values (N,) of the schema.

    Where no part reaches is background.
    """
    count = voxels_kji.shape[1]
    old = np.zeros((len(parts), count), np.intp)
    new = old.copy()
    for number, (part, term) in enumerate(zip(parts, terms, strict=True)):
        for start in range(0, count, part.at_once):
            points, known = part.points_of(voxels_kji[:, start : start + part.at_once], geometry)
            at = start + np.flatnonzero(known)
            features = part.at_points(points[:, known])
            logits = part.logits(features)
            old[number, at] = new[number, at] = part.said(logits)
            if term is not None:
                logits[term.rows] += term.of(features)
                new[number, at] = part.said(logits)
    return merged(old), merged(new)

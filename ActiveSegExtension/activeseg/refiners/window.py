"""What is known of a box: how the image looks there, and what the model says, on one grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import affine_transform, distance_transform_edt, gaussian_filter, uniform_filter

from activeseg.core.geometry import Box, Geometry, grown, index_map, slices_of
from activeseg.core.votes import DecoderFeatures
from activeseg.refiners.base import RefinableCase
from activeseg.refiners.question import Mask, Question

Field = npt.NDArray[np.float32]
SMOOTH_MM = 1.5
"""Noise is smoothed away by as much,"""
SMOOTH_VOXELS = 0.6
"""and on coarse grids by at least this part of a voxel."""
CONTEXT_MM = 15.0
"""How far around the box the model's answer is looked at, too; there it is not asked about and does not change."""
MOST_VOXELS = 400_000
"""A box of more voxels is looked at on a coarser grid: every second voxel along the axis of the finest spacing, and so
on. A second on two cores is enough for as many."""
LEAST_PROBABILITY = 1e-3
LEAST_SHARE = 0.05
"""Where all members vote alike they may be wrong alike: how often, labels alone do not say."""
VOTE_BLUR_MM = 2.25
"""Votes are labels without probabilities; their share is blurred by as much."""
LEAST_NOISE_HU = 3.0


@dataclass(frozen=True, eq=False)
class Window:
    """A window of the CT, around what is asked, on its grid or on every n-th voxel of it; arrays are (k, j, i).

    Attributes
    ----------
    case
        What it is taken from.
    asked
        The question; its arrays lie on the CT's grid.
    span_kji
        The window on the CT's grid.
    steps_kji
        One voxel of the window is so many of the CT.
    labels
        As they are now; outside of the box as the model says, and ``ignore`` where it says nothing.
    hu, wide_hu
        The CT smoothed by ``SMOOTH_MM``, and by three times that.
    noise_hu
        Noise of ``hu``.
    """

    case: RefinableCase
    asked: Question
    span_kji: Box
    steps_kji: tuple[int, int, int]
    labels: npt.NDArray[Any]
    hu: Field
    wide_hu: Field
    noise_hu: float

    @classmethod
    def of(cls, case: RefinableCase, asked: Question) -> Window:
        geometry = case.ct.geometry
        span = grown(asked.part_kji, geometry, CONTEXT_MM)
        if math.prod(high - low for low, high in span) > MOST_VOXELS:
            span = asked.part_kji
        steps = _steps(span, geometry)
        every = tuple(slice(None, None, step) for step in steps)
        raw = case.ct.array[slices_of(span)].astype(np.float32)
        if steps != (1, 1, 1):
            raw = uniform_filter(raw, steps, mode="nearest")[every]
        spacing = np.array(geometry.spacing_xyz[::-1]) * steps
        sigma = max(SMOOTH_MM, SMOOTH_VOXELS * float(np.cbrt(np.prod(spacing)))) / spacing
        hu = gaussian_filter(raw, sigma, mode="nearest")
        wide = gaussian_filter(raw, 3 * sigma, mode="nearest")
        rough = hu - gaussian_filter(raw, 2 * sigma, mode="nearest")
        noise = max(1.4826 * float(np.median(np.abs(rough))), LEAST_NOISE_HU)
        unknown = case.schema.ignore_value
        labels = _nearest(case.votes.labels, case.votes.geometry, geometry, span, steps, raw.shape, unknown)
        near = _relative(asked.part_kji, span)
        whole = np.full([high - low for low, high in span], -1, np.int32)
        whole[near] = asked.labels
        labels = np.where(whole[every] >= 0, whole[every], labels)
        return cls(case, asked, span, steps, labels, hu, wide, noise)

    @property
    def spacing_kji(self) -> npt.NDArray[np.float64]:
        """mm between the window's voxels."""
        return np.array(self.case.ct.geometry.spacing_xyz[::-1]) * self.steps_kji

    @property
    def open(self) -> Mask:
        """What may change: free voxels for a structure that gains, its own for one that loses."""
        own = self.asked.labels == self.asked.value
        whole = np.zeros([high - low for low, high in self.span_kji], bool)
        whole[_relative(self.asked.part_kji, self.span_kji)] = self.asked.free & ~own if self.asked.include else own
        return whole[tuple(slice(None, None, step) for step in self.steps_kji)]

    def here(self, mask: Mask) -> Mask:
        """A mask over the asked part on the window's grid: where any voxel of it is nearest to one of the window's."""
        at = np.argwhere(mask) + [a - c for (a, _), (c, _) in zip(self.asked.part_kji, self.span_kji, strict=True)]
        at = np.minimum(np.rint(at / np.array(self.steps_kji)).astype(int), np.array(self.labels.shape) - 1)
        found = np.zeros(self.labels.shape, bool)
        found[tuple(at.T)] = True
        return found

    def back(self, values: Field) -> Field:
        """Values of the window on the CT's grid, over the asked part."""
        start = np.array([a - c for (a, _), (c, _) in zip(self.asked.part_kji, self.span_kji, strict=True)])
        shape = self.asked.labels.shape
        if self.steps_kji == (1, 1, 1):
            return values[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))]
        steps = np.array(self.steps_kji, float)
        return np.asarray(
            affine_transform(
                values, 1 / steps, start / steps, shape, np.float32, order=1, mode="nearest", prefilter=False
            )
        )

    def distance_mm(self, mask: Mask) -> Field:
        """From the nearest voxel of a mask of the window, which has some."""
        return np.asarray(distance_transform_edt(~mask, sampling=self.spacing_kji), np.float32)

    def sampled(self, values: npt.NDArray[Any], geometry: Geometry) -> Field:
        """A map of another grid at the window's voxels, linear; beyond its border the border's values."""
        matrix, shift = _on_window(*index_map(self.case.ct.geometry, geometry), self.span_kji, self.steps_kji)
        matrix = np.where(np.abs(matrix) < 1e-9, 0.0, matrix)
        return np.asarray(
            affine_transform(
                np.asarray(values, np.float32),
                matrix,
                shift,
                self.labels.shape,
                np.float32,
                1,
                "nearest",
                prefilter=False,
            )
        )

    def places_in(self, geometry: Geometry, places: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Voxels of the window (3, N) as continuous ones of another grid."""
        matrix, shift = _on_window(*index_map(self.case.ct.geometry, geometry), self.span_kji, self.steps_kji)
        return np.asarray(matrix @ places + shift[:, None])

    def covered(self, geometry: Geometry) -> tuple[slice, slice, slice]:
        """The part of another grid that the window needs; at least one voxel."""
        matrix, shift = index_map(self.case.ct.geometry, geometry)
        corners = np.array(np.meshgrid(*[(low, high - 1) for low, high in self.span_kji], indexing="ij"))
        at = corners.reshape(3, -1).T @ matrix.T + shift
        limit = np.array(geometry.shape_kji)
        low = np.clip(np.floor(at.min(axis=0)).astype(int), 0, limit - 1)
        high = np.clip(np.ceil(at.max(axis=0)).astype(int) + 1, low + 1, limit)
        return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])

    @cached_property
    def parts(self) -> tuple[PartWindow, ...]:
        """What each network said around the window."""
        return tuple(PartWindow.of(self, features) for features in self.case.votes.features)

    def probability(self, value: int) -> Field:
        """How likely the model holds a structure (0: background), 0..1."""
        if not self.parts:
            return self._share(value)
        said = [part.probability(value) for part in self.parts]
        known = [p for p in said if p is not None]
        if not known:
            return self._share(value)
        whole = np.minimum.reduce(known) if value == 0 else np.maximum.reduce(known)
        return np.asarray(np.clip(whole, 0, 1))

    def log_odds(self, value: int) -> Field:
        """Of ``probability``; never beyond what ``LEAST_PROBABILITY`` gives, or ``LEAST_SHARE`` of votes."""
        least = LEAST_PROBABILITY if self.parts else LEAST_SHARE
        p = np.clip(self.probability(value), least, 1 - least)
        return np.asarray(np.log(p / (1 - p)), np.float32)

    @cached_property
    def sureness(self) -> Field:
        """How likely the model holds what the labels are now, 0..1."""
        sure = np.zeros(self.labels.shape, np.float32)
        for value in np.unique(self.labels):
            if value <= len(self.case.schema):
                here = self.labels == value
                sure[here] = self.probability(int(value))[here]
        return sure

    def _share(self, value: int) -> Field:
        votes = self.case.votes
        part = self.covered(votes.geometry)
        share = np.asarray(np.mean([vote[part] == value for vote in votes.votes], axis=0), np.float32)
        blurred = self.sampled(share, votes.geometry.cropped(_box(part)))
        return np.asarray(gaussian_filter(blurred, VOTE_BLUR_MM / self.spacing_kji, mode="nearest"))


@dataclass(frozen=True, eq=False)
class PartWindow:
    """What one network said around a window, on its own grid.

    Attributes
    ----------
    geometry
        The grid, cropped to what the window needs.
    features
        (D, k, j, i): those of all members.
    probabilities
        (C, k, j, i): mean over the members.
    values
        (C,): ``DecoderFeatures.values``.
    """

    window: Window
    geometry: Geometry
    features: Field
    probabilities: Field
    values: npt.NDArray[Any]

    @classmethod
    def of(cls, window: Window, given: DecoderFeatures) -> PartWindow:
        near = window.covered(given.geometry)
        members = [member[:, *near].astype(np.float32) for member in given.features]
        mean = np.zeros((len(given.values), *members[0].shape[1:]), np.float32)
        for member, weights, biases in zip(members, given.weights, given.biases, strict=True):
            logits = np.tensordot(weights, member, 1) + biases[:, None, None, None]
            odds = np.exp(logits - logits.max(axis=0))
            mean += odds / odds.sum(axis=0) / np.float32(len(members))
        geometry = given.geometry.cropped(_box(near))
        return cls(window, geometry, np.concatenate(members), mean, given.values)

    def probability(self, value: int) -> Field | None:
        """On the window's grid; None for a structure that this network does not know."""
        classes = np.flatnonzero(self.values == value)
        if not len(classes):
            return None
        return self.window.sampled(self.probabilities[classes].sum(axis=0), self.geometry)


def _box(part: tuple[slice, slice, slice]) -> Box:
    k, j, i = ((axis.start, axis.stop) for axis in part)
    return k, j, i


def _relative(inner: Box, outer: Box) -> tuple[slice, slice, slice]:
    """A box as an index into arrays over a box around it."""
    k, j, i = (slice(a - c, b - c) for (a, b), (c, _) in zip(inner, outer, strict=True))
    return k, j, i


def _steps(span: Box, geometry: Geometry) -> tuple[int, int, int]:
    """So coarse that the window has at most ``MOST_VOXELS``; the axis of the finest spacing first."""
    steps = [1, 1, 1]
    while math.prod(-(-(high - low) // step) for (low, high), step in zip(span, steps, strict=True)) > MOST_VOXELS:
        coarse = [spacing * step for spacing, step in zip(geometry.spacing_xyz[::-1], steps, strict=True)]
        steps[int(np.argmin(coarse))] += 1
    return steps[0], steps[1], steps[2]


def _on_window(
    matrix: npt.NDArray[np.float64], shift: npt.NDArray[np.float64], span: Box, steps: tuple[int, int, int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A map from the CT's voxels as one from the window's."""
    start = np.array([low for low, _ in span], float)
    return matrix * np.array(steps, float), matrix @ start + shift


def _nearest(
    labels: npt.NDArray[Any],
    grid: Geometry,
    ct: Geometry,
    span: Box,
    steps: tuple[int, int, int],
    shape: tuple[int, ...],
    beyond: int,
) -> npt.NDArray[Any]:
    """A label map at the window's voxels, nearest neighbour; ``beyond`` where it does not reach."""
    matrix, shift = _on_window(*index_map(ct, grid), span, steps)
    matrix = np.where(np.abs(matrix) < 1e-9, 0.0, matrix)
    return np.asarray(affine_transform(labels, matrix, shift, shape, np.uint16, 0, "constant", beyond, prefilter=False))

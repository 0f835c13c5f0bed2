"""What a segmentation amounts to on the CT's grid, written down once more: SimpleITK, segment by segment.

Shares nothing with the code under test. Slicer itself gives each segment's own voxels; each is resampled alone; who
wins an overlap follows from the rule in words: an edited segment beats an unedited one, then a later beats an earlier.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from activeseg.core.geometry import Geometry

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TIE = 1e-3
"""Part of a voxel, along each of the CT's axes, by which places are looked up beside themselves: so it is decided which
voxel is nearest where two are equally near.
"""

ROUNDING = 1e-4
"""What VTK's and ITK's ways to a voxel may differ by, in the CT's voxels."""


@dataclass(frozen=True)
class RawSegment:
    """One segment as Slicer gives it: ``mask`` (k, j, i), whose indices (i, j, k, 1) ``to_ras`` takes to RAS mm.

    ``value`` is its structure's in the label map, 0 where it is left out; ``touched``: it says that it was worked on.
    """

    id: str
    mask: np.ndarray
    to_ras: np.ndarray
    touched: bool
    value: int


@dataclass(frozen=True)
class Expected:
    """A label map, how many voxels several segments claim, and each segment's voxels beyond the CT."""

    labels: np.ndarray
    overlapping: int
    outside: dict[str, int]


def raw_segments(node: Any, value_of: Mapping[str, int]) -> list[RawSegment]:
    """All segments of a node in Slicer's order, without the node's own transform."""
    found = []
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        segment = node.GetSegmentation().GetSegment(segment_id)
        image = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(segment_id, image)
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        to_ras = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
        e = image.GetExtent()
        scalars = image.GetPointData().GetScalars()
        if scalars is None or e[1] < e[0] or e[3] < e[2] or e[5] < e[4]:
            mask = np.zeros((1, 1, 1), np.uint8)
        else:
            shape = (e[5] - e[4] + 1, e[3] - e[2] + 1, e[1] - e[0] + 1)
            mask = (vtk_to_numpy(scalars).reshape(shape) != 0).astype(np.uint8)
            to_ras[:3, 3] += to_ras[:3, :3] @ np.array([e[0], e[2], e[4]], float)
        status = vtk.reference("")
        touched = bool(segment.GetTag("Segmentation.Status", status)) and str(status.get()) != "notstarted"
        found.append(RawSegment(segment_id, mask, to_ras, touched, value_of[segment_id]))
    return found


def expected(
    segments: Sequence[RawSegment],
    ct: Geometry,
    original: np.ndarray,
    to_ct: np.ndarray,
    beside: Sequence[float] = (TIE, TIE, TIE),
) -> Expected:
    """``to_ct`` (4 x 4, RAS mm) takes the segmentation to the CT; ``original`` is the label map that was shown."""
    labels = np.zeros(ct.shape_kji, original.dtype)
    claims = np.zeros(ct.shape_kji, int)
    placed = [(segment, _resampled(segment, ct, to_ct, beside)) for segment in segments if segment.value]
    edited = [s.touched or bool((mask != (original == s.value)).any()) for s, mask in placed]
    for wanted in (False, True):
        for (segment, mask), is_edited in zip(placed, edited, strict=True):
            if is_edited is wanted:
                labels[mask] = segment.value
    for _, mask in placed:
        claims += mask
    outside = {segment.id: _outside(segment, ct, to_ct) if segment.value else 0 for segment in segments}
    return Expected(labels, int((claims > 1).sum()), outside)


def wrong_voxels(
    labels: np.ndarray, segments: Sequence[RawSegment], ct: Geometry, original: np.ndarray, to_ct: np.ndarray
) -> np.ndarray:
    """The voxels (n, 3) of a label map that are not as expected, nor would be within rounding."""
    wrong = labels != expected(segments, ct, original, to_ct).labels
    if wrong.any():
        for signs in itertools.product((-ROUNDING, ROUNDING), repeat=3):
            beside = [TIE + sign for sign in signs]
            wrong &= labels != expected(segments, ct, original, to_ct, beside).labels
    return np.argwhere(wrong)


def _resampled(segment: RawSegment, ct: Geometry, to_ct: np.ndarray, beside: Sequence[float]) -> np.ndarray:
    lps = TO_LPS @ segment.to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.pad(segment.mask, 1))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((lps[:3, 3] - lps[:3, :3].sum(axis=1)).tolist())
    back = TO_LPS @ np.linalg.inv(to_ct) @ TO_LPS
    moved = back[:3, :3] @ (ct.ijk_to_lps[:3, :3] @ np.asarray(beside, float))
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(back[:3, :3].ravel().tolist())
    transform.SetTranslation((back[:3, 3] + moved).tolist())
    resample = sitk.ResampleImageFilter()
    resample.SetInterpolator(sitk.sitkNearestNeighbor)
    resample.SetSize(ct.shape_kji[::-1])
    resample.SetOutputSpacing(ct.spacing_xyz)
    resample.SetOutputOrigin(ct.origin_lps)
    resample.SetOutputDirection(ct.direction_lps)
    resample.SetTransform(transform)
    return sitk.GetArrayFromImage(resample.Execute(image)) != 0


def _outside(segment: RawSegment, ct: Geometry, to_ct: np.ndarray) -> int:
    at = np.argwhere(segment.mask)[:, ::-1]
    to_ijk = np.linalg.inv(ct.ijk_to_ras) @ to_ct @ segment.to_ras
    there = at @ to_ijk[:3, :3].T + to_ijk[:3, 3]
    return int(((there < -0.5) | (there > np.array(ct.shape_kji[::-1]) - 0.5)).any(axis=1).sum())

"""How good a label map is, structure by structure, where a person has looked (``seen``).

Unreviewed voxels are left out: there the held-out label map is some version's own prediction, and comparing
with it would only measure how alike two versions are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError

LabelMap = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
SURFACE_TOLERANCE_MM = 2.0
LEAST_VOXELS = 20
"""A structure of which truth and label map together show fewer reviewed voxels than this is not measured in a case."""


@dataclass(frozen=True)
class Scores:
    """One structure in one case.

    Attributes
    ----------
    dice : 2 |A and B| / (|A| + |B|)
    surface_dice : share of both surfaces that lies within 2 mm of the other (Nikolov et al., 2021), by voxels of the
        surface
    hd95_mm : the larger of both surfaces' 95th percentile distances to the other; None when one of them is empty
    volume_error : (|A| - |B|) / |B|, None when the truth is empty
    voxels : reviewed voxels of truth or label map
    """

    dice: float
    surface_dice: float
    hd95_mm: float | None
    volume_error: float | None
    voxels: int


def structure_scores(
    found: LabelMap, truth: LabelMap, seen: Mask, value: int, spacing_kji: Sequence[float]
) -> Scores | None:
    """Scores of the structure with that value; None when too little of it was reviewed, or it is on neither side.

    Parameters
    ----------
    found, truth : label maps (k, j, i) on one grid
    seen : voxels that count, same shape
    spacing_kji : mm
    """
    a, b = (found == value) & seen, (truth == value) & seen
    either = a | b
    voxels = int(np.count_nonzero(either))
    if voxels < LEAST_VOXELS:
        return None
    box = _around(either, margin=1)
    a, b, seen = a[box], b[box], seen[box]
    size_a, size_b = int(a.sum()), int(b.sum())
    dice = 2.0 * int((a & b).sum()) / (size_a + size_b)
    surface_dice, hd95 = _surfaces(a, b, seen, spacing_kji)
    return Scores(dice, surface_dice, hd95, (size_a - size_b) / size_b if size_b else None, voxels)


def _around(mask: Mask, margin: int) -> tuple[slice, ...]:
    box = []
    for axis in range(mask.ndim):
        at = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(slice(max(int(at[0]) - margin, 0), int(at[-1]) + 1 + margin))
    return tuple(box)


def _surfaces(a: Mask, b: Mask, seen: Mask, spacing_kji: Sequence[float]) -> tuple[float, float | None]:
    """Surface Dice at the tolerance, and the 95th percentile Hausdorff distance in mm."""
    from scipy.ndimage import distance_transform_edt

    surface_a, surface_b = _surface(a, seen), _surface(b, seen)
    if not surface_a.any() or not surface_b.any():
        return (1.0 if surface_a.any() == surface_b.any() else 0.0), None
    to_b = distance_transform_edt(~surface_b, sampling=spacing_kji)[surface_a]
    to_a = distance_transform_edt(~surface_a, sampling=spacing_kji)[surface_b]
    near = np.count_nonzero(to_b <= SURFACE_TOLERANCE_MM) + np.count_nonzero(to_a <= SURFACE_TOLERANCE_MM)
    return near / (to_a.size + to_b.size), float(max(np.percentile(to_a, 95), np.percentile(to_b, 95)))


def _surface(mask: Mask, seen: Mask) -> Mask:
    """Voxels of the mask that touch a reviewed voxel outside of it, or the image's edge; what cuts a structure only
    because it was not reviewed beyond is no surface of it."""
    from scipy.ndimage import binary_dilation

    outside = np.pad(~mask & seen, 1, constant_values=True)
    touched: Mask = binary_dilation(outside)[(slice(1, -1),) * mask.ndim]
    return mask & touched


@dataclass(frozen=True)
class Reliability:
    """Whether the uncertainty finds the errors of one case; None where it cannot be said.

    Attributes
    ----------
    auroc : probability that a wrong voxel has a higher uncertainty than a right one, among foreground voxels (of the
        truth or the label map)
    covered : share of the wrong voxels that lie in the boxes of the first ten regions
    errors : share of the foreground voxels that are wrong
    """

    auroc: float | None
    covered: float | None
    errors: float


def reliability(
    found: LabelMap,
    truth: LabelMap,
    seen: Mask,
    uncertainty: npt.NDArray[np.floating[Any]],
    boxes: Sequence[tuple[slice, slice, slice]],
) -> Reliability:
    """``uncertainty`` (k, j, i) lies on the label maps' grid, NaN where not computed; ``boxes`` are the regions'.

    Raises InputError when shapes differ.
    """
    if not found.shape == truth.shape == seen.shape == uncertainty.shape:
        raise InputError(f"Shapes differ: {found.shape}, {truth.shape}, {seen.shape}, {uncertainty.shape}.")
    counts = seen & ((found > 0) | (truth > 0))
    wrong = counts & (found != truth)
    total = int(counts.sum())
    if not total:
        return Reliability(None, None, 0.0)
    in_boxes = np.zeros(found.shape, bool)
    for box in boxes:
        in_boxes[box] = True
    errors = int(wrong.sum())
    covered = float((wrong & in_boxes).sum() / errors) if errors else None
    known = counts & np.isfinite(uncertainty)
    return Reliability(_auroc(uncertainty[known], wrong[known]), covered, errors / total)


def _auroc(score: npt.NDArray[Any], positive: npt.NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve by the rank sum (Mann-Whitney), with mean ranks for ties."""
    from scipy.stats import rankdata

    positives = int(positive.sum())
    negatives = positive.size - positives
    if not positives or not negatives:
        return None
    rank_sum = float(rankdata(score)[positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)

"""A label map on a finer or coarser grid without an array of classes x voxels: class-wise linear, running best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from activeseg.core.progress import Progress

Coordinates = Sequence[npt.NDArray[Any]]


def edge_aligned(low: Sequence[int], high: Sequence[int]) -> Coordinates:
    """For each axis the source index of every target voxel when the grids' outer voxel edges coincide (nnU-Net)."""
    return [(np.arange(h) + 0.5) * (n / h) - 0.5 for n, h in zip(low, high, strict=True)]


def centre_aligned(low: Sequence[int], high: Sequence[int]) -> Coordinates:
    """The same when the centres of first and last voxels coincide (TotalSegmentator, scipy.ndimage.zoom)."""
    return [np.arange(h) * ((n - 1) / (h - 1) if h > 1 else 0.0) for n, h in zip(low, high, strict=True)]


def _linear(array: npt.NDArray[np.float32], axis: int, at: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Linear interpolation along one axis, clamped at the ends."""
    last = array.shape[axis] - 1
    at = np.clip(at, 0, last)
    below = np.minimum(at.astype(np.intp), max(last - 1, 0))
    weight = (at - below).astype(np.float32).reshape([-1 if d == axis else 1 for d in range(array.ndim)])
    lower = np.take(array, below, axis)
    upper = np.take(array, np.minimum(below + 1, last), axis)
    return np.asarray(lower + (upper - lower) * weight, np.float32)


def argmax_resampled(
    class_logits: Callable[[int], npt.NDArray[np.float32]],
    labels: npt.NDArray[Any],
    coordinates: Coordinates,
    progress: Progress,
    margin: int = 3,
) -> npt.NDArray[Any]:
    """The argmax of linearly resampled logits, class by class, each inside the box where it can win.

    Parameters
    ----------
    class_logits : gives the logits (z, y, x) of a class
    labels : (z, y, x) argmax on the logits' own grid; classes that are absent there are skipped
    coordinates : for each axis the source index of every target voxel
    margin : voxels around a class's box; beyond it another class is taken to win

    Returns
    -------
    (z', y', x') label map of the dtype of ``labels``
    """
    shape = tuple(len(c) for c in coordinates)
    found = np.zeros(shape, labels.dtype)
    best = class_logits(0).astype(np.float32, copy=False)
    for axis in range(3):
        best = _linear(best, axis, coordinates[axis])
    boxes = ndimage.find_objects(labels)
    for value, box in enumerate(boxes, start=1):
        if box is None:
            continue
        progress("resample", value / len(boxes))
        lows = [max(s.start - margin, 0) for s in box]
        highs = [min(s.stop + margin, n) for s, n in zip(box, labels.shape, strict=True)]
        patch = class_logits(value)[tuple(slice(a, b) for a, b in zip(lows, highs, strict=True))]
        patch = patch.astype(np.float32, copy=False)
        target = []
        for axis in range(3):
            inside = np.flatnonzero((coordinates[axis] > lows[axis] - 1) & (coordinates[axis] < highs[axis]))
            if inside.size == 0:
                break
            target.append(slice(int(inside[0]), int(inside[-1]) + 1))
            patch = _linear(patch, axis, coordinates[axis][target[-1]] - lows[axis])
        if len(target) < 3:
            continue
        where = tuple(target)
        wins = patch > best[where]
        best[where][wins] = patch[wins]
        found[where][wins] = value
    return found


def regions_resampled(
    region_logits: Callable[[int], npt.NDArray[np.float32]],
    values: Sequence[int],
    coordinates: Coordinates,
    dtype: Any,
    progress: Progress,
) -> npt.NDArray[Any]:
    """Labels of a region-based model on another grid: each region's linearly resampled logit above 0 writes its value.

    ``values`` are nnU-Net's ``regions_class_order``; later regions overwrite earlier ones. Returns (z', y', x').
    """
    found = np.zeros(tuple(len(c) for c in coordinates), dtype)
    for index, value in enumerate(values):
        progress("resample", index / len(values))
        logits = region_logits(index).astype(np.float32, copy=False)
        for axis in range(3):
            logits = _linear(logits, axis, coordinates[axis])
        found[logits > 0] = value
    return found

"""Maps on one grid sampled at the voxels of another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from activeseg.core.geometry import Geometry
from activeseg.core.label_map import slabs
from activeseg.core.volume import Volume


def sampled(uncertainty: Volume, target: Geometry) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """The map at the voxels of ``target``, in slabs: first k and float32 (slab, j, i); NaN where there is no value.

    Linear between voxel centres; within half a voxel beyond the outermost centres the border value counts.
    """
    from scipy.ndimage import affine_transform  # the command line needs this file's enums at its start, not scipy

    source = np.ascontiguousarray(uncertainty.array, dtype=np.float32)
    if uncertainty.geometry.same_grid(target):
        for slab in slabs(target.shape_kji):
            yield slab.start, source[slab]
        return
    xyz = np.linalg.inv(uncertainty.geometry.ijk_to_lps) @ target.ijk_to_lps
    matrix, offset = xyz[:3, :3][::-1, ::-1], xyz[:3, 3][::-1]  # the same map in array axes (k, j, i)
    matrix = np.where(np.abs(matrix) < 1e-9, 0.0, matrix)
    for slab in slabs(target.shape_kji):
        shape = (slab.stop - slab.start, *target.shape_kji[1:])
        shifted = offset + matrix[:, 0] * slab.start
        values = np.asarray(
            affine_transform(source, matrix, shifted, shape, np.float32, order=1, mode="nearest", prefilter=False)
        )
        for axis in range(3):
            at = shifted[axis] + sum(
                matrix[axis, d] * np.arange(shape[d]).reshape([-1 if e == d else 1 for e in range(3)])
                for d in range(3)
                if matrix[axis, d]
            )
            beyond = (at < -0.5) | (at > source.shape[axis] - 0.5)
            values[np.broadcast_to(beyond, shape)] = np.nan
        yield slab.start, values

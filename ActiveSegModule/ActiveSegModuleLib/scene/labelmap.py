"""vtkOrientedImageData, the image inside of a segment, seen as numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from activeseg.core.geometry import TIE, corners_ijk

from ..slicer_types import VtkObject
from .placement import array_of_matrix, vtk_matrix

BINARY_LABELMAP = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
CLOSED_SURFACE = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()


def empty_grid(ijk_to_ras: npt.ArrayLike, first_ijk: Sequence[int], shape_kji: Sequence[int]) -> VtkObject:
    """An image without voxels: only where ``shape_kji`` voxels from index ``first_ijk`` on lie (RAS mm)."""
    image = slicer.vtkOrientedImageData()
    (i, j, k), (depth, height, width) = first_ijk, shape_kji
    image.SetExtent(i, i + width - 1, j, j + height - 1, k, k + depth - 1)
    image.SetGeometryFromImageToWorldMatrix(vtk_matrix(ijk_to_ras))
    return image


def image_of(
    array: npt.NDArray[Any],
    ijk_to_ras: npt.ArrayLike,
    first_ijk: Sequence[int] = (0, 0, 0),
    dtype: npt.DTypeLike | None = None,
) -> VtkObject:
    """An image with a copy of ``array`` (k, j, i), converted to ``dtype``; its first voxel has index ``first_ijk``."""
    image = empty_grid(ijk_to_ras, first_ijk, array.shape)
    image.AllocateScalars(get_vtk_array_type(np.dtype(dtype or array.dtype)), 1)
    array_of(image)[...] = array
    return image


def array_of(image: VtkObject) -> npt.NDArray[Any]:
    """The image's voxels (k, j, i), not copied; shape (0, 0, 0) when it has none."""
    scalars = image.GetPointData().GetScalars()
    first_i, last_i, first_j, last_j, first_k, last_k = image.GetExtent()
    if scalars is None or last_i < first_i or last_j < first_j or last_k < first_k:
        return np.zeros((0, 0, 0), np.uint8)
    voxels: npt.NDArray[Any] = vtk_to_numpy(scalars)
    return voxels.reshape(last_k - first_k + 1, last_j - first_j + 1, last_i - first_i + 1)


def first_voxel(image: VtkObject) -> tuple[int, int, int]:
    """Index (k, j, i) of the image's first voxel in its own, possibly cropped or grown, grid."""
    extent = image.GetExtent()
    return extent[4], extent[2], extent[0]


def ijk_to_ras_of(image: VtkObject) -> npt.NDArray[np.float64]:
    """4 x 4: takes the indices that the image's extent counts to RAS mm."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return array_of_matrix(matrix)


def cropped(image: VtkObject, value: int, pad: int) -> VtkObject:
    """A new image of 1 where ``image`` has ``value``, as large as these voxels and ``pad`` around them.

    Background elsewhere; its indices are those of ``image``. None when no voxel has the value.
    """
    mask = array_of(image) == value
    spans = []
    for axis in range(3):
        if not mask.size:
            return None
        there = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not there.size:
            return None
        spans.append(slice(int(there[0]), int(there[-1]) + 1))
    first = [start + span.start - pad for start, span in zip(first_voxel(image), spans, strict=True)]
    return image_of(np.pad(mask[tuple(spans)], pad), ijk_to_ras_of(image), first[::-1], np.uint8)


def nearest_on_grid(image: VtkObject, grid: VtkObject, transform: npt.NDArray[np.float64] | VtkObject) -> VtkObject:
    """A new image with the voxels of ``grid`` that ``image`` reaches, by nearest neighbour.

    ``transform`` takes RAS mm of the image to RAS mm of the grid: 4 x 4, or a vtkAbstractTransform. Where two voxels
    are equally near, all images take the one on the same side (``volume.TIE``), so that neighbours stay neighbours.
    """
    first, shape = first_voxel(grid), np.array(grid.GetDimensions()[::-1])
    if isinstance(transform, np.ndarray):
        to_grid = np.linalg.inv(ijk_to_ras_of(grid)) @ transform @ ijk_to_ras_of(image)
        corners = corners_ijk(array_of(image).shape, first_voxel(image)[::-1])
        reach = (corners @ to_grid[:3, :3].T + to_grid[:3, 3])[:, ::-1]
        low = np.maximum(np.floor(reach.min(axis=0)).astype(int) - 1, first)
        high = np.minimum(np.ceil(reach.max(axis=0)).astype(int) + 2, first + shape)
        linear = vtk.vtkTransform()
        linear.SetMatrix(vtk_matrix(transform))
        transform = linear
    else:
        low, high = np.array(first), first + shape
    found = slicer.vtkOrientedImageData()
    if np.all(low < high):
        to_ras = ijk_to_ras_of(grid)
        to_ras[:3, 3] += to_ras[:3, :3].sum(axis=1) * TIE
        part = empty_grid(to_ras, low[::-1].tolist(), (high - low).tolist())
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            image, part, found, False, False, transform
        )
    return found

"""Editing confined to a box, whatever the effect.

The Segment Editor's mask by a segment lets Erase and the logical operators through. Its intensity mask lets nothing
through; so the editor gets a copy of the CT that has a value outside of any image's everywhere but in the box. The copy
lies on the voxels that are edited: on others the editor would interpolate, and let a voxel beside the box through.
It has as many voxels as the CT, since the editor lets through what its source does not cover, and 16 bits, for effects
use the CT's values; what a stroke costs more than a free one (``Testing/benchmarks/README.md``) is the editor's own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type

from activeseg.core.errors import InputError
from activeseg.core.geometry import Box

from ..slicer_types import Node, Scene, VtkObject
from .hierarchy import place_under
from .labelmap import array_of, empty_grid, first_voxel, ijk_to_ras_of, image_of, nearest_on_grid
from .placement import ijk_to_ras, put_under_transform_of, transform_between, vtk_matrix

_OUTSIDE = -32768
_LARGEST = 32767

Slices = tuple[slice, ...]


class RegionMask:
    """Confines a Segment Editor to a box of its CT, until ``lift``."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._masked: Node = None
        self._ct: Node = None
        self._grid: VtkObject = None
        self._open: Slices | None = None

    @property
    def node(self) -> Node:
        """The volume that the editor must use as its source meanwhile; None when nothing is confined."""
        present = self._masked is not None and self._scene.IsNodePresent(self._masked)
        return self._masked if present else None

    def confine(self, editor_node: Node, ct_node: Node, box_kji: Box) -> Node:
        """Let edits happen only in the box (of the CT's voxels). Returns the volume that is to be the editor's source.

        Set it with the editor's ``setSourceVolumeNode`` and then call ``switch_on``: setting a source resets masks.
        Raises InputError for values that do not fit into 16 bits.
        """
        low, high = ct_node.GetImageData().GetScalarRange()  # which VTK remembers
        if low <= _OUTSIDE or high > _LARGEST:
            raise InputError(
                f"The CT has values from {low:g} to {high:g}; edits can be confined where they lie within 16 bits.",
                "Switch 'only in this region' off.",
            )
        edited = editor_node.GetSegmentationNode() if editor_node is not None else None
        grid = _grid_of(ct_node) if edited is None else _edited_grid(edited, ct_node)
        if self.node is None or self._ct is not ct_node or not _same(self._grid, grid):
            self.lift(editor_node)
            self._masked = self._blank_copy(ct_node, grid)
            self._ct, self._grid = ct_node, grid
        put_under_transform_of(self._masked, edited if edited is not None else ct_node)
        masked = array_of(self._masked.GetImageData())
        if self._open is not None:
            masked[self._open] = _OUTSIDE
        self._open = self._copy_box(masked, ct_node, edited, box_kji)
        self._masked.GetImageData().GetPointData().GetScalars().Modified()
        self._masked.GetImageData().Modified()
        self._masked.Modified()  # the Segment Editor compares the node's time, not the image's, with its own copy's
        return self._masked

    def switch_on(self, editor_node: Node) -> None:
        """Make the editor obey; in this order, because the editor's widget resets the range when masking begins."""
        editor_node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
        editor_node.SetSourceVolumeIntensityMask(True)
        editor_node.SetSourceVolumeIntensityMaskRange(_OUTSIDE + 1, _LARGEST)

    def lift(self, editor_node: Node) -> None:
        """Let edits happen everywhere again; the caller gives the editor its CT back as source."""
        if editor_node is not None:
            editor_node.SetSourceVolumeIntensityMask(False)
        if self.node is not None:
            self._scene.RemoveNode(self._masked)
        self._masked = self._ct = self._grid = self._open = None

    def _copy_box(self, masked: npt.NDArray[np.int16], ct_node: Node, edited: VtkObject, box_kji: Box) -> Slices:
        """The CT's values into the voxels of the box; gives the part of ``masked`` that was written."""
        if edited is None or (_same(self._grid, _grid_of(ct_node)) and _moved_alike(edited, ct_node)):
            box = tuple(slice(*span) for span in box_kji)
            masked[box] = np.rint(array_of(ct_node.GetImageData())[box])
            return box
        to_edited = transform_between(ct_node, edited)
        size = tuple(stop - start for start, stop in box_kji)
        filled = image_of(np.ones(size, np.uint8), ijk_to_ras(ct_node), [start for start, _ in box_kji[::-1]])
        inside = nearest_on_grid(filled, self._grid, to_edited)
        allowed = array_of(inside).astype(bool)
        values = _interpolated(ct_node, inside, to_edited)
        start = np.subtract(first_voxel(inside), first_voxel(self._grid))
        box = tuple(slice(a, a + n) for a, n in zip(start.tolist(), allowed.shape, strict=True))
        masked[box][allowed] = values[allowed]
        return box

    def _blank_copy(self, ct_node: Node, grid: VtkObject) -> Node:
        image = vtk.vtkImageData()
        image.SetDimensions(grid.GetDimensions())
        image.AllocateScalars(get_vtk_array_type(np.int16), 1)
        image.GetPointData().GetScalars().Fill(_OUTSIDE)
        to_first = np.eye(4)
        to_first[:3, 3] = first_voxel(grid)[::-1]
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(f"{ct_node.GetName()}, region only")
        node.SetHideFromEditors(True)  # before it is added: no list of volumes ever offers it
        node.SetSaveWithScene(False)
        node.SetIJKToRASMatrix(vtk_matrix(ijk_to_ras_of(grid) @ to_first))
        node.SetAndObserveImageData(image)
        node = self._scene.AddNode(node)
        place_under(
            self._scene, ct_node, node
        )  # Slicer gives hidden nodes no place in the tree, and the editor wants one
        return node


def _grid_of(ct_node: Node) -> VtkObject:
    """The CT's voxels as a vtkOrientedImageData without any."""
    return empty_grid(ijk_to_ras(ct_node), (0, 0, 0), array_of(ct_node.GetImageData()).shape)


def _edited_grid(segmentation_node: Node, ct_node: Node) -> VtkObject:
    """The voxels on which a segmentation is edited: the CT's, unless the user chose others."""
    converter = slicer.vtkSegmentationConverter
    parameter = converter.GetReferenceImageGeometryParameterName()
    text = segmentation_node.GetSegmentation().GetConversionParameter(parameter)
    grid = slicer.vtkOrientedImageData()
    known = bool(text) and converter.DeserializeImageGeometry(text, grid, False)
    return grid if known else _grid_of(ct_node)


def _same(grid: VtkObject, other: VtkObject) -> bool:
    resample = slicer.vtkOrientedImageDataResample
    return (
        grid is not None
        and bool(resample.DoGeometriesMatch(grid, other))
        and tuple(grid.GetExtent()) == tuple(other.GetExtent())
    )


def _moved_alike(node: Node, other: Node) -> bool:
    return node.GetParentTransformNode() is other.GetParentTransformNode()


def _interpolated(ct_node: Node, grid: VtkObject, transform: VtkObject) -> npt.NDArray[np.int16]:
    """The CT's values on the voxels of a grid, linear between its own."""
    image, found = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    vtk.vtkImageData.ShallowCopy(image, ct_node.GetImageData())
    image.SetGeometryFromImageToWorldMatrix(vtk_matrix(ijk_to_ras(ct_node)))
    if isinstance(transform, np.ndarray):
        linear = vtk.vtkTransform()
        linear.SetMatrix(vtk_matrix(transform))
        transform = linear
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, grid, found, True, False, transform
    )
    values: npt.NDArray[np.int16] = np.rint(array_of(found)).astype(np.int16)
    return values

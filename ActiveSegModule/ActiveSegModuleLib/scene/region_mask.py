"""Editing confined to a box, whatever the effect.

The Segment Editor's mask by a segment lets Erase and the logical operators through. Its intensity mask lets nothing
through; so the editor gets a copy of the CT that has a value outside of any image's everywhere but in the box.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type

from activeseg.corrections import Box
from activeseg.errors import InputError

from .labelmap import array_of
from .placement import put_under_transform_of

_OUTSIDE = -32768
_LARGEST = 32767


class RegionMask:
    """Confines a Segment Editor to a box of its CT, until ``lift``."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._masked: Any = None
        self._ct: Any = None
        self._box: Box | None = None

    @property
    def node(self) -> Any:
        """The volume that the editor must use as its source meanwhile; None when nothing is confined."""
        present = self._masked is not None and self._scene.IsNodePresent(self._masked)
        return self._masked if present else None

    def confine(self, editor_node: Any, ct_node: Any, box_kji: Box) -> Any:
        """Let edits happen only in the box. Returns the volume that is to be the editor's source.

        Set it with the editor's ``setSourceVolumeNode`` and then call ``switch_on``: setting a source resets masks.
        Raises InputError for values that do not fit into 16 bits.
        """
        voxels = array_of(ct_node.GetImageData())
        low, high = ct_node.GetImageData().GetScalarRange()  # which VTK remembers
        if low <= _OUTSIDE or high > _LARGEST:
            raise InputError(
                f"The CT has values from {low:g} to {high:g}; edits can be confined where they lie within 16 bits.",
                "Switch 'only in this region' off.",
            )
        if self.node is None or self._ct is not ct_node:
            self.lift(editor_node)
            self._masked = self._blank_copy(ct_node)
            self._ct = ct_node
        masked = array_of(self._masked.GetImageData())
        if self._box is not None:
            masked[_slices(self._box)] = _OUTSIDE
        masked[_slices(box_kji)] = np.rint(voxels[_slices(box_kji)])
        self._box = box_kji
        self._masked.GetImageData().GetPointData().GetScalars().Modified()
        self._masked.GetImageData().Modified()
        return self._masked

    def switch_on(self, editor_node: Any) -> None:
        """Make the editor obey; in this order, because the editor's widget resets the range when masking begins."""
        editor_node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
        editor_node.SetSourceVolumeIntensityMask(True)
        editor_node.SetSourceVolumeIntensityMaskRange(_OUTSIDE + 1, _LARGEST)

    def lift(self, editor_node: Any) -> None:
        """Let edits happen everywhere again; the caller gives the editor its CT back as source."""
        if editor_node is not None:
            editor_node.SetSourceVolumeIntensityMask(False)
        if self.node is not None:
            self._scene.RemoveNode(self._masked)
        self._masked = self._ct = self._box = None

    def _blank_copy(self, ct_node: Any) -> Any:
        image = vtk.vtkImageData()
        image.SetDimensions(ct_node.GetImageData().GetDimensions())
        image.AllocateScalars(get_vtk_array_type(np.int16), 1)
        image.GetPointData().GetScalars().Fill(_OUTSIDE)
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(f"{ct_node.GetName()}, region only")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node.CopyOrientation(ct_node)
        node.SetAndObserveImageData(image)
        node = self._scene.AddNode(node)
        put_under_transform_of(node, ct_node)
        return node


def _slices(box_kji: Box) -> tuple[slice, ...]:
    return tuple(slice(*span) for span in box_kji)

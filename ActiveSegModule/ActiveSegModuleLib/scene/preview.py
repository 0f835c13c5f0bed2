"""An alternative drawn over the segmentation before it is taken: outlines in nodes of their own, never saved."""

from __future__ import annotations

import numpy as np
import slicer

from ..slicer_types import Node, Scene
from .alternatives import LabelPatch
from .case import Case
from .hierarchy import place_under
from .labelmap import BINARY_LABELMAP, image_of
from .placement import put_under_transform_of

_ERASED_COLOR = (1.0, 1.0, 1.0)


class AlternativePreview:
    """Shows what taking a patch would write: each structure's new voxels in its colour, erased ones in white."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._node: Node = None

    def show(self, case: Case, patch: LabelPatch) -> None:
        """Draw a patch in place of any other."""
        node = self._node_under(case.ct_node)
        segmentation = node.GetSegmentation()
        segmentation.RemoveAllSegments()
        schema = case.schema
        for part in patch.parts():
            segment = slicer.vtkSegment()
            color = schema.labels[part.value - 1].color if part.value else None
            segment.SetColor(*((component / 255 for component in color) if color else _ERASED_COLOR))
            image = image_of(part.mask, patch.geometry.ijk_to_ras, part.first_kji[::-1], np.uint8)
            segment.AddRepresentation(BINARY_LABELMAP, image)
            segmentation.AddSegment(segment, f"value{part.value}")
        node.SetDisplayVisibility(True)

    def hide(self) -> None:
        if self._node is not None and self._scene.IsNodePresent(self._node):
            self._node.SetDisplayVisibility(False)

    def remove(self) -> None:
        if self._node is not None and self._scene.IsNodePresent(self._node):
            self._scene.RemoveNode(self._node)
        self._node = None

    def _node_under(self, ct_node: Node) -> Node:
        if self._node is None or not self._scene.IsNodePresent(self._node):
            node = slicer.vtkMRMLSegmentationNode()
            node.SetName("Alternative")
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
            self._node = node = self._scene.AddNode(node)
            node.CreateDefaultDisplayNodes()
            display = node.GetDisplayNode()
            display.SetVisibility2DFill(False)
            display.SetVisibility2DOutline(True)
            display.SetSliceIntersectionThickness(3)
            display.SetVisibility3D(False)
        put_under_transform_of(self._node, ct_node)
        place_under(self._scene, ct_node, self._node)
        return self._node

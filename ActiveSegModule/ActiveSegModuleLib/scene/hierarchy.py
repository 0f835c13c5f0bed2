"""The Data tree: what belongs to a CT hangs under it.

Slicer makes the items of nodes and segments itself. A scene without the application has none, and when Slicer opens it
later, items that do not say which of its plugins owns them are broken; so here they say it.
"""

from __future__ import annotations

import slicer

from ..slicer_types import Node, Scene, VtkObject

_OWNERS = (
    ("vtkMRMLLabelMapVolumeNode", "LabelMaps"),
    ("vtkMRMLScalarVolumeNode", "Volumes"),
    ("vtkMRMLSegmentationNode", "Segmentations"),
    ("vtkMRMLTableNode", "Tables"),
    ("vtkMRMLMarkupsNode", "Markups"),
    ("vtkMRMLTextNode", "Texts"),
)
_VIRTUAL_BRANCH = "VirtualBranch"


def place_under(scene: Scene, parent_node: Node, node: Node) -> int:
    """Put ``node`` under ``parent_node`` in the subject hierarchy, with items made where missing; returns its item.

    Slicer's undo of the scene, which a user may switch on for any class of nodes, leaves ``node`` alone: it would take
    away one of several nodes that belong together.
    """
    node.SetUndoEnabled(False)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    parent = hierarchy.GetItemByDataNode(parent_node)
    if not parent:
        parent = _new_item(hierarchy, hierarchy.GetSceneItemID(), parent_node)
    item = hierarchy.GetItemByDataNode(node)
    if not item:
        return _new_item(hierarchy, parent, node)
    if hierarchy.GetItemParent(item) != parent:
        hierarchy.SetItemParent(item, parent)
    return int(item)


def patient_of(node: Node) -> str:
    """The PatientID of the DICOM data that a node was loaded from; empty for others."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    return str(hierarchy.GetAttributeFromItemAncestor(item, "DICOM.PatientID", "Patient") or "") if item else ""


def _new_item(hierarchy: VtkObject, parent: int, node: Node) -> int:
    item = int(hierarchy.CreateItem(parent, node))
    hierarchy.SetItemOwnerPluginName(item, next((owner for kind, owner in _OWNERS if node.IsA(kind)), "Default"))
    if node.IsA("vtkMRMLSegmentationNode"):
        hierarchy.SetItemAttribute(item, _VIRTUAL_BRANCH, "1")
        segmentation = node.GetSegmentation()
        for position, segment_id in enumerate(segmentation.GetSegmentIDs()):
            name = segmentation.GetSegment(segment_id).GetName()
            child = hierarchy.CreateHierarchyItem(item, name, _VIRTUAL_BRANCH, position)
            hierarchy.SetItemAttribute(child, node.GetSegmentIDAttributeName(), segment_id)
            hierarchy.SetItemOwnerPluginName(child, "Segments")
    return item

"""The Data tree: what belongs to a CT hangs under it. Slicer makes items itself, a scene without Slicer does not."""

from __future__ import annotations

from typing import Any

import slicer


def place_under(scene: Any, parent_node: Any, node: Any) -> int:
    """Put ``node`` under ``parent_node`` in the subject hierarchy, with items made where missing; returns its item."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    parent = hierarchy.GetItemByDataNode(parent_node)
    if not parent:
        parent = hierarchy.CreateItem(hierarchy.GetSceneItemID(), parent_node)
    item = hierarchy.GetItemByDataNode(node)
    if not item:
        return int(hierarchy.CreateItem(parent, node))
    hierarchy.SetItemParent(item, parent)
    return int(item)

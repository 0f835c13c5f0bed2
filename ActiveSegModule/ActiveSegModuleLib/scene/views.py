"""What the views show: the CT behind, a point in 3D, one case and none of the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from ..slicer_types import Node, Scene, VtkObject


def look_at(scene: Scene, point_ras: Sequence[float]) -> None:
    """Turn all 3D views towards a point (RAS mm) without turning them around it, as dragging with the mouse would."""
    cameras = scene.GetNodesByClass("vtkMRMLCameraNode")
    cameras.UnRegister(None)
    for number in range(cameras.GetNumberOfItems()):
        camera = cameras.GetItemAsObject(number)
        away = np.subtract(camera.GetPosition(), camera.GetFocalPoint())
        was_modifying = camera.StartModify()
        camera.SetFocalPoint(*point_ras)
        camera.SetPosition(*np.add(point_ras, away))
        camera.ResetClippingRange()
        camera.EndModify(was_modifying)


def show_volume(scene: Scene, volume_node: Node, application_logic: VtkObject = None) -> bool:
    """Put a volume behind everything in all slice views; gives whether any of them had shown something else.

    Then, with the ``application_logic``, the views are turned to the volume's axes and fitted to it: it may lie
    elsewhere than what they showed, and they would be black.
    """
    changed = False
    for composite in composites(scene):
        if composite.GetBackgroundVolumeID() != volume_node.GetID():
            composite.SetBackgroundVolumeID(volume_node.GetID())
            changed = True
    if application_logic is not None:
        application_logic.GetSelectionNode().SetActiveVolumeID(volume_node.GetID())
        if changed:
            application_logic.FitSliceToAll()
    return changed


def take_out(scene: Scene, node_ids: Collection[str]) -> None:
    """Take volumes out of all layers of all slice views.

    When a volume is removed, Slicer's lists of volumes turn to the next one, even to one that they do not offer.
    """
    for composite in composites(scene):
        if composite.GetBackgroundVolumeID() in node_ids:
            composite.SetBackgroundVolumeID(None)
        if composite.GetLabelVolumeID() in node_ids:
            composite.SetLabelVolumeID(None)
        if composite.GetForegroundVolumeID() in node_ids:
            composite.SetForegroundOpacity(0.0)
            composite.SetForegroundVolumeID(None)


def composites(scene: Scene) -> list[Node]:
    """What each slice view is made of: vtkMRMLSliceCompositeNodes."""
    nodes = scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]

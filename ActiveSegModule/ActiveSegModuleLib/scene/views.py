"""What the views show: the CT behind, a point in 3D, one structure before the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def look_at(scene: Any, point_ras: Sequence[float]) -> None:
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


def show_volume(scene: Any, volume_node: Any) -> None:
    """Put a volume behind everything in all slice views."""
    composites = scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    composites.UnRegister(None)
    for number in range(composites.GetNumberOfItems()):
        composites.GetItemAsObject(number).SetBackgroundVolumeID(volume_node.GetID())

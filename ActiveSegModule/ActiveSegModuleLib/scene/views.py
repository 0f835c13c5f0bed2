"""What the views show: the CT behind, a point in 3D, one case and none of the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..slicer_types import Node, Scene, VtkObject

_SAME_PLACE_MM = 1e-3


@dataclass(frozen=True)
class Viewpoint:
    """Where the slice views looked at one moment, to find out later whether the user has moved them since."""

    _places: dict[str, _Place]

    @classmethod
    def now(cls, scene: Scene) -> Viewpoint:
        """Of all slice views of a scene."""
        return cls({node.GetID(): _Place.of(node) for node in slice_nodes(scene)})

    def has_moved(self, scene: Scene) -> bool:
        """Whether a slice view was scrolled, moved, turned or zoomed since; views that came or went do not count."""
        then = ((self._places.get(node.GetID()), _Place.of(node)) for node in slice_nodes(scene))
        return any(place is not None and not place.is_at(now) for place, now in then)


@dataclass(frozen=True)
class _Place:
    """What a slice view showed."""

    to_ras: tuple[float, ...]
    size_mm: tuple[float, ...]
    size_pixels: tuple[int, ...]

    @classmethod
    def of(cls, slice_node: Node) -> _Place:
        to_ras = slice_node.GetSliceToRAS()
        matrix = tuple(to_ras.GetElement(row, column) for row in range(3) for column in range(4))
        return cls(matrix, tuple(slice_node.GetFieldOfView()[:2]), tuple(slice_node.GetDimensions()[:2]))

    def is_at(self, other: _Place) -> bool:
        """A view that became larger or smaller, with the window or the layout, shows more or less; nobody moved it."""
        same_zoom = self.size_pixels != other.size_pixels or np.allclose(self.size_mm, other.size_mm, rtol=1e-6)
        return bool(same_zoom and np.allclose(self.to_ras, other.to_ras, rtol=0, atol=_SAME_PLACE_MM))


def center_on(slice_node: Node, point_ras: Sequence[float], shorter_side_mm: float) -> None:
    """Centre a slice view on a point (RAS mm of the scene), zoomed until its shorter side is so long."""
    width, height, depth = slice_node.GetFieldOfView()
    was_modifying = slice_node.StartModify()
    if width > 0 and height > 0:
        aspect = height / width
        shown = shorter_side_mm if aspect >= 1 else shorter_side_mm / aspect
        slice_node.SetFieldOfView(shown, shown * aspect, depth)
    slice_node.JumpSliceByCentering(*point_ras)
    slice_node.EndModify(was_modifying)


def show_around(scene: Scene, point_ras: Sequence[float], shorter_side_mm: float) -> None:
    """Show a point (RAS mm of the scene) in all views: slices at that zoom, 3D turned towards it, and the crosshair."""
    put_crosshair(scene, point_ras)
    for slice_node in slice_nodes(scene):
        center_on(slice_node, point_ras, shorter_side_mm)
    look_at(scene, point_ras)


def put_crosshair(scene: Scene, point_ras: Sequence[float]) -> None:
    """Where it is shown."""
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*point_ras)


def slice_nodes(scene: Scene) -> list[Node]:
    """The vtkMRMLSliceNodes of a scene."""
    nodes = scene.GetNodesByClass("vtkMRMLSliceNode")
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]


def look_at(scene: Scene, point_ras: Sequence[float]) -> None:
    """Turn all 3D views towards a point (RAS mm) without turning them around it, as dragging with the mouse would."""
    for camera in cameras(scene):
        away = np.subtract(camera.GetPosition(), camera.GetFocalPoint())
        was_modifying = camera.StartModify()
        camera.SetFocalPoint(*point_ras)
        camera.SetPosition(*np.add(point_ras, away))
        camera.ResetClippingRange()
        camera.EndModify(was_modifying)


def look_at_bounds(scene: Scene, bounds_ras: Sequence[float]) -> None:
    """Turn all 3D views towards a box (R low, R high, A low, ... mm), from so far that all of it is seen."""
    low, high = np.array(bounds_ras[::2]), np.array(bounds_ras[1::2])
    look_at(scene, tuple((low + high) / 2))
    radius = float(np.linalg.norm(high - low)) / 2
    for camera in cameras(scene):
        focus = np.array(camera.GetFocalPoint())
        away = np.subtract(camera.GetPosition(), focus)
        distance = radius / np.sin(np.radians(camera.GetViewAngle()) / 2)
        was_modifying = camera.StartModify()
        camera.SetPosition(*(focus + away / max(float(np.linalg.norm(away)), 1e-6) * distance))
        camera.SetParallelScale(radius)
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


def cameras(scene: Scene) -> list[Node]:
    """The vtkMRMLCameraNodes of a scene."""
    nodes = scene.GetNodesByClass("vtkMRMLCameraNode")
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]


def composites(scene: Scene) -> list[Node]:
    """What each slice view is made of: vtkMRMLSliceCompositeNodes."""
    nodes = scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]

"""Slice views without a picture: Slicer's own nodes and VTK's interactors, in which a test uses the mouse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import vtk
from PySide6 import QtWidgets
from widget_parts import PRETENDS

PIXELS = 400


class SliceView(QtWidgets.QWidget):
    """A qMRMLSliceView of 400 x 400 pixels."""

    __module__ = PRETENDS

    def __init__(self, node: Any) -> None:
        super().__init__()
        self._node = node
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetInteractorStyle(None)

    def interactor(self) -> Any:
        return self._interactor

    def mrmlSliceNode(self) -> Any:  # noqa: N802
        return self._node


class _SliceWidget:
    def __init__(self, view: SliceView) -> None:
        self._view = view

    def sliceView(self) -> SliceView:  # noqa: N802
        return self._view


class LayoutManager:
    """Of a layout with one axial view."""

    threeDViewCount = 0  # noqa: N815

    def __init__(self, core: Any) -> None:
        node = core.scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
        if node is None:
            node = core.scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
        node.SetDimensions(PIXELS, PIXELS, 1)
        node.SetFieldOfView(200, 200, 1)
        self.view = SliceView(node)

    def sliceViewNames(self) -> tuple[str, ...]:  # noqa: N802
        return ("Red",)

    def sliceWidget(self, _name: str) -> _SliceWidget:  # noqa: N802
        return _SliceWidget(self.view)

    # The user's mouse.

    def draw(self, ct_node: Any, *voxels: tuple[int, int, int], shift: bool = False) -> None:
        """Press at the first voxel (k, j, i) of a CT, move along the others, which its slice shows, and release."""
        points = [_world(ct_node, voxel) for voxel in voxels]
        self.view.mrmlSliceNode().JumpSliceByCentering(*points[0])
        pixels = [self._pixel(point) for point in points]
        self._event("LeftButtonPressEvent", pixels[0], shift)
        for pixel in pixels[1:]:
            self._event("MouseMoveEvent", pixel, shift)
        self._event("LeftButtonReleaseEvent", pixels[-1], shift)

    def _pixel(self, point_ras: Iterable[float]) -> tuple[int, int]:
        to_xy = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.view.mrmlSliceNode().GetXYToRAS(), to_xy)
        x, y, _z, _w = to_xy.MultiplyPoint([*point_ras, 1.0])
        return round(x), round(y)

    def _event(self, name: str, pixel: tuple[int, int], shift: bool) -> None:
        self.view.interactor().SetEventInformation(*pixel, 0, int(shift))
        self.view.interactor().InvokeEvent(name)


def _world(ct_node: Any, voxel_kji: tuple[int, int, int]) -> tuple[float, ...]:
    matrix, world = vtk.vtkMatrix4x4(), [0.0, 0.0, 0.0]
    ct_node.GetIJKToRASMatrix(matrix)
    local = matrix.MultiplyPoint([*np.array(voxel_kji[::-1], float), 1.0])[:3]
    ct_node.TransformPointToWorld(local, world)
    return tuple(world)

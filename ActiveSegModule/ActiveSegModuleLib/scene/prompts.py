"""Prompts in slice views: what the user clicks or draws there, which voxels that is, and the mark that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import slicer

from activeseg.core.errors import InputError
from activeseg.core.geometry import FloatArray, Geometry
from activeseg.core.prompt import MOST_POINTS, PromptKind

from ..slicer_types import Node, Scene, VtkObject
from .hierarchy import place_under
from .placement import array_of_matrix, geometry_of, put_under_transform_of

MARK_NAME = "Prompt"
BELONGS, DOES_NOT_BELONG = (0.15, 0.85, 0.25), (0.95, 0.2, 0.2)
"""Colours of marks."""
_PRIORITY = 10.0
"""Above Slicer's own handling of the mouse in a view, which is 0, and the Segment Editor's."""
_STEP_PIXELS = 2
_IN_PLANE = 0.9
"""Cosine between a view's direction and an axis of the CT, above which it shows planes of voxels."""
_NODES = {
    PromptKind.POINT: "vtkMRMLMarkupsFiducialNode",
    PromptKind.SCRIBBLE: "vtkMRMLMarkupsCurveNode",
    PromptKind.LASSO: "vtkMRMLMarkupsClosedCurveNode",
    PromptKind.BOX: "vtkMRMLMarkupsClosedCurveNode",
}


@dataclass(frozen=True, eq=False)
class Drawn:
    """What was clicked or drawn in one slice view.

    Attributes
    ----------
    points_ras
        (n, 3), RAS mm of the scene: the point, the line, or two opposite corners of the box.
    corners_ras
        What of it is drawn: the same, and all four corners of the box.
    normal_ras
        Along which the view looks.
    with_shift
        Whether Shift was held.
    """

    points_ras: FloatArray
    corners_ras: FloatArray
    normal_ras: FloatArray
    with_shift: bool


class SliceDrawing:
    """Takes the next click or stroke with the left button from the slice views; nothing else in Slicer hears of it.

    The other buttons, the wheel and the keys go on working, so that one can scroll and zoom first.
    """

    def __init__(
        self,
        views: Iterable[tuple[VtkObject, Node]],
        kind: PromptKind,
        done: Callable[[Drawn], None],
        drawing: Callable[[Drawn], None],
    ) -> None:
        """
        Parameters
        ----------
        views
            vtkRenderWindowInteractor and vtkMRMLSliceNode of each
        done
            Called at the release of the button
        drawing
            Called while a line or a box grows
        """
        self._kind = kind
        self._done = done
        self._drawing = drawing
        self._views = [_View(interactor, node) for interactor, node in views]
        self._at: _View | None = None
        self._path: list[tuple[int, int]] = []
        self._with_shift = False
        for view in self._views:
            view.observe("LeftButtonPressEvent", self._press)
            view.observe("LeftButtonDoubleClickEvent", self._press)
            view.observe("MouseMoveEvent", self._move)
            view.observe("LeftButtonReleaseEvent", self._release)

    def close(self) -> None:
        """Leave the views as they were."""
        for view in self._views:
            view.leave()
        self._views, self._at = [], None

    def _press(self, view: _View) -> bool:
        self._at, self._path = view, [view.position()]
        self._with_shift = bool(view.interactor.GetShiftKey())
        return True

    def _move(self, view: _View) -> bool:
        if self._at is None:
            return bool(view.interactor.GetShiftKey())  # else Slicer moves the other views along with the mouse
        (x, y), (x_before, y_before) = view.position(), self._path[-1]
        if view is self._at and max(abs(x - x_before), abs(y - y_before)) >= _STEP_PIXELS:
            self._path.append((x, y))
            if self._kind is not PromptKind.POINT:
                self._drawing(self._drawn(view))
        return True

    def _release(self, view: _View) -> bool:
        if self._at is None:
            return False
        begun, self._at = self._at, None
        if view is begun and self._kind is not PromptKind.POINT and view.position() != self._path[-1]:
            self._path.append(view.position())
        self._done(self._drawn(begun))
        return True

    def _drawn(self, view: _View) -> Drawn:
        path = self._path
        if self._kind is PromptKind.POINT:
            path = path[:1]
        elif len(path) > MOST_POINTS:
            path = [path[n] for n in np.linspace(0, len(path) - 1, MOST_POINTS).round().astype(int)]
        corners = path
        if self._kind is PromptKind.BOX:
            (x, y), (x_end, y_end) = path[0], path[-1]
            path, corners = [path[0], path[-1]], [(x, y), (x_end, y), (x_end, y_end), (x, y_end)]
        to_ras = array_of_matrix(view.node.GetXYToRAS())
        normal = array_of_matrix(view.node.GetSliceToRAS())[:3, 2]
        return Drawn(_on_slice(path, to_ras), _on_slice(corners, to_ras), normal, self._with_shift)


class _View:
    """One slice view, and what is observed of it."""

    def __init__(self, interactor: VtkObject, node: Node) -> None:
        self.interactor = interactor
        self.node = node
        self._tags: list[int] = []

    def observe(self, event: str, heard: Callable[[_View], bool]) -> None:
        """``heard`` says whether the event ends there."""
        tags: list[int] = []

        def told(interactor: VtkObject, _event: str) -> None:
            command = interactor.GetCommand(tags[0])
            if heard(self) and command is not None:
                command.SetAbortFlag(1)

        tags.append(int(self.interactor.AddObserver(event, told, _PRIORITY)))
        self._tags += tags

    def position(self) -> tuple[int, int]:
        x, y = self.interactor.GetEventPosition()
        return int(x), int(y)

    def leave(self) -> None:
        for tag in self._tags:
            self.interactor.RemoveObserver(tag)
        self._tags = []


def _on_slice(path: Sequence[tuple[int, int]], to_ras: FloatArray) -> FloatArray:
    """Pixels of a view as RAS mm of the scene."""
    pixels = np.array([(x, y, 0.0, 1.0) for x, y in path])
    return np.asarray((pixels @ to_ras.T)[:, :3])


def voxels_of(drawn: Drawn, kind: PromptKind, ct_node: Node) -> tuple[tuple[int, int, int], ...]:
    """The points of a prompt, (k, j, i) of the CT, wherever its parent transforms have put it.

    A line that leaves the CT goes along its border; in a view that shows planes of voxels a lasso and a box lie in one.
    Raises InputError when all of it lies outside of the CT.
    """
    geometry = geometry_of(ct_node)
    found = _indices(drawn.points_ras, ct_node, geometry)
    last = np.array(geometry.shape_kji) - 1
    whole = np.rint(found)
    inside = ((whole >= 0) & (whole <= last)).all(axis=1)
    if not inside.any():
        raise InputError("That place lies outside of the CT.", "Point at a place within the CT.")
    if kind is PromptKind.POINT:
        whole = whole[:1]
    else:
        plane = _plane(drawn, ct_node, geometry)
        if plane is not None and kind in (PromptKind.LASSO, PromptKind.BOX):
            whole[:, plane] = np.rint(np.median(found[:, plane]))
        whole = np.clip(whole, 0, last)
    points = [(int(k), int(j), int(i)) for k, j, i in whole.tolist()]
    if kind is PromptKind.BOX:
        return points[0], points[-1]
    return tuple(point for n, point in enumerate(points) if n == 0 or point != points[n - 1])


def _indices(points_ras: FloatArray, ct_node: Node, geometry: Geometry) -> FloatArray:
    """Points of the scene as (k, j, i) of the CT, not rounded."""
    local = np.array([_from_world(ct_node, point) for point in points_ras])
    to_ijk = np.linalg.inv(geometry.ijk_to_ras)
    return np.asarray((local @ to_ijk[:3, :3].T + to_ijk[:3, 3])[:, ::-1])


def _plane(drawn: Drawn, ct_node: Node, geometry: Geometry) -> int | None:
    """The axis (0 = k) that the view looks along; None for a view that is tilted."""
    at = drawn.points_ras[0]
    step = _indices(np.array([at, at + drawn.normal_ras]), ct_node, geometry)
    along = np.abs((step[1] - step[0]) * np.array(geometry.spacing_xyz[::-1]))
    axis = int(along.argmax())
    return axis if along[axis] >= _IN_PLANE * float(np.linalg.norm(along)) else None


def _from_world(node: Node, point_ras: Sequence[float]) -> tuple[float, float, float]:
    local = [0.0, 0.0, 0.0]
    node.TransformPointFromWorld([float(each) for each in point_ras], local)
    return local[0], local[1], local[2]


class PromptMarks:
    """The marks of the prompts so far: thin, locked markups that no list offers and no scene keeps."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._ids: list[str] = []
        self._growing: str | None = None

    @property
    def nodes(self) -> list[Node]:
        """Those that are still in the scene, oldest first."""
        found = (self._scene.GetNodeByID(id) for id in self._ids)
        return [node for node in found if node is not None]

    def grow(self, ct_node: Node, kind: PromptKind, drawn: Drawn, include: bool) -> None:
        """Show what is being drawn."""
        node = self._scene.GetNodeByID(self._growing) if self._growing is not None else None
        if node is None:
            node = _mark(self._scene, ct_node, kind, include)
            self._growing = node.GetID()
        _put_points(node, ct_node, drawn.corners_ras)

    def add(self, ct_node: Node, kind: PromptKind, drawn: Drawn, include: bool) -> None:
        """One more mark, in place of what was being drawn."""
        self.drop()
        node = _mark(self._scene, ct_node, kind, include)
        _put_points(node, ct_node, drawn.corners_ras)
        self._ids.append(node.GetID())

    def drop(self) -> None:
        """What was being drawn is no prompt."""
        self._remove(self._growing)
        self._growing = None

    def remove_last(self) -> None:
        if self._ids:
            self._remove(self._ids.pop())

    def follow(self, ct_node: Node) -> None:
        """Lie under the CT's transform, which the user may have changed."""
        for node in self.nodes:
            put_under_transform_of(node, ct_node)

    def clear(self) -> None:
        """Take all of them out of the scene."""
        self.drop()
        while self._ids:
            self.remove_last()

    def _remove(self, id: str | None) -> None:
        node = self._scene.GetNodeByID(id) if id is not None else None
        if node is not None:
            self._scene.RemoveNode(node)


def _mark(scene: Scene, ct_node: Node, kind: PromptKind, include: bool) -> Node:
    node = getattr(slicer, _NODES[kind])()
    node.SetName(MARK_NAME)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node = scene.AddNode(node)
    node.SetLocked(True)
    node.SetSelectable(False)
    if kind is not PromptKind.POINT:
        node.SetCurveTypeToLinear()
    put_under_transform_of(node, ct_node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetSelectedColor(*(BELONGS if include else DOES_NOT_BELONG))
    display.SetColor(*(BELONGS if include else DOES_NOT_BELONG))
    display.SetPointLabelsVisibility(False)
    display.SetPropertiesLabelVisibility(False)
    display.SetHandlesInteractive(False)
    if kind is PromptKind.POINT:
        display.SetGlyphScale(2.0)
    else:
        display.SetUseGlyphScale(False)
        display.SetGlyphSize(0.01)
        display.SetCurveLineSizeMode(display.UseLineDiameter)
        display.SetLineDiameter(0.8)
    place_under(scene, ct_node, node)
    return node


def _put_points(node: Node, ct_node: Node, points_ras: FloatArray) -> None:
    modifying = node.StartModify()
    node.RemoveAllControlPoints()
    for point in points_ras:
        node.AddControlPoint(*_from_world(ct_node, point))
    node.EndModify(modifying)

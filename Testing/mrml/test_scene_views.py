"""What the slice views are made to show, and what is taken out of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import slicer
from scene_cases import PLAIN, whole_case
from slicer_application import SlicerCore

from activeseg.core.geometry import Geometry
from ActiveSegModuleLib.scene.views import Viewpoint, show_volume, take_out


@pytest.fixture
def view(core: SlicerCore) -> Any:
    """A slice view's logic, 200 x 100 pixels."""
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLScene(core.scene)
    logic.SetMRMLApplicationLogic(core.app)
    logic.AddSliceNode("Red")
    logic.GetSliceNode().SetDimensions(200, 100, 1)
    core.app.GetSliceLogics().AddItem(logic)
    return logic


def test_a_volume_far_away_fills_the_view_that_showed_another(core: SlicerCore, view: Any) -> None:
    near = core.add_volume(np.zeros(PLAIN.shape_kji, np.int16), PLAIN, "near")
    far_away = Geometry(PLAIN.shape_kji, (1.5, 1.5, 3.0), (2000.0, 3000.0, -4000.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    far = core.add_volume(np.zeros(PLAIN.shape_kji, np.int16), far_away, "far")
    assert show_volume(core.scene, near, core.app)
    assert show_volume(core.scene, far, core.app)
    bounds = np.zeros(6)
    far.GetRASBounds(bounds)
    to_ras = view.GetSliceNode().GetSliceToRAS()
    center = [to_ras.GetElement(axis, 3) for axis in range(3)]
    assert all(bounds[2 * axis] <= center[axis] <= bounds[2 * axis + 1] for axis in range(3))
    assert core.app.GetSelectionNode().GetActiveVolumeID() == far.GetID()


def test_a_volume_that_is_shown_already_leaves_the_users_zoom(core: SlicerCore, view: Any) -> None:
    ct = core.add_volume(np.zeros(PLAIN.shape_kji, np.int16), PLAIN)
    show_volume(core.scene, ct, core.app)
    view.GetSliceNode().SetFieldOfView(20, 10, 1)
    assert not show_volume(core.scene, ct, core.app)
    assert view.GetSliceNode().GetFieldOfView()[:2] == (20, 10)


def test_hidden_helpers_are_taken_out_of_all_layers(core: SlicerCore) -> None:
    case = whole_case(core)
    composite = core.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    original = case.node.GetNodeReference("ActiveSeg.Original")
    hidden = case.uncertainty["entropy"].node
    composite.SetBackgroundVolumeID(case.ct_node.GetID())
    composite.SetLabelVolumeID(original.GetID())
    composite.SetForegroundVolumeID(hidden.GetID())
    composite.SetForegroundOpacity(0.7)
    take_out(core.scene, {original.GetID(), hidden.GetID()})
    assert composite.GetLabelVolumeID() is None
    assert composite.GetForegroundVolumeID() is None
    assert composite.GetForegroundOpacity() == 0
    assert composite.GetBackgroundVolumeID() == case.ct_node.GetID()


def test_a_map_that_is_hidden_leaves_no_foreground_that_could_cover_the_ct(core: SlicerCore) -> None:
    case = whole_case(core)
    composite = core.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    shown = case.uncertainty["variance"]
    shown.show(case.ct_node, 0.7)
    shown.hide()
    assert composite.GetForegroundVolumeID() is None
    assert composite.GetForegroundOpacity() == 0


def test_a_map_with_other_values_is_another_version_of_its_node(core: SlicerCore) -> None:
    case = whole_case(core)
    shown = case.uncertainty["variance"]
    before = shown.node.GetMTime()
    shown.set_measure(np.zeros(PLAIN.shape_kji, np.float32), "variance")
    assert shown.node.GetMTime() > before


MOVES: list[Callable[[Any], object]] = [
    lambda node: node.SetSliceOffset(node.GetSliceOffset() + 1.5),
    lambda node: node.SetFieldOfView(150, 75, 1),
    lambda node: node.JumpSliceByCentering(11, 12, 13),
    lambda node: node.SetOrientation("Sagittal"),
]


@pytest.mark.parametrize("move", MOVES, ids=["scrolled", "zoomed", "moved", "turned"])
def test_a_view_that_the_user_moved_is_noticed(core: SlicerCore, move: Callable[[Any], object]) -> None:
    then = Viewpoint.now(core.scene)
    assert not then.has_moved(core.scene)
    move(core.scene.GetSingletonNode("Red", "vtkMRMLSliceNode"))
    assert then.has_moved(core.scene)


def test_a_larger_window_and_another_layout_are_no_moves(core: SlicerCore) -> None:
    red, then = core.scene.GetSingletonNode("Red", "vtkMRMLSliceNode"), Viewpoint.now(core.scene)
    red.SetDimensions(300, 120, 1)
    red.SetFieldOfView(300, 120, 1)
    core.scene.AddNewNodeByClass("vtkMRMLSliceNode", "another")
    assert not then.has_moved(core.scene)
    core.scene.RemoveNode(red)
    assert not then.has_moved(core.scene)

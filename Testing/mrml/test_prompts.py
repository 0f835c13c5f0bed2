"""A click or a stroke in a slice view becomes voxels of the CT and a mark; nothing else in the view hears of it."""

from __future__ import annotations

import numpy as np
import pytest
import vtk
from scene_cases import PLAIN, oblique

from activeseg.core.errors import InputError
from activeseg.core.prompt import PromptKind
from ActiveSegModuleLib.scene.placement import array_of_matrix, vtk_matrix
from ActiveSegModuleLib.scene.prompts import MARK_NAME, PromptMarks, SliceDrawing, voxels_of

PLACE = (8, 12, 20)
"""(k, j, i) of a voxel in the CT."""


class Mouse:
    """In one slice view of 200 x 200 pixels, 0.5 mm each, which shows the CT's planes of voxels."""

    def __init__(self, core, geometry=PLAIN, tilted=False):
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.heard = []
        for event in ("LeftButtonPressEvent", "LeftButtonReleaseEvent", "MouseMoveEvent"):
            self.interactor.AddObserver(event, lambda _caller, name: self.heard.append(name))
        self.node = core.scene.AddNewNodeByClass("vtkMRMLSliceNode")
        self.node.SetDimensions(200, 200, 1)
        self.node.SetFieldOfView(100, 100, 1)
        axes = geometry.ijk_to_ras[:3, :3] / np.array(geometry.spacing_xyz)
        if tilted:
            axes = axes @ np.array([[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]])
        to_ras = np.eye(4)
        to_ras[:3, :3] = axes
        to_ras[:3, 3] = geometry.ras_of_ijk(np.array(PLACE[::-1], float))
        self.node.GetSliceToRAS().DeepCopy(vtk_matrix(to_ras))
        self.node.UpdateMatrices()

    @property
    def view(self):
        return self.interactor, self.node

    def event(self, name, xy, shift=False):
        self.interactor.SetEventInformation(*xy, 0, int(shift))
        self.interactor.InvokeEvent(name)

    def at(self, point_ras):
        """The pixel that shows a point of the scene."""
        to_xy = np.linalg.inv(array_of_matrix(self.node.GetXYToRAS()))
        x, y, z, _ = to_xy @ [*point_ras, 1.0]
        assert abs(z) < 1e-6, "this slice does not show the point"
        return round(x), round(y)

    def draw(self, *pixels, shift=False):
        self.event("LeftButtonPressEvent", pixels[0], shift)
        for xy in pixels[1:]:
            self.event("MouseMoveEvent", xy, shift)
        self.event("LeftButtonReleaseEvent", pixels[-1], shift)


@pytest.fixture
def mouse(core):
    return Mouse(core)


def drawn_by(mouse, kind, *pixels, shift=False):
    done = []
    drawing = SliceDrawing([mouse.view], kind, done.append, lambda _drawn: None)
    mouse.draw(*pixels, shift=shift)
    drawing.close()
    return done[0]


def pixel(mouse, geometry, k, j, i):
    return mouse.at(geometry.ras_of_ijk(np.array([i, j, k], float)))


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_a_click_is_the_voxel_under_it(make_case, geometry):
    case = make_case(geometry)
    mouse = Mouse(case.core, geometry)
    drawn = drawn_by(mouse, PromptKind.POINT, pixel(mouse, geometry, 8, 15, 23))
    assert voxels_of(drawn, PromptKind.POINT, case.ct) == ((8, 15, 23),)
    assert not drawn.with_shift


def test_a_click_follows_the_transforms_of_the_ct(case):
    turn = np.array([[0, -1, 0, 12.0], [1, 0, 0, -7.0], [0, 0, 1, 3.0], [0, 0, 0, 1]])
    parent = case.core.add_transform(np.diag([1, 1, 1, 1.0]) + np.eye(4, k=3) * 5)
    case.ct.SetAndObserveTransformNodeID(case.core.add_transform(turn, parent).GetID())
    world = [0.0, 0.0, 0.0]
    case.ct.TransformPointToWorld(PLAIN.ras_of_ijk(np.array([23.0, 15.0, 8.0])), world)
    mouse = Mouse(case.core)
    to_ras = np.eye(4)
    to_ras[:3, 3] = world
    mouse.node.GetSliceToRAS().DeepCopy(vtk_matrix(to_ras))
    mouse.node.UpdateMatrices()
    drawn = drawn_by(mouse, PromptKind.POINT, mouse.at(world))
    assert voxels_of(drawn, PromptKind.POINT, case.ct) == ((8, 15, 23),)


def test_a_click_is_one_even_if_the_mouse_moves_a_little(case, mouse):
    x, y = pixel(mouse, PLAIN, 8, 15, 23)
    drawn = drawn_by(mouse, PromptKind.POINT, (x, y), (x + 5, y + 4))
    assert voxels_of(drawn, PromptKind.POINT, case.ct) == ((8, 15, 23),)


def test_a_scribble_is_the_line_that_was_drawn(case, mouse):
    path = [pixel(mouse, PLAIN, 8, 10, i) for i in range(10, 20)]
    drawn = drawn_by(mouse, PromptKind.SCRIBBLE, *path)
    assert voxels_of(drawn, PromptKind.SCRIBBLE, case.ct) == tuple((8, 10, i) for i in range(10, 20))


def test_a_lasso_lies_in_one_slice_of_voxels_although_the_view_lies_between_two(case, mouse):
    to_ras = array_of_matrix(mouse.node.GetSliceToRAS())
    to_ras[2, 3] += 0.4 * PLAIN.spacing_xyz[2]
    mouse.node.GetSliceToRAS().DeepCopy(vtk_matrix(to_ras))
    mouse.node.UpdateMatrices()
    drawn = drawn_by(mouse, PromptKind.LASSO, (80, 80), (120, 82), (118, 120), (84, 118))
    points = voxels_of(drawn, PromptKind.LASSO, case.ct)
    assert {k for k, _j, _i in points} == {8}
    assert len(points) == 4


def test_a_box_is_two_corners_and_is_drawn_as_four(case, mouse):
    begin, end = pixel(mouse, PLAIN, 8, 10, 15), pixel(mouse, PLAIN, 8, 18, 25)
    drawn = drawn_by(mouse, PromptKind.BOX, begin, (100, 100), end)
    assert voxels_of(drawn, PromptKind.BOX, case.ct) == ((8, 10, 15), (8, 18, 25))
    assert len(drawn.corners_ras) == 4


def test_a_line_that_leaves_the_ct_goes_along_its_border(case, mouse):
    inside, outside = pixel(mouse, PLAIN, 8, 10, 30), pixel(mouse, PLAIN, 8, 10, 50)
    points = voxels_of(drawn_by(mouse, PromptKind.SCRIBBLE, inside, outside), PromptKind.SCRIBBLE, case.ct)
    assert points == ((8, 10, 30), (8, 10, 35))


def test_a_click_beside_the_ct_is_refused(case, mouse):
    with pytest.raises(InputError, match="outside of the CT"):
        voxels_of(drawn_by(mouse, PromptKind.POINT, pixel(mouse, PLAIN, 8, 10, 60)), PromptKind.POINT, case.ct)


def test_in_a_tilted_view_a_lasso_is_left_as_it_was_drawn(case):
    mouse = Mouse(case.core, tilted=True)
    drawn = drawn_by(mouse, PromptKind.LASSO, (70, 70), (130, 72), (128, 130), (74, 128))
    assert len({k for k, _j, _i in voxels_of(drawn, PromptKind.LASSO, case.ct)}) > 1


def test_shift_is_noticed(mouse):
    assert drawn_by(mouse, PromptKind.POINT, (50, 50), shift=True).with_shift


def test_nothing_else_in_the_view_hears_of_a_stroke(mouse):
    drawn_by(mouse, PromptKind.SCRIBBLE, (50, 50), (60, 50), (70, 50))
    assert mouse.heard == []
    mouse.draw((50, 50), (60, 50))
    assert mouse.heard == ["LeftButtonPressEvent", "MouseMoveEvent", "LeftButtonReleaseEvent"]


def test_the_mouse_without_a_button_is_slicers_except_with_shift(mouse):
    drawing = SliceDrawing([mouse.view], PromptKind.POINT, lambda _drawn: None, lambda _drawn: None)
    mouse.event("MouseMoveEvent", (40, 40))
    assert mouse.heard == ["MouseMoveEvent"]
    mouse.event("MouseMoveEvent", (41, 40), shift=True)
    assert mouse.heard == ["MouseMoveEvent"], "Slicer would move the other views along"
    drawing.close()


def test_a_drawing_that_ends_at_its_own_click_leaves_the_view_as_it_was(mouse):
    made = []

    def done(drawn):
        made.append(drawn)
        drawing.close()

    drawing = SliceDrawing([mouse.view], PromptKind.POINT, done, lambda _drawn: None)
    mouse.draw((50, 50))
    mouse.draw((60, 60))
    assert len(made) == 1
    assert mouse.heard == ["LeftButtonPressEvent", "LeftButtonReleaseEvent"]


def test_a_stroke_that_ends_in_another_view_counts_in_the_one_where_it_began(core):
    one, other, done = Mouse(core), Mouse(core), []
    drawing = SliceDrawing([one.view, other.view], PromptKind.SCRIBBLE, done.append, lambda _drawn: None)
    one.event("LeftButtonPressEvent", (50, 50))
    one.event("MouseMoveEvent", (60, 50))
    other.event("LeftButtonReleaseEvent", (3, 3))
    assert len(done[0].points_ras) == 2
    drawing.close()


def test_while_it_is_drawn_the_line_is_told(mouse):
    grown = []
    drawing = SliceDrawing([mouse.view], PromptKind.SCRIBBLE, lambda _drawn: None, grown.append)
    mouse.draw((50, 50), (51, 50), (60, 50), (70, 50))
    assert [len(drawn.points_ras) for drawn in grown] == [2, 3], "the second pixel is no step"
    drawing.close()


# Marks.


def marks_in(core):
    found = core.scene.GetNodesByName(MARK_NAME)
    found.UnRegister(None)
    return [found.GetItemAsObject(n) for n in range(found.GetNumberOfItems())]


def test_marks_are_neither_offered_nor_saved_nor_moved_and_lie_with_the_ct(case, mouse, tmp_path):
    case.ct.SetAndObserveTransformNodeID(case.core.add_transform(np.eye(4)).GetID())
    marks = PromptMarks(case.core.scene)
    for kind in PromptKind:
        marks.add(case.ct, kind, drawn_by(mouse, kind, (80, 80), (100, 80), (100, 100)), include=True)
    for node in marks_in(case.core):
        assert node.GetHideFromEditors()
        assert not node.GetSaveWithScene()
        assert node.GetLocked()
        assert not node.GetUndoEnabled()
        assert node.GetTransformNodeID() == case.ct.GetTransformNodeID()
    case.core.save(tmp_path / "scene.mrb")
    marks.clear()
    assert marks_in(case.core) == []
    case.core.load(tmp_path / "scene.mrb")
    assert marks_in(case.core) == []
    kept = case.core.scene.GetNodesByClass("vtkMRMLMarkupsDisplayNode")
    kept.UnRegister(None)
    assert kept.GetNumberOfItems() == 0


def test_a_mark_is_where_the_click_was_and_says_what_it_means(case, mouse):
    marks = PromptMarks(case.core.scene)
    drawn = drawn_by(mouse, PromptKind.POINT, (90, 80))
    marks.add(case.ct, PromptKind.POINT, drawn, include=True)
    marks.add(case.ct, PromptKind.POINT, drawn, include=False)
    belongs, not_this = marks.nodes
    assert np.allclose(belongs.GetNthControlPointPositionWorld(0), drawn.points_ras[0])
    assert belongs.GetDisplayNode().GetColor() != not_this.GetDisplayNode().GetColor()


def test_a_growing_mark_is_one_node_until_it_is_done_or_dropped(case, mouse):
    marks = PromptMarks(case.core.scene)
    drawn = drawn_by(mouse, PromptKind.SCRIBBLE, (80, 80), (90, 80), (100, 80))
    marks.grow(case.ct, PromptKind.SCRIBBLE, drawn, include=True)
    marks.grow(case.ct, PromptKind.SCRIBBLE, drawn, include=True)
    assert len(marks_in(case.core)) == 1
    marks.add(case.ct, PromptKind.SCRIBBLE, drawn, include=True)
    assert len(marks_in(case.core)) == 1
    marks.grow(case.ct, PromptKind.SCRIBBLE, drawn, include=True)
    marks.drop()
    marks.remove_last()
    assert marks_in(case.core) == []


def test_marks_that_somebody_removed_are_not_missed(case, mouse):
    marks = PromptMarks(case.core.scene)
    marks.add(case.ct, PromptKind.POINT, drawn_by(mouse, PromptKind.POINT, (90, 80)), include=True)
    case.core.scene.RemoveNode(marks.nodes[0])
    assert marks.nodes == []
    marks.follow(case.ct)
    marks.clear()


def test_the_kinds_of_nodes_are_slicers_own(case, mouse):
    marks = PromptMarks(case.core.scene)
    for kind in PromptKind:
        marks.add(case.ct, kind, drawn_by(mouse, kind, (80, 80), (100, 80), (100, 100)), include=True)
    assert [node.GetClassName() for node in marks.nodes] == [
        "vtkMRMLMarkupsFiducialNode",
        "vtkMRMLMarkupsCurveNode",
        "vtkMRMLMarkupsClosedCurveNode",
        "vtkMRMLMarkupsClosedCurveNode",
    ]
    assert marks.nodes[1].GetCurveTypeAsString(marks.nodes[1].GetCurveType()) == "linear"

"""Structures in 3D, in a node of their own that follows the segmentation on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scene_cases import PLAIN, boxes, oblique, whole_case
from slicer_application import SlicerCore

from activeseg.core.errors import InputError
from ActiveSegModuleLib.scene.case import Case
from ActiveSegModuleLib.scene.labelmap import BINARY_LABELMAP, CLOSED_SURFACE, array_of, cropped
from ActiveSegModuleLib.scene.surfaces import Surfaces, region_segments
from ActiveSegModuleLib.scene.views import look_at_bounds


class Turns(list[Callable[[], None]]):
    """An event loop, turned by hand."""

    def __call__(self, work: Callable[[], None]) -> None:
        self.append(work)

    def turn(self) -> None:
        self.pop(0)()

    def turn_all(self) -> None:
        while self:
            self.turn()


@pytest.fixture
def case(core: SlicerCore) -> Case:
    return whole_case(core)


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def surfaces(core: SlicerCore, turns: Turns) -> Surfaces:
    return Surfaces(core.scene, turns)


def show_all(surfaces: Surfaces, case: Case, turns: Turns) -> list[Any]:
    told: list[Any] = []
    surfaces.show_all(case, lambda done, of: told.append((done, of)), lambda: told.append("done"))
    turns.turn_all()
    return told


def surface(surfaces: Surfaces, segment_id: str) -> Any:
    return surfaces.node.GetSegmentation().GetSegment(segment_id).GetRepresentation(CLOSED_SURFACE)


def id_of(case: Case, name: str) -> str:
    found = case.segmentation.segment_id(case.schema.named(name))
    assert found is not None
    return found


def test_structures_are_made_one_in_each_turn_and_shown_after_the_last(
    surfaces: Surfaces, case: Case, turns: Turns
) -> None:
    told: list[Any] = []
    surfaces.show_all(case, lambda done, of: told.append((done, of)), lambda: told.append("done"))
    assert surfaces.busy
    for number in range(1, 5):
        turns.turn()
        assert told == [(done, 4) for done in range(1, number + 1)]
        assert not surfaces.node.GetDisplayVisibility()
    turns.turn()
    assert told[-1] == "done"
    assert surfaces.node.GetDisplayVisibility()
    assert not surfaces.node.GetDisplayNode().GetVisibility2D()
    assert not surfaces.busy
    assert not turns


def test_surfaces_lie_where_their_structures_do_and_have_their_colours(core: SlicerCore, turns: Turns) -> None:
    case, surfaces = whole_case(core, oblique()), Surfaces(core.scene, turns)
    show_all(surfaces, case, turns)
    for label in case.schema.labels[:4]:
        segment_id = id_of(case, label.name)
        ijk = np.argwhere(boxes() == label.value)[:, ::-1]
        expected = oblique().ras_of_ijk(ijk).mean(axis=0)
        assert np.allclose(surface(surfaces, segment_id).GetCenter(), expected, atol=2.5)
        segment = surfaces.node.GetSegmentation().GetSegment(segment_id)
        assert np.allclose(np.array(segment.GetColor()) * 255, label.color)
    assert not case.node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE), "strokes stay quick"


def test_surfaces_are_closed_also_at_the_border_of_the_image(surfaces: Surfaces, case: Case, turns: Turns) -> None:
    import vtk

    show_all(surfaces, case, turns)
    edges = vtk.vtkFeatureEdges()
    edges.FeatureEdgesOff()
    edges.ManifoldEdgesOff()
    edges.NonManifoldEdgesOff()
    for segment_id in surfaces.segment_ids:
        edges.SetInputData(surface(surfaces, segment_id))
        edges.Update()
        assert edges.GetOutput().GetNumberOfCells() == 0


def test_hidden_and_empty_segments_are_left_out(surfaces: Surfaces, case: Case, turns: Turns) -> None:
    case.segmentation.add_absent_structures()
    case.node.GetDisplayNode().SetSegmentVisibility(id_of(case, "spleen"), False)
    show_all(surfaces, case, turns)
    assert surfaces.segment_ids == tuple(id_of(case, name) for name in ("liver", "kidney_left", "kidney_right"))


def test_a_regions_neighbours_are_shown_with_it_transparent(surfaces: Surfaces, case: Case, turns: Turns) -> None:
    own, others = region_segments(case, 2)
    assert own == (id_of(case, "kidney_right"),)
    assert id_of(case, "spleen") in others
    show_all(surfaces, case, turns)
    surfaces.show_region(case, 2, lambda _done, _of: None, lambda: None)
    turns.turn_all()
    assert set(surfaces.segment_ids) == {*own, *others}
    display = surfaces.node.GetDisplayNode()
    assert display.GetSegmentOpacity3D(own[0]) == 1
    assert {display.GetSegmentOpacity3D(other) for other in others} == {0.4}
    with pytest.raises(InputError, match="no region 9"):
        surfaces.show_region(case, 9, lambda _done, _of: None, lambda: None)


def test_what_was_edited_is_made_again_on_demand_and_nothing_else(
    core: SlicerCore, surfaces: Surfaces, case: Case, turns: Turns
) -> None:
    show_all(surfaces, case, turns)
    spleen, liver = id_of(case, "spleen"), id_of(case, "liver")
    before = surface(surfaces, spleen), surface(surfaces, liver)
    volume = array_of(case.node.GetSegmentation().GetLayerDataObject(0, BINARY_LABELMAP))
    volume[18:24, 20:28, 20:34] = case.schema.named("spleen").value
    surfaces.renew()
    turns.turn_all()
    assert surface(surfaces, spleen) is not before[0]
    assert surface(surfaces, spleen).GetLength() > before[0].GetLength()
    assert surface(surfaces, liver) is before[1]
    volume[volume == case.schema.named("spleen").value] = 0
    surfaces.renew()
    turns.turn_all()
    assert spleen not in surfaces.segment_ids


def test_surfaces_go_with_their_case_and_are_never_saved(
    core: SlicerCore, surfaces: Surfaces, case: Case, turns: Turns
) -> None:
    show_all(surfaces, case, turns)
    node = surfaces.node
    assert node.GetHideFromEditors()
    assert not node.GetSaveWithScene()
    assert node.GetTransformNodeID() == case.node.GetTransformNodeID()
    case.remove()
    turns.turn_all()
    assert surfaces.case is None
    assert not core.scene.IsNodePresent(node)


def test_a_case_that_goes_while_its_surfaces_are_made_is_left_in_peace(
    core: SlicerCore, surfaces: Surfaces, case: Case, turns: Turns
) -> None:
    surfaces.show_all(case, lambda _done, _of: None, lambda: None)
    turns.turn()
    core.scene.Clear(False)
    turns.turn_all()
    assert surfaces.node is None
    assert not surfaces.busy


def test_surfaces_follow_a_segmentation_that_is_moved(
    core: SlicerCore, surfaces: Surfaces, case: Case, turns: Turns
) -> None:
    show_all(surfaces, case, turns)
    shift = np.eye(4)
    shift[:3, 3] = (40, -30, 7)
    case.ct_node.SetAndObserveTransformNodeID(core.add_transform(shift).GetID())
    case.follow_ct()
    surfaces.follow()
    assert surfaces.node.GetTransformNodeID() == case.ct_node.GetTransformNodeID()


def test_another_request_takes_the_place_of_the_one_before(surfaces: Surfaces, case: Case, turns: Turns) -> None:
    told: list[str] = []
    surfaces.show_all(case, lambda _done, _of: None, lambda: told.append("all"))
    turns.turn()
    surfaces.show_region(case, 1, lambda _done, _of: None, lambda: told.append("region"))
    turns.turn_all()
    assert told == ["region"]


def test_a_camera_sees_all_of_what_it_is_turned_to(
    core: SlicerCore, surfaces: Surfaces, case: Case, turns: Turns
) -> None:
    show_all(surfaces, case, turns)
    bounds = surfaces.bounds_ras()
    assert bounds is not None
    camera = core.scene.AddNewNodeByClass("vtkMRMLCameraNode")
    camera.SetPosition(0, 500, 0)
    look_at_bounds(core.scene, bounds)
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    assert np.allclose(camera.GetFocalPoint(), (low + high) / 2)
    away = np.subtract(camera.GetPosition(), camera.GetFocalPoint())
    assert np.allclose(away / np.linalg.norm(away), (0, 1, 0))
    angle = 2 * np.degrees(np.arcsin(np.linalg.norm(high - low) / 2 / np.linalg.norm(away)))
    assert angle == pytest.approx(camera.GetViewAngle())


def test_a_cut_out_keeps_its_place(case: Case) -> None:
    image = case.node.GetSegmentation().GetLayerDataObject(0, BINARY_LABELMAP)
    part = cropped(image, 3, 2)
    assert part.GetExtent() == (18, 37, 3, 16, 11, 21)
    assert array_of(part).sum() == (boxes() == 3).sum()
    assert PLAIN.shape_kji == array_of(image).shape
    assert cropped(image, 77, 2) is None

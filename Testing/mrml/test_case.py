"""A case is found again from its segmentation node, also in a scene that was saved and opened again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
from scene_cases import BOX, PLAIN, RECORD, boxes, oblique, whole_case
from slicer_application import SlicerCore

from activeseg.corrections import RegionState
from activeseg.errors import InputError
from activeseg.volume import Geometry
from ActiveSegModuleLib.scene.alternatives import apply_alternative
from ActiveSegModuleLib.scene.case import Case
from ActiveSegModuleLib.scene.placement import vtk_matrix
from ActiveSegModuleLib.scene.volume_node import voxel_image


def test_a_case_knows_its_record_its_ct_and_what_was_predicted(core: SlicerCore) -> None:
    case = whole_case(core)
    assert case.record == RECORD
    assert case.ct_node.GetName() == "CT"
    assert (case.original.array == boxes()).all()
    assert set(case.uncertainty) == {"variance", "entropy"}
    assert case.uncertainty["variance"].threshold == pytest.approx(0.3)
    assert case.regions is not None
    assert case.regions.states() == {1: RegionState.OPEN, 2: RegionState.OPEN}


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique"])
def test_a_saved_scene_opens_with_its_cases_whole(core: SlicerCore, tmp_path: Path, geometry: Geometry) -> None:
    case = whole_case(core, geometry)
    case.notes, case.seconds = 'spleen: "unclear" | below', 61.5
    assert case.regions is not None
    case.regions.set_state(1, RegionState.SKIPPED)
    identity, patch = case.id, case.patches
    core.save(tmp_path / "scene.mrb")
    core.scene.Clear(False)
    core.load(tmp_path / "scene.mrb")
    (again,) = Case.all_in(core.scene)
    assert again.id == identity
    assert again.record == json.loads(json.dumps(RECORD))
    assert (again.original_on_ct() == again.read_back().labels).all()
    assert not again.touched
    assert again.patches == patch
    assert again.alternatives(1)[0].summary == "2 members: + 0.1 ml kidney_left"
    assert again.regions is not None
    assert again.regions.states() == {1: RegionState.SKIPPED, 2: RegionState.OPEN}
    assert set(again.uncertainty) == {"variance", "entropy"}
    assert (again.notes, again.seconds) == ('spleen: "unclear" | below', 61.5)


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique"])
def test_labels_in_a_box_are_those_of_the_whole_label_map(core: SlicerCore, geometry: Geometry) -> None:
    case = whole_case(core, geometry)
    (offered,) = case.alternatives(1)
    inside = tuple(slice(*span) for span in BOX)
    assert (case.labels_in(BOX) == boxes()[inside]).all()
    apply_alternative(core.editor(case.node, case.ct_node), case.segmentation, offered.patch)
    now = case.labels_in(BOX)
    assert (now == case.read_back().labels[inside]).all()
    assert (now[offered.patch.changed] == 2).all()
    assert (now[~offered.patch.changed] == boxes()[inside][~offered.patch.changed]).all()
    assert case.touched


def test_several_cases_of_several_cts_live_side_by_side(core: SlicerCore) -> None:
    first, second = whole_case(core), whole_case(core, oblique())
    assert Case.all_in(core.scene) == [first, second]
    assert first.id != second.id
    second.remove()
    assert Case.all_in(core.scene) == [first]
    assert first.uncertainty
    assert first.patches


def test_removing_a_case_leaves_only_the_ct(core: SlicerCore) -> None:
    before = core.scene.GetNumberOfNodesByClass("vtkMRMLDisplayableNode")
    case = whole_case(core)
    ct_node = case.ct_node
    case.remove()
    assert core.scene.GetNumberOfNodesByClass("vtkMRMLDisplayableNode") == before + 1
    assert core.scene.IsNodePresent(ct_node)
    assert core.scene.GetNumberOfNodesByClass("vtkMRMLTextNode") == 0


def test_a_cloned_segmentation_becomes_a_case_of_its_own(core: SlicerCore) -> None:
    case = whole_case(core)
    clone = core.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "copy")
    clone.Copy(case.node)
    one, other = Case.all_in(core.scene)
    assert one.id != other.id


def test_a_case_whose_ct_was_removed_says_so(core: SlicerCore) -> None:
    case = whole_case(core)
    core.scene.RemoveNode(case.ct_node)
    with pytest.raises(InputError, match="CT of 'CT segmentation' is no longer"):
        _ = case.ct_node


def test_a_segmentation_of_somebody_else_is_no_case(core: SlicerCore) -> None:
    node = core.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    assert Case.of(node) is None
    assert Case.of(None) is None
    assert Case.all_in(core.scene) == []
    assert slicer.vtkMRMLSegmentationNode.SafeDownCast(node) is node


def test_another_frame_in_the_cts_place_is_noticed(core: SlicerCore) -> None:
    case = whole_case(core)
    assert not case.image_has_changed
    case.ct_node.SetName("renamed")
    case.ct_node.SetIJKToRASMatrix(vtk_matrix(oblique().ijk_to_ras))
    assert not case.image_has_changed, "the same voxels, wherever they lie"
    frame = np.random.default_rng(0).normal(40, 10, PLAIN.shape_kji).astype(np.int16)
    case.ct_node.SetAndObserveImageData(voxel_image(frame))
    assert case.image_has_changed
    case.ct_node.SetAndObserveImageData(voxel_image(np.zeros(PLAIN.shape_kji, np.int16)))
    assert not case.image_has_changed

"""A case is found again from its segmentation node, also in a scene that was saved and opened again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from scene_cases import BOX, PLAIN, RECORD, boxes, oblique, whole_case
from slicer_application import SlicerCore

from activeseg.core.correction import RegionState
from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from ActiveSegModuleLib.scene.alternatives import apply_alternative
from ActiveSegModuleLib.scene.case import Case
from ActiveSegModuleLib.scene.labelmap import array_of
from ActiveSegModuleLib.scene.placement import vtk_matrix
from ActiveSegModuleLib.scene.volume_node import volume_of, voxel_image


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
    assert one.regions is not None
    assert other.regions is not None
    one.regions.set_state(1, RegionState.ACCEPTED)
    assert other.regions.states() == {1: RegionState.OPEN, 2: RegionState.OPEN}
    assert other.regions.ct_node is case.ct_node
    assert other.alternatives(1)[0].summary == one.alternatives(1)[0].summary
    assert core.scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 2
    assert Case.all_in(core.scene) == [one, other]
    other.remove()
    assert one.regions.states() == {1: RegionState.ACCEPTED, 2: RegionState.OPEN}
    assert one.uncertainty
    assert (one.original.array == boxes()).all()


def test_a_clone_whose_ct_is_gone_gets_its_list_too(core: SlicerCore) -> None:
    case = whole_case(core)
    core.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "copy").Copy(case.node)
    core.scene.RemoveNode(case.ct_node)
    one, other = Case.all_in(core.scene)
    assert one.regions is not None
    assert other.regions is not None
    assert one.regions.node is not other.regions.node


def test_a_case_whose_ct_was_removed_says_so(core: SlicerCore) -> None:
    case = whole_case(core)
    core.scene.RemoveNode(case.ct_node)
    with pytest.raises(InputError, match="CT of 'CT segmentation' is no longer"):
        _ = case.ct_node


def test_a_ct_that_is_loaded_again_is_known_by_its_voxels_and_taken(core: SlicerCore) -> None:
    case = whole_case(core, oblique())
    voxels = array_of(case.ct_node.GetImageData()).copy()
    core.scene.RemoveNode(case.ct_node)
    other = core.add_volume(voxels + 1, oblique(), "other values")
    elsewhere = core.add_volume(voxels, PLAIN, "other place")
    again = core.add_volume(voxels, oblique(), "again")
    assert [case.fits(node) for node in (other, elsewhere, again)] == [False, False, True]
    case.take_ct(again)
    assert case.has_ct
    assert case.ct_node is again
    assert case.regions is not None
    assert case.regions.ct_node is again
    assert (case.read_back().labels == boxes()).all()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(core.scene)
    parent = hierarchy.GetItemByDataNode(again)
    for node in (case.node, case.regions.node, *(volume.node for volume in case.uncertainty.values())):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == parent


def test_a_ct_is_known_by_the_fingerprint_in_the_prediction(core: SlicerCore) -> None:
    ct = core.add_volume(np.full(PLAIN.shape_kji, 7, np.int16), PLAIN)
    record = {**RECORD, "images": {"CT": {"path": "", "sha256": volume_of(ct).sha256()}}}
    case = Case.create(core.scene, ct, Volume(boxes(), PLAIN), record, "x")
    core.scene.RemoveNode(ct)
    assert case.fits(core.add_volume(np.full(PLAIN.shape_kji, 7, np.int16), PLAIN))
    assert not case.fits(core.add_volume(np.full(PLAIN.shape_kji, 8, np.int16), PLAIN))


def test_all_that_belongs_to_a_ct_follows_it_under_a_transform(core: SlicerCore) -> None:
    case = whole_case(core)
    assert case.regions is not None
    before = case.regions.center_world(1)
    shift = np.eye(4)
    shift[:3, 3] = (40, -30, 7)
    case.ct_node.SetAndObserveTransformNodeID(core.add_transform(shift).GetID())
    case.follow_ct()
    wanted = case.ct_node.GetTransformNodeID()
    moved = [case.node, *(node for node in case.companions() if node.IsA("vtkMRMLTransformableNode"))]
    assert [node.GetTransformNodeID() for node in moved] == [wanted] * len(moved)
    assert len(moved) == 4
    assert case.regions.center_world(1) == pytest.approx(np.add(before, (40, -30, 7)))
    row = case.regions.node
    assert float(row.GetCellText(0, 5)) == pytest.approx(before[0] + 40, abs=0.01)
    assert (case.read_back().labels == boxes()).all()


def test_a_segmentation_with_a_transform_of_its_own_keeps_it(core: SlicerCore) -> None:
    case = whole_case(core)
    own, other = core.add_transform(np.diag([1.0, 1, 1, 1])), core.add_transform(np.diag([-1.0, -1, 1, 1]))
    case.node.SetAndObserveTransformNodeID(own.GetID())
    case.ct_node.SetAndObserveTransformNodeID(other.GetID())
    case.follow_ct()
    assert case.node.GetTransformNodeID() == own.GetID()


def test_after_a_transform_was_hardened_nothing_jumps(core: SlicerCore) -> None:
    case = whole_case(core)
    shift = np.eye(4)
    shift[:3, 3] = (40, -30, 7)
    case.ct_node.SetAndObserveTransformNodeID(core.add_transform(shift).GetID())
    case.follow_ct()
    before = case.node.GetTransformNodeID()
    case.ct_node.HardenTransform()
    case.follow_ct()
    assert case.node.GetTransformNodeID() == before


def test_the_newest_case_of_a_ct_is_the_last_that_is_no_preview(core: SlicerCore) -> None:
    first = whole_case(core)
    ct = first.ct_node
    second = Case.create(core.scene, ct, Volume(boxes(), PLAIN), RECORD, "second")
    preview = Case.create(core.scene, ct, Volume(boxes(), PLAIN), RECORD, "preview", preview=True)
    assert Case.newest_of(core.scene, ct) == second
    second.remove()
    first.remove()
    assert Case.newest_of(core.scene, ct) == preview
    assert Case.newest_of(core.scene, None) is None


def test_what_nobody_should_choose_is_hidden_before_a_list_can_see_it(core: SlicerCore) -> None:
    """Slicer's lists of volumes turn to what they have seen, when another volume is removed."""
    seen = []

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def look(_scene: object, _event: object, node: Any) -> None:
        if node.IsA("vtkMRMLVolumeNode") or node.IsA("vtkMRMLTextNode"):
            seen.append((node.GetName(), bool(node.GetHideFromEditors()), node.GetAttribute("ActiveSeg.Role")))

    core.scene.AddObserver(core.scene.NodeAddedEvent, look)
    whole_case(core)
    assert [(name, hidden) for name, hidden, _ in seen] == [
        ("CT", False),
        ("CT segmentation, as predicted", True),
        ("CT segmentation, alternatives", True),
        ("CT segmentation, variance", True),
        ("CT segmentation, entropy", True),
    ]
    assert [role for _, _, role in seen if role] == ["original", "uncertainty", "uncertainty"]


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

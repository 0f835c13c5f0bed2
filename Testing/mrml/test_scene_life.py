"""What a scene goes through: undo, removals and scenes of earlier versions leave what belongs together whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scene_cases import PLAIN, SCHEMA, boxes, whole_case
from slicer_application import SlicerCore

from activeseg.core.correction import RegionState
from activeseg.core.errors import InputError
from ActiveSegModuleLib.logic.review import CaseReview
from ActiveSegModuleLib.scene.case import Case
from ActiveSegModuleLib.scene.region_mask import RegionMask
from ActiveSegModuleLib.scene.surfaces import Surfaces
from ActiveSegModuleLib.scene.views import composites

UNDOABLE = (
    "vtkMRMLSegmentationNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
    "vtkMRMLScalarVolumeNode",
    "vtkMRMLLabelMapVolumeNode",
    "vtkMRMLMarkupsROINode",
)


def let_slicer_undo_everything(core: SlicerCore) -> None:
    """As a user does who switches Slicer's undo of the scene on."""
    core.scene.SetUndoOn()
    for class_name in UNDOABLE:
        node = core.scene.GetDefaultNodeByClass(class_name) or core.scene.CreateNodeByClass(class_name)
        node.SetUndoEnabled(True)
        core.scene.AddDefaultNode(node)


def test_slicers_undo_leaves_a_case_whole(core: SlicerCore) -> None:
    let_slicer_undo_everything(core)
    ct = core.add_volume(np.zeros(PLAIN.shape_kji, np.int16), PLAIN, "before")
    core.scene.SaveStateForUndo()
    case = whole_case(core)
    review = CaseReview(core.scene)
    review.open(case)
    review.go_to(1)
    review.accept()
    review.preview(0)
    core.scene.SaveStateForUndo()
    review.go_to(2)
    review.skip()
    core.scene.Undo()
    core.scene.Undo()
    assert core.scene.IsNodePresent(ct)
    assert Case.all_in(core.scene) == [case]
    assert all(core.scene.IsNodePresent(node) for node in case.companions())
    assert [row.state for row in review.rows()] == [RegionState.ACCEPTED, RegionState.SKIPPED]
    assert (case.original.array == boxes()).all()


def test_a_case_that_is_removed_leaves_no_foreground_over_the_next_ct(core: SlicerCore) -> None:
    case = whole_case(core)
    composite = core.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    case.uncertainty["variance"].show(case.ct_node, 0.7)
    composite.SetLabelVolumeID(case.original_node.GetID())
    case.remove()
    for view in composites(core.scene):
        assert view.GetForegroundVolumeID() is None
        assert view.GetForegroundOpacity() == 0
        assert view.GetLabelVolumeID() is None


ORPHANED: list[Callable[[CaseReview], Any]] = [
    lambda review: review.accept(),
    lambda review: review.skip(),
    lambda review: review.reopen(),
    lambda review: review.next(),
    lambda review: review.pictures(),
    lambda review: review.preview(0),
    lambda review: review.note_edits(),
]


@pytest.mark.parametrize("step", ORPHANED)
def test_without_its_ct_a_review_says_what_is_missing(core: SlicerCore, step: Callable[[CaseReview], Any]) -> None:
    case, review = whole_case(core), CaseReview(core.scene)
    review.open(case)
    review.go_to(1)
    core.scene.RemoveNode(case.ct_node)
    assert review.reviewed == (0, 2)
    assert review.minutes_left is None
    review.follow_ct()
    with pytest.raises(InputError, match="no longer in the scene"):
        step(review)
    review.leave()


def test_a_case_without_its_ct_can_be_opened_left_and_removed(core: SlicerCore) -> None:
    case, review = whole_case(core), CaseReview(core.scene)
    core.scene.RemoveNode(case.ct_node)
    review.open(case)
    assert len(review.rows()) == 2
    review.open(None)
    assert Case.all_in(core.scene) == [case]
    case.remove()
    assert Case.all_in(core.scene) == []


def test_scenes_with_empty_segments_open_as_they_were(core: SlicerCore, tmp_path: Path) -> None:
    """Earlier versions made a segment for each structure that was looked for."""
    case = whole_case(core)
    case.segmentation.add_absent_structures()
    core.save(tmp_path / "scene.mrb")
    core.load(tmp_path / "scene.mrb")
    (again,) = Case.all_in(core.scene)
    assert again.node.GetSegmentation().GetNumberOfSegments() == len(SCHEMA)
    assert len(again.segmentation.empty_segments()) == 1
    assert not again.touched
    assert again.read_back().sentences() == ()
    again.node.GetSegmentation().RemoveSegment(again.segmentation.empty_segments()[0])
    assert not again.touched


def test_a_structure_that_was_deleted_stays_deleted_in_a_saved_scene(core: SlicerCore, tmp_path: Path) -> None:
    case = whole_case(core)
    case.node.GetSegmentation().RemoveSegment(case.segmentation.segment_id(SCHEMA.named("spleen")))
    core.save(tmp_path / "scene.mrb")
    core.load(tmp_path / "scene.mrb")
    (again,) = Case.all_in(core.scene)
    assert again.read_back().deleted == ("spleen",)
    assert again.touched


def test_what_helps_a_review_is_never_saved(core: SlicerCore, tmp_path: Path) -> None:
    case, review, mask = whole_case(core), CaseReview(core.scene), RegionMask(core.scene)
    review.open(case)
    review.go_to(1)
    review.preview(0)
    turns: list[Callable[[], None]] = []
    surfaces = Surfaces(core.scene, turns.append)
    surfaces.show_region(case, 1, lambda _done, _of: None, lambda: None)
    while turns:
        turns.pop(0)()
    mask.confine(None, case.ct_node, case.regions.region(1).box_kji)  # type: ignore[union-attr]
    core.save(tmp_path / "scene.mrb")
    core.load(tmp_path / "scene.mrb")
    scene = core.scene
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 0
    assert (
        scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
        - scene.GetNumberOfNodesByClass("vtkMRMLLabelMapVolumeNode")
        == 3
    ), "the CT and two maps"

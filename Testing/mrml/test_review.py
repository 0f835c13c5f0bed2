"""From one uncertain place to the next, with real editing, undo and scenes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import slicer
from scene_cases import BOX, OTHER_REGION, PLAIN, REGION, boxes, patches, whole_case
from slicer_application import SlicerCore

from activeseg.core.correction import RegionState
from activeseg.core.errors import InputError
from ActiveSegModuleLib.logic.review import CaseReview
from ActiveSegModuleLib.scene import edited
from ActiveSegModuleLib.scene.case import Case
from ActiveSegModuleLib.scene.edited import identities
from ActiveSegModuleLib.scene.labelmap import array_of
from ActiveSegModuleLib.scene.views import Viewpoint

OPEN, ACCEPTED, CORRECTED, SKIPPED = RegionState
INSIDE = tuple(slice(*span) for span in BOX)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def case(core: SlicerCore) -> Case:
    return whole_case(core)


@pytest.fixture
def review(core: SlicerCore, case: Case) -> CaseReview:
    review = CaseReview(core.scene)
    review.open(case)
    return review


def states(review: CaseReview) -> list[RegionState]:
    return [row.state for row in review.rows()]


def frames(core: SlicerCore) -> int:
    return int(core.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode"))


def paint(core: SlicerCore, case: Case, name: str, place: tuple[slice, ...]) -> None:
    """A stroke of the Segment Editor."""
    editor = core.editor(case.node, case.ct_node)
    editor.SetCurrentSegmentID(case.segmentation.segment_id(case.schema.named(name)))
    editor.ResetModifierLabelmapToDefault()
    stroke = editor.GetModifierLabelmap()
    array_of(stroke)[place] = 1
    editor.ModifySegmentByLabelmap(
        case.node, editor.GetCurrentSegmentID(), stroke, editor.ModificationModeAdd, False, False
    )


def stroke(editor: object, case: Case, name: str, place: tuple[slice, ...]) -> None:
    """A stroke that can be undone."""
    editor.SaveStateForUndo()
    editor.SetCurrentSegmentID(case.segmentation.segment_id(case.schema.named(name)))
    editor.ResetModifierLabelmapToDefault()
    array_of(editor.GetModifierLabelmap())[place] = 1
    mode, segment_id = editor.ModificationModeAdd, editor.GetCurrentSegmentID()
    editor.ModifySegmentByLabelmap(case.node, segment_id, editor.GetModifierLabelmap(), mode, False, False)


def test_regions_come_worst_first_and_round_again(review: CaseReview) -> None:
    assert [row.number for row in review.rows()] == [1, 2]
    assert [review.next(), review.next(), review.next(), review.previous()] == [1, 2, 1, 2]


def test_the_previous_of_none_is_the_last(review: CaseReview) -> None:
    assert review.previous() == 2


def test_one_frame_moves_along_and_goes_with_the_case(core: SlicerCore, review: CaseReview) -> None:
    review.next()
    review.next()
    assert frames(core) == 1
    review.open(None)
    assert frames(core) == 0


def test_all_slice_views_centre_on_the_region(core: SlicerCore, review: CaseReview, case: Case) -> None:
    view = core.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetDimensions(200, 100, 1)
    review.go_to(2)
    assert case.regions is not None
    center = case.regions.center_world(2)
    to_ras = view.GetSliceToRAS()
    assert [to_ras.GetElement(axis, 3) for axis in range(3)] == pytest.approx(center)


def test_cameras_turn_to_the_region_without_turning_around_it(core: SlicerCore, review: CaseReview, case: Case) -> None:
    camera = core.scene.AddNewNodeByClass("vtkMRMLCameraNode")
    camera.SetFocalPoint(5, 5, 5)
    camera.SetPosition(5, 505, 5)
    review.go_to(1)
    assert case.regions is not None
    center = np.array(case.regions.center_world(1))
    assert camera.GetFocalPoint() == pytest.approx(center)
    assert camera.GetPosition() == pytest.approx(np.add(center, (0, 500, 0)))


def test_accepted_and_skipped_regions_count_as_reviewed(review: CaseReview) -> None:
    review.next()
    review.accept()
    assert states(review) == [ACCEPTED, OPEN]
    assert review.reviewed == (1, 2)
    assert review.next_open() == 2
    review.skip()
    assert states(review) == [ACCEPTED, SKIPPED]
    assert review.next_open() is None
    assert review.current == 2


def test_a_decided_region_can_be_opened_again(review: CaseReview) -> None:
    review.next()
    review.accept()
    review.reopen()
    assert states(review) == [OPEN, OPEN]
    assert review.current == 1
    assert review.reviewed == (0, 2)


def test_decisions_are_taken_back_and_made_again_in_their_order(review: CaseReview) -> None:
    assert review.decision_to_undo is review.decision_to_redo is None
    assert review.undo_decision() is None
    review.go_to(1)
    review.accept()
    review.go_to(2)
    review.skip()
    review.go_to(1)
    review.reopen()
    undo = review.decision_to_undo
    assert undo is not None
    assert (undo.number, undo.before, undo.after) == (1, ACCEPTED, OPEN)
    seen = []
    while review.undo_decision() is not None:
        seen.append((review.current, states(review)))
    assert seen == [(1, [ACCEPTED, SKIPPED]), (2, [ACCEPTED, OPEN]), (1, [OPEN, OPEN])]
    redo = review.decision_to_redo
    assert redo is not None
    assert (redo.number, redo.after) == (1, ACCEPTED)
    while review.redo_decision() is not None:
        pass
    assert states(review) == [OPEN, SKIPPED]


def test_a_new_decision_ends_what_could_be_made_again(review: CaseReview) -> None:
    review.next()
    review.accept()
    review.undo_decision()
    review.skip()
    assert review.decision_to_redo is None
    assert review.undo_decision() == 1
    assert states(review) == [OPEN, OPEN]


def test_deciding_the_same_again_is_no_decision(review: CaseReview) -> None:
    review.next()
    review.accept()
    review.accept()
    review.undo_decision()
    assert review.decision_to_undo is None
    assert states(review) == [OPEN, OPEN]


def test_a_decision_before_an_edit_waits_until_the_edit_is_undone(
    core: SlicerCore, review: CaseReview, case: Case
) -> None:
    review.go_to(2)
    review.skip()
    review.go_to(1)
    review.accept()
    editor = core.editor(case.node, case.ct_node)
    stroke(editor, case, "spleen", (slice(5, 6), slice(6, 9), slice(1, 4)))
    review.note_edits()
    assert states(review) == [CORRECTED, SKIPPED]
    waiting = review.decision_to_undo
    assert waiting is not None
    assert waiting.number == 2
    editor.Undo()
    review.note_edits()
    assert review.undo_decision() == 1
    assert states(review) == [OPEN, SKIPPED]


def test_an_edited_region_whose_decision_is_taken_back_is_open_until_it_is_edited_again(
    core: SlicerCore, review: CaseReview, case: Case
) -> None:
    paint(core, case, "spleen", (slice(5, 6), slice(6, 9), slice(1, 4)))
    review.go_to(1)
    review.accept()
    assert states(review) == [CORRECTED, OPEN]
    review.undo_decision()
    review.note_edits()
    assert states(review) == [OPEN, OPEN]
    paint(core, case, "spleen", (slice(7, 8), slice(6, 9), slice(1, 4)))
    review.note_edits()
    assert states(review) == [CORRECTED, OPEN]


def test_another_case_and_another_list_have_decisions_of_their_own(
    core: SlicerCore, review: CaseReview, case: Case
) -> None:
    review.next()
    review.accept()
    case.set_regions([REGION], patches(), PLAIN)
    review.note_edits()
    assert review.decision_to_undo is None
    review.next()
    review.accept()
    review.open(whole_case(core))
    assert review.decision_to_undo is None


def test_minutes_left_follow_the_median_of_what_regions_took_without_pauses(core: SlicerCore, case: Case) -> None:
    third = {**REGION, "number": 3}
    case.set_regions([REGION, OTHER_REGION, third, {**third, "number": 4}], patches(), PLAIN)
    clock = Clock()
    review = CaseReview(core.scene, clock)
    review.open(case)
    review.go_to(1)
    assert review.minutes_left is None
    clock.now += 30
    review.go_to(2)
    clock.now += 10
    review.go_to(1)
    clock.now += 20
    review.accept()
    assert review.minutes_left == pytest.approx(50 * 3 / 60)
    review.go_to(2)
    clock.now += 5000
    review.skip()
    review.go_to(3)
    clock.now += 7
    review.accept()
    assert review.minutes_left == pytest.approx(50 / 60), "50, 130 and 7 s"
    again = CaseReview(core.scene, clock)
    again.open(Case(case.node))
    assert again.minutes_left == review.minutes_left
    review.go_to(4)
    review.accept()
    assert review.minutes_left == 0


def test_deciding_without_a_region_says_what_to_do(review: CaseReview) -> None:
    with pytest.raises(InputError, match="No region is chosen"):
        review.accept()


def test_an_edit_inside_makes_a_region_corrected_and_elsewhere_not(
    core: SlicerCore, review: CaseReview, case: Case
) -> None:
    review.go_to(1)
    paint(core, case, "spleen", (slice(0, 2), slice(0, 3), slice(30, 34)))
    assert review.note_edits() == set()
    paint(core, case, "spleen", (slice(5, 6), slice(6, 9), slice(1, 4)))
    assert review.note_edits() == {1}
    assert states(review) == [CORRECTED, OPEN]


@pytest.mark.parametrize("decision", [ACCEPTED, SKIPPED])
def test_a_stroke_and_its_undo_leave_a_decision_as_it_was(
    core: SlicerCore, review: CaseReview, case: Case, decision: RegionState
) -> None:
    review.go_to(1)
    review.accept() if decision is ACCEPTED else review.skip()
    editor = core.editor(case.node, case.ct_node)
    stroke(editor, case, "spleen", (slice(5, 6), slice(6, 9), slice(1, 4)))
    assert review.note_edits() == {1}
    assert states(review) == [CORRECTED, OPEN]
    editor.Undo()
    assert review.note_edits() == {1}
    assert states(review) == [decision, OPEN]
    editor.Redo()
    review.note_edits()
    assert states(review) == [CORRECTED, OPEN]


def test_an_undo_from_the_next_region_and_its_redo_reach_the_region_that_was_corrected(
    core: SlicerCore, review: CaseReview, case: Case
) -> None:
    review.go_to(1)
    editor = core.editor(case.node, case.ct_node)
    stroke(editor, case, "spleen", (slice(5, 6), slice(6, 9), slice(1, 4)))
    review.next()
    assert states(review) == [CORRECTED, OPEN]
    editor.Undo()
    review.note_edits()
    assert states(review) == [OPEN, OPEN]
    editor.Redo()
    review.note_edits()
    assert states(review) == [CORRECTED, OPEN]


def test_a_stroke_into_a_region_where_nobody_looks_decides_nothing_there(
    core: SlicerCore, review: CaseReview, case: Case
) -> None:
    review.go_to(1)
    everywhere = (slice(0, 24), slice(0, 30), slice(0, 36))
    paint(core, case, "spleen", everywhere)
    assert review.note_edits() == {1}
    assert states(review) == [CORRECTED, OPEN]
    review.go_to(2)
    assert states(review) == [CORRECTED, OPEN]
    review.accept()
    assert states(review) == [CORRECTED, CORRECTED]


def test_an_edited_region_that_is_skipped_stays_skipped_when_another_is_edited(
    core: SlicerCore, review: CaseReview, case: Case
) -> None:
    review.go_to(1)
    paint(core, case, "spleen", (slice(5, 6), slice(6, 9), slice(1, 4)))
    review.skip()
    review.go_to(2)
    paint(core, case, "spleen", (slice(14, 15), slice(6, 9), slice(22, 25)))
    review.note_edits()
    assert states(review) == [SKIPPED, CORRECTED]


def test_an_edit_just_before_next_counts_for_the_region_it_was_made_in(
    core: SlicerCore, review: CaseReview, case: Case
) -> None:
    review.go_to(1)
    paint(core, case, "spleen", (slice(5, 6), slice(6, 9), slice(1, 4)))
    review.next()
    assert states(review) == [CORRECTED, OPEN]


def test_one_can_look_at_regions_although_the_prediction_was_removed(core: SlicerCore, case: Case) -> None:
    core.scene.RemoveNode(case.original_node)
    review = CaseReview(core.scene)
    review.open(case)
    assert review.first() == 1
    assert review.next() == 2
    with pytest.raises(InputError, match="was removed from the scene"):
        review.accept()


def test_the_first_region_is_the_worst_that_is_open(review: CaseReview) -> None:
    assert review.first() == 1
    review.accept()
    assert review.first() == 2
    review.skip()
    assert review.first() in (1, 2)


def test_the_first_region_leaves_views_alone_that_the_user_has_moved(
    core: SlicerCore, review: CaseReview, case: Case
) -> None:
    before = Viewpoint.now(core.scene)
    assert review.first(show=False) == 1
    assert not before.has_moved(core.scene)
    assert core.scene.GetFirstNodeByClass("vtkMRMLMarkupsROINode").GetDisplayNode().GetVisibility()
    assert review.first() == 1
    assert before.has_moved(core.scene)


def test_the_frame_follows_a_ct_that_is_put_under_a_transform(core: SlicerCore, review: CaseReview, case: Case) -> None:
    review.go_to(1)
    frame = core.scene.GetFirstNodeByClass("vtkMRMLMarkupsROINode")
    shift = np.eye(4)
    shift[:3, 3] = (40, -30, 7)
    case.ct_node.SetAndObserveTransformNodeID(core.add_transform(shift).GetID())
    review.follow_ct()
    seen = [frame, *(volume.node for volume in case.uncertainty.values()), case.node]
    assert {node.GetTransformNodeID() for node in seen} == {case.ct_node.GetTransformNodeID()}


def test_an_accepted_region_that_was_edited_counts_as_corrected(
    core: SlicerCore, review: CaseReview, case: Case
) -> None:
    paint(core, case, "spleen", (slice(5, 6), slice(6, 9), slice(1, 4)))
    review.go_to(1)
    review.accept()
    assert states(review) == [CORRECTED, OPEN]


def test_a_taken_alternative_can_be_undone_and_its_region_is_open_again(
    core: SlicerCore, review: CaseReview, case: Case
) -> None:
    editor = core.editor(case.node, case.ct_node)
    review.go_to(1)
    (offered,) = review.alternatives()
    review.take(0, editor)
    assert states(review) == [CORRECTED, OPEN]
    assert (case.labels_in(BOX)[offered.patch.changed] == 2).all()
    editor.Undo()
    assert review.note_edits() == {1}
    assert states(review) == [OPEN, OPEN]
    assert (case.labels_in(BOX) == boxes()[INSIDE]).all()


def test_previewing_an_alternative_changes_nothing_and_is_never_saved(
    core: SlicerCore, review: CaseReview, case: Case
) -> None:
    review.go_to(1)
    before = case.read_back().labels
    review.preview(0)
    (outline,) = [node for node in _segmentations(core) if node is not case.node]
    assert outline.GetDisplayVisibility()
    assert not outline.GetSaveWithScene()
    segment = outline.GetSegmentation().GetNthSegment(0)
    assert segment.GetColor() == pytest.approx([c / 255 for c in case.schema.named("kidney_left").color])
    voxels = array_of(segment.GetRepresentation("Binary labelmap"))
    assert voxels.sum() == case.alternatives(1)[0].patch.changed.sum()
    review.preview(None)
    assert not outline.GetDisplayVisibility()
    assert (case.read_back().labels == before).all()
    assert Case.all_in(core.scene) == [case]


def test_time_is_counted_without_pauses(core: SlicerCore, case: Case) -> None:
    clock = Clock()
    review = CaseReview(core.scene, clock)
    review.open(case)
    for second in (20, 50, 1050):
        clock.now = second
        review.next()
    assert case.seconds == pytest.approx(20 + 30 + 120)


def test_a_removed_case_is_left_in_peace(core: SlicerCore, review: CaseReview, case: Case) -> None:
    review.next()
    case.remove()
    assert review.case is None
    assert review.rows() == []
    assert review.reviewed == (0, 0)
    assert review.next() is None
    assert review.note_edits() == set()
    assert frames(core) == 0


def test_a_scene_that_was_closed_is_left_in_peace(core: SlicerCore, review: CaseReview) -> None:
    review.next()
    review.preview(0)
    core.scene.Clear(False)
    assert review.case is None
    assert review.next() is None


def _segmentations(core: SlicerCore) -> list[slicer.vtkMRMLSegmentationNode]:
    nodes = core.scene.GetNodesByClass("vtkMRMLSegmentationNode")
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]


def test_many_regions_are_looked_at_with_one_reading_of_the_segments(
    case: Case, review: CaseReview, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 117 segments and 200 regions each click took 6 s where the segments were read for each region."""
    entries = [{**REGION, "number": number, "alternatives": []} for number in range(1, 101)]
    case.set_regions(entries, b"", PLAIN)
    review.first()
    reads = []
    monkeypatch.setattr(edited, "identities", lambda node: reads.append(node) or identities(node))
    review.accept()
    assert len(reads) <= 5  # what is edited, and what the region holds
    assert review.next_open() == 2
    assert len(reads) <= 5

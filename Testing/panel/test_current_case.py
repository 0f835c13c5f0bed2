"""One CT and one segmentation are current: what the selectors say, what the views show, and what Segment segments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import slicer
from held_drafts import Kept, held
from loaded_cases import FAR, load_ct, make_case, pump, stroke, visible
from scene_cases import OTHER_REGION, PLAIN, boxes, patches
from user import User, until

from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume


@pytest.fixture
def view(slicer_core: Any) -> Any:
    return slicer_core.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")


def arrive(user: User, case: Any) -> None:
    """The engine's answer is told to the panel."""
    user.widget.panel.case_changed(case)
    until(lambda: user.case == case)


@pytest.fixture
def two(user: User, view: Any) -> tuple[Any, Any, Any, Any]:
    """Two patients with a segmentation each; the second is current."""
    first_ct = load_ct(user, "One")
    first = make_case(user, first_ct, "one")
    arrive(user, first)
    second_ct = load_ct(user, "Two", FAR)
    second = make_case(user, second_ct, "two", FAR)
    user.node.ct = second_ct
    until(lambda: user.case == second)
    return first_ct, first, second_ct, second


def test_choosing_a_segmentation_brings_its_ct_and_hides_the_other_patient(two: Any, user: User, view: Any) -> None:
    first_ct, first, _, _ = two
    user.ui.caseSelector.setCurrentNode(first.node)
    until(lambda: user.case == first)
    assert user.node.ct is first_ct
    assert view.GetBackgroundVolumeID() == first_ct.GetID()
    assert view.GetForegroundVolumeID() == first.uncertainty["variance"].node.GetID()
    assert visible(user) == {"one"}


def test_choosing_a_ct_brings_its_newest_segmentation(two: Any, user: User, view: Any) -> None:
    first_ct, _, second_ct, second = two
    newer = make_case(user, first_ct, "newer")
    user.ui.ctSelector.setCurrentNode(first_ct)
    until(lambda: user.case == newer)
    assert user.node.segmentation is newer.node
    assert view.GetBackgroundVolumeID() == first_ct.GetID()
    assert visible(user) == {"newer"}
    user.ui.ctSelector.setCurrentNode(second_ct)
    until(lambda: user.case == second)
    assert visible(user) == {"two"}


def test_choosing_a_ct_without_a_segmentation_empties_the_review(two: Any, user: User, view: Any) -> None:
    third = load_ct(user, "Three")
    user.ui.ctSelector.setCurrentNode(third)
    until(lambda: view.GetBackgroundVolumeID() == third.GetID())
    assert user.case is None
    assert user.node.segmentation is None
    assert user.listed == []
    assert visible(user) == set()
    assert view.GetForegroundVolumeID() is None
    assert user.core.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 0


def test_a_second_segmentation_hides_the_first(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    arrive(user, make_case(user, ct, "first"))
    second = make_case(user, ct, "second")
    user.widget.panel.case_changed(second)
    assert visible(user) == {"second"}
    until(lambda: user.case == second)
    assert visible(user) == {"second"}


def test_a_segmentation_that_arrives_for_another_ct_waits_hidden(user: User, view: Any) -> None:
    first_ct, second_ct = load_ct(user, "One"), load_ct(user, "Two", FAR)
    user.node.ct = second_ct
    until(lambda: view.GetBackgroundVolumeID() == second_ct.GetID())
    late = make_case(user, first_ct, "late")
    user.widget.panel.case_changed(late)
    user.widget.panel.update()
    assert user.node.ct is second_ct
    assert visible(user) == set()
    assert "late is ready" in user.widget.panel.message.text
    user.node.ct = first_ct
    until(lambda: user.case == late)
    assert visible(user) == {"late"}


def test_a_ct_that_is_loaded_and_shown_becomes_the_one_that_is_segmented(user: User, view: Any) -> None:
    first = load_ct(user, "One")
    until(lambda: user.node.ct is first and view.GetBackgroundVolumeID() == first.GetID())
    second = load_ct(user, "Two", FAR)
    user.core.app.GetSelectionNode().SetActiveVolumeID(second.GetID())  # as Slicer does after loading
    until(lambda: user.node.ct is second)
    until(lambda: view.GetBackgroundVolumeID() == second.GetID())


def test_coming_back_shows_the_ct_that_the_panel_names(two: Any, user: User, view: Any) -> None:
    first_ct, _, second_ct, _ = two
    user.module.exit()
    view.SetBackgroundVolumeID(first_ct.GetID())
    user.module.enter()
    assert user.node.ct is second_ct
    assert view.GetBackgroundVolumeID() == second_ct.GetID()


def test_a_saved_scene_opens_with_the_same_case_current(two: Any, user: User, view: Any, tmp_path: Any) -> None:
    _, first, _, _ = two
    user.ui.caseSelector.setCurrentNode(first.node)
    until(lambda: user.case == first)
    identity = first.id
    user.core.save(tmp_path / "scene.mrb")
    user.core.load(tmp_path / "scene.mrb")
    until(lambda: user.case is not None)
    assert user.case.id == identity
    assert user.node.ct is user.case.ct_node
    assert visible(user) == {"one"}


def test_the_first_region_is_current_as_soon_as_there_are_regions(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    slice_node = user.core.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    slice_node.SetDimensions(200, 100, 1)
    case = make_case(user, ct, "case")
    arrive(user, case)
    until(lambda: user.logic.review.current == 1)
    to_ras = slice_node.GetSliceToRAS()
    assert [to_ras.GetElement(axis, 3) for axis in range(3)] == pytest.approx(case.regions.center_world(1))
    assert user.ui.acceptButton.enabled
    assert user.ui.skipButton.enabled
    assert user.ui.editButton.enabled
    assert user.widget.panel.review.table.selected == user.listed[0] == 1


def test_a_list_that_is_replaced_begins_again(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case")
    arrive(user, case)
    user.ui.nextButton.click()
    assert user.logic.review.current == 2
    case.set_regions([OTHER_REGION], patches(), PLAIN)
    user.widget.panel.case_changed(case)
    until(lambda: len(user.listed) == 1)
    assert user.logic.review.current == 2, "the only one of the new list"
    frame = user.core.scene.GetFirstNodeByClass("vtkMRMLMarkupsROINode")
    assert frame.GetDisplayNode().GetVisibility()


def test_the_measure_becomes_that_of_more_members_unless_the_user_chose(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case", measure="entropy", threshold=0.8)
    arrive(user, case)
    assert (user.node.measure, user.node.threshold) == ("entropy", 0.8)
    case.update_record({**case.record, "measure": "variance", "threshold": 0.25})
    user.widget.panel.case_changed(case)
    until(lambda: user.node.measure == "variance")
    assert user.node.threshold == 0.25
    until(lambda: view.GetForegroundVolumeID() == case.uncertainty["variance"].node.GetID())

    other = make_case(user, ct, "other", measure="entropy", threshold=0.8)
    arrive(user, other)
    user.node.threshold = 0.6  # the user's own
    other.update_record({**other.record, "measure": "variance", "threshold": 0.25})
    user.widget.panel.case_changed(other)
    user.widget.panel.update()
    assert (user.node.measure, user.node.threshold) == ("entropy", 0.6)


def test_a_measure_that_the_user_chooses_comes_with_its_threshold(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    arrive(user, make_case(user, ct, "case", measure="variance", threshold=0.25))
    user.ui.viewMenuButton.click()
    menu = user.widget.panel.review.view_menu
    next(entry for entry in menu.actions() if entry.text == "entropy").trigger()
    menu.close()
    assert (user.node.measure, user.node.threshold) == ("entropy", 0.8)


def test_a_preview_says_what_it_is_and_offers_nothing(user: User, view: Any, tmp_path: Any) -> None:
    from activeseg.core.errors import InputError
    from ActiveSegModuleLib.logic.exporting import ExportChoice

    ct = load_ct(user, "CT")
    preview = make_case(user, ct, "preview", preview=True)
    user.node.dataset = str(tmp_path / "Dataset801_Test")
    arrive(user, preview)
    until(lambda: "preview" in user.ui.caseLabel.text)
    for button in (user.ui.editButton, user.ui.exportButton, user.ui.summaryButton, user.ui.focusApplyButton):
        assert not button.enabled
    assert not user.ui.editingFace.enabled
    choice = ExportChoice(tmp_path / "Dataset801_Test")
    with pytest.raises(InputError, match="quick preview"):
        user.logic.exporting.export(preview, choice, print, print)


def test_a_foreign_segmentation_is_named_and_another_can_be_chosen(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case")
    arrive(user, case)
    foreign = user.core.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn by hand")
    user.ui.caseSelector.setCurrentNode(foreign)
    until(lambda: user.case is None and "'drawn by hand' was not made by ActiveSeg" in user.ui.caseLabel.text)
    assert user.ui.reviewPage.enabled, "else nothing else can be chosen"
    user.ui.caseSelector.setCurrentNode(case.node)
    until(lambda: user.case == case)
    assert user.ui.caseLabel.text == ""


def test_a_case_of_a_dataset_says_why_its_table_is_empty_and_can_be_edited(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case", origin={"dataset": "/data/Dataset801_X", "case": "CT_0007"})
    arrive(user, case)
    until(lambda: "'CT_0007' comes from a dataset" in user.ui.caseLabel.text)
    assert user.ui.editButton.enabled
    user.ui.editButton.click()
    assert user.widget.panel.editing.is_open
    assert user.widget.panel.editing.editor.segmentationNode() is case.node


def test_a_case_that_is_open_is_not_opened_twice(user: User, view: Any) -> None:
    from pathlib import Path

    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case", origin={"dataset": "/data/Dataset801_X", "case": "CT_0007"})
    opened: list[Any] = []
    user.logic.exporting.open_case(Path("/data/Dataset801_X"), "CT_0007", opened.append, pytest.fail)
    assert opened == [case]


def test_a_ct_that_was_deleted_and_is_loaded_again_is_taken(user: User, view: Any) -> None:
    ct = load_ct(user, "CT", value=7)
    case = make_case(user, ct, "case")
    arrive(user, case)
    user.core.scene.RemoveNode(ct)
    until(lambda: "no longer in the scene" in user.ui.caseLabel.text)
    assert not user.ui.editButton.enabled
    other = load_ct(user, "another CT", value=8)
    until(lambda: user.node.ct is other and user.case is None)
    again = load_ct(user, "CT again", value=7)
    user.node.ct = again
    until(lambda: user.case == case)
    assert case.ct_node is again
    assert "belong together again" in user.widget.panel.message.text
    assert user.ui.caseLabel.text == ""


def test_frame_and_heat_map_follow_a_ct_that_is_put_under_a_transform(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case")
    arrive(user, case)
    frame = user.core.scene.GetFirstNodeByClass("vtkMRMLMarkupsROINode")
    ct.SetAndObserveTransformNodeID(user.core.add_transform(np.diag([-1.0, -1.0, 1.0, 1.0])).GetID())
    moved = [frame, case.node, *(volume.node for volume in case.uncertainty.values())]
    until(lambda: {node.GetTransformNodeID() for node in moved} == {ct.GetTransformNodeID()})


def test_deleting_a_segmentation_leaves_no_foreground_over_the_ct(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case")
    arrive(user, case)
    until(lambda: view.GetForegroundVolumeID() is not None)
    user.core.scene.RemoveNode(case.node)
    assert view.GetForegroundVolumeID() is None
    assert view.GetForegroundOpacity() == 0
    until(lambda: user.core.scene.GetNumberOfNodesByClass("vtkMRMLTextNode") == 0)


def test_a_view_that_turns_to_what_was_predicted_is_put_right(user: User, view: Any) -> None:
    """So Slicer's views did when a label map was loaded and removed."""
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case")
    arrive(user, case)
    label_map = user.core.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "somebody's")
    view.SetLabelVolumeID(label_map.GetID())
    user.core.scene.RemoveNode(label_map)
    view.SetLabelVolumeID(case.original_node.GetID())
    until(lambda: view.GetLabelVolumeID() is None)


def editor_of(user: User) -> Any:
    user.ui.editButton.click()
    return user.widget.panel.editing.editor


EVERYWHERE = (slice(None), slice(None), slice(None))


def test_next_chooses_the_regions_structure_and_a_confined_stroke_lands_there(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case")
    arrive(user, case)
    editor = editor_of(user)
    named: Callable[[str], Any] = lambda name: case.segmentation.segment_id(case.schema.named(name))  # noqa: E731
    assert editor.currentSegmentID() == named("liver")
    user.ui.confineCheckBox.checked = True
    until(lambda: editor.sourceVolumeNode() is not ct)
    stroke(editor, case, EVERYWHERE)
    user.ui.nextButton.click()
    assert editor.currentSegmentID() == named("kidney_right")
    editor.setCurrentSegmentID(named("spleen"))
    stroke(editor, case, EVERYWHERE)
    until(lambda: user.states() == ["corrected", "corrected"])
    expected = boxes()
    expected[4:12, 5:18, 0:14] = 1
    expected[13:20, 5:15, 20:36] = 4
    assert (case.read_back().labels == expected).all()


def test_a_structure_without_a_segment_gets_one_and_is_not_painted_into_the_one_before(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case")
    arrive(user, case)
    editor = editor_of(user)
    case.node.GetSegmentation().RemoveSegment(case.segmentation.segment_id(case.schema.named("kidney_right")))
    user.ui.nextButton.click()
    chosen = case.segmentation.segment_id(case.schema.named("kidney_right"))
    assert chosen
    assert editor.currentSegmentID() == chosen
    assert case.segmentation.empty_segments() == (chosen,)


def test_undo_after_edits_in_another_module_takes_back_only_what_came_after_them(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case")
    arrive(user, case)
    editor = editor_of(user)
    stroke(editor, case, (slice(5, 6), slice(15, 17), slice(3, 6)))
    user.module.exit()
    user.paint(case, "aorta", ((0, 2), (0, 2), (0, 2)))  # the Segment Editor's own module
    user.module.enter()
    before = case.read_back().labels.copy()
    user.ui.undoButton.click()
    assert (case.read_back().labels == before).all(), "both would have been lost in one step"
    stroke(editor, case, (slice(8, 9), slice(15, 17), slice(3, 6)))
    user.ui.undoButton.click()
    assert (case.read_back().labels == before).all()


def test_all_ticks_only_what_the_search_shows(user: User) -> None:
    """With the demo model's list, as the engine tells it."""
    from ActiveSegModuleLib.logic.models import Model

    names = ("kidney_left", "kidney_right", "liver")
    user.logic.models.offer(Model("demo", "demo", "Demo", "CT", names, "ready"))
    user.node.model = "demo"
    user.widget.panel.models.show_list()
    user.ui.structureNoneButton.click()
    assert user.node.structures == "-"
    user.ui.structureSearch.text = "kid"
    user.ui.structureAllButton.click()
    assert user.node.structures == "kidney_left\nkidney_right"
    user.ui.structureSearch.text = "liv"
    user.ui.structureAllButton.click()
    assert user.node.structures == "", "all of them"


def test_the_model_that_was_chosen_last_is_chosen_in_the_next_scene_and_after_a_restart(user: User) -> None:
    from ActiveSegModuleLib.logic.models import Model

    models = user.logic.models
    for name in ("totalsegmentator:total-fast", "demo"):
        models.offer(Model(name, name.partition(":")[0], name, "CT", ("liver",), "ready"))
    user.widget.panel.models.show_list()
    assert user.node.model == "totalsegmentator:total-fast"
    user.choose_model("demo")
    user.core.scene.Clear(0)
    until(lambda: user.node is not None and user.node.model == "demo")

    later = "project:/data/mine"  # listed only when its project has been read
    user.widget.panel.settings.setValue("ActiveSeg/model", later)
    user.core.scene.Clear(0)
    until(lambda: user.node is not None and user.node.model == "totalsegmentator:total-fast")
    models.offer(Model(later, "project", "mine", "CT", ("liver",), "ready"))
    user.widget.panel.models.show_list()
    assert user.node.model == later


def test_a_segmentation_whose_ct_is_gone_is_not_shown_over_another_patient(two: Any, user: User, view: Any) -> None:
    first_ct, first, second_ct, _ = two
    user.core.scene.RemoveNode(first_ct)
    user.ui.caseSelector.setCurrentNode(first.node)
    until(lambda: user.case == first)
    assert user.node.ct is second_ct
    assert view.GetBackgroundVolumeID() == second_ct.GetID()
    assert visible(user) == set()
    assert "no longer in the scene" in user.ui.caseLabel.text
    again = load_ct(user, "One again")
    until(lambda: user.node.ct is again and visible(user) == {"one"})
    assert view.GetBackgroundVolumeID() == again.GetID()


def test_deleting_a_clone_leaves_the_other_what_both_refer_to(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case")
    arrive(user, case)
    clone = slicer.vtkMRMLSegmentationNode()
    clone.Copy(case.node)
    clone = user.core.scene.AddNode(clone)
    until(lambda: visible(user) == {"case"})
    user.core.scene.RemoveNode(clone)
    user.widget.panel.update()
    pump()
    assert case.original_node is not None
    assert len(case.regions.regions) == 2
    assert set(case.uncertainty) == {"variance", "entropy"}
    user.core.scene.RemoveNode(case.node)
    until(lambda: user.core.scene.GetNumberOfNodesByClass("vtkMRMLTextNode") == 0)


def test_a_stroke_belongs_to_its_case_even_when_the_user_turns_away_at_once(two: Any, user: User, view: Any) -> None:
    _, first, _, second = two
    user.ui.caseSelector.setCurrentNode(first.node)
    until(lambda: user.case == first)
    told: list[Any] = []
    user.widget.panel.keeping.edited = told.append
    user.paint(first, "liver", ((5, 6), (15, 17), (3, 6)))
    user.node.segmentation = second.node
    until(lambda: user.case == second)
    assert told == [first]
    assert "corrected" in {str(state) for state in first.regions.states().values()}


def test_the_patient_that_was_typed_stays_with_the_case_that_it_was_typed_for(two: Any, user: User, view: Any) -> None:
    _, first, _, second = two
    user.ui.patientEdit.text = "P-2"  # and no Return
    user.node.segmentation = first.node
    until(lambda: user.case == first)
    assert (first.patient, second.patient) == ("", "P-2")


def test_what_an_unknown_segment_is_must_be_said_for_each_case(two: Any, user: User, view: Any) -> None:
    """Slicer calls the first segment that is added Segment_1, in each of them."""
    from activeseg.core.errors import InputError

    _, first, _, second = two

    def unclear(*_: Any) -> None:
        raise InputError("It is not clear which structures these segments are.", cause="unclear")

    user.logic.exporting.export = unclear
    user.node.dataset = "/nowhere/Dataset801_X"

    def export() -> None:
        user.widget.panel.exporting.start(True)
        until(lambda: not user.widget.panel.exporting.busy)

    second.node.GetSegmentation().AddEmptySegment("Segment_1", "tumour")
    export()
    table = user.ui.unclearTable
    table.cellWidget(0, 1).setCurrentIndex(table.cellWidget(0, 1).findData("liver"))
    user.node.segmentation = first.node
    until(lambda: user.case == first)
    first.node.GetSegmentation().AddEmptySegment("Segment_1", "cyst")
    export()
    assert table.item(0, 0).text() == "cyst"
    assert table.cellWidget(0, 1).currentData == ""


@pytest.fixture
def kept(user: User, monkeypatch: pytest.MonkeyPatch) -> Kept:
    return held(user, monkeypatch)


def test_each_edited_case_gets_its_draft_however_long_another_one_takes(two: Any, user: User, kept: Kept) -> None:
    _, first, _, second = two
    keeping = user.widget.panel.keeping
    keeping.edited(first)
    keeping.save()
    keeping.edited(first)  # while it is being saved
    keeping.edited(second)
    assert kept.names == ["one"]
    kept.answer()
    kept.answer()
    assert sorted(kept.names) == ["one", "one", "two"]


def test_a_case_whose_draft_failed_is_tried_again_beside_another(two: Any, user: User, kept: Kept) -> None:
    from activeseg.core.errors import InputError

    _, first, _, second = two
    keeping = user.widget.panel.keeping
    keeping.edited(first)
    keeping.save()
    keeping.edited(second)
    kept.fail(InputError("The disk is full."))
    keeping.save()
    kept.answer()
    keeping.save()
    assert sorted(kept.names) == ["one", "one", "two"]


def test_an_export_makes_no_draft_superfluous_but_its_own(two: Any, user: User, kept: Kept) -> None:
    """And not even that, when the case was edited after the button was pressed."""
    _, first, _, _ = two
    keeping = user.widget.panel.keeping
    exporting = user.widget.panel.exporting
    ends: list[Any] = []
    user.logic.exporting.export = lambda case, choice, done, *_: ends.append(done)
    user.node.dataset = "/nowhere/Dataset801_X"
    from pathlib import Path

    from ActiveSegModuleLib.logic.exporting import Export

    def export() -> None:
        exporting.start(True)
        until(lambda: ends)

    export()
    user.node.segmentation = first.node
    until(lambda: user.case == first)
    keeping.edited(first)
    keeping.after_edit.stop()
    ends.pop()(Export(Path("/nowhere/Dataset801_X"), "CT_0001", ()))
    keeping.save()
    assert kept.names == ["one"], "the other case was edited meanwhile"
    kept.answer()

    export()
    keeping.edited(first)
    keeping.after_edit.stop()
    ends.pop()(Export(Path("/nowhere/Dataset801_X"), "CT_0002", ()))
    keeping.save()
    assert kept.names == ["one", "one"], "it was edited after the export began"
    kept.answer()

    keeping.edited(first)
    export()
    ends.pop()(Export(Path("/nowhere/Dataset801_X"), "CT_0003", ()))
    keeping.save()
    assert kept.names == ["one", "one"], "all of it lies in the dataset"


def test_an_edit_just_before_the_scene_is_closed_is_in_the_draft(two: Any, user: User, kept: Kept) -> None:
    _, _, _, second = two
    user.paint(second, "liver", ((4, 8), (5, 9), (2, 6)))
    user.core.scene.Clear(0)
    assert kept.names == ["two"]


def test_what_comes_while_another_module_is_shown_is_there_on_coming_back(two: Any, user: User, kept: Kept) -> None:
    """An opened case, a draft, the end of an export."""
    from pathlib import Path

    from activeseg.core.errors import InputError
    from ActiveSegModuleLib.logic.exporting import Export

    _, first, _, _ = two
    user.module.exit()
    user.widget.panel.exporting.cases.opened(first)
    user.widget.panel.exporting.done(Export(Path("/nowhere/Dataset801_X"), "CT_0001", ()), None)
    user.widget.panel.exporting.failed(InputError("The disk is full."))
    assert visible(user) == {"one"}
    user.module.enter()
    until(lambda: user.case == first)
    assert user.node.dataset == "/nowhere/Dataset801_X"


def test_a_draft_that_comes_after_later_was_pressed_leaves_the_next_one_offered(user: User, view: Any) -> None:
    from types import SimpleNamespace

    bar = user.widget.panel.drafts
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case")
    bar.left = [SimpleNamespace(id=case.id), SimpleNamespace(id="next")]
    bar.update = lambda: None  # they are no drafts that could be shown
    user.logic.drafts.open = lambda *_: None
    user.ui.draftOpenButton.click()
    user.ui.draftLaterButton.click()
    bar.opened(case)
    assert [draft.id for draft in bar.left] == ["next"]


def test_choosing_no_ct_leaves_nothing_to_review(two: Any, user: User, view: Any) -> None:
    user.ui.ctSelector.setCurrentNode(None)
    until(lambda: user.case is None)
    assert user.node.segmentation is None
    assert visible(user) == set()


def test_a_case_that_arrived_elsewhere_and_lost_its_ct_keeps_nobody_out(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case")
    user.module.exit()
    user.widget.panel.case_changed(case)
    user.core.scene.RemoveNode(ct)
    user.module.enter()
    until(lambda: "no longer in the scene" in user.ui.caseLabel.text)
    assert visible(user) == set()


def test_two_choices_in_one_turn_show_the_second_alone(two: Any, user: User, view: Any) -> None:
    _, first, _, second = two
    user.widget.panel.choose(first)
    user.node.segmentation = second.node
    until(lambda: user.case == second and visible(user) == {"two"})


def test_a_segmentation_that_is_edited_on_another_volumes_grid_still_belongs_to_its_ct(
    user: User, view: Any, tmp_path: Any
) -> None:
    """Specify geometry, in the Segment Editor, lets a segmentation refer to any volume."""
    ct = load_ct(user, "CT")
    arrive(user, make_case(user, ct, "case"))
    finer = Geometry((20, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    user.case.node.SetReferenceImageGeometryParameterFromVolumeNode(load_ct(user, "part of it", finer))
    user.widget.panel.update()
    assert user.case.ct_node is ct
    assert (user.case.read_back().labels == boxes()).all()
    user.core.save(tmp_path / "scene.mrb")
    user.core.load(tmp_path / "scene.mrb")
    until(lambda: user.case is not None)
    assert user.case.ct_node.GetName() == "CT"
    user.core.scene.RemoveNode(user.case.ct_node)
    assert not user.case.has_ct


def test_a_map_that_comes_after_its_ct_was_removed_breaks_nothing(user: User, view: Any) -> None:
    ct = load_ct(user, "CT")
    case = make_case(user, ct, "case")
    arrive(user, case)
    user.core.scene.RemoveNode(ct)
    late = Volume(np.full(PLAIN.shape_kji, 0.5, np.float32), PLAIN)
    user.logic.segmenting.add_uncertainty(case, "mutual_information", late, True)
    assert set(case.uncertainty) == {"variance", "entropy"}


def test_what_would_be_written_of_one_case_is_not_told_of_another(two: Any, user: User, kept: Kept) -> None:
    from pathlib import Path

    from activeseg.core.errors import InputError
    from ActiveSegModuleLib.logic.exporting import Export

    _, first, _, second = two
    exporting, browser = user.widget.panel.exporting, user.ui.summaryBrowser
    ends: list[Any] = []
    user.logic.exporting.export = user.logic.exporting.summarise = lambda *given: ends.append(given)
    user.node.dataset = "/nowhere/Dataset801_X"

    def start(store: bool) -> Any:
        exporting.start(store)
        until(lambda: ends)
        return ends.pop()

    def shown() -> bool:
        pump()
        return "about " in browser.plainText

    _case, _choice, done, failed, _progress = start(False)
    user.node.segmentation = first.node
    until(lambda: user.case == first)
    done(Export(Path("/nowhere/Dataset801_X"), "", ("about two",)))
    assert not shown()
    assert not exporting.busy

    _case, _choice, done, failed, _progress = start(False)
    user.widget.panel.case_changed_by_user()
    done(Export(Path("/nowhere/Dataset801_X"), "", ("about one before the edit",)))
    assert not shown()

    _case, _choice, done, failed, _progress = start(True)
    user.node.segmentation = second.node
    until(lambda: user.case == second)
    done(Export(Path("/nowhere/Dataset801_X"), "CT_0001", ("about one",)))
    assert not shown()
    assert user.widget.panel.message.text == "one: Stored as CT_0001 in Dataset801_X"

    _case, _choice, done, failed, _progress = start(False)
    second.node.GetSegmentation().AddEmptySegment("Segment_1", "tumour")
    user.node.segmentation = first.node
    until(lambda: user.case == first)
    failed(InputError("It is not clear which structures these segments are.", cause="unclear"))
    assert not user.ui.unclearFrame.isVisibleTo(user.ui.exportPage)


def test_after_a_scene_the_panel_is_where_the_next_one_begins(user: User, view: Any, tmp_path: Any) -> None:
    from ActiveSegModuleLib.panel.steps import Step

    steps, message = user.widget.panel.steps, user.widget.panel.message
    ct = load_ct(user, "CT")
    arrive(user, make_case(user, ct, "case"))
    assert steps.current is Step.REVIEW
    user.core.save(tmp_path / "scene.mrb")
    message.notice("Segmented: 2 regions to review.")
    user.core.scene.Clear(0)
    pump()
    assert (steps.current, message.text) == (Step.SEGMENT, "")
    user.core.load(tmp_path / "scene.mrb")
    until(lambda: user.case is not None)
    pump()
    assert steps.current is Step.REVIEW

"""The panel as users work with it, and what happens to it in the middle of their work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import slicer
from conftest import ENGINE_PYTHON, ROOT
from kept_answers import KeptAnswers
from processes import all_gone
from PySide6 import QtCore
from pythonqt import FileDialog
from slicer_stand_in import LoadedModule
from user import User, until

from activeseg.core.errors import InputError
from activeseg.io import npy

MODULE = ROOT / "ActiveSegModule" / "ActiveSegModule.py"


@pytest.fixture
def user(panel: LoadedModule, slicer_core: Any, kept: KeptAnswers) -> User:
    return User(panel, slicer_core, kept)


def composites(core: Any) -> Any:
    return core.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")


def cases_of(user: User) -> list[Any]:
    from ActiveSegModuleLib.scene.case import Case

    return Case.all_in(user.core.scene)


def test_the_loaded_ct_is_chosen_already(user: User) -> None:
    ct = user.load_ct()
    assert user.node.ct is ct
    assert user.ui.ctSelector.currentNode() is ct


def test_models_are_grouped_with_a_line_of_help(user: User) -> None:
    user.load_ct()
    user.choose_demo()
    tree = user.ui.modelTree
    groups = [tree.topLevelItem(number).text(0) for number in range(tree.topLevelItemCount)]
    assert groups == ["Whole body", "Organs", "Demonstration"]
    until(lambda: user.chosen_model == "demo")
    assert "11 structures" in user.ui.modelHelpLabel.text


def test_a_folder_that_nnunet_trained_can_be_added(user: User) -> None:
    user.load_ct()
    user.choose_demo()
    folder = ROOT / "ActiveSegExtension" / "activeseg" / "resources" / "demo_model"
    FileDialog.answer = str(folder)
    user.ui.modelAddButton.click()
    until(lambda: user.node.model == f"nnunet:{folder}")
    until(lambda: user.chosen_model == f"nnunet:{folder}")
    assert "liver" in user.widget.panel.segmenting.model.structures


def test_structures_are_found_by_words_and_kept_in_the_scene(user: User) -> None:
    user.load_ct()
    user.choose_demo()
    user.ui.structureSearch.text = "left kid"
    rows = [user.ui.structureList.item(row) for row in range(user.ui.structureList.count)]
    assert [item.text() for item in rows if not item.isHidden()] == ["kidney left"]
    user.ui.structureSearch.text = ""  # None and All go for what is shown
    user.ui.structureNoneButton.click()
    next(item for item in rows if item.text() == "liver").setCheckState(slicer_checked())
    assert user.node.structures == "liver"
    until(lambda: user.ui.structureCountLabel.text == "1 of 11")


def slicer_checked() -> Any:
    import qt

    return qt.Qt.Checked


def test_only_ticked_structures_are_segmented(user: User) -> None:
    user.load_ct()
    user.choose_demo("1")
    user.node.structures = "liver\nspleen"
    case = user.segment("1")
    assert set(case.decided) == {"liver", "spleen"}


def test_after_segmenting_the_worst_region_is_listed_first(user: User) -> None:
    user.load_ct()
    case = user.segment()
    assert user.listed == [region.number for region in case.regions.regions]
    scores = [region.score for region in case.regions.regions]
    assert scores == sorted(scores, reverse=True)
    assert user.ui.reviewedLabel.text == f"0 of {len(scores)} decided"
    assert user.widget.panel.steps.current.value == "review"


def test_uncertainty_is_coloured_over_the_ct_and_can_be_switched_and_hidden(user: User) -> None:
    view = composites(user.core)
    ct = user.load_ct()
    case = user.segment()
    until(lambda: view.GetForegroundVolumeID() is not None)
    maps = case.uncertainty
    assert view.GetBackgroundVolumeID() == ct.GetID()
    assert view.GetForegroundVolumeID() == maps[user.node.measure].node.GetID()
    other = next(measure for measure in maps if measure != user.node.measure)
    user.node.measure = other
    until(lambda: view.GetForegroundVolumeID() == maps[other].node.GetID())
    user.node.threshold, user.node.opacity = 0.5, 0.3
    until(lambda: view.GetForegroundOpacity() == pytest.approx(0.3))
    assert maps[other].threshold == pytest.approx(0.5)
    user.ui.heatMapButton.click()
    until(lambda: view.GetForegroundVolumeID() is None)
    assert view.GetBackgroundVolumeID() == ct.GetID()


def test_uncertainty_maps_are_not_offered_as_cts(user: User) -> None:
    user.load_ct()
    case = user.segment()
    until(lambda: len(case.uncertainty) == 3)
    until(lambda: user.ui.ctSelector.sortFilterProxyModel().hiddenNodeIDs)
    hidden = user.ui.ctSelector.sortFilterProxyModel().hiddenNodeIDs
    assert {volume.node.GetID() for volume in case.uncertainty.values()} <= set(hidden)


def test_next_and_previous_have_keys(user: User) -> None:
    assert user.ui.nextButton.shortcut.toString() == "N"
    assert user.ui.previousButton.shortcut.toString() == "Shift+N"


def test_accepting_goes_on_to_the_next_open_region_and_saves_a_draft(user: User) -> None:
    user.load_ct()
    case = user.segment()
    until(lambda: user.logic.review.current == 1)
    user.ui.acceptButton.click()
    assert user.states()[0] == "accepted"
    assert user.logic.review.current == 2
    until(lambda: user.draft_of(case).get("has_edits"))


def test_editing_in_another_module_marks_the_region(user: User) -> None:
    user.load_ct()
    case = user.segment()
    region = case.regions.regions[0]
    until(lambda: user.logic.review.current == 1)
    user.paint(case, "aorta", region.box_kji)
    until(lambda: user.states()[0] == "corrected")
    assert user.row(1)["State"] == "corrected"


def test_edits_can_be_confined_to_the_region(user: User) -> None:
    user.load_ct()
    case = user.segment()
    user.ui.nextButton.click()
    user.ui.editButton.click()
    editor = user.widget.panel.editing.editor
    assert editor.sourceVolumeNode() is case.ct_node
    user.ui.confineCheckBox.checked = True
    until(lambda: editor.sourceVolumeNode() is not case.ct_node)
    assert editor.mrmlSegmentEditorNode().GetSourceVolumeIntensityMask()
    user.ui.confineCheckBox.checked = False
    until(lambda: editor.sourceVolumeNode() is case.ct_node)
    assert not editor.mrmlSegmentEditorNode().GetSourceVolumeIntensityMask()


def test_regions_are_listed_anew_for_focus_structures(user: User) -> None:
    user.load_ct()
    user.choose_demo()
    user.press_segment()
    until(lambda: user.logic.segmenting.running is None and user.case is not None)
    case = user.case
    user.node.focus = "liver"
    until(lambda: user.ui.focusCountLabel.text == "1 ticked")
    user.ui.focusApplyButton.click()
    until(lambda: user.ui.focusApplyButton.enabled)
    count = len(case.regions.regions)
    assert count
    assert user.widget.panel.message.text == f"{count} regions to review in liver."
    assert not user.widget.panel.review.focus.is_open
    assert all("liver" in region.structures for region in case.regions.regions)


def test_progress_can_be_seen_and_cancelled(user: User) -> None:
    user.load_ct()
    user.choose_demo("4")
    user.press_segment()
    user.reach("network")
    assert "Segmenting" in user.ui.stageLabel.text
    user.ui.cancelButton.click()
    until(lambda: user.ui.segmentButton.enabled)
    assert cases_of(user) == []
    assert user.widget.panel.message.text == ""


def test_an_engine_that_crashes_is_one_message_with_a_button_that_tries_again(user: User) -> None:
    user.load_ct()
    user.choose_demo("4")
    user.press_segment()
    user.reach("network")
    psutil.Process(user.logic.engine.engine["pid"]).kill()
    until(lambda: user.widget.panel.message.text)
    assert "ended unexpectedly" in user.widget.panel.message.text
    assert user.ui.messageActionButton.text == "Try again"
    user.ui.messageActionButton.click()
    until(lambda: user.case is not None)
    until(lambda: user.logic.segmenting.running is None)
    assert user.widget.panel.message.text.startswith("Segmented: ")


def test_a_scene_that_is_closed_while_its_ct_is_segmented_costs_nothing(user: User) -> None:
    user.load_ct()
    user.choose_demo("4")
    user.press_segment()
    user.reach("network")
    user.core.scene.Clear(False)
    until(lambda: user.logic.segmenting.running is None)
    assert "removed from the scene while it was segmented. The result is kept" in user.widget.panel.message.text
    assert cases_of(user) == []
    user.ui.messageActionButton.click()
    until(lambda: user.case is not None)
    assert user.case.ct_node.GetName() == "Phantom"
    assert user.node.ct is user.case.ct_node
    assert user.case.regions.regions
    assert user.widget.panel.steps.current.value == "review"


def test_a_ct_that_is_loaded_again_while_it_is_segmented_gets_its_segmentation(user: User) -> None:
    user.load_ct()
    user.choose_demo("4")
    user.press_segment()
    user.reach("network")
    user.core.scene.Clear(False)
    again = user.load_ct()
    until(lambda: user.case is not None)
    assert user.case.ct_node is again
    until(lambda: user.logic.segmenting.running is None)
    assert user.widget.panel.message.text.startswith("Segmented: ")


def test_deleting_the_segmentation_takes_along_what_belongs_to_it(user: User) -> None:
    ct = user.load_ct()
    case = user.segment()
    until(lambda: len(case.uncertainty) == 3)
    user.ui.nextButton.click()
    user.core.scene.RemoveNode(case.node)
    until(lambda: user.core.scene.GetNumberOfNodesByClass("vtkMRMLTextNode") == 0)
    volumes = user.core.scene.GetNodesByClass("vtkMRMLScalarVolumeNode")
    volumes.UnRegister(None)
    assert [volumes.GetItemAsObject(n) for n in range(volumes.GetNumberOfItems())] == [ct]
    until(lambda: not user.ui.reviewPage.enabled)
    assert user.case is None


def test_a_renamed_segmentation_goes_on(user: User) -> None:
    user.load_ct()
    case = user.segment()
    case.node.SetName("liver | of Mr. X")
    until(lambda: user.logic.review.current == 1)
    user.ui.acceptButton.click()
    assert user.states()[0] == "accepted"


def test_removing_the_ct_in_the_middle_is_told_once(user: User) -> None:
    ct = user.load_ct()
    user.choose_demo("4")
    user.press_segment()
    user.reach("network")
    user.core.scene.RemoveNode(ct)
    until(lambda: user.logic.segmenting.running is None)
    assert "removed from the scene while it was segmented" in user.widget.panel.message.text
    assert user.ui.messageActionButton.text == "Open the result"
    assert cases_of(user) == []


def test_removing_the_ct_of_a_case_is_told_and_nothing_breaks(user: User) -> None:
    ct = user.load_ct()
    user.segment()
    user.ui.editButton.click()  # so that there is an editor
    user.widget.panel.editing.open()
    user.widget.panel.update()
    user.core.scene.RemoveNode(ct)
    user.ui.nextButton.click()
    assert "no longer in the scene" in user.widget.panel.message.text
    user.widget.panel.update()
    user.widget.panel.segmentation_edited()
    user.widget.exit()
    user.widget.enter()
    assert not user.ui.editingFace.enabled


def test_two_cases_live_side_by_side(user: User) -> None:
    first_ct = user.load_ct(12, "One")
    first = user.segment("1")
    second_ct = user.load_ct(13, "Two")
    user.node.ct = second_ct
    user.press_segment()
    until(lambda: user.case is not None and user.case != first and user.logic.segmenting.running is None)
    second = user.case
    assert second.ct_node is second_ct
    until(lambda: user.listed and user.logic.review.current == 1)
    user.ui.skipButton.click()
    user.ui.caseSelector.setCurrentNode(first.node)
    until(lambda: user.case == first)
    assert user.case.ct_node is first_ct
    assert set(user.states()) == {"open"}
    user.ui.caseSelector.setCurrentNode(second.node)
    until(lambda: user.case == second)
    assert user.states()[0] == "skipped"


def test_leaving_and_coming_back_keeps_everything(user: User) -> None:
    user.load_ct()
    case = user.segment()
    user.ui.editButton.click()
    user.module.exit()
    assert user.node is None
    user.module.enter()
    until(lambda: user.case == case)
    assert len(user.listed) == len(case.regions.regions)


def test_reloading_the_module_in_the_middle_of_a_job_leaves_no_process(
    user: User, slicer_core: Any, kept: KeptAnswers
) -> None:
    user.load_ct()
    user.choose_demo("4")
    user.press_segment()
    user.reach("network")
    engine = psutil.Process(user.logic.engine.engine["pid"])
    processes = [engine, *engine.children(recursive=True)]
    user.widget.cleanup()
    until(lambda: all_gone(processes))
    again = LoadedModule(MODULE)
    try:
        again.enter()
        successor = User(again, slicer_core, kept)
        assert successor.segment("1") is not None
    finally:
        again.close()
        user.widget.cleanup = lambda: None
        user.module.parent.isEntered = False


def test_corrections_after_a_crash_are_offered_and_restored(user: User, slicer_core: Any) -> None:
    user.load_ct()
    case = user.segment()
    region = case.regions.regions[0]
    until(lambda: user.logic.review.current == 1)
    user.paint(case, "aorta", region.box_kji)
    until(lambda: user.states()[0] == "corrected")
    case.notes = "aorta was missed"
    user.ui.nextButton.click()
    user.ui.skipButton.click()
    edited, states, identity = case.read_back().labels.copy(), user.states(), case.id
    until(lambda: user.draft_of(case).get("state", {}).get("reviewed") == 2)

    slicer_core.scene.Clear(False)
    user.widget.panel.drafts.offer()  # as after a new start
    until(lambda: user.ui.draftFrame.isVisibleTo(user.ui.draftFrame.parent()))
    assert "Phantom" in user.ui.draftLabel.text
    assert "2 of" in user.ui.draftLabel.text
    user.ui.draftOpenButton.click()
    until(lambda: user.case is not None)
    assert user.case.id == identity
    assert (user.case.read_back().labels == edited).all()
    assert user.states() == states
    assert user.case.notes == "aorta was missed"


def test_a_discarded_draft_is_gone(user: User) -> None:
    user.load_ct()
    case = user.segment()
    user.ui.nextButton.click()
    user.ui.acceptButton.click()
    folder = user.logic.drafts.folder_of(case.id)
    until(lambda: user.draft_of(case).get("has_edits"))
    user.core.scene.Clear(False)
    user.widget.panel.drafts.offer()
    until(lambda: user.ui.draftFrame.isVisibleTo(user.ui.draftFrame.parent()))
    user.ui.draftDiscardButton.click()
    until(lambda: not folder.exists())


def test_what_will_be_written_is_told_and_nothing_is(user: User, tmp_path: Path) -> None:
    user.load_ct()
    case = user.segment()
    user.paint(case, "aorta", case.regions.regions[0].box_kji)
    dataset = tmp_path / "Dataset801_Test"
    user.node.dataset = str(dataset)
    until(lambda: user.ui.summaryButton.enabled)
    user.ui.summaryButton.click()
    until(lambda: user.ui.summaryButton.enabled)
    assert "'aorta'" in user.ui.summaryBrowser.plainText
    assert not dataset.exists()


def test_a_case_is_exported_listed_opened_again_and_updated(user: User, tmp_path: Path) -> None:
    user.load_ct()
    case = user.segment()
    user.paint(case, "aorta", case.regions.regions[0].box_kji)
    dataset = tmp_path / "Dataset801_Test"
    user.export(dataset)
    assert user.widget.panel.message.text == "Stored as CT_0001 in Dataset801_Test"
    until(lambda: user.ui.datasetTable.rowCount == 1)
    name = user.ui.datasetTable.item(0, 0).text()
    assert not user.logic.drafts.folder_of(case.id).exists()

    user.ui.datasetTable.selectRow(0)
    user.ui.caseOpenButton.click()
    until(lambda: user.case is not None and user.case != case)
    opened = user.case
    assert opened.origin is not None
    assert opened.origin["case"] == name
    box = ((2, 6), (2, 6), (2, 6))
    user.paint(opened, "spleen", box)
    user.export(dataset)
    assert user.widget.panel.message.text == "Stored as CT_0001 in Dataset801_Test"
    until(lambda: user.ui.datasetTable.rowCount == 1 and user.ui.datasetTable.item(0, 1).text() == "2")


def test_a_segment_that_nobody_knows_has_to_be_named_or_left_out(user: User, tmp_path: Path) -> None:
    user.load_ct()
    case = user.segment()
    user.add_segment(case, "something")
    dataset = tmp_path / "Dataset801_Test"
    user.export(dataset)
    assert "'something'" in user.widget.panel.message.text
    assert not dataset.exists()
    table = user.ui.unclearTable
    assert table.item(0, 0).text() == "something"
    selector = table.cellWidget(0, 1)
    selector.setCurrentIndex(selector.findData("-"))
    user.export(dataset)
    assert user.widget.panel.message.text.startswith("Stored as")
    assert (dataset / "dataset.json").is_file()


def test_a_script_needs_three_lines(user: User) -> None:
    ct = user.load_ct()
    logic = slicer.util.getModuleLogic("ActiveSegModule")
    node = logic.segment(ct, "demo", members=1)
    assert node.IsA("vtkMRMLSegmentationNode")
    assert node.GetSegmentation().GetNumberOfSegments() == 11


def test_a_script_gets_the_error(user: User) -> None:
    from activeseg.core.errors import ModelError

    ct = user.load_ct()
    with pytest.raises(ModelError, match="no model 'nonsense'"):
        slicer.util.getModuleLogic("ActiveSegModule").segment(ct, "nonsense")


@pytest.fixture
def without_engine(slicer_core: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    monkeypatch.delenv(ENGINE_PYTHON, raising=False)
    module = LoadedModule(MODULE)
    module.enter()
    yield User(module, slicer_core)
    module.close()


def test_without_an_engine_the_panel_says_how_to_get_one(without_engine: User) -> None:
    user = without_engine
    user.load_ct()
    assert "not installed" in user.ui.engineStateLabel.text
    assert user.ui.pages.currentWidget() == user.ui.setupPage
    assert not user.ui.segmentButton.enabled
    assert user.ui.setupButton.enabled
    assert user.ui.setupButton.text == "Install"
    assert user.widget.panel.message.text == "", "the card says it all"


@pytest.mark.filterwarnings("error")
def test_a_module_that_goes_while_it_is_open_lets_go_of_what_it_observes(without_engine: User) -> None:
    user = without_engine
    user.load_ct()
    node = user.node
    user.widget.cleanup()
    assert user.node is None
    assert not node.parameterNode.HasObserver("ModifiedEvent")
    user.widget.cleanup = lambda: None
    user.module.parent.isEntered = False


def test_what_an_installation_needs_is_told_before_anything_is_done(without_engine: User) -> None:
    user = without_engine
    assert "GB to download" in user.ui.setupSizeLabel.text
    assert "free" not in user.ui.setupSizeLabel.text, "not looked up yet"
    until(lambda: not user.logic.installation.is_looking)
    assert "free" in user.ui.setupSizeLabel.text
    assert user.ui.setupFolderLabel.toolTip == str(user.logic.installation.folder)
    assert "min" in user.ui.setupTimeLabel.text
    assert "weights" in user.ui.setupWeightsLabel.text
    assert user.widget.panel.message.text == ""
    assert not user.logic.installation.folder.exists()


def test_a_python_that_does_not_suit_is_refused_in_words(without_engine: User) -> None:
    import sys

    user = without_engine
    FileDialog.answer = sys.executable
    user.ui.ownPythonButton.click()
    until(lambda: user.widget.panel.message.text)
    assert "does not suit" in user.widget.panel.message.text
    assert user.logic.installation.python is None


def test_the_users_own_python_is_used_and_forgotten(
    without_engine: User, engine_python: Path, monkeypatch: Any
) -> None:
    user = without_engine
    monkeypatch.delenv(ENGINE_PYTHON)
    FileDialog.answer = str(engine_python)
    user.ui.ownPythonButton.click()
    until(lambda: user.logic.installation.python is not None or user.widget.panel.message.text)
    assert user.widget.panel.message.text == ""
    until(lambda: user.logic.models.named("demo") is not None)
    assert "Your own Python" in user.ui.engineDetailsLabel.text
    user.ui.removeButton.click()
    until(lambda: user.logic.installation.python is None)
    assert engine_python.is_file()


def test_a_draft_on_its_way_when_the_module_closes_starts_no_engine_again(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npy, "PART_BYTES", 1 << 14)  # so that it is surely still on its way
    user.load_ct()
    user.segment()
    user.ui.nextButton.click()
    user.ui.acceptButton.click()
    user.widget.cleanup()
    for _ in range(100):
        QtCore.QCoreApplication.processEvents()
    assert not psutil.Process().children(recursive=True)
    user.widget.cleanup = lambda: None
    user.module.parent.isEntered = False


def test_a_result_that_arrives_while_another_module_is_shown_is_turned_to(user: User) -> None:
    ct = user.load_ct()
    user.choose_demo()
    user.press_segment()
    user.widget.exit()
    until(lambda: user.logic.segmenting.running is None)
    assert user.case is None
    user.widget.enter()
    assert user.node.segmentation is user.logic.segmenting.last_case.node
    until(lambda: user.case is not None)
    assert user.case.ct_node is ct


def test_turning_to_another_case_while_uncertainty_is_refined_lasts(user: User) -> None:
    user.load_ct()
    first = user.segment("1")
    user.press_segment()
    until(lambda: user.case is not None and user.case != first)
    second = user.case
    user.node.segmentation = first.node
    until(lambda: user.case == first)
    until(lambda: user.logic.segmenting.running is None)
    user.widget.panel.case_changed(second)
    user.widget.panel.update()
    assert user.case == first


def test_a_closed_scene_leaves_a_model_chosen(user: User) -> None:
    user.load_ct()
    user.choose_demo()
    user.core.scene.Clear(0)
    user.load_ct()
    until(lambda: user.ui.segmentButton.enabled)
    assert user.node.model


def test_an_edit_leaves_the_segmentation_under_its_ct(user: User) -> None:
    ct = user.load_ct()
    case = user.segment("1")
    user.paint(case, "liver", ((5, 9), (5, 9), (5, 9)))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(user.core.scene)
    below = hierarchy.GetItemByDataNode(ct)
    until(lambda: hierarchy.GetItemParent(hierarchy.GetItemByDataNode(case.node)) == below)


def test_the_threshold_that_was_chosen_stays_when_the_panel_is_left(user: User) -> None:
    user.load_ct()
    case = user.segment()
    until(lambda: case.uncertainty)
    user.node.threshold = 0.6
    user.node.measure = "entropy"
    user.widget.exit()
    user.logic.review.leave()
    user.widget.enter()
    assert user.case == case
    assert (user.node.threshold, user.node.measure) == (0.6, "entropy")


def test_a_draft_that_failed_is_tried_again(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.load_ct()
    user.segment("1")
    saved = []

    def save(case: Any, on_done: Any, on_error: Any) -> None:
        saved.append(case)
        on_error(InputError("The disk is full."))

    monkeypatch.setattr(user.logic.drafts, "save", save)
    user.ui.nextButton.click()
    user.ui.acceptButton.click()
    user.widget.panel.keeping.save()
    assert len(saved) == 2


def test_a_stroke_alone_is_in_the_draft_soon_and_at_once_when_the_region_changes(user: User) -> None:
    user.load_ct()
    case = user.segment("1")
    user.paint(case, "aorta", ((2, 5), (2, 5), (2, 5)))
    until(lambda: user.draft_of(case).get("has_edits"))
    user.paint(case, "liver", ((2, 5), (8, 11), (2, 5)))
    before = user.draft_of(case)["edits"]
    until(lambda: user.widget.panel.keeping.due)
    user.widget.panel.keeping.after_edit.stop()  # so that only the change of the region can be the reason
    user.ui.nextButton.click()
    until(lambda: user.draft_of(case).get("edits") not in (None, before))


def test_the_patient_stays_with_the_case_and_the_name_is_one_that_nnunet_can_have(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ActiveSegModuleLib.panel.steps import Step

    user.load_ct()
    case = user.segment("1")
    user.ui.patientEdit.text = "4711"
    user.ui.patientEdit.editingFinished.emit()
    user.node.segmentation = None
    until(lambda: user.case is None)
    assert user.ui.patientEdit.text == ""
    user.node.segmentation = case.node
    until(lambda: user.case == case)
    assert user.ui.patientEdit.text == "4711"

    asked, stages = [], []
    monkeypatch.setattr(user.widget.panel, "confirm", lambda question, _yes: asked.append(question) or len(asked) > 1)
    show = user.widget.panel.exporting.show_progress
    monkeypatch.setattr(
        user.widget.panel.exporting, "show_progress", lambda stage, part: (show(stage, part), stages.append(stage))
    )
    user.export(tmp_path / "Dataset802_Pr\u00fcfung")
    assert "'Dataset802_Prufung'" in asked[0]
    assert list(tmp_path.glob("Dataset*")) == [], "he has not agreed"
    user.ui.exportButton.click()
    until(lambda: user.ui.exportProgressFrame.isVisibleTo(user.ui.exportProgressFrame.parent()))
    until(lambda: user.ui.exportButton.enabled)
    assert user.node.dataset == str(tmp_path / "Dataset802_Prufung")
    assert not user.ui.exportProgressFrame.isVisibleTo(user.ui.exportProgressFrame.parent())
    assert {"draft", "hand over", "compare", "store"} <= set(stages)
    assert "Stored as CT_0001" in user.ui.summaryBrowser.plainText
    assert user.widget.panel.steps.state(Step.EXPORT).text == "stored"
    until(lambda: user.ui.datasetTable.rowCount == 1)
    for file in (tmp_path / "Dataset802_Prufung").rglob("*.json"):
        assert "4711" not in file.read_text("utf-8")

    user.paint(case, "aorta", ((2, 5), (2, 5), (2, 5)))
    until(lambda: "Stored as CT_0001" not in user.ui.summaryBrowser.plainText)
    assert user.widget.panel.steps.state(Step.EXPORT).text == "changed"
    user.core.save(tmp_path / "case.mrb")
    user.core.load(tmp_path / "case.mrb")
    (again,) = cases_of(user)
    assert again.patient == "4711"


def test_a_case_of_a_dataset_that_is_in_the_scene_is_not_opened_a_second_time(user: User, tmp_path: Path) -> None:
    user.load_ct()
    case = user.segment("1")
    user.export(tmp_path / "Dataset801_Test")
    until(lambda: user.ui.datasetTable.rowCount == 1)
    user.ui.datasetTable.selectRow(0)
    user.ui.caseOpenButton.click()
    until(lambda: user.case is not None and user.case != case)
    opened = user.case
    user.node.segmentation = case.node
    until(lambda: user.case == case)
    user.ui.caseOpenButton.click()
    until(lambda: user.case == opened)
    assert len(cases_of(user)) == 2

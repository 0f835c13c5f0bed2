"""The face *editing*: Slicer's Segment Editor in 421 pixels, with its region, a search, and how the work is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from held_drafts import Kept, held
from loaded_cases import load_ct, make_case, stroke
from pictures_checks import findings
from pictures_look import ROOMS, Theme, dress, grab, place
from PySide6 import QtCore, QtGui, QtWidgets
from slicer_stand_in import LoadedModule
from user import User, until

from activeseg.core.errors import EngineError, InputError


@pytest.fixture
def case(user: User) -> Any:
    """It is reviewed, and its first region is current."""
    made = make_case(user, load_ct(user, "CT"), "case")
    user.widget.panel.case_changed(made)
    until(lambda: user.case == made and user.logic.review.current == 1)
    return made


@pytest.mark.parametrize("theme", Theme)
def test_it_can_be_read_and_fits(application: Any, user: User, case: Any, tmp_path: Path, theme: Theme) -> None:
    dress(application, theme)
    user.ui.editButton.click()
    user.widget.panel.message.clear()
    wrong = {}
    for room in ROOMS:
        for effect in ("", "Paint", "Erase", "Draw", "Scissors", "Threshold"):
            user.widget.panel.editing.editor.setActiveEffectByName(effect)
            place(user.module.parent, room)
            grab(user.module.parent, tmp_path / f"{room.name}_{effect or 'none'}_{theme.value}.png")
            wrong[room.name, effect] = findings(user.module.parent, room)
    dress(application, Theme.LIGHT)
    assert {state: found for state, found in wrong.items() if found} == {}


@pytest.mark.parametrize("effect", ["Paint", "Erase"])
def test_at_least_four_segments_are_seen_while_one_paints(user: User, case: Any, effect: str) -> None:
    """Below the face lie the bars that it shares with the list, which take up to 60 pixels."""
    user.ui.editButton.click()
    user.widget.panel.message.clear()
    user.widget.panel.editing.editor.setActiveEffectByName(effect)
    place(user.module.parent, ROOMS[0])
    spare = int(user.ui.editingFace.height) + 60 - (ROOMS[0].height - 43 - 8)
    assert int(user.ui.segmentsFrame.height) - max(spare, 0) >= 4 * 22 + 4


# The editor and its keys.


@pytest.fixture
def editing(user: User, case: Any) -> Any:
    """Opened on the first region."""
    user.ui.editButton.click()
    return user.widget.panel.editing


@pytest.fixture
def taken(user: User, case: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the editor has of the application: its keys, and the views."""
    have: list[str] = []
    editor = user.widget.panel.editing.editor
    for begin, end, what in (
        ("installKeyboardShortcuts", "uninstallKeyboardShortcuts", "keys"),
        ("setupViewObservations", "removeViewObservations", "views"),
    ):
        monkeypatch.setattr(type(editor), begin, lambda _self, what=what: have.append(what), raising=False)
        monkeypatch.setattr(type(editor), end, lambda _self, what=what: have.remove(what), raising=False)
    return have


def test_the_editor_is_made_in_an_idle_moment_and_shows_nothing_before_it_is_opened(user: User, case: Any) -> None:
    editing = user.widget.panel.editing
    until(lambda: editing.made_editor is not None)
    assert editing.made_editor.segmentationNode() is case.node
    assert not editing.is_open
    assert not editing.is_painting
    user.ui.editButton.click()
    assert editing.is_open
    assert editing.editor.currentSegmentID() == case.segmentation.segment_id(case.schema.named("liver"))


def test_empty_segments_are_looked_for_in_an_idle_moment_and_once(user: User, case: Any, monkeypatch: Any) -> None:
    """It takes 0.3 s for a large CT."""
    looked, kind = [], type(case.segmentation)
    monkeypatch.setattr(kind, "empty_segments", lambda _self: looked.append("all voxels") or ())
    until(lambda: looked)
    user.ui.editButton.click()
    user.ui.editDoneButton.click()
    user.ui.editButton.click()
    assert looked == ["all voxels"]


def test_without_a_case_no_editor_is_made(user: User) -> None:
    load_ct(user, "CT")
    user.widget.panel.edit_region()
    assert not user.widget.panel.editing.is_open
    assert user.widget.panel.editing.made_editor is None


LEAVING = {
    "the list": lambda user: user.ui.editDoneButton.click(),
    "another step": lambda user: user.ui.exportStep.click(),
    "the settings": lambda user: user.ui.settingsButton.click(),
    "another module": lambda user: user.module.exit(),
    "another scene": lambda user: user.core.scene.Clear(0),
}


@pytest.mark.parametrize("where", LEAVING)
def test_an_effect_ends_when_the_user_leaves_for(user: User, case: Any, taken: list[str], where: str) -> None:
    editing = user.widget.panel.editing
    assert taken == []
    user.ui.editButton.click()
    assert sorted(taken) == ["keys", "views"]
    editing.editor.setActiveEffectByName("Paint")
    LEAVING[where](user)
    assert not editing.is_painting
    assert taken == []


def test_its_keys_come_back_with_its_page(user: User, case: Any, taken: list[str]) -> None:
    user.ui.editButton.click()
    user.ui.exportStep.click()
    user.ui.reviewStep.click()
    assert sorted(taken) == ["keys", "views"]
    user.module.exit()
    user.module.enter()
    assert sorted(taken) == ["keys", "views"]


@pytest.mark.parametrize("which", ["segmentation", "CT"])
def test_removing_what_is_painted_on_ends_the_effect(user: User, case: Any, editing: Any, which: str) -> None:
    editing.editor.setActiveEffectByName("Paint")
    user.core.scene.RemoveNode(case.node if which == "segmentation" else case.ct_node)
    assert not editing.is_painting
    until(lambda: not editing.is_open)


def test_another_case_begins_with_its_list(user: User, case: Any, editing: Any) -> None:
    other = make_case(user, case.ct_node, "other")
    user.widget.panel.case_changed(other)
    until(lambda: user.case == other)
    assert not editing.is_open


def test_the_line_names_the_region_and_its_arrows_go_on(user: User, case: Any, editing: Any) -> None:
    place(user.module.parent, ROOMS[0])
    assert user.ui.editRegionLabel.text == "liver, region 1 of 2"
    user.ui.editNextButton.click()
    assert user.logic.review.current == 2
    assert user.ui.editRegionLabel.text == "kidney right, region 2 of 2"
    user.ui.editPreviousButton.click()
    assert user.ui.editRegionLabel.text == "liver, region 1 of 2"


def test_a_name_that_is_too_long_is_cut_and_told_whole_in_the_tool_tip(application: Any, slicer_core: Any) -> None:
    from ActiveSegModuleLib.panel.elided import ElidedText

    label = QtWidgets.QLabel()
    label.resize(60, 20)
    line = ElidedText(label)
    line.show("common carotid artery right, region 3 of 10")
    assert label.text.endswith("…")
    assert label.toolTip == "common carotid artery right, region 3 of 10"
    label.resize(600, 20)
    application.sendEvent(label, QtGui.QResizeEvent(QtCore.QSize(600, 20), QtCore.QSize(60, 20)))
    assert label.text == "common carotid artery right, region 3 of 10"
    assert label.toolTip == ""


def test_options_that_were_folded_stay_folded_when_another_effect_is_chosen(user: User, editing: Any) -> None:
    place(user.module.parent, ROOMS[0])
    editing.editor.setActiveEffectByName("Paint")
    assert user.ui.optionsArea.visible
    user.ui.optionsButton.click()
    editing.editor.setActiveEffectByName("Erase")
    assert not user.ui.optionsArea.visible
    user.ui.optionsButton.click()
    assert user.ui.optionsArea.visible
    editing.editor.setActiveEffect(None)
    assert not user.ui.optionsArea.visible
    assert not user.ui.optionsButton.enabled


def test_options_take_what_they_need_and_the_table_of_segments_the_rest(user: User, editing: Any) -> None:
    user.widget.panel.message.clear()
    heights = {}
    for effect in ("Paint", "Threshold", "Draw"):
        editing.editor.setActiveEffectByName(effect)
        place(user.module.parent, ROOMS[2])
        heights[effect] = int(user.ui.optionsArea.height)
    assert heights == {"Paint": 109, "Threshold": 246, "Draw": 43}
    place(user.module.parent, ROOMS[1])
    editing.editor.setActiveEffectByName("Threshold")
    place(user.module.parent, ROOMS[1])
    least = int(user.ui.segmentsFrame.minimumHeight)
    assert abs(int(user.ui.segmentsFrame.height) - least) <= 1, "the options need more than there is"


def test_who_follows_it_hears_when_something_can_be_undone(user: User, case: Any) -> None:
    editing, heard = user.widget.panel.editing, []
    editing.follow_undo(lambda: heard.append((editing.can("undo"), editing.can("redo"))))
    assert not editing.can("undo")
    stroke(editing.editor, case, (slice(0, 2), slice(0, 2), slice(0, 2)))
    assert heard[-1] == (True, False)
    editing.step("undo")
    assert heard[-1] == (False, True)


# Segments.


def shown_segments(case: Any) -> list[str]:
    import slicer

    table = slicer.util.getModuleWidget("ActiveSegModule").ui.segmentsFrame.layout().itemAt(0).widget()
    return [case.node.GetSegmentation().GetSegment(segment_id).GetName() for segment_id in table.displayedSegmentIDs()]


def attributes(node: Any) -> dict[str, str]:
    return {name: node.GetAttribute(name) for name in node.GetAttributeNames()}


def test_the_search_finds_rows_here_and_leaves_the_segmentation_alone(user: User, case: Any, editing: Any) -> None:
    before = attributes(case.node)
    user.ui.segmentSearch.setText("right kid")
    assert shown_segments(case) == ["kidney_right"]
    user.ui.segmentSearch.returnPressed.emit()
    assert editing.editor.currentSegmentID() == case.segmentation.segment_id(case.schema.named("kidney_right"))
    user.ui.segmentSearch.setText("")
    assert set(shown_segments(case)) >= {"liver", "kidney_left", "kidney_right", "spleen"}
    assert attributes(case.node) == before


def test_a_region_whose_structure_was_searched_away_is_seen_all_the_same(user: User, case: Any, editing: Any) -> None:
    user.ui.segmentSearch.setText("spleen")
    user.ui.nextButton.click()
    assert "kidney_right" in shown_segments(case)


def test_a_structure_that_was_not_found_can_be_added_and_painted(user: User, case: Any, editing: Any) -> None:
    assert case.segmentation.segment_id(case.schema.named("aorta")) is None
    user.ui.segmentSearch.setText("aort")
    assert not user.ui.addStructureButton.isHidden()
    assert user.ui.addStructureButton.text == "Add 'aorta'"
    user.ui.segmentSearch.returnPressed.emit()
    assert user.ui.addStructureButton.isHidden()
    assert editing.editor.currentSegmentID() == case.segmentation.segment_id(case.schema.named("aorta"))
    assert "aorta" in shown_segments(case)
    stroke(editing.editor, case, (slice(0, 2), slice(0, 2), slice(0, 2)))
    assert case.read_back().labels[0, 0, 0] == case.schema.named("aorta").value


def test_an_entry_of_the_menu_outlives_what_it_does(user: User, case: Any, editing: Any) -> None:
    for name in ("kidney_left", "kidney_right"):
        case.node.GetSegmentation().RemoveSegment(case.segmentation.segment_id(case.schema.named(name)))
    user.ui.segmentSearch.setText("kidney")
    menu = user.ui.addStructureButton.menu()
    menu.aboutToShow.emit()
    (entry,) = menu.actions()
    assert entry.text == "kidney right"
    entry.trigger()
    assert case.segmentation.segment_id(case.schema.named("kidney_right")) is not None
    assert entry.text, "PythonQt is still in its signal when the menu is filled again"


def test_what_the_model_does_not_know_is_said(user: User, case: Any, editing: Any) -> None:
    user.ui.segmentSearch.setText("lunch")
    assert user.ui.addStructureButton.text == "This model has no structure 'lunch'"
    assert not user.ui.addStructureButton.enabled
    user.ui.segmentSearch.returnPressed.emit()
    user.ui.segmentSearch.setText("")
    assert user.ui.addStructureButton.isHidden()


def test_empty_segments_are_hidden_until_they_are_searched_for(user: User, case: Any) -> None:
    case.segmentation.add_structure(case.schema.named("aorta"))  # as in a scene of an earlier version
    user.ui.editButton.click()
    assert "aorta" not in shown_segments(case)
    user.ui.segmentSearch.setText("aorta")
    assert shown_segments(case) == ["aorta"]
    assert user.ui.addStructureButton.isHidden()
    user.ui.segmentSearch.returnPressed.emit()
    user.ui.segmentSearch.setText("")
    assert "aorta" in shown_segments(case)


# What is kept.


@pytest.fixture
def kept(user: User, monkeypatch: pytest.MonkeyPatch) -> Kept:
    return held(user, monkeypatch)


def test_it_says_when_the_work_was_kept(user: User, kept: Kept, case: Any, editing: Any) -> None:
    assert user.ui.keptLabel.text == ""
    stroke(editing.editor, case, (slice(0, 2), slice(0, 2), slice(0, 2)))
    until(lambda: user.ui.keptLabel.text == "Keeping...")
    user.widget.panel.keeping.save()
    assert user.ui.keptLabel.text == "Keeping..."
    kept.answer()
    kind, _, time = user.ui.keptLabel.text.partition(" ")
    assert kind == "Kept"
    assert QtCore.QTime.fromString(time, "HH:mm:ss").isValid()


def test_it_says_why_the_work_could_not_be_kept(user: User, kept: Kept, case: Any) -> None:
    user.widget.panel.keeping.edited(case)
    user.widget.panel.keeping.save()
    kept.fail(InputError("The disk is full."))
    assert user.ui.keptLabel.text == "Not kept: The disk is full."
    user.widget.panel.keeping.save()
    kept.answer()
    assert user.ui.keptLabel.text.startswith("Kept ")


def test_without_an_engine_it_says_that_nothing_is_kept(user: User, case: Any) -> None:
    user.widget.panel.keeping.edited(case)
    assert user.ui.keptLabel.text.startswith("Not kept: ")


# Slicer is closed.


@pytest.fixture
def window(application: Any, monkeypatch: pytest.MonkeyPatch, slicer_core: Any) -> Any:
    """Slicer's main window; made before the module."""
    import slicer

    made = QtWidgets.QMainWindow()
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: made)
    return made


def asked(user: User, monkeypatch: pytest.MonkeyPatch, answer: bool) -> list[str]:
    questions: list[str] = []
    monkeypatch.setattr(user.widget.panel, "confirm", lambda text, _yes="": questions.append(text) or answer)
    return questions


def test_a_stroke_just_before_slicer_is_closed_is_kept_without_a_question(
    window: Any, user: User, kept: Kept, case: Any, editing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = asked(user, monkeypatch, answer=False)
    monkeypatch.setattr(user.logic.drafts, "save", lambda case, done, _error: kept.names.append(case.name) or done())
    stroke(editing.editor, case, (slice(0, 2), slice(0, 2), slice(0, 2)))
    assert window.close()
    assert kept.names == ["case"]
    assert questions == []


def test_slicer_stays_open_when_the_user_wants_to_keep_what_would_be_lost(
    window: Any, user: User, kept: Kept, case: Any, editing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = asked(user, monkeypatch, answer=False)
    monkeypatch.setattr(user.logic.drafts, "save", lambda _case, _done, failed: failed(InputError("The disk is full.")))
    stroke(editing.editor, case, (slice(0, 2), slice(0, 2), slice(0, 2)))
    assert not window.close()
    assert "corrections of case could not be kept" in questions[0]
    monkeypatch.setattr(user.widget.panel, "confirm", lambda *_: True)
    assert window.close()


def test_slicer_that_quits_without_closing_its_window_keeps_the_last_stroke_too(
    user: User, kept: Kept, case: Any, editing: Any
) -> None:
    """Its widgets may be gone by then."""
    import slicer

    user.ui.keptLabel.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
    stroke(editing.editor, case, (slice(0, 2), slice(0, 2), slice(0, 2)))
    slicer.app.emit("aboutToQuit()")
    assert kept.names == ["case"]


def test_the_engine_has_the_last_stroke_when_slicer_has_quit(panel: LoadedModule, slicer_core: Any) -> None:
    import slicer

    user = User(panel, slicer_core)
    case = make_case(user, load_ct(user, "CT"), "case", origin={"dataset": "/data/Dataset801_X", "case": "CT_0007"})
    user.widget.panel.case_changed(case)
    until(lambda: user.case == case)
    user.widget.panel.editing.select_structure("liver")
    stroke(user.widget.panel.editing.editor, case, (slice(0, 2), slice(0, 2), slice(0, 2)))
    slicer.app.emit("aboutToQuit()")
    assert user.draft_of(case)["has_edits"]


BEING_CHANGED = EngineError("The engine is being installed.", "Wait until that is done.", cause="changing")


@pytest.mark.parametrize(
    ("part", "attribute", "value", "sentence"),
    [
        ("segmenting", "running", object(), "The segmentation is not finished and will be lost."),
        ("training", "runs", True, "The training will stop; it can be resumed later."),
        ("installation", "obstacle", BEING_CHANGED, "The engine is being installed. That will be cancelled."),
    ],
)
def test_what_ends_unfinished_with_slicer_is_asked_about(
    window: Any, user: User, monkeypatch: pytest.MonkeyPatch, part: str, attribute: str, value: Any, sentence: str
) -> None:
    questions = asked(user, monkeypatch, answer=False)
    kind = type(getattr(user.logic, part))
    with monkeypatch.context() as going_on:
        going_on.setattr(kind, attribute, property(lambda _self: value))
        assert not window.close()
    assert questions == [f"{sentence}\n\nClose Slicer all the same?"]
    assert window.close()


def test_a_panel_that_is_gone_asks_no_more(window: Any, user: User, case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = asked(user, monkeypatch, answer=False)
    user.widget.panel.keeping.edited(case)
    user.widget.panel.closing.cleanup()
    assert window.close()
    assert questions == []
    monkeypatch.setattr(user.widget.panel.closing, "cleanup", lambda: None)  # it was

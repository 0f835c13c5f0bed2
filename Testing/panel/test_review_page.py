"""The page *Review*: a list that can be read and sorted, keys for all of it, alternatives and undo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loaded_cases import MODULE, load_ct, make_case, pump, stroke
from pictures_checks import cut_cells, findings, without_check_box
from pictures_keys import FREE, WHILE_IT_LASTS
from pictures_look import ROOMS, Theme, dress, grab, place
from PySide6 import QtCore, QtTest, QtWidgets
from review_scene import big_case
from slicer_stand_in import LoadedModule
from user import User, until

COUNT = 20


@pytest.fixture
def case(user: User) -> Any:
    """Twenty regions, some decided on; the first is current."""
    return arrive(user, big_case(user, COUNT))


@pytest.fixture
def small(user: User) -> Any:
    """Two regions that are open."""
    return arrive(user, make_case(user, load_ct(user, "CT"), "case"))


def arrive(user: User, made: Any) -> Any:
    user.widget.panel.case_changed(made)
    until(lambda: user.case == made and user.logic.review.current == 1)
    user.widget.panel.message.clear()
    return made


def table(user: User) -> Any:
    return user.widget.panel.review.table


def rows_in_sight(user: User) -> float:
    return int(user.ui.regionTable.viewport().height) / 22


# How it looks.


def states(user: User) -> Iterator[str]:
    """Each in which the page can be, one after the other."""
    ui, panel = user.ui, user.widget.panel
    yield "list"
    ui.showAlternativeButton.click()
    yield "alternative"
    panel.message.notice("All 20 regions are decided.", "Export", lambda: None)
    yield "message"
    panel.message.clear()
    ui.focusButton.click()
    yield "focus"
    ui.focusSearch.setText("femur")
    yield "nothing found"
    ui.focusSearch.setText("")
    ui.focusBackButton.click()
    ui.regionSearch.setText("spleen")
    yield "filtered"
    ui.regionSearch.setText("")
    user.core.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn by hand")
    panel.update()
    yield "two segmentations"


@pytest.mark.parametrize("theme", Theme)
def test_it_can_be_read_and_fits(application: Any, user: User, case: Any, tmp_path: Path, theme: Theme) -> None:
    dress(application, theme)
    wrong = {}
    for state in states(user):
        for room in ROOMS:
            place(user.module.parent, room)
            grab(user.module.parent, tmp_path / f"{state}_{room.name}_{theme.value}.png")
            wrong[state, room.name] = findings(user.module.parent, room) + cut_cells(user.ui.regionTable)
    dress(application, Theme.LIGHT)
    assert {state: found for state, found in wrong.items() if found} == {}


@pytest.mark.parametrize(("room", "rows"), list(zip(ROOMS, (8, 5, 16), strict=True)), ids=[r.name for r in ROOMS])
def test_rows_of_the_table_are_in_sight(user: User, case: Any, room: Any, rows: int) -> None:
    place(user.module.parent, room)
    assert rows_in_sight(user) >= rows


def test_at_least_one_whole_alternative_is_in_sight(user: User, case: Any) -> None:
    place(user.module.parent, ROOMS[0])
    listed = user.ui.alternativesList
    assert listed.viewport().rect.contains(listed.visualItemRect(listed.item(0)))


def test_a_row_says_state_structure_size_reason_and_doubt(user: User, case: Any) -> None:
    row = user.row(1)
    assert {key: row[key] for key in ("State", "Structure", "mL", "Why")} == {
        "State": "open",
        "Structure": "spleen",
        "mL": "104",
        "Why": "low confidence",
    }
    assert user.row(12)["Structure"] == "nothing here"
    from ActiveSegModuleLib.panel.region_icons import BAR_ROLE

    assert user.ui.regionTable.model().index(0, 4).data(BAR_ROLE) == pytest.approx(0.9)
    assert user.ui.regionLabel.toolTip or user.ui.regionLabel.text == "Region 1 of 20, spleen, 104 mL"


# The list.


def test_a_filter_that_hides_the_current_region_does_not_move(user: User, case: Any) -> None:
    user.ui.regionSearch.setText("pancreas")
    assert user.listed == [5, 17]
    assert user.logic.review.current == 1
    assert table(user).selected is None
    user.ui.regionSearch.setText("")
    assert table(user).selected == 1


def test_filters_that_leave_nothing_say_so(user: User, case: Any) -> None:
    before = user.ui.regionLabel.text
    user.ui.regionSearch.setText("unicorn")
    assert user.ui.regionLabel.text.startswith("No region matches")
    user.ui.regionSearch.setText("")
    assert user.ui.regionLabel.text == before


def test_return_in_the_search_gives_the_keys_back(user: User, case: Any) -> None:
    view = active(user)
    user.ui.regionSearch.setFocus()
    press(user, "l")
    user.ui.regionSearch.returnPressed.emit()
    assert view.hasFocus()


def test_the_state_filter_shows_only_that_state_and_says_what_it_hides(user: User, case: Any) -> None:
    user.ui.stateFilter.setCurrentIndex(user.ui.stateFilter.findData("skipped"))
    assert user.listed == [5, 11, 17]
    assert table(user).is_filtered
    table(user).show_all()
    assert len(user.listed) == COUNT


def test_next_goes_through_what_the_list_shows(user: User, case: Any) -> None:
    user.ui.regionSearch.setText("liver")
    assert user.listed == [2, 6, 14], "the sixth is about it, too"
    user.ui.nextButton.click()
    assert user.logic.review.current == 2
    user.ui.nextButton.click()
    user.ui.nextButton.click()
    assert user.logic.review.current == 14
    user.ui.previousButton.click()
    assert user.logic.review.current == 6


def test_sorting_keeps_the_region_and_next_follows_the_order(user: User, case: Any) -> None:
    user.choose_row(3)
    user.ui.regionTable.sortByColumn(2, QtCore.Qt.SortOrder.AscendingOrder)
    assert user.listed == list(range(COUNT, 0, -1)), "by number, not by letters"
    assert user.logic.review.current == table(user).selected == 3
    user.ui.nextButton.click()
    assert user.logic.review.current == 2
    user.widget.panel.update()
    assert table(user).selected == 2


def test_columns_and_order_are_remembered(user: User, case: Any) -> None:
    header = user.ui.regionTable.horizontalHeader()
    header.customContextMenuRequested.emit(QtCore.QPoint(5, 5))
    menu = next(m for m in user.ui.regionTable.findChildren(QtWidgets.QMenu) if m.actions())
    assert [entry.text for entry in menu.actions() if entry.checkable] == ["State", "mL", "Why", "Doubt"]
    next(entry for entry in menu.actions() if entry.text == "Why").trigger()
    menu.close()
    user.ui.regionTable.sortByColumn(1, QtCore.Qt.SortOrder.DescendingOrder)
    again = LoadedModule(MODULE)
    try:
        seen = again.widget.ui.regionTable
        assert seen.isColumnHidden(3)
        assert (seen.horizontalHeader().sortIndicatorSection(), seen.isColumnHidden(0)) == (1, False)
    finally:
        again.close()


def test_accepting_what_a_filter_then_hides_goes_on_in_the_list(user: User, case: Any) -> None:
    user.ui.stateFilter.setCurrentIndex(user.ui.stateFilter.findData("open"))
    shown = user.listed
    user.choose_row(shown[1])
    user.ui.acceptButton.click()
    assert user.logic.review.current == shown[2]
    assert shown[1] not in user.listed


def test_when_only_hidden_regions_are_open_that_is_told_with_a_way_to_them(user: User, case: Any) -> None:
    user.ui.regionSearch.setText("pancreas")
    user.choose_row(5)
    for _ in range(2):
        user.ui.acceptButton.click()
    panel = user.widget.panel
    assert "hidden by the filters" in panel.message.text
    user.ui.messageActionButton.click()
    assert len(user.listed) == COUNT


# Keys.


def active(user: User) -> Any:
    """The panel's window has the keyboard."""
    place(user.module.parent, ROOMS[0])
    user.module.parent.activateWindow()
    user.ui.regionTable.setFocus()
    until(lambda: QtWidgets.QApplication.focusWidget() is not None)
    return user.ui.regionTable


def press(user: User, key: Any, shift: bool = False) -> None:
    """A key, and what a button does at it: Qt shows the button pressed for a moment first."""
    modifier = QtCore.Qt.KeyboardModifier.ShiftModifier if shift else QtCore.Qt.KeyboardModifier.NoModifier
    QtTest.QTest.keyClick(QtWidgets.QApplication.focusWidget(), key, modifier)
    buttons = user.ui.reviewPage.findChildren(QtWidgets.QAbstractButton)
    until(lambda: not any(button.down for button in buttons))


def test_all_regions_are_decided_by_keys_alone_with_the_focus_in_the_list(user: User, case: Any) -> None:
    view = active(user)
    decisions = 0
    while any(state == "open" for state in user.states()):
        press(user, "k" if decisions % 2 else "c")
        decisions += 1
        assert decisions <= COUNT
    assert view.hasFocus()
    press(user, "n")
    press(user, "n", shift=True)
    press(user, "c", shift=True)
    assert user.states().count("open") == 1


def test_the_keyboard_goes_on_in_the_list_of_a_new_case(user: User) -> None:
    user.module.parent.show()
    user.module.parent.activateWindow()
    user.ui.segmentStep.setFocus()
    until(user.ui.segmentStep.hasFocus)
    arrive(user, big_case(user, COUNT))
    assert user.ui.regionTable.hasFocus()


def test_keys_are_letters_while_one_types(user: User, case: Any) -> None:
    active(user)
    user.ui.regionSearch.setFocus()
    press(user, "n")
    press(user, "c")
    assert user.ui.regionSearch.text == "nc"
    assert user.logic.review.current == 1
    assert user.states()[0] == "open"


def test_a_letter_that_is_no_key_does_not_jump_to_another_row(user: User, case: Any) -> None:
    active(user)
    for letter in "asx3":
        press(user, letter)
    assert user.logic.review.current == 1


def test_the_card_tells_every_key_of_the_page(user: User, case: Any) -> None:
    active(user)
    card = user.widget.panel.review.keys
    user.ui.keysButton.click()
    assert card.is_shown
    buttons = user.ui.reviewPage.findChildren(QtWidgets.QAbstractButton)
    keys = {button.shortcut.toString() for button in buttons if not button.shortcut.isEmpty()}
    assert keys <= FREE | set(WHILE_IT_LASTS.values())
    assert all(f"<b>{key}</b>" in card.text() for key in keys)
    user.ui.keysButton.click()
    assert not card.is_shown
    user.ui.keysButton.click()
    user.module.exit()
    assert not card.is_shown
    user.module.enter()


def test_edit_is_one_button_there_and_back(user: User, case: Any) -> None:
    user.ui.editButton.click()
    assert user.widget.panel.editing.is_open
    assert user.ui.editButton.checked
    user.ui.editButton.click()
    assert not user.widget.panel.editing.is_open
    assert not user.ui.editButton.checked


# Decisions.


def test_the_last_decision_offers_the_export_with_numbers_and_does_not_turn_the_page(user: User, small: Any) -> None:
    user.ui.acceptButton.click()
    assert user.widget.panel.message.text == ""
    user.ui.skipButton.click()
    steps = user.widget.panel.steps
    assert steps.current.value == "review"
    assert user.widget.panel.message.text == "All 2 regions are decided: 1 accepted, 0 corrected, 1 skipped."
    assert user.ui.reviewStep.text.endswith("done")
    user.ui.messageActionButton.click()
    assert steps.current.value == "export"


def test_progress_is_told_below_the_list_and_on_the_step(user: User, small: Any) -> None:
    assert user.ui.reviewedLabel.text == "0 of 2 decided"
    user.ui.acceptButton.click()
    assert user.widget.panel.steps.state(next(iter_step("review"))).text == "1 of 2"
    assert str(user.widget.panel.review.progress_text).startswith("1 of 2 decided, ")


def iter_step(name: str) -> Iterator[Any]:
    from ActiveSegModuleLib.panel.steps import Step

    return (step for step in Step if step.value == name)


def test_a_decided_region_is_reopened(user: User, small: Any) -> None:
    assert not user.ui.reopenButton.enabled
    user.ui.skipButton.click()
    user.choose_row(1)
    user.ui.reopenButton.click()
    assert user.states() == ["open", "open"]
    assert not user.ui.reopenButton.enabled


def test_undo_takes_back_what_was_done_last_and_says_so(user: User, small: Any) -> None:
    editor = user.widget.panel.editing.editor
    assert not user.ui.undoButton.enabled
    stroke(editor, small, (slice(5, 6), slice(15, 17), slice(3, 6)))
    edited = small.read_back().labels.copy()
    until(lambda: user.states()[0] == "corrected")
    assert user.ui.undoButton.toolTip == "Undo: the last edit (U)"
    user.ui.skipButton.click()
    assert user.ui.undoButton.toolTip == "Undo: region 1 skipped (U)"
    user.ui.undoButton.click()
    assert user.states()[0] == "corrected"
    assert user.logic.review.current == 1
    assert (small.read_back().labels == edited).all()
    user.ui.undoButton.click()
    assert (small.read_back().labels != edited).any()
    assert user.states()[0] == "open"
    assert not user.ui.undoButton.enabled
    user.ui.redoButton.click()
    assert user.states()[0] == "corrected"
    assert user.ui.redoButton.toolTip == "Redo: region 1 skipped (Shift+U)"
    user.ui.redoButton.click()
    assert user.states()[0] == "skipped"
    assert not user.ui.redoButton.enabled


def test_a_stroke_and_its_undo_leave_the_decision(user: User, small: Any) -> None:
    user.ui.skipButton.click()
    user.choose_row(1)
    editor = user.widget.panel.editing.editor
    stroke(editor, small, (slice(5, 6), slice(15, 17), slice(3, 6)))
    until(lambda: user.states()[0] == "corrected")
    user.ui.undoButton.click()
    assert user.states()[0] == "skipped"


def test_views_that_were_moved_meanwhile_stay_and_the_first_region_is_current(user: User) -> None:
    slice_node = user.core.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    slice_node.SetDimensions(200, 100, 1)
    made = make_case(user, load_ct(user, "CT"), "case")
    entries = [made.regions.entry(number) for number in (1, 2)]
    geometry, found = made.regions.geometry, made.patches
    made.node.RemoveNodeReferenceIDs("ActiveSeg.Regions")
    user.widget.panel.case_changed(made)
    until(lambda: user.case == made)
    slice_node.JumpSliceByCentering(7.0, 8.0, 9.0)  # the user
    made.set_regions(entries, found, geometry)
    user.widget.panel.case_changed(made)
    until(lambda: user.logic.review.current == 1)
    to_ras = slice_node.GetSliceToRAS()
    assert [to_ras.GetElement(axis, 3) for axis in range(3)] == pytest.approx([7.0, 8.0, 9.0])
    assert user.ui.acceptButton.enabled


# Alternatives.


def previewed(user: User) -> bool:
    node = user.core.scene.GetFirstNodeByName("Alternative")
    return node is not None and bool(node.GetDisplayVisibility())


def test_an_alternative_under_the_mouse_is_previewed_until_it_leaves(user: User, case: Any) -> None:
    listed = user.ui.alternativesList
    listed.itemEntered.emit(listed.item(1))
    until(lambda: previewed(user))
    QtCore.QCoreApplication.sendEvent(listed.viewport(), QtCore.QEvent(QtCore.QEvent.Type.Leave))
    assert not previewed(user)
    assert not user.ui.takeAlternativeButton.enabled, "none was chosen"


def test_a_chosen_alternative_is_previewed_until_it_is_taken(user: User, case: Any) -> None:
    listed = user.ui.alternativesList
    assert listed.item(0).text() == "spleen (3 of 4 members)\n+0.58 mL (128 voxels)"
    user.ui.showAlternativeButton.click()
    until(lambda: previewed(user))
    QtCore.QCoreApplication.sendEvent(listed.viewport(), QtCore.QEvent(QtCore.QEvent.Type.Leave))
    assert previewed(user)
    before = case.read_back().labels.copy()
    user.ui.takeAlternativeButton.click()
    assert int((case.read_back().labels != before).sum()) == 128
    assert not previewed(user)
    assert user.states()[0] == "corrected"
    assert listed.item(0).text().endswith("as it is now")


def test_return_takes_and_escape_lets_go(user: User, case: Any) -> None:
    active(user)
    user.ui.alternativesList.setFocus()
    press(user, QtCore.Qt.Key.Key_Down)
    until(lambda: previewed(user))
    press(user, QtCore.Qt.Key.Key_Escape)
    assert not previewed(user)
    user.ui.alternativesList.setCurrentRow(0)
    press(user, QtCore.Qt.Key.Key_Return)
    assert user.states()[0] == "corrected"


def test_a_region_without_alternatives_says_so_and_keeps_the_layout(user: User, case: Any) -> None:
    place(user.module.parent, ROOMS[0])
    rows = rows_in_sight(user)
    user.choose_row(3)
    pump()
    assert user.ui.alternativesList.item(0).text() == "No alternatives here."
    assert not user.ui.showAlternativeButton.enabled
    assert rows_in_sight(user) == rows


# Where to find regions.


def test_structures_are_ticked_and_a_search_without_a_hit_says_so(user: User, case: Any) -> None:
    user.ui.focusButton.click()
    assert user.widget.panel.review.focus.is_open
    assert without_check_box(user.ui.focusList) == []
    user.ui.focusSearch.setText("femur")
    assert user.ui.focusCountLabel.text == "No structure of this segmentation is called 'femur'."
    user.ui.focusSearch.setText("kidney")
    user.ui.focusList.item(2).setCheckState(QtCore.Qt.CheckState.Checked)
    until(lambda: user.ui.focusCountLabel.text == "1 ticked")
    assert user.node.focus == "kidney_left"
    user.ui.focusBackButton.click()
    assert not user.widget.panel.review.focus.is_open


# The views.


def test_outline_and_heat_map_are_switched_for_the_case(user: User, case: Any) -> None:
    display = case.node.GetDisplayNode()
    user.ui.outlineButton.click()
    assert not display.GetVisibility2DFill()
    user.ui.outlineButton.click()
    assert display.GetVisibility2DFill()
    user.ui.heatMapButton.click()
    assert not user.node.showUncertainty
    until(lambda: not user.ui.opacitySlider.enabled)


def test_surfaces_follow_the_region_and_go_with_the_button(user: User, case: Any) -> None:
    user.ui.surfacesButton.click()
    shown = user.widget.panel.review.view_3d
    assert shown.is_shown
    until(
        lambda: (
            user.ui.surfacesButton.text == "3D" and surfaces(user) is not None and surfaces(user).GetDisplayVisibility()
        )
    )
    user.ui.surfacesButton.click()
    assert not shown.is_shown
    assert surfaces(user) is None


def surfaces(user: User) -> Any:
    return user.core.scene.GetFirstNodeByName("CT segmentation, in 3D")

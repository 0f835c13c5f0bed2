"""Prompts on the page *Review*: one click is taken, sent, and its answer is one more alternative."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from answering_engine import AnsweringEngine
from loaded_cases import load_ct, make_case, pump
from pictures_checks import findings
from pictures_look import ROOMS, Theme, dress, grab, place
from PySide6 import QtCore, QtTest, QtWidgets
from refining_engine import answer, refining_engine
from stand_in_views import LayoutManager
from user import User, until

from activeseg.core.errors import EngineError, InputError

INSIDE = (6, 14, 8)
"""A voxel of the first region's box, in the liver."""


@pytest.fixture
def engine(user: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AnsweringEngine:
    return refining_engine(user, monkeypatch, tmp_path)


@pytest.fixture
def views(user: User) -> LayoutManager:
    slicer.app.layout = LayoutManager(user.core)
    return slicer.app.layout


@pytest.fixture
def case(user: User, engine: AnsweringEngine, views: LayoutManager) -> Any:
    made = make_case(user, load_ct(user, "CT"), "case", model="demo", settings={})
    user.widget.panel.case_changed(made)
    until(lambda: user.case == made and user.logic.review.current == 1)
    user.widget.panel.message.clear()
    return made


def asked(engine: AnsweringEngine, method: str = "refine") -> list[Mapping[str, Any]]:
    return [params for name, params in engine.asked if name == method]


def click(user: User, views: LayoutManager, *voxels: tuple[int, int, int], shift: bool = False) -> None:
    user.ui.promptButton.click()
    views.draw(user.case.ct_node, *voxels, shift=shift)


def first_row(user: User) -> str:
    return str(user.ui.alternativesList.item(0).text())


def answered(user: User) -> None:
    until(lambda: user.logic.refining.answer is not None and not user.logic.refining.is_asking)


def test_a_click_is_answered_previewed_taken_and_undone(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    before = case.read_back().labels.copy()
    free = tuple(int(n) for n in np.argwhere(box_of(case, before) == 0)[0] + [s[0] for s in box(case)])
    click(user, views, free)
    assert not user.ui.promptButton.checked, "one click, and the mouse is Slicer's again"
    answered(user)
    assert first_row(user).startswith("Your click: liver\n+")
    until(lambda: previewed(user))
    user.ui.takeAlternativeButton.click()
    after = case.read_back().labels
    assert (after != before).any()
    assert set(np.unique(after[after != before])) == {1}
    assert user.states()[0] == "corrected"
    assert user.logic.refining.prompts == ()
    assert user.core.scene.GetFirstNodeByName("Prompt") is None
    user.ui.undoButton.click()
    assert (case.read_back().labels == before).all()


def box(case: Any) -> Any:
    return case.regions.region(1).box_kji


def box_of(case: Any, labels: np.ndarray) -> np.ndarray:
    return labels[tuple(slice(*span) for span in box(case))]


def previewed(user: User) -> bool:
    node = user.core.scene.GetFirstNodeByName("Alternative")
    return node is not None and bool(node.GetDisplayVisibility())


def test_what_is_sent_is_the_box_as_it_is_now(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    sent = []
    before = engine.answers["refine"]
    engine.answers["refine"] = lambda params: (sent.append(np.load(params["labels"])), before(params))[1]
    user.paint(case, "aorta", ((4, 5), (6, 7), (3, 5)))
    click(user, views, INSIDE)
    answered(user)
    (params,) = asked(engine)
    assert params["box_kji"] == [list(span) for span in box(case)]
    (prompt,) = params["prompts"]
    assert (prompt["kind"], prompt["structure"]) == ("point", "liver")
    assert prompt["points_kji"] == [list(INSIDE)]
    assert (sent[0] == case.labels_in(box(case))).all()
    opened = asked(engine, "refine.open")
    assert len(opened) == 1, "when the button was pressed; the click found it open"
    assert opened[0]["model"] == "demo"


# Waiting for a click.


def press(user: User, key: Any, shift: bool = False) -> None:
    modifier = QtCore.Qt.KeyboardModifier.ShiftModifier if shift else QtCore.Qt.KeyboardModifier.NoModifier
    QtTest.QTest.keyClick(QtWidgets.QApplication.focusWidget(), key, modifier)
    buttons = user.ui.reviewPage.findChildren(QtWidgets.QAbstractButton)
    until(lambda: not any(button.down for button in buttons))


def active(user: User) -> None:
    place(user.module.parent, ROOMS[0])
    user.module.parent.activateWindow()
    user.ui.regionTable.setFocus()
    until(lambda: QtWidgets.QApplication.focusWidget() is not None)


def test_m_and_shift_m_wait_for_a_click_and_escape_ends_it(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    active(user)
    press(user, "m")
    assert (user.ui.promptButton.checked, user.ui.promptNotButton.checked) == (True, False)
    assert not user.ui.promptStrip.isHidden()
    press(user, "m", shift=True)
    assert (user.ui.promptButton.checked, user.ui.promptNotButton.checked) == (False, True)
    press(user, QtCore.Qt.Key.Key_Escape)
    assert (user.ui.promptButton.checked, user.ui.promptNotButton.checked) == (False, False)
    assert user.ui.promptStrip.isHidden()
    views.draw(case.ct_node, INSIDE)
    pump()
    assert asked(engine) == []
    press(user, "m")
    press(user, "m")
    assert not user.widget.panel.review.prompting.is_armed, "the second time it is put away"


def test_m_waits_for_another_kind_of_prompt_once_that_was_chosen(user: User, case: Any, views: LayoutManager) -> None:
    active(user)
    menu = user.ui.promptButton.menu()
    menu.aboutToShow.emit()
    next(entry for entry in menu.actions() if entry.text == "Scribble").trigger()
    press(user, QtCore.Qt.Key.Key_Escape)
    assert not user.widget.panel.review.prompting.is_armed
    press(user, "m")
    assert user.widget.panel.review.prompting.is_armed
    assert user.ui.promptButton.text == "Scribble"


def test_m_in_the_editor_leads_back_to_the_list_where_the_answer_will_be(
    user: User, case: Any, views: LayoutManager
) -> None:
    user.ui.editButton.click()
    user.widget.panel.editing.editor.setActiveEffectByName("Paint")
    user.ui.promptButton.click()
    assert not user.widget.panel.editing.is_open
    assert user.widget.panel.editing.editor.activeEffect() is None
    assert user.ui.promptButton.checked


@pytest.mark.parametrize("leave", ["step", "module", "scene", "ct"])
def test_nothing_waits_for_a_click_any_longer_when_one_goes(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine, leave: str
) -> None:
    ct_node = case.ct_node
    user.ui.promptButton.click()
    if leave == "step":
        user.ui.exportStep.click()
    elif leave == "module":
        user.module.exit()
    elif leave == "scene":
        user.core.scene.Clear()
    else:
        user.core.scene.RemoveNode(ct_node)
    pump()
    assert not user.widget.panel.review.prompting.is_armed
    assert not user.ui.promptButton.checked
    assert not views.view.interactor().HasObserver("LeftButtonPressEvent")
    if leave == "module":
        user.module.enter()


def test_without_a_slice_view_that_is_told(user: User, case: Any) -> None:
    slicer.app.layout = None
    user.ui.promptButton.click()
    assert user.widget.panel.message.text.startswith("No slice view is shown.")
    assert not user.ui.promptButton.checked


def test_why_there_are_no_clicks_is_said_at_the_button(user: User, views: LayoutManager) -> None:
    made = make_case(user, load_ct(user, "CT"), "foreign", model="")
    user.widget.panel.case_changed(made)
    until(lambda: user.case == made)
    pump()
    assert not user.ui.promptButton.enabled
    assert "not known which model" in user.ui.promptButton.toolTip
    assert not user.ui.promptNotButton.enabled


# What a click means.


def test_not_this_is_about_the_structure_under_the_click_and_shift_means_it_too(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    user.ui.promptNotButton.click()
    where = in_box(case, 2)
    views.draw(case.ct_node, where)
    answered(user)
    click(user, views, where, shift=True)
    answered(user)
    until(lambda: len(asked(engine)) == 2)
    prompts = asked(engine)[-1]["prompts"]
    assert [(each["structure"], each["include"]) for each in prompts] == [("kidney_left", False)] * 2


def in_box(case: Any, value: int) -> tuple[int, int, int]:
    """A voxel of that value in the first region's box."""
    found = np.argwhere(case.labels_in(box(case)) == value)[0]
    k, j, i = (int(n) + span[0] for n, span in zip(found, box(case), strict=True))
    return k, j, i


def test_a_structure_is_chosen_by_typing_a_part_of_its_name(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    combo = user.ui.promptStructure
    assert combo.itemText(0) == "automatic: liver"
    assert combo.completer().filterMode == QtCore.Qt.MatchFlag.MatchContains
    combo.setEditText("spleen")
    click(user, views, INSIDE)
    answered(user)
    assert asked(engine)[-1]["prompts"][0]["structure"] == "spleen"
    combo.setEditText("unicorn")
    click(user, views, INSIDE)
    assert user.widget.panel.message.text.startswith("This model has no structure 'unicorn'.")
    assert len(user.logic.refining.prompts) == 1


def test_a_second_click_refines_the_answer_and_the_last_can_be_removed(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    for count in (1, 2):
        click(user, views, INSIDE)
        answered(user)
        assert len(asked(engine)[-1]["prompts"]) == count
    assert first_row(user).startswith("Your 2 clicks: liver")
    assert user.ui.promptLabel.text == "2 clicks: liver"
    assert len(marks(user)) == 2
    user.ui.promptBackButton.click()
    until(lambda: first_row(user).startswith("Your click: liver"))
    assert len(marks(user)) == 1
    user.ui.promptClearButton.click()
    assert marks(user) == []
    assert not first_row(user).startswith("Your")
    assert user.ui.promptStrip.isHidden()


def marks(user: User) -> list[Any]:
    found = user.core.scene.GetNodesByName("Prompt")
    found.UnRegister(None)
    return [found.GetItemAsObject(n) for n in range(found.GetNumberOfItems())]


def test_a_click_while_one_is_computed_is_answered_after_it(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    held, answer_now = [], engine.answers.pop("refine")
    click(user, views, INSIDE)
    until(lambda: len(asked(engine)) == 1)
    click(user, views, INSIDE)
    pump()
    assert len(asked(engine)) == 1, "the engine's process is not robbed of what it has loaded"
    engine.answers["refine"] = answer_now
    held.append(engine.callbacks["refine"])
    held[0]["on_result"](answer_now(asked(engine)[0]))
    answered(user)
    assert len(asked(engine)[-1]["prompts"]) == 2
    assert first_row(user).startswith("Your 2 clicks")


def test_leaving_the_region_forgets_its_clicks(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    click(user, views, INSIDE)
    answered(user)
    user.ui.nextButton.click()
    assert marks(user) == []
    assert user.logic.refining.prompts == ()
    user.ui.previousButton.click()
    assert not first_row(user).startswith("Your")


def test_an_answer_that_comes_after_the_region_was_left_is_passed_over(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    answer_now = engine.answers.pop("refine")
    click(user, views, INSIDE)
    until(lambda: len(asked(engine)) == 1)
    user.ui.nextButton.click()
    engine.callbacks["refine"]["on_result"](answer_now(asked(engine)[0]))
    pump()
    assert user.logic.refining.answer is None
    assert user.logic.refining.prompts == ()


# Where a click is answered.


def test_a_click_in_another_region_makes_that_the_current_one_and_leaves_the_views(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    other = case.regions.region(2).box_kji
    middle = tuple(sum(span) // 2 for span in other)
    click(user, views, middle)
    answered(user)
    assert user.logic.review.current == 2
    assert asked(engine)[-1]["box_kji"] == [list(span) for span in other]
    to_ras = views.view.mrmlSliceNode().GetSliceToRAS()
    world = [0.0, 0.0, 0.0]
    case.ct_node.TransformPointToWorld(case.regions.geometry.ras_of_ijk(np.array(middle[::-1], float)).tolist(), world)
    assert [to_ras.GetElement(axis, 3) for axis in range(3)] == pytest.approx(world, abs=0.01)


def outside(case: Any) -> tuple[int, int, int]:
    """A voxel of no region."""
    free = np.ones(case.original_on_ct().shape, bool)
    for region in case.regions.regions:
        free[tuple(slice(*span) for span in region.box_kji)] = False
    k, j, i = np.argwhere(free)[0]
    return int(k), int(j), int(i)


def test_a_click_outside_of_all_regions_is_offered_there_by_a_button(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    click(user, views, outside(case))
    assert "outside of the region's frame" in user.widget.panel.message.text
    assert asked(engine) == []
    user.ui.messageActionButton.click()
    answered(user)
    sent = asked(engine)[-1]["box_kji"]
    assert all(a[0] <= b[0] and a[1] >= b[1] for a, b in zip(sent, box(case), strict=True))
    assert user.logic.review.current == 1


def test_beyond_the_frame_is_said_before(user: User, case: Any, views: LayoutManager, engine: AnsweringEngine) -> None:
    user.ui.promptButton.click()
    user.ui.promptBeyondBox.setChecked(True)
    views.draw(case.ct_node, outside(case))
    answered(user)
    assert user.widget.panel.message.text == ""


def test_a_lasso_that_leaves_the_frame_counts_where_it_is_inside(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    (k, k_end), (j, j_end), (i, i_end) = box(case)
    menu = user.ui.promptButton.menu()
    menu.aboutToShow.emit()
    next(entry for entry in menu.actions() if entry.text == "Lasso").trigger()
    assert user.ui.promptButton.text == "Lasso"
    slice_k = (k + k_end) // 2
    views.draw(
        case.ct_node,
        (slice_k, j + 2, i + 2),
        (slice_k, j + 2, i_end + 4),
        (slice_k, j_end + 3, i_end),
        (slice_k, j_end, i),
    )
    answered(user)
    points = np.array(asked(engine)[-1]["prompts"][0]["points_kji"])
    assert ((points >= [k, j, i]) & (points < [k_end, j_end, i_end])).all()
    assert asked(engine)[-1]["prompts"][0]["kind"] == "lasso"


def test_in_a_case_without_regions_a_click_is_answered_around_it(
    user: User, views: LayoutManager, engine: AnsweringEngine
) -> None:
    made = make_case(user, load_ct(user, "CT"), "bare", model="demo", settings={})
    made.node.RemoveNodeReferenceIDs("ActiveSeg.Regions")
    user.widget.panel.case_changed(made)
    until(lambda: user.case == made)
    liver = tuple(int(n) for n in np.argwhere(made.read_back().labels == 1)[0])
    click(user, views, liver)
    until(lambda: user.logic.refining.answer is not None)
    assert asked(engine)[-1]["prompts"][0]["structure"] == "liver", "the one under the click"
    before = made.read_back().labels
    user.ui.takeAlternativeButton.click()
    after = made.read_back().labels
    assert ((after == 1) >= (before == 1)).all()
    assert user.logic.refining.prompts == ()


# What goes wrong.


@pytest.mark.parametrize("damage", ["values", "shape", "kind", "missing"])
def test_an_answer_that_is_no_answer_is_refused_and_changes_nothing(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine, tmp_path: Path, damage: str
) -> None:
    def damaged(params: Mapping[str, Any]) -> dict[str, Any]:
        made = answer(params, tmp_path, value=3 if damage == "values" else None)
        with np.load(made["patch"]) as file:
            arrays = dict(file)
        arrays["changed"][:] = True
        if damage == "shape":
            arrays["labels"] = arrays["labels"][1:]
        elif damage == "kind":
            arrays["labels"] = arrays["labels"].astype(float)
        elif damage == "missing":
            del arrays["changed"]
        np.savez(made["patch"], **arrays)
        return made

    before = case.read_back().labels.copy()
    engine.answers["refine"] = damaged
    click(user, views, INSIDE)
    until(lambda: user.widget.panel.message.text)
    assert user.logic.refining.prompts == ()
    assert marks(user) == []
    assert (case.read_back().labels == before).all()
    assert not user.logic.refining.is_asking


def test_a_session_that_is_gone_is_opened_again_without_a_word(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    good = engine.answers["refine"]
    gone = InputError("The case is not open.", session="unknown")
    engine.answers["refine"] = lambda params: gone if params["session"] == "old" else good(params)
    opened = iter(["old", "new"])
    engine.answers["refine.open"] = lambda _params: {
        "session": next(opened),
        "refiners": ["features"],
        "kept": True,
        "spreads": True,
    }
    click(user, views, INSIDE)
    answered(user)
    assert user.widget.panel.message.text == ""
    assert [params["session"] for params in asked(engine)] == ["old", "new"]


def test_a_session_that_goes_twice_is_told(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    engine.answers["refine"] = InputError("The case is not open.", session="unknown")
    click(user, views, INSIDE)
    until(lambda: user.widget.panel.message.text)
    assert len(asked(engine)) == 2
    assert marks(user) == []


def test_an_engine_that_ends_is_told_and_the_next_click_opens_the_case_in_the_new_one(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    good, engine.answers["refine"] = engine.answers["refine"], EngineError("The engine ended unexpectedly.")
    click(user, views, INSIDE)
    until(lambda: user.widget.panel.message.text)
    engine.answers["refine"], engine.pid = good, 2
    click(user, views, INSIDE)
    answered(user)
    assert asked(engine)[-1]["session"] == "s2"
    assert len(asked(engine)[-1]["prompts"]) == 1, "the one that failed is gone, with its mark"
    assert len(marks(user)) == 1


def test_an_answer_that_takes_long_can_be_given_up(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []
    monkeypatch.setattr(user.logic.engine, "cancel", ended.append)
    del engine.answers["refine"]
    click(user, views, INSIDE)
    until(lambda: not user.ui.promptCancelButton.isHidden())
    user.ui.promptCancelButton.click()
    assert len(ended) == 1
    assert user.logic.refining.prompts == ()
    assert marks(user) == []
    assert user.widget.panel.message.text == ""


def test_prompts_of_a_case_go_with_it(user: User, case: Any, views: LayoutManager, engine: AnsweringEngine) -> None:
    click(user, views, INSIDE)
    answered(user)
    other = make_case(user, load_ct(user, "other"), "other", model="demo", settings={})
    user.widget.panel.choose(other)
    until(lambda: user.case == other)
    assert marks(user) == []
    assert user.logic.refining.prompts == ()
    del engine.answers["refine"]
    click(user, views, INSIDE)
    user.core.scene.RemoveNode(other.node)
    pump()
    assert marks(user) == []
    user.core.scene.Clear()
    pump()
    assert not user.logic.refining.is_asking


def test_a_choice_of_who_answers_is_offered_only_where_there_is_one(
    user: User, case: Any, views: LayoutManager, engine: AnsweringEngine
) -> None:
    menu = user.ui.promptButton.menu()
    menu.aboutToShow.emit()
    kinds = ["Click", "Scribble", "Lasso", "Box"]
    assert [entry.text for entry in menu.actions()] == kinds
    click(user, views, INSIDE)
    answered(user)
    menu.aboutToShow.emit()
    entries = {entry.text: entry for entry in menu.actions() if entry.text}
    assert list(entries)[4:] == ["Best answer for this model", "By the network's features", "By edges in the image"]
    entries["By edges in the image"].trigger()
    click(user, views, INSIDE)
    until(lambda: len(asked(engine)) == 2)
    assert asked(engine)[-1]["refiner"] == "walker"


# How it looks.


def states(user: User, views: LayoutManager, engine: AnsweringEngine) -> Iterator[str]:
    ui = user.ui
    ui.promptButton.click()
    yield "waiting"
    views.draw(user.case.ct_node, INSIDE)
    answered(user)
    pump()
    yield "answered"
    del engine.answers["refine"]
    click(user, views, INSIDE)
    until(lambda: not ui.promptCancelButton.isHidden())
    yield "computing"


@pytest.mark.parametrize("theme", Theme)
def test_it_can_be_read_and_fits(
    application: Any,
    user: User,
    case: Any,
    views: LayoutManager,
    engine: AnsweringEngine,
    tmp_path: Path,
    theme: Theme,
) -> None:
    dress(application, theme)
    wrong = {}
    for state in states(user, views, engine):
        for room in ROOMS:
            place(user.module.parent, room)
            grab(user.module.parent, tmp_path / f"{state}_{room.name}_{theme.value}.png")
            wrong[state, room.name] = findings(user.module.parent, room)
    dress(application, Theme.LIGHT)
    assert {state: found for state, found in wrong.items() if found} == {}

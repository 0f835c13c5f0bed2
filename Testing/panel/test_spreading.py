"""*Apply to the rest of this case* on the page *Review*: what would change is shown before any of it is taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from answering_engine import AnsweringEngine
from loaded_cases import pump
from pictures_checks import findings
from pictures_look import ROOMS, Theme, dress, grab, place
from PySide6 import QtCore
from refining_engine import refining_engine
from review_scene import NAMES, SHAPE, big_case, region
from stand_in_views import LayoutManager
from user import User, until

from activeseg.core.correction import patch_names
from activeseg.core.errors import EngineError

COUNT = 10
SPLEEN, LIVER, COLON = (NAMES.index(name) + 1 for name in ("spleen", "liver", "colon"))


@pytest.fixture
def engine(user: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AnsweringEngine:
    return refining_engine(user, monkeypatch, tmp_path)


@pytest.fixture
def views(user: User) -> LayoutManager:
    slicer.app.layout = LayoutManager(user.core)
    return slicer.app.layout


@pytest.fixture
def case(user: User, engine: AnsweringEngine, tmp_path: Path) -> Any:
    """Ten regions: 3 is accepted, 4 corrected, 5 skipped, 9 accepted, 10 corrected."""
    engine.answers["spread"] = lambda params: proposal(params, tmp_path)
    engine.answers["spread.taken"] = lambda _params: new_regions(tmp_path)
    made = big_case(user, COUNT)
    made.update_record({**made.record, "model": "demo", "settings": {}})
    user.widget.panel.case_changed(made)
    until(lambda: user.case == made and user.logic.review.current == 1)
    user.widget.panel.message.clear()
    return made


def proposal(params: Mapping[str, Any], folder: Path, shift: int = 0) -> dict[str, Any]:
    """The spleen loses a slice to the liver beside it, the liver grows, and the colon shrinks, everywhere."""
    labels = np.load(params["labels"])
    after = labels.copy()
    rows = np.zeros(SHAPE, bool)
    rows[10:14] = True
    after[(labels == SPLEEN) & rows] = LIVER
    after[(labels == COLON) & rows] = 0
    after[1:3, 1:4, 1:4] = LIVER
    for number in (3, 4):  # an engine that does not keep its word
        (k, _), (j, _), (i, _) = region(number)["box_kji"]
        after[k, j, i] = LIVER
    path = folder / f"after{len(list(folder.glob('after*')))}.npy"
    np.save(path, after + shift)
    return {
        "offered": True,
        "why": "Left-out regions improve by 0.05.",
        "expected_gain": 0.052,
        "regions_used": [3, 4, 9, 10],
        "changes": [],
        "labels": str(path),
    }


def new_regions(folder: Path) -> dict[str, Any]:
    """One, with one alternative."""
    entry = {**region(1), "number": COUNT + 1, "box_kji": [[1, 5], [1, 5], [1, 5]]}
    entry["alternatives"] = entry["alternatives"][:1]
    labels, changed = patch_names(COUNT + 1, 1)
    np.savez(
        folder / "alternatives.npz", **{labels: np.full((4, 4, 4), LIVER, np.uint8), changed: np.ones((4, 4, 4), bool)}
    )
    geometry = {
        "shape_kji": list(SHAPE),
        "spacing_xyz_mm": [1.5, 1.5, 2.0],
        "origin_lps_mm": [0.0, 0.0, 0.0],
        "direction_lps": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    }
    return {"regions": [entry], "regions_folder": str(folder), "geometry": geometry}


def ask(user: User) -> None:
    user.ui.spreadButton.click()
    until(lambda: user.ui.spreadTable.rowCount)


def rows(user: User) -> list[tuple[str, str, str]]:
    table = user.ui.spreadTable
    return [tuple(table.item(row, column).text() for column in range(3)) for row in range(table.rowCount)]


def inside(labels: np.ndarray, number: int) -> np.ndarray:
    return labels[tuple(slice(*span) for span in region(number)["box_kji"])]


def labels_of(case: Any) -> np.ndarray:
    return case.read_back().labels.copy()


def changed_names(before: np.ndarray, after: np.ndarray) -> set[int]:
    return {int(v) for v in np.unique([before[before != after], after[before != after]])} - {0}


def untick(user: User, name: str) -> None:
    table = user.ui.spreadTable
    for row in range(table.rowCount):
        if table.item(row, 0).text() == name:
            table.item(row, 0).setCheckState(QtCore.Qt.CheckState.Unchecked)


def test_what_would_change_is_shown_first_and_taken_as_one_step(
    user: User,
    case: Any,
    engine: AnsweringEngine,
) -> None:
    before = labels_of(case)
    ask(user)
    assert {name for name, _gained, _lost in rows(user)} == {"spleen", "liver", "colon"}
    assert user.ui.spreadLabel.text.startswith("Expected where you have not corrected: Dice +5.2 points.")
    assert (labels_of(case) == before).all(), "nothing is taken yet"
    until(lambda: outlined(user) == {"value0", f"value{LIVER}"})
    user.ui.spreadApplyButton.click()
    after = labels_of(case)
    assert changed_names(before, after) == {SPLEEN, LIVER, COLON}
    for number in (3, 4, 9, 10):
        assert (inside(after, number) == inside(before, number)).all(), f"region {number} was reviewed"
    assert outlined(user) == set()
    until(lambda: len(user.listed) == 6)
    user.ui.undoButton.click()
    assert (labels_of(case) == before).all()


def outlined(user: User) -> set[str]:
    node = user.core.scene.GetFirstNodeByName("Alternative")
    if node is None or not node.GetDisplayVisibility():
        return set()
    return set(node.GetSegmentation().GetSegmentIDs())


def test_only_what_is_ticked_changes(user: User, case: Any) -> None:
    before = labels_of(case)
    ask(user)
    untick(user, "spleen")
    user.ui.spreadApplyButton.click()
    after = labels_of(case)
    assert changed_names(before, after) == {LIVER, COLON}
    assert ((after == SPLEEN) == (before == SPLEEN)).all()


def test_without_a_tick_there_is_nothing_to_apply(user: User, case: Any) -> None:
    ask(user)
    user.ui.spreadNoneButton.click()
    assert not user.ui.spreadApplyButton.enabled
    until(lambda: outlined(user) == set())
    user.ui.spreadAllButton.click()
    assert user.ui.spreadApplyButton.enabled


def test_the_list_is_found_again_and_what_was_decided_stays(
    user: User,
    case: Any,
    engine: AnsweringEngine,
) -> None:
    decided = {row.number: row.state for row in user.logic.review.rows() if row.state.value != "open"}
    pictures_before = case.alternatives(4)[0].patch.labels
    ask(user)
    user.ui.spreadApplyButton.click()
    until(lambda: COUNT + 1 in user.listed)
    now = {row.number: row.state for row in user.logic.review.rows()}
    assert {number: state for number, state in now.items() if number <= COUNT} == decided
    assert now[COUNT + 1].value == "open"
    assert user.logic.review.current == COUNT + 1, "the first that is open"
    assert (case.alternatives(4)[0].patch.labels == pictures_before).all()
    assert len(case.alternatives(COUNT + 1)) == 1
    assert user.widget.panel.message.text == (
        "3 structures were changed in the rest of this case. 1 new region to review."
    )
    sent = next(params for name, params in engine.asked if name == "spread.taken")
    assert len(sent["reviewed"]) == COUNT
    user.ui.messageActionButton.click()
    pump()
    assert user.listed[-1] == COUNT + 1, "the list stays"


def test_no_open_region_counts_as_corrected_by_it(user: User, case: Any, engine: AnsweringEngine) -> None:
    del engine.answers["spread.taken"]
    before = user.states()
    ask(user)
    user.ui.spreadApplyButton.click()
    pump()
    user.widget.panel.segmentation_edited()
    assert user.states() == before


def test_what_was_edited_meanwhile_stays(user: User, case: Any) -> None:
    ask(user)
    user.paint(case, "aorta", ((1, 2), (1, 4), (1, 4)))
    user.ui.spreadApplyButton.click()
    after = labels_of(case)
    assert (after[1, 1:4, 1:4] == NAMES.index("aorta") + 1).all()
    assert (after[2, 1:4, 1:4] == LIVER).all()


def test_a_row_leads_to_where_its_structure_changes(
    user: User,
    case: Any,
    views: LayoutManager,
) -> None:
    ask(user)
    user.ui.spreadTable.selectRow([name for name, _g, _l in rows(user)].index("colon"))
    to_ras = views.view.mrmlSliceNode().GetSliceToRAS()
    z = to_ras.GetElement(2, 3)
    assert 2.0 * 10 <= z < 2.0 * 14


# Before there is a proposal.


def test_the_button_says_what_is_missing(user: User, case: Any) -> None:
    assert user.ui.spreadButton.enabled
    for number, state in ((4, "open"), (10, "accepted")):
        from activeseg.core.correction import RegionState

        case.regions.set_state(number, RegionState(state))
    user.widget.panel.update()
    assert not user.ui.spreadButton.enabled
    assert "at least one of them corrected" in user.ui.spreadButton.toolTip


@pytest.mark.parametrize("how", ["refused", "impossible", "empty"])
def test_where_nothing_is_offered_a_sentence_says_why(
    user: User,
    case: Any,
    engine: AnsweringEngine,
    tmp_path: Path,
    how: str,
) -> None:
    if how == "refused":
        engine.answers["spread"] = {"offered": False, "why": "It would make a left-out region worse."}
    elif how == "impossible":
        engine.answers["refine.open"] = {
            "session": "s1",
            "refiners": ["walker"],
            "kept": True,
            "spreads": False,
            "why_not": "The model tells no features.",
        }
    else:
        np.save(tmp_path / "same.npy", labels_of(case))
        engine.answers["spread"] = {"offered": True, "why": "", "labels": str(tmp_path / "same.npy")}
    user.ui.spreadButton.click()
    until(lambda: user.widget.panel.message.text)
    assert (
        user.widget.panel.message.text
        == {
            "refused": "It would make a left-out region worse.",
            "impossible": "The model tells no features.",
            "empty": "Nothing would improve in the rest of this case: it stays as it is.",
        }[how]
    )
    assert not user.widget.panel.review.spread.is_open
    assert user.ui.spreadButton.enabled


@pytest.mark.parametrize("damage", ["shape", "values", "kind", "none"])
def test_a_proposal_that_is_none_is_refused(
    user: User,
    case: Any,
    engine: AnsweringEngine,
    tmp_path: Path,
    damage: str,
) -> None:
    def damaged(params: Mapping[str, Any]) -> dict[str, Any]:
        made = proposal(params, tmp_path, shift=100 if damage == "values" else 0)
        after = np.load(made["labels"])
        if damage == "shape":
            after = after[1:]
        elif damage == "kind":
            after = after.astype(float)
        np.save(tmp_path / "damaged.npy", after)
        return {**made, "labels": None if damage == "none" else str(tmp_path / "damaged.npy")}

    before = labels_of(case)
    engine.answers["spread"] = damaged
    user.ui.spreadButton.click()
    until(lambda: user.widget.panel.message.text)
    assert "damaged" in user.widget.panel.message.text or "does not know" in user.widget.panel.message.text
    assert not user.widget.panel.review.spread.is_open
    assert (labels_of(case) == before).all()


def test_it_can_be_cancelled_while_it_is_computed_and_after(
    user: User,
    case: Any,
    engine: AnsweringEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = []
    monkeypatch.setattr(user.logic.engine, "cancel", ended.append)
    answer = engine.answers.pop("spread")
    user.ui.spreadButton.click()
    until(lambda: any(name == "spread" for name, _params in engine.asked))
    assert not user.ui.spreadProgressBar.isHidden()
    user.ui.spreadCancelButton.click()
    assert len(ended) == 1
    assert not user.widget.panel.review.spread.is_open
    engine.callbacks["spread"]["on_result"](answer(engine.asked[-1][1]))
    pump()
    assert not user.widget.panel.review.spread.is_open
    engine.answers["spread"] = answer
    before = labels_of(case)
    ask(user)
    user.ui.spreadCancelButton.click()
    assert (labels_of(case) == before).all()
    assert outlined(user) == set()


@pytest.mark.parametrize("leave", ["case", "scene", "step", "ct"])
def test_a_proposal_goes_with_its_case(user: User, case: Any, leave: str) -> None:
    ask(user)
    until(lambda: outlined(user) != set())
    if leave == "case":
        user.core.scene.RemoveNode(case.node)
    elif leave == "scene":
        user.core.scene.Clear()
    elif leave == "ct":
        user.core.scene.RemoveNode(case.ct_node)
    else:
        user.ui.exportStep.click()
    pump()
    assert outlined(user) == set()
    if leave == "step":
        user.ui.reviewStep.click()
        until(lambda: outlined(user) != set())
    else:
        assert not user.widget.panel.review.spread.is_open


def test_an_engine_that_ends_is_told_and_the_list_is_there_again(
    user: User,
    case: Any,
    engine: AnsweringEngine,
) -> None:
    engine.answers["spread"] = EngineError("The engine ended unexpectedly.")
    user.ui.spreadButton.click()
    until(lambda: user.widget.panel.message.text)
    assert not user.widget.panel.review.spread.is_open
    assert user.ui.spreadButton.enabled


def test_regions_that_cannot_be_found_again_leave_the_list_and_the_change(
    user: User,
    case: Any,
    engine: AnsweringEngine,
) -> None:
    engine.answers["spread.taken"] = EngineError("The engine ended unexpectedly.")
    before = labels_of(case)
    ask(user)
    user.ui.spreadApplyButton.click()
    until(lambda: user.widget.panel.message.text.startswith("The engine ended"))
    assert len(user.listed) == COUNT
    assert (labels_of(case) != before).any()
    user.ui.undoButton.click()
    assert (labels_of(case) == before).all()


# Offering it.


def correct(user: User, case: Any, number: int) -> None:
    user.choose_row(number)
    (k, _), (j, _), (i, _) = region(number)["box_kji"]
    user.paint(case, "aorta", ((k, k + 2), (j, j + 2), (i, i + 2)))
    user.widget.panel.segmentation_edited()
    user.ui.acceptButton.click()


def test_after_three_corrections_it_is_offered_once(user: User, case: Any) -> None:
    user.choose_row(1)
    user.ui.acceptButton.click()
    pump()
    assert user.widget.panel.message.text == ""
    correct(user, case, 2)
    until(lambda: user.widget.panel.message.text.startswith("3 regions are corrected."))
    user.widget.panel.message.clear()
    correct(user, case, 6)
    pump()
    assert user.widget.panel.message.text == ""


def test_the_offer_leads_to_the_proposal(user: User, case: Any) -> None:
    correct(user, case, 1)
    until(lambda: user.widget.panel.message.text)
    user.ui.messageActionButton.click()
    until(lambda: user.ui.spreadTable.rowCount)


def test_nothing_is_offered_where_it_cannot_be_done(
    user: User,
    case: Any,
    engine: AnsweringEngine,
) -> None:
    opened = {"session": "s1", "refiners": ["walker"], "kept": True, "spreads": False, "why_not": "No network."}
    engine.answers["refine.open"] = opened
    correct(user, case, 1)
    until(lambda: any(name == "refine.open" for name, _params in engine.asked))
    pump()
    assert user.widget.panel.message.text == ""


def test_when_all_is_decided_it_stands_beside_the_export(user: User, case: Any) -> None:
    while "open" in user.states():
        user.ui.acceptButton.click()
    assert user.widget.panel.message.text.startswith("All 10 regions are decided")
    assert user.ui.messageOtherButton.text == "Apply to the rest..."
    user.ui.messageOtherButton.click()
    until(lambda: user.ui.spreadTable.rowCount)


# How it looks.


def states(user: User, engine: AnsweringEngine) -> Iterator[str]:
    answer = engine.answers.pop("spread")
    user.ui.spreadButton.click()
    pump()
    yield "learning"
    user.ui.spreadCancelButton.click()
    engine.answers["spread"] = answer
    ask(user)
    yield "proposal"


@pytest.mark.parametrize("theme", Theme)
def test_it_can_be_read_and_fits(
    application: Any,
    user: User,
    case: Any,
    engine: AnsweringEngine,
    tmp_path: Path,
    theme: Theme,
) -> None:
    dress(application, theme)
    wrong = {}
    for state in states(user, engine):
        for room in ROOMS:
            place(user.module.parent, room)
            grab(user.module.parent, tmp_path / f"{state}_{room.name}_{theme.value}.png")
            wrong[state, room.name] = findings(user.module.parent, room)
    dress(application, Theme.LIGHT)
    assert {state: found for state, found in wrong.items() if found} == {}

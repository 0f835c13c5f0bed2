"""Prompts and spreading with the real engine: the demo model on a phantom, from the click to the undo."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import slicer
from kept_answers import KeptAnswers
from slicer_stand_in import LoadedModule
from stand_in_views import LayoutManager
from user import User, until

from activeseg.samples.phantom import PHANTOM_SCHEMA, Domain, make_phantom

SEED = 12


@pytest.fixture
def user(panel: LoadedModule, slicer_core: Any, kept: KeptAnswers) -> User:
    slicer.app.layout = LayoutManager(slicer_core)
    return User(panel, slicer_core, kept)


@pytest.fixture
def case(user: User) -> Any:
    user.load_ct(SEED)
    return user.segment()


def truth(case: Any, seed: int = SEED) -> np.ndarray:
    """What the person knows, in the values of the case's schema."""
    values = {label.name: label.value for label in case.schema.labels}
    table = np.zeros(len(PHANTOM_SCHEMA) + 1, np.uint8)
    for label in PHANTOM_SCHEMA.labels:
        table[label.value] = values.get(label.name, 0)
    return table[make_phantom(Domain.NATIVE, seed).labels.array]


def box_of(case: Any, number: int) -> tuple[slice, ...]:
    return tuple(slice(*span) for span in case.regions.region(number).box_kji)


def click_where_wrong(user: User, case: Any, number: int) -> str:
    """Say of a missed voxel in the middle of a region's mistake what it is; waits for the answer."""
    right, box = truth(case), box_of(case, number)
    missed = (case.read_back().labels != right)[box] & (right[box] > 0)
    places = np.argwhere(missed)
    at = places[np.abs(places - np.median(places, axis=0)).sum(axis=1).argmin()]
    structure = case.schema.labels[right[box][tuple(at)] - 1].name
    user.widget.panel.message.clear()
    user.ui.promptButton.click()
    user.ui.promptStructure.setEditText(structure.replace("_", " "))
    k, j, i = (int(n) + span.start for n, span in zip(at, box, strict=True))
    slicer.app.layout.draw(case.ct_node, (k, j, i))
    until(lambda: not user.logic.refining.is_asking)
    return structure


def test_clicks_repair_regions_and_each_is_undone(user: User, case: Any) -> None:
    right, repaired = truth(case), 0
    for number in (2, 4):
        user.choose_row(number)
        before, box = case.read_back().labels.copy(), box_of(case, number)
        structure = click_where_wrong(user, case, number)
        assert user.widget.panel.message.text == ""
        assert user.ui.alternativesList.item(0).text().startswith(f"Your click: {structure.replace('_', ' ')}")
        user.ui.takeAlternativeButton.click()
        after = case.read_back().labels.copy()
        outside = after != before
        outside[box] = False
        assert not outside.any()
        repaired += int((before != right)[box].sum()) - int((after != right)[box].sum())
        user.ui.undoButton.click()
        assert (case.read_back().labels == before).all()
    assert repaired > 20


def test_a_case_from_a_saved_scene_is_answered_without_its_draft(user: User, case: Any, tmp_path: Path) -> None:
    id = case.id
    slicer.util.saveScene(str(tmp_path / "case.mrb"))
    until(lambda: user.widget.panel.keeping.saving is None)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    slicer.app.layout = LayoutManager(user.core)
    until(lambda: user.case is not None and user.logic.review.current is not None)
    shutil.rmtree(user.logic.drafts.folder_of(id), ignore_errors=True)
    again = user.case
    assert again.id == id
    user.choose_row(2)
    click_where_wrong(user, again, 2)
    assert user.widget.panel.message.text == ""
    assert user.logic.refining.answer is not None


def test_an_engine_that_is_killed_costs_one_click_at_most(user: User, case: Any) -> None:
    user.choose_row(2)
    click_where_wrong(user, case, 2)
    user.ui.promptClearButton.click()
    pid = user.logic.engine.engine["pid"]
    user.ui.promptButton.click()
    (k, _), (j, _), (i, _) = case.regions.region(2).box_kji
    slicer.app.layout.draw(case.ct_node, (k, j, i))
    psutil.Process(pid).kill()
    until(lambda: not user.logic.refining.is_asking)
    told = user.widget.panel.message.text
    assert ("ended unexpectedly" in told) == (user.logic.refining.answer is None)
    click_where_wrong(user, case, 2)
    assert user.widget.panel.message.text == ""
    assert user.logic.refining.answer is not None
    assert user.logic.engine.engine["pid"] != pid


def test_two_cases_take_turns(user: User, case: Any) -> None:
    user.choose_row(2)
    click_where_wrong(user, case, 2)
    user.node.ct = user.load_ct(SEED + 1, "Other")
    until(lambda: user.case is None)
    other = user.segment()
    assert user.logic.refining.prompts == ()
    assert user.core.scene.GetFirstNodeByName("Prompt") is None
    user.widget.panel.choose(case)
    until(lambda: user.case == case and user.logic.review.current is not None)
    user.choose_row(2)
    click_where_wrong(user, case, 2)
    assert user.widget.panel.message.text == ""
    assert user.logic.refining.answer is not None
    assert other.id != case.id


# Spreading.


def correct(user: User, case: Any, number: int, right: np.ndarray) -> None:
    """As a person would with the editor: the region is as it should be, then it is accepted."""
    from ActiveSegModuleLib.scene.alternatives import LabelPatch, apply_alternative
    from ActiveSegModuleLib.scene.placement import geometry_of

    user.choose_row(number)
    box = case.regions.region(number).box_kji
    wanted, now = right[box_of(case, number)], case.labels_in(box)
    patch = LabelPatch(geometry_of(case.ct_node), box, wanted, wanted != now)
    user.widget.panel.write(lambda logic, save: apply_alternative(logic, case.segmentation, patch, save))
    user.widget.panel.segmentation_edited()
    user.ui.acceptButton.click()


def dice(labels: np.ndarray, right: np.ndarray, where: np.ndarray) -> float:
    scores = []
    for value in np.unique(right[where])[1:]:
        found, wanted = (labels == value) & where, (right == value) & where
        scores.append(2 * np.count_nonzero(found & wanted) / (np.count_nonzero(found) + np.count_nonzero(wanted)))
    return float(np.mean(scores))


def test_ten_corrected_regions_repair_the_rest(user: User, case: Any) -> None:
    right, elsewhere = truth(case), np.ones(case.original_on_ct().shape, bool)
    for number in list(user.listed):
        elsewhere[box_of(case, number)] = False
        correct(user, case, number, right)
    assert set(user.states()) == {"corrected"}
    before = case.read_back().labels.copy()
    user.ui.spreadButton.click()
    until(lambda: not user.logic.spreading.is_asking)
    assert user.ui.spreadTable.rowCount, user.widget.panel.message.text
    user.ui.spreadApplyButton.click()
    until(lambda: not user.logic.spreading.is_asking)
    after = case.read_back().labels.copy()
    assert (after == before)[~elsewhere].all(), "what was corrected stays"
    assert dice(after, right, elsewhere) > dice(before, right, elsewhere) + 0.01
    assert "to review" in user.widget.panel.message.text
    assert user.states()[:10] == ["corrected"] * 10
    assert set(user.states()[10:]) == {"open"}
    user.ui.undoButton.click()
    assert (case.read_back().labels == before).all()

"""A user lets the model learn from what he corrected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from kept_answers import KeptAnswers
from slicer_stand_in import LoadedModule
from user import User, until


def stage_of(user: User) -> str:
    """Of the last training; empty when there was none."""
    run = user.logic.training.run
    return run.stage if run is not None else ""


def face_of(user: User) -> str:
    """What the page *Learn* shows."""
    return str(user.ui.learnFaces.currentWidget().objectName)


@pytest.fixture
def user(panel: LoadedModule, slicer_core: Any, kept: KeptAnswers) -> User:
    return User(panel, slicer_core, kept)


@pytest.fixture
def project(user: User, tmp_path: Path) -> Path:
    """Begun in the panel, with one case to train on and one that is held out."""
    user.load_ct()
    user.choose_demo("1")
    folder = tmp_path / "livers"
    user.node.dataset = ""
    user.node.project = str(folder)
    until(lambda: user.ui.projectNewButton.enabled)
    user.ui.projectNewButton.click()
    until(lambda: user.logic.project.summary)
    for seed, patient in ((12, "one"), (13, "two")):
        user.core.scene.Clear(0)
        user.load_ct(seed, patient)
        assert user.node.project == str(folder), "a closed scene takes neither along"
        assert user.node.dataset == str(user.logic.project.summary.dataset)
        user.segment("1")
        user.ui.patientEdit.text = patient
        user.node.review = type(user.node.review)["ALL"]
        user.export(Path(user.node.dataset))
    until(lambda: len(user.logic.project.summary.cases) == 2)
    return folder


def test_a_project_is_begun_trained_and_its_version_chosen_by_hand(user: User, project: Path) -> None:
    summary = user.logic.project.summary
    assert list(summary.cases.values()) == ["train", "held out"]
    assert "1 corrected case is waiting" in user.ui.planBrowser.toPlainText()
    user.ui.epochsSpin.value, user.ui.iterationsSpin.value, user.ui.trainMembersSpin.value = 2, 1, 1
    until(lambda: user.ui.finetuneButton.enabled)
    user.ui.planButton.click()
    until(lambda: "2 epochs of 1" in user.ui.planBrowser.toPlainText())
    until(lambda: user.ui.finetuneButton.enabled)
    user.ui.finetuneButton.click()
    until(lambda: user.logic.training.runs)
    assert face_of(user) == "trainingFace"
    until(lambda: stage_of(user) == "done")
    until(lambda: user.ui.versionsTable.rowCount == 2)
    assert len(user.logic.training.epochs) == 2
    until(lambda: face_of(user) == "decisionFace")
    until(lambda: "v0001" in user.widget.panel.message.text)
    assert "v0001" in user.ui.decisionLabel.text
    assert user.ui.decisionTable.rowCount == len(user.logic.project.summary.versions[1].structures) > 0
    if user.logic.project.summary.current == "base":
        user.ui.versionsTable.selectRow(1)
        until(lambda: user.ui.versionPromoteButton.enabled)
        user.ui.versionPromoteButton.click()
    until(lambda: user.node.model == f"project:{project}")
    until(lambda: user.chosen_model == f"project:{project}")
    until(lambda: user.ui.segmentButton.enabled)
    user.press_segment()
    until(lambda: user.logic.segmenting.running is None)
    assert user.logic.segmenting.last_case.record["model"] == f"project:{project}@v0001"
    user.ui.versionRollbackButton.click()
    until(lambda: user.logic.project.summary.current == "base")


def test_a_training_stops_with_slicer_and_goes_on_when_it_comes_back(
    user: User, project: Path, slicer_core: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.ui.epochsSpin.value, user.ui.iterationsSpin.value, user.ui.trainMembersSpin.value = 30, 20, 1
    until(lambda: user.ui.finetuneButton.enabled)
    user.ui.finetuneButton.click()
    until(lambda: stage_of(user) == "training")
    user.ui.trainingPauseButton.click()
    until(lambda: user.logic.training.run.paused)
    user.widget.cleanup()
    again = LoadedModule(ROOT / "ActiveSegModule" / "ActiveSegModule.py")
    try:
        again.enter()
        later = User(again, slicer_core)
        until(lambda: stage_of(later) == "stopped")
        assert later.ui.trainingPauseButton.text == "Resume"
        assert face_of(later) == "trainingFace"
        until(lambda: "training of livers has stopped" in later.widget.panel.message.text)
        later.ui.segmentStep.click()
        until(lambda: later.ui.trainingPauseButton.enabled)
        assert later.ui.messageActionButton.text == "Resume"
        later.ui.messageActionButton.click()
        assert later.widget.panel.steps.current.value == "learn"
        until(lambda: stage_of(later) == "training")
        later.logic.training.leave = lambda go_on: None  # as when Slicer is killed: the training is not told
    finally:
        again.close()
        user.widget.cleanup = lambda: None
        user.module.parent.isEntered = False
    again = LoadedModule(ROOT / "ActiveSegModule" / "ActiveSegModule.py")
    try:
        again.enter()
        later = User(again, slicer_core)
        until(lambda: "training of livers is running" in later.widget.panel.message.text)
        assert face_of(later) == "trainingFace"
        until(lambda: later.ui.trainingCancelButton.enabled)
        asked: list[str] = []
        monkeypatch.setattr(later.widget.panel, "confirm", lambda question, *_: asked.append(question))
        later.ui.trainingCancelButton.click()
        assert "is lost" in asked[0]
        monkeypatch.undo()
        later.ui.trainingCancelButton.click()
        until(lambda: stage_of(later) == "cancelled")
    finally:
        again.close()
    assert list((project / "versions").glob("v*")) == []
    state = json.loads(next((project / "runs").glob("*/state.json")).read_text())
    assert state["stage"] == "cancelled"


def test_what_cannot_be_read_as_a_number_is_told(user: User, project: Path) -> None:
    until(lambda: user.ui.planButton.enabled)
    user.ui.rateEdit.text = "fast"
    user.ui.planButton.click()
    assert "'fast'" in user.widget.panel.message.text


def test_a_matching_that_cannot_be_is_told_and_taken_back(user: User, project: Path) -> None:
    selector = user.ui.matchTable.cellWidget(0, 1)
    assert selector.currentData == "spleen"
    selector.setCurrentIndex(selector.findData("liver"))
    user.widget.panel.message.clear()  # it tells where the last case was stored
    selector.activated.emit(selector.currentIndex)
    until(lambda: "liver" in user.widget.panel.message.text)
    assert user.ui.matchTable.cellWidget(0, 1).currentData == "spleen"
    assert user.logic.project.summary.matching["spleen"] == "spleen"

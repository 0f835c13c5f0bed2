"""The page *Learn*: what it shows and asks, by answers of an engine that says what a test wants."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import learning_answers as told
import pytest
from answering_engine import AnsweringEngine
from conftest import ENGINE_PYTHON
from loaded_cases import MODULE
from pictures_checks import findings
from pictures_look import ROOMS, Room, Theme, dress, grab, place
from slicer_stand_in import LoadedModule
from user import until

from activeseg.core.errors import ModelError

PICTURES = os.environ.get("ACTIVESEG_PICTURES", "")
STEPS_HEIGHT = 43 + 6


class Learn:
    """The page, a project folder, and the engine behind it."""

    def __init__(self, module: LoadedModule, engine: AnsweringEngine, folder: Path) -> None:
        self.module, self.engine, self.folder = module, engine, folder
        self.ui, self.panel = module.widget.ui, module.widget.panel
        self.logic = module.widget.logic

    def open(self, **changes: Any) -> None:
        """Open the project as the engine tells of it."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "project.json").write_text("{}")
        self.engine.answers["project.show"] = told.project(self.folder, **changes)
        self.panel.parameter_node.project = str(self.folder)
        until(lambda: self.logic.project.summary)
        from ActiveSegModuleLib.panel.steps import Step

        self.panel.steps.show(Step.LEARN)
        until(lambda: not self.logic.project.busy)

    @property
    def face(self) -> str:
        return str(self.ui.learnFaces.currentWidget().objectName)

    @property
    def step(self) -> str:
        return str(self.ui.learnStep.text).partition("\n")[2]


def seen_training(folder: Path) -> None:
    """What Slicer remembers of a training that went on when it was closed."""
    import qt

    seen = {"project": str(folder), "run": "20261129-120000", "stage": "training"}
    qt.QSettings().setValue("ActiveSeg/training", json.dumps(seen))


@pytest.fixture
def learn(slicer_core: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Learn]:
    monkeypatch.delenv(ENGINE_PYTHON, raising=False)
    module = LoadedModule(MODULE)
    engine = AnsweringEngine(module, monkeypatch)
    engine.answers["models.list"] = told.models()
    engine.answers["finetune.plan"] = told.plan()
    engine.answers["versions.compare"] = told.comparison()
    engine.answers["finetune.state"] = told.state("done")
    module.enter()
    yield Learn(module, engine, tmp_path / "livers")
    module.close()


# What stands on the page.


def test_without_a_project_a_card_says_what_one_is_for_and_what_is_missing(learn: Learn) -> None:
    assert learn.face == "beginFace"
    assert "is measured on cases that it has never seen" in learn.ui.beginLabel.text
    assert learn.ui.learnFacesFrame.isHidden()
    assert "Choose a folder above" in learn.ui.projectHintLabel.text
    assert not learn.ui.projectNewButton.enabled
    assert learn.step == ""


def test_a_plan_is_made_ahead_when_the_page_is_shown_and_a_case_waits(learn: Learn) -> None:
    learn.open()
    assert learn.face == "planFace"
    until(lambda: "about 95 min" in learn.ui.planBrowser.toPlainText())
    text = learn.ui.planBrowser.toPlainText()
    assert text.index("1 corrected case is waiting") < text.index("CT_0003") < text.index("begins with")
    assert learn.engine.methods().count("finetune.plan") == 1
    assert learn.step == "1 waiting"


def test_nothing_is_planned_ahead_where_nothing_waits(learn: Learn) -> None:
    learn.open(waiting=[], worth_it="Nothing new to learn from.")
    assert "finetune.plan" not in learn.engine.methods()
    assert "Nothing new to learn from." in learn.ui.planBrowser.toPlainText()
    assert learn.step == ""


def test_a_case_without_a_patient_is_told_where_its_training_is_planned(learn: Learn) -> None:
    learn.open(waiting=[], worth_it="Nothing new to learn from.", cases={"CT_0001": None})
    assert "no patient ID: 1. Assign it under Cases." in learn.ui.planBrowser.toPlainText()


def test_a_plan_that_cannot_be_made_ahead_says_why_in_its_place_and_is_not_tried_for_ever(learn: Learn) -> None:
    learn.engine.answers["finetune.plan"] = ModelError("The step does not fit into the memory.")
    learn.open()
    until(lambda: "does not fit" in learn.ui.planBrowser.toPlainText())
    learn.panel.update()
    learn.panel.update()
    assert learn.engine.methods().count("finetune.plan") == 1
    assert learn.panel.message.text == ""


def test_what_was_planned_on_the_screen_begins_without_a_question(
    learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn.open()
    until(lambda: learn.logic.training.planned is not None and learn.ui.finetuneButton.enabled)
    asked: list[str] = []
    monkeypatch.setattr(learn.panel, "confirm", lambda question, *_: asked.append(question))
    learn.engine.answers["finetune.start"] = told.state("waiting")
    learn.engine.answers["finetune.state"] = told.state("training", 3)
    learn.ui.finetuneButton.click()
    until(lambda: learn.face == "trainingFace")
    assert asked == []
    assert learn.step == "running 42 %"


def test_other_settings_are_planned_again_and_asked_about(learn: Learn, monkeypatch: pytest.MonkeyPatch) -> None:
    learn.open()
    until(lambda: learn.logic.training.planned is not None and learn.ui.finetuneButton.enabled)
    learn.ui.numbersButton.click()
    learn.ui.epochsSpin.setValue(5)
    asked: list[str] = []
    monkeypatch.setattr(learn.panel, "confirm", lambda question, *_: asked.append(question))
    learn.ui.finetuneButton.click()
    until(lambda: asked)
    assert "about 95 min" in asked[0]
    assert learn.engine.asked[-1][1]["changes"] == {"epochs": 5}
    assert not learn.logic.training.runs


# A training.


def test_curves_are_whole_again_after_a_restart(learn: Learn) -> None:
    learn.engine.answers["finetune.state"] = told.state("stopped", 42)
    learn.open(run=told.run("stopped"))
    until(lambda: len(learn.logic.training.epochs) == 42)
    assert learn.face == "trainingFace"
    assert learn.step == "stopped"
    assert learn.ui.trainingPauseButton.text == "Resume"
    assert learn.engine.asked[-1][1].get("after", 0) == 0


def test_closing_the_scene_takes_neither_project_nor_curves_along(learn: Learn) -> None:
    import slicer

    control = learn.folder / "runs" / "20261129-120000" / "control"
    control.parent.mkdir(parents=True)
    learn.ui.goOnCheckBox.click()
    learn.engine.answers["finetune.state"] = told.state("training", 42)
    learn.open(run=told.run("training"))
    until(lambda: len(learn.logic.training.epochs) >= 42)
    slicer.mrmlScene.Clear(0)
    until(lambda: learn.panel.parameter_node is not None and learn.panel.parameter_node.project == str(learn.folder))
    assert learn.face == "trainingFace"
    assert len(learn.logic.training.epochs) >= 42
    assert learn.ui.goOnCheckBox.checked
    learn.panel.learning.leave()
    assert not control.exists(), "the user wants it to go on"


def test_without_the_user_s_wish_a_training_is_told_to_stop_when_slicer_is_closed(learn: Learn) -> None:
    control = learn.folder / "runs" / "20261129-120000" / "control"
    control.parent.mkdir(parents=True)
    learn.engine.answers["finetune.state"] = told.state("training", 3)
    learn.open(run=told.run("training"))
    learn.panel.learning.leave()
    assert control.read_text("utf-8") == "stop"


def test_a_training_that_stopped_while_slicer_was_closed_is_told_with_resume(learn: Learn) -> None:
    seen_training(learn.folder)
    learn.engine.answers["finetune.state"] = told.state("stopped", 3)
    learn.engine.answers["finetune.control"] = told.state("waiting")
    learn.open(run=told.run("stopped"))
    until(lambda: "has stopped and can be resumed" in learn.panel.message.text)
    assert learn.ui.messageActionButton.text == "Resume"
    until(lambda: not learn.logic.project.busy)
    learn.ui.messageActionButton.click()
    assert learn.engine.asked[-1][0] == "finetune.control"
    assert learn.engine.asked[-1][1].get("control", "run") == "run"


def test_a_training_of_a_project_that_is_not_open_is_told_and_opens_it(
    slicer_core: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENGINE_PYTHON, raising=False)
    folder = tmp_path / "spleens"
    state = folder / "runs" / "20261129-120000" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text('{"stage": "stopped"}', "utf-8")
    (folder / "project.json").write_text("{}", "utf-8")
    seen_training(folder)
    module = LoadedModule(MODULE)
    try:
        engine = AnsweringEngine(module, monkeypatch)
        engine.answers["models.list"] = told.models()
        engine.answers["project.show"] = told.project(folder, run=told.run("stopped"))
        engine.answers["finetune.state"] = told.state("stopped", 3)
        module.enter()
        panel = module.widget.panel
        until(lambda: "The training of spleens has ended or stopped" in panel.message.text)
        module.widget.ui.messageActionButton.click()
        until(lambda: "spleens has stopped and can be resumed" in panel.message.text)
        assert str(module.widget.ui.learnFaces.currentWidget().objectName) == "trainingFace"
    finally:
        module.close()


def test_cancelling_names_the_hours_that_are_lost_and_no_is_to_keep(
    learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn.engine.answers["finetune.state"] = told.state("training", 50)
    learn.open(run=told.run("training"))
    until(lambda: learn.logic.training.epochs)
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(learn.panel, "confirm", lambda *texts: asked.append(texts))
    learn.ui.trainingCancelButton.click()
    assert "3 h 20 min" in asked[0][0]
    assert asked[0][1:] == ("Cancel training", "Keep training")
    assert "finetune.control" not in learn.engine.methods()


# The decision.


def ended(learn: Learn, promoted: bool, fallen: tuple[str, ...] = ()) -> None:
    """A training that runs while the panel is open, and ends."""
    learn.engine.answers["finetune.state"] = told.state("training", 3)
    learn.open(run=told.run("training"))
    until(lambda: len(learn.logic.training.epochs) == 3)
    verdict = told.BETTER if promoted else told.WORSE
    done = {"version": "v0001", "promoted": promoted, "verdict": verdict, "fraction": 1.0, "eta_s": None}
    after = (0.745, 0.820) if promoted else (0.745, 0.731)
    learn.engine.answers["project.show"] = told.project(
        learn.folder,
        run=told.run("done", **done),
        versions=[told.version("base"), told.version("v0001", *after, verdict, fallen)],
        current="v0001" if promoted else "base",
        waiting=[] if promoted else ["CT_0001"],
    )
    learn.engine.answers["finetune.state"] = told.state("done", 0, **done)
    until(lambda: learn.face == "decisionFace" and learn.ui.decisionTable.rowCount)


def test_a_promotion_is_told_with_its_gain_and_the_table_of_structures(learn: Learn) -> None:
    learn.panel.parameter_node.model = "demo"
    ended(learn, promoted=True)
    assert learn.panel.message.text == "v0001 is better (Dice 0.745 → 0.820) and is used from now on."
    assert "v0001 is better" in learn.ui.decisionLabel.text
    row = [learn.ui.decisionTable.item(0, column).text() for column in range(5)]
    assert row == ["liver", "0.700", "0.760", "41,250", "1"]
    assert learn.step == "v0001"


def test_a_refusal_says_why_and_marks_what_fell(learn: Learn) -> None:
    ended(learn, promoted=False, fallen=("spleen",))
    assert "spleen from 0.912 to 0.870" in learn.panel.message.text
    assert "is kept, and not used" in learn.ui.decisionLabel.text
    assert learn.ui.decisionTable.item(1, 0).toolTip() == "Fell by more than allowed"


def test_a_decision_stays_after_a_restart_until_it_is_put_away(learn: Learn) -> None:
    ended(learn, promoted=False)
    learn.ui.nextTrainingButton.click()
    until(lambda: learn.face == "planFace")
    learn.panel.refresh_project()
    until(lambda: not learn.logic.project.busy)
    assert learn.face == "planFace"


def test_a_case_that_is_stored_after_the_decision_leads_back_to_the_plan(learn: Learn) -> None:
    ended(learn, promoted=True)
    shown = dict(learn.engine.answers["project.show"])  # type: ignore[arg-type]
    learn.engine.answers["project.show"] = {**shown, "waiting": ["CT_0004"]}
    learn.panel.refresh_project()
    until(lambda: learn.face == "planFace")


# Pictures.


def begin(learn: Learn) -> None:
    from ActiveSegModuleLib.panel.steps import Step

    learn.panel.steps.show(Step.LEARN)
    learn.panel.parameter_node.project = str(learn.folder)
    learn.panel.update()


def planned(learn: Learn) -> None:
    learn.open()
    until(lambda: learn.logic.training.planned is not None)


def settings(learn: Learn) -> None:
    planned(learn)
    learn.ui.numbersButton.setChecked(True)


def running(learn: Learn) -> None:
    learn.engine.answers["finetune.state"] = told.state("training", 42)
    learn.open(run=told.run("training"))
    until(lambda: learn.logic.training.epochs)


def promoted(learn: Learn) -> None:
    ended(learn, promoted=True)
    learn.panel.message.clear()


def refused(learn: Learn) -> None:
    ended(learn, promoted=False, fallen=("spleen", "pancreas"))
    learn.panel.message.clear()


def curves(learn: Learn) -> None:
    promoted(learn)
    learn.ui.curvesButton.setChecked(True)


def cases(learn: Learn) -> None:
    learn.open()
    learn.ui.projectCasesButton.click()
    learn.ui.projectCasesTable.selectRow(2)


def versions(learn: Learn) -> None:
    ended(learn, promoted=False)
    learn.panel.message.clear()
    learn.ui.projectVersionsButton.click()
    learn.ui.versionsTable.selectRow(1)


def compared(learn: Learn) -> None:
    versions(learn)
    until(lambda: learn.ui.versionCompareButton.enabled)
    learn.ui.versionCompareButton.click()
    until(lambda: not learn.ui.comparisonFrame.isHidden())


STATES = (begin, planned, settings, running, promoted, refused, curves, cases, versions, compared)


@pytest.mark.parametrize("show", STATES, ids=lambda show: show.__name__)
def test_every_state_of_the_page_is_seen_whole(learn: Learn, application: Any, tmp_path: Path, show: Any) -> None:
    show(learn)
    folder = Path(PICTURES) if PICTURES else tmp_path
    whole = learn.module.parent
    whole.layout().setContentsMargins(0, 0, 0, 0)
    wrong = []
    for theme in Theme:
        dress(application, theme)
        for room in ROOMS:
            place(whole, room)
            page = Room(room.name, room.width, room.height - STEPS_HEIGHT)
            wrong += [f"{theme.value}, {room.name}: {found}" for found in findings(learn.ui.learnPage, page)]
            grab(whole, folder / f"{show.__name__}_{theme.value}_{room.name}.png")
    dress(application, Theme.LIGHT)
    assert wrong == []


def test_the_words_of_a_decision_are_shown_as_they_are(learn: Learn, monkeypatch: pytest.MonkeyPatch) -> None:
    """They name structures, and what a dataset calls a structure may look like HTML."""
    monkeypatch.setattr(told, "WORSE", "Refused: liver <i>left</i> fell.")
    ended(learn, promoted=False, fallen=("spleen",))
    assert "liver &lt;i&gt;left&lt;/i&gt; fell" in learn.ui.decisionLabel.text

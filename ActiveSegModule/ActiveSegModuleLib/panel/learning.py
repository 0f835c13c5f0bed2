"""The step *Learn*: which of its faces is shown, and how it stands on the button of the step."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from slicer.i18n import tr as _

from activeseg.client.messages.learning import FinetuneState, ProjectResult

from ..engine.signals import connect
from ..logic.learning import Stand
from ..logic.training import ENDED, stage_on_disk, training_seen
from ..slicer_types import Widget
from .decision import DecisionSection
from .project import ProjectSection
from .project_cases import ProjectCasesSection
from .section import Panel, Section
from .steps import Mark, Step, StepState, turn_to
from .training import TrainingSection
from .training_plan import PlanSection
from .versions import VersionsSection


class Part(Enum):
    """What the user looks at of an open project."""

    TRAINING = "training"
    CASES = "cases"
    VERSIONS = "versions"


class LearningSection(Section):
    """Everything about a project. The training's face turns with the work: plan, progress, decision."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        logic, ui = panel.logic, self._ui
        self._project, self._training, self._learning = logic.project, logic.training, logic.learning
        self._part = Part.TRAINING
        self._shown_folder: Path | None = None
        self._looked_elsewhere = False
        self.project = ProjectSection(panel)
        self.training = TrainingSection(panel)
        self._parts = (
            *(self.project, ProjectCasesSection(panel), PlanSection(panel), self.training),
            *(DecisionSection(panel), VersionsSection(panel)),
        )
        self._project.follow(self._show)
        self._training.follow(self._show)
        for part, button in self._buttons():
            connect(button, "clicked()", lambda _checked=False, part=part: self._turn_to(part))
        ui.projectTrainingButton.setChecked(True)
        self._show()

    def update(self) -> None:
        """All parts, as they are now."""
        for part in self._parts:
            part.update()
        self._show()
        if not self._looked_elsewhere and self._panel.parameter_node is not None:
            self._looked_elsewhere = True
            self._tell_of_another_project()

    def refresh(self) -> None:
        """Ask again how the project stands."""
        self.project.refresh()

    def project_changed(self, summary: ProjectResult) -> None:
        """A project was read, or has a new version."""
        self.project.remember(summary)
        self.training.project_changed()

    def show_training(self) -> None:
        """Turn to the training."""
        self._turn_to(Part.TRAINING)
        self.training.show_training()

    def leave(self) -> None:
        """Slicer is closed, or the module reloaded."""
        self.training.leave()

    def _tell_of_another_project(self) -> None:
        """The training that was seen last is of a project that is not open: say once how far it is."""
        seen = training_seen(self._panel.settings)
        folder = Path(seen.get("project", ""))
        is_open = folder == self._project.folder
        if is_open or seen.get("stage", "done") in ENDED or not (folder / "project.json").is_file():
            return
        if stage_on_disk(seen) in ENDED:
            told = _("The training of {name} has ended or stopped meanwhile.")
        else:
            told = _("A training of {name} is running; it was started before Slicer.")
        self._panel.message.notice(told.format(name=folder.name), _("Open"), lambda: self._open(folder))

    def _open(self, folder: Path) -> None:
        self.project.turn_to(folder)
        self.show_training()

    def _turn_to(self, part: Part) -> None:
        self._part = part
        self._show()

    def _show(self) -> None:
        ui, stand = self._ui, self._learning.stand
        if self._project.folder != self._shown_folder:
            self._shown_folder, self._part = self._project.folder, Part.TRAINING
        ui.learnFacesFrame.setVisible(stand is not Stand.NO_PROJECT)
        for part, button in self._buttons():
            button.setChecked(part is self._part)
        summary = self._project.summary
        if summary is not None:
            ui.projectCasesButton.setText(_("Cases ({count})").format(count=len(summary.cases)))
            ui.projectVersionsButton.setText(_("Versions ({count})").format(count=len(summary.versions)))
        turn_to(ui.learnFaces, self._face(stand))
        self._panel.steps.tell(Step.LEARN, step_state(stand, self._training.run, summary))

    def _face(self, stand: Stand) -> Widget:
        ui = self._ui
        if stand is Stand.NO_PROJECT:
            return ui.beginFace
        if self._part is not Part.TRAINING:
            return ui.projectCasesFace if self._part is Part.CASES else ui.versionsFace
        return {Stand.PLANNING: ui.planFace, Stand.TRAINING: ui.trainingFace, Stand.DECIDED: ui.decisionFace}[stand]

    def _buttons(self) -> tuple[tuple[Part, Widget], ...]:
        ui = self._ui
        return (
            (Part.TRAINING, ui.projectTrainingButton),
            (Part.CASES, ui.projectCasesButton),
            (Part.VERSIONS, ui.projectVersionsButton),
        )


def step_state(stand: Stand, run: FinetuneState | None, summary: ProjectResult | None) -> StepState:
    """Two or three words for the button of the step."""
    if summary is None:
        return StepState()
    if stand is Stand.TRAINING and run is not None:
        percent = int(100 * run.fraction)
        if run.stage == "stopped":
            return StepState(_("stopped"), Mark.PROBLEM)
        if run.paused:
            return StepState(_("paused {percent} %").format(percent=percent))
        return StepState(_("running {percent} %").format(percent=percent), Mark.RUNNING)
    if run is not None and stand is Stand.DECIDED and run.stage == "failed":
        return StepState(_("failed"), Mark.PROBLEM)
    if summary.waiting:
        return StepState(_("{count} waiting").format(count=len(summary.waiting)))
    if summary.current != "base":
        return StepState(summary.current, Mark.DONE)
    return StepState()

"""The training in the section *Learn*: what it will do, how far it is, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.client.messages.learning import FinetunePlanResult, FinetuneState
from activeseg.core.errors import ActiveSegError, InputError

from ..engine.signals import connect, timer
from ..logic.training import ENDED, note_training, training_seen
from ..scene.training_chart import TrainingChart
from ..slicer_types import Node, Widget
from .project import ProjectPart
from .section import Panel
from .segmenting import time_text
from .steps import Step
from .tables import page

_LOOK_MS = 1000


class TrainingSection(ProjectPart):
    """Plans and starts a training of the project's model, and follows it."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._training = panel.logic.training
        self._chart = TrainingChart(panel.scene)
        self._plot: Widget = None
        self._looking = False
        self._shown_folder: Path | None = None
        self._caught_up: set[Path] = set()  # projects whose training was looked at since Slicer was started
        self._timer = timer(qt, _LOOK_MS, self._look)
        connect(ui.planButton, "clicked()", self.pressed(lambda: self._plan(None)))
        connect(ui.finetuneButton, "clicked()", self.pressed(lambda: self._plan(self._begin)))
        connect(ui.trainingPauseButton, "clicked()", self.pressed(self._on_pause))
        connect(ui.trainingCancelButton, "clicked()", self.pressed(self._on_cancel))

    def update(self) -> None:
        """Enable the buttons that can be used."""
        for button in (self._ui.planButton, self._ui.finetuneButton):
            button.enabled = self._is_free and self._project.summary is not None and not self._training.runs

    def show(self) -> None:
        """The state of the training; a plan goes with its project."""
        ui, training = self._ui, self._training
        run = training.run
        stopped = run is not None and run.stage == "stopped"
        if self._project.folder != self._shown_folder:
            self._shown_folder = self._project.folder
            ui.planBrowser.setVisible(False)
        ui.trainingFrame.setVisible(training.runs or stopped)
        ui.trainingLabel.text = run_text(run)
        ui.trainingBar.value = round(1000 * run.fraction) if run is not None else 0
        ui.trainingPauseButton.text = _("Resume") if training.waits else _("Pause")
        self._show_chart()
        self.update()

    def project_changed(self) -> None:
        """The project was read, begun or changed: its training is followed."""
        self._catch_up()
        if self._training.runs:
            self._timer.start()
            self._look()
        elif self._training.run is not None and not self._training.epochs:
            self._look()

    def leave(self) -> None:
        """Slicer is closed, or the module reloaded."""
        self._timer.stop()
        self._training.leave(go_on=self._panel.stored.goOn)

    def _show_chart(self) -> None:
        epochs = self._training.epochs
        if len(epochs) < 2:
            self._ui.chartFrame.setVisible(False)
            return
        self._chart.show(epochs)
        if self._plot is None:
            self._plot = self._made_plot()
        self._view_node().SetPlotChartNodeID(self._chart.node.GetID())
        self._ui.chartFrame.setVisible(True)
        self._plot.plotView().fitToContent()

    def _made_plot(self) -> Widget:
        plot = slicer.qMRMLPlotWidget()
        plot.setMRMLScene(self._panel.scene)
        plot.setMRMLPlotViewNode(self._view_node())
        plot.setMinimumHeight(220)
        plot.plotController().setVisible(False)
        self._ui.chartFrame.layout().addWidget(plot)
        return plot

    def _view_node(self) -> Node:
        node = self._panel.scene.GetSingletonNode("ActiveSeg", "vtkMRMLPlotViewNode")
        if node is None:
            node = slicer.vtkMRMLPlotViewNode()
            node.SetSingletonTag("ActiveSeg")
            node.SetLayoutName("ActiveSeg")
            node = self._panel.scene.AddNode(node)
            if self._plot is not None:  # a closed scene took the one before along
                self._plot.setMRMLPlotViewNode(node)
        return node

    def _plan(self, then: Callable[[], None] | None) -> None:
        """Plan with the settings of now, show the plan, and go on."""
        try:
            changes = self._changes()
        except ValueError as error:
            self._panel.show_error(InputError(f"A number cannot be read: {error}.", "Leave it empty, or correct it."))
            return
        self._ui.planBrowser.setVisible(False)

        def planned(result: FinetunePlanResult) -> None:
            self._ui.planBrowser.setHtml(page(result.rows, result.sentences))
            self._ui.planBrowser.setVisible(True)
            if then is not None:
                then()

        self.ask(self._training.plan, planned, changes, self._panel.parameter_node.device)

    def _changes(self) -> dict[str, int | float]:
        """What the user set; the rest is automatic. Raises ValueError."""
        ui = self._ui
        changes: dict[str, int | float] = {}
        for name, spin in (
            ("epochs", ui.epochsSpin),
            ("iterations", ui.iterationsSpin),
            ("members", ui.trainMembersSpin),
        ):
            if spin.value:
                changes[name] = int(spin.value)
        frozen, rate, replay = (str(edit.text).strip() for edit in (ui.frozenEdit, ui.rateEdit, ui.replayEdit))
        if frozen:
            changes["frozen_stages"] = int(frozen)
        changes.update({name: float(text) for name, text in (("learning_rate", rate), ("replay", replay)) if text})
        return changes

    def _begin(self) -> None:
        """Train as planned, when the user agrees."""
        planned = self._training.planned
        if planned is None:
            return
        rows = dict(planned.rows)
        question = _("Train on {cases} cases? It takes {time}, and {memory} of memory.")
        question = question.format(cases=rows["corrected cases"], time=rows["time"], memory=rows["memory"])
        if self._panel.confirm(question, _("Train")):
            self.ask(self._training.start, self._started)

    def _started(self, state: FinetuneState) -> None:
        self._ui.planBrowser.setVisible(False)
        self._chart.remove()
        self._steered(state)

    def _on_pause(self) -> None:
        self.ask(self._training.control, self._steered, "run" if self._training.waits else "pause")

    def _on_cancel(self) -> None:
        question = _("Cancel the training? Everything it has learned so far is lost; Pause would keep it.")
        if self._panel.confirm(question, _("Cancel training")):
            self.ask(self._training.control, self._steered, "cancel")

    def _steered(self, _state: FinetuneState) -> None:
        self._note()
        self.show()
        self._timer.start()

    def _look(self) -> None:
        """Every second while a training goes on, whatever else the user does."""
        has_engine = self._panel.logic.installation.obstacle is None
        if not self._looking and has_engine and self._project.folder is not None:
            self._looking = True
            self._training.look(self._looked, self._not_looked)

    def _looked(self, run: FinetuneState) -> None:
        self._looking = False
        self._note()
        self.show()
        if self._training.runs:
            return
        if self._timer.isActive():  # it has just ended
            self._timer.stop()
            self._panel.refresh_project()
            self._tell_end(run)

    def _not_looked(self, error: ActiveSegError) -> None:
        self._looking = False
        self._timer.stop()
        self._panel.show_error(error)

    def _tell_end(self, run: FinetuneState) -> None:
        """How a training ended."""
        name = self._project.folder.name if self._project.folder is not None else ""
        if run.stage == "failed":
            why = ActiveSegError.from_dict(run.error or {"message": _("The reason is in its log.")})
            self._panel.message.error(why, _("Show"), self.show_training)
        elif run.stage == "done":
            told = _("The training of {name} has ended. {version}: {verdict}")
            told = told.format(name=name, version=run.version, verdict=run.verdict)
            self._panel.message.notice(told, _("Show"), self.show_training)
        elif run.stage == "stopped":
            told = _("The training of {name} has stopped and can be resumed.").format(name=name)
            self._panel.message.notice(told, _("Show"), self.show_training)

    def show_training(self) -> None:
        """Turn to the step *Learn*."""
        self._panel.steps.show(Step.LEARN)

    def _catch_up(self) -> None:
        """Say once after the start of Slicer what a training does that goes on, or became of it meanwhile."""
        folder, run = self._project.folder, self._training.run
        if folder is None or folder in self._caught_up:
            return
        self._caught_up.add(folder)
        seen = training_seen(self._panel.settings)
        self._note()
        if run is None:
            return
        if self._training.runs:
            told = _("A training of {name} is running; it was started before Slicer.")
            self._panel.message.notice(told.format(name=folder.name), _("Show"), self.show_training)
        elif seen.get("run") == run.run and seen.get("stage") not in ENDED:
            self._tell_end(run)

    def _note(self) -> None:
        note_training(self._panel.settings, self._project.folder, self._training.run)


def run_text(run: FinetuneState | None) -> str:
    """How far a training is."""
    if run is None:
        return ""
    stages = {
        "waiting": _("Starting"),
        "preparing": _("Preparing the cases"),
        "training": _("Training"),
        "measuring": _("Measuring on the held-out cases"),
        "done": _("Done"),
        "failed": _("Failed"),
        "cancelled": _("Cancelled"),
        "stopped": _("Stopped; can be resumed"),
    }
    told = stages.get(run.stage, run.stage)
    if run.paused and run.stage == "training":
        told = _("Paused")
    if run.epoch:
        told = _("{what}: member {member}, epoch {epoch}").format(what=told, member=run.member, epoch=run.epoch)
    if run.loss is not None:
        told += _(", loss {loss:.3f}").format(loss=run.loss)
    if run.eta_s is not None:
        told += _(", {left} left").format(left=time_text(run.eta_s))
    return told

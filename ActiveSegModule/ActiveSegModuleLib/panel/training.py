"""A training in the step *Learn*: how far it is, how it is steered, and what became of it."""

from __future__ import annotations

from pathlib import Path

import qt
from slicer.i18n import tr as _

from activeseg.client.messages.learning import FinetuneState
from activeseg.core.errors import ActiveSegError

from ..engine.signals import connect, timer
from ..logic.learning import version_of
from ..logic.training import ENDED, GO_ON, goes_on, note_training, training_seen
from ..logic.training_curves import Curves, trained_seconds
from .project import ProjectPart
from .section import Panel
from .segmenting import time_text
from .steps import Step
from .training_curves import TrainingCurves

_LOOK_MS = 1000


class TrainingSection(ProjectPart):
    """Follows the last training of the project, and tells how it ended."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._training = panel.logic.training
        self._curves = TrainingCurves(ui.trainingCurvesFrame)
        ui.trainingCurvesFrame.layout().addWidget(self._curves)
        self._looking = False
        self._has_ended = False  # and is told once the project has been read again
        self._caught_up: set[Path] = set()  # projects whose training was looked at since Slicer was started
        self._timer = timer(qt, _LOOK_MS, self._look)
        self._training.follow(self.show)
        connect(ui.trainingPauseButton, "clicked()", self.pressed(self._on_pause))
        connect(ui.trainingCancelButton, "clicked()", self.pressed(self._on_cancel))
        ui.goOnCheckBox.setChecked(goes_on(panel.settings))
        connect(ui.goOnCheckBox, "toggled(bool)", self._on_go_on)

    def update(self) -> None:
        """Enable the buttons that can be used."""
        for button in (self._ui.trainingPauseButton, self._ui.trainingCancelButton):
            button.enabled = self._is_free

    def show(self) -> None:
        """How far it is."""
        ui, training = self._ui, self._training
        ui.trainingLabel.setText(run_text(training.run))
        ui.trainingBar.setValue(round(1000 * training.run.fraction) if training.run is not None else 0)
        ui.trainingPauseButton.setText(_("Resume") if training.waits else _("Pause"))
        self._curves.show_curves(Curves.of(training.epochs))
        if training.runs and not self._timer.isActive():
            self._timer.start()

    def project_changed(self) -> None:
        """The project was read, begun or changed: its training is followed."""
        self._catch_up()
        if self._has_ended and self._training.run is not None:
            self._has_ended = False
            self._tell_end(self._training.run)
        if self._training.runs or (self._training.run is not None and not self._training.epochs):
            self._look()

    def leave(self) -> None:
        """Slicer is closed, or the module reloaded."""
        self._timer.stop()
        self._training.leave(go_on=goes_on(self._panel.settings))

    def resume(self) -> None:
        """Go on with a training that is paused or has stopped."""
        self.show_training()
        self.ask(self._training.control, self._steered, "run")

    def show_training(self) -> None:
        """Turn to the step *Learn*."""
        self._panel.steps.show(Step.LEARN)

    def _on_go_on(self, wanted: bool) -> None:
        self._panel.settings.setValue(GO_ON, "true" if wanted else "")

    def _on_pause(self) -> None:
        self.ask(self._training.control, self._steered, "run" if self._training.waits else "pause")

    def _on_cancel(self) -> None:
        spent = trained_seconds(self._training.epochs)
        if spent:
            question = _("Cancel the training? What {time} of training have learned is lost; Pause would keep it.")
            question = question.format(time=hours_text(spent))
        else:
            question = _("Cancel the training? Everything it has learned so far is lost; Pause would keep it.")
        if self._panel.confirm(question, _("Cancel training"), _("Keep training")):
            self.ask(self._training.control, self._steered, "cancel")

    def _steered(self, _state: FinetuneState) -> None:
        self._note()
        self._timer.start()

    def _look(self) -> None:
        """Every second while a training goes on, whatever else the user does."""
        has_engine = self._panel.logic.installation.obstacle is None
        if not self._looking and has_engine and self._project.folder is not None:
            self._looking = True
            self._training.look(self._looked, self._not_looked)

    def _looked(self, _run: FinetuneState) -> None:
        self._looking = False
        self._note()
        if not self._training.runs and self._timer.isActive():  # it has just ended
            self._timer.stop()
            self._has_ended = True
            self._panel.refresh_project()

    def _not_looked(self, error: ActiveSegError) -> None:
        self._looking = False
        self._timer.stop()
        self._panel.show_error(error)

    def _tell_end(self, run: FinetuneState) -> None:
        """How a training ended."""
        name = self._project.folder.name if self._project.folder is not None else ""
        show = (_("Show"), self.show_training)
        if run.stage == "failed":
            why = ActiveSegError.from_dict(run.error or {"message": _("The reason is in its log.")})
            self._panel.message.error(why, *show)
        elif run.stage == "done" and run.promoted:
            self._tell_promotion(run, name)
        elif run.stage == "done":
            told = _("{version} is kept, and not used: {reason}").format(version=run.version, reason=run.verdict)
            self._panel.message.notice(told, *show)
        elif run.stage == "stopped":
            told = _("The training of {name} has stopped and can be resumed.").format(name=name)
            self._panel.message.notice(told, _("Resume"), self.resume, show)

    def _tell_promotion(self, run: FinetuneState, name: str) -> None:
        summary, node = self._project.summary, self._panel.stored
        entry = version_of(summary, run.version) if summary is not None else None
        dice = ""
        if entry is not None and entry.before is not None and entry.after is not None:
            dice = _(" (Dice {before:.3f} → {after:.3f})").format(before=entry.before, after=entry.after)
        show = (_("Show"), self.show_training)
        model = f"project:{self._project.folder}"
        if summary is not None and node.model in (summary.base_model, model):
            told = _("{version} is better{dice} and is used from now on.")
            self._panel.message.notice(told.format(version=run.version, dice=dice), *show)
        else:
            told = _("{version} is better{dice} and is the current version of {name}.")
            told = told.format(version=run.version, dice=dice, name=name)
            self._panel.message.notice(told, _("Segment with it"), lambda: self._use(model), show)

    def _use(self, model: str) -> None:
        self._panel.remember_model(model)
        self._panel.stored.model = model
        self._panel.steps.show(Step.SEGMENT)

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
        "stopped": _("Stopped, can be resumed"),
    }
    told = stages.get(run.stage, run.stage)
    if run.paused and run.stage == "training":
        told = _("Paused")
    if run.epoch:
        told = _("{what}: member {member}, epoch {epoch}").format(what=told, member=run.member, epoch=run.epoch)
    if run.loss is not None:
        told += _(", loss {loss:.3f}").format(loss=run.loss)
    if run.eta_s is not None and run.stage not in ENDED:
        told += _(", {left} left").format(left=hours_text(run.eta_s))
    return told


def hours_text(seconds: float) -> str:
    """A time that may be long, as an approximation."""
    minutes = round(seconds / 60)
    if minutes < 60:
        return time_text(seconds)
    return _("{hours} h {minutes} min").format(hours=minutes // 60, minutes=minutes % 60)

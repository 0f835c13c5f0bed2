"""The engine's part of the settings: how it is, and what can be done to it; the card of ``setup`` asks for the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError, Cancelled, EngineError

from ..engine.signals import connect, timer
from ..logic.environment_action import CHANGES
from ..logic.installation import Installation, PythonOrigin
from ..logic.situation import Situation, situation_of
from ..logic.sources import Sources
from .earlier import EarlierMessages
from .installation_texts import (
    WRONG,
    bar_text,
    damage_way_out,
    question_text,
    situation_text,
    size_text,
    working_text,
)
from .message import breakable
from .section import Panel, Section
from .setup import SetupCard
from .sources import RED, SourcesForm

STATISTICS = "ActiveSeg/usageStatistics"
LOG_LINES = 500


class InstallationSection(Section):
    """Installs, checks, repairs and removes the engine, after its size was told."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._installation: Installation = panel.logic.installation
        self._checked: Mapping[str, Any] | None = None
        self._told_damage = ""
        self._told_outdated = False
        self._action: Callable[[], None] | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._log_timer = timer(qt, 200, self._show_log, once=True)
        self.sources = SourcesForm(panel, self._on_sources)
        self.card = SetupCard(panel, self)
        self._earlier = EarlierMessages(panel)
        ui.statisticsCheckBox.checked = slicer.util.settingsValue(STATISTICS, False, converter=slicer.util.toBool)
        connect(ui.engineActionButton, "clicked()", self._on_action)
        connect(ui.installButton, "clicked()", self.card.open)
        connect(ui.updateButton, "clicked()", self.on_update)
        connect(ui.repairButton, "clicked()", self.repair)
        connect(ui.removeButton, "clicked()", self.on_remove)
        connect(ui.ownPythonButton, "clicked()", self.on_own_python)
        connect(ui.checkButton, "clicked()", self._on_check)
        connect(ui.engineStopButton, "clicked()", self._on_stop)
        connect(ui.engineCancelButton, "clicked()", self._installation.cancel)
        connect(ui.statisticsCheckBox, "toggled(bool)", lambda on: panel.settings.setValue(STATISTICS, bool(on)))
        connect(ui.logFolderButton, "clicked()", self._on_log_folder)

    @property
    def situation(self) -> Situation:
        """How the engine is now."""
        return situation_of(self._installation, self._panel.logic.engine)

    @property
    def text(self) -> str:
        """The same in a sentence."""
        return situation_text(self.situation, self._installation)

    def enter(self) -> None:
        """The panel was opened: the card says what keeps an engine from starting, with the way out."""
        if self._installation.is_incomplete or self._installation.is_busy_elsewhere:
            self._installation.look_again()
        self.card.enter()
        if self._installation.is_outdated and not self._told_outdated:
            self._told_outdated = True
            self._panel.message.warning(
                situation_text(Situation.OUTDATED, self._installation), *self.way_out(Situation.OUTDATED)
            )

    def show_obstacle(self, obstacle: EngineError) -> None:
        """A message with a button that leads to what helps."""
        self._panel.message.error(EngineError(obstacle.message, obstacle.action), _("Show"), self.card.show)

    def update(self) -> None:
        """Show how it is, as far as that can be seen without starting anything."""
        ui, installation, situation = self._ui, self._installation, self.situation
        working, engine = installation.working, self._panel.logic.engine
        running = bool(engine.engine) or engine.is_starting
        ui.engineStateLabel.text = breakable(situation_text(situation, installation))
        ui.engineStateLabel.setStyleSheet(RED if situation in WRONG else "")
        ui.engineDetailsLabel.text = self._details_text(installation.origin)
        label, self._action = self.way_out(situation)
        ui.engineActionButton.text = label
        ui.engineActionButton.setVisible(self._action is not None)
        ui.engineProgressFrame.setVisible(working is not None)
        if working is not None:
            ui.engineStageLabel.text = working_text(working)
            ui.engineProgressBar.setMaximum(1000 if working.stage else 0)  # 0: busy, it is not known how far
            ui.engineProgressBar.value = round(1000 * working.fraction)
            ui.engineProgressBar.format = bar_text(working)
            ui.engineCancelButton.enabled = working.action != "remove"
        # A variable that names a Python decides, whatever lies in the folder, unless that Python cannot be used.
        unusable = installation.variable_is_wrong or bool(installation.damage)
        free = working is None and (installation.origin is not PythonOrigin.VARIABLE or unusable)
        here = installation.installed
        ui.installButton.enabled = free and here is not PythonOrigin.OURS
        ui.updateButton.enabled = ui.repairButton.enabled = free and here is PythonOrigin.OURS
        ui.removeButton.enabled = free and (here is not PythonOrigin.NONE or installation.is_incomplete)
        ui.checkButton.enabled = free and (here is not PythonOrigin.NONE or installation.is_incomplete)
        ui.ownPythonButton.enabled = free
        is_there = here is not PythonOrigin.NONE or installation.is_incomplete
        for button in (ui.updateButton, ui.repairButton, ui.checkButton, ui.removeButton, ui.engineStopButton):
            button.setVisible(is_there or running)
        ui.installButton.setVisible(bool(ui.installButton.enabled) and self._action != self.card.open)
        ui.engineStopButton.enabled = running
        self.card.update(situation)
        self._tell_damage()

    def way_out(self, situation: Situation) -> tuple[str, Callable[[], None] | None]:
        """The one button that helps: its text, and what it does."""
        installation = self._installation
        is_ours = installation.installed is PythonOrigin.OURS
        repair_or_choose = (_("Repair..."), self.repair) if is_ours else (_("Use my own Python..."), self.on_own_python)
        ways: dict[Situation, tuple[str, Callable[[], None]]] = {
            Situation.MISSING: (_("Install..."), self.card.open),
            Situation.INCOMPLETE: (_("Resume..."), self.card.open),
            Situation.GONE: repair_or_choose,
            Situation.VARIABLE: (_("Ignore the variable"), self.on_ignore_variable),
            Situation.BUSY: (_("Look again"), installation.look_again),
            Situation.DAMAGED: (_("Repair..."), self.repair) if is_ours else (_("Install..."), self.card.open),
            Situation.OUTDATED: (_("Update..."), self.on_update),
        }
        return ways.get(situation, ("", None))

    def add_log_line(self, line: str) -> None:
        """Many lines come at once; the view is filled once for all of them."""
        self._log.append(line)
        if not self._log_timer.isActive():
            self._log_timer.start()

    def cleanup(self) -> None:
        self._log_timer.stop()
        self.sources.stop()

    # What the user asks for, here and on the card.

    def install(self) -> None:
        """Without another question: size and place are on the card."""
        self.change("install", self.sources.sources)

    def repair(self) -> None:
        """Install the engine again, when the user agrees."""
        told = _("The engine is installed again, with the same settings; until that is done the old one stays.")
        self._plan_again("repair", _("Repair"), f"{told}\n\n")

    def on_update(self) -> None:
        """Look whether there is anything to do; then as with a repair."""

        def checked(result: Mapping[str, Any]) -> None:
            self._changed(result)
            if result["state"] == "ready":
                self._panel.message.notice(_("The engine is up to date."))
            else:
                self._plan_again("update", _("Update"), "")

        self._run("check", checked)

    def on_remove(self) -> None:
        """Delete the engine, or what an installation has left, when the user agrees."""
        kept = self.card.kept_bytes
        if self._installation.is_incomplete:
            question = _("Remove what was downloaded for the engine from {folder} ({size})?")
        else:
            question = _(
                "Remove the engine from {folder}? It must be downloaded again to segment. Your datasets, "
                "models and projects stay."
            )
        if self._panel.confirm(question.format(folder=self._installation.folder, size=size_text(kept)), _("Remove")):
            self.change("remove")

    def on_own_python(self) -> None:
        """Let the user choose a Python."""
        python = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("A Python with torch, nnunetv2 and TotalSegmentator")
        )
        if python:
            self.change("use", python=str(python))

    def on_ignore_variable(self) -> None:
        """Go by what is installed, until Slicer ends."""
        self._installation.ignore_variable()
        self.update()
        self._panel.engine_changed()

    def change(self, action: str, sources: Sources | None = None, python: str = "") -> None:
        """What changes the environment; the engine must not run in it meanwhile."""
        self._panel.logic.segmenting.cancel()
        self._panel.logic.engine.shutdown()

        def done(result: Mapping[str, Any]) -> None:
            if action != "remove" and self._installation.origin is PythonOrigin.VARIABLE:
                self._installation.ignore_variable()  # what was just installed is meant to be used
            if action == "remove":
                self._changed(result)
                self._tell_removed(result)
            else:
                self.card.finished(action)
                self._changed(result)
                self.card.go_on()

        self._run(action, done, sources, python)

    def _plan_again(self, action: str, yes: str, told: str) -> None:
        """Size and time are told before anything is downloaded; ``yes`` is the button that does it."""
        sources = self.sources.proxy

        def planned(result: Mapping[str, Any]) -> None:
            if self._panel.confirm(told + question_text(result["plan"]), yes):
                self.change(action, sources)

        self._run("plan-again", planned, sources)

    def _run(
        self, action: str, done: Callable[[Mapping[str, Any]], None], sources: Sources | None = None, python: str = ""
    ) -> None:
        self._panel.message.clear()
        try:
            self._installation.run(action, done, lambda error: self._failed(action, error), sources, python)
        except ActiveSegError as error:
            self._failed("", error)

    # How it went.

    def _tell_damage(self) -> None:
        """Once, in the message bar, in place of what the engine itself said about it."""
        damage = self._installation.damage
        if damage == self._told_damage:
            return
        self._told_damage = damage
        if damage:
            what = _("The engine is damaged. {what}").format(what=damage)
            error = EngineError(what, damage_way_out(self._installation))
            label, action = self.way_out(Situation.DAMAGED)
            self._panel.message.error(error, label, action)

    def _details_text(self, origin: PythonOrigin) -> str:
        lines = []
        if origin is not PythonOrigin.NONE:
            whose = {
                PythonOrigin.OURS: _("Installed by ActiveSeg in {folder}").format(folder=self._installation.folder),
                PythonOrigin.OWN: _("Your own Python: {python}").format(python=self._installation.python),
                PythonOrigin.VARIABLE: _("Set by ACTIVESEG_ENGINE_PYTHON: {python}").format(
                    python=self._installation.python
                ),
            }
            lines.append(breakable(whose[origin]))
        checked = self._checked
        if checked is not None:
            lines.append(", ".join(f"{name} {version}" for name, version in checked.get("versions", {}).items()))
            if checked.get("size_bytes"):
                lines.append(_("{size} on disk").format(size=size_text(checked["size_bytes"])))
        return "\n".join(filter(None, lines))

    def _on_check(self) -> None:
        self._installation.damage = ""

        def checked(result: Mapping[str, Any]) -> None:
            self._changed(result)
            if result["state"] == "ready":
                self._panel.message.notice(_("All files of the engine are as they were installed."))

        self._run("check", checked)

    def _tell_removed(self, result: Mapping[str, Any]) -> None:
        kept = result.get("kept", ())
        told = _("The engine was removed.")
        if kept:
            told += " " + _("These files in its folder are not ActiveSeg's and stay: {names}.")
        self._panel.message.notice(told.format(names=", ".join(kept)))

    def _changed(self, result: Mapping[str, Any]) -> None:
        self._checked = result if "state" in result else None
        self.update()
        self._panel.engine_changed()

    def _failed(self, action: str, error: ActiveSegError) -> None:
        """Said in the message bar, with details; the card says what is kept."""
        self.card.stopped(action, error)
        self.update()
        if action in CHANGES or not isinstance(error, Cancelled):
            self._panel.show_error(error)
            self._panel.engine_changed()
        if isinstance(error, Cancelled) and action in CHANGES and not self._installation.is_incomplete:
            self._panel.message.notice(_("Cancelled. The engine is as it was before."))

    def _on_sources(self) -> None:
        self._checked = None
        self.update()

    def _on_action(self) -> None:
        if self._action is not None:
            self._action()

    def _on_stop(self) -> None:
        self._panel.logic.segmenting.cancel()
        self._panel.logic.engine.shutdown()
        self.update()

    def _show_log(self) -> None:
        self._ui.logView.setPlainText("\n".join(self._log))
        self._ui.logView.moveCursor(qt.QTextCursor.End)

    def _on_log_folder(self) -> None:
        log = self._panel.logic.engine.engine.get("log")
        folder = str(Path(log).parent) if log else ""
        if not folder or not qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(folder)):
            self._panel.message.notice(_("The log is in {folder}").format(folder=folder or _("no folder yet")))

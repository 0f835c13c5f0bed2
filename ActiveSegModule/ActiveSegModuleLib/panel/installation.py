"""The section *Engine*: whether it is there, how it gets there, and its log."""

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
from ..logic.installation import CHANGES, Installation, PythonOrigin, Sources
from ..slicer_types import Widget
from .installation_texts import question_text, size_text, working_text
from .section import Panel, Section
from .steps import Step

STATISTICS = "ActiveSeg/usageStatistics"
LOG_LINES = 500
_RED = "color: #d9363e"  # readable on light and on dark


class InstallationSection(Section):
    """Installs, checks, repairs and removes the engine, after a question each time."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._installation: Installation = panel.logic.installation
        self._checked: Mapping[str, Any] | None = None
        self._failure: ActiveSegError | None = None
        self._told_damage = ""
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._log_timer = timer(qt, 200, self._show_log, once=True)
        for text, torch in ((_("detect automatically"), "auto"), (_("CPU only"), "cpu")):
            ui.torchSelector.addItem(text, torch)
        self._show_sources(self._installation.sources)
        ui.statisticsCheckBox.checked = slicer.util.settingsValue(STATISTICS, False, converter=slicer.util.toBool)
        connect(ui.installButton, "clicked()", self._on_install)
        connect(ui.setupButton, "clicked()", self._on_install)
        connect(ui.setupMoreButton, "clicked()", panel.steps.show_settings)
        connect(ui.updateButton, "clicked()", self._on_update)
        connect(ui.repairButton, "clicked()", self.repair)
        connect(ui.removeButton, "clicked()", self._on_remove)
        connect(ui.ownPythonButton, "clicked()", self._on_own_python)
        connect(ui.checkButton, "clicked()", self._on_check)
        connect(ui.engineStopButton, "clicked()", self._on_stop)
        connect(ui.engineCancelButton, "clicked()", self._installation.cancel)
        connect(ui.engineFolderBrowseButton, "clicked()", lambda: self._on_browse(ui.engineFolderEdit))
        connect(ui.wheelsBrowseButton, "clicked()", lambda: self._on_browse(ui.wheelsEdit))
        connect(ui.engineFolderEdit, "editingFinished()", self._on_folder)
        for edit in (ui.wheelsEdit, ui.proxyEdit):
            connect(edit, "editingFinished()", self._on_sources)
        connect(ui.offlineCheckBox, "toggled(bool)", lambda _on: self._on_sources())
        connect(ui.torchSelector, "activated(int)", lambda _index: self._on_sources())
        connect(ui.statisticsCheckBox, "toggled(bool)", lambda on: panel.settings.setValue(STATISTICS, bool(on)))
        connect(ui.logFolderButton, "clicked()", self._on_log_folder)

    def enter(self) -> None:
        """The panel was opened: what keeps an engine from starting is said where it is seen, with the way out."""
        obstacle = self._installation.obstacle
        if obstacle is not None:
            self.show_obstacle(obstacle)
        if self._installation.is_incomplete and self._checked is None:
            self._look(self._changed)  # how much lies there

    def show_obstacle(self, obstacle: EngineError) -> None:
        """A message with the button that helps."""
        told = EngineError(obstacle.message, obstacle.action)
        if obstacle.details.get("cause") == "variable":
            self._panel.message.error(told, _("Ignore the variable"), self._on_ignore_variable)
        else:
            self._panel.message.error(told, _("Set up the engine"), self._panel.steps.show_settings)

    def update(self) -> None:
        """Show how it is, as far as that can be seen without starting anything."""
        ui, installation = self._ui, self._installation
        working, running = installation.working, bool(self._panel.logic.engine.engine)
        ui.engineStateLabel.text, is_wrong = self._state(running)
        ui.engineStateLabel.setStyleSheet(_RED if is_wrong else "")
        ui.engineDetailsLabel.text = self._details_text(installation.origin)
        if not ui.engineFolderEdit.hasFocus():
            ui.engineFolderEdit.text = str(installation.folder)
        ui.engineProgressFrame.setVisible(working is not None)
        if working is not None:
            ui.engineStageLabel.text = working_text(working)
            ui.engineProgressBar.setMaximum(1000 if working.stage else 0)  # 0: busy, it is not known how far
            ui.engineProgressBar.value = round(1000 * working.fraction)
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
        ui.engineStopButton.enabled = running
        self._panel.steps.set_setup_needed(installation.obstacle is not None)
        ui.setupLabel.text = ui.engineStateLabel.text
        self._tell_damage()

    def add_log_line(self, line: str) -> None:
        """Many lines come at once; the view is filled once for all of them."""
        self._log.append(line)
        if not self._log_timer.isActive():
            self._log_timer.start()

    def cleanup(self) -> None:
        self._log_timer.stop()

    def _show_log(self) -> None:
        self._ui.logView.setPlainText("\n".join(self._log))
        self._ui.logView.moveCursor(qt.QTextCursor.End)

    def _state(self, running: bool) -> tuple[str, bool]:
        """One sentence, and whether it is about something wrong."""
        installation, working = self._installation, self._installation.working
        if working is not None and working.action in CHANGES:
            return str(installation.obstacle), False
        if self._failure is not None:
            return str(self._failure), True
        obstacle = installation.obstacle
        if obstacle is not None and obstacle.details["cause"] == "missing":
            return _("The engine is not installed. It is a Python environment of its own, outside of Slicer's."), False
        if obstacle is not None:
            return str(obstacle), True
        if installation.damage:
            return _("The engine is damaged. {what} {way_out}").format(
                what=installation.damage, way_out=self._way_out
            ), True
        return (
            _("The engine is running.") if running else _("The engine is ready; it starts when it is needed.")
        ), False

    @property
    def _way_out(self) -> str:
        if self._installation.origin is PythonOrigin.OURS:
            return _("Press Repair.")
        return _("Install what is missing into that Python, or let ActiveSeg install an environment of its own.")

    def _tell_damage(self) -> None:
        """Once, in the message bar, in place of what the engine itself said about it."""
        damage = self._installation.damage
        if damage == self._told_damage:
            return
        self._told_damage = damage
        if damage:
            error = EngineError(_("The engine is damaged. {what}").format(what=damage), self._way_out)
            if self._installation.origin is PythonOrigin.OURS:
                self._panel.message.error(error, _("Repair..."), self.repair)
            else:
                self._panel.message.error(error)

    def _details_text(self, origin: PythonOrigin) -> str:
        lines = []
        if origin is not PythonOrigin.NONE:
            whose = {
                PythonOrigin.OURS: _("Installed by ActiveSeg in {folder}.").format(folder=self._installation.folder),
                PythonOrigin.OWN: _("Your own Python: {python}").format(python=self._installation.python),
                PythonOrigin.VARIABLE: _("Set by ACTIVESEG_ENGINE_PYTHON: {python}").format(
                    python=self._installation.python
                ),
            }
            lines.append(whose[origin])
        checked = self._checked
        if checked is not None:
            lines.append(", ".join(f"{name} {version}" for name, version in checked.get("versions", {}).items()))
            if checked.get("size_bytes"):
                left = checked["state"] == "incomplete"
                told = _("{size} of an unfinished installation are there.") if left else _("{size} on disk")
                lines.append(told.format(size=size_text(checked["size_bytes"])))
            if checked["state"] == "outdated":
                lines.append(_("This version of ActiveSeg was tested with other packages. Press Update."))
        return "\n".join(filter(None, lines))

    def _show_sources(self, sources: Sources) -> None:
        ui = self._ui
        ui.wheelsEdit.text, ui.proxyEdit.text = sources.wheels, sources.proxy
        ui.offlineCheckBox.checked = sources.offline
        ui.torchSelector.setCurrentIndex(max(ui.torchSelector.findData(sources.torch), 0))

    def _sources(self) -> Sources:
        ui = self._ui
        return Sources(
            wheels=str(ui.wheelsEdit.text).strip(),
            offline=bool(ui.offlineCheckBox.checked),
            proxy=str(ui.proxyEdit.text).strip(),
            torch=str(ui.torchSelector.currentData),
        )

    def _proxy(self) -> Sources:
        """For what is done again as it was installed: all is known but the password, which is kept nowhere."""
        return Sources(proxy=self._sources().proxy)

    def _on_sources(self) -> None:
        self._installation.remember(self._sources())

    def _on_install(self) -> None:
        self._plan("plan", "install", _("Install"), self._sources())

    def repair(self) -> None:
        """Install the engine again, when the user agrees."""
        told = _("The engine is installed again, with the same settings; until that is done the old one stays.")
        self._plan("plan-again", "repair", _("Repair"), self._proxy(), f"{told}\n\n")

    def _on_update(self) -> None:
        """Look whether there is anything to do; then as with an installation."""

        def checked(result: Mapping[str, Any]) -> None:
            self._changed(result)
            if result["state"] == "ready":
                self._panel.message.notice(_("The engine is up to date."))
            else:
                self._plan("plan-again", "update", _("Update"), self._proxy())

        self._run("check", checked)

    def _plan(self, plan: str, action: str, yes: str, sources: Sources, told: str = "") -> None:
        """Size, place and time are told before anything is downloaded; ``yes`` is the button that does it."""

        def planned(result: Mapping[str, Any]) -> None:
            if self._panel.confirm(told + question_text(result["plan"]), yes):
                self._change(action, sources)

        self._run(plan, planned, sources)

    def _on_check(self) -> None:
        self._installation.damage = ""

        def checked(result: Mapping[str, Any]) -> None:
            self._changed(result)
            if result["state"] == "ready":
                self._panel.message.notice(_("All files of the engine are as they were installed."))

        self._run("check", checked)

    def _on_remove(self) -> None:
        question = _("Remove the engine's environment from {folder}? Your datasets and models stay.")
        if self._panel.confirm(question.format(folder=self._installation.folder), _("Remove")):
            self._change("remove")

    def _on_own_python(self) -> None:
        python = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("A Python with torch, nnunetv2 and TotalSegmentator")
        )
        if python:
            self._change("use", python=str(python))

    def _on_ignore_variable(self) -> None:
        self._installation.ignore_variable()
        self.update()
        self._panel.engine_changed()

    def _change(self, action: str, sources: Sources | None = None, python: str = "") -> None:
        """What changes the environment; the engine must not run in it meanwhile."""
        self._panel.logic.segmenting.cancel()
        self._panel.logic.engine.shutdown()

        def done(result: Mapping[str, Any]) -> None:
            if action != "remove" and self._installation.origin is PythonOrigin.VARIABLE:
                self._installation.ignore_variable()  # what was just installed is meant to be used
            self._changed(result)
            self._tell_done(action, result)

        self._run(action, done, sources, python)

    def _run(
        self, action: str, done: Callable[[Mapping[str, Any]], None], sources: Sources | None = None, python: str = ""
    ) -> None:
        self._panel.message.clear()
        self._failure = None
        try:
            self._installation.run(action, done, lambda error: self._failed(action, error), sources, python)
        except ActiveSegError as error:
            self._failed("", error)

    def _look(self, done: Callable[[Mapping[str, Any]], None]) -> None:
        """Check without being asked: it disturbs no one, and nothing is said when it cannot be done."""
        if self._installation.working is None:
            self._installation.run("check", done, lambda _error: self.update())

    def _tell_done(self, action: str, result: Mapping[str, Any]) -> None:
        if action == "remove":
            kept = result.get("kept", ())
            told = _("The engine was removed.")
            if kept:
                told += " " + _("These files in its folder are not ActiveSeg's and stay: {names}.")
            self._panel.message.notice(told.format(names=", ".join(kept)))
        elif result.get("state") in ("ready", "outdated"):
            done = {
                "install": _("The engine is installed."),
                "update": _("The engine is updated."),
                "repair": _("The engine is repaired."),
                "use": _("Your own Python is used from now on."),
            }
            self._panel.message.notice(done[action])
            if action == "install":
                self._panel.steps.show(Step.SEGMENT)

    def _changed(self, result: Mapping[str, Any]) -> None:
        self._checked = result if "state" in result else None
        self.update()
        self._panel.engine_changed()

    def _failed(self, action: str, error: ActiveSegError) -> None:
        """Said in the section, where the user looks, and in the message bar, with details."""
        if isinstance(error, Cancelled):
            if action in CHANGES:
                self._look(self._was_cancelled)
            return
        self._failure = error
        self.update()
        self._panel.show_error(error)
        self._panel.engine_changed()

    def _was_cancelled(self, result: Mapping[str, Any]) -> None:
        self._changed(result)
        if self._installation.is_incomplete:
            told = _("Cancelled. {size} stay in {folder}: the next installation uses them, or remove them with Remove.")
        else:
            told = _("Cancelled. The engine is as it was before.")
        size = size_text(result.get("size_bytes", 0))
        self._panel.message.notice(told.format(size=size, folder=self._installation.folder))

    def _on_stop(self) -> None:
        self._panel.logic.segmenting.cancel()
        self._panel.logic.engine.shutdown()
        self.update()

    def _on_browse(self, edit: Widget) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose a folder"), str(edit.text))
        if folder:
            edit.text = folder
            self._on_folder()
            self._on_sources()

    def _on_folder(self) -> None:
        folder = str(self._ui.engineFolderEdit.text).strip()
        if Path(folder) != self._installation.folder:
            self._checked = self._failure = None
            self._installation.set_folder(folder)

    def _on_log_folder(self) -> None:
        log = self._panel.logic.engine.engine.get("log")
        folder = str(Path(log).parent) if log else ""
        if not folder or not qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(folder)):
            self._panel.message.notice(_("The log is in {folder}").format(folder=folder or _("no folder yet")))

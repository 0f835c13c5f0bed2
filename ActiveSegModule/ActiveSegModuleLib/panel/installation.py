"""The section *Engine*: whether it is there, how it gets there, and its log."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.errors import ActiveSegError, Cancelled

from ..installation import Origin, Sources
from ..signals import connect

STATISTICS = "ActiveSeg/usageStatistics"
LOG_LINES = 500


class InstallationSection:
    """``panel`` is the module's widget."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._ui = ui = panel.ui
        self._installation = panel.logic.installation
        self._checked: Mapping[str, Any] | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._log_timer = qt.QTimer()
        self._log_timer.setSingleShot(True)
        self._log_timer.setInterval(200)
        connect(self._log_timer, "timeout()", self._show_log)
        for text, torch in ((_("this computer, found out"), "auto"), (_("the processor only"), "cpu")):
            ui.torchSelector.addItem(text, torch)
        ui.statisticsCheckBox.checked = slicer.util.settingsValue(STATISTICS, False, converter=slicer.util.toBool)
        connect(ui.installButton, "clicked()", self._on_install)
        connect(ui.updateButton, "clicked()", lambda: self._change("update"))
        connect(ui.repairButton, "clicked()", lambda: self._change("repair"))
        connect(ui.removeButton, "clicked()", self._on_remove)
        connect(ui.ownPythonButton, "clicked()", self._on_own_python)
        connect(ui.engineStopButton, "clicked()", self._on_stop)
        connect(ui.engineCancelButton, "clicked()", self._installation.cancel)
        connect(ui.engineFolderBrowseButton, "clicked()", lambda: self._on_browse(ui.engineFolderEdit))
        connect(ui.wheelsBrowseButton, "clicked()", lambda: self._on_browse(ui.wheelsEdit))
        connect(ui.engineFolderEdit, "editingFinished()", self._on_folder)
        connect(ui.statisticsCheckBox, "toggled(bool)", lambda on: panel.settings.setValue(STATISTICS, bool(on)))
        connect(ui.logFolderButton, "clicked()", self._on_log_folder)

    @property
    def usage_statistics(self) -> bool:
        return bool(self._ui.statisticsCheckBox.checked)

    def update(self) -> None:
        """Show how it is, as far as that can be seen without starting anything."""
        ui, installation = self._ui, self._installation
        origin, working = installation.origin, installation.working
        running = bool(self._panel.logic.engine.engine)
        ui.engineStateLabel.text = self._state_text(origin, running)
        ui.engineDetailsLabel.text = self._details_text(origin)
        if not ui.engineFolderEdit.hasFocus():
            ui.engineFolderEdit.text = str(installation.folder)
        ui.engineProgressFrame.setVisible(working is not None)
        if working is not None:
            ui.engineStageLabel.text = working.text or working.stage or _("Starting")
            ui.engineProgressBar.value = round(1000 * working.fraction)
        free, ours = working is None, origin is Origin.OURS
        ui.installButton.enabled = free and origin in (Origin.NONE, Origin.OWN)
        ui.updateButton.enabled = ui.repairButton.enabled = free and ours
        ui.removeButton.enabled = free and origin in (Origin.OURS, Origin.OWN)
        ui.ownPythonButton.enabled = free and origin is not Origin.VARIABLE
        ui.engineStopButton.enabled = running
        if origin is Origin.NONE and working is None:
            ui.engineSection.collapsed = False

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

    def _state_text(self, origin: Origin, running: bool) -> str:
        if self._installation.working is not None:
            return _("The engine is being changed.")
        if origin is Origin.NONE:
            return _("The engine is not installed. It is a Python environment of its own, outside of Slicer's.")
        return _("The engine is running.") if running else _("The engine is ready; it starts when it is needed.")

    def _details_text(self, origin: Origin) -> str:
        if origin is Origin.NONE:
            return ""
        whose = {
            Origin.OURS: _("Installed by ActiveSeg in {folder}.").format(folder=self._installation.folder),
            Origin.OWN: _("Your own Python: {python}").format(python=self._installation.python),
            Origin.VARIABLE: _("ACTIVESEG_ENGINE_PYTHON says: {python}").format(python=self._installation.python),
        }[origin]
        if self._checked is None:
            return whose
        versions = ", ".join(f"{name} {version}" for name, version in self._checked.get("versions", {}).items())
        size = _("{size:.1f} GB on disk").format(size=self._checked.get("size_bytes", 0) / 1e9)
        problem = self._checked.get("problem", "")
        return "\n".join(filter(None, (whose, versions, size, problem)))

    def _sources(self) -> Sources:
        ui = self._ui
        return Sources(
            wheels=str(ui.wheelsEdit.text).strip(),
            offline=bool(ui.offlineCheckBox.checked),
            proxy=str(ui.proxyEdit.text).strip(),
            torch=str(ui.torchSelector.currentData),
        )

    def _on_install(self) -> None:
        """Size and place are told before anything is downloaded."""
        sources = self._sources()

        def planned(result: Mapping[str, Any]) -> None:
            question = "\n".join([*result["sentences"], "", _("Install it now?")])
            if self._panel.confirm(question):
                self._change("install", sources)

        self._run("plan", planned, sources)

    def _on_remove(self) -> None:
        question = _("Remove the engine's environment from {folder}? Your datasets and models stay.")
        if self._panel.confirm(question.format(folder=self._installation.folder)):
            self._change("remove")

    def _on_own_python(self) -> None:
        python = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("A Python with torch, nnunetv2 and TotalSegmentator")
        )
        if python:
            self._change("use", python=str(python))

    def _change(self, action: str, sources: Sources | None = None, python: str = "") -> None:
        """What changes the environment; the engine must not run in it meanwhile."""
        self._panel.logic.segmenting.cancel()
        self._panel.logic.engine.shutdown()
        self._run(action, self._changed, sources, python)

    def _run(self, action: str, done: Any, sources: Sources | None = None, python: str = "") -> None:
        self._panel.message.clear()
        try:
            self._installation.run(action, done, self._failed, sources, python)
        except ActiveSegError as error:
            self._panel.show_error(error)

    def _changed(self, result: Mapping[str, Any]) -> None:
        self._checked = result if "state" in result else None
        self.update()
        if self._installation.python is not None:
            self._panel.segmenting.refresh()

    def _failed(self, error: ActiveSegError) -> None:
        self.update()
        if not isinstance(error, Cancelled):
            self._panel.show_error(error)

    def _on_stop(self) -> None:
        self._panel.logic.segmenting.cancel()
        self._panel.logic.engine.shutdown()
        self.update()

    def _on_browse(self, edit: Any) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose a folder"), str(edit.text))
        if folder:
            edit.text = folder
            self._on_folder()

    def _on_folder(self) -> None:
        folder = str(self._ui.engineFolderEdit.text).strip()
        if Path(folder) != self._installation.folder:
            self._installation.set_folder(folder)

    def _on_log_folder(self) -> None:
        log = self._panel.logic.engine.engine.get("log")
        folder = str(Path(log).parent) if log else ""
        if not folder or not qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(folder)):
            self._panel.message.notice(_("The log is in {folder}").format(folder=folder or _("no folder yet")))

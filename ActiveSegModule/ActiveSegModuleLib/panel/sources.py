"""The form of where the engine is installed and its packages come from: on the card, or else in the settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
from slicer.i18n import tr as _

from ..engine.signals import connect, timer
from ..logic.installation import Installation
from ..logic.sources import Sources
from ..slicer_types import Widget
from .section import Panel

RED = "color: #d9363e"  # readable on light and on dark
TYPING_MS = 500
"""After the last letter."""


class SourcesForm:
    """Its fields are remembered when they change; what is wrong with them stands beside them."""

    def __init__(self, panel: Panel, changed: Callable[[], None]) -> None:
        """``changed`` is called when another folder or other sources were chosen."""
        ui = self._ui = panel.ui
        self._installation: Installation = panel.logic.installation
        self._changed = changed
        self._timer = timer(qt, TYPING_MS, self.take, once=True)
        for text, torch in ((_("detect automatically"), "auto"), (_("CPU only"), "cpu")):
            ui.torchSelector.addItem(text, torch)
        sources = self._installation.sources
        ui.engineFolderEdit.currentPath = str(self._installation.folder)
        ui.wheelsEdit.currentPath, ui.proxyEdit.text = sources.wheels, sources.proxy
        ui.offlineCheckBox.checked = sources.offline
        ui.torchSelector.setCurrentIndex(max(ui.torchSelector.findData(sources.torch), 0))
        ui.wheelsErrorLabel.setStyleSheet(RED)
        ui.wheelsErrorLabel.setVisible(False)
        for edit in (ui.engineFolderEdit, ui.wheelsEdit):
            connect(edit, "currentPathChanged(QString)", lambda _path: self._timer.start())
        connect(ui.proxyEdit, "textChanged(QString)", lambda _text: self._timer.start())
        connect(ui.offlineCheckBox, "toggled(bool)", lambda _on: self.take())
        connect(ui.torchSelector, "activated(int)", lambda _index: self.take())

    @property
    def sources(self) -> Sources:
        """As the fields say."""
        ui = self._ui
        return Sources(
            wheels=str(ui.wheelsEdit.currentPath).strip(),
            offline=bool(ui.offlineCheckBox.checked),
            proxy=str(ui.proxyEdit.text).strip(),
            torch=str(ui.torchSelector.currentData),
        )

    @property
    def proxy(self) -> Sources:
        """For what is done again as it was installed: all is known but the password, which is kept nowhere."""
        return Sources(proxy=self.sources.proxy)

    @property
    def problem(self) -> str:
        """Why nothing can come from there, in a sentence; empty when it may."""
        sources = self.sources
        if sources.offline and not sources.wheels:
            return _("Choose the folder of wheels first.")
        if sources.wheels and not Path(sources.wheels).is_dir():
            return _("There is no such folder of wheels.")
        return ""

    def put_into(self, place: Widget) -> None:
        """Show the form at the top of another widget, which has a layout."""
        form = self._ui.sourcesForm
        if form.parentWidget() != place:
            place.layout().insertWidget(0, form)

    def take(self) -> None:
        """What the fields say holds from now on."""
        ui, installation = self._ui, self._installation
        self._timer.stop()
        problem = self.problem
        ui.wheelsErrorLabel.text = problem
        ui.wheelsErrorLabel.setVisible(bool(problem))
        installation.remember(self.sources)
        folder = str(ui.engineFolderEdit.currentPath).strip()
        if Path(folder) != installation.folder:
            installation.set_folder(folder)
        self._changed()

    def stop(self) -> None:
        """The panel is going."""
        self._timer.stop()

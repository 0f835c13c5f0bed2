"""The settings' part *Weights*: what the user may add to TotalSegmentator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError, Cancelled, ModelError

from ..engine.signals import connect
from .section import Panel, Section


class WeightsSection(Section):
    """A file of weights and a licence number."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._weights = panel.logic.weights
        self._busy = False
        connect(ui.weightsButton, "clicked()", self.add_file)
        connect(ui.licenceButton, "clicked()", self._on_licence)
        connect(ui.licenceEdit, "textChanged(QString)", lambda _text: self.update())

    def update(self) -> None:
        """Show what can be done now."""
        obstacle = self._panel.logic.installation.obstacle
        free = obstacle is None and not self._busy
        self._ui.weightsButton.enabled = free
        self._ui.licenceButton.enabled = free and bool(str(self._ui.licenceEdit.text).strip())

    def way_out(self, error: ActiveSegError) -> tuple[str, Callable[[], None]] | None:
        """A button's text and what it does, for an error about weights or a licence; None for any other."""
        if not isinstance(error, ModelError):
            return None
        if "licence_page" in error.details:
            return _("Enter the licence number"), self.enter_licence
        if "url" in error.details:
            return _("Add weights from a file..."), self.add_file
        return None

    def enter_licence(self) -> None:
        """Show the field of the licence number, ready to type."""
        self._ui.settingsTabs.setCurrentWidget(self._ui.weightsTab)
        self._ui.weightsOfBox.currentIndex = 0
        self._panel.steps.show_settings(self._ui.licenceEdit)

    def add_file(self) -> None:
        """Let the user choose a zip of weights, and install them."""
        file = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("A zip of TotalSegmentator's weights"), "", "*.zip"
        )
        if file:
            self._start(_("Adding the weights..."))
            self._weights.add(Path(str(file)), self._added, self._failed)

    def _on_licence(self) -> None:
        self._start("")
        self._weights.set_licence(str(self._ui.licenceEdit.text).strip(), self._stored, self._failed)

    def _start(self, told: str) -> None:
        self._busy = True
        self._panel.message.clear()
        if told:
            self._panel.message.notice(told)
        self.update()

    def _added(self, model: str) -> None:
        self._done(_("The weights of {model} are installed.").format(model=model))

    def _stored(self) -> None:
        self._ui.licenceEdit.text = ""
        self._done(_("The licence number is kept for TotalSegmentator."))

    def _done(self, told: str) -> None:
        self._busy = False
        self._panel.message.notice(told)
        self.update()
        self._panel.refresh_models()

    def _failed(self, error: ActiveSegError) -> None:
        self._busy = False
        self.update()
        if isinstance(error, Cancelled):
            self._panel.message.clear()
        else:
            self._panel.message.error(error)

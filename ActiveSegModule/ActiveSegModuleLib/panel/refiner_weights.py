"""The settings' part *nnInteractive*: the folder of the user's weights, and their licence to read and confirm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError, Cancelled, Remedy
from activeseg.core.refiner_info import RefinerInfo

from ..engine.signals import connect
from .section import Panel, Section
from .steps import turn_to

_FACE = 1
"""Of ``weightsOfBox`` and ``weightsFaces``."""


class RefinerWeightsSection(Section):
    """What the engine says of nnInteractive, asked when it is shown."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._weights = panel.logic.refiner_weights
        self._info: RefinerInfo | None = None
        self._busy = False
        turn_to(ui.weightsFaces, ui.totalsegmentatorFace)
        connect(ui.settingsTabs, "currentChanged(int)", lambda _index: self._ask())
        connect(ui.weightsOfBox, "currentIndexChanged(int)", self._turn)
        connect(ui.nninteractiveFolderButton, "clicked()", self.choose_folder)
        connect(ui.nninteractiveConfirmButton, "clicked()", self._on_confirm)

    def update(self) -> None:
        """Show what is known, and what can be done now."""
        ui, info = self._ui, self._info
        free = self._panel.logic.installation.obstacle is None and not self._busy
        state = info.state if info is not None else ""
        ui.nninteractiveStateLabel.text = self._state()
        ui.nninteractiveFolderButton.enabled = free
        ui.nninteractiveLicenceView.visible = bool(info is not None and info.licence_text)
        ui.nninteractiveConfirmButton.visible = state == "licence"
        ui.nninteractiveConfirmButton.enabled = free

    def way_out(self, error: ActiveSegError) -> tuple[str, Callable[[], None]] | None:
        """A button's text and what it does, for an error about these weights; None for any other."""
        if error.details.get("remedy") == Remedy.ADD_NNINTERACTIVE:
            return _("Show"), self.show
        return None

    def show(self) -> None:
        """Turn to it."""
        self._ui.settingsTabs.setCurrentWidget(self._ui.weightsTab)
        self._ui.weightsOfBox.currentIndex = _FACE
        self._panel.steps.show_settings(self._ui.nninteractiveFolderButton)
        self._ask()

    def choose_folder(self) -> None:
        """Let the user choose the folder of weights, and show their licence."""
        start = self._info.folder if self._info is not None else ""
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("The folder of nnInteractive's weights"), start
        )
        if folder:
            self._start()
            self._weights.choose(Path(str(folder)), self._told, self._failed)

    def _turn(self, index: int) -> None:
        turn_to(self._ui.weightsFaces, self._ui.weightsFaces.widget(index))
        self._ask()

    def _state(self) -> str:
        info = self._info
        if info is None:
            return _("Start the engine to see whether nnInteractive can be used.")
        if info.state == "ready":
            return _("Ready, with the weights in {folder} ({licence}).").format(
                folder=info.folder, licence=info.licence
            )
        return f"{info.problem} {info.action}".strip()

    def _ask(self) -> None:
        ui = self._ui
        shown = ui.settingsTabs.currentWidget() == ui.weightsTab and ui.weightsOfBox.currentIndex == _FACE
        if shown and not self._busy and self._panel.logic.installation.obstacle is None:
            self._weights.refresh(self._told, lambda _error: None)

    def _on_confirm(self) -> None:
        if self._info is not None:
            self._start()
            self._weights.confirm(self._info.licence_sha256, self._told, self._failed)

    def _start(self) -> None:
        self._busy = True
        self._panel.message.clear()
        self.update()

    def _told(self, info: RefinerInfo) -> None:
        self._busy = False
        self._info = info
        if str(self._ui.nninteractiveLicenceView.plainText) != info.licence_text:
            self._ui.nninteractiveLicenceView.plainText = info.licence_text
        self.update()

    def _failed(self, error: ActiveSegError) -> None:
        self._busy = False
        self.update()
        if not isinstance(error, Cancelled):
            self._panel.message.error(error)
        self._ask()  # the licence may have changed since it was shown

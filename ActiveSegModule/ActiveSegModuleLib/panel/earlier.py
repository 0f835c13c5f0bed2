"""The settings' part *Messages*: what the bar under the steps said earlier, whole and with details."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from ..engine.signals import connect
from .message import Told
from .section import Panel


class EarlierMessages:
    """A list, the newest first."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        ui = self._ui = panel.ui
        self._told: list[Told] = []
        connect(ui.earlierList, "currentRowChanged(int)", lambda _row: self._show_what_can_be_done())
        connect(ui.earlierDetailsButton, "clicked()", self._show_details)
        connect(ui.earlierCopyButton, "clicked()", self._copy)
        panel.message.follow(self.update)
        self.update()

    def update(self) -> None:
        """Fill the list."""
        view = self._ui.earlierList
        self._told = list(reversed(self._panel.message.earlier))
        view.clear()
        for told in self._told:
            item = qt.QListWidgetItem(f"{told.time}  {told.text}")
            item.setIcon(slicer.app.style().standardIcon(getattr(qt.QStyle, told.kind.value)))
            view.addItem(item)
        self._show_what_can_be_done()

    @property
    def _chosen(self) -> Told | None:
        row = self._ui.earlierList.currentRow
        return self._told[row] if 0 <= row < len(self._told) else None

    def _show_what_can_be_done(self) -> None:
        chosen = self._chosen
        self._ui.earlierCopyButton.enabled = chosen is not None
        self._ui.earlierDetailsButton.enabled = chosen is not None and bool(chosen.details)

    def _show_details(self) -> None:
        chosen = self._chosen
        if chosen is not None:
            slicer.util.infoDisplay(chosen.text, _("Details"), detailedText=chosen.details)

    def _copy(self) -> None:
        chosen = self._chosen
        if chosen is not None:
            parts = (f"{chosen.time} {chosen.text}", chosen.details)
            qt.QApplication.clipboard().setText("\n".join(filter(None, parts)))

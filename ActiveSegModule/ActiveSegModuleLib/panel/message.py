"""What the user is told, in a bar at the top of the panel: it never takes the focus and never blocks."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError, Crashed

from ..engine.signals import connect
from ..slicer_types import Widgets


class Message:
    """One message at a time; a new one takes the place of the last."""

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        self._action: Callable[[], None] | None = None
        self._details = ""
        connect(ui.messageActionButton, "clicked()", self._act)
        connect(ui.messageDetailsButton, "clicked()", self._show_details)
        connect(ui.messageCloseButton, "clicked()", self.clear)
        self.clear()

    def notice(self, text: str, label: str = "", action: Callable[[], None] | None = None) -> None:
        """Something that the user should read; ``action`` by a button with ``label``."""
        self._show(text, label, action, "")

    def error(self, error: ActiveSegError, label: str = "", action: Callable[[], None] | None = None) -> None:
        """What failed, why, and what to do next; ``action`` does it, by a button with ``label``."""
        log = error.details.get("log") if isinstance(error, Crashed) else None
        details = "\n".join(log) if log else "\n".join(f"{key}: {value}" for key, value in error.details.items())
        self._show(str(error), label, action, details)

    def clear(self) -> None:
        self._ui.messageFrame.setVisible(False)
        self._action = None

    @property
    def text(self) -> str:
        """What is shown; empty when nothing is."""
        return (
            str(self._ui.messageLabel.text) if self._ui.messageFrame.isVisibleTo(self._ui.messageFrame.parent()) else ""
        )

    def _show(self, text: str, label: str, action: Callable[[], None] | None, details: str) -> None:
        self._action, self._details = action, details
        self._ui.messageLabel.text = text
        self._ui.messageActionButton.text = label
        self._ui.messageActionButton.setVisible(action is not None)
        self._ui.messageDetailsButton.setVisible(bool(details))
        self._ui.messageFrame.setVisible(True)

    def _act(self) -> None:
        action = self._action
        self.clear()
        if action is not None:
            action()

    def _show_details(self) -> None:
        slicer.util.infoDisplay(str(self._ui.messageLabel.text), _("Details"), detailedText=self._details)

"""The card of all keys: it lies beside the panel, takes no focus, and is the one place where the keys are told."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from ..engine.signals import connect
from ..slicer_types import Widget, Widgets


def keys_of_buttons(ui: Widgets) -> list[tuple[Widget, str]]:
    """Every button of the page that has a key, and what it does."""
    return [
        (ui.nextButton, _("next region")),
        (ui.previousButton, _("region before")),
        (ui.acceptButton, _("accept: the region is correct as it is now")),
        (ui.skipButton, _("skip: the region is not used as ground truth")),
        (ui.reopenButton, _("reopen: take the decision back")),
        (ui.promptButton, _("click: this belongs to the structure; the answer is the first alternative")),
        (ui.promptNotButton, _("click: this does not belong to it")),
        (ui.promptCancelButton, _("end the click, or what is being computed for it")),
        (ui.editButton, _("edit with the Segment Editor, and back to the list")),
        (ui.showAlternativeButton, _("show the next alternative")),
        (ui.takeAlternativeButton, _("take the alternative that is shown")),
        (ui.undoButton, _("undo the last decision or edit")),
        (ui.redoButton, _("redo it")),
        (ui.heatMapButton, _("heat map on or off")),
        (ui.surfacesButton, _("structures in 3D on or off")),
        (ui.keysButton, _("this card")),
    ]


def keys_of_slicer() -> list[tuple[str, str]]:
    """Keys that lists and the Segment Editor have anyway."""
    return [
        (_("Up, Down"), _("in the list: the region above or below; in the alternatives: preview")),
        (_("Return"), _("in the list: show the region again; in the alternatives: take it")),
        (_("Esc"), _("in the alternatives: end the preview; in the editor: no effect")),
        ("1 ... 9", _("in the editor: choose an effect")),
        ("Ctrl+Z, Ctrl+Shift+Z", _("in the editor: undo and redo edits")),
    ]


class KeysCard:
    """Shown and hidden by the button *?*."""

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        self._card: Widget = None
        self._closing = _Closing(lambda: ui.keysButton.setChecked(False))
        connect(ui.keysButton, "clicked()", self._on_button)

    @property
    def is_shown(self) -> bool:
        return self._card is not None and bool(self._card.visible)

    def text(self) -> str:
        """The card as rich text."""
        rows = [(str(button.shortcut.toString()), told) for button, told in keys_of_buttons(self._ui)]
        rows += keys_of_slicer()
        body = "".join(f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{told}</td></tr>" for key, told in rows)
        hint = _("They work in the views and in the panel, not while you type.")
        list_only = _("J, O, H and D work while the list is shown, not the editor.")
        return f"<table>{body}</table><p>{hint}<br/>{list_only}</p>"

    def hide(self) -> None:
        """With the module."""
        self._ui.keysButton.setChecked(False)
        if self._card is not None:
            self._card.hide()

    def remove(self) -> None:
        """Before the panel goes away."""
        if self._card is not None:
            self._card.hide()
            self._card.deleteLater()
            self._card = None

    def _on_button(self) -> None:
        if self.is_shown:
            self.hide()
            return
        if self._card is None:
            self._card = self._made()
        self._card.show()
        self._ui.keysButton.setChecked(True)

    def _made(self) -> Widget:
        card = qt.QDialog(slicer.util.mainWindow())
        card.setObjectName("keysCard")
        card.setWindowTitle(_("Keys of the review"))
        card.setWindowFlags(qt.Qt.Tool)
        card.setAttribute(qt.Qt.WA_ShowWithoutActivating)
        label = qt.QLabel(self.text())
        label.setObjectName("keysLabel")
        label.setMargin(8)
        column = qt.QVBoxLayout(card)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(label)
        card.installEventFilter(self._closing)
        return card


class _Closing(qt.QObject):
    """Lets the button come up when the card is closed by its own frame or by Esc."""

    def __init__(self, closed: Callable[[], None]) -> None:
        qt.QObject.__init__(self)
        self._closed = closed

    def eventFilter(self, _card: Widget, event: Widget) -> bool:  # noqa: N802 - Qt's name
        if event.type() == qt.QEvent.Hide:
            self._closed()
        return False

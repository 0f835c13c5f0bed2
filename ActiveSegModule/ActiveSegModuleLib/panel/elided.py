"""One line of text that ends with an ellipsis where there is no room for all of it; the tool tip has the rest."""

from __future__ import annotations

import qt

from ..slicer_types import Widget


class ElidedText(qt.QObject):
    """The text of a QLabel that is as wide as its layout lets it be (horizontal policy Ignored)."""

    def __init__(self, label: Widget) -> None:
        qt.QObject.__init__(self)
        self._label = label
        self._text = ""
        label.installEventFilter(self)

    def show(self, text: str) -> None:
        """Show a text; what follows later goes by the room that the label has then."""
        self._text = text
        show_elided(self._label, text, int(self._label.width))

    def eventFilter(self, _label: Widget, event: Widget) -> bool:  # noqa: N802 - Qt's name
        if event.type() == qt.QEvent.Resize:
            show_elided(self._label, self._text, int(self._label.width))
        return False


def show_elided(label: Widget, text: str, width: int) -> None:
    """Show what of a text fits into ``width`` pixels."""
    shown = str(label.fontMetrics().elidedText(text, qt.Qt.ElideRight, width))
    if str(label.text) != shown:
        label.setText(shown)
    label.setToolTip(text if shown != text else "")

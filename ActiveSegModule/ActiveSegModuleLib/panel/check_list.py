"""A long list of structures to tick, with a search field above it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import qt
from slicer.i18n import tr as _

from ..engine.signals import connect
from ..logic.models import found
from ..slicer_types import Widget


class CheckList:
    """Names that the user ticks in a QListWidget."""

    def __init__(
        self, search: Widget, widget: Widget, changed: Callable[[], None], nothing: Widget | None = None
    ) -> None:
        """
        Parameters
        ----------
        changed
            Called when the user ticks or unticks a name, not when a program does
        nothing
            A label that takes the list's place, with a sentence, when the search finds nothing
        """
        self._nothing = nothing
        self._search = search
        self._list = widget
        self._changed = changed
        self._names: list[str] = []
        connect(search, "textChanged(QString)", lambda _text: self._filter())
        connect(widget, "itemChanged(QListWidgetItem*)", lambda _item: self._changed())

    def fill(self, names: Iterable[str], ticked: Iterable[str]) -> None:
        """Show these names, some of them ticked."""
        names, wanted = list(names), set(ticked)
        blocked = self._list.blockSignals(True)
        if names != self._names:
            self._names = names
            self._list.clear()
            for name in names:
                item = qt.QListWidgetItem(name.replace("_", " "))
                item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
                item.setCheckState(qt.Qt.Unchecked)  # without any state Qt draws no box
                self._list.addItem(item)
        for row, name in enumerate(names):
            state = qt.Qt.Checked if name in wanted else qt.Qt.Unchecked
            if self._list.item(row).checkState() != state:
                self._list.item(row).setCheckState(state)
        self._list.blockSignals(blocked)
        self._filter()

    @property
    def ticked(self) -> list[str]:
        """In the list's order."""
        return [name for row, name in enumerate(self._names) if self._list.item(row).checkState() == qt.Qt.Checked]

    @property
    def shown(self) -> list[str]:
        """The names that the search field lets through, in the list's order."""
        return found(self._names, str(self._search.text))

    def _filter(self) -> None:
        shown = set(self.shown)
        for row, name in enumerate(self._names):
            self._list.item(row).setHidden(name not in shown)
        if self._nothing is not None:
            self._nothing.setText(nothing_found_text(str(self._search.text)) if self._names else "")
            self._nothing.setVisible(not shown)
            self._list.setVisible(bool(shown))


def nothing_found_text(text: str) -> str:
    """Says that a search for a structure has found none."""
    return _("There is no structure '{text}'.").format(text=text.strip())

"""The search field over the table of segments: it finds what is there, and offers to add what is not."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from ..engine.signals import connect
from ..logic.models import found
from ..scene.case import Case
from ..slicer_types import Widget, Widgets


class SegmentSearch:
    """Hides rows of one table only: Slicer's own filter would go into the segmentation, and into its Segment Editor.

    Segments without a voxel are hidden, too, unless they are searched for, chosen, or were added here.
    """

    def __init__(self, ui: Widgets, choose: Callable[[str], None], add: Callable[[str], None]) -> None:
        """``choose`` gets the id of a segment that is to be edited, ``add`` the name of a structure without one."""
        self._ui = ui
        self._choose = choose
        self._add = add
        self._case: Case | None = None
        self._table: Widget = None
        self._empty: set[str] = set()
        self.has_looked = False
        self._wanted: set[str] = set()  # empty ones that were chosen
        self._menu = qt.QMenu(ui.addStructureButton)
        ui.addStructureButton.setMenu(self._menu)
        connect(self._menu, "aboutToShow()", self._fill_menu)
        connect(ui.segmentSearch, "textChanged(QString)", lambda _text: self.show())
        connect(ui.segmentSearch, "returnPressed()", self._on_return)
        connect(ui.addStructureButton, "clicked()", self._add_first)

    def turn_to(self, case: Case | None, table: Widget) -> None:
        """Search in the segments of a case from now on, and show them in a qMRMLSegmentsTableView."""
        if case != self._case:
            self._wanted.clear()
            self._ui.segmentSearch.setText("")
        self._case, self._table = case, table
        self._empty.clear()
        self.has_looked = case is None
        self.show()

    def look(self) -> None:
        """Find out, once for each case, which segments are empty; takes 0.3 s for a large CT."""
        if self._case is not None and not self.has_looked:
            self.has_looked = True
            self._empty = set(self._case.segmentation.empty_segments())
            self.show()

    def painted(self, segment_id: str) -> None:
        """Something was edited, most likely in this segment."""
        self._empty.discard(segment_id)
        self.show()

    def want(self, segment_id: str) -> None:
        """A segment was chosen: its row is shown, whatever it holds and whatever was searched for."""
        self._wanted.add(segment_id)
        name = self._names().get(segment_id, "")
        if not found([name], str(self._ui.segmentSearch.text)):
            self._ui.segmentSearch.setText("")
        self.show()

    def show(self) -> None:
        """The rows and the offer that belong to what is typed."""
        if self._table is None:
            return
        names, text = self._names(), str(self._ui.segmentSearch.text)
        matching = set(found(names.values(), text))
        hidden = [
            segment_id
            for segment_id, name in names.items()
            if name not in matching or (not text and segment_id in self._empty - self._wanted)
        ]
        self._table.setHideSegments(hidden)
        self._offer(self.absent, nothing=text if len(hidden) == len(names) else "")

    @property
    def absent(self) -> list[str]:
        """Names of structures that match what is typed and have no segment, the likeliest first; none while none is."""
        text = str(self._ui.segmentSearch.text).strip()
        if self._case is None or not text:
            return []
        names = [label.name for label in self._case.segmentation.absent_structures()]
        begin = text.lower().replace(" ", "_")
        return sorted(found(names, text), key=lambda name: (not name.lower().startswith(begin), len(name)))

    def _names(self) -> dict[str, str]:
        """By the ids of the segments."""
        if self._case is None:
            return {}
        segmentation = self._case.node.GetSegmentation()
        return {str(i): str(segmentation.GetSegment(i).GetName()) for i in segmentation.GetSegmentIDs()}

    def _offer(self, absent: list[str], nothing: str) -> None:
        """What can be added; ``nothing``: what is typed, when no segment matches it."""
        button = self._ui.addStructureButton
        if absent:
            button.setText(_("Add '{structure}'").format(structure=_readable(absent[0])))
        elif nothing:
            button.setText(_("This model has no structure '{text}'").format(text=nothing))
        button.enabled = bool(absent)
        button.setPopupMode(qt.QToolButton.MenuButtonPopup if absent[1:] else qt.QToolButton.DelayedPopup)
        button.setVisible(bool(absent or nothing))

    def _fill_menu(self) -> None:
        """Now, and not when something is chosen: an entry must outlive what it does."""
        self._menu.clear()
        for name in self.absent[1:]:
            connect(self._menu.addAction(_readable(name)), "triggered()", lambda name=name: self._take(name))

    def _on_return(self) -> None:
        """Choose the first segment that is shown, or add what matches when none is."""
        text = str(self._ui.segmentSearch.text).strip()
        names = self._names()
        matching = found(names.values(), text) if text else []
        if matching:
            self._choose(next(segment_id for segment_id, name in names.items() if name == matching[0]))
        elif text:
            self._add_first()

    def _add_first(self) -> None:
        if self.absent:
            self._take(self.absent[0])

    def _take(self, name: str) -> None:
        self._ui.segmentSearch.setText("")
        self._add(name)


def _readable(name: str) -> str:
    return name.replace("_", " ")

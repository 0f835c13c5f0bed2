"""Segments that are no structure of the model: the user says what each of them is, or leaves it out."""

from __future__ import annotations

from collections.abc import Sequence

import qt
from slicer.i18n import tr as _

from activeseg.core.segments.read_back import EditedSegment

from ..slicer_types import Widgets
from .tables import choose_structure


class UnclearSegments:
    """A table in the page *Export*, hidden while there are none."""

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        self._shown = False
        ui.unclearTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)

    def clear(self) -> None:
        """Another case's segments may have the same ids."""
        self._ui.unclearTable.setRowCount(0)
        self._show(False)

    def ask(self, unclear: Sequence[EditedSegment], structures: Sequence[str]) -> None:
        """One row for each segment; what was said about the same ones before stays."""
        table = self._ui.unclearTable
        self._show(bool(unclear))
        if [segment.segment_id for segment in unclear] == self._ids():
            return
        table.setRowCount(len(unclear))
        for row, segment in enumerate(unclear):
            name = qt.QTableWidgetItem(segment.name)
            name.setData(qt.Qt.UserRole, segment.segment_id)
            table.setItem(row, 0, name)
            first = [(_("choose..."), ""), (_("leave it out"), "-")]
            table.setCellWidget(row, 1, choose_structure(first, structures))

    @property
    def mapping(self) -> dict[str, str | None]:
        """Segment id -> name of a structure, or None to leave it out; only what was said."""
        table, found = self._ui.unclearTable, {}
        if self._shown:
            for row, segment_id in enumerate(self._ids()):
                said = table.cellWidget(row, 1).currentData
                if said:
                    found[segment_id] = None if said == "-" else str(said)
        return found

    def _ids(self) -> list[str]:
        table = self._ui.unclearTable
        return [str(table.item(row, 0).data(qt.Qt.UserRole)) for row in range(table.rowCount)]

    def _show(self, shown: bool) -> None:
        self._shown = shown
        self._ui.unclearFrame.setVisible(shown)

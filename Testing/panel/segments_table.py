"""Slicer's table of segments, and its button that shows them in 3D, on a real segmentation node."""

from __future__ import annotations

import fnmatch
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from slicer import vtkSegmentation
from widget_parts import PRETENDS, Policy, Sized, observe, row_of, stored, with_setters

_VISIBILITY, _COLOUR, _OPACITY, _NAME, _STATUS, _LAYER = range(6)


@with_setters
class qMRMLSegmentsTableView(QtWidgets.QWidget, Sized):  # noqa: N801
    __module__ = PRETENDS
    HINT, LEAST = (256, 192), (71, 75)
    selectionChanged = QtCore.Signal(QtCore.QItemSelection, QtCore.QItemSelection)  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(Policy.MinimumExpanding, Policy.MinimumExpanding)
        self._node: Any = None
        self._observed: Any = None
        self._tags: list[int] = []
        self._hidden: set[str] = set()
        self._ids: list[str] = []
        self._table = QtWidgets.QTableWidget(0, 6)
        self._table.setObjectName("SegmentsTable")
        self._table.setHorizontalHeaderLabels(["", "", "Opacity", "Name", "", "Layer"])
        self._table.horizontalHeader().setSectionResizeMode(_NAME, QtWidgets.QHeaderView.ResizeMode.Stretch)
        self._table.verticalHeader().hide()
        self._table.verticalHeader().setDefaultSectionSize(22)
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.selectionModel().selectionChanged.connect(self.selectionChanged)
        for column, width in ((_VISIBILITY, 42), (_COLOUR, 40), (_STATUS, 42)):
            self._table.setColumnWidth(column, width)
        row_of(self, self._table)
        self._show_columns()

    def _show_columns(self) -> None:
        self._table.horizontalHeader().setVisible(self.headerVisible)
        for column, visible in (
            (_VISIBILITY, self.visibilityColumnVisible),
            (_COLOUR, self.colorColumnVisible),
            (_OPACITY, self.opacityColumnVisible),
            (_STATUS, self.statusColumnVisible),
            (_LAYER, self.layerColumnVisible),
        ):
            self._table.setColumnHidden(column, not visible)

    headerVisible = stored("headerVisible", bool, True, _show_columns)  # noqa: N815
    visibilityColumnVisible = stored("visibilityColumnVisible", bool, True, _show_columns)  # noqa: N815
    colorColumnVisible = stored("colorColumnVisible", bool, True, _show_columns)  # noqa: N815
    opacityColumnVisible = stored("opacityColumnVisible", bool, True, _show_columns)  # noqa: N815
    statusColumnVisible = stored("statusColumnVisible", bool, True, _show_columns)  # noqa: N815
    layerColumnVisible = stored("layerColumnVisible", bool, False, _show_columns)  # noqa: N815
    filterBarVisible = stored("filterBarVisible", bool, False)  # noqa: N815
    readOnly = stored("readOnly", bool, False)  # noqa: N815
    textFilter = stored("textFilter", str, "", lambda table: table._filter())  # noqa: N815
    jumpToSelectedSegmentEnabled = stored("jumpToSelectedSegmentEnabled", bool, False)  # noqa: N815
    selectionMode = stored("selectionMode", int, 3)  # noqa: N815
    segmentCount = QtCore.Property(int, lambda table: len(table._ids))  # noqa: N815

    sizeHint, minimumSizeHint = Sized.sizeHint, Sized.minimumSizeHint  # noqa: N815

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        if scene is None:
            self.setSegmentationNode(None)

    def setSegmentationNode(self, node: Any) -> None:  # noqa: N802
        for tag in self._tags:
            self._observed.RemoveObserver(tag)
        self._node, self._tags = node, []
        if node is not None:
            self._observed = node.GetSegmentation()
            events = (vtkSegmentation.SegmentAdded, vtkSegmentation.SegmentRemoved, vtkSegmentation.SegmentModified)
            self._tags = [observe(self._observed, event, self, "_fill") for event in events]
        self._fill()

    def segmentationNode(self) -> Any:  # noqa: N802
        return self._node

    def selectedSegmentIDs(self) -> tuple[str, ...]:  # noqa: N802
        rows = sorted({index.row() for index in self._table.selectionModel().selectedRows()})
        return tuple(self._ids[row] for row in rows)

    def setSelectedSegmentIDs(self, ids: Any) -> None:  # noqa: N802
        self._table.clearSelection()
        for row, segment_id in enumerate(self._ids):
            if segment_id in ids:
                self._table.selectRow(row)

    def clearSelection(self) -> None:  # noqa: N802
        self._table.clearSelection()

    def setHideSegments(self, ids: Any) -> None:  # noqa: N802
        self._hidden = set(ids)
        self._filter()

    def hideSegments(self) -> tuple[str, ...]:  # noqa: N802
        return tuple(self._hidden)

    def displayedSegmentIDs(self) -> tuple[str, ...]:  # noqa: N802
        return tuple(self._ids[row] for row in range(len(self._ids)) if not self._table.isRowHidden(row))

    def _fill(self) -> None:
        chosen = self.selectedSegmentIDs()
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        self._ids = list(segmentation.GetSegmentIDs()) if segmentation is not None else []
        blocked = self._table.selectionModel().blockSignals(True)
        self._table.setRowCount(len(self._ids))
        for row, segment_id in enumerate(self._ids):
            segment = segmentation.GetSegment(segment_id)
            colour = QtWidgets.QTableWidgetItem()
            swatch = QtGui.QPixmap(12, 12)
            swatch.fill(QtGui.QColor.fromRgbF(*segment.GetColor()))
            colour.setIcon(QtGui.QIcon(swatch))
            self._table.setItem(row, _COLOUR, colour)
            self._table.setItem(row, _NAME, QtWidgets.QTableWidgetItem(segment.GetName()))
        self._filter()
        self.setSelectedSegmentIDs(chosen)
        self._table.selectionModel().blockSignals(blocked)

    def _filter(self) -> None:
        pattern = f"*{self.textFilter.lower()}*"
        for row, segment_id in enumerate(self._ids):
            named = fnmatch.fnmatchcase(self._table.item(row, _NAME).text().lower(), pattern)
            self._table.setRowHidden(row, segment_id in self._hidden or not named)


class qMRMLSegmentationShow3DButton(QtWidgets.QPushButton, Sized):  # noqa: N801
    __module__ = PRETENDS
    HINT, LEAST = (115, 30), (128, 30)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self.setText("Show 3D")
        self.setCheckable(True)

    sizeHint, minimumSizeHint = Sized.sizeHint, Sized.minimumSizeHint  # noqa: N815

    def setSegmentationNode(self, node: Any) -> None:  # noqa: N802
        self._node = node

    def segmentationNode(self) -> Any:  # noqa: N802
        return self._node

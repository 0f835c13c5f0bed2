"""The list of regions: what is known of each in a row, what is shown of them, and which one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import qt
from slicer.i18n import tr as _

from activeseg.core.correction import Region, RegionReason, RegionState

from ..engine.signals import connect
from ..slicer_types import Settings, Widget, Widgets
from .region_icons import BAR_ROLE, BarDelegate, state_icon, swatch

COLUMNS_SETTING = "ActiveSeg/regionColumns"
ROW_HEIGHT = 22
_KEY, _SORT, _STATE = (BAR_ROLE + n for n in (1, 2, 3))
_STATE_COLUMN, _STRUCTURE_COLUMN, _SIZE_COLUMN, _REASON_COLUMN, _DOUBT_COLUMN = range(5)
_DOUBT_WIDTH = 48
_ORDER = (RegionState.OPEN, RegionState.SKIPPED, RegionState.CORRECTED, RegionState.ACCEPTED)

Colors = Mapping[str, Sequence[int] | None]
"""Of structures by their names, 0..255."""


def state_text(state: RegionState) -> str:
    """The word for a state."""
    return {
        RegionState.OPEN: _("open"),
        RegionState.ACCEPTED: _("accepted"),
        RegionState.CORRECTED: _("corrected"),
        RegionState.SKIPPED: _("skipped"),
    }[state]


def reason_text(reason: RegionReason | None) -> str:
    """Why a region is listed; empty where that is not known."""
    if reason is None:
        return ""
    return {
        RegionReason.MEMBERS_DISAGREE: _("members disagree"),
        RegionReason.LOW_CONFIDENCE: _("low confidence"),
        RegionReason.OPEN_EDGE: _("open edge"),
        RegionReason.LABELS_DIFFER: _("labels differ"),
    }[reason]


def structures_text(structures: Sequence[str]) -> str:
    """What a region is about."""
    return ", ".join(name.replace("_", " ") for name in structures) or _("nothing here")


def size_text(mm3: float) -> str:
    """Millilitres, in as many figures as can be told apart."""
    ml = mm3 / 1000
    decimals = 0 if ml >= 100 else 1 if ml >= 10 else 2
    return f"{ml:.{decimals}f}"


class RegionList:
    """A table of regions that can be searched, filtered and sorted; its columns are remembered."""

    def __init__(
        self, ui: Widgets, settings: Settings, chosen: Callable[[int], None], filtered: Callable[[], None]
    ) -> None:
        """
        Parameters
        ----------
        chosen
            Gets the number of a region that the user turns to: another one, or the same one again
        filtered
            Called when the user has filtered the list
        """
        self._ui = ui
        self._view = ui.regionTable
        self._settings = settings
        self._chosen = chosen
        self._was_filtered = filtered
        self._filled: object = None
        self._current: int | None = None
        self._quiet = False  # while a program, not the user, moves the selection
        self._icons = {state: state_icon(state) for state in RegionState}
        self._swatches: dict[tuple[int, ...] | None, Widget] = {}
        self._model = qt.QStandardItemModel()
        self._by_state = qt.QSortFilterProxyModel()
        self._by_state.setSourceModel(self._model)
        self._by_state.setFilterKeyColumn(_STATE_COLUMN)
        self._by_state.setFilterRole(_STATE)
        self._by_name = qt.QSortFilterProxyModel()
        self._by_name.setSourceModel(self._by_state)
        self._by_name.setFilterKeyColumn(_STRUCTURE_COLUMN)
        self._by_name.setFilterCaseSensitivity(qt.Qt.CaseInsensitive)
        self._by_name.setSortRole(_SORT)
        self._view.setModel(self._by_name)
        self._bar = BarDelegate()
        self._view.setItemDelegateForColumn(_DOUBT_COLUMN, self._bar)
        self._view.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self._header = self._view.horizontalHeader()
        self._menu = qt.QMenu(self._view)
        self._letters = _Letters()
        self._view.installEventFilter(self._letters)
        self._set_up_columns()
        self._set_up_filters()
        self._selection = self._view.selectionModel()
        connect(self._selection, "currentRowChanged(QModelIndex,QModelIndex)", self._on_row)
        connect(self._view, "activated(QModelIndex)", self._on_activated)

    def fill(self, rows: Sequence[Region], colors: Colors, current: int | None) -> None:
        """Show these regions, worst first; the one with the number ``current`` is selected if it is among the shown."""
        filled = (tuple(rows), dict(colors))
        self._current = current
        with self._quietly():
            if filled != self._filled:
                self._filled = filled
                self._model.setRowCount(0)
                self._model.setRowCount(len(rows))
                for row, region in enumerate(rows):
                    for column, item in enumerate(self._items(region, colors)):
                        self._model.setItem(row, column, item)
            self._select_current()

    @property
    def shown(self) -> list[int]:
        """The numbers of the regions that the filters let through, in the order of the list."""
        model = self._by_name
        return [int(model.index(row, 0).data(_KEY)) for row in range(model.rowCount())]

    @property
    def selected(self) -> int | None:
        """The number of the selected region; None when none is selected, or it is not among the shown."""
        rows = self._selection.selectedRows()
        return int(rows[0].data(_KEY)) if rows else None

    @property
    def is_filtered(self) -> bool:
        """Whether some regions are not shown."""
        return bool(self._by_name.rowCount() < self._model.rowCount())

    def close(self) -> None:
        """The panel goes away."""
        self._view.removeEventFilter(self._letters)

    def show_all(self) -> None:
        """Take away the filters."""
        self._ui.regionSearch.setText("")
        self._ui.stateFilter.setCurrentIndex(0)

    def text(self, number: int) -> dict[str, str]:
        """What a row says, by the titles of the columns; empty for a region that is not shown."""
        model = self._by_name
        for row in range(model.rowCount()):
            if int(model.index(row, 0).data(_KEY)) == number:
                texts = (str(model.index(row, column).data() or "") for column in range(model.columnCount()))
                return dict(zip(self._titles(), texts, strict=True))
        return {}

    @staticmethod
    def _titles() -> list[str]:
        return [_("State"), _("Structure"), _("mL"), _("Why"), _("Doubt")]

    def _set_up_columns(self) -> None:
        self._model.setHorizontalHeaderLabels(self._titles())
        tips = {
            _SIZE_COLUMN: _("Size of the uncertain part"),
            _REASON_COLUMN: _("Why the region is listed"),
            _DOUBT_COLUMN: _("Share of doubt: a full bar is a coin toss between two structures"),
        }
        for column, tip in tips.items():
            self._model.horizontalHeaderItem(column).setToolTip(tip)
        header = self._header
        kept = self._settings.value(COLUMNS_SETTING)
        if not (kept and self._restore(kept)):
            header.setSortIndicator(-1, qt.Qt.AscendingOrder)  # worst first
        header.setHighlightSections(False)
        header.setDefaultAlignment(qt.Qt.AlignLeft | qt.Qt.AlignVCenter)
        for column in (_STATE_COLUMN, _SIZE_COLUMN, _REASON_COLUMN):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(_STRUCTURE_COLUMN, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(_DOUBT_COLUMN, qt.QHeaderView.Interactive)
        if not kept:
            header.resizeSection(_DOUBT_COLUMN, _DOUBT_WIDTH)
        header.setMinimumSectionSize(30)
        self._view.setSortingEnabled(True)
        header.setContextMenuPolicy(qt.Qt.CustomContextMenu)
        connect(header, "customContextMenuRequested(QPoint)", self._on_header_menu)
        connect(header, "sortIndicatorChanged(int,Qt::SortOrder)", lambda _column, _order: self._remember())

    def _restore(self, kept: object) -> bool:
        """Columns as they were remembered; whatever else lies in the settings is passed over."""
        try:
            return bool(self._header.restoreState(kept))
        except (TypeError, ValueError):  # what PySide and PythonQt raise for another type
            return False

    def _set_up_filters(self) -> None:
        ui = self._ui
        ui.stateFilter.addItem(_("All states"), "")
        for state in _ORDER:
            ui.stateFilter.addItem(state_text(state), str(state))
        connect(ui.regionSearch, "textChanged(QString)", self._on_search)
        connect(ui.regionSearch, "returnPressed()", lambda: self._view.setFocus())  # the keys are the buttons' again
        connect(ui.stateFilter, "currentIndexChanged(int)", lambda _index: self._on_state())

    def _items(self, region: Region, colors: Colors) -> list[Widget]:
        """The cells of a row; each also says in its tip what it may be too narrow for."""
        name = structures_text(region.structures)
        cells = {
            _STATE_COLUMN: (state_text(region.state), _ORDER.index(region.state)),
            _STRUCTURE_COLUMN: (name, name.lower()),
            _SIZE_COLUMN: (size_text(region.size_mm3), region.size_mm3),
            _REASON_COLUMN: (reason_text(region.reason), reason_text(region.reason)),
            _DOUBT_COLUMN: ("", region.doubt if region.doubt is not None else -1.0),
        }
        items: list[Widget] = []
        for text, sort in cells.values():
            item = qt.QStandardItem(text)
            item.setEditable(False)
            item.setToolTip(text)
            item.setData(sort, _SORT)
            item.setData(region.number, _KEY)
            items.append(item)
        items[_STATE_COLUMN].setData(str(region.state), _STATE)
        items[_STATE_COLUMN].setIcon(self._icons[region.state])
        items[_STRUCTURE_COLUMN].setIcon(self._swatch(colors.get(region.structures[0]) if region.structures else None))
        items[_SIZE_COLUMN].setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        items[_DOUBT_COLUMN].setToolTip(region.doubt_text)
        if region.doubt is not None:
            items[_DOUBT_COLUMN].setData(float(region.doubt), BAR_ROLE)
        return items

    def _swatch(self, color: Sequence[int] | None) -> Widget:
        key = tuple(int(part) for part in color) if color is not None else None
        if key not in self._swatches:
            self._swatches[key] = swatch(key)
        return self._swatches[key]

    def _select_current(self) -> None:
        """By number, for the row is another one after each filter, sorting and filling."""
        shown = self.shown
        if self._current in shown:
            row = shown.index(self._current)
            self._view.selectRow(row)
            self._view.scrollTo(self._by_name.index(row, 0))
        else:
            self._view.setCurrentIndex(qt.QModelIndex())
            self._view.clearSelection()

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Qt moves the selection when rows come and go; nobody has chosen anything then."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _on_search(self, text: str) -> None:
        with self._quietly():
            self._by_name.setFilterFixedString(str(text).replace("_", " "))
            self._select_current()
        self._was_filtered()

    def _on_state(self) -> None:
        with self._quietly():
            self._by_state.setFilterFixedString(str(self._ui.stateFilter.currentData or ""))
            self._select_current()
        self._was_filtered()

    def _on_row(self, index: Widget, _before: Widget) -> None:
        if not self._quiet and index.isValid():
            self._choose(index)

    def _on_activated(self, index: Widget) -> None:
        """Return, or a double click: there again, for the views may have been moved."""
        self._choose(index)

    def _choose(self, index: Widget) -> None:
        self._current = int(index.sibling(index.row(), 0).data(_KEY))
        self._chosen(self._current)

    def _on_header_menu(self, point: Widget) -> None:
        self._menu.clear()
        for column, title in enumerate(self._titles()):
            if column != _STRUCTURE_COLUMN:
                entry = self._menu.addAction(title)
                entry.setCheckable(True)
                entry.setChecked(not self._view.isColumnHidden(column))
                connect(entry, "toggled(bool)", lambda shown, column=column: self._show_column(column, shown))
        self._menu.addSeparator()
        connect(self._menu.addAction(_("Worst first")), "triggered()", self._sort_worst_first)
        self._menu.popup(self._header.mapToGlobal(point))

    def _show_column(self, column: int, shown: bool) -> None:
        self._view.setColumnHidden(column, not shown)
        self._remember()

    def _sort_worst_first(self) -> None:
        self._header.setSortIndicator(-1, qt.Qt.AscendingOrder)
        self._by_name.sort(-1)  # a view may leave its order as it is then
        self._remember()

    def _remember(self) -> None:
        self._settings.setValue(COLUMNS_SETTING, self._header.saveState())


class _Letters(qt.QObject):
    """A letter that is no key of a button would make a table jump to a row that begins with it."""

    def __init__(self) -> None:
        qt.QObject.__init__(self)

    def eventFilter(self, _view: Widget, event: Widget) -> bool:  # noqa: N802 - Qt's name
        return bool(event.type() == qt.QEvent.KeyPress and str(event.text()).isalnum())

"""Tables of the panel: texts in rows, of which one is selected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import qt

from ..slicer_types import Widget

ROW_HEIGHT = 22


def fill(table: Widget, rows: Sequence[Sequence[str]]) -> None:
    """Texts into a table, each also as a tip, for it may be long."""
    table.setRowCount(len(rows))
    for index, row in enumerate(rows):
        for column, text in enumerate(row):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(text)
            table.setItem(index, column, item)


def dense(table: Widget) -> None:
    """The smallest rows in which text is read; the first column takes what the others leave."""
    table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
    header = table.horizontalHeader()
    header.setHighlightSections(False)
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(0, qt.QHeaderView.Stretch)


def selected(table: Widget) -> Widget:
    """The first cell of the selected row; None when none is selected."""
    row = table.currentRow()
    return table.item(row, 0) if row >= 0 else None


def choose_structure(first: Sequence[tuple[str, str]], structures: Sequence[str]) -> Widget:
    """A combo box of structures, after ``first``: texts and what they stand for."""
    selector = qt.QComboBox()
    for text, value in (*first, *((name.replace("_", " "), name) for name in structures)):
        selector.addItem(text, value)
    return selector


def page(rows: Iterable[Iterable[str]], sentences: Iterable[str], headings: Iterable[str] = ()) -> str:
    """HTML of a table, and below it paragraphs."""

    def row(cells: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}&nbsp;</{tag}>" for cell in cells) + "</tr>"

    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return f"<table>{row(headings, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>{told}"

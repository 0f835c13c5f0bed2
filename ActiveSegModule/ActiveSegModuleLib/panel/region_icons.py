"""What the list of regions draws: a colour, a state, a share of doubt. All are readable in a light and a dark theme."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import qt

from activeseg.core.correction import RegionState

from ..slicer_types import Widget

BAR_ROLE = int(getattr(qt.Qt.UserRole, "value", qt.Qt.UserRole)) + 1
"""Holds the share, 0..1, that ``BarDelegate`` draws."""

_SIZE = 14
_SHOWN_ALPHA = 150
_COLORS = {
    RegionState.OPEN: (128, 128, 128),
    RegionState.ACCEPTED: (60, 170, 90),
    RegionState.CORRECTED: (60, 130, 215),
    RegionState.SKIPPED: (215, 150, 40),
}
_TICK = ((3.8, 7.2), (6.2, 9.6), (10.2, 4.6))
_STROKES = {
    RegionState.OPEN: (),
    RegionState.ACCEPTED: (_TICK,),
    RegionState.CORRECTED: (((4.2, 9.8), (9.8, 4.2)), ((3.8, 10.2), (5.4, 9.9))),  # a pencil
    RegionState.SKIPPED: (((3.8, 4.4), (6.6, 7.0), (3.8, 9.6)), ((7.2, 4.4), (10.0, 7.0), (7.2, 9.6))),
}


def swatch(color: Sequence[int] | None) -> Widget:
    """A small square of a colour (0..255); only its outline for None."""
    picture, painter = _blank()
    painter.setPen(qt.QPen(qt.QColor(128, 128, 128)))
    if color is not None:
        painter.setBrush(qt.QBrush(qt.QColor(*(int(part) for part in color[:3]))))
    painter.drawRect(1, 1, _SIZE - 3, _SIZE - 3)
    painter.end()
    return icon_of(picture)


def state_icon(state: RegionState) -> Widget:
    """A ring for what is open, else a disc with a sign."""
    picture, painter = _blank()
    color = qt.QColor(*_COLORS[state])
    strokes = _STROKES[state]
    pen = qt.QPen(color)
    pen.setWidthF(1.5)
    painter.setPen(pen)
    if strokes:
        painter.setBrush(qt.QBrush(color))
    painter.drawEllipse(1, 1, _SIZE - 3, _SIZE - 3)
    pen = qt.QPen(qt.QColor(255, 255, 255))
    pen.setWidthF(1.5)
    painter.setPen(pen)
    for stroke in strokes:
        for (x, y), (to_x, to_y) in itertools.pairwise(stroke):
            painter.drawLine(qt.QPointF(x - 0.5, y - 0.5), qt.QPointF(to_x - 0.5, to_y - 0.5))
    painter.end()
    return icon_of(picture)


def icon_of(picture: Widget) -> Widget:
    """A QIcon that looks the same in a selected row: Qt would tint it."""
    icon = qt.QIcon(picture)
    icon.addPixmap(picture, qt.QIcon.Selected)
    return icon


def _blank() -> tuple[Widget, Widget]:
    """A transparent picture, and a painter on it."""
    picture = qt.QPixmap(_SIZE, _SIZE)
    picture.fill(qt.QColor(0, 0, 0, 0))
    painter = qt.QPainter()
    painter.begin(picture)
    painter.setRenderHint(qt.QPainter.Antialiasing)
    return picture, painter


class BarDelegate(qt.QStyledItemDelegate):
    """Draws a share as a bar in place of a number."""

    def paint(self, painter: Widget, option: Widget, index: Widget) -> None:
        qt.QStyledItemDelegate.paint(self, painter, option, index)
        share = index.data(BAR_ROLE)
        if share is None:
            return
        state, selected = option.state, qt.QStyle.State_Selected
        chosen = int(getattr(state, "value", state)) & int(getattr(selected, "value", selected))  # numbers in PythonQt
        role = qt.QPalette.HighlightedText if chosen else qt.QPalette.Highlight
        color = qt.QColor(option.palette.color(role))  # a copy: PythonQt gives the application's own colour
        color.setAlpha(_SHOWN_ALPHA)
        cell = option.rect
        width = max(2, int((cell.width() - 6) * share))
        painter.fillRect(qt.QRect(cell.x() + 3, cell.y() + 6, width, cell.height() - 12), color)

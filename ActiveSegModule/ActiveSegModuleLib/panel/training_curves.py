"""Loss and Dice of a training, drawn by Qt alone: a closed scene and a restart of Slicer take nothing of it along."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from ..logic.training_curves import Curve, Curves, ticks
from ..slicer_types import Widget

LOSS, DICE = (217, 115, 26), (46, 150, 110)
"""Seen well on white and on black."""
_GAP = 4
_LEAST_HEIGHT = 72


class TrainingCurves(qt.QWidget):
    """The loss by the axis on the left, the mean Dice by the one on the right, epochs below."""

    def __init__(self, parent: Widget) -> None:
        qt.QWidget.__init__(self, parent)
        self._curves = Curves.of(())
        self.setMinimumHeight(_LEAST_HEIGHT)
        self.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Expanding)

    def show_curves(self, curves: Curves) -> None:
        """Draw these from now on."""
        if curves != self._curves:
            self._curves = curves
            self.setToolTip(curves_text(curves))
            self.update()

    def paintEvent(self, _event: Widget) -> None:  # noqa: N802
        """Draw; Qt calls it."""
        painter = qt.QPainter()
        painter.begin(self)
        painter.setRenderHint(qt.QPainter.Antialiasing)
        self._draw(painter)
        painter.end()

    def _draw(self, painter: Widget) -> None:
        curves, text = self._curves, self.fontMetrics()
        colour = qt.QColor(self.palette.color(qt.QPalette.WindowText))
        faint = qt.QColor(colour)
        faint.setAlpha(60)
        height = text.height()
        if curves.count < 2:
            painter.setPen(colour)
            painter.drawText(_GAP, height, _("Curves appear after the second epoch."))
            return
        loss_low, loss_high = curves.loss.span
        loss_texts = [(value, f"{value:g}") for value in (round(tick, 6) for tick in ticks(loss_low, loss_high))]
        left = max([text.horizontalAdvance(label) for _value, label in loss_texts] + [0]) + 2 * _GAP
        right = self.width - text.horizontalAdvance("0.5") - 2 * _GAP
        top, bottom = height + _GAP, self.height - height - _GAP
        plot = _Plot(left, right, top, bottom, curves.count)

        painter.setPen(faint)
        for value in (0.0, 0.5, 1.0):
            y = plot.y(value, 0.0, 1.0)
            painter.drawLine(left, y, right, y)
        for epoch in curves.members:
            painter.drawLine(plot.x(epoch), top, plot.x(epoch), bottom)
        painter.setPen(colour)
        for epoch in sorted({1, *(round(tick) for tick in ticks(1, curves.count))}):
            label = str(epoch)
            painter.drawText(plot.x(epoch) - text.horizontalAdvance(label) // 2, self.height - _GAP, label)
        for value, label in loss_texts:
            y = plot.y(value, loss_low, loss_high) + height // 3
            painter.setPen(qt.QColor(*LOSS))
            painter.drawText(left - text.horizontalAdvance(label) - _GAP, y, label)
        painter.setPen(qt.QColor(*DICE))
        for value in (0.0, 0.5, 1.0):
            painter.drawText(right + _GAP, plot.y(value, 0.0, 1.0) + height // 3, f"{value:g}")
        self._heading(painter, left, right)
        _line(painter, plot, curves.loss, LOSS, (loss_low, loss_high))
        _line(painter, plot, curves.dice, DICE, (0.0, 1.0))

    def _heading(self, painter: Widget, left: int, right: int) -> None:
        """What the colours are."""
        text = self.fontMetrics()
        painter.setPen(qt.QColor(*LOSS))
        painter.drawText(left, text.ascent(), _("loss"))
        dice = _("mean Dice on training patches")
        painter.setPen(qt.QColor(*DICE))
        painter.drawText(max(left, right - text.horizontalAdvance(dice)), text.ascent(), dice)


class _Plot:
    """Where values are in the picture."""

    def __init__(self, left: int, right: int, top: int, bottom: int, count: int) -> None:
        self._left, self._right, self._top, self._bottom, self._count = left, right, top, bottom, count

    def x(self, epoch: int) -> int:
        return round(self._left + (self._right - self._left) * (epoch - 1) / max(self._count - 1, 1))

    def y(self, value: float, low: float, high: float) -> int:
        return round(self._bottom - (self._bottom - self._top) * (value - low) / (high - low))


def _line(painter: Widget, plot: _Plot, curve: Curve, colour: tuple[int, int, int], span: tuple[float, float]) -> None:
    pen = qt.QPen(qt.QColor(*colour))
    pen.setWidthF(2.0)
    painter.setPen(pen)
    path = qt.QPainterPath()
    for number, (epoch, value) in enumerate(curve.points):
        x, y = plot.x(epoch), plot.y(value, *span)
        if number:
            path.lineTo(x, y)
        else:
            path.moveTo(x, y)
    painter.drawPath(path)


def curves_text(curves: Curves) -> str:
    """The last values, for those who cannot see the curves."""
    told = _("{count} epochs").format(count=curves.count)
    if curves.loss.last is not None:
        told += _(", loss {loss:.3f}").format(loss=curves.loss.last)
    if curves.dice.last is not None:
        told += _(", mean Dice {dice:.3f}").format(dice=curves.dice.last)
    return told

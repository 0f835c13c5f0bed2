"""A small picture of an alternative: a slice of the CT with the structure's contours, now and as it would be."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import qt

from ..scene.slice_picture import AlternativePicture
from ..slicer_types import Widget

NOW_COLOR = (255, 255, 255)
THEN_COLOR = (255, 215, 40)
_LINE = 1.4


def thumbnail(picture: AlternativePicture, size: int) -> Widget:
    """A QPixmap of ``size`` pixels along its longer side, in the proportions that the slice has in the body."""
    rows, columns = picture.ct.shape
    row_mm, column_mm = picture.spacing_mm
    scale = size / max(rows * row_mm, columns * column_mm)
    down, right = row_mm * scale, column_mm * scale
    drawn = _gray(picture.ct, picture.window).scaled(
        max(1, round(columns * right)),
        max(1, round(rows * down)),
        qt.Qt.IgnoreAspectRatio,
        qt.Qt.SmoothTransformation,
    )
    painter = qt.QPainter()
    painter.begin(drawn)
    painter.setRenderHint(qt.QPainter.Antialiasing)
    for mask, color in ((picture.now, NOW_COLOR), (picture.then, THEN_COLOR)):
        pen = qt.QPen(qt.QColor(*color))
        pen.setWidthF(_LINE)
        painter.setPen(pen)
        painter.drawPath(_contour(mask, right, down))
    painter.end()
    return drawn


def _gray(ct: npt.NDArray[Any], window: tuple[float, float]) -> Widget:
    """The slice, one pixel for each voxel."""
    low, high = window
    values = np.clip((ct.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
    picture = qt.QPixmap()
    header = f"P5 {values.shape[1]} {values.shape[0]} 255\n".encode("ascii")
    picture.loadFromData(qt.QByteArray(header + values.tobytes()), "PGM")
    return picture


def _contour(mask: npt.NDArray[np.bool_], right: float, down: float) -> Widget:
    """Along the edges of the mask's pixels, each ``right`` wide and ``down`` high."""
    path = qt.QPainterPath()
    padded = np.pad(mask, 1)
    for row, column in np.argwhere(padded[:, :-1] != padded[:, 1:]).tolist():
        path.moveTo(column * right, (row - 1) * down)
        path.lineTo(column * right, row * down)
    for row, column in np.argwhere(padded[:-1] != padded[1:]).tolist():
        path.moveTo((column - 1) * right, row * down)
        path.lineTo(column * right, row * down)
    return path

"""The widgets that are visible in a panel, and how sentences call them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PySide6 import QtWidgets

CLOSED = (
    QtWidgets.QAbstractSpinBox,
    QtWidgets.QComboBox,
    QtWidgets.QLineEdit,
    QtWidgets.QTextEdit,
    QtWidgets.QPlainTextEdit,
    QtWidgets.QAbstractItemView,
    QtWidgets.QTabBar,
    QtWidgets.QCalendarWidget,
    QtWidgets.QScrollBar,
)
"""Widgets whose parts are Qt's own business."""


def shown(root: Any) -> Iterator[Any]:
    """``root`` and what is visible in it, from outside to inside, without the inner parts of Qt's widgets."""
    yield root
    if isinstance(root, CLOSED):
        return
    for child in children(root):
        yield from shown(child)


def children(widget: Any) -> list[Any]:
    """Those that are shown."""
    found = (child for child in widget.children() if isinstance(child, QtWidgets.QWidget))
    return [child for child in found if not child.isWindow() and not child.isHidden()]


def name(widget: Any) -> str:
    """How a sentence calls a widget: its object name and its text, or those of what it lies in."""
    kind = type(widget).__name__
    own = widget.property("objectName")
    text = widget.property("text") or widget.property("title") or ""
    called = f"{own} ({kind})" if own else kind
    if text:
        called += f" '{text if len(text) < 60 else text[:57] + '...'}'"
    above = widget.parentWidget()
    return called if own or above is None or widget.isWindow() else f"{called} in {above.property('objectName')}"

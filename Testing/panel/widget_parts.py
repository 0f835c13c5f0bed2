"""What the stand-ins of Slicer's widgets are made of: sizes as measured in Slicer, and properties as Qt has them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtWidgets
from shiboken6 import isValid

PRETENDS = "PySide6.stand_in"  # so that signals are connected as PySide6's

Policy = QtWidgets.QSizePolicy.Policy


def stored(name: str, kind: Any, default: Any, then: Callable[[Any], None] = lambda _widget: None) -> Any:
    """A property of Qt that keeps what it is given; ``then`` shows a change."""

    def get(self: Any) -> Any:
        return getattr(self, f"_{name}", default)

    def put(self: Any, value: Any) -> None:
        if value != get(self):
            setattr(self, f"_{name}", kind(value))
            then(self)

    return QtCore.Property(kind, get, put)


def with_setters(cls: Any) -> Any:
    """A class whose properties can be set by functions too, as in C++."""
    for name, value in list(vars(cls).items()):
        if isinstance(value, QtCore.Property):
            setattr(cls, f"set{name[0].upper()}{name[1:]}", value.fset)
    return cls


class Sized:
    """Asks for what Slicer's widget was measured to ask for: ``HINT`` and ``LEAST`` are width and height."""

    HINT = (0, 0)
    LEAST = (0, 0)

    def sizeHint(self) -> QtCore.QSize:  # noqa: N802
        return QtCore.QSize(*self.HINT)

    def minimumSizeHint(self) -> QtCore.QSize:  # noqa: N802
        return QtCore.QSize(*self.LEAST)


def observe(caller: Any, event: Any, widget: Any, name: str) -> int:
    """Call a widget's function at an event for as long as the widget lives; returns the tag of the observer."""
    kept = weakref.ref(widget)

    def called(*_: Any) -> None:
        living = kept()
        if living is not None and isValid(living):
            getattr(living, name)()

    return int(caller.AddObserver(event, called))


def row_of(widget: Any, *parts: Any) -> None:
    """Lay parts side by side in a widget, without margins; they take what there is."""
    row = QtWidgets.QHBoxLayout(widget)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSizeConstraint(QtWidgets.QLayout.SizeConstraint.SetNoConstraint)
    for part in parts:
        row.addWidget(part)

"""A person's hands on Slicer's window: real presses of the mouse and of keys, each of them counted.

Nothing can be pressed that is not in sight, and no key goes anywhere but to what has the focus.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import slicer
from pictures_look import ROOMS
from PySide6 import QtCore, QtTest, QtWidgets
from user import until

TYPING = (QtWidgets.QLineEdit, QtWidgets.QPlainTextEdit, QtWidgets.QTextEdit, QtWidgets.QAbstractSpinBox)
_NO_MODIFIER = QtCore.Qt.KeyboardModifier.NoModifier
_SHIFT = QtCore.Qt.KeyboardModifier.ShiftModifier


class SlicerWindow(QtWidgets.QMainWindow):
    """Slicer's main window with the panel of one module in a dock, as large as on a laptop; the views draw nothing."""

    def __init__(self, panel: QtWidgets.QWidget) -> None:
        super().__init__()
        self.views = QtWidgets.QWidget()
        self.views.setObjectName("views")
        self.views.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
        self.setCentralWidget(self.views)
        dock = QtWidgets.QDockWidget()
        dock.setTitleBarWidget(QtWidgets.QWidget())
        dock.setWidget(panel)
        self.addDockWidget(QtCore.Qt.DockWidgetArea.LeftDockWidgetArea, dock)
        panel.setFixedSize(ROOMS[0].width, ROOMS[0].height)
        self.resize(1280, 800)
        self.show()
        self.activateWindow()


@dataclass
class Effort:
    """What one step of the day has cost: presses of the mouse, keys that do something, letters, time."""

    clicks: int = 0
    keys: int = 0
    typed: int = 0
    seconds: float = 0.0


@dataclass
class Ledger:
    """The effort by the names of the steps, in their order."""

    steps: dict[str, Effort] = field(default_factory=dict)
    _now: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """All that is pressed meanwhile belongs to this step."""
        self._now = name
        self.steps.setdefault(name, Effort())
        started = time.monotonic()
        try:
            yield
        finally:
            self.steps[name].seconds += time.monotonic() - started

    @property
    def now(self) -> Effort:
        """Of the step that is under way."""
        return self.steps.setdefault(self._now, Effort())


class Hands:
    """One mouse and one keyboard."""

    def __init__(self, window: SlicerWindow, ledger: Ledger) -> None:
        self.window, self.ledger = window, ledger
        self.robbed: list[str] = []
        self._busy = False
        QtWidgets.QApplication.instance().focusChanged.connect(self._on_focus)

    def let_go(self) -> None:
        """The day is over."""
        QtWidgets.QApplication.instance().focusChanged.disconnect(self._on_focus)

    def click(self, widget: Any) -> None:
        """On a button, a check box or a field that can be seen and used."""
        self._see(widget)
        box = isinstance(widget, QtWidgets.QCheckBox)
        place = QtCore.QPoint(8, widget.rect.height() // 2) if box else widget.rect.center()
        self._press(widget, place)
        self.ledger.now.clicks += 1

    def click_row(self, view: Any, index: Any) -> None:
        """On a row of a table, a list or a tree."""
        self._see(view)
        view.scrollTo(index)
        self._press(view.viewport(), view.visualRect(index).center())
        self.ledger.now.clicks += 1

    def choose(self, box: Any, data: object) -> None:
        """An entry of a combo box: one press opens it, one takes the entry."""
        self._see(box)
        with self._acting():
            box.setCurrentIndex(box.findData(data))
            box.activated.emit(box.currentIndex)
        self.ledger.now.clicks += 2

    def key(self, key: Any, shift: bool = False) -> None:
        """One key to what has the focus, and what a button does at it: Qt shows it pressed for a moment first."""
        with self._acting():
            QtTest.QTest.keyClick(self.focus, key, _SHIFT if shift else _NO_MODIFIER)
            until(lambda: not any(button.down for button in self.window.findChildren(QtWidgets.QAbstractButton)))
            if QtWidgets.QApplication.activeWindow() is None:
                self.window.activateWindow()  # as a window manager does when another window was closed
                until(lambda: QtWidgets.QApplication.focusWidget() is not None)
        self.ledger.now.keys += 1

    def type(self, text: str) -> None:
        """Letters into what has the focus."""
        with self._acting():
            QtTest.QTest.keyClicks(self.focus, text)
        self.ledger.now.typed += len(text)

    def fill(self, field: Any, text: str) -> None:
        """Go to a field, put a text in the place of what is in it, and leave it."""
        self.click(field)
        field.selectAll()
        if text:
            self.type(text)
        else:
            self.key(QtCore.Qt.Key.Key_Delete)
        self.key(QtCore.Qt.Key.Key_Tab)

    def tab_to(self, widget: Any) -> None:
        """To a widget by the key Tab alone."""
        way = [self.focus.objectName]
        while self.focus != widget:
            self.key(QtCore.Qt.Key.Key_Tab)
            assert self.focus.objectName not in way, f"Tab goes round: {way}"
            way.append(self.focus.objectName)

    @property
    def focus(self) -> Any:
        """What has the keyboard; the window itself where nothing has."""
        return QtWidgets.QApplication.focusWidget() or self.window

    def _see(self, widget: Any) -> None:
        name = widget.objectName
        assert widget.isVisible(), f"{name} is not in sight"
        assert widget.isEnabled(), f"{name} cannot be used: {widget.toolTip}"
        assert not widget.visibleRegion().isEmpty(), f"{name} is behind something"

    def _press(self, widget: Any, place: QtCore.QPoint) -> None:
        with self._acting():
            QtTest.QTest.mouseClick(widget, QtCore.Qt.MouseButton.LeftButton, _NO_MODIFIER, place)

    @contextmanager
    def _acting(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _on_focus(self, before: Any, now: Any) -> None:
        """Whoever types keeps the keyboard, until he himself does something else."""
        if not self._busy and isinstance(before, TYPING):
            self.robbed.append(f"{before.objectName} lost the keyboard to {now.objectName if now else 'nothing'}")


def opened(panel: QtWidgets.QWidget, monkeypatch: Any) -> SlicerWindow:
    """The window, as ``slicer.util.mainWindow()`` too."""
    window = SlicerWindow(panel)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: window)
    until(lambda: QtWidgets.QApplication.activeWindow() is not None)
    return window

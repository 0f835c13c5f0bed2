"""The checks of the panel's look find what is wrong, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pictures_checks as checks
import pictures_keys as keys
import pytest
from pictures_look import ROOMS, Theme, dress, font, place
from PySide6 import QtCore, QtGui, QtWidgets

Policy = QtWidgets.QSizePolicy.Policy


@pytest.fixture
def root(application: Any) -> Iterator[QtWidgets.QWidget]:
    dress(application, Theme.LIGHT)
    widget = QtWidgets.QWidget()
    widget.setObjectName("root")
    QtWidgets.QVBoxLayout(widget)
    yield widget
    widget.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def add(root: Any, kind: Any, name: str, *arguments: Any) -> Any:
    widget = kind(*arguments)
    widget.setObjectName(name)
    root.layout().addWidget(widget)
    return widget


def only(found: list[str], *parts: str) -> None:
    assert len(found) == 1, found
    assert all(part in found[0] for part in parts), found


WIDE = "A sentence that needs more than sixty pixels"


def limited(make: Callable[[], Any]) -> Callable[[], Any]:
    def made() -> Any:
        widget = make()
        widget.setMaximumWidth(60)
        return widget

    return made


def _combo() -> Any:
    combo = QtWidgets.QComboBox()
    combo.addItem(WIDE)
    return combo


def _edit() -> Any:
    edit = QtWidgets.QLineEdit()
    edit.setPlaceholderText(WIDE)
    return edit


def _tabs() -> Any:
    tabs = QtWidgets.QTabBar()
    tabs.setUsesScrollButtons(False)
    tabs.setElideMode(QtCore.Qt.TextElideMode.ElideRight)
    for _ in range(2):
        tabs.addTab("Structures to segment")
    return tabs


def _table() -> Any:
    table = QtWidgets.QTableWidget(1, 1)
    table.setHorizontalHeaderLabels(["Structure to segment"])
    table.setColumnWidth(0, 40)
    return table


def _bar() -> Any:
    bar = QtWidgets.QProgressBar()
    bar.setValue(1)
    bar.setFormat(WIDE)
    return bar


def _icon_button() -> Any:
    button = QtWidgets.QToolButton()
    button.setToolButtonStyle(QtCore.Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    button.setIcon(QtWidgets.QApplication.style().standardIcon(QtWidgets.QStyle.StandardPixmap.SP_DialogApplyButton))
    button.setText("Segment")  # 55 px: it is the icon that is too much
    return button


TEXTS = {
    "label": lambda: QtWidgets.QLabel(WIDE),
    "button": lambda: QtWidgets.QPushButton(WIDE),
    "tool button with an icon": _icon_button,
    "check box": lambda: QtWidgets.QCheckBox("Exact mode"),
    "radio button": lambda: QtWidgets.QRadioButton("Exact mode"),
    "combo box": _combo,
    "placeholder": _edit,
    "group box": lambda: QtWidgets.QGroupBox(WIDE),
    "progress": _bar,
    "tabs": _tabs,
    "header": _table,
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_that_is_too_wide_is_found(root: Any, kind: str) -> None:
    root.layout().addWidget(limited(TEXTS[kind])())
    place(root, ROOMS[0])
    assert checks.clipped(root)


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_that_has_its_room_is_well(root: Any, kind: str) -> None:
    widget = TEXTS[kind]()
    if kind == "header":
        widget.setColumnWidth(0, 300)
    root.layout().addWidget(widget)
    place(root, ROOMS[0])
    assert checks.clipped(root) == []


def test_lines_of_a_label_that_wraps_are_found_when_its_frame_is_too_low(root: Any) -> None:
    label = add(root, QtWidgets.QLabel, "label", "3 of 10 regions have been reviewed in this case. " * 3)
    label.setWordWrap(True)
    place(root, ROOMS[0])
    assert checks.clipped(root) == []
    label.setFixedHeight(20)
    place(root, ROOMS[0])
    only(checks.clipped(root), "label", "high")


def test_a_long_word_in_a_label_that_wraps_is_found(root: Any) -> None:
    label = add(root, QtWidgets.QLabel, "label", "vertebrae_and_intervertebral_discs")
    label.setWordWrap(True)
    label.setFixedWidth(80)
    place(root, ROOMS[0])
    assert any("wide" in sentence for sentence in checks.clipped(root))


def test_an_ellipsis_needs_a_tool_tip(root: Any) -> None:
    label = add(root, QtWidgets.QLabel, "label", "kidney righ…")
    place(root, ROOMS[0])
    only(checks.clipped(root), "ellipsis")
    label.setToolTip("kidney right")
    assert checks.clipped(root) == []


def test_two_lines_in_a_button_of_one_are_found(root: Any) -> None:
    button = add(root, QtWidgets.QToolButton, "reviewStep")
    button.setText("Review\n3 of 10")
    place(root, ROOMS[0])
    assert checks.clipped(root) == []
    button.setFixedHeight(24)
    place(root, ROOMS[0])
    only(checks.clipped(root), "reviewStep", "high")


def test_cells_that_are_cut_are_found_unless_a_tool_tip_has_them(root: Any) -> None:
    table = add(root, QtWidgets.QTableWidget, "table", 1, 1)
    item = QtWidgets.QTableWidgetItem("members disagree")
    table.setItem(0, 0, item)
    table.setColumnWidth(0, 60)
    place(root, ROOMS[0])
    only(checks.cut_cells(table), "members disagree")
    item.setToolTip("members disagree")
    assert checks.cut_cells(table) == []


def test_what_is_hidden_is_not_looked_at(root: Any) -> None:
    label = add(root, QtWidgets.QLabel, "label", WIDE)
    label.setFixedWidth(10)
    label.hide()
    place(root, ROOMS[0])
    assert checks.findings(root, ROOMS[0]) == []


def test_widgets_that_overlap_are_found(root: Any) -> None:
    first, second = (QtWidgets.QPushButton(text, root) for text in ("one", "two"))
    first.setGeometry(10, 10, 80, 24)
    second.setGeometry(50, 20, 80, 24)
    place(root, ROOMS[0])
    only(checks.overlapping(root), "one", "two", "40 x 14")
    second.setGeometry(90, 10, 80, 24)
    assert checks.overlapping(root) == []


def test_a_widget_without_size_and_one_outside_are_found(root: Any) -> None:
    button = add(root, QtWidgets.QPushButton, "flat", "Segment")
    button.setFixedHeight(0)
    outside = QtWidgets.QPushButton("outside", root)
    outside.setGeometry(380, 100, 80, 24)
    place(root, ROOMS[0])
    found = checks.misplaced(root)
    assert len(found) == 2
    assert "flat" in found[0]
    assert "outside" in found[1]


def test_an_empty_label_or_frame_may_be_flat(root: Any) -> None:
    for kind in (QtWidgets.QLabel, QtWidgets.QFrame, QtWidgets.QWidget):
        add(root, kind, "empty").setFixedHeight(0)
    place(root, ROOMS[0])
    assert checks.misplaced(root) == []


def test_a_squashed_control_is_found(root: Any) -> None:
    button = add(root, QtWidgets.QPushButton, "button", "Segment")
    slider = add(root, QtWidgets.QSlider, "slider")
    place(root, ROOMS[0])
    assert checks.squashed(root) == []
    root.layout().removeWidget(button)
    button.setGeometry(0, 0, 80, 12)
    slider.setFixedHeight(2)  # somebody wants it so
    only(checks.squashed(root), "button", "12 px high")


def test_a_panel_that_wants_more_than_the_dock_can_give_is_found_with_what_wants_it(root: Any) -> None:
    table = add(root, QtWidgets.QTableWidget, "table", 1, 8)
    table.setSizeAdjustPolicy(QtWidgets.QAbstractScrollArea.SizeAdjustPolicy.AdjustToContents)
    place(root, ROOMS[0])
    only(checks.too_wide(root), "root", "table")


def stack_of(root: Any, *pages: Any) -> Any:
    stack = add(root, QtWidgets.QStackedWidget, "pages")
    for number, page in enumerate(pages):
        page.setObjectName(f"page{number}")
        stack.addWidget(page)
    return stack


def test_a_page_that_is_too_wide_is_found_while_it_is_hidden(root: Any) -> None:
    wide = QtWidgets.QPushButton(WIDE * 2)
    wide.setSizePolicy(Policy.Ignored, Policy.Ignored)
    stack_of(root, QtWidgets.QLabel("first"), wide)
    place(root, ROOMS[0])
    only(checks.too_wide(root), "page1")


def test_hidden_pages_must_not_count(root: Any) -> None:
    stack = stack_of(root, QtWidgets.QLabel("first"), QtWidgets.QLabel("second"))
    place(root, ROOMS[0])
    only(checks.counting_hidden_pages(root), "page1", "pages")
    stack.widget(1).setSizePolicy(Policy.Ignored, Policy.Ignored)
    assert checks.counting_hidden_pages(root) == []


def test_a_panel_that_is_higher_than_its_room_is_found(root: Any) -> None:
    for number in range(14):
        add(root, QtWidgets.QPushButton, f"button{number}", "Segment")
    for room, fits in zip(ROOMS, (False, False, True), strict=True):
        place(root, room)
        assert (checks.too_large(root, room) == []) is fits, room


def button_with(root: Any, key: str, name: str, tip: str | None = None) -> Any:
    button = add(root, QtWidgets.QToolButton, name)
    button.setText(name)
    button.setShortcut(QtGui.QKeySequence(key))
    button.setToolTip(f"Does it ({key})" if tip is None else tip)
    return button


def test_a_key_that_is_used_twice_is_found_where_both_are_shown(root: Any) -> None:
    button_with(root, "N", "next")
    second = button_with(root, "N", "second")
    only(keys.keys_used_twice(root), "N", "next", "second")
    second.hide()
    assert keys.keys_used_twice(root) == []


def test_a_mnemonic_is_a_key(root: Any) -> None:
    for name in ("one", "two"):
        add(root, QtWidgets.QPushButton, name, "&Open")
    only(keys.keys_used_twice(root), "Alt+O")
    add(root, QtWidgets.QPushButton, "file", "&File")
    only(keys.keys_of_slicer(root), "Alt+F")


@pytest.mark.parametrize("key", ["A", "Shift+V", "1", "Space", "Ctrl+Z", "Ctrl+Shift+Left", "Return", "P"])
def test_a_key_that_slicer_or_its_extensions_need_is_found(root: Any, key: str) -> None:
    button_with(root, key, "button")
    only(keys.keys_of_slicer(root), "button", key)


@pytest.mark.parametrize("key", ["N", "Shift+N", "C", "Shift+C", "K", "?"])
def test_the_proposed_keys_are_free(root: Any, key: str) -> None:
    button_with(root, key, "button")
    assert keys.keys_of_slicer(root) == []


def test_a_tool_tip_names_the_key(root: Any) -> None:
    button_with(root, "N", "told")
    button_with(root, "C", "untold", "Accept")
    only(keys.keys_untold(root), "untold", "(C)")


def test_a_list_for_ticking_has_boxes(root: Any) -> None:
    view = add(root, QtWidgets.QListWidget, "list")
    for name in ("liver", "spleen"):
        view.addItem(QtWidgets.QListWidgetItem(name))
    assert len(checks.without_check_box(view)) == 2
    assert checks.half_checkable(root) == []  # a list without any boxes
    view.item(0).setCheckState(QtCore.Qt.CheckState.Unchecked)
    only(checks.half_checkable(root), "spleen")
    view.item(1).setCheckState(QtCore.Qt.CheckState.Checked)
    assert checks.findings(root) == []


def test_the_font_has_the_size_that_was_measured_in_slicer(application: Any) -> None:
    metrics = QtGui.QFontMetrics(font())
    assert (metrics.horizontalAdvance("Segment"), metrics.height()) == (55, 18)


def test_a_text_that_wraps_makes_slicer_take_the_height_that_is_wanted(root: Any) -> None:
    """Hidden pages count then, too; in a splitter it stays a matter of the page."""
    text = QtWidgets.QLabel("This text wraps. " * 40)
    text.setWordWrap(True)
    hidden = QtWidgets.QWidget()
    QtWidgets.QVBoxLayout(hidden).addWidget(text)
    for _ in range(20):
        hidden.layout().addWidget(QtWidgets.QPushButton("Segment"))
    hidden.setSizePolicy(Policy.Ignored, Policy.Ignored)
    shown = QtWidgets.QLabel("So does this.")
    shown.setWordWrap(True)
    stack = stack_of(root, shown, hidden)
    place(root, ROOMS[0])
    only(checks.too_large(root, ROOMS[0]), "too high")

    room = QtWidgets.QSplitter()
    room.setSizePolicy(Policy.Preferred, Policy.Ignored)
    root.layout().addWidget(room)
    room.addWidget(stack)
    place(root, ROOMS[0])
    assert checks.too_large(root, ROOMS[0]) == []

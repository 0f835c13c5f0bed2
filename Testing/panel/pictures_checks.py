"""What is wrong with the look of a widget that is shown: every check gives sentences, none when all is well.

``findings`` is all of them together. They look at what is visible only: a page of a stack is checked while it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pictures_keys import keys_of_slicer, keys_untold, keys_used_twice
from pictures_look import WIDEST_HINT, Room, height_of
from pictures_walk import CLOSED, children, name, shown
from PySide6 import QtCore, QtGui, QtWidgets

_Qt = QtCore.Qt
_Style = QtWidgets.QStyle

_BETWEEN = (QtWidgets.QSplitterHandle, QtWidgets.QSizeGrip, QtWidgets.QRubberBand, QtWidgets.QFocusFrame)
ZERO_WIDTH_SPACE = "\u200b"
"""Where Qt may break a line."""
_ALWAYS_LARGE_ENOUGH = (QtWidgets.QLabel, QtWidgets.QAbstractItemView)
"""The text of labels is checked by itself, and views scroll."""


def findings(root: Any, room: Room | None = None) -> list[str]:
    """All that is wrong in ``root`` as it is shown; with ``room``, whether it needs more than that."""
    checks = (clipped, overlapping, misplaced, squashed, too_wide, counting_hidden_pages, half_checkable)
    found = [sentence for check in checks for sentence in check(root)]
    found += [sentence for check in (keys_used_twice, keys_of_slicer, keys_untold) for sentence in check(root)]
    return found + (too_large(root, room) if room is not None else [])


# Text that is not to be read.


def clipped(root: Any) -> list[str]:
    """Texts that need more room than their widget has."""
    found = []
    for widget in shown(root):
        for kind, needs in _TEXTS:
            if isinstance(widget, kind):
                found += [f"{name(widget)} is clipped: {need}" for need in needs(widget)]
                break
    return found


def _more(needed: int, given: int, what: str = "wide") -> list[str]:
    return [f"it needs {needed} px and is {given} px {what}"] if needed > given else []


def _metrics(widget: Any) -> QtGui.QFontMetrics:
    return QtGui.QFontMetrics(widget.property("font"))


def _plain(text: str) -> str:
    """Without the marks of mnemonics."""
    return text.replace("&&", "\0").replace("&", "").replace("\0", "&")


def _width(widget: Any, text: str) -> int:
    return max((_metrics(widget).horizontalAdvance(line) for line in _plain(text).split("\n")), default=0)


def _height(widget: Any, text: str) -> int:
    metrics = _metrics(widget)
    return metrics.height() + metrics.lineSpacing() * text.count("\n")


def _label(label: Any) -> list[str]:
    text, size = label.property("text"), label.property("size")
    if not text or not label.property("pixmap").isNull():
        return []
    if not label.property("wordWrap"):
        hint = label.property("sizeHint")
        found = _more(hint.width(), size.width()) + _more(hint.height(), size.height(), "high")
    else:
        words = [] if "<" in text else text.replace(ZERO_WIDTH_SPACE, " ").split()
        longest = max((_metrics(label).horizontalAdvance(word) for word in words), default=0)
        found = _more(longest, label.contentsRect().width())
        found += _more(label.heightForWidth(size.width()), size.height(), "high")
    if text.endswith("…") and not label.property("toolTip"):
        found.append("it ends with an ellipsis, and no tool tip has the rest")
    return found


def _icon(button: Any) -> int:
    return button.property("iconSize").width() + 4 if not button.property("icon").isNull() else 0


def _push_button(button: Any) -> list[str]:
    option = QtWidgets.QStyleOptionButton()
    button.initStyleOption(option)
    room = button.style().subElementRect(_Style.SubElement.SE_PushButtonContents, option, button)
    text = button.property("text")
    return _more(_width(button, text) + _icon(button), room.width()) + _more(
        _height(button, text) if text else 0, button.property("height"), "high"
    )


def _tool_button(button: Any) -> list[str]:
    style = button.property("toolButtonStyle")
    alone = style == _Qt.ToolButtonStyle.ToolButtonIconOnly and not button.property("icon").isNull()
    text = button.property("text")
    if alone or not text:
        return []
    option = QtWidgets.QStyleOptionToolButton()
    button.initStyleOption(option)
    room = button.style().subControlRect(
        _Style.ComplexControl.CC_ToolButton, option, _Style.SubControl.SC_ToolButton, button
    )
    beside = style == _Qt.ToolButtonStyle.ToolButtonTextBesideIcon
    needed = _width(button, text) + (_icon(button) if beside else 0) + 4
    return _more(needed, room.width()) + _more(_height(button, text), room.height(), "high")


def _check_box(box: Any) -> list[str]:
    option = QtWidgets.QStyleOptionButton()
    box.initStyleOption(option)
    part = (
        _Style.SubElement.SE_CheckBoxContents
        if isinstance(box, QtWidgets.QCheckBox)
        else _Style.SubElement.SE_RadioButtonContents
    )
    room = box.style().subElementRect(part, option, box)
    text = box.property("text")
    return _more(_width(box, text) + _icon(box), room.width()) + _more(_height(box, text), room.height(), "high")


def _combo_box(combo: Any) -> list[str]:
    """What is typed can be longer."""
    if combo.property("editable"):
        return []
    option = QtWidgets.QStyleOptionComboBox()
    combo.initStyleOption(option)
    room = combo.style().subControlRect(
        _Style.ComplexControl.CC_ComboBox, option, _Style.SubControl.SC_ComboBoxEditField, combo
    )
    index = combo.property("currentIndex")
    icon = combo.property("iconSize").width() + 4 if not combo.itemIcon(index).isNull() else 0
    return _more(_width(combo, combo.property("currentText")) + icon, room.width())


def _line_edit(edit: Any) -> list[str]:
    """What is typed can be longer; what the field says while it is empty cannot."""
    if edit.property("text"):
        return []
    option = QtWidgets.QStyleOptionFrame()
    edit.initStyleOption(option)
    room = edit.style().subElementRect(_Style.SubElement.SE_LineEditContents, option, edit)
    return _more(_metrics(edit).horizontalAdvance(edit.property("placeholderText")), room.width() - 4)


def _group_box(box: Any) -> list[str]:
    check = box.style().pixelMetric(_Style.PixelMetric.PM_IndicatorWidth) + 6 if box.property("checkable") else 0
    title = box.property("title")
    return _more(_width(box, title) + check + 8, box.property("width")) if title else []


def _progress_bar(bar: Any) -> list[str]:
    return _more(_width(bar, bar.text if isinstance(bar.text, str) else bar.text()), bar.property("width"))


def _tab_bar(bar: Any) -> list[str]:
    return [
        need
        for tab in range(bar.property("count"))
        for need in _more(_width(bar, bar.tabText(tab)) + 8, bar.tabRect(tab).width())
    ]


def _item_view(view: Any) -> list[str]:
    """The header of a table or a tree."""
    header = getattr(view, "horizontalHeader", getattr(view, "header", lambda: None))()
    if header is None or header.isHidden() or header.model() is None:
        return []
    found = []
    for section in range(header.count()):
        text = header.model().headerData(section, _Qt.Orientation.Horizontal, _Qt.ItemDataRole.DisplayRole)
        if header.isSectionHidden(section) or not text:
            continue
        mark = header.isSortIndicatorShown() and header.sortIndicatorSection() == section
        needed = _width(header, str(text)) + 4
        needed += header.style().pixelMetric(_Style.PixelMetric.PM_HeaderMarkSize) if mark else 0
        found += [f"column '{text}': {need}" for need in _more(needed, header.sectionSize(section))]
    return found


_TEXTS: tuple[tuple[Any, Callable[[Any], list[str]]], ...] = (
    (QtWidgets.QLabel, _label),
    (QtWidgets.QToolButton, _tool_button),
    (QtWidgets.QPushButton, _push_button),
    ((QtWidgets.QCheckBox, QtWidgets.QRadioButton), _check_box),
    (QtWidgets.QComboBox, _combo_box),
    (QtWidgets.QLineEdit, _line_edit),
    (QtWidgets.QGroupBox, _group_box),
    (QtWidgets.QProgressBar, _progress_bar),
    (QtWidgets.QTabBar, _tab_bar),
    ((QtWidgets.QTableView, QtWidgets.QTreeView), _item_view),
)


def cut_cells(view: Any) -> list[str]:
    """Texts in a list, table or tree that its columns do not show whole, and that no tool tip has."""
    model, found = view.model(), []
    for row in range(model.rowCount()):
        for column in range(model.columnCount()):
            index = model.index(row, column)
            room = view.visualRect(index)
            text = index.data(_Qt.ItemDataRole.DisplayRole)
            if room.isEmpty() or not isinstance(text, str) or index.data(_Qt.ItemDataRole.ToolTipRole):
                continue
            icon = view.property("iconSize").width() if index.data(_Qt.ItemDataRole.DecorationRole) is not None else 0
            edge = view.viewport().property("width") - max(room.x(), 0)
            for need in _more(_width(view, text) + max(icon, 0) + 6, min(room.width(), edge)):
                found.append(f"'{text}' in {name(view)} is cut: {need}")
    return found


# Widgets at the wrong place or in the wrong size.


def overlapping(root: Any) -> list[str]:
    """Siblings that cover each other; a tab bar and its page touch."""
    found = []
    for parent in shown(root):
        beside = [] if isinstance(parent, CLOSED) else children(parent)
        beside = [child for child in beside if not isinstance(child, _BETWEEN)]
        for place, one in enumerate(beside):
            for other in beside[place + 1 :]:
                common = one.property("geometry") & other.property("geometry")
                if common.width() > 2 and common.height() > 2:
                    found.append(f"{name(one)} and {name(other)} overlap by {common.width()} x {common.height()} px")
    return found


def misplaced(root: Any) -> list[str]:
    """Widgets that are visible and have no size, or are partly outside of what they lie in."""
    found = []
    for widget in shown(root):
        above, size = widget.parentWidget(), widget.property("size")
        if widget is root or above is None:
            continue
        if min(size.width(), size.height()) < 4:
            if _shows_something(widget):
                found.append(f"{name(widget)} is visible and has the size {size.width()} x {size.height()}")
            continue
        scrolls = isinstance(above.parentWidget(), QtWidgets.QAbstractScrollArea)
        if not scrolls and not above.property("rect").adjusted(-1, -1, 1, 1).contains(widget.property("geometry")):
            found.append(f"{name(widget)} is partly outside of {name(above)}")
    return found


def _shows_something(widget: Any) -> bool:
    """Not a label without text, nor a frame or a widget in which nothing is shown, nor a line."""
    if isinstance(widget, QtWidgets.QLabel):
        return bool(widget.property("text")) or not widget.property("pixmap").isNull()
    frames = ("QWidget", "QFrame", "QStackedWidget")
    return type(widget).__name__ not in frames or any(map(_shows_something, children(widget)))


def squashed(root: Any) -> list[str]:
    """Controls that got less than their least size; what only holds others shows it by them."""
    found = []
    for widget in shown(root):
        if widget is root or widget.layout() is not None or isinstance(widget, _ALWAYS_LARGE_ENOUGH):
            continue
        size, least, policy = (widget.property(key) for key in ("size", "minimumSizeHint", "sizePolicy"))
        if widget.hasHeightForWidth():  # a least height counts at the least width, at which its text has most lines
            least.setHeight(min(least.height(), widget.heightForWidth(size.width())))
        own, most = widget.property("minimumSize"), widget.property("maximumSize")
        ignored = QtWidgets.QSizePolicy.Policy.Ignored
        for what, got, hint, wanted, limit, how in (
            ("wide", size.width(), least.width(), own.width(), most.width(), policy.horizontalPolicy()),
            ("high", size.height(), least.height(), own.height(), most.height(), policy.verticalPolicy()),
        ):
            needed = min(wanted or (0 if how == ignored else hint), limit)
            if got + 1 < needed:
                found.append(f"{name(widget)} is squashed: {got} px {what}, and needs {needed}")
    return found


def too_wide(root: Any) -> list[str]:
    """The panel, or a page of it, whose size hint would make Slicer's dock too wide."""
    found = []
    for widget in (root, *root.findChildren(QtWidgets.QStackedWidget), *_pages(root)):
        width = widget.property("sizeHint").width()
        if width > WIDEST_HINT:
            found.append(f"{name(widget)} wants {width} px, more than {WIDEST_HINT}: {_widest(widget)}")
    return found


def _widest(widget: Any) -> str:
    """Which of the parts in it want the most."""
    inner = [
        child for child in shown(widget) if child is not widget and (isinstance(child, CLOSED) or not children(child))
    ]
    inner.sort(key=lambda child: -child.property("sizeHint").width())
    return ", ".join(f"{name(child)} {child.property('sizeHint').width()}" for child in inner[:3])


def too_large(root: Any, room: Room) -> list[str]:
    """The panel in a room that is too small for it: all of it would scroll."""
    least, found = root.property("minimumSizeHint"), []
    if least.width() > room.width:
        found.append(f"{name(root)} needs {least.width()} px and {room.name} has {room.width}: too wide")
    needed = height_of(root, max(room.width, least.width()))
    if needed > room.height:
        found.append(f"{name(root)} needs {needed} px and {room.name} has {room.height}: too high")
    return found


def _stacks(root: Any) -> list[Any]:
    found = root.findChildren(QtWidgets.QStackedWidget)
    return [stack for stack in found if not isinstance(stack.parentWidget(), QtWidgets.QTabWidget)]


def _pages(root: Any) -> list[Any]:
    return [stack.widget(page) for stack in _stacks(root) for page in range(stack.property("count"))]


def counting_hidden_pages(root: Any) -> list[str]:
    """Pages that are not shown and count in the size of their stack all the same."""
    ignored, found = QtWidgets.QSizePolicy.Policy.Ignored, []
    for stack in _stacks(root):
        for number in range(stack.property("count")):
            page = stack.widget(number)
            policy = page.property("sizePolicy")
            counts = {policy.horizontalPolicy(), policy.verticalPolicy()} != {ignored}
            if number != stack.property("currentIndex") and counts:
                found.append(f"{name(page)} is hidden and counts in the size of {name(stack)}")
    return found


# Lists of check boxes.


def without_check_box(view: Any) -> list[str]:
    """Rows of a list that is meant for ticking and whose box Qt does not draw: they have no check state."""
    model = view.model()
    rows = (model.index(row, 0) for row in range(model.rowCount()))
    return [
        f"'{index.data(_Qt.ItemDataRole.DisplayRole)}' in {name(view)} has no check box"
        for index in rows
        if index.data(_Qt.ItemDataRole.CheckStateRole) is None
    ]


def half_checkable(root: Any) -> list[str]:
    """Lists in which some rows have a check box and others have none."""
    found = []
    for view in shown(root):
        if isinstance(view, QtWidgets.QListView) and view.model() is not None:
            bare = without_check_box(view)
            found += bare if 0 < len(bare) < view.model().rowCount() else []
    return found

"""Which keys the buttons of a panel take, and which of them somebody else needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from pictures_walk import name, shown
from PySide6 import QtGui, QtWidgets

FREE = frozenset(key for letter in "CDHJKMNOU" for key in (letter, f"Shift+{letter}")) | {"?"}
"""Single keys that neither Slicer nor its Segment Editor nor nnInteractive uses."""
WHILE_IT_LASTS = {"promptCancelButton": "Esc"}
"""A key of Slicer's Segment Editor, whose buttons are not shown together with this one."""
_CTRL = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "`",
    "B",
    "C",
    "F",
    "G",
    "H",
    "O",
    "S",
    "V",
    "W",
    "X",
    "Y",
    "Z",
    "Left",
    "Right",
]
_CTRL_SHIFT = ["A", "T", "Z", "Space", "Down", "Left", "Right"]
_ALT = ["Left", "Right", "F", "E", "V", "H"]
TAKEN = frozenset(
    QtGui.QKeySequence(f"{modifier}+{key}").toString()
    for modifier, keys in (("Ctrl", _CTRL), ("Ctrl+Shift", _CTRL_SHIFT), ("Alt", _ALT))
    for key in keys
)
"""Keys of Slicer's main window and of the Segment Editor that are pressed together with Ctrl or Alt."""


def keys(root: Any) -> Iterator[tuple[str, Any]]:
    """Every key with what is shown and reacts to it: buttons, actions, labels and buttons with a mnemonic."""
    for widget in shown(root):
        if isinstance(widget, QtWidgets.QAbstractButton):
            if not widget.property("shortcut").isEmpty():
                yield widget.property("shortcut").toString(), widget
        elif isinstance(widget, QtWidgets.QLabel) and widget.buddy() is not None:
            mnemonic = QtGui.QKeySequence.mnemonic(widget.property("text"))
            if not mnemonic.isEmpty():
                yield mnemonic.toString(), widget
        for action in widget.actions():
            for sequence in action.shortcuts():
                yield sequence.toString(), widget
        for shortcut in widget.children():
            if isinstance(shortcut, QtGui.QShortcut):
                yield shortcut.property("key").toString(), widget


def keys_used_twice(root: Any) -> list[str]:
    """With two of them Qt calls neither."""
    owners = defaultdict(list)
    for key, owner in keys(root):
        owners[key].append(name(owner))
    return [f"the key {key} is used twice: {' and '.join(names)}" for key, names in owners.items() if len(names) > 1]


def keys_of_slicer(root: Any) -> list[str]:
    """Keys that would be taken away from Slicer, the Segment Editor or nnInteractive."""
    found = []
    for key, owner in keys(root):
        alone = not key.startswith(("Ctrl+", "Alt+", "Meta+"))
        if WHILE_IT_LASTS.get(owner.property("objectName")) == key:
            continue
        if key in TAKEN or (alone and key not in FREE):
            found.append(f"{name(owner)} takes the key {key}, which is not free")
    return found


def keys_untold(root: Any) -> list[str]:
    """Buttons whose tool tip does not name their key."""
    found = []
    for widget in shown(root):
        if isinstance(widget, QtWidgets.QAbstractButton):
            key, tip = widget.property("shortcut").toString(), widget.property("toolTip")
            if key and not key.startswith("Alt+") and f"({key})" not in tip:
                found.append(f"the tool tip of {name(widget)} does not end with its key ({key}): '{tip}'")
    return found

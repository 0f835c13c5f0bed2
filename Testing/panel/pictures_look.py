"""How Slicer looks on a laptop: its style, font, colours, and the room that a module gets in its window."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

FONTS = (("Noto Sans", 13), ("DejaVu Sans Condensed", 14), ("DejaVu Sans", 13))
"""The font that was measured in Slicer, and the families whose letters come next to its size."""
FONT_PACKAGE = "fontpkg-noto-sans"


@dataclass(frozen=True)
class Room:
    """What a module gets in Slicer's window, in pixels."""

    name: str
    width: int
    height: int


ROOMS = (Room("1280x800", 421, 433), Room("smallest", 421, 365), Room("1920x1080", 421, 713))
WIDEST_HINT = 425
"""Slicer's dock becomes 55 pixels wider than the module's size hint."""


class Theme(Enum):
    LIGHT = "light"
    DARK = "dark"


_Role = QtGui.QPalette.ColorRole
_COLOURS = {
    Theme.LIGHT: {
        _Role.Window: "#efefef",
        _Role.WindowText: "#000000",
        _Role.Base: "#ffffff",
        _Role.AlternateBase: "#f7f7f7",
        _Role.Text: "#000000",
        _Role.PlaceholderText: "#80000000",
        _Role.Button: "#f0f0f0",
        _Role.ButtonText: "#000000",
        _Role.BrightText: "#ff3333",
        _Role.Highlight: "#308cc6",
        _Role.HighlightedText: "#ffffff",
        _Role.Link: "#0000ff",
        _Role.LinkVisited: "#ff00ff",
        _Role.ToolTipBase: "#ffffdc",
        _Role.ToolTipText: "#000000",
    },
    Theme.DARK: {
        _Role.Window: "#323232",
        _Role.WindowText: "#ffffff",
        _Role.Base: "#1e1e1e",
        _Role.AlternateBase: "#323232",
        _Role.Text: "#ffffff",
        _Role.PlaceholderText: "#80ffffff",
        _Role.Button: "#464646",
        _Role.ButtonText: "#ffffff",
        _Role.BrightText: "#ff3333",
        _Role.Highlight: "#368cd9",
        _Role.HighlightedText: "#d8e8f8",
        _Role.Link: "#2f93d6",
        _Role.LinkVisited: "#8a5cd6",
        _Role.ToolTipBase: "#323232",
        _Role.ToolTipText: "#ffffff",
    },
}
_DISABLED = {Theme.LIGHT: "#7d7d7d", Theme.DARK: "#808080"}


@functools.cache
def font() -> QtGui.QFont:
    """Slicer's, or what is installed and nearest to it."""
    if importlib.util.find_spec("fontpkg_noto_sans") is not None:
        for file in importlib.metadata.files(FONT_PACKAGE) or ():
            if file.suffix == ".ttf":
                QtGui.QFontDatabase.addApplicationFont(str(Path(str(file.locate()))))
    installed = set(QtGui.QFontDatabase.families())
    for family, pixels in FONTS:
        if family in installed:
            found = QtGui.QFont(family)
            found.setPixelSize(pixels)
            return found
    raise LookupError(f"None of these fonts is installed: {', '.join(family for family, _ in FONTS)}")


def palette(theme: Theme) -> QtGui.QPalette:
    colours = QtGui.QPalette()
    for role, colour in _COLOURS[theme].items():
        colours.setColor(role, QtGui.QColor(colour))
    for role in (_Role.WindowText, _Role.Text, _Role.ButtonText):
        colours.setColor(QtGui.QPalette.ColorGroup.Disabled, role, QtGui.QColor(_DISABLED[theme]))
    return colours


def dress(application: Any, theme: Theme) -> None:
    """Give the application Slicer's style in this theme."""
    if application.font().family() != font().family():
        application.setStyle("Fusion")
        application.setFont(font())
    application.setPalette(palette(theme))


def place(widget: Any, room: Room) -> None:
    """Show a widget in that room and let it lay out what is in it; as high as Slicer makes it, see ``height_of``."""
    if widget.layout() is not None:
        widget.layout().setSizeConstraint(QtWidgets.QLayout.SizeConstraint.SetNoConstraint)
    widget.setMinimumSize(0, 0)
    widget.show()
    for _ in range(3):  # labels that wrap ask again once they know their width
        width = max(room.width, widget.property("minimumSizeHint").width())
        widget.resize(width, max(room.height, height_of(widget, width)))
        QtCore.QCoreApplication.sendPostedEvents()
        QtCore.QCoreApplication.processEvents()


def height_of(widget: Any, width: int) -> int:
    """The height that Slicer gives a module at least, in the area that it scrolls in.

    QScrollArea takes a widget in which any text wraps as high as it *wants* to be at that width, not as it needs to be.
    """
    least = int(widget.property("minimumSizeHint").height())
    if widget.layout() is not None and widget.layout().hasHeightForWidth():
        return max(least, widget.heightForWidth(width))
    return least


def grab(widget: Any, path: Path) -> Path:
    """A picture of a widget as it is shown now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not widget.grab().save(str(path)):
        raise OSError(f"'{path}' could not be written")
    return path

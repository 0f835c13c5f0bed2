"""Signals of Qt, in Slicer's PythonQt and in PySide6."""

from __future__ import annotations

from collections.abc import Callable

from ..slicer_types import Qt, Widget


def connect(sender: Widget, signature: str, slot: Callable[..., None]) -> None:
    """Connect a signal by its signature, such as ``clicked()``. Raises AttributeError when there is none.

    PythonQt names signals by their signature, and only prints when there is none; PySide6 has attributes, and would
    give what a signal carries to a slot that is connected without it.
    """
    if type(sender).__module__.startswith("PySide6"):
        name, _, carries = signature.partition("(")
        getattr(sender, name).connect(slot if carries != ")" else lambda *_: slot())
    elif not sender.connect(signature, slot):
        raise AttributeError(f"This Qt's {type(sender).__name__} has no signal '{signature}'.")


def timer(qt: Qt, interval_ms: int, slot: Callable[..., None], once: bool = False) -> Widget:
    """A QTimer, not started yet, that calls ``slot``."""
    made = qt.QTimer()
    made.setSingleShot(once)
    made.setInterval(interval_ms)
    connect(made, "timeout()", slot)
    return made

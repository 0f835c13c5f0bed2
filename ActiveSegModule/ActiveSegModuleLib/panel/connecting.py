"""Signals of Qt, of which Slicer's Python only prints when they do not exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def connect(sender: Any, signal: str, slot: Callable[..., None]) -> None:
    """Connect a signal by its signature, such as ``clicked()``. Raises AttributeError when there is none."""
    if not sender.connect(signal, slot):
        raise AttributeError(f"{sender} has no signal '{signal}'.")

"""Drafts that reach no disk: a test says when one is saved, and when that fails."""

from __future__ import annotations

from typing import Any

import pytest
from user import User


class Kept:
    """Drafts that are saved when the test says so."""

    def __init__(self, user: User) -> None:
        self.names: list[str] = []
        self.waiting: list[Any] = []
        self.failing: list[Any] = []
        user.logic.drafts.save = self.save

    def save(self, case: Any, on_done: Any, on_error: Any) -> None:
        self.names.append(case.name)
        self.waiting.append(on_done)
        self.failing.append(on_error)

    def answer(self) -> None:
        self.failing.pop(0)
        self.waiting.pop(0)()

    def fail(self, error: Any) -> None:
        self.waiting.pop(0)
        self.failing.pop(0)(error)


def held(user: User, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """As if there were an engine."""
    from ActiveSegModuleLib.panel import drafts

    kinds = type(user.logic.installation)
    monkeypatch.setattr(kinds, "obstacle", property(lambda _self: None))
    monkeypatch.setattr(user.widget.panel, "engine_changed", lambda: None)
    monkeypatch.setattr(user.logic.drafts, "discard", lambda *_: None)
    monkeypatch.setattr(drafts, "LONGEST_WAIT_S", 0)  # at the end nothing answers any more
    return Kept(user)

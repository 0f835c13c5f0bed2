"""Answers to what was asked with callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from watched_process import until

from activeseg.core.errors import ActiveSegError


class Asked:
    """Waits for what a method of Drafts gives to its callbacks."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.errors: list[ActiveSegError] = []

    def result(self, ask: Callable[..., None], *parameters: Any) -> Any:
        ask(*parameters, lambda *told: self.told.append(told), self.errors.append)
        until(lambda: self.told or self.errors)
        assert not self.errors, self.errors
        return self.told[0][0] if self.told[0] else None

    def error(self, ask: Callable[..., None], *parameters: Any) -> ActiveSegError:
        ask(*parameters, lambda *told: self.told.append(told), self.errors.append)
        until(lambda: self.told or self.errors)
        assert not self.told, self.told
        return self.errors[0]

"""An engine that answers what a test says, in a later turn of the event loop: for how pages show answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from activeseg.core.errors import ActiveSegError

Answer = Mapping[str, Any] | ActiveSegError | Callable[[Mapping[str, Any]], Any]


class AnsweringEngine:
    """Stands for the engine of a loaded module.

    Attributes
    ----------
    answers
        Method -> what is answered: a result, an error, or a function of the parameters; other methods never are
    asked
        Methods and parameters in their order
    callbacks
        By method, of what was asked last: for answers that come later
    pid
        Of the process that answers, where a test says so
    """

    def __init__(self, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, Answer] = {}
        self.pid = 1
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.callbacks: dict[str, Mapping[str, Callable[[Any], None] | None]] = {}
        logic = module.widget.logic
        self._later = logic.engine.later  # says nothing any more once the module is closed
        monkeypatch.setattr(type(logic.installation), "obstacle", property(lambda _self: None))
        monkeypatch.setattr(logic.engine, "request", self.request)

    def methods(self) -> list[str]:
        """What was asked, without what the panel asks at its start."""
        return [
            method for method, _params in self.asked if method.partition(".")[0] in ("project", "finetune", "versions")
        ]

    def request(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        on_result: Callable[[Any], None] = lambda _result: None,
        on_error: Callable[[ActiveSegError], None] | None = None,
        **_more: Any,
    ) -> str:
        self.asked.append((method, params or {}))
        self.callbacks[method] = {"on_result": on_result, "on_error": on_error}
        if method not in self.answers:
            return str(len(self.asked))
        answer = self.answers[method]
        if callable(answer):
            answer = answer(params or {})
        if isinstance(answer, ActiveSegError):
            error = answer
            if on_error is not None:
                self._later(lambda: on_error(error))
        else:
            self._later(lambda: on_result(answer))
        return str(len(self.asked))

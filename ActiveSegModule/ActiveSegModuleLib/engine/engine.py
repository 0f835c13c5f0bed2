"""The engine that the user's Python gives: started when it is first needed, and anew when that Python changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from activeseg.core.errors import ActiveSegError, Cancelled, EngineError

from ..logic.installation import Installation
from .engine_process import EngineProcess, Listeners
from .later import Later


def _ignore(*_: Any) -> None:
    pass


class Engine:
    """Answers like an EngineProcess, over whichever one runs now.

    Attributes
    ----------
    later : calls functions at later turns of the event loop, until ``close``
    """

    def __init__(
        self,
        qt: Any,
        installation: Installation,
        home: Path,
        environment: Mapping[str, str],
        listeners: Listeners,
    ) -> None:
        """
        Parameters
        ----------
        installation : says which Python to start it with as things are now, or why none; it hears of every failure
        home : a folder for logs and scratch
        environment : variables to start from, see EngineProcess
        """
        self._qt = qt
        self._installation = installation
        self._home = home
        self._environment = environment
        self._listeners = listeners
        self._process: EngineProcess | None = None
        self._started_with: Path | None = None
        self._closed = False
        self._unanswered: dict[object, Callable[[ActiveSegError], None]] = {}
        self.later = Later(qt)

    @property
    def engine(self) -> Mapping[str, Any]:
        """What the running engine said about itself; empty when none is ready."""
        return self._process.engine if self._process is not None else {}

    def request(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        on_result: Callable[[Any], None] = _ignore,
        on_error: Callable[[ActiveSegError], None] | None = None,
        **callbacks: Any,
    ) -> str:
        """As ``EngineProcess.request``. Raises EngineError while no engine can be started."""
        tell, token = on_error or self._listeners.exception, object()

        def answered(result: Any) -> None:
            self._unanswered.pop(token, None)
            on_result(result)

        def failed(error: ActiveSegError) -> None:
            self._unanswered.pop(token, None)
            self._installation.suspect(error)
            tell(error)

        id = self._current().request(method, params, on_result=answered, on_error=failed, **callbacks)
        self._unanswered[token] = on_error or _ignore
        return id

    def cancel(self, id: str) -> None:
        """As ``EngineProcess.cancel``."""
        if self._process is not None:
            self._process.cancel(id)

    def shutdown(self) -> None:
        """End the engine and all that it started; whoever waits gets a Cancelled. The next request starts it again."""
        if self._process is not None:
            self._process.shutdown()
            self._process = None
        waiting, self._unanswered = list(self._unanswered.values()), {}
        for tell in waiting:
            self.later(lambda tell=tell: tell(Cancelled()))

    def close(self) -> None:
        """``shutdown`` for good, and nobody is called back: Slicer quits, or the module is reloaded."""
        self._closed = True
        self.later.close()
        self.shutdown()

    def _current(self) -> EngineProcess:
        if self._closed:
            raise EngineError("The engine was shut down.", "Reload the module, or restart Slicer.")
        obstacle = self._installation.obstacle
        if obstacle is not None:
            raise obstacle
        python = self._installation.python
        assert python is not None
        if self._process is None or python != self._started_with:
            self.shutdown()
            self._process = EngineProcess(self._qt, python, self._home, self._environment, listeners=self._listeners)
            self._started_with = python
        return self._process

"""The engine of the installed environment: started when it is first needed, and again when its Python changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from activeseg.core.errors import ActiveSegError, Cancelled, EngineError

from ..slicer_types import Qt
from .engine import OnError, OnNotice, OnProgress, ignore
from .engine_process import EngineProcess, Listeners
from .later import Later

_NOT_ASKED_BY_THE_USER = ("engine.warm",)
"""What goes wrong there is no reason to disturb the user; it will be told when the same is asked for."""


class Environment(Protocol):
    """Which Python the engine gets."""

    @property
    def python(self) -> Path | None:
        """None when there is an obstacle."""

    @property
    def obstacle(self) -> EngineError | None:
        """Why no engine can be started now; None when one can."""

    def hold(self) -> None:
        """An engine is going to start; raises EngineError while another program changes the environment."""

    def release(self) -> None:
        """The engine has ended."""

    def suspect(self, error: ActiveSegError) -> None:
        """A request failed; the environment may be the reason."""


class InstalledEngine:
    """An ``Engine``, over whichever process runs now; ``later`` works until ``close``."""

    def __init__(
        self,
        qt: Qt,
        installation: Environment,
        home: Path,
        environment: Mapping[str, str],
        listeners: Listeners,
    ) -> None:
        """
        Parameters
        ----------
        installation
            Says which Python to start it with as things are now, or why none; it hears of every failure
        home
            A folder for logs and scratch
        environment
            Variables to start from, see EngineProcess
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

    @property
    def is_starting(self) -> bool:
        """Whether one was started that has not answered yet."""
        return self._process is not None and self._process.is_starting

    def request(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        on_result: Callable[[Any], None] = ignore,
        on_error: OnError | None = None,
        on_progress: OnProgress = ignore,
        on_notice: OnNotice = ignore,
    ) -> str:
        """See ``Engine.request``."""
        tell, token = on_error or self._listeners.exception, object()

        def answered(result: object) -> None:
            self._unanswered.pop(token, None)
            on_result(result)

        def failed(error: ActiveSegError) -> None:
            self._unanswered.pop(token, None)
            if method not in _NOT_ASKED_BY_THE_USER:
                self._installation.suspect(error)
            tell(error)

        id = self._current().request(
            method, params, on_result=answered, on_error=failed, on_progress=on_progress, on_notice=on_notice
        )
        self._unanswered[token] = on_error or ignore
        return id

    def cancel(self, id: str) -> None:
        """See ``Engine.cancel``."""
        if self._process is not None:
            self._process.cancel(id)

    def shutdown(self) -> None:
        """End the engine and all that it started; open requests get a Cancelled. The next request starts it again."""
        if self._process is not None:
            self._process.shutdown()
            self._process = None
            self._installation.release()
        waiting, self._unanswered = list(self._unanswered.values()), {}
        for tell in waiting:
            self.later(partial(tell, Cancelled()))

    def close(self) -> None:
        """``shutdown`` for good, without any more callbacks: Slicer quits, or the module is reloaded."""
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
            self._installation.hold()
            self._process = EngineProcess(self._qt, python, self._home, self._environment, listeners=self._listeners)
            self._started_with = python
        return self._process

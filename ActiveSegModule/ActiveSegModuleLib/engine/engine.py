"""What the logic asks of an engine, however it is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from activeseg.client.engine_client import EstimateEvent, LabelEvent, NoticeEvent, ProgressEvent
from activeseg.core.errors import ActiveSegError

from .later import Later

OnError = Callable[[ActiveSegError], None]
OnProgress = Callable[[ProgressEvent], None]
OnNotice = Callable[[EstimateEvent | NoticeEvent | LabelEvent], None]


def ignore(*_: object) -> None:
    """A callback that does nothing."""


class Engine(Protocol):
    """Answers from the event loop, never from within a call."""

    @property
    def later(self) -> Later:
        """Calls functions at later turns of the event loop, as long as there is an engine to ask."""

    @property
    def engine(self) -> Mapping[str, Any]:
        """What the running engine said about itself, such as its ``inbox``; empty when none is ready."""

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
        """Ask, and go on; the id is for ``cancel``. The engine is started if none runs.

        Either ``on_result`` or ``on_error`` is called once, unless the engine is shut down first.

        Raises
        ------
        EngineError
            While no engine can be started, and for parameters that a message cannot hold.
        """

    def cancel(self, id: str) -> None:
        """Ask to end a job; its own ``on_error`` then gets a Cancelled. Does nothing when it has been answered."""

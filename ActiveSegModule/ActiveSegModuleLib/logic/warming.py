"""The first click is warm: what a segmentation needs is loaded while the user still looks around. No widgets."""

from __future__ import annotations

from collections.abc import Callable

from activeseg.client.engine_client import ProgressEvent
from activeseg.client.messages.segmenting import WarmRequest
from activeseg.core.errors import ActiveSegError, Cancelled

from ..engine.asking import ask
from ..engine.engine import Engine


class Warming:
    """Once for each engine that is started; nothing waits for it, and what goes wrong is only logged.

    A segmentation that comes meanwhile is not delayed: what has begun is what it needs itself, and stopping it would
    cost the engine's process with all that it has loaded; what has not begun is taken back.
    """

    def __init__(self, engine: Engine, log: Callable[[str], None]) -> None:
        """``log`` gets a line when something goes wrong."""
        self._engine = engine
        self._log = log
        self._done_for: object = None  # the engine's process
        self._job: str | None = None
        self._has_begun = False

    @property
    def is_going_on(self) -> bool:
        """Whether something is being loaded."""
        return self._job is not None and self._has_begun

    def start(self, model: str) -> None:
        """Load what a model needs, in an engine that has answered; nothing happens when that was done before."""
        process = self._engine.engine.get("pid")
        if process is None or process == self._done_for:
            return
        self._done_for, self._has_begun = process, False
        try:
            self._job = ask(
                self._engine, WarmRequest(model=model), lambda _: self._ended(), self._failed, self._progressed
            )
        except ActiveSegError as error:
            self._failed(error)

    def make_way(self) -> None:
        """A segmentation is about to be asked for."""
        if self._job is not None and not self._has_begun:
            self._engine.cancel(self._job)

    def _progressed(self, event: ProgressEvent) -> None:
        self._has_begun |= event.stage != "queued"

    def _failed(self, error: ActiveSegError) -> None:
        self._ended()
        if isinstance(error, Cancelled):
            return
        self._log(f"Loading a model ahead of its first use did not work: {error}")

    def _ended(self) -> None:
        self._job = None

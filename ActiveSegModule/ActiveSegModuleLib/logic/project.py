"""A project, as the engine tells of it. No widgets; nothing here waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from activeseg.client.messages.learning import (
    ProjectAdmitRequest,
    ProjectAdmitResult,
    ProjectMatchRequest,
    ProjectNewRequest,
    ProjectResult,
    ProjectReviewedRequest,
    ProjectShowRequest,
)
from activeseg.client.messages.request import TypedRequest
from activeseg.core.errors import ActiveSegError

from ..engine.asking import ask, tried
from ..engine.engine import Engine, OnError

R = TypeVar("R")
OnSummary = Callable[[ProjectResult], None]


class Project:
    """One project at a time.

    Attributes
    ----------
    folder
        None when none is chosen
    summary
        The engine's last answer about it; None before
    busy
        Whether something about it is being asked that others should wait for
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open = 0
        self._followers: list[Callable[[], None]] = []
        self.folder: Path | None = None
        self.summary: ProjectResult | None = None

    def follow(self, changed: Callable[[], None]) -> None:
        """Call a function whenever ``folder`` or ``summary`` is another one."""
        self._followers.append(changed)

    def turn_to(self, folder: Path | None) -> None:
        """Another project, or none; nothing is asked yet."""
        if folder != self.folder:
            self.folder = folder
            self._summarise(None)

    @property
    def chosen(self) -> Path:
        """The folder, where there is one."""
        assert self.folder is not None, "no project is chosen"
        return self.folder

    def begin(self, model: str, dataset: Path | None, on_result: OnSummary, on_error: OnError) -> None:
        """Begin the project in its folder; without ``dataset`` one is made inside."""
        request = ProjectNewRequest(project=self.chosen, model=model, dataset=dataset)
        self.change(request, on_result, on_error)

    def refresh(self, on_result: OnSummary, on_error: OnError) -> None:
        """Ask how the project stands."""
        self.change(ProjectShowRequest(project=self.chosen), on_result, on_error)

    def match(self, matching: Mapping[str, str | None], on_result: OnSummary, on_error: OnError) -> None:
        """Say what structures of the dataset are in the model (None: new); only before the first version."""
        request = ProjectMatchRequest(project=self.chosen, matching=matching)
        self.change(request, on_result, on_error)

    def admit(
        self, case: str, patient: str, on_result: Callable[[ProjectAdmitResult], None], on_error: OnError
    ) -> None:
        """Say which patient a case is of."""
        self.ask(ProjectAdmitRequest(project=self.chosen, case=case, patient=patient), on_result, on_error)

    def reviewed(self, case: str, on_result: OnSummary, on_error: OnError) -> None:
        """Say that all of a held-out case was reviewed."""
        request = ProjectReviewedRequest(project=self.chosen, case=case)
        self.change(request, on_result, on_error)

    @property
    def busy(self) -> bool:
        return self._open > 0

    def ask(
        self,
        request: TypedRequest[R],
        on_result: Callable[[R], None],
        on_error: OnError,
        alongside: bool = False,
    ) -> None:
        """Ask about this project; the answer is dropped when the user has turned to another one meanwhile.

        ``alongside`` whatever else is asked: nothing waits for it.
        """
        folder, counted = self.folder, int(not alongside)

        def answered(result: R) -> None:
            self._open -= counted
            if folder == self.folder:
                on_result(result)

        def failed(error: ActiveSegError) -> None:
            self._open -= counted
            on_error(error)

        self._open += counted
        tried(lambda: ask(self._engine, request, answered, failed), failed)

    def change(self, request: TypedRequest[ProjectResult], on_result: OnSummary, on_error: OnError) -> None:
        """Ask for a summary of the project; it is kept before it is handed on."""

        def summarised(result: ProjectResult) -> None:
            self._summarise(result)
            on_result(result)

        self.ask(request, summarised, on_error)

    def _summarise(self, summary: ProjectResult | None) -> None:
        self.summary = summary
        for changed in self._followers:
            changed()

"""The training of a project: what it would do, how far it is, and what can be done with it. No widgets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from activeseg.client.messages.learning import (
    FinetuneControlRequest,
    FinetunePlanRequest,
    FinetunePlanResult,
    FinetuneStartRequest,
    FinetuneState,
    FinetuneStateRequest,
)
from activeseg.core.records import from_json

from ..engine.engine import OnError
from ..slicer_types import Settings
from .project import Project

Control = Literal["run", "pause", "stop", "cancel"]
OnState = Callable[[FinetuneState], None]

ENDED = ("done", "failed", "cancelled", "stopped")
GO_ON = "ActiveSeg/goOn"
LAST_TRAINING = "ActiveSeg/training"
"""The training that was seen last: ``project``, ``run`` and ``stage``, as JSON."""


class Training:
    """The last training of the project.

    Attributes
    ----------
    planned
        The engine's last plan; None when there is none, or the project changed since
    planned_with
        The changes and the device that it was planned with
    run
        The state of the last training, None when there was none
    epochs
        Of that one, as far as it is
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._folder = project.folder
        self._after = 0
        self.planned: FinetunePlanResult | None = None
        self.planned_with: tuple[Mapping[str, int | float], str] = ({}, "")
        self.run: FinetuneState | None = None
        self.epochs: list[Mapping[str, Any]] = []
        self._followers: list[Callable[[], None]] = []
        project.follow(self._follow)

    def follow(self, changed: Callable[[], None]) -> None:
        """Call a function whenever the plan, the run or its epochs are others."""
        self._followers.append(changed)

    @property
    def runs(self) -> bool:
        """Whether a training is going on, or waits to go on."""
        return self.run is not None and self.run.stage not in ENDED

    @property
    def waits(self) -> bool:
        """Whether it is paused or stopped, and can be resumed."""
        return self.run is not None and (self.run.paused or self.run.stage == "stopped")

    def plan(
        self,
        changes: Mapping[str, int | float],
        device: str,
        on_result: Callable[[FinetunePlanResult], None],
        on_error: OnError,
    ) -> None:
        """What a training would do, and what it takes; one step of it is timed."""

        def planned(result: FinetunePlanResult) -> None:
            self.planned, self.planned_with = result, (dict(changes), device)
            self._changed()
            on_result(result)

        request = FinetunePlanRequest(project=self._project.chosen, changes=changes, device=device)
        self._project.ask(request, planned, on_error)

    def start(self, on_result: OnState, on_error: OnError) -> None:
        """Begin what was planned."""
        planned = self.planned
        assert planned is not None
        request = FinetuneStartRequest(
            project=self._project.chosen, plan=planned.plan, parent=planned.parent, part=planned.part
        )
        self._forget_run()
        self._project.ask(request, self._stated(on_result), on_error)

    def look(self, on_result: OnState, on_error: OnError) -> None:
        """How far the last training is."""
        request = FinetuneStateRequest(project=self._project.chosen, after=self._after)
        self._project.ask(request, self._stated(on_result), on_error, alongside=True)

    def control(self, what: Control, on_result: OnState, on_error: OnError) -> None:
        """``pause``, ``run`` (resume), ``stop`` or ``cancel``."""

        def told(result: FinetuneState) -> None:
            self.run = result  # its epochs are asked for again by ``look``
            self._changed()
            on_result(result)

        self._project.ask(FinetuneControlRequest(project=self._project.chosen, control=what), told, on_error)

    def leave(self, go_on: bool) -> None:
        """Slicer is closed: a training that is not to go on stops, and can be resumed.

        The engine goes with Slicer, so the training is told by the file that it looks at.
        """
        if self.run is not None and self.runs and not go_on and self._project.folder is not None:
            folder = self._project.folder / "runs" / self.run.run
            if folder.is_dir():
                (folder / "control").write_text("stop", encoding="utf-8")

    def _follow(self) -> None:
        """The project changed: a plan is out of date, and a run of another project, or a later one, is not this one."""
        self.planned = None
        if self._project.folder != self._folder:
            self._folder = self._project.folder
            self._forget_run()
        summary = self._project.summary
        run = summary.run if summary is not None else None
        if run and (self.run is None or self.run.run != run["id"]):
            self._forget_run()
            known = {"paused": False, "epochs": [], "after": 0}  # is asked for by ``look``
            self.run = from_json(FinetuneState, {**known, **run, "run": run["id"]}, "run")
        self._changed()

    def _stated(self, on_result: OnState) -> OnState:
        def stated(result: FinetuneState) -> None:
            if self.run is not None and self.run.run != result.run:
                self._forget_run()
            self.run = result
            self.epochs.extend(result.epochs)
            self._after = result.after
            self._changed()
            on_result(result)

        return stated

    def _changed(self) -> None:
        for changed in self._followers:
            changed()

    def _forget_run(self) -> None:
        self.run, self.epochs, self._after = None, [], 0


def goes_on(settings: Settings) -> bool:
    """Whether a training is to go on after Slicer is closed: the user's choice, for all scenes."""
    return str(settings.value(GO_ON) or "").lower() == "true"


def training_seen(settings: Settings) -> Mapping[str, str]:
    """``project``, ``run`` and ``stage`` of the training that was seen last; empty when there was none."""
    try:
        seen = json.loads(str(settings.value(LAST_TRAINING) or "{}"))
        return {name: text for name, text in seen.items() if isinstance(text, str)}
    except (AttributeError, RecursionError, ValueError):  # of another version, or damaged
        return {}


def stage_on_disk(seen: Mapping[str, str]) -> str:
    """How far that training is by its own file, which it writes also while Slicer is closed; as it was seen, else."""
    path = Path(seen.get("project", "")) / "runs" / seen.get("run", "") / "state.json"
    try:
        state = json.loads(path.read_text("utf-8"))
        return str(state["stage"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(seen.get("stage", ""))


def note_training(settings: Settings, project: Path | None, run: FinetuneState | None) -> None:
    """Remember how far a training was when the user last looked; without one, what was seen before stays."""
    if run is not None:
        seen = {"project": str(project), "run": run.run, "stage": run.stage}
        settings.setValue(LAST_TRAINING, json.dumps(seen))

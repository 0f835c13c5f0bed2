"""A project, its fine-tuning and its versions, as the engine tells of them. No widgets; nothing here waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from activeseg.core.errors import ActiveSegError

OnResult = Callable[[Mapping[str, Any]], None]
OnError = Callable[[ActiveSegError], None]
ENDED = ("done", "failed", "cancelled", "stopped")


class Learning:
    """What the part *Fine-tuning* of the section Learn does; one project at a time.

    Attributes
    ----------
    project : its folder; None when none is chosen
    summary : the engine's last answer about it; empty before
    planned : the engine's last plan; empty when there is none, or the project changed since
    run : the state of the last fine-tuning, empty when there was none
    epochs : of that one, as far as it is
    """

    def __init__(self, engine: Any) -> None:
        """``engine`` is an EngineProcess."""
        self._engine = engine
        self._after = 0
        self.project: Path | None = None
        self.summary: Mapping[str, Any] = {}
        self.planned: Mapping[str, Any] = {}
        self.run: Mapping[str, Any] = {}
        self.epochs: list[Mapping[str, Any]] = []

    @property
    def runs(self) -> bool:
        """Whether a fine-tuning is going on, or waits to go on."""
        return bool(self.run) and self.run["stage"] not in ENDED

    def turn_to(self, project: Path | None) -> None:
        """Another project, or none; nothing is asked yet."""
        if project != self.project:
            self.project = project
            self.summary, self.planned = {}, {}
            self._forget_run()

    def begin(self, model: str, dataset: Path | None, on_result: OnResult, on_error: OnError) -> None:
        """Begin the project in its folder; without ``dataset`` one is made inside."""
        params: dict[str, Any] = {"model": model, "dataset": str(dataset) if dataset is not None else None}
        self._ask("project.new", params, self._summarised(on_result), on_error)

    def refresh(self, on_result: OnResult, on_error: OnError) -> None:
        """Ask how the project stands."""
        self._ask("project.show", {}, self._summarised(on_result), on_error)

    def match(self, matching: Mapping[str, str | None], on_result: OnResult, on_error: OnError) -> None:
        """Say what structures of the dataset are in the model (None: new); only before the first version."""
        self._ask("project.match", {"matching": dict(matching)}, self._summarised(on_result), on_error)

    def admit(self, case: str, patient: str, on_result: OnResult, on_error: OnError) -> None:
        """Say whose a case is."""
        self._ask("project.admit", {"case": case, "patient": patient}, on_result, on_error)

    def reviewed(self, case: str, on_result: OnResult, on_error: OnError) -> None:
        """Say that somebody went through all of a held-out case."""
        self._ask("project.reviewed", {"case": case}, self._summarised(on_result), on_error)

    def plan(self, changes: Mapping[str, Any], device: str, on_result: OnResult, on_error: OnError) -> None:
        """What a fine-tuning would do, and what it takes; one step of it is timed."""

        def planned(result: Mapping[str, Any]) -> None:
            self.planned = result
            on_result(result)

        self._ask("finetune.plan", {"changes": dict(changes), "device": device}, planned, on_error)

    def start(self, on_result: OnResult, on_error: OnError) -> None:
        """Begin what was planned."""
        planned = self.planned
        params = {"plan": planned["plan"], "parent": planned["parent"], "part": planned["part"]}
        self._forget_run()
        self._ask("finetune.start", params, self._stated(on_result), on_error)

    def look(self, on_result: OnResult, on_error: OnError) -> None:
        """How far the last fine-tuning is."""
        self._ask("finetune.state", {"after": self._after}, self._stated(on_result), on_error)

    def control(self, what: str, on_result: OnResult, on_error: OnError) -> None:
        """``pause``, ``run`` (go on), ``stop`` or ``cancel``."""

        def told(result: Mapping[str, Any]) -> None:
            self.run = result  # its epochs are asked for again by ``look``
            on_result(result)

        self._ask("finetune.control", {"control": what}, told, on_error)

    def promote(self, version: str, on_result: OnResult, on_error: OnError) -> None:
        """Make a version current by hand."""
        params = {"version": version, "reason": "by hand, in Slicer"}
        self._ask("versions.promote", params, self._summarised(on_result), on_error)

    def rollback(self, on_result: OnResult, on_error: OnError) -> None:
        """Make current what was current before."""
        self._ask("versions.rollback", {}, self._summarised(on_result), on_error)

    def compare(self, first: str, second: str, on_result: OnResult, on_error: OnError) -> None:
        """Two versions on the held-out cases."""
        self._ask("versions.compare", {"first": first, "second": second}, on_result, on_error)

    def export(self, version: str, file: Path, on_result: OnResult, on_error: OnError) -> None:
        """A version into one file."""
        self._ask("versions.export", {"version": version, "file": str(file)}, on_result, on_error)

    def import_file(self, file: Path, on_result: OnResult, on_error: OnError) -> None:
        """A version from such a file."""
        self._ask("versions.import", {"file": str(file)}, on_result, on_error)

    def leave(self, go_on: bool) -> None:
        """Slicer is closed: a fine-tuning that is not to go on stops, and can be resumed.

        The engine goes with Slicer, so the training is told by the file that it looks at.
        """
        if self.runs and not go_on and self.project is not None:
            folder = self.project / "runs" / str(self.run["run"])
            if folder.is_dir():
                (folder / "control").write_text("stop", encoding="utf-8")

    def _ask(self, method: str, params: Mapping[str, Any], on_result: OnResult, on_error: OnError) -> None:
        project = self.project

        def answered(result: Mapping[str, Any]) -> None:
            if project == self.project:  # else the user turned to another one
                on_result(result)

        try:
            self._engine.request(method, {"project": str(project), **params}, on_result=answered, on_error=on_error)
        except ActiveSegError as error:
            on_error(error)

    def _summarised(self, on_result: OnResult) -> OnResult:
        def summarised(result: Mapping[str, Any]) -> None:
            self.summary, self.planned = result, {}
            if result["run"] and result["run"]["id"] != self.run.get("run"):
                self._forget_run()
                self.run = {"run": result["run"]["id"], **result["run"]}
            on_result(result)

        return summarised

    def _stated(self, on_result: OnResult) -> OnResult:
        def stated(result: Mapping[str, Any]) -> None:
            if self.run and self.run["run"] != result["run"]:
                self._forget_run()
            self.run = result
            self.epochs.extend(result["epochs"])
            self._after = int(result["after"])
            on_result(result)

        return stated

    def _forget_run(self) -> None:
        self.run, self.epochs, self._after = {}, [], 0

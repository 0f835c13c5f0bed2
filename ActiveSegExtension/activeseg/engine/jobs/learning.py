"""The jobs about projects: begin and show one, plan, start, watch and steer a fine-tuning, and its versions.

A fine-tuning runs in a process of its own, which the engine's end does not end; these jobs only read and write its
folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from activeseg.client.messages.learning import (
    CompareRequest,
    CompareResult,
    FinetuneControlRequest,
    FinetunePlanRequest,
    FinetunePlanResult,
    FinetuneStartRequest,
    FinetuneState,
    FinetuneStateRequest,
    ProjectAdmitRequest,
    ProjectAdmitResult,
    ProjectMatchRequest,
    ProjectNewRequest,
    ProjectResult,
    ProjectReviewedRequest,
    ProjectShowRequest,
    PromoteRequest,
    RollbackRequest,
    VersionExportRequest,
    VersionExportResult,
    VersionImportRequest,
    VersionImportResult,
)
from activeseg.core.records import from_json, to_json
from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.worker import Job
from activeseg.learning.project.project import Project
from activeseg.learning.summary import project_summary
from activeseg.learning.training.run_folder import Control, RunFolder
from activeseg.learning.training.training_plan import TrainingPlan


class _OfProject(Protocol):
    """A request about a project."""

    @property
    def project(self) -> Path: ...
    @property
    def private_dir(self) -> Path | None: ...


def new(request: ProjectNewRequest, job: Job, kept: Kept) -> ProjectResult:
    """Create a project; cases of its dataset whose patient is known get their side."""
    project = Project.create(
        request.project,
        request.model,
        dataset=request.dataset,
        new_structures=request.add,
        matching=request.matching,
        private_dir=request.private_dir,
    )
    project.admit_known()
    return _shown(project)


def show(request: ProjectShowRequest, job: Job, kept: Kept) -> ProjectResult:
    """How a project stands; cases whose patient is known get their side."""
    project = _open(request)
    project.admit_known()
    return _shown(project)


def admit(request: ProjectAdmitRequest, job: Job, kept: Kept) -> ProjectAdmitResult:
    """Assign a patient ID to a case."""
    return ProjectAdmitResult(case=request.case, side=_open(request).admit(request.case, request.patient).value)


def reviewed(request: ProjectReviewedRequest, job: Job, kept: Kept) -> ProjectResult:
    """Mark a held-out case as reviewed as a whole."""
    project = _open(request)
    project.mark_reviewed(request.case)
    return _shown(project)


def match(request: ProjectMatchRequest, job: Job, kept: Kept) -> ProjectResult:
    """Match the dataset's structures with the base model's; only before the first version."""
    project = _open(request)
    project.match(request.matching)
    return _shown(project)


def plan(request: FinetunePlanRequest, job: Job, kept: Kept) -> FinetunePlanResult:
    """What a fine-tuning would do, and what it takes on this device."""
    from activeseg.learning.training.finetuning import plan_finetuning

    planned = plan_finetuning(
        _open(request), request.changes, parent=request.parent, part=request.part, device=request.device
    )
    return from_json(FinetunePlanResult, to_json(planned.to_dict()))


def start(request: FinetuneStartRequest, job: Job, kept: Kept) -> FinetuneState:
    """Begin a fine-tuning as it was planned."""
    from activeseg.learning.training.finetuning import start_finetuning

    planned = TrainingPlan.from_dict(request.plan)
    return _state(start_finetuning(_open(request), planned, parent=request.parent, part=request.part), 0)


def state(request: FinetuneStateRequest, job: Job, kept: Kept) -> FinetuneState:
    """How far the last fine-tuning is, and its epochs after byte ``after`` of what it has told."""
    return _state(RunFolder.last_of(_open(request)), request.after)


def control(request: FinetuneControlRequest, job: Job, kept: Kept) -> FinetuneState:
    """Pause, run, stop or cancel the last fine-tuning; ``run`` also starts a stopped one again."""
    from activeseg.learning.training.finetuning import resume_finetuning

    run, what = RunFolder.last_of(_open(request)), Control(request.control)
    if what is Control.RUN:
        resume_finetuning(run)
    elif not run.state.stage.ended or what is Control.CANCEL:
        run.tell(what)
    return _state(run, 0)


def compare(request: CompareRequest, job: Job, kept: Kept) -> CompareResult:
    """Two versions on the held-out cases; what was not measured yet is measured."""
    from activeseg.learning.measuring.comparison import compare_versions

    compared = compare_versions(_open(request), request.first, request.second, request.device, job.progress)
    return from_json(CompareResult, to_json(compared.to_dict()))


def promote(request: PromoteRequest, job: Job, kept: Kept) -> ProjectResult:
    """Make a version current by hand."""
    project = _open(request)
    project.promote(request.version, request.reason)
    return _shown(project)


def rollback(request: RollbackRequest, job: Job, kept: Kept) -> ProjectResult:
    """Return to the previously current version."""
    project = _open(request)
    project.rollback()
    return _shown(project)


def export(request: VersionExportRequest, job: Job, kept: Kept) -> VersionExportResult:
    """A version as one file."""
    from activeseg.learning.bundle import export_version

    export_version(_open(request), request.version, request.file, job.progress)
    return VersionExportResult(file=request.file, bytes=request.file.stat().st_size)


def import_file(request: VersionImportRequest, job: Job, kept: Kept) -> VersionImportResult:
    """A version from a file."""
    from activeseg.learning.bundle import import_version

    return VersionImportResult(version=import_version(_open(request), request.file, job.progress).id)


def _open(request: _OfProject) -> Project:
    return Project.open(request.project, request.private_dir)


def _shown(project: Project) -> ProjectResult:
    return from_json(ProjectResult, to_json(project_summary(project)))


def _state(run: RunFolder, after: int) -> FinetuneState:
    events, position = run.events(after)
    epochs = [event for event in events if event["event"] == "epoch"]
    paused = run.control is Control.PAUSE
    said = {"run": run.id, **to_json(run.state), "paused": paused, "epochs": epochs, "after": position}
    return from_json(FinetuneState, to_json(said))

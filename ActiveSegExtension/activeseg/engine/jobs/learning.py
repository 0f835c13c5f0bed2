"""The jobs about projects: begin and show one, plan, start, watch and steer a fine-tuning, and its versions.

A fine-tuning runs in a process of its own, which the engine's end does not end; these jobs only read and write its
folder.
"""

from __future__ import annotations

from typing import Any

from activeseg.core.records import to_json
from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.params import Params
from activeseg.engine.worker.worker import Job
from activeseg.learning.project.project import Project
from activeseg.learning.summary import project_summary
from activeseg.learning.training.run_folder import Control, RunFolder
from activeseg.learning.training.training_plan import TrainingPlan


def new(job: Job, kept: Kept) -> dict[str, Any]:
    """Create a project."""
    with job.params as params:
        folder, model, dataset = params.path("project"), params.text("model"), params.optional_path("dataset")
        add, matching, private = params.texts("add"), params.names("matching"), params.optional_path("private_dir")
    project = Project.create(folder, model, dataset=dataset, new_structures=add, matching=matching, private_dir=private)
    return project_summary(project)


def show(job: Job, kept: Kept) -> dict[str, Any]:
    """How a project stands; cases whose patient is known get their side."""
    with job.params as params:
        project = _open(params)
    project.admit_known()
    return project_summary(project)


def admit(job: Job, kept: Kept) -> dict[str, Any]:
    """Say whose a case is."""
    with job.params as params:
        project, case, patient = _open(params), params.text("case"), params.text("patient")
    return {"case": case, "side": project.admit(case, patient).value}


def reviewed(job: Job, kept: Kept) -> dict[str, Any]:
    """Say that somebody went through all of a held-out case."""
    with job.params as params:
        project, case = _open(params), params.text("case")
    project.mark_reviewed(case)
    return project_summary(project)


def match(job: Job, kept: Kept) -> dict[str, Any]:
    """Match the dataset's structures with the base model's; only before the first version."""
    with job.params as params:
        project, matching = _open(params), params.names("matching")
    project.match(matching)
    return project_summary(project)


def plan(job: Job, kept: Any) -> dict[str, Any]:
    """What a fine-tuning would do, and what it takes on this device."""
    from activeseg.learning.training.finetuning import plan_finetuning

    with job.params as params:
        project, changes = _open(params), params.mapping("changes")
        parent, part, device = params.text("parent", ""), params.text("part", ""), params.text("device", "auto")
    return plan_finetuning(project, changes, parent=parent, part=part, device=device).to_dict()


def start(job: Job, kept: Kept) -> dict[str, Any]:
    """Begin a fine-tuning as it was planned."""
    from activeseg.learning.training.finetuning import start_finetuning

    with job.params as params:
        project, planned = _open(params), TrainingPlan.from_dict(params.mapping("plan"))
        parent, part = params.text("parent", ""), params.text("part", "")
    run = start_finetuning(project, planned, parent=parent, part=part)
    return _state(run, 0)


def state(job: Job, kept: Kept) -> dict[str, Any]:
    """How far the last fine-tuning is, and its epochs after byte ``after`` of what it has told."""
    with job.params as params:
        project, after = _open(params), params.count("after", 0)
    return _state(RunFolder.last_of(project), after)


def control(job: Job, kept: Kept) -> dict[str, Any]:
    """Pause, run, stop or cancel the last fine-tuning; ``run`` also starts a stopped one again."""
    from activeseg.learning.training.finetuning import resume_finetuning

    with job.params as params:
        project, what = _open(params), params.choice("control", Control, Control.RUN)
    run = RunFolder.last_of(project)
    if what is Control.RUN:
        resume_finetuning(run)
    elif not run.state.stage.ended or what is Control.CANCEL:
        run.tell(what)
    return _state(run, 0)


def compare(job: Job, kept: Any) -> dict[str, Any]:
    """Two versions on the held-out cases; what was not measured yet is measured."""
    from activeseg.learning.measuring.comparison import compare_versions

    with job.params as params:
        project, first, second = _open(params), params.text("first"), params.text("second")
        device = params.text("device", "auto")
    return compare_versions(project, first, second, device, job.progress).to_dict()


def promote(job: Job, kept: Kept) -> dict[str, Any]:
    """Make a version current by hand."""
    with job.params as params:
        project, version, reason = _open(params), params.text("version"), params.text("reason", "by hand")
    project.promote(version, reason)
    return project_summary(project)


def rollback(job: Job, kept: Kept) -> dict[str, Any]:
    """Return to the previously current version."""
    with job.params as params:
        project = _open(params)
    project.rollback()
    return project_summary(project)


def export(job: Job, kept: Any) -> dict[str, Any]:
    """A version as one file."""
    from activeseg.learning.bundle import export_version

    with job.params as params:
        project, version, file = _open(params), params.text("version"), params.path("file")
    export_version(project, version, file, job.progress)
    return {"file": str(file), "bytes": file.stat().st_size}


def import_file(job: Job, kept: Any) -> dict[str, Any]:
    """A version from a file."""
    from activeseg.learning.bundle import import_version

    with job.params as params:
        project, file = _open(params), params.path("file")
    return {"version": import_version(project, file, job.progress).id}


def _open(params: Params) -> Project:
    return Project.open(params.path("project"), params.optional_path("private_dir"))


def _state(run: RunFolder, after: int) -> dict[str, Any]:
    events, position = run.events(after)
    epochs = [event for event in events if event["event"] == "epoch"]
    paused = run.control is Control.PAUSE
    return {"run": run.id, **to_json(run.state), "paused": paused, "epochs": epochs, "after": position}

"""A small project with the demonstration model, and fine-tunings of a few iterations."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from activeseg.core.progress import Progress
from activeseg.core.volume import Volume
from activeseg.dataset import NewCase
from activeseg.learning.project.project import Project
from activeseg.learning.training.finetuning import plan_finetuning, start_finetuning
from activeseg.learning.training.replay import add_replay
from activeseg.learning.training.run_folder import RunFolder, RunState
from activeseg.samples.phantom import Domain, Phantom, make_phantom, phantom_geometry

SHAPE = (24, 40, 40)
"""A piece of a phantom that is one patch for the demonstration model."""
HANGS_AFTER_S = 600.0
"""A test that has waited for so long will never end."""
TINY = {"members": 1, "epochs": 1, "iterations": 2, "patch_kji": (16, 24, 24), "batch_size": 1}


def piece(seed: int, domain: Domain = Domain.NATIVE) -> Phantom:
    """The middle of a phantom."""
    return make_phantom(domain, seed, geometry=phantom_geometry(shape_kji=SHAPE))


def add(project: Project, seed: int, patient: str, change: Callable[[np.ndarray], None] | None = None) -> str:
    """A case with the phantom's truth, changed where one wishes."""
    phantom = piece(seed)
    labels = phantom.labels.array.copy()
    if change is not None:
        change(labels)
    case = project.dataset().add_case(NewCase.of_truth(phantom.ct, Volume(labels, phantom.labels.geometry))).name
    project.admit(case, patient)
    return case


def make_project(folder: Path, **options: Any) -> Project:
    """Two cases to train on, one held out, two replayed images, and one between them that only measures forgetting."""
    project = Project.create(folder, "demo", **options)
    for seed, patient in enumerate("ABC"):
        add(project, seed, patient)
    for seed in (10, 11, 12):
        add_replay(project, piece(seed, Domain.CONTRAST).ct, "cpu", Progress())
    return project


def copy_of(project: Project, folder: Path) -> Project:
    """The same project elsewhere, so that a test may change it."""
    shutil.copytree(project.folder, folder, ignore=shutil.ignore_patterns("runs"))
    return Project.open(folder)


def started(project: Project, **changes: Any) -> RunFolder:
    """A fine-tuning that runs now."""
    return start_finetuning(project, plan_finetuning(project, {**TINY, **changes}, device="cpu").plan)


def ended(run: RunFolder) -> RunState:
    """Its state when its process is gone."""
    until(lambda: not run.is_alive)
    return run.state


def fine_tuned(project: Project, **changes: Any) -> RunFolder:
    run = started(project, **changes)
    ended(run)
    return run


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + HANGS_AFTER_S
    while not condition():
        assert time.monotonic() < end, "What the test waits for does not happen."
        time.sleep(0.02)


def until_iteration(run: RunFolder, number: int, member: int = 1) -> None:
    """Raises AssertionError when it ends before."""

    def there() -> bool:
        state = run.state
        found = any(event["member"] == member and number <= event["iteration"] for event in iterations(run))
        assert found or not state.stage.ended, state
        return found

    until(there)


def until_it_stands(run: RunFolder) -> int:
    """Wait until it trains no further; the number of iterations that it has done."""
    seen: list[int] = []

    def stands() -> bool:
        seen.append(len(iterations(run)))
        return len(seen) > 50 and seen[-51] == seen[-1]

    until(stands)
    return seen[-1]


def iterations(run: RunFolder) -> list[dict[str, Any]]:
    return [event for event in run.events()[0] if event["event"] == "iteration"]


def log(run: RunFolder) -> str:
    return (run.folder / "log.txt").read_text(encoding="utf-8")[-3000:]


def kill(run: RunFolder) -> None:
    """As a power cut would end it."""
    found = [p for p in psutil.process_iter(["cmdline"]) if str(run.folder) in (p.info["cmdline"] or ())]
    assert found
    for process in found:
        process.kill()
    until(lambda: not run.is_alive)


def weights(model: Path, fold: int | str = 0) -> dict[str, torch.Tensor]:
    """Of one member of a model folder."""
    content = torch.load(model / f"fold_{fold}" / "checkpoint_final.pth", map_location="cpu", weights_only=True)
    found: dict[str, torch.Tensor] = content["network_weights"]
    return found

"""The loop closes: corrections of three cases teach the model, the new version is measured, and the gate decides.

Also what must not happen: a dataset with shuffled labels, of which the gate refuses the version.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from activeseg.core.correction import RegionState, Review
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.records import from_json
from activeseg.core.segmenter import Segmenter, Settings
from activeseg.core.volume import Volume
from activeseg.corrections.exporting import CorrectedCase, export_correction
from activeseg.dataset import NewCase
from activeseg.io.images import write_volume
from activeseg.learning.measuring.evaluation import CaseResult, means
from activeseg.learning.project.holdout import Side
from activeseg.learning.project.opening import open_version
from activeseg.learning.project.project import Project
from activeseg.learning.project.version import BASE
from activeseg.learning.training.finetuning import outcome, plan_finetuning, start_finetuning
from activeseg.learning.training.replay import add_replay
from activeseg.predictions.make_prediction import segment
from activeseg.predictions.prediction import Prediction
from activeseg.samples.phantom import Domain, make_phantom
from activeseg.segmenters import open_segmenter

HELD_OUT_NEW, OLD_DOMAIN, REPLAYED = tuple(range(40, 46)), (46, 47, 48), tuple(range(50, 58))
PLAN: dict[str, Any] = {"members": 4, "epochs": 4, "iterations": 16, "learning_rate": 1e-3, "replay": 0.5}
"""As many members as the base model has: an ensemble beats its parts, so fewer would look worse than they are."""
Labels = npt.NDArray[Any]
Correct = Callable[[Prediction, Labels], tuple[Labels, dict[int, RegionState]]]
"""Stands in for the user: the corrected label map, and what became of the regions."""


@dataclass(frozen=True)
class Trained:
    """What one fine-tuning gave; ``new_domain`` is the mean Dice over the structures of the held-out cases, before and
    after."""

    version: str
    promoted: bool
    reason: str
    new_domain: tuple[float, float]
    seconds: float


def make_project(
    folder: Path, cases: Sequence[int], correct: Correct, regions: int, review: Review, model: str = "demo"
) -> Project:
    """A project with corrected native phantoms (those seeds), held-out native ones, and replayed contrast ones.

    The second patient is held out: all his images, known to be true.
    """
    os.environ.setdefault("ACTIVESEG_PRIVATE_DIR", str(folder.parent / "private"))
    project = Project.create(folder, model)
    dataset, segmenter = project.dataset(), open_segmenter(model)
    for number, seed in enumerate(cases):
        phantom = make_phantom(Domain.NATIVE, seed)
        prediction = segment({"CT": phantom.ct}, segmenter, Settings(device="cpu"), regions=regions)
        edited, states = correct(prediction, phantom.labels.array)
        file = folder / f"edited_{seed}.nii.gz"
        write_volume(Volume(edited, phantom.ct.geometry), file)
        corrected = CorrectedCase(
            prediction, file, {"CT": phantom.ct}, review=review, states=states, patient=f"phantom {seed}"
        )
        export_correction(corrected, dataset.folder)
        file.unlink()
        project.admit_known()
        if number == 0:
            for held_out in (make_phantom(Domain.NATIVE, seed) for seed in HELD_OUT_NEW):
                case = dataset.add_case(NewCase.of_truth(held_out.ct, held_out.labels)).name
                project.admit(case, "the held-out phantom")
    for seed in REPLAYED:
        add_replay(project, make_phantom(Domain.CONTRAST, seed).ct, "cpu", Progress())
    return project


def old_domain(project: Project, version: str) -> float:
    """Mean Dice on contrast phantoms, on which the base model was trained: is it forgotten?"""
    return mean_dice(open_version(project, version), Domain.CONTRAST, OLD_DOMAIN)


def mean_dice(segmenter: Segmenter, domain: Domain, seeds: Sequence[int], members: int | str = "auto") -> float:
    """Mean over structures of their mean Dice on phantoms."""
    scores: dict[str, list[float]] = {}
    for seed in seeds:
        phantom = make_phantom(domain, seed)
        found = segment({"CT": phantom.ct}, segmenter, Settings(device="cpu", members=members), regions=0)
        for name, dice in dice_per_structure(found.labels.array, phantom.labels.array, found.schema).items():
            scores.setdefault(name, []).append(dice)
    return round(float(np.mean([np.mean(values) for values in scores.values()])), 4)


def dice_per_structure(labels: Labels, truth: Labels, schema: LabelSchema) -> dict[str, float]:
    """Dice of every structure that the truth or the label map holds."""
    scores = {}
    for label in schema.labels:
        found, true = labels == label.value, truth == label.value
        if found.any() or true.any():
            scores[label.name] = float(2 * (found & true).sum() / (found.sum() + true.sum()))
    return scores


def fine_tune(project: Project, console: Console | None = None, parent: str = "", **changes: Any) -> Trained:
    """Train, measure, judge; tells how far it is."""
    started = time.monotonic()
    planned = plan_finetuning(project, changes, parent=parent, device="cpu")
    run = start_finetuning(project, planned.plan, parent=parent)
    told = ""
    while not (state := run.state).stage.ended:
        line = f"  {state.where}"
        if console is not None and line != told:
            told = line
            console.print(line, highlight=False)
        time.sleep(0.5)
    state = outcome(run)
    metrics = project.version(state.version).metrics
    return Trained(
        state.version,
        state.promoted,
        state.verdict,
        _before_and_after(metrics),
        round(time.monotonic() - started, 1),
    )


def _before_and_after(metrics: Mapping[str, Any]) -> tuple[float, float]:
    before, after = (
        float(np.mean(list(means({case: from_json(CaseResult, r) for case, r in metrics[who].items()}).values())))
        for who in ("parent", "child")
    )
    return round(before, 4), round(after, 4)


def spoil(project: Project, folder: Path) -> Project:
    """The same project with the labels of its corrected cases shuffled."""
    shutil.copytree(project.folder, folder, ignore=shutil.ignore_patterns("runs", "versions", "measured"))
    spoiled = Project.open(folder)
    spoiled.change(lambda state: state.promoted(BASE, "user", "to be spoiled"))
    dataset = spoiled.dataset()
    held_out = spoiled.state.hold_out.on(Side.HELD_OUT)
    for case in dataset.cases():
        if case in held_out:
            continue
        opened, record = dataset.open_case(case), dataset.record(case)
        values = np.arange(dataset.schema.ignore_value + 1)
        values[1:-1] = np.roll(values[1:-1], 3)
        shuffled = values[opened.labels.array].astype(opened.labels.array.dtype)
        dataset.add_case(NewCase(opened.images, shuffled, opened.labels.geometry, record.current.provenance))
    return spoiled


def draw(path: Path, new_domain: Sequence[float], old_domain: Sequence[float]) -> None:
    """Dice before and after, on both domains."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for offset, which, color in ((-0.2, 0, "#b8c4d0"), (0.2, 1, "#2f7d5b")):
        values = [new_domain[which], old_domain[which]]
        bars = axes.bar(np.arange(2) + offset, values, 0.38, color=color, label=("before", "after")[which])
        axes.bar_label(bars, [f"{value:.3f}" for value in values])
    axes.set_xticks(range(2), ["new domain (native)", "old domain (contrast)"])
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("mean Dice, held-out phantoms")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=120)

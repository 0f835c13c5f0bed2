"""Plan, start and resume a fine-tuning; what the command line and the engine share. Planning imports torch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from activeseg.core.errors import Cancelled, DatasetError, DeviceError, EngineError, InputError, ModelError
from activeseg.learning.project.project import Project
from activeseg.learning.training.preparation import Target, TrainingCases, changed_voxels, check_images_fit
from activeseg.learning.training.run_folder import Control, RunFolder, RunState, Stage
from activeseg.learning.training.training_plan import MembersFrom, TrainingPlan, default_plan

if TYPE_CHECKING:
    from activeseg.learning.training.parent_network import ParentNetwork
    from activeseg.learning.training.training_estimate import TrainingEstimate

_END_S = 60.0
"""A process that is still importing, on a computer with other work, needs a while to notice."""


@dataclass(frozen=True)
class Planned:
    """What a fine-tuning would do, and what it takes.

    Attributes
    ----------
    parent : id of the version that it begins with
    earlier : how many of the corrected cases the parent has learnt already
    part : dataset folder of the network that learns, where the model has several
    left_over : corrected structures that other networks of the model own: they do not learn
    new : structures that the network did not know
    stages : of the encoder
    """

    plan: TrainingPlan
    parent: str
    part: str
    cases: TrainingCases
    earlier: int
    held_out: int
    estimate: TrainingEstimate
    left_over: tuple[str, ...]
    new: tuple[str, ...]
    stages: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "plan": self.plan.to_dict(),
            "parent": self.parent,
            "part": self.part,
            "cases": list(self.cases.corrected),
            "replayed": list(self.cases.replayed),
            "held_out": self.held_out,
            "estimate": self.estimate.to_dict(),
            "new": list(self.new),
            "sentences": list(self.sentences()),
            "rows": [list(row) for row in self.rows()],
        }

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of each line, for a table."""
        plan, estimate = self.plan, self.estimate
        how = "trained one after the other" if plan.members_from is MembersFrom.SEEDS else "snapshots of one training"
        minutes = estimate.seconds / 60
        replayed = f"earlier cases: {self.earlier}, images: {len(self.cases.replayed)}"
        return [
            ("begins with", f"{self.parent}{f', {self.part}' if self.part else ''}"),
            ("corrected cases", str(len(self.cases.corrected) - self.earlier)),
            ("replayed", f"{replayed} ({plan.replay:.0%} of what is drawn)"),
            ("held out", str(self.held_out)),
            ("members", f"{plan.members}, {how}"),
            ("iterations", f"{plan.all_iterations} ({plan.epochs} epochs of {plan.iterations} for each)"),
            ("learning rate", f"{plan.learning_rate:g}, after a warm-up of {plan.warm_up:.0%}"),
            ("frozen", f"{plan.frozen_stages} of {self.stages} stages of the encoder"),
            (
                "time",
                f"about {minutes:.0f} min on {plan.device}" if minutes >= 2 else f"about {estimate.seconds:.0f} s",
            ),
            ("memory", f"about {estimate.peak_bytes / 2**30:.1f} GB"),
        ]

    def sentences(self) -> tuple[str, ...]:
        """What the user should know before it begins."""
        told = []
        if self.cases.without_side:
            names = ", ".join(self.cases.without_side[:5])
            told.append(f"Nobody said whose these cases are, so they are left out: {names}.")
        if self.cases.waiting:
            told.append(
                f"These wait for structures that nobody annotated in them: {', '.join(self.cases.waiting[:5])}."
            )
        if self.left_over:
            told.append(f"Other parts of the model own {', '.join(self.left_over[:5])}; fine-tune those separately.")
        if not self.held_out:
            told.append("No case is held out, so the new version cannot be measured and will not take over by itself.")
        return tuple(told)


def plan_finetuning(
    project: Project,
    changes: Mapping[str, Any] | None = None,
    *,
    parent: str = "",
    part: str = "",
    device: str = "auto",
) -> Planned:
    """Sensible numbers for the project as it is and this device, changed as wished; one step of training is timed.

    Raises InputError (nothing to learn from, numbers that cannot be), ModelError, DeviceError.
    """
    from activeseg.learning.project.holdout import Side
    from activeseg.learning.project.version import ModelKind
    from activeseg.learning.training.parent_network import parent_network
    from activeseg.learning.training.training_estimate import estimate
    from activeseg.segmenters.nnunet.device import resolve_device

    cases = TrainingCases.of(project)
    state, dataset = project.state, project.dataset()
    parent = parent or state.current
    changed = changed_voxels(project, cases.corrected)
    network = parent_network(project, parent, changed, part)
    check_images_fit(network, dataset)
    target = Target.of(network, dataset.schema, state.matching)
    single = network.kind is ModelKind.TOTALSEGMENTATOR
    chosen = str(resolve_device(device).type)
    count, stages = len(cases.corrected), network.encoder_stages
    plan = default_plan(chosen, count, len(network.folds), stages, single).changed(changes or {})
    if single and plan.members != len(network.folds):
        raise InputError(
            f"A part of TotalSegmentator has {len(network.folds)} member, and {plan.members} were asked for.",
            "Its program loads no others.",
        )
    if plan.frozen_stages >= max(stages, 1):
        raise InputError(f"{plan.frozen_stages} stages cannot be frozen: the encoder has {stages}.", "Freeze fewer.")
    if plan.patch_kji is not None:
        _check_patch(network, plan.patch_kji)
    owned = set(network.values)
    left_over = tuple(name for name in changed if name not in owned)
    held_out = sum(case in dataset.cases() for case in state.hold_out.on(Side.HELD_OUT))
    return Planned(
        plan,
        parent,
        network.part,
        cases,
        len(cases.earlier(project, parent)),
        held_out,
        estimate(network, plan, target),
        left_over,
        target.new,
        stages,
    )


def _check_patch(network: ParentNetwork, patch: Sequence[int]) -> None:
    """Raise InputError for a patch that does not go through the network."""
    configuration = network.plans["configurations"][network.configuration]
    axes = len(configuration["patch_size"])
    if len(patch) != axes:
        raise InputError(f"The patch has {len(patch)} numbers; the network needs {axes}.", "Give one for each axis.")
    strides = configuration.get("architecture", {}).get("arch_kwargs", {}).get("strides", [])
    steps = [math.prod(s if isinstance(s, int) else s[axis] for s in strides) for axis in range(axes)]
    coarsest = [size / step for size, step in zip(patch, steps, strict=True)]
    if any(size % 1 for size in coarsest) or math.prod(coarsest) < 2:
        raise InputError(
            f"The network cannot be trained with the patch {', '.join(map(str, patch))}.",
            f"Take multiples of {', '.join(map(str, steps))}, not all of them the smallest.",
        )


def start_finetuning(project: Project, planned: Planned) -> RunFolder:
    """Begin it, in a process of its own. Raises DatasetError while another one runs, EngineError."""
    run = RunFolder.create(project, planned.parent, planned.plan, planned.cases, planned.part)
    run.start()
    return run


def resume_finetuning(run: RunFolder) -> None:
    """Go on after a pause, a stop or a crash; one that is just ending is waited for.

    Raises InputError when it has ended for good, EngineError when it does not end or does not start.
    """
    if run.is_alive and run.control.ends:
        wait_for_end(run)
    state = run.state
    if run.is_alive:
        run.tell(Control.RUN)
    elif state.stage in (Stage.STOPPED, Stage.FAILED, Stage.WAITING):
        run.start()
    else:
        raise InputError(f"The fine-tuning {run.id} has ended ({state.stage}).", "Start a new one.")


def wait_for_end(run: RunFolder) -> None:
    """Until it has done what it was told. Raises EngineError when it does not."""
    end = time.monotonic() + _END_S
    while not run.state.stage.ended or run.is_alive:
        if time.monotonic() > end:
            raise EngineError(f"The fine-tuning {run.id} does not end.", f"See {run.folder / 'log.txt'}.")
        time.sleep(0.05)


def outcome(run: RunFolder) -> RunState:
    """The state of a run that is done. Raises what it failed with, or Cancelled."""
    state = run.state
    if state.stage is Stage.FAILED and state.error:
        kinds = {kind.code: kind for kind in (InputError, ModelError, DatasetError, DeviceError, EngineError)}
        kind = kinds.get(str(state.error.get("code")), EngineError)
        raise kind(str(state.error.get("message")), str(state.error.get("action", "")))
    if state.stage is Stage.STOPPED:
        raise EngineError(
            f"The fine-tuning {run.id} was stopped, or its process was killed.",
            "Go on with 'activeseg training resume'.",
        )
    if state.stage is not Stage.DONE:
        raise Cancelled()
    return state

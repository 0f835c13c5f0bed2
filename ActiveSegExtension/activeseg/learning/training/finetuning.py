"""Plan, start and resume a fine-tuning; what the command line and the engine share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from activeseg.core.errors import ActiveSegError, Cancelled, EngineError, InputError, Remedy
from activeseg.core.records import to_json
from activeseg.core.sizes import size_text
from activeseg.learning.project.holdout import Side
from activeseg.learning.project.project import Project
from activeseg.learning.training.disk_need import disk_bytes
from activeseg.learning.training.run_folder import Control, RunFolder, RunState, Stage
from activeseg.learning.training.training_basis import TrainingBasis
from activeseg.learning.training.training_estimate import TrainingEstimate, estimate
from activeseg.learning.training.training_plan import MembersFrom, TrainingPlan, default_plan
from activeseg.segmenters.nnunet.device import resolve_device
from activeseg.system.disk import refuse_full

_END_S = 60.0
"""A process that is still importing, on a computer with other work, needs a while to notice."""


@dataclass(frozen=True)
class Planned:
    """What a fine-tuning would do, and what it takes.

    Attributes
    ----------
    plan
        its numbers
    basis
        what it begins with
    earlier
        how many of the corrected cases the parent has learnt already
    held_out
        cases that measure the new version
    estimate
        time and memory
    disk_bytes
        what it writes into the project's folder at most
    """

    plan: TrainingPlan
    basis: TrainingBasis
    earlier: int
    held_out: int
    estimate: TrainingEstimate
    disk_bytes: int

    @property
    def parent(self) -> str:
        """Id of the version that it begins with."""
        return self.basis.network.version

    @property
    def part(self) -> str:
        """Dataset folder of the network that learns, where the model has several."""
        return self.basis.network.part

    def to_dict(self) -> dict[str, Any]:
        return {
            "plan": to_json(self.plan),
            "parent": self.parent,
            "part": self.part,
            "cases": list(self.basis.cases.corrected),
            "replayed": list(self.basis.cases.replayed),
            "replay_held_out": list(self.basis.cases.replay_held_out),
            "held_out": self.held_out,
            "estimate": to_json(self.estimate),
            "disk_bytes": self.disk_bytes,
            "new": list(self.basis.target.new),
            "sentences": list(self.sentences()),
            "rows": [list(row) for row in self.rows()],
        }

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of each line, for a table."""
        plan, estimate = self.plan, self.estimate
        how = "trained one after the other" if plan.members_from is MembersFrom.SEEDS else "snapshots of one training"
        minutes = estimate.seconds / 60
        replayed = f"earlier cases: {self.earlier}, images: {len(self.basis.cases.replayed)}"
        measured = len(self.basis.cases.replay_held_out)
        return [
            ("starts from", f"{self.parent}{f', {self.part}' if self.part else ''}"),
            ("corrected cases", str(len(self.basis.cases.corrected) - self.earlier)),
            ("replayed", f"{replayed} ({plan.replay:.0%} of what is drawn)"),
            ("held out", str(self.held_out)),
            ("replayed images held out", f"{measured}, on which at most {plan.forgetting_margin:g} may be forgotten"),
            ("distillation", f"{plan.distillation:g}, from the parent's probabilities on replayed images"),
            ("members", f"{plan.members}, {how}"),
            ("iterations", f"{plan.all_iterations} ({plan.epochs} epochs of {plan.iterations} for each)"),
            ("learning rate", f"{plan.learning_rate:g}, after a warm-up of {plan.warm_up:.0%}"),
            ("frozen", f"{plan.frozen_stages} of {self.basis.network.encoder_stages} stages of the encoder"),
            (
                "time",
                f"about {minutes:.0f} min on {plan.device}" if minutes >= 2 else f"about {estimate.seconds:.0f} s",
            ),
            ("memory", f"about {size_text(estimate.peak_bytes)}"),
            ("disk", f"up to {size_text(self.disk_bytes)}"),
        ]

    def sentences(self) -> tuple[str, ...]:
        """What the user should know before it begins."""
        cases, told = self.basis.cases, []
        if cases.without_side:
            told.append(f"No patient ID yet, so these cases are left out: {', '.join(cases.without_side[:5])}.")
        if cases.waiting:
            told.append(f"These wait for structures that are not annotated in them: {', '.join(cases.waiting[:5])}.")
        if cases.candidates:
            told.append(f"Made by a machine and not reviewed yet, so left out: {', '.join(cases.candidates[:5])}.")
        if self.basis.left_over:
            names = ", ".join(self.basis.left_over[:5])
            told.append(f"Other parts of the model own {names}; fine-tune those separately.")
        if not self.held_out:
            told.append("No case is held out, so the new version cannot be measured and will not become current.")
        if not cases.replay_held_out:
            told.append(
                "What the new version forgets is not measured: no replayed image is held out. The second one is, and "
                "every fifth one after that."
            )
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

    Raises
    ------
    ActiveSegError
        As ``start_finetuning`` does, and when the step does not fit into the device's memory.
    """
    basis = TrainingBasis.of(project, parent, part)
    network = basis.network
    numbers = default_plan(
        str(resolve_device(device).type),
        len(basis.cases.corrected),
        len(network.folds),
        network.encoder_stages,
        basis.has_one_member,
    )
    plan = basis.checked(numbers.changed(changes or {}))
    there = project.dataset().cases()
    return Planned(
        plan,
        basis,
        len(basis.cases.earlier(project, network.version)),
        sum(case in there for case in project.state.hold_out.on(Side.HELD_OUT)),
        estimate(network, plan, basis.target, bool(basis.cases.replayed)),
        disk_bytes(project, basis, plan),
    )


def start_finetuning(project: Project, plan: TrainingPlan, *, parent: str = "", part: str = "") -> RunFolder:
    """Begin it, in a process of its own; nothing begins that could not be trained.

    ``parent`` and ``part`` as for ``TrainingBasis.of``.

    Raises
    ------
    InputError, ModelError, DeviceError
        The plan, its version, or its device cannot be used; see ``TrainingBasis``. The disk is too full.
    DatasetError
        The dataset is damaged, or another training runs.
    EngineError
        The process does not start.
    """
    basis = TrainingBasis.of(project, parent, part)
    plan = basis.checked(plan)
    refuse_full({project.folder: disk_bytes(project, basis, plan)}, "this training")
    run = RunFolder.create(project, basis.network.version, plan, basis.cases, basis.network.part)
    run.start()
    return run


def resume_finetuning(run: RunFolder) -> None:
    """Go on after a pause, a stop or a crash; one that is just ending is waited for.

    Raises
    ------
    InputError
        It has ended for good.
    EngineError
        It does not end, or does not start.
    ActiveSegError
        What it began with is not there any more, as for ``start_finetuning``.
    """
    if run.is_alive and run.control.ends:
        wait_for_end(run)
    state = run.state
    if run.is_alive:
        run.tell(Control.RUN)
    elif state.stage in (Stage.STOPPED, Stage.FAILED, Stage.WAITING):
        asked = run.asked
        TrainingBasis.of(run.project, asked.parent, asked.part, asked.cases).checked(asked.plan)
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
        raise ActiveSegError.from_dict(state.error)
    if state.stage is Stage.STOPPED:
        raise EngineError(
            f"The fine-tuning {run.id} was stopped, or its process was killed.",
            "It can be resumed.",
            remedy=Remedy.RESUME_TRAINING,
        )
    if state.stage is not Stage.DONE:
        raise Cancelled()
    return state

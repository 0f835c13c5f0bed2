"""nnU-Net's trainer, beginning with a parent's weights: data loading, augmentation, loss and epochs are nnU-Net's own.

Ours are: heads kept and matched by name, rates by iteration, frozen stages, replay, distillation from the parent,
snapshots, what is told, and when it stops. A checkpoint is written after each epoch, and appears whole or not at all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from activeseg.core.errors import ModelError
from activeseg.core.labels import IGNORE
from activeseg.learning.training.distillation import DistillingLoss
from activeseg.learning.training.training_plan import MembersFrom, TrainingPlan

LATEST = "checkpoint_latest.pth"
_WEIGHT_DECAY = 1e-4


@dataclass
class Course:
    """What one training needs to know, and whom it tells.

    Attributes
    ----------
    weights : of the parent's member, by nnU-Net's names
    parent_labels, labels : structure -> head value, before and now
    corrected, replayed : names of the preprocessed cases
    tell : is given events as mappings
    wait : called before each iteration; raises Cancelled, and waits while the training is paused
    snapshot : is given the number of a cycle that has ended, and the weights
    """

    plan: TrainingPlan
    weights: Mapping[str, torch.Tensor]
    parent_labels: Mapping[str, Any]
    labels: Mapping[str, Any]
    corrected: Sequence[str]
    replayed: Sequence[str]
    mirror_axes: tuple[int, ...] | None
    tell: Callable[[Mapping[str, Any]], None]
    wait: Callable[[], None]
    snapshot: Callable[[int, Mapping[str, torch.Tensor]], None] = field(default=lambda cycle, weights: None)


class _RateByIteration:
    """Stands where nnU-Net expects a schedule by epoch; rates are set before each iteration."""

    def step(self, _epoch: int) -> None:
        pass


class FineTuningTrainer(nnUNetTrainer):  # type: ignore[misc]
    """Set ``course`` before ``initialize``."""

    course: Course
    loss: Any

    def initialize(self) -> None:
        plan = self.course.plan
        self.num_epochs, self.num_iterations_per_epoch = plan.epochs, plan.iterations
        self.num_val_iterations_per_epoch = 2
        self.oversample_foreground_percent = plan.foreground
        self.save_every = 1
        super().initialize()
        self.network.load_state_dict(
            transferred(self.network.state_dict(), self.course.weights, self.course.parent_labels, self.course.labels)
        )
        if plan.distillation and self.course.replayed:
            known, rows = _rows(self.course.parent_labels), _rows(self.course.labels)
            self.loss = DistillingLoss(
                self.loss,
                self.network,
                [row for name, row in rows.items() if name in known],
                self.label_manager.has_regions,
                plan.distillation,
            )
        self.logger.plot_progress_png = lambda _folder: None  # the caller draws

    def configure_optimizers(self) -> tuple[Any, Any]:
        freeze(self.network, self.course.plan.frozen_stages)
        learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(learning, self.course.plan.rate(0), weight_decay=_WEIGHT_DECAY), _RateByIteration()

    def do_split(self) -> tuple[list[str], list[str]]:
        """Names to draw from, repeated so that replayed ones have their share; nnU-Net's own validation draws from the
        corrected cases, too: held-out ones are not even preprocessed."""
        return draws(self.course.corrected, self.course.replayed, self.course.plan.replay), list(self.course.corrected)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> Any:  # noqa: N802
        """Mirrors what the parent was allowed to mirror, so that left stays left."""
        rotation, dummy, initial, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = self.course.mirror_axes
        return rotation, dummy, initial, self.course.mirror_axes

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step; its own has mixed precision on CUDA only."""
        self.course.wait()
        started = time.perf_counter()
        number = self.current_epoch * self.num_iterations_per_epoch + self._step
        for group in self.optimizer.param_groups:
            group["lr"] = self.course.plan.rate(number)
        if isinstance(self.loss, DistillingLoss):
            self.loss.of_batch(batch, set(self.course.replayed).__contains__)
        result = super().train_step(batch) if self.device.type == "cuda" else self.step_without_scaler(batch)
        self._step += 1
        self.course.tell(
            {
                "event": "iteration",
                "iteration": number + 1,
                "loss": float(result["loss"]),
                "seconds": round(time.perf_counter() - started, 4),
                "cases": [str(key) for key in batch.get("keys", ())],
            }
        )
        return result

    def step_without_scaler(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """In float32 on a CPU: oneDNN's weight gradients in bfloat16 hold unwritten memory where an image has
        few voxels (2 x 3 x 3 with 64 channels, torch 2.13: not a number in most of 150 passes)."""
        target = [part.to(self.device) for part in batch["target"]]
        self.optimizer.zero_grad(set_to_none=True)
        outputs = self.network(batch["data"].to(self.device))
        loss = self.loss([output.float() for output in outputs], target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.optimizer.step()
        return {"loss": loss.detach().cpu().numpy()}

    def on_epoch_start(self) -> None:
        self._step = 0
        super().on_epoch_start()

    def on_epoch_end(self) -> None:
        plan = self.course.plan
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.network.parameters()):
            raise ModelError(
                f"The training diverged in epoch {self.current_epoch + 1}: the weights are no numbers any more.",
                "Choose a lower learning rate.",
            )
        if plan.members_from is MembersFrom.SNAPSHOTS:  # before the epoch is noted as done: a kill repeats both
            ends = [round(plan.epochs * (cycle + 1) / plan.members) for cycle in range(plan.members)]
            if self.current_epoch + 1 in ends:
                self.course.snapshot(ends.index(self.current_epoch + 1), self.network.state_dict())
        super().on_epoch_end()
        get = self.logger.get_value
        names = [name for name, value in self.course.labels.items() if name != IGNORE and value not in (0, [0])]
        dice = [float(value) for value in get("dice_per_class_or_region", step=-1)]
        self.course.tell(
            {
                "event": "epoch",
                "epoch": self.current_epoch,
                "loss": float(get("train_losses", step=-1)),
                "dice": {name: value for name, value in zip(names, dice, strict=True) if value == value},
                "seconds": round(get("epoch_end_timestamps", step=-1) - get("epoch_start_timestamps", step=-1), 3),
            }
        )

    def save_checkpoint(self, filename: str) -> None:
        """As nnU-Net's, but a process killed meanwhile leaves the one before."""
        if not filename.endswith(LATEST):
            return  # the best by its own training cases, and the final one, are of no use here
        super().save_checkpoint(f"{filename}.part")
        os.replace(f"{filename}.part", filename)

    def on_train_end(self) -> None:
        """Nothing of nnU-Net's: it saves, removes, and closes what is not open here."""

    def plot_network_architecture(self) -> None:
        """Nothing: it needs graphviz."""

    def _do_i_compile(self) -> bool:
        return False


def freeze(network: torch.nn.Module, count: int) -> None:
    """Let the first stages of the encoder stay as they are. Raises ModelError when it has not more than that."""
    if not count:
        return
    stages = getattr(getattr(network, "encoder", None), "stages", ())
    if count >= len(stages):
        raise ModelError(f"{count} stages cannot be frozen: the encoder has {len(stages)}.", "Freeze fewer.")
    for stage in stages[:count]:
        for parameter in stage.parameters():
            parameter.requires_grad_(False)


def draws(corrected: Sequence[str], replayed: Sequence[str], share: float) -> list[str]:
    """Each corrected case equally often, each replayed one equally often, the latter ``share`` of all draws, as near
    as whole repetitions up to 20 come."""
    if not replayed or not share:
        return list(corrected)
    wanted = share / (1 - share) * len(corrected) / len(replayed)  # repetitions of a replayed one for each corrected
    pairs = [(new, old) for new in range(1, 21) for old in range(1, 21)]
    new, old = min(pairs, key=lambda pair: (abs(pair[1] / pair[0] - wanted), pair[0]))
    return [*list(corrected) * new, *list(replayed) * old]


def transferred(
    own: Mapping[str, torch.Tensor],
    parent: Mapping[str, torch.Tensor],
    parent_labels: Mapping[str, Any],
    labels: Mapping[str, Any],
) -> dict[str, torch.Tensor]:
    """The parent's weights in a network that may have more heads: rows of the heads go by structure.

    nnU-Net drops all heads when it takes over weights. A new structure's row stays as it was made. Raises ModelError
    when the networks differ elsewhere.
    """
    rows = _rows(labels)
    parent_rows = _rows(parent_labels)
    result = {}
    for name, tensor in own.items():
        theirs = parent.get(name)
        if theirs is not None and ".seg_layers." in name and rows != parent_rows:
            moved = tensor.clone()
            for structure, row in rows.items():
                if structure in parent_rows:
                    moved[row] = theirs[parent_rows[structure]].to(tensor)
            result[name] = moved
        elif theirs is not None and theirs.shape == tensor.shape:
            result[name] = theirs.to(tensor)
        else:
            there = "missing" if theirs is None else f"of shape {tuple(theirs.shape)}, not {tuple(tensor.shape)}"
            raise ModelError(f"The parent's weights do not fit its plans: '{name}' is {there}.")
    return result


def _rows(labels: Mapping[str, Any]) -> dict[str, int]:
    """Structure -> row of the heads: values with background; of regions (lists) all but background, in their order."""
    names = [name for name in labels if name != IGNORE]
    if any(isinstance(labels[name], list) and len(labels[name]) > 1 for name in names):
        return {name: row for row, name in enumerate(n for n in names if labels[n] not in (0, [0]))}
    return {name: int(labels[name][0] if isinstance(labels[name], list) else labels[name]) for name in names}


def latest_checkpoint(trainer: FineTuningTrainer) -> Path:
    return Path(trainer.output_folder) / LATEST

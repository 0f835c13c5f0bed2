"""What a fine-tuning will do, shown before it begins; every number can be set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from activeseg.core.errors import InputError, shown
from activeseg.core.json_values import WrongField
from activeseg.core.records import from_json, if_missing, to_json
from activeseg.learning.project.gate import FORGETTING_MARGIN, MARGIN


class MembersFrom(StrEnum):
    """How the new ensemble's members come about: trainings with seeds of their own, or the ends of one cyclic one."""

    SEEDS = "seeds"
    SNAPSHOTS = "snapshots"


@dataclass(frozen=True)
class TrainingPlan:
    """The numbers of one fine-tuning.

    Attributes
    ----------
    device : ``cpu``, ``cuda`` or ``mps``; ``auto`` until it is checked
    members, members_from : of the new ensemble; a snapshot needs a cycle of at least one epoch
    epochs, iterations : of each member; iterations in an epoch. A killed run loses one epoch at most
    learning_rate, warm_up : the highest rate of AdamW, and the share of the iterations in which it rises to it
    frozen_stages : the first stages of the encoder, which stay as they are
    replay : share of the images drawn that are replayed ones, where there are any: cases that the parent has learnt
        already, and uncorrected images
    distillation : weight of the distance to the parent's probabilities on replayed images, beside nnU-Net's loss
    batch_size, patch_kji : None takes those of the parent's plans; a smaller patch saves time and memory
    foreground : share of the patches that are centred on a structure
    seed : of the first member; the others follow
    margin : Dice that a structure may fall, for the gate
    forgetting_margin : mean Dice that may be lost on held-out replayed images, for the gate; where more was lost, the
        weights are averaged with the parent's
    """

    device: str = "cpu"
    members: int = 1
    members_from: MembersFrom = MembersFrom.SEEDS
    epochs: int = 10
    iterations: int = 20
    learning_rate: float = 1e-3
    warm_up: float = 0.1
    frozen_stages: int = 0
    replay: float = 0.33
    distillation: float = field(default=4.0, metadata=if_missing(0.0))
    batch_size: int | None = None
    patch_kji: tuple[int, ...] | None = None
    foreground: float = 0.7
    seed: int = 0
    margin: float = MARGIN
    forgetting_margin: float = FORGETTING_MARGIN

    def __post_init__(self) -> None:
        """Raises InputError for numbers that cannot be trained with."""
        for name, lowest in (("members", 1), ("epochs", 1), ("iterations", 1), ("frozen_stages", 0), ("seed", 0)):
            if getattr(self, name) < lowest:
                raise InputError(f"'{name}' is {getattr(self, name)}; it must be {lowest} or more.")
        if not 0 < self.learning_rate < 1:
            raise InputError(f"The learning rate is {self.learning_rate}; it must lie between 0 and 1.")
        for name in ("warm_up", "replay", "foreground", "margin", "forgetting_margin"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"'{name}' is {getattr(self, name)}; it must lie between 0 and 1.")
        if not 0 <= self.distillation <= 100:
            raise InputError(f"'distillation' is {self.distillation}; it must lie between 0 and 100.")
        if self.replay == 1:
            raise InputError("'replay' is 1; then nothing new would be learnt.", "Choose a smaller share.")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"'batch_size' is {self.batch_size}; it must be 1 or more.")
        if self.patch_kji is not None and (len(self.patch_kji) not in (2, 3) or min(self.patch_kji) < 1):
            raise InputError(f"'patch_kji' is {self.patch_kji}; it needs two or three positive numbers.")
        if self.members_from is MembersFrom.SNAPSHOTS and self.members > self.epochs:
            raise InputError(
                f"{self.members} snapshots need as many epochs, and there are {self.epochs}.", "Train more epochs."
            )

    @property
    def trainings(self) -> int:
        """How often a network is trained."""
        return self.members if self.members_from is MembersFrom.SEEDS else 1

    @property
    def all_iterations(self) -> int:
        return self.trainings * self.epochs * self.iterations

    def rate(self, iteration: int) -> float:
        """Learning rate of an iteration (from 0): linear warm-up, then a cosine to 1 % at the end of each cycle."""
        import math

        total = self.epochs * self.iterations
        cycles = self.members if self.members_from is MembersFrom.SNAPSHOTS else 1
        length = total / cycles
        warm = self.warm_up * length
        at = iteration % length
        if at < warm:
            return self.learning_rate * (at + 1) / (warm + 1)
        done = (at - warm) / max(length - warm, 1)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainingPlan:
        """Raises InputError for unknown names or wrong values."""
        return cls().changed(data)

    def changed(self, values: Mapping[str, Any]) -> TrainingPlan:
        """With other values; those that are None stay. Raises InputError for unknown names or wrong values."""
        known = {field.name for field in fields(self)}
        for name in values:
            if name not in known:
                raise InputError(f"A training plan has no '{name}'.", f"It has {', '.join(sorted(known))}.")
        given = {name: value for name, value in values.items() if value is not None}
        if given.get("members_from", MembersFrom.SEEDS) not in list(MembersFrom):
            raise InputError(
                f"Members cannot come from {shown(given['members_from'])}.", f"Choose {' or '.join(MembersFrom)}."
            )
        try:
            return from_json(TrainingPlan, to_json(self) | to_json(given))
        except WrongField as error:
            raise InputError(f"This training plan cannot be used: {error}.") from error


def default_plan(device: str, cases: int, parent_members: int, encoder_stages: int, single: bool) -> TrainingPlan:
    """Sensible numbers for so many cases on such a device.

    A CPU gets short trainings with half of the encoder frozen (measured: a quarter less time for one Dice point)
    and at most two members. ``single``: a model whose original program loads one member only.
    """
    gpu = device != "cpu"
    members = 1 if single else min(parent_members, 4) if gpu else min(parent_members, 2)
    many = min(max(cases, 1), 50)
    if gpu:
        return TrainingPlan(device, max(members, 1), epochs=10 + many, iterations=50, learning_rate=5e-4)
    return TrainingPlan(
        device,
        max(members, 1),
        epochs=6 + many // 4,
        iterations=20,
        frozen_stages=encoder_stages // 2,
    )

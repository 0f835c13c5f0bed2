"""What a fine-tuning begins with, checked before anything is written: cases, network, structures and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from activeseg.core.errors import InputError
from activeseg.learning.project.project import Project
from activeseg.learning.project.version import ModelKind
from activeseg.learning.training.parent_network import ParentNetwork, parent_network
from activeseg.learning.training.target import Target
from activeseg.learning.training.training_cases import TrainingCases, changed_voxels
from activeseg.learning.training.training_plan import TrainingPlan
from activeseg.segmenters.nnunet.device import resolve_device


@dataclass(frozen=True)
class TrainingBasis:
    """Cases, network and structures of a fine-tuning, which fit together; see ``of``.

    Attributes
    ----------
    cases
        that are trained on
    network
        that learns
    target
        its label values while it is trained
    left_over
        corrected structures that other networks of the model own: they do not learn
    """

    cases: TrainingCases
    network: ParentNetwork
    target: Target
    left_over: tuple[str, ...]

    @classmethod
    def of(
        cls, project: Project, parent: str = "", part: str = "", cases: TrainingCases | None = None
    ) -> TrainingBasis:
        """The one place that says whether a project can be trained.

        Parameters
        ----------
        parent
            version that it begins with; empty for the current one
        part
            of a model of several networks the one that learns; empty for the one that was corrected most
        cases
            those of a training that goes on; None takes the project's as they are now

        Raises
        ------
        InputError
            There is nothing to learn from, a case is gone, images do not fit, or there is no such part.
        ModelError
            There is no such version, or its network cannot learn these structures.
        DatasetError
            The dataset is damaged.
        """
        if cases is None:
            cases = TrainingCases.of(project)
        else:
            cases.check_there(project)
        state, dataset = project.state, project.dataset()
        changed = changed_voxels(project, cases.corrected)
        network = parent_network(project, parent or state.current, changed, part)
        needed, given = len(network.channels), len(dataset.channel_names)
        if needed != given:
            raise InputError(f"The dataset has {given} images for each case, the model {needed}.")
        target = Target.of(network, dataset.schema, state.matching)
        return cls(cases, network, target, tuple(name for name in changed if name not in network.values))

    @property
    def has_one_member(self) -> bool:
        """Whether the original program loads one member only."""
        return self.network.kind is ModelKind.TOTALSEGMENTATOR

    def checked(self, plan: TrainingPlan) -> TrainingPlan:
        """The plan with a device of this computer, ``auto`` being one.

        Raises
        ------
        InputError
            The network cannot be trained with these numbers.
        DeviceError
            The device is not there.
        """
        network = self.network
        device = str(resolve_device(plan.device).type)
        if self.has_one_member and plan.members != len(network.folds):
            raise InputError(
                f"A part of TotalSegmentator has {len(network.folds)} member, and {plan.members} were asked for.",
                "Its program loads no others.",
            )
        if plan.frozen_stages >= max(network.encoder_stages, 1):
            raise InputError(
                f"{plan.frozen_stages} stages cannot be frozen: the encoder has {network.encoder_stages}.",
                "Freeze fewer.",
            )
        if plan.patch_kji is not None:
            _check_patch(network, plan.patch_kji)
        return plan.changed({"device": device})


def _check_patch(network: ParentNetwork, patch: Sequence[int]) -> None:
    """Raise InputError for a patch that does not go through the network."""
    axes = len(network.described["patch_size"])
    if len(patch) != axes:
        raise InputError(f"The patch has {len(patch)} numbers; the network needs {axes}.", "Give one for each axis.")
    strides = network.described.get("architecture", {}).get("arch_kwargs", {}).get("strides", [])
    steps = [math.prod(s if isinstance(s, int) else s[axis] for s in strides) for axis in range(axes)]
    coarsest = [size / step for size, step in zip(patch, steps, strict=True)]
    if any(size % 1 for size in coarsest) or math.prod(coarsest) < 2:
        raise InputError(
            f"The network cannot be trained with the patch {', '.join(map(str, patch))}.",
            f"Take multiples of {', '.join(map(str, steps))}, not all of them the smallest.",
        )

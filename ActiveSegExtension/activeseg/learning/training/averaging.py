"""Trained weights are averaged with the parent's until little is forgotten; see ``project/share.py``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from activeseg.core.progress import Progress
from activeseg.learning.measuring.forgetting import EarlierImages
from activeseg.learning.project.gate import CaseDice
from activeseg.learning.project.opening import open_model_folder, open_version
from activeseg.learning.project.project import Project
from activeseg.learning.project.share import SHARES, Chosen, choose
from activeseg.learning.training.parent_network import CHECKPOINT
from activeseg.learning.training.publication import write_model
from activeseg.learning.training.training_basis import TrainingBasis
from activeseg.learning.training.training_plan import MembersFrom, TrainingPlan

if TYPE_CHECKING:
    import torch

Weights = Mapping[str, "torch.Tensor"]


def choose_share(
    project: Project,
    basis: TrainingBasis,
    plan: TrainingPlan,
    members: Sequence[Path],
    scratch: Path,
    progress: Progress,
) -> Chosen:
    """How much of what was learnt the version keeps; nothing is measured where no replayed image is held out.

    Parameters
    ----------
    members : files with trained weights
    scratch : a folder for models to be measured, which is removed

    Raises ModelError, DeviceError, DatasetError, Cancelled.
    """
    cases = tuple(basis.cases.replay_held_out)
    if not cases:
        return Chosen()
    network, parts = basis.network, len(SHARES) + 1
    segmenter = open_version(project, network.version)
    images = EarlierImages(project, segmenter, cases, plan.device, progress.part(0.0, 1 / parts))

    def measured(share: float) -> CaseDice:
        shutil.rmtree(scratch, ignore_errors=True)
        write_model(scratch, network, basis.target, averaged_members(basis, plan, members, share), 0)
        child = open_model_folder(scratch, network.kind, network.task, basis.target.schema, "candidate")
        at = SHARES.index(share) + 1
        return images.dice_of(child, progress.part(at / parts, (at + 1) / parts))

    try:
        return choose(images.parent, measured, plan.forgetting_margin)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def averaged_members(
    basis: TrainingBasis, plan: TrainingPlan, members: Sequence[Path], share: float
) -> list[dict[str, torch.Tensor]]:
    """Weights of all members, each of them averaged with the parent's member that it began with."""
    from activeseg.learning.training.trainer import transferred
    from activeseg.segmenters.nnunet.checkpoint_file import read_checkpoint, read_weights

    network, found = basis.network, []
    for number, file in enumerate(members):
        weights = read_weights(file)
        if share < 1:
            began = number if plan.members_from is MembersFrom.SEEDS else 0
            fold = network.folds[began % len(network.folds)]
            parent = read_checkpoint(network.folder / f"fold_{fold}" / CHECKPOINT).load()
            # heads of new structures have no parent: they stay as they were learnt
            parent = transferred(weights, parent, network.dataset["labels"], basis.target.labels)
            weights = averaged(parent, weights, share)
        found.append(dict(weights))
    return found


def averaged(parent: Weights, child: Weights, share: float) -> dict[str, torch.Tensor]:
    """Weights ``share`` of the way from the parent's to the child's; both have the same names and shapes."""
    return {
        name: parent[name].to(tensor).lerp(tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in child.items()
    }

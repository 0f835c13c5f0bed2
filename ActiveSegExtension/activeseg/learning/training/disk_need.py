"""How much disk a training writes before its version is there, from sizes alone."""

from __future__ import annotations

import math

from activeseg.learning.project.project import Project
from activeseg.learning.training.parent_network import CHECKPOINT
from activeseg.learning.training.training_basis import TrainingBasis
from activeseg.learning.training.training_plan import TrainingPlan

_IMAGE_BYTES, _LABEL_BYTES = 4, 2  # of a voxel of a prepared case
_COPIES = 8
"""Weights of a member: its file, its place in the version, and in nnU-Net's checkpoint, of which two are there at a
time, with both moments of AdamW."""


def disk_bytes(project: Project, basis: TrainingBasis, plan: TrainingPlan) -> int:
    """Bytes of the prepared cases, as large as they are in memory, and of all members' weights."""
    network, dataset, replay = basis.network, project.dataset(), project.replay_dataset()
    geometries = [dataset.record(case).geometry for case in basis.cases.corrected]
    geometries += [replay.record(case).geometry for case in basis.cases.replayed if replay is not None]
    spacing = network.described.get("spacing") or ()
    voxels = 0.0
    for geometry in geometries:
        count = float(math.prod(geometry.shape_kji))
        whole = len(spacing) == len(geometry.shape_kji)
        voxels += count * geometry.voxel_mm3 / math.prod(spacing) if whole else count
    weights = max((network.folder / f"fold_{fold}" / CHECKPOINT).stat().st_size for fold in network.folds)
    return round(voxels * (_IMAGE_BYTES * len(network.channels) + _LABEL_BYTES)) + _COPIES * weights * plan.members

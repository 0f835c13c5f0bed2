"""Trained members become a version's ``model`` folder, which the original programs load.

In it: plans and labels, and for each member a checkpoint with its weights and the parent's trainer, so that neither the
training's state nor this package is needed to predict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from activeseg.core.progress import Progress
from activeseg.core.shapes import ShapeReference
from activeseg.dataset.layout import label_file
from activeseg.io.images import read_label_map
from activeseg.learning.project.project import Project
from activeseg.learning.training.parent_network import CHECKPOINT, ParentNetwork
from activeseg.learning.training.target import Target
from activeseg.learning.training.training_basis import TrainingBasis
from activeseg.review.shapes import Shape, shapes_of, usual_shapes
from activeseg.system.files import sync_to_disk, write_json


def shapes_learned(project: Project, basis: TrainingBasis, progress: Progress) -> ShapeReference:
    """What shape the version's structures have in the corrected cases that it learned from.

    What a model made for replayed images is no example. Raises InputError, DatasetError, Cancelled.
    """
    dataset, matching = project.dataset(), project.state.matching
    examples: dict[str, list[Shape]] = {name: [] for name in basis.target.schema.names}
    for done, case in enumerate(basis.cases.corrected):
        progress("shapes", done / len(basis.cases.corrected), case)
        stored = read_label_map(dataset.folder / label_file(case, dataset.listing().entry(case).revision))
        for name, shape in shapes_of(stored.array, stored.geometry, dataset.schema).items():
            structure = matching.get(name) or name
            if structure in examples:
                examples[structure].append(shape)
    return usual_shapes(examples)


def write_model(
    folder: Path, parent: ParentNetwork, target: Target, members: Sequence[Mapping[str, Any]], cases: int
) -> None:
    """Write the model into ``folder`` (it must be new); ``members`` are weights by nnU-Net's names.

    A part of TotalSegmentator goes to the folders that the package looks for, below ``folder``.
    """
    import torch

    place = folder / parent.part / parent.folder.name if parent.part else folder
    place.mkdir(parents=True)
    dataset = {**parent.dataset, "labels": target.published, "numTraining": cases}
    for name, content in (("plans.json", parent.plans), ("dataset.json", dataset)):
        write_json(place / name, content)
    names = parent.folds if parent.part else [str(number) for number in range(len(members))]
    for name, weights in zip(names, members, strict=True):
        fold = place / f"fold_{name}"
        fold.mkdir()
        torch.save(
            {
                "network_weights": {key: tensor.cpu() for key, tensor in weights.items()},
                "trainer_name": parent.trainer,
                "init_args": {"configuration": parent.configuration, "fold": int(name) if name.isdigit() else name},
                "inference_allowed_mirroring_axes": parent.mirror_axes,
            },
            fold / CHECKPOINT,
        )
        sync_to_disk(fold / CHECKPOINT)
        sync_to_disk(fold)
    for made in (place, place.parent, folder):
        sync_to_disk(made)

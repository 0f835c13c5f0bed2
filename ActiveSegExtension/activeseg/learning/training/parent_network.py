"""The network that a fine-tuning begins with: the base model's, or that of a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.core.errors import InputError
from activeseg.core.labels import IGNORE, LabelSchema
from activeseg.core.segmenter import Trainable, TrainableNetwork
from activeseg.learning.project.opening import open_version
from activeseg.learning.project.project import Project, trainable_of
from activeseg.learning.project.version import ModelKind
from activeseg.segmenters.nnunet.checkpoint_file import read_checkpoint
from activeseg.segmenters.nnunet.dataset_json import channels_of_dataset
from activeseg.segmenters.nnunet.model_folder_check import check_model_folder
from activeseg.segmenters.nnunet.network import check_network, model_folds

CHECKPOINT = "checkpoint_final.pth"


@dataclass(frozen=True)
class ParentNetwork:
    """One nnU-Net model folder that learns.

    Attributes
    ----------
    version : id of the version that it belongs to, or ``base``
    kind, task : how the whole model is opened
    folder : with plans.json, dataset.json and fold_*
    folds : names of its members
    plans, dataset : the two files, checked; ``dataset`` may lack ``ignore``
    described : the network's configuration in the plans, with what it inherits
    configuration, trainer, mirror_axes : from the first member's checkpoint
    values : structure -> its value in this network's label maps
    schema : of the whole model's result
    part : of a model of several networks, the dataset folder of this one (``Dataset291_...``); else empty
    """

    version: str
    kind: ModelKind
    task: str
    folder: Path
    folds: tuple[str, ...]
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    described: Mapping[str, Any]
    configuration: str
    trainer: str
    mirror_axes: tuple[int, ...] | None
    values: Mapping[str, int]
    schema: LabelSchema
    part: str = ""

    @property
    def has_regions(self) -> bool:
        return any(isinstance(v, list) and len(v) > 1 for v in self.dataset["labels"].values())

    @property
    def channels(self) -> tuple[str, ...]:
        return channels_of_dataset(self.dataset)

    @property
    def encoder_stages(self) -> int:
        """0 where the plans do not say (those of nnU-Net's first years)."""
        return int(self.described.get("architecture", {}).get("arch_kwargs", {}).get("n_stages", 0))


def parent_network(
    project: Project, id: str, changed: Mapping[str, int] | None = None, part: str = ""
) -> ParentNetwork:
    """The network of a version that owns the corrected structures.

    Parameters
    ----------
    changed : structure of the model -> voxels that were corrected; of several networks the one that owns most of them
        learns
    part : its dataset folder or number, when the user chose

    Raises ModelError when it cannot learn, InputError when there is no such part.
    """
    segmenter = open_version(project, id)
    trainable = trainable_of(segmenter)
    return _read(id, trainable, _part(trainable.networks, changed or {}, part), segmenter.schema)


def _part(networks: Sequence[TrainableNetwork], changed: Mapping[str, int], wanted: str) -> TrainableNetwork:
    if not wanted:
        return max(networks, key=lambda network: sum(changed.get(name, 0) for name in network.values))
    for network in networks:
        if wanted in network.part:
            return network
    parts = [network.part[0] for network in networks if network.part]
    action = f"Its parts: {', '.join(parts)}." if parts else "It is a single network; name no part."
    raise InputError(f"The model has no part '{wanted}'.", action)


def _read(version: str, trainable: Trainable, network: TrainableNetwork, schema: LabelSchema) -> ParentNetwork:
    """Raises ModelError, also when the plans and the weights do not go together."""
    folder = network.folder
    model = check_model_folder(folder)
    names = tuple(model_folds(folder)) if network.folds is None else network.folds
    first = read_checkpoint(folder / f"fold_{names[0]}" / CHECKPOINT)
    check_network(model, first)
    return ParentNetwork(
        version,
        ModelKind(trainable.family),
        trainable.task,
        folder,
        names,
        model.plans,
        model.dataset,
        model.configurations[first.configuration],
        first.configuration,
        first.trainer,
        first.mirror_axes,
        {name: value for name, value in network.values.items() if name != IGNORE},
        schema,
        network.part[0] if network.part else "",
    )

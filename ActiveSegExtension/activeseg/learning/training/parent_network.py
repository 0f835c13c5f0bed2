"""The network that a fine-tuning begins with: the base model's, or that of a version."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from activeseg.core.errors import InputError
from activeseg.core.labels import IGNORE, LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Segmented, Segmenter, Settings
from activeseg.core.volume import Volume
from activeseg.learning.project.project import Project
from activeseg.learning.project.version import BASE, MODEL, VERSION_ID, ModelKind
from activeseg.segmenters import open_segmenter
from activeseg.segmenters.nnunet.checkpoint_file import read_checkpoint
from activeseg.segmenters.nnunet.model_folder_check import check_model_folder
from activeseg.segmenters.nnunet.network import check_network, model_folds
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter, channels_of_dataset
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.segmenter import TotalSegmentatorSegmenter
from activeseg.segmenters.totalsegmentator.tasks import Model

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


def open_version(project: Project, id: str) -> Segmenter:
    """The segmenter of a version of a project, or of its base model. Raises ModelError."""
    if id == BASE:
        return open_segmenter(project.state.base_model)
    version = project.version(id)
    name, model = f"project:{project.folder}@{id}", project.version_folder(id) / MODEL
    if version.kind is ModelKind.NNUNET:
        return NnUNetSegmenter(model, name, LabelSchema.from_dict(version.schema))
    user = UserHome.of_environment()
    link_rest(model, user.weights)
    return TotalSegmentatorSegmenter(version.task, UserHome(user.home, model))


def open_named(text: str) -> Segmenter:
    """``<project's folder>`` for its current version, or ``<folder>@<version>``. Raises DatasetError, ModelError."""
    folder, id = version_named(text)
    project = Project.open(folder)
    segmenter = open_version(project, id)
    new = [name for name, known in project.state.matching.items() if known is None]
    if set(new) <= set(segmenter.schema.names):
        return segmenter
    return WithNewStructures(segmenter, f"project:{project.folder}@{id}", new)


class WithNewStructures:
    """A model that is to learn further structures: they are in its schema, so that they can be drawn, and are never
    found."""

    def __init__(self, segmenter: Segmenter, name: str, new: Sequence[str]) -> None:
        self._segmenter = segmenter
        self._name = name
        missing = [structure for structure in new if structure not in segmenter.schema.names]
        more = LabelSchema.from_names([*segmenter.schema.names, *missing]).labels[len(segmenter.schema) :]
        self._schema = LabelSchema((*segmenter.schema.labels, *more))

    @property
    def name(self) -> str:
        return self._name

    @property
    def wrapped(self) -> Segmenter:
        """The model itself, which does the work."""
        return self._segmenter

    @property
    def schema(self) -> LabelSchema:
        return self._schema

    @property
    def channels(self) -> tuple[str, ...]:
        return self._segmenter.channels

    def __getattr__(self, name: str) -> Any:
        """Its folder, and the memory that it keeps."""
        return getattr(self._segmenter, name)

    def check(self, settings: Settings) -> None:
        self._segmenter.check(settings)

    def segment(self, images: Mapping[str, Volume], settings: Settings, progress: Progress) -> Segmented:
        return replace(self._segmenter.segment(images, settings, progress), schema=self._schema)


def version_named(text: str) -> tuple[Path, str]:
    """Folder and version of what ``open_named`` opens. Raises DatasetError."""
    folder, at, id = text.rpartition("@")
    if at and (id == BASE or VERSION_ID.fullmatch(id)):
        return Path(folder), id
    return Path(text), Project.open(Path(text)).state.current


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
    if isinstance(segmenter, NnUNetSegmenter):
        if part:
            raise InputError(f"The model has no part '{part}'.", "It is a single network; name no part.")
        values = {label.name: label.value for label in segmenter.schema.labels}
        return _read(id, ModelKind.NNUNET, "", segmenter.folder, None, values, segmenter.schema)
    assert isinstance(segmenter, TotalSegmentatorSegmenter)
    model = _part(segmenter.task.parts(), changed or {}, part)
    folder = model.folder(segmenter.user.weights)
    values = {name: value for value, name in model.classes.items()}
    folds = None if model.folds is None else [str(fold) for fold in model.folds]
    task = segmenter.task.name
    return _read(id, ModelKind.TOTALSEGMENTATOR, task, folder, folds, values, segmenter.schema, model.dataset)


def _part(parts: Sequence[Model], changed: Mapping[str, int], wanted: str) -> Model:
    if wanted:
        for model in parts:
            if wanted in (model.dataset, str(model.dataset_id)):
                return model
        raise InputError(f"The model has no part '{wanted}'.", f"Its parts: {', '.join(m.dataset for m in parts)}.")
    return max(parts, key=lambda model: sum(changed.get(name, 0) for name in model.classes.values()))


def _read(
    version: str,
    kind: ModelKind,
    task: str,
    folder: Path,
    folds: Sequence[str] | None,
    values: Mapping[str, int],
    schema: LabelSchema,
    part: str = "",
) -> ParentNetwork:
    """Raises ModelError, also when the plans and the weights do not go together."""
    model = check_model_folder(folder)
    names = tuple(model_folds(folder) if folds is None else folds)
    first = read_checkpoint(folder / f"fold_{names[0]}" / CHECKPOINT)
    check_network(model, first)
    return ParentNetwork(
        version,
        kind,
        task,
        folder,
        names,
        model.plans,
        model.dataset,
        model.configurations[first.configuration],
        first.configuration,
        first.trainer,
        first.mirror_axes,
        {name: value for name, value in values.items() if name != IGNORE},
        schema,
        part,
    )


def link_rest(model: Path, weights: Path) -> None:
    """Let a version's TotalSegmentator root lead to the user's own weights for all that the version did not train."""
    for theirs in sorted(weights.glob("Dataset*")):
        ours = model / theirs.name
        if ours.is_symlink() and not ours.exists():
            ours.unlink()
        if not ours.exists():
            try:
                os.symlink(theirs, ours, target_is_directory=True)
            except OSError:  # Windows without the right to
                shutil.copytree(theirs, ours)

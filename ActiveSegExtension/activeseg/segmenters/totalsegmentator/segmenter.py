"""The original TotalSegmentator as a segmenter: every task of the installed package, by ``totalsegmentator:<task>``.

Importing this module imports neither torch nor the package's networks; running a task does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.clock import Clock
from activeseg.core.errors import InputError, ModelError
from activeseg.core.geometry import Box, Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.network_size import NetworkSize, Overhead
from activeseg.core.progress import Progress
from activeseg.core.segmenter import ModelInfo, Resample, Segmenter, Settings, Trainable, TrainableNetwork
from activeseg.core.shapes import ShapeReference
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes, Member, MemberKind, Segmented
from activeseg.segmenters.nnunet.device import resolve_device
from activeseg.segmenters.nnunet.network_size import read_size
from activeseg.segmenters.totalsegmentator.sandbox import UserHome, sandbox
from activeseg.segmenters.totalsegmentator.tasks import FAMILY, LICENCE_PAGE, Task, TaskModel, task_named, tasks
from activeseg.segmenters.totalsegmentator.weights import (
    Weights,
    download_weights,
    inspect_weights,
    licence_needed,
    require_weights,
)

OVERHEAD = Overhead(32, 18, 18, resamples=True)
OVERHEAD_BY_NNUNET = Overhead(40, 18, 41)
"""Tasks that leave resampling to nnU-Net, as all do when it is to be smooth: the sum of what both hold."""


def task_infos(user: UserHome | None = None) -> list[ModelInfo]:
    """Every task of the installed package that can be run, in the package's order, with the state of its weights."""
    user = user or UserHome.of_environment()
    return [_info(task, user) for task in tasks() if task.runnable]


def _info(task: Task, user: UserHome) -> ModelInfo:
    models = task.helpers() + task.parts()
    findings = [inspect_weights(model, user.weights) for model in models]
    wrong = [(f.state, m) for f, m in zip(findings, models, strict=True) if f.state is not Weights.READY]
    wrong.sort(key=lambda pair: pair[0] is Weights.MISSING)  # what is damaged matters more than what can be fetched
    state, model = wrong[0] if wrong else (Weights.READY, models[-1])
    if task.licensed and not user.licence:
        state = Weights.LICENCE
    sizes = [m.download_bytes for found, m in wrong if found is Weights.MISSING]
    known = [size for size in sizes if size is not None]
    spacing = task.spacing_xyz
    grid = "own spacing" if spacing is None else f"{' x '.join(f'{s:.3g}' for s in dict.fromkeys(spacing))} mm"
    return ModelInfo(
        f"{FAMILY}:{task.name}",
        FAMILY,
        f"{task.summary}; {grid}",
        task.modality,
        task.schema.names,
        str(state),
        str(user.weights / model.dataset),
        f"{FAMILY}:{task.coarser.name}" if task.coarser else "",
        task.group,
        sum(known) if len(known) == len(sizes) else None,
        LICENCE_PAGE if task.licensed else "",
        spacing,
    )


class TotalSegmentatorSegmenter(Segmenter):
    """``totalsegmentator:<task>``; its networks are loaded at their first use and stay in memory for the next run."""

    def __init__(
        self,
        task: str,
        user: UserHome | None = None,
        name: str | None = None,
        shapes: ShapeReference | None = None,
    ) -> None:
        """Look the task up; nothing is loaded.

        Parameters
        ----------
        task
            ``total``, ``total-fast``, ``body``, ... with or without the prefix ``totalsegmentator:``.
        user
            Where the user's weights and licence are; by default where the package looks.
        name
            Where it is not the task's own, such as that of a project's version.
        shapes
            What shape the structures usually have, where that is known.

        Raises
        ------
        ModelError
            The installed package has no such task.
        """
        self.task = task_named(task)
        self.user = user or UserHome.of_environment()
        self._name = name or f"{FAMILY}:{self.task.name}"
        self._shapes = shapes
        self._loaded: dict[Any, Any] = {}

    @property
    def name(self) -> str:
        return self._name

    @property
    def schema(self) -> LabelSchema:
        return self.task.schema

    @property
    def channels(self) -> tuple[str, ...]:
        return (self.task.modality,)

    @property
    def warm_bytes(self) -> int:
        """Memory that the loaded networks take; 0 before the first ``segment``."""
        return sum(int(network.memory_bytes) for network in self._loaded.values())

    @property
    def splits(self) -> bool:
        return True

    @property
    def coarser(self) -> str | None:
        other = self.task.coarser
        return f"{FAMILY}:{other.name}" if other else None

    @property
    def shapes(self) -> ShapeReference | None:
        return self._shapes

    @property
    def trainable(self) -> Trainable:
        return Trainable(FAMILY, self.task.name, tuple(self._trainable(model) for model in self.task.parts()))

    def _trainable(self, model: TaskModel) -> TrainableNetwork:
        folds = None if model.folds is None else tuple(str(fold) for fold in model.folds)
        values = {name: value for value, name in model.classes.items()}
        return TrainableNetwork(model.folder(self.user.weights), folds, values, (model.dataset, str(model.dataset_id)))

    def networks(self, settings: Settings) -> tuple[NetworkSize, ...]:
        parts, helpers = self._sizes(self.task.parts(settings.structures)), self.task.helpers(settings.structures)
        beside = self.beside(settings)
        if beside and parts:
            accelerated = resolve_device(settings.device).type != "cpu"
            if settings.members_of(parts[-1], accelerated) > parts[-1].folds:
                helpers = (*helpers, beside)
        return (*(replace(size, helps=True) for size in self._sizes(helpers)), *parts)

    def _sizes(self, models: Sequence[TaskModel]) -> list[NetworkSize]:
        root = self.user.weights
        found = [read_size(m.folder(root), m.configuration, len(m.folds) if m.folds else None) for m in models]
        return [size for size in found if size is not None]

    def overhead(self, settings: Settings) -> Overhead:
        own = self.task.spacing_xyz is not None and settings.resample is Resample.GENUINE
        return OVERHEAD if own else OVERHEAD_BY_NNUNET

    def models(self, settings: Settings) -> tuple[TaskModel, ...]:
        """The model folders that a run with these settings needs, in the order in which they are used."""
        return self.task.helpers(settings.structures) + self.task.parts(settings.structures)

    def check(self, settings: Settings) -> None:
        """Raise before any work when it cannot run. Weights that are merely missing are fetched by ``segment``."""
        self.task.check()
        for structure in settings.structures:
            self.schema.named(structure)
        if self.task.licensed and not self.user.licence:
            raise licence_needed(f"TotalSegmentator's task '{self.task.task}'")
        require_weights(self.models(settings), self.user.weights)
        resolve_device(settings.device)

    def segment(self, images: Mapping[str, Volume], settings: Settings, progress: Progress) -> Segmented:
        """See ``Segmenter.segment``. Labels are what the original command gives; see ``Predictions`` for the votes."""
        self.check(settings)
        models = self.models(settings)
        volume = self._only_image(images, models)
        clock = Clock()
        missing = require_weights(models, self.user.weights)
        if missing:
            download_weights(missing, self.user, progress.part(0.0, 0.3))
            progress = progress.part(0.3, 1.0)
            clock.lap("download")
        labels, predictions, said = self._run(volume, models, settings, clock, progress)
        clock.lap("package")
        structures = self._subset(settings)
        grid = predictions.votes(structures)
        if grid is None:
            grid = _nothing_found(volume)
        elif volume.geometry.assumed:
            grid = _in_place(grid, volume.geometry)
        if structures:
            labels = np.where(np.isin(labels, [self.schema.named(name).value for name in structures]), labels, 0)
        clock.lap("merge")
        details = {
            "task": self.task.task,
            "mode": self.task.mode or "default",
            "modality": self.task.modality,
            "models": {str(model.dataset_id): f"{model.dataset}/{model.trained}" for model in models},
            "folder": str(self.user.weights),
            "device": str(resolve_device(settings.device)),
            "arithmetic": {str(key): value for key, value in predictions.arithmetic.items()},
            "said": said,
            "versions": _versions(),
        }
        return Segmented(labels, self.schema, structures or self.schema.names, grid, clock.laps, details)

    def evidence(
        self,
        images: Mapping[str, Volume],
        box_kji: Box | None,
        settings: Settings,
        progress: Progress,
        structures: Sequence[str] = (),
    ) -> GridVotes:
        """See ``Segmenter.evidence``. The networks look at one patch around the box; the package's rough crop and
        post-processing are left out."""
        from activeseg.segmenters.totalsegmentator.evidence import evidence_of

        self.check(settings)
        parts = self.task.parts(settings.structures)
        asked = [part for part in parts if not structures or set(part.classes.values()) & set(structures)] or parts
        missing = require_weights(asked, self.user.weights)
        if missing:
            raise ModelError(
                f"The weights of {self.name} are not on this computer.",
                "Segment a CT with it once, which fetches them.",
            )
        volume = self._only_image(images, asked)
        networks = [(part, self._network(part, self._step_size(part), settings)) for part in asked]
        return evidence_of(self.task, networks, volume, box_kji, settings, self._subset(settings), progress)

    def _step_size(self, model: TaskModel) -> float:
        """That with which the network is loaded, so that it is not loaded twice."""
        loaded = [step_size for dataset_id, step_size, _ in self._loaded if dataset_id == model.dataset_id]
        return loaded[0] if loaded else 0.5

    def _subset(self, settings: Settings) -> tuple[str, ...]:
        """The chosen structures in the model's order; empty when they are all."""
        chosen = tuple(name for name in self.schema.names if name in settings.structures)
        return () if len(chosen) == len(self.schema) else chosen

    def _only_image(self, images: Mapping[str, Volume], models: Sequence[TaskModel]) -> Volume:
        (channel,) = self.channels
        if channel not in images:
            raise InputError(
                f"{self.name} needs one {channel} image.", f"Give the image of channel '{channel}'.", setting="channel"
            )
        volume = images[channel]
        coarsest = max(max(model.spacing_xyz or (0.0,)) for model in models)
        size = [n * s for n, s in zip(volume.geometry.shape_kji[::-1], volume.geometry.spacing_xyz, strict=True)]
        if min(size) <= 0.5 * coarsest:  # the package would resample it to no voxel at all
            raise InputError(
                f"The image is only {min(size):.1f} mm thick, but {self.name} looks at voxels of {coarsest:g} mm."
            )
        return volume

    def _run(
        self, volume: Volume, models: Sequence[TaskModel], settings: Settings, clock: Any, progress: Progress
    ) -> tuple[npt.NDArray[np.uint8], Any, list[str]]:
        """The original function around ActiveSeg's predict: labels (k, j, i), the networks' predictions, the output."""
        import nibabel
        import torch
        from totalsegmentator import python_api

        from activeseg.segmenters.totalsegmentator.predict import Predictions, genuine_threads

        structures = self._subset(settings)
        image = nibabel.Nifti1Image(_nifti_array(volume.array).transpose(2, 1, 0), volume.geometry.nibabel_affine)
        threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
        try:
            with sandbox(self.user, self.user.weights, settings.usage_statistics) as printed:
                predictions = Predictions(
                    self.task,
                    {model.dataset_id: model for model in models},
                    lambda model, step_size: self._network(model, step_size, settings),
                    settings,
                    printed.outside(progress),
                    _shares(models),
                    clock,
                    self.beside(settings),
                )
                torch.set_num_threads(genuine_threads(settings))
                with predictions.in_place():
                    result = python_api.totalsegmentator(
                        image,
                        None,
                        task=self.task.task,
                        fast=self.task.mode == "fast",
                        fastest=self.task.mode == "fastest",
                        roi_subset=list(structures) if self.task.takes_subset(structures) else None,
                        ml=True,
                        quiet=True,
                        device="cpu",  # of the package's resampling; ActiveSeg's predict knows its own device
                        force_split=settings.in_pieces,
                        higher_order_resampling=settings.resample is Resample.SMOOTH,
                    )
        finally:
            torch.set_num_threads(threads)
            torch.backends.cudnn.benchmark = benchmark
        labels = np.ascontiguousarray(np.asanyarray(result.dataobj).astype(np.uint8).transpose(2, 1, 0))
        return labels, predictions, printed.lines

    def beside(self, settings: Settings) -> TaskModel | None:
        """What votes beside views: the 3 mm model of a 1.5 mm task, when its weights are there.

        Smooth resampling leaves it no common grid.
        """
        coarser = None if self.task.mode else self.task.coarser
        if coarser is None or coarser.spacing_xyz != (3.0, 3.0, 3.0) or settings.resample is Resample.SMOOTH:
            return None
        (model,) = coarser.parts()
        return model if inspect_weights(model, self.user.weights).state is Weights.READY else None

    def _network(self, model: TaskModel, step_size: float, settings: Settings) -> Any:
        from activeseg.segmenters.nnunet.network import Network

        device = resolve_device(settings.device)
        key = (model.dataset_id, step_size, str(device))
        if key not in self._loaded:
            self._loaded[key] = Network.load(model.folder(self.user.weights), model.folds, device, step_size=step_size)
        return self._loaded[key]


def _nifti_array(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values in a type that NIfTI can hold."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        return array.astype(np.float64)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _shares(models: Sequence[TaskModel]) -> list[float]:
    """How the time divides among the networks: by the voxels that they see."""
    costs = [1.0 / float(np.prod(model.spacing_xyz or (1.0, 1.0, 1.0))) for model in models]
    return [cost / sum(costs) for cost in costs]


def _in_place(votes: GridVotes, image: Geometry) -> GridVotes:
    """On a grid that the package placed by what nibabel assumes, where the image lies for us."""

    def placed(grid: Geometry) -> Geometry:
        moved = image.ijk_to_ras @ np.linalg.inv(image.nibabel_affine) @ grid.ijk_to_ras
        return Geometry.from_ijk_to_ras(moved, grid.shape_kji)

    features = tuple(replace(part, geometry=placed(part.geometry)) for part in votes.features)
    return replace(votes, geometry=placed(votes.geometry), features=features)


def _nothing_found(volume: Volume) -> GridVotes:
    """The votes of a run in which the rough model found none of the structures, so that no network was asked."""
    shape = volume.geometry.shape_kji
    nothing = np.zeros(shape, np.uint8)
    unknown = np.full(shape, np.nan, np.float32)
    return GridVotes(volume.geometry, nothing, (Member("rough model", MemberKind.TRAINED),), (nothing,), unknown)


def _versions() -> dict[str, str]:
    from importlib import metadata

    return {name: metadata.version(name) for name in ("TotalSegmentator", "nnunetv2", "torch")}


def open_named(rest: str) -> TotalSegmentatorSegmenter:
    """``totalsegmentator:<task>``; without a task ``total``."""
    return TotalSegmentatorSegmenter(rest or "total")

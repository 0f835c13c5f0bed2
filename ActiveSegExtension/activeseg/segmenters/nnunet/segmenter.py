"""Any model that nnU-Net v2 trained, from its folder: folds, 2d, 3d, regions, several channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from activeseg.core.clock import Clock
from activeseg.core.errors import InputError, ModelError
from activeseg.core.geometry import Box
from activeseg.core.labels import LabelSchema
from activeseg.core.network_size import NetworkSize, Overhead
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Segmenter, Settings, Trainable, TrainableNetwork
from activeseg.core.shapes import ShapeReference
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes, Segmented
from activeseg.segmenters.nnunet.case import READERS, LabelArray, PreprocessedCase, on_cropped_grid, preprocessed
from activeseg.segmenters.nnunet.dataset_json import channels_of_dataset, schema_of_dataset
from activeseg.segmenters.nnunet.device import cpu_threads, resolve_device
from activeseg.segmenters.nnunet.model_folder_check import check_model_folder
from activeseg.segmenters.nnunet.network_size import read_only_size, read_size

OVERHEAD = Overhead(40, 5, 28, mirrors=True)
"""Measured with ``Testing/benchmarks/memory.py``."""


class NnUNetSegmenter(Segmenter):
    """``nnunet:<folder>``: the folder with plans.json, dataset.json and fold_*.

    The model is loaded at the first ``segment`` and stays in memory for the next.
    """

    def __init__(
        self,
        folder: Path,
        name: str | None = None,
        schema: LabelSchema | None = None,
        shapes: ShapeReference | None = None,
    ) -> None:
        """Read the folder's two JSON files; ``name``, ``schema`` and ``shapes`` are what else is known of the model.

        Raises ModelError when they are missing or say something unsupported.
        """
        self.folder = Path(folder)
        self._name = name or f"nnunet:{folder}"
        model = check_model_folder(self.folder)
        own = schema_of_dataset(model.dataset, self.folder)
        if schema is not None and len(schema) != len(own):
            raise ModelError(
                f"The model in {folder} has {len(own)} structures, but {len(schema)} names were given for them.",
                "Copy the model's folder again.",
            )
        self._schema = schema or own
        self._shapes = shapes
        self._channels = channels_of_dataset(model.dataset)
        reader = model.plans["image_reader_writer"]
        if reader not in READERS:
            raise ModelError(
                f"The model in {folder} was trained on images read by '{reader}', which is not supported.",
                f"Supported are {', '.join(READERS)}.",
            )
        self._reader = READERS[reader]
        self._network: Any = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def schema(self) -> LabelSchema:
        return self._schema

    @property
    def channels(self) -> tuple[str, ...]:
        return self._channels

    @property
    def warm_bytes(self) -> int:
        """Memory that the loaded model takes; 0 before the first ``segment``."""
        return 0 if self._network is None else int(self._network.memory_bytes)

    @property
    def files(self) -> tuple[Path, ...]:
        """Fine-tuning may put another model in its folder."""
        weights = sorted(self.folder.glob("fold_*/checkpoint_final.pth"))
        return (self.folder / "plans.json", self.folder / "dataset.json", *weights)

    @property
    def shapes(self) -> ShapeReference | None:
        return self._shapes

    @property
    def trainable(self) -> Trainable:
        values = {label.name: label.value for label in self._schema.labels}
        return Trainable("nnunet", "", (TrainableNetwork(self.folder, None, values),))

    def networks(self, settings: Settings) -> tuple[NetworkSize, ...]:
        size = read_size(self.folder, self.folder.name.split("__")[-1]) or read_only_size(self.folder)
        return (size,) if size else ()

    def overhead(self, settings: Settings) -> Overhead:
        return OVERHEAD

    def check(self, settings: Settings) -> None:
        """Raise before any work when it cannot run."""
        from activeseg.segmenters.nnunet.network import model_folds

        for structure in settings.structures:
            self._schema.named(structure)
        resolve_device(settings.device)
        model_folds(self.folder)

    def segment(self, images: Mapping[str, Volume], settings: Settings, progress: Progress) -> Segmented:
        """See ``Segmenter.segment``. The grid of the votes is nnU-Net's own, which aligns voxel edges with the CT's."""
        from activeseg.segmenters.nnunet import ensemble
        from activeseg.segmenters.nnunet.decision import Decision

        self.check(settings)
        volumes = _one_grid(images, self._channels)
        clock = Clock()
        progress("load", 0.0, self._name)
        network = self.load(settings)
        clock.lap("load")
        progress("preprocess", 0.0)
        case = self._preprocess(network, volumes)
        clock.lap("preprocess")
        same_grid = case.network_shape == case.cropped_shape
        with cpu_threads(settings.threads):
            result = ensemble.run(network, case.data, settings, progress, keep_logits=not same_grid)
        clock.lap("network")
        decision = Decision.of(network)
        labels = result.labels
        if not same_grid:
            assert result.logits is not None
            labels = on_cropped_grid(network, case, result.logits, labels, decision, settings, progress)
        full = case.uncropped(labels)
        clock.lap("resample")
        grid = self._grid_votes(case, result, settings)
        keep = _subset(self._schema, settings.structures)
        details = {
            "folder": str(self.folder),
            "folds": list(network.folds),
            "device": str(network.device),
            "arithmetic": result.arithmetic,
            "versions": {name: metadata.version(name) for name in ("nnunetv2", "torch")},
        }
        return Segmented(keep(full), self._schema, settings.structures or self._schema.names, grid, clock.laps, details)

    def evidence(
        self,
        images: Mapping[str, Volume],
        box_kji: Box | None,
        settings: Settings,
        progress: Progress,
        structures: Sequence[str] = (),
    ) -> GridVotes:
        """See ``Segmenter.evidence``: one patch around the box, or more where the box is larger.

        An image that is normalized by its own mean is normalized by that of the patch.
        """
        from activeseg.segmenters.nnunet import ensemble
        from activeseg.segmenters.nnunet.features import trained_only

        self.check(settings)
        volumes = _one_grid(images, self._channels)
        progress("load", 0.0, self._name)
        network = self.load(settings)
        case = self._preprocess(network, volumes, box_kji)
        with cpu_threads(settings.threads):
            result = ensemble.run(
                network, case.data, trained_only(network, settings), progress, keep_logits=False, all_features=True
            )
        return self._grid_votes(case, result, settings)

    def _grid_votes(self, case: PreprocessedCase, result: Any, settings: Settings) -> GridVotes:
        from activeseg.segmenters.nnunet.features import decoder_features

        keep = _subset(self._schema, settings.structures)
        values = np.arange(len(self._schema) + 1)
        return GridVotes(
            geometry=case.network_geometry,
            labels=keep(result.labels),
            members=result.members,
            votes=tuple(keep(vote) for vote in result.votes),
            entropy=result.entropy,
            variance=result.variance,
            mutual_information=result.mutual_information,
            voting=result.voting,
            entropy_bound=result.entropy_bound,
            features=decoder_features(result.features, case.network_geometry, keep(values)),
        )

    def load(self, settings: Settings) -> Any:
        """The network on the device that the settings name; it is kept for the next call with the same device."""
        from activeseg.segmenters.nnunet.network import Network

        device = resolve_device(settings.device)
        if self._network is None or self._network.device != device:
            self._network = Network.load(self.folder, device=device)
        return self._network

    def _preprocess(self, network: Any, volumes: list[Volume], box_kji: Box | None = None) -> PreprocessedCase:
        """All of the images, or what the network needs of them to look at a box."""
        import torch

        predictor = network.predictor
        oriented = [self._reader(volume) for volume in volumes]
        if box_kji is not None:
            from activeseg.segmenters.nnunet.features import around

            oriented = [around(image, volumes[0].geometry, box_kji, network) for image in oriented]
        stack = np.stack([o.array for o in oriented]).astype(np.float32, copy=False)
        data, properties = preprocessed(predictor, stack, {"spacing": oriented[0].spacing_kji}, self._name)
        return PreprocessedCase(
            torch.from_numpy(data),
            properties,
            tuple(predictor.plans_manager.transpose_forward),
            tuple(predictor.plans_manager.transpose_backward),
            oriented[0],
        )


def _one_grid(images: Mapping[str, Volume], channels: tuple[str, ...]) -> list[Volume]:
    missing = [name for name in channels if name not in images]
    if missing:
        raise InputError(
            f"The model needs {len(channels)} images ({', '.join(channels)}); '{missing[0]}' is missing.",
            f"Give the image of channel '{missing[0]}', too.",
            setting="channel",
        )
    volumes = [images[name] for name in channels]
    for name, volume in zip(channels, volumes, strict=True):
        if not volume.geometry.same_voxels(volumes[0].geometry):
            raise InputError(
                f"The image of channel '{name}' lies on another grid than that of '{channels[0]}'.",
                "Resample it to the first image's grid.",
            )
    return [volume.in_order_of(volumes[0].geometry) for volume in volumes]


def _subset(schema: LabelSchema, structures: tuple[str, ...]) -> Callable[[LabelArray], LabelArray]:
    """Keeps the chosen structures of a label map and makes the rest background."""
    if not structures:
        return lambda labels: labels
    table = np.zeros(len(schema) + 1, np.uint16)
    for name in structures:
        value = schema.named(name).value
        table[value] = value
    return lambda labels: np.asarray(table[labels], labels.dtype)


def open_named(rest: str) -> NnUNetSegmenter | None:
    """``nnunet:<model folder>``; None where no folder is named."""
    return NnUNetSegmenter(Path(rest)) if rest else None

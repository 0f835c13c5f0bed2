"""What a trained model's JSON files tell about its size, without loading it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.core.geometry import Geometry
from activeseg.segmenters.nnunet.model_folder_check import check_model_folder


@dataclass(frozen=True)
class NetworkSize:
    """One network of nnU-Net's U-Net family.

    Attributes
    ----------
    spacing, patch : of the network's grid (z, y, x); a flat patch (2d) has 1 along z
    features, strides, kernels : for each stage of the encoder, finest first
    encoder_convs, decoder_convs : convolutions of each stage
    heads : output channels
    channels : input channels
    folds : trained members that would be loaded
    weight_bytes : of one member
    helps : whether its trained members alone are asked, to find the place for other networks or to vote beside them
    """

    spacing: tuple[float, float, float]
    patch: tuple[int, int, int]
    features: tuple[int, ...]
    strides: tuple[int, ...]
    kernels: tuple[int, ...]
    encoder_convs: tuple[int, ...]
    decoder_convs: tuple[int, ...]
    heads: int
    channels: int
    folds: int
    weight_bytes: int
    helps: bool = False

    @property
    def patch_voxels(self) -> int:
        return math.prod(self.patch)

    def grid(self, geometry: Geometry) -> tuple[int, int, int]:
        """Shape of the image on the network's grid, at least one patch along each axis (nnU-Net pads)."""
        steps = zip(geometry.shape_kji, geometry.spacing_xyz[::-1], self.spacing, self.patch, strict=True)
        k, j, i = (max(round(n * own / (wanted or own)), least) for n, own, wanted, least in steps)
        return k, j, i

    def tiles(self, grid: Sequence[int], step: float = 0.5) -> int:
        """How often the patch is laid over a grid (nnU-Net's ``compute_steps_for_sliding_window``)."""
        counts = [math.ceil((n - p) / max(p * step, 1)) + 1 for n, p in zip(grid, self.patch, strict=True)]
        return math.prod(counts)

    def flops(self) -> float:
        """Of one tile: two for each multiplication in convolutions, transposed convolutions and the head."""
        sizes, voxels = [], float(self.patch_voxels)
        for stride in self.strides:
            voxels /= stride
            sizes.append(voxels)
        total, before = 0.0, self.channels
        for size, wide, kernel, count in zip(sizes, self.features, self.kernels, self.encoder_convs, strict=True):
            total += 2 * size * kernel * wide * (before + (count - 1) * wide)
            before = wide
        for stage, count in enumerate(self.decoder_convs):
            wide, deeper = self.features[stage], self.features[stage + 1]
            total += 2 * sizes[stage] * wide * deeper
            total += 2 * sizes[stage] * self.kernels[stage] * wide * (2 * wide + (count - 1) * wide)
        return total + 2 * sizes[0] * self.features[0] * self.heads


def read_size(folder: Path, configuration: str, folds: int | None = None) -> NetworkSize | None:
    """From ``plans.json`` and ``dataset.json``; None for files that are missing or not of the U-Net family.

    ``folds`` None counts the checkpoints that are there. Raises ModelError for a folder that may not be used.
    """
    checkpoints = sorted(folder.glob("fold_*/checkpoint_final.pth"))
    if not checkpoints or not (folder / "plans.json").exists():
        return None
    model = check_model_folder(folder)
    try:
        weights = checkpoints[0].stat().st_size
        return size_of(model.configurations[configuration], model.dataset, folds or len(checkpoints), weights)
    except (OSError, KeyError, IndexError, TypeError, ValueError):
        return None


def size_of(configuration: Mapping[str, Any], dataset: Mapping[str, Any], folds: int, weight_bytes: int) -> NetworkSize:
    """Raises KeyError, TypeError or ValueError when the plans say something else than expected."""
    kwargs = configuration["architecture"]["arch_kwargs"]
    stages = int(kwargs["n_stages"])

    def each(value: Any, count: int) -> tuple[int, ...]:
        return (int(value),) * count if isinstance(value, int) else tuple(int(v) for v in value)

    def product(value: Any) -> int:
        return int(value) ** 3 if isinstance(value, int) else math.prod(int(v) for v in value)

    if "n_conv_per_stage" in kwargs:
        encoder = each(kwargs["n_conv_per_stage"], stages)
    else:  # residual blocks of two convolutions
        encoder = tuple(2 * blocks for blocks in each(kwargs["n_blocks_per_stage"], stages))
    patch = [int(n) for n in configuration["patch_size"]]
    spacing = [float(s) for s in configuration["spacing"]]
    if len(patch) == 2:
        patch, spacing = [1, *patch], [0.0, *spacing]
    labels = [name for name in dataset["labels"] if name != "ignore"]
    regions = any(isinstance(value, list) and len(value) > 1 for value in dataset["labels"].values())
    return NetworkSize(
        spacing=(spacing[0], spacing[1], spacing[2]),
        patch=(patch[0], patch[1], patch[2]),
        features=each(kwargs["features_per_stage"], stages),
        strides=tuple(product(stride) for stride in kwargs["strides"]),
        kernels=tuple(product(kernel) for kernel in kwargs["kernel_sizes"]),
        encoder_convs=encoder,
        decoder_convs=each(kwargs["n_conv_per_stage_decoder"], stages - 1),
        heads=len(labels) - 1 if regions else len(labels),
        channels=len(dataset.get("channel_names") or dataset.get("modality") or {"0": "CT"}),
        folds=folds,
        weight_bytes=weight_bytes,
    )

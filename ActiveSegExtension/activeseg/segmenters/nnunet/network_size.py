"""What a trained model's JSON files tell about its size, without loading it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from activeseg.core.network_size import NetworkSize
from activeseg.segmenters.nnunet.model_folder_check import check_model_folder


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


def read_only_size(folder: Path) -> NetworkSize | None:
    """As ``read_size``, of a model folder whose name does not tell the configuration."""
    for configuration in ("3d_fullres", "3d_lowres", "2d"):
        size = read_size(folder, configuration)
        if size is not None:
            return size
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

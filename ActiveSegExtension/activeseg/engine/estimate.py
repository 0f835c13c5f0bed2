"""What a segmentation will need: RAM, GPU memory and time, from sizes alone.

The formulas follow the arrays that ``ensemble.py`` and ``network.py`` allocate. V is the number of voxels on the
network's grid, V0 on the image's, P in the patch, C classes, F decoder features, M members, T trained ones; bytes:

* image: 4 V0 as float32 and 16 V0 for resampling it in float64, then 4 V
* one tile: 4 P (6 F + sum of the deeper stages' features) and its output 8 P W, W = F with feature blending, else C
* fast, one member on one grid: two windows of sums, 8 W x patch depth x plane
* fast, several members: features 2 F V M where that is less than sums of logits and probabilities, 8 C V
* exact: 2 C V for a member's logits, 2 C V for their mean if T > 1, 4 C V for probabilities if M > 1
* maps and votes: (12 + M) V; resampling to the image's grid: 24 V0, one class at a time
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from activeseg.engine.plans import NetworkSize, read_size
from activeseg.segmenters.base import Mode, Segmenter, Settings
from activeseg.volume import Geometry

MIB = 1 << 20
LIBRARIES = 256 * MIB
"""What nnU-Net takes when it is imported; torch is there already, because the device was asked for."""
MARGIN = 1.25
SLACK = 192 * MIB
"""Allocators hold more than they are asked for: threads' arenas and stacks, oneDNN's buffers (measured)."""
CUDA_CONTEXT = 512 * MIB
VIEWS_ON_GPU = 6


@dataclass(frozen=True)
class Need:
    """Bytes and work of one run; ``vram`` is 0 without a GPU, ``flops`` 0 where they are unknown."""

    ram: int
    vram: int = 0
    voxels: int = 0
    tiles: int = 0
    members: int = 1
    classes: int = 0
    flops: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """What a job will need, beside what is free.

    Attributes
    ----------
    seconds : in all; None when nothing is known
    stages_s : the same for the stages that are known, in their order
    basis : where the seconds come from: ``last run``, ``timed`` or ``unknown``
    """

    need: Need
    ram_free: int
    vram_free: int | None
    seconds: float | None = None
    stages_s: Mapping[str, float] = field(default_factory=dict)
    basis: str = "unknown"

    @property
    def fits(self) -> bool:
        return self.need.ram <= self.ram_free and (self.vram_free is None or self.need.vram <= self.vram_free)

    def to_dict(self) -> dict[str, Any]:
        return {
            "ram_bytes": self.need.ram,
            "ram_free_bytes": self.ram_free,
            "vram_bytes": self.need.vram,
            "vram_free_bytes": self.vram_free,
            "seconds": self.seconds,
            "stages_s": dict(self.stages_s),
            "basis": self.basis,
            "fits": self.fits,
            "network_voxels": self.need.voxels,
            "tiles": self.need.tiles,
            "members": self.need.members,
            "classes": self.need.classes,
        }


def network_sizes(segmenter: Segmenter, settings: Settings) -> list[NetworkSize]:
    """The networks that a run will load one after the other; empty where there are none or nothing is known."""
    from activeseg.segmenters.nnunet import NnUNetSegmenter
    from activeseg.segmenters.totalsegmentator import TotalSegmentatorSegmenter

    found: list[NetworkSize | None] = []
    if isinstance(segmenter, NnUNetSegmenter):
        found.append(read_size(segmenter.folder, segmenter.folder.name.split("__")[-1]) or _only(segmenter))
    elif isinstance(segmenter, TotalSegmentatorSegmenter):
        for model in segmenter.models(settings):
            folder = segmenter.user.weights / model.dataset / model.trained
            found.append(read_size(folder, model.configuration, len(model.folds) if model.folds else None))
    return [size for size in found if size is not None]


def _only(segmenter: Any) -> NetworkSize | None:
    """A model folder of any name: the configuration that its plans have."""
    for configuration in ("3d_fullres", "3d_lowres", "2d"):
        size = read_size(segmenter.folder, configuration)
        if size is not None:
            return size
    return None


def member_count(size: NetworkSize, settings: Settings, on_gpu: bool) -> int:
    """As ``ensemble.plan_members``."""
    if settings.members == "auto":
        return size.folds if size.folds > 1 or not on_gpu else VIEWS_ON_GPU
    return int(settings.members)


def need_of(
    geometry: Geometry,
    sizes: Sequence[NetworkSize],
    settings: Settings,
    on_gpu: bool = False,
    pieces: int = 1,
    loaded: bool = False,
    copies: int = 1,
) -> Need:
    """The most that a run needs at one time; several networks run one after the other, their weights stay.

    Parameters
    ----------
    pieces : in how many pieces along z the image is segmented
    loaded : whether libraries and weights are in memory already
    copies : float64 copies of the image that the caller's package keeps (TotalSegmentator: four)
    """
    voxels0 = geometry.shape_kji[0] * geometry.shape_kji[1] * geometry.shape_kji[2]
    image = voxels0 * (4 + 16 + 8 * (copies - 1))
    if not sizes:
        return Need(ram=int(MARGIN * (image + 20 * voxels0)) + SLACK)
    parts = [_part(geometry, size, settings, on_gpu, pieces) for size in sizes]
    biggest = max(parts, key=lambda part: part.ram)
    weights = sum(size.weight_bytes * (size.folds + 1) for size in sizes)
    kept = 0 if loaded else LIBRARIES + weights
    return Need(
        ram=int(MARGIN * (kept + image + biggest.ram + 24 * voxels0)) + SLACK,
        vram=max(part.vram for part in parts) + weights + CUDA_CONTEXT if on_gpu else 0,
        voxels=sum(part.voxels for part in parts),
        tiles=sum(part.tiles for part in parts),
        members=biggest.members,
        classes=biggest.classes,
        flops=sum(part.flops for part in parts),
    )


def _part(geometry: Geometry, size: NetworkSize, settings: Settings, on_gpu: bool, pieces: int) -> Need:
    k, j, i = size.grid(geometry)
    k = max(-(-k // pieces), size.patch[0])
    voxels, plane = k * j * i, j * i
    members = member_count(size, settings, on_gpu)
    trained = min(size.folds, members)
    classes, wide = size.heads, size.features[0]
    exact = settings.mode is Mode.EXACT
    by_features = not exact and wide < classes
    output = wide if by_features else classes
    deeper = sum(
        features * size.patch_voxels // _divided(size.strides[: stage + 1])
        for stage, features in enumerate(size.features)
        if stage > 0
    )
    tile = 4 * (6 * wide * size.patch_voxels + deeper) + 8 * size.patch_voxels * output
    if exact:
        kept = 2 * classes * voxels * (2 if trained > 1 else 1) + (4 * classes * voxels if members > 1 else 0)
    elif members == 1:
        kept = 4 * classes * voxels if not by_features else 2 * wide * voxels
    else:
        kept = min(2 * wide * members * voxels, 8 * classes * voxels)
    sums = 2 * classes * voxels + 2 * voxels if exact else 8 * output * size.patch[0] * plane
    maps = (12 + members) * voxels + 4 * classes * 8 * plane * 4
    data = 4 * size.channels * voxels
    tiles = size.tiles((k, j, i)) * pieces
    passes = members * (8 if settings.mirroring else 1)
    offload = on_gpu and settings.offload
    on_device = 0 if not on_gpu else tile // 2 + 4 * size.channels * size.patch_voxels + (0 if offload else sums + data)
    ram = kept + maps + data + (0 if on_gpu else tile) + (0 if on_gpu and not offload else sums)
    return Need(ram, on_device, voxels, tiles * passes, members, classes, tiles * passes * size.flops())


def _divided(strides: Sequence[int]) -> int:
    product = 1
    for stride in strides:
        product *= stride
    return product


def timed_rate(device: Any, threads: int = 0) -> float:
    """Floating point operations per second of a small convolution on a torch device, as in a U-Net's first stages."""
    import torch

    layer = torch.nn.Conv3d(32, 32, 3, padding=1).to(device).eval()
    image = torch.zeros((1, 32, 32, 64, 64), device=device)
    flops = 2.0 * 27 * 32 * 32 * 32 * 64 * 64
    best = 0.0
    with torch.inference_mode():
        for _ in range(3):  # the first one prepares
            started = time.perf_counter()
            float(layer(image)[0, 0, 0, 0, 0])  # reading a value waits for a GPU
            best = max(best, flops / (time.perf_counter() - started))
    return best

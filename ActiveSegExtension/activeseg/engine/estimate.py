"""What a segmentation will need: RAM, GPU memory and time, from sizes alone.

A run has phases that follow one another, and the need is that of the greatest one. V is the number of voxels on the
network's grid, V0 on the image's, P in the patch, C classes, F decoder features, W = F where features are blended and
else C, M members. Bytes, those for V0 measured (``Testing/benchmarks/memory.py``), the others counted
in ``ensemble.py`` and ``network.py``:

* preparing the image in float64: ``_Image.preparing`` V0 + 48 V
* network: ``_Image.held`` V0 + 4 V for its image, one tile, sums and what is kept of each member:

  * a tile: 24 F P and the deeper stages' features within the network, 4 (2.5 F + 2 W) P at its end
  * fast: two windows of sums, 8 W x patch depth x plane, where there are several tiles; kept are features 2 F V M
    where that is less than sums of logits and probabilities, 8 C V, and nothing of a lone member whose label is decided
    on this grid
  * exact: 2 C V for a member's logits, and if M > 1 2 C V for the mean and 4 C V for probabilities
  * maps and votes: (12 + M) V, and probabilities of some planes

* resampling to the image's grid, one class at a time: ``_Image.back`` V0 and what is kept
* regions: (44 + M) V + 6 V0
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
class _Image:
    """Bytes for each voxel of the image that a package takes while it prepares, while the network runs, and after."""

    preparing: int
    held: int
    back: int


_NNUNET, _TOTALSEGMENTATOR = _Image(40, 5, 28), _Image(32, 18, 18)


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
    totalsegmentator: bool = False,
) -> Need:
    """The most that a run needs at one time; several networks run one after the other, their weights stay.

    Parameters
    ----------
    pieces : in how many pieces along z the image is segmented
    loaded : whether libraries and weights are in memory already
    totalsegmentator : whether its package prepares the image and takes the label on the network's grid
    """
    voxels0 = geometry.shape_kji[0] * geometry.shape_kji[1] * geometry.shape_kji[2]
    if not sizes:  # the image's own grid is the only one
        return Need(ram=int(MARGIN * 48 * voxels0) + SLACK)
    image = _TOTALSEGMENTATOR if totalsegmentator else _NNUNET
    parts = [_part(geometry, size, settings, on_gpu, pieces, image) for size in sizes]
    biggest = max(parts, key=lambda part: part.ram)
    weights = sum(size.weight_bytes * (size.folds + 1) for size in sizes)
    kept = 0 if loaded else LIBRARIES + weights
    return Need(
        ram=int(MARGIN * (kept + biggest.ram)) + SLACK,
        vram=max(part.vram for part in parts) + weights + CUDA_CONTEXT if on_gpu else 0,
        voxels=sum(part.voxels for part in parts),
        tiles=sum(part.tiles for part in parts),
        members=biggest.members,
        classes=biggest.classes,
        flops=sum(part.flops for part in parts),
    )


def _part(geometry: Geometry, size: NetworkSize, settings: Settings, on_gpu: bool, pieces: int, image: _Image) -> Need:
    k, j, i = size.grid(geometry)
    voxels0 = geometry.shape_kji[0] * geometry.shape_kji[1] * geometry.shape_kji[2]
    same_grid = image is _TOTALSEGMENTATOR or (k, j, i) == geometry.shape_kji
    whole = k * j * i
    k = max(-(-k // pieces), size.patch[0])
    voxels, plane = k * j * i, j * i
    members = member_count(size, settings, on_gpu)
    classes, wide = size.heads, size.features[0]
    exact = settings.mode is Mode.EXACT
    lone = members == 1 and same_grid
    as_features = not exact and not lone and 2 * wide * members < 8 * classes
    output = wide if as_features or (not exact and wide < classes) else classes
    deeper = sum(
        features * size.patch_voxels // _divided(size.strides[: stage + 1])
        for stage, features in enumerate(size.features)
        if stage > 0
    )
    tile = max(4 * (6 * wide * size.patch_voxels + deeper), 4 * size.patch_voxels * (5 * wide + 4 * output) // 2)
    if exact:
        logits, kept = 2 * classes * voxels, 6 * classes * voxels if members > 1 else 0
        sums = logits + 2 * voxels
    else:
        logits = 0 if lone else 2 * wide * members * voxels if as_features else 8 * classes * voxels
        kept, sums = logits, 8 * output * size.patch[0] * plane if size.tiles((k, j, i)) > 1 else 0
    maps = (12 + members) * voxels + 4 * classes * 8 * plane * 4
    data = 4 * size.channels * voxels
    tiles = size.tiles((k, j, i)) * pieces
    passes = members * (8 if settings.mirroring else 1)
    offload = on_gpu and settings.offload
    on_device = 0 if not on_gpu else tile // 2 + 4 * size.channels * size.patch_voxels + (0 if offload else sums + data)
    network = kept + maps + data + (0 if on_gpu else tile) + (sums if not on_gpu or offload else logits if exact else 0)
    ram = max(
        size.channels * (image.preparing * voxels0 + 48 * voxels),
        size.channels * image.held * voxels0 + network,
        image.back * voxels0 + logits + maps,
        (44 + members) * whole + 6 * voxels0,
    )
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

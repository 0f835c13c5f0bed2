"""What a segmentation will need: RAM, GPU memory and time, from sizes alone.

The first run of a model is bounded from above, simply: by the image, the network's patch, features and classes. What
it then really takes is measured, and bounds the next ones (``Calibration.peak``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from activeseg.core.geometry import Geometry
from activeseg.core.network_size import NetworkSize, Overhead
from activeseg.core.segmenter import Mode, Settings

MIB = 1 << 20
LIBRARIES = 256 * MIB
"""What nnU-Net takes when it is imported; torch is there already, because the device was asked for."""
MARGIN = 1.25
SLACK = 192 * MIB
"""Allocators hold more than they are asked for: threads' arenas and stacks, oneDNN's buffers (measured)."""
CUDA_CONTEXT = 512 * MIB
PIECES = 3
"""In how many ``Settings.in_pieces`` cuts an image along z."""
_BY_MEMBERS = ("network", "uncertainty")  # stages that take as long as there are members
_MIRRORED_PASSES = 8
_SLAB = 8  # planes whose probabilities exist at a time


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
    seconds
        In all; None when nothing is known.
    stages_s
        The same for the stages that are known, in their order.
    basis
        Where the seconds come from: ``last run``, ``timed`` or ``unknown``.
    label_stages_s
        The stages of a first pass, after which the label is told; empty without one.
    """

    need: Need
    ram_free: int
    vram_free: int | None
    seconds: float | None = None
    stages_s: Mapping[str, float] = field(default_factory=dict)
    basis: str = "unknown"
    label_stages_s: Mapping[str, float] = field(default_factory=dict)

    def with_label_first(self, share: float) -> Estimate:
        """With a first pass of the trained members alone, that are ``share`` of all members."""
        first = {stage: s * (share if stage in _BY_MEMBERS else 1.0) for stage, s in self.stages_s.items()}
        rounded = {stage: round(seconds, 3) for stage, seconds in first.items()}
        seconds = None if self.seconds is None else round(self.seconds + sum(first.values()), 1)
        return replace(self, label_stages_s=rounded, seconds=seconds)

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
            "label_stages_s": dict(self.label_stages_s),
            "fits": self.fits,
            "network_voxels": self.need.voxels,
            "tiles": self.need.tiles,
            "members": self.need.members,
            "classes": self.need.classes,
        }


def need_of(
    geometry: Geometry,
    sizes: Sequence[NetworkSize],
    settings: Settings,
    overhead: Overhead,
    device: str = "cpu",
    loaded: bool = False,
) -> Need:
    """The most that a run needs at one time; several networks run one after the other, their weights stay.

    Parameters
    ----------
    device
        ``cpu``, ``cuda`` or ``mps``.
    loaded
        Whether libraries and weights are in memory already.
    """
    voxels0, on_gpu = math.prod(geometry.shape_kji), device == "cuda"
    if not sizes:  # rules on the image's own grid, or a network of a family whose size is unknown
        return Need(ram=int(MARGIN * 48 * voxels0) + SLACK)
    maps = [(13 + settings.members_of(size, device != "cpu")) * math.prod(size.grid(geometry)) for size in sizes]
    parts = [
        _part(geometry, size, settings, overhead, device, sum(maps) - own)
        for size, own in zip(sizes, maps, strict=True)
    ]
    biggest = max(parts, key=lambda part: part.ram)
    kept = 0 if loaded else LIBRARIES + sum(size.weight_bytes * (size.folds + 1) for size in sizes)
    on_device = 0 if loaded else sum(size.weight_bytes for size in sizes)  # one member's at a time
    return Need(
        ram=int(MARGIN * (kept + biggest.ram)) + SLACK,
        vram=max(part.vram for part in parts) + on_device + CUDA_CONTEXT if on_gpu else 0,
        voxels=sum(part.voxels for part in parts),
        tiles=sum(part.tiles for part in parts),
        members=biggest.members,
        classes=biggest.classes,
        flops=sum(part.flops for part in parts),
    )


def _part(
    geometry: Geometry, size: NetworkSize, settings: Settings, overhead: Overhead, device: str, others: int
) -> Need:
    """One network's; ``others``: bytes of maps that the other networks keep. All in bytes for each voxel."""
    grid = size.grid(geometry)
    pieces = PIECES if settings.in_pieces else 1
    shape = (max(-(-grid[0] // pieces), size.patch[0]), *grid[1:])
    voxels0, whole, voxels, plane = (math.prod(n) for n in (geometry.shape_kji, grid, shape, shape[1:]))
    members, tiles = settings.members_of(size, device != "cpu"), size.tiles(shape)
    exact, views = settings.mode is Mode.EXACT, members > size.folds
    mirrors = overhead.mirrors and (exact if settings.mirroring is None else settings.mirroring)
    classes, wide = size.heads, size.features[0]
    blended = classes if exact else min(wide, 4 * classes)  # channels of a tile's output
    tile = 4 * size.patch_voxels * (max(7 * wide, 3 * wide + 2 * blended) + blended * mirrors)
    if exact:  # float16 logits of one member; of several also their mean and sums of probabilities
        member, logits = 2 * classes * voxels, 2 * classes * voxels
        kept, sums = 6 * classes * voxels if members > 1 else 0, logits + 2 * voxels
    else:  # features of all members, or sums over them; nothing of a lone member decided on this grid
        member, logits = 4 * blended * voxels, 0
        lone = members == 1 and (overhead.resamples or grid == geometry.shape_kji)
        kept = 0 if lone else min(2 * wide * members, 8 * classes) * voxels
        sums = 8 * blended * size.patch[0] * plane if tiles > 1 else 0
    moved = member + 76 * voxels if views else 0  # a view that comes back to the network's grid
    image = 4 * size.channels * voxels
    maps = (13 + 2 * members) * whole + 4 * classes * _SLAB * plane * 4 + others
    at_work = tile + sums if device != "cuda" else sums if settings.offload else logits
    held = image * (4 if views else 1) + kept + maps + max(at_work, moved + logits)
    ram = max(
        size.channels * (overhead.preparing * voxels0 + 48 * voxels),
        size.channels * overhead.held * voxels0 + held,
        overhead.back * voxels0 + logits + kept + maps,
        (44 + members) * whole + 6 * voxels0 + others,
    )
    vram = 0
    if device == "cuda":  # half precision
        vram = tile // 2 + 4 * size.channels * size.patch_voxels + (0 if settings.offload else sums + image)
    passes = tiles * pieces * members * (_MIRRORED_PASSES if mirrors else 1)
    return Need(ram, vram, voxels, passes, members, classes, passes * size.flops())

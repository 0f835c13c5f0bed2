"""What a segmentation will need: RAM, GPU memory and time, from sizes alone.

A run has phases that follow one another, and the need is that of the greatest one. V is the number of voxels on the
network's grid, V0 on the image's, P in the patch, c channels, C classes, F decoder features, W = F where features are
blended and else C, M members. Bytes, those for V0 measured (``Testing/benchmarks/memory.py``), the others counted in
``ensemble.py``, ``network.py`` and ``views.py``:

* preparing the image in float64: c (``Package.preparing`` V0 + 48 V)
* network: ``Package.held`` c V0 + 4 c V for its image (16 c V with views), sums and what is kept of each member, and

  * a tile: 24 F P and the deeper stages' features within the network, 4 (2.5 F + 2 W) P at its end, 4 W P more when
    mirrored
  * or one member that comes back from a view that moved it: one more copy of it and 76 V

  where sums and what is kept are

  * fast: two windows of sums, 8 W x patch depth x plane, where there are several tiles; kept are features 2 F V M
    where that is less than sums of logits and probabilities, 8 C V (and the member that comes back, 4 W V), and nothing
    of a lone member whose label is decided on this grid
  * exact: 2 C V for a member's logits, and if M > 1 2 C V for the mean and 4 C V for probabilities
  * maps, votes and reaches: (13 + 2 M) V, and probabilities of some planes

* resampling to the image's grid, one class at a time: ``Package.back`` V0 and what is kept
* regions: (44 + M) V + 6 V0

Of several networks the greatest counts, and the maps and votes of all, for they stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from activeseg.core.geometry import Geometry
from activeseg.core.segmenter import Mode, Resample, Segmenter, Settings
from activeseg.segmenters.nnunet.network_size import NetworkSize, read_size

MIB = 1 << 20
LIBRARIES = 256 * MIB
"""What nnU-Net takes when it is imported; torch is there already, because the device was asked for."""
MARGIN = 1.25
SLACK = 192 * MIB
"""Allocators hold more than they are asked for: threads' arenas and stacks, oneDNN's buffers (measured)."""
CUDA_CONTEXT = 512 * MIB
VIEWS_ON_GPU = 6


@dataclass(frozen=True)
class Package:
    """What the package around the network takes for each voxel of the image, in bytes.

    Attributes
    ----------
    preparing, held, back : while it prepares the image, while the network runs, and while the label comes back
    resamples : whether it brings the image to the network's grid and the label back, so that no logits are resampled
    """

    preparing: int
    held: int
    back: int
    resamples: bool = False


NNUNET = Package(40, 5, 28)
TOTALSEGMENTATOR = Package(32, 18, 18, resamples=True)
TOTALSEGMENTATOR_BY_NNUNET = Package(40, 18, 41)
"""Tasks that leave resampling to nnU-Net, as all do when it is to be smooth: the sum of what both hold."""


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


def itself(segmenter: Segmenter) -> Segmenter:
    """The model that does the work, where a project only adds structures to its schema."""
    wrapped: Segmenter = getattr(segmenter, "wrapped", segmenter)
    return wrapped


def network_sizes(segmenter: Segmenter, settings: Settings, on_gpu: bool = False) -> list[NetworkSize]:
    """The networks that a run will load, those that help first; empty where there are none or nothing is known."""
    from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter
    from activeseg.segmenters.totalsegmentator.segmenter import TotalSegmentatorSegmenter

    segmenter = itself(segmenter)
    if isinstance(segmenter, NnUNetSegmenter):
        size = read_size(segmenter.folder, segmenter.folder.name.split("__")[-1]) or _only(segmenter)
        return [size] if size else []
    if not isinstance(segmenter, TotalSegmentatorSegmenter):
        return []

    def of(models: Sequence[Any]) -> list[NetworkSize]:
        root = segmenter.user.weights
        found = [read_size(m.folder(root), m.configuration, len(m.folds) if m.folds else None) for m in models]
        return [size for size in found if size is not None]

    parts, helpers = of(segmenter.task.parts(settings.structures)), list(segmenter.task.helpers(settings.structures))
    beside = segmenter.beside(settings)
    if beside and parts and member_count(parts[-1], settings, on_gpu) > parts[-1].folds:
        helpers.append(beside)
    return [replace(size, helps=True) for size in of(helpers)] + parts


def _only(segmenter: Any) -> NetworkSize | None:
    """A model folder of any name: the configuration that its plans have."""
    for configuration in ("3d_fullres", "3d_lowres", "2d"):
        size = read_size(segmenter.folder, configuration)
        if size is not None:
            return size
    return None


def package_of(segmenter: Segmenter, settings: Settings) -> Package:
    """Which package prepares the image for a segmenter's networks."""
    from activeseg.segmenters.totalsegmentator.segmenter import TotalSegmentatorSegmenter

    segmenter = itself(segmenter)
    if not isinstance(segmenter, TotalSegmentatorSegmenter):
        return NNUNET
    own = segmenter.task.spacing_xyz is not None and settings.resample is Resample.GENUINE
    return TOTALSEGMENTATOR if own else TOTALSEGMENTATOR_BY_NNUNET


def member_count(size: NetworkSize, settings: Settings, on_gpu: bool) -> int:
    """As ``ensemble.plan_members``."""
    if size.helps:
        return size.folds
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
    package: Package = NNUNET,
) -> Need:
    """The most that a run needs at one time; several networks run one after the other, their weights stay.

    Parameters
    ----------
    pieces : in how many pieces along z the image is segmented
    loaded : whether libraries and weights are in memory already
    package : of ``package_of``
    """
    voxels0 = math.prod(geometry.shape_kji)
    if not sizes:  # rules on the image's own grid, or a network of a family of unknown size
        return Need(ram=int(MARGIN * 48 * voxels0) + SLACK)
    maps = [(13 + member_count(size, settings, on_gpu)) * math.prod(size.grid(geometry)) for size in sizes]
    parts = [
        _part(geometry, size, settings, on_gpu, pieces, package, sum(maps) - own)
        for size, own in zip(sizes, maps, strict=True)
    ]
    biggest = max(parts, key=lambda part: part.ram)
    weights = sum(size.weight_bytes * (size.folds + 1) for size in sizes)
    kept = 0 if loaded else LIBRARIES + weights
    on_device = sum(size.weight_bytes for size in sizes)  # one member's at a time
    return Need(
        ram=int(MARGIN * (kept + biggest.ram)) + SLACK,
        vram=max(part.vram for part in parts) + (0 if loaded else on_device) + CUDA_CONTEXT if on_gpu else 0,
        voxels=sum(part.voxels for part in parts),
        tiles=sum(part.tiles for part in parts),
        members=biggest.members,
        classes=biggest.classes,
        flops=sum(part.flops for part in parts),
    )


def _part(
    geometry: Geometry,
    size: NetworkSize,
    settings: Settings,
    on_gpu: bool,
    pieces: int,
    package: Package,
    others: int,
) -> Need:
    """One network's; ``others``: bytes that the other networks keep."""
    whole_shape = size.grid(geometry)
    shape = (max(-(-whole_shape[0] // pieces), size.patch[0]), *whole_shape[1:])
    voxels0, whole = math.prod(geometry.shape_kji), math.prod(whole_shape)
    voxels, plane = math.prod(shape), math.prod(shape[1:])
    members = member_count(size, settings, on_gpu)
    views, exact = members > size.folds, settings.mode is Mode.EXACT
    classes, wide, patch = size.heads, size.features[0], size.patch_voxels
    lone = members == 1 and (package.resamples or whole_shape == geometry.shape_kji)
    as_features = not exact and not lone and 2 * wide * members < 8 * classes
    output = wide if as_features or (not exact and wide < classes) else classes
    mirrors = package is NNUNET and (exact if settings.mirroring is None else settings.mirroring)
    deeper = sum(
        features * patch // math.prod(size.strides[: stage + 1])
        for stage, features in enumerate(size.features)
        if stage > 0
    )
    tile = max(4 * (6 * wide * patch + deeper), 2 * patch * (5 * wide + 4 * output)) + 4 * output * patch * mirrors
    tiles = size.tiles(shape)
    if exact:
        member = logits = 2 * classes * voxels  # of one, and what is resampled
        kept, sums = 6 * classes * voxels if members > 1 else 0, logits + 2 * voxels
    else:
        member = (2 * wide if as_features else 4 * output) * voxels
        kept = logits = 0 if lone else 2 * wide * members * voxels if as_features else 8 * classes * voxels
        kept += member if views and not as_features else 0
        sums = 8 * output * size.patch[0] * plane if tiles > 1 else 0
    moved = member + 76 * voxels if views else 0
    data = 4 * size.channels * voxels
    maps = (13 + 2 * members) * whole + 4 * classes * 8 * plane * 4 + others
    offload = on_gpu and settings.offload
    on_device = 0 if not on_gpu else tile // 2 + 4 * size.channels * patch + (0 if offload else sums + data)
    here = (0 if on_gpu else tile) + (sums if not on_gpu or offload else logits if exact else 0)
    back = (member if exact else 0) + moved
    ram = max(
        size.channels * (package.preparing * voxels0 + 48 * voxels),
        size.channels * package.held * voxels0 + data * (4 if views else 1) + kept + maps + max(here, back),
        package.back * voxels0 + logits + maps,
        (44 + members) * whole + 6 * voxels0 + others,
    )
    passes = tiles * pieces * members * (8 if mirrors else 1)
    return Need(ram, on_device, voxels, passes, members, classes, passes * size.flops())

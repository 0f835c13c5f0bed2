"""How large the networks of a model are: what the memory and the time of a run follow from, before any is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from activeseg.core.geometry import Geometry


@dataclass(frozen=True)
class Overhead:
    """What the package around a network takes for each voxel of the image, in bytes.

    Attributes
    ----------
    preparing, held, back
        While it prepares the image, while the network runs, and while the label comes back.
    resamples
        Whether it brings the image to the network's grid and the label back, so that no logits are resampled.
    mirrors
        Whether exact mode mirrors unless it is told not to.
    """

    preparing: int
    held: int
    back: int
    resamples: bool = False
    mirrors: bool = False


@dataclass(frozen=True)
class NetworkSize:
    """One network of nnU-Net's U-Net family.

    Attributes
    ----------
    spacing, patch
        Of the network's grid (z, y, x), mm and voxels; a flat patch (2d) has 1 along z.
    features, strides, kernels
        For each stage of the encoder, finest first.
    encoder_convs, decoder_convs
        Convolutions of each stage.
    heads
        Output channels.
    channels
        Input channels.
    folds
        Trained members that would be loaded.
    weight_bytes
        Of one member.
    helps
        Whether its trained members alone are asked, to find the place for other networks or to vote beside them.
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

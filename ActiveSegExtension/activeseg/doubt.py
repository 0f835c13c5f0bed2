"""Doubt: uncertainty beyond what every surface has, and the structures that it is about (design section 6).

The surface of every structure is a little uncertain over a voxel or two. That shell is normal and says nothing about
where to look, so it is measured in the case itself (the median uncertainty at each depth from the surface of each
structure) and taken off. What is left is high where a surface is worse than the others, and inside and outside of
structures where there should be no uncertainty at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.segmenters.base import GridVotes

TUNE = {"q": 0.8, "usual": 0.75}
_SHELL_MM = 4.0  # how deep a normal shell reaches on either side of a surface
_MOST_STEPS = 3
_USUAL = 0.75  # quantile of the structures' medians that a normal shell does not exceed
_LEVELS = 256  # steps of the histograms that medians are read from
_LEAST_TOP = 0.1  # a case whose highest uncertainty is below this has nothing that deserves the full scale
_FEWEST_SURFACE_VOXELS = 30  # a median over fewer is left to the other structures


@dataclass(frozen=True)
class Doubt:
    """The N voxels of the network's grid that are in doubt.

    Attributes
    ----------
    at_kji : (3, N) voxel indices
    excess : (N,) uncertainty above the normal shell, as part of the case's highest uncertainty (0..1)
    said : (1 + M, N) the ensemble's label, then each member's vote
    """

    at_kji: npt.NDArray[np.int32]
    excess: npt.NDArray[np.float32]
    said: npt.NDArray[Any]

    def about(self, value: int) -> npt.NDArray[np.intp]:
        """Which of the N voxels belong to that structure: a member votes for it, or it is the label.

        0 stands for where nobody sees a structure.
        """
        if value == 0:
            return np.flatnonzero(~self.said.any(axis=0))
        found = self.said[0] == value
        for votes in self.said[1:]:
            found |= votes == value
        return np.flatnonzero(found)


def doubt_of(grid: GridVotes, uncertainty: npt.NDArray[np.float32], shell: float = 1.0, least: float = 0.05) -> Doubt:
    """Where ``uncertainty`` (k, j, i) is above the normal shell by more than ``least`` of its highest level.

    NaN (not computed) is no doubt. ``shell`` is how much of the normal shell is taken off: 1 all of it, 0 nothing.
    """
    top = _highest(uncertainty)
    if top <= 0:
        return Doubt(np.zeros((3, 0), np.int32), np.zeros(0, np.float32), np.zeros((1 + len(grid.votes), 0), np.uint8))
    excess = np.nan_to_num(uncertainty, nan=0.0) / np.float32(top)
    np.clip(excess, 0, 1, out=excess)
    if shell > 0:
        normal, place = normal_shell(grid, excess, np.isfinite(uncertainty))
        excess -= np.float32(shell) * normal[place]
    at = np.nonzero(excess > least)
    return Doubt(
        np.array(at, np.int32),
        excess[at],
        np.stack([grid.labels[at], *(vote[at] for vote in grid.votes)]),
    )


def normal_shell(
    grid: GridVotes, uncertainty: npt.NDArray[np.float32], known: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """The uncertainty that a structure's surface usually has, by structure and depth.

    Returns
    -------
    normal, place : ``normal[place]`` is the expected uncertainty of each voxel, 0 away from surfaces

    The median over a structure's own surface, but no more than the upper quartile of all structures' medians: a
    structure that is doubtful all around must not pass for normal.
    """
    owner, depth, depths = surfaces(grid)
    place = owner.astype(np.int32)
    place *= depths
    place += depth
    inside = (depth > 0) & known
    groups = (int(owner.max()) + 1) * depths
    level = (uncertainty[inside] * (_LEVELS - 1)).astype(np.int32)
    counts = np.bincount(place[inside] * _LEVELS + level, minlength=groups * _LEVELS).reshape(-1, depths, _LEVELS)
    number = counts.sum(axis=2)
    middle = (counts.cumsum(axis=2) >= TUNE["q"] * number[..., None]).argmax(axis=2) / (_LEVELS - 1)
    enough = number >= _FEWEST_SURFACE_VOXELS
    normal = np.zeros(number.shape, np.float32)
    for step in range(1, depths):
        if enough[:, step].any():
            usual = float(np.quantile(middle[enough[:, step], step], TUNE["usual"], method="nearest"))
            normal[:, step] = np.where(enough[:, step], np.minimum(middle[:, step], usual), usual)
    return normal.ravel(), place


def surfaces(grid: GridVotes) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8], int]:
    """Whose surface each voxel is near, and how deep it lies in that shell.

    Returns
    -------
    owner : (k, j, i) structure value; a background voxel near a structure has that structure's
    depth : (k, j, i) 0 = not near a surface, 1..S steps inside of it, S + 1..2S steps outside of it
    depths : 2S + 1

    A step is the smallest voxel spacing; coarser axes take part when as many mm have been walked (and in the first).
    """
    labels = grid.labels
    spacing_kji = grid.geometry.spacing_xyz[::-1]
    finest = min(spacing_kji)
    steps = int(np.clip(round(_SHELL_MM / finest), 1, _MOST_STEPS))
    owner = labels.copy()
    depth = np.zeros(labels.shape, np.uint8)
    for step in range(1, steps + 1):
        for axis, spacing in enumerate(spacing_kji):
            if step > 1 and int(step * finest / spacing) == int((step - 1) * finest / spacing):
                continue
            for here, there in _neighbours(labels.shape, axis):
                free = depth[here] == 0
                if step == 1:
                    touched = free & (labels[here] != labels[there])
                    outside = touched & (labels[here] == 0)
                else:
                    same = free & (labels[here] == labels[there])
                    outside = same & (depth[there] == steps + step - 1)
                    touched = outside | (same & (depth[there] == step - 1))
                depth[here][touched] = step
                depth[here][outside] = steps + step
                owner[here][outside] = owner[there][outside]
    return owner, depth, 2 * steps + 1


def _neighbours(shape: tuple[int, ...], axis: int) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """The two ways to pair voxels with their next one along an axis, as (here, there) slices."""
    low: list[slice] = [slice(None)] * len(shape)
    high: list[slice] = [slice(None)] * len(shape)
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return [(tuple(low), tuple(high)), (tuple(high), tuple(low))]


def _highest(uncertainty: npt.NDArray[np.float32]) -> float:
    """The level that counts as full uncertainty: nearly the maximum, so that a single voxel does not set the scale.

    It is relative because entropy is divided by log C: two equal candidates of 118 classes give 0.15.
    """
    found = uncertainty[uncertainty > 0.01]
    if not found.size:
        return 0.0
    rank = int(0.995 * (found.size - 1))
    return max(float(np.partition(found, rank)[rank]), _LEAST_TOP)

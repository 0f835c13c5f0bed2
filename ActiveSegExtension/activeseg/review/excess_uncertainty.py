"""Doubt: uncertainty beyond what every surface has, and the structures that it is about.

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

from activeseg.core.votes import GridVotes

_IDLE = 0.15  # this part of the highest doubt is taken off everywhere: so faint it is wrong too rarely
_LEAST_TOP = 0.1  # a case whose highest uncertainty is below this has nothing that deserves the full scale
_SHELL_MM = 4.0  # how deep a normal shell reaches on either side of a surface
_MOST_STEPS = 3
_LEVELS = 256  # steps of the histograms that medians are read from
_FEWEST_SURFACE_VOXELS = 30  # a median over fewer is left to the other structures


@dataclass(frozen=True)
class Doubt:
    """The N voxels of the network's grid that are in doubt.

    Attributes
    ----------
    at_kji : (3, N) voxel indices
    excess : (N,) doubt above the normal shell, as part of the case's highest (0..1)
    said : (1 + M, N) the ensemble's label, then each member's vote
    """

    at_kji: npt.NDArray[np.int32]
    excess: npt.NDArray[np.float32]
    said: npt.NDArray[Any]

    def about(self, value: int) -> npt.NDArray[np.intp]:
        """Which of the N voxels belong to that structure: a member votes for it, or it is the label.

        0 stands for voxels where no member sees a structure.
        """
        if value == 0:
            return np.flatnonzero(~self.said.any(axis=0))
        found = self.said[0] == value
        for votes in self.said[1:]:
            found |= votes == value
        return np.flatnonzero(found)


def doubt_of(grid: GridVotes, uncertainty: npt.NDArray[np.float32], shell: float = 1.0) -> Doubt:
    """Where the ensemble is in doubt beyond the normal shell.

    Parameters
    ----------
    uncertainty : (k, j, i) the measure to go by; NaN (not computed) is no doubt
    shell : how much of the normal shell is taken off: 1 all of it, 0 nothing

    Doubt is the mean of the measure and of the share of members that vote against the label, each divided by its
    highest level (the measure alone where no member ever does).
    """
    known = np.isfinite(uncertainty)
    excess = _scaled(np.where(known, uncertainty, np.float32(0)))
    dissent = _scaled(known * _dissent(grid))
    if dissent.any():
        excess = _scaled(np.asarray((excess + dissent) / 2, np.float32))
    if shell > 0:
        normal, place = normal_shell(grid, excess, known)
        excess -= np.float32(shell) * normal[place]
    excess -= np.float32(_IDLE)
    at = np.nonzero(excess > 0)
    return Doubt(
        np.array(at, np.int32),
        excess[at],
        np.stack([grid.labels[at], *(vote[at] for vote in grid.votes)]),
    )


def _dissent(grid: GridVotes) -> npt.NDArray[np.float32]:
    """The share of members that vote against the label, 0 where not all of them vote."""
    against = np.zeros(grid.labels.shape, np.uint8)
    for vote in grid.votes:
        against += vote != grid.labels
    if grid.voting is not None:
        against[grid.voting < len(grid.votes)] = 0
    return np.asarray(against / len(grid.votes), np.float32)


def _scaled(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Values as part of the case's high level, at most 1.

    That level is nearly the maximum, so that a single voxel does not set it. It is relative because a
    measure's values depend on the model and on how many members vote.
    """
    found = values[values > 0.01]
    if not found.size:
        return np.zeros_like(values)
    rank = int(0.995 * (found.size - 1))
    top = max(float(np.partition(found, rank)[rank]), _LEAST_TOP)
    return np.asarray(np.minimum(values / np.float32(top), 1), np.float32)


def normal_shell(
    grid: GridVotes, uncertainty: npt.NDArray[np.float32], known: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """The uncertainty that a structure's surface usually has, by structure and depth.

    Returns
    -------
    normal, place : ``normal[place]`` is the expected uncertainty of each voxel, 0 away from surfaces

    The median over a structure's own surface, but no more than the middle one of all structures' medians: a structure
    that is doubtful all around must not pass for normal.
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
    middle = (counts.cumsum(axis=2) >= 0.5 * number[..., None]).argmax(axis=2) / (_LEVELS - 1)
    enough = number >= _FEWEST_SURFACE_VOXELS
    normal = np.zeros(number.shape, np.float32)
    for step in range(1, depths):
        if enough[:, step].any():
            usual = float(np.quantile(middle[enough[:, step], step], 0.5, method="lower"))
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

"""Doubt: what of the uncertainty is worth a look, and the structures that it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.votes import GridVotes

_IDLE = 0.15  # this part of the highest doubt is taken off everywhere: so faint it is wrong too rarely
_LEAST_TOP = 0.1  # a case whose highest uncertainty is below this has nothing that deserves the full scale


@dataclass(frozen=True)
class Doubt:
    """The N voxels of the network's grid that are in doubt.

    Attributes
    ----------
    at_kji : (3, N) voxel indices
    excess : (N,) doubt beyond what is too faint to count, as part of the case's highest (0..1)
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


def doubt_of(grid: GridVotes, uncertainty: npt.NDArray[np.float32]) -> Doubt:
    """Where the ensemble is in doubt.

    Parameters
    ----------
    uncertainty : (k, j, i) the measure to go by; NaN (not computed) is no doubt

    Doubt is the mean of the measure and of the share of members that vote against the label, each divided by its
    highest level (the measure alone where no member ever does).
    """
    known = np.isfinite(uncertainty)
    excess = _scaled(np.where(known, uncertainty, np.float32(0)))
    dissent = _scaled(known * _dissent(grid))
    if dissent.any():
        excess = _scaled(np.asarray((excess + dissent) / 2, np.float32))
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

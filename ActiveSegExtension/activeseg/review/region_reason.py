"""Why a region is to be reviewed, and how much doubt is in it, in two values for a list."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import RegionReason
from activeseg.core.geometry import Geometry, index_map
from activeseg.core.uncertainty_scale import coin_toss
from activeseg.core.votes import GridVotes

_MOSTLY = 0.5  # of the core's doubt, from where on what holds there is told of the region


def reason_of(
    at_kji: npt.NDArray[np.int32],
    said: npt.NDArray[Any],
    weight: npt.NDArray[np.float32],
    grid: Geometry,
    ct: Geometry,
) -> RegionReason:
    """Why a region is listed.

    Parameters
    ----------
    at_kji, said, weight : (3, N), (1 + M, N) and (N,) of the core, as in ``Doubt``
    grid, ct : the grid of ``at_kji``, and the CT's
    """
    if _is_cut_off(at_kji[:, said.any(axis=0)], grid, ct):
        return RegionReason.OPEN_EDGE
    votes = said[1:]
    disagreeing = float(weight[(votes != votes[:1]).any(axis=0)].sum())
    return RegionReason.MEMBERS_DISAGREE if disagreeing >= _MOSTLY * weight.sum() else RegionReason.LOW_CONFIDENCE


def doubt_share(grid: GridVotes, measure: str, at_kji: npt.NDArray[np.int32]) -> float:
    """Mean over a core's voxels (3, N) of the measure, where 1 is a coin toss between two structures (0..1)."""
    values = grid.ranking(measure)
    assert values is not None
    at = tuple(at_kji)
    voting = len(grid.members) if grid.voting is None else grid.voting[at]
    return float(np.minimum(np.nan_to_num(values[at]) / coin_toss(measure, grid.entropy_bound, voting), 1.0).mean())


def _is_cut_off(at_kji: npt.NDArray[np.int32], grid: Geometry, ct: Geometry) -> bool:
    """Whether one of these voxels (3, N) lies in the grid's layer along an edge of the CT."""
    matrix, shift = index_map(grid, ct)
    at_ct = matrix @ at_kji + shift[:, None]
    reach = np.abs(matrix).sum(axis=1)[:, None] - 0.5  # of voxels that begin up to half of one inside of the CT
    last = np.array(ct.shape_kji)[:, None] - 1
    return bool(((at_ct < reach) | (at_ct > last - reach)).any())

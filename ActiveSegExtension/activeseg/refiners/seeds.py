"""Where a refiner starts from: voxels of which the prompts leave no doubt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from activeseg.refiners.question import Area, Mask
from activeseg.refiners.window import Window

BALL_MM = 3.0
"""What is this near to a touched voxel, and has its label, is like it;"""
BALL_VOXELS = 1.1
"""on coarse grids these are its neighbours: the density of a voxel alone is noise."""


@dataclass(frozen=True, eq=False)
class Seeds:
    """On a window's grid (k, j, i). The sides are those of the last prompt: ``here`` is what it points at.

    Attributes
    ----------
    here, there
        Voxels on the last prompt's side, and on the other.
    distance_mm
        From what the last prompt's side touched.
    """

    here: Mask
    there: Mask
    distance_mm: npt.NDArray[np.float32]

    @classmethod
    def of(cls, window: Window) -> Seeds:
        asked = window.asked
        wanted, unwanted = (_balls(window, window.here(mask)) for mask in (asked.wanted, asked.unwanted))
        for area in asked.areas:
            wanted |= _core(window, area)
        if not asked.include:
            wanted, unwanted = unwanted, wanted
        return cls(wanted, unwanted & ~wanted, window.distance_mm(wanted))


def _balls(window: Window, touched: Mask) -> Mask:
    if not touched.any():
        return touched
    near = window.distance_mm(touched) <= max(BALL_MM, BALL_VOXELS * float(np.cbrt(np.prod(window.spacing_kji))))
    under = np.unique(window.labels[touched])
    return np.asarray(touched | (near & np.isin(window.labels, under)))


def _core(window: Window, area: Area) -> Mask:
    """What is plausible in the middle of an area: the half of it that the model doubts least, of one density."""
    drawn = window.here(area.drawn)
    flat = [axis for axis in range(3) if np.ptp(np.flatnonzero(drawn.any(axis=tuple({0, 1, 2} - {axis})))) == 0]
    spacing = window.spacing_kji.copy()
    spacing[flat] = 1e6  # a slice's neighbours are no border of what is drawn in it
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(drawn, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    middle = depth >= 0.5 * depth.max()
    odds = window.log_odds(window.asked.value)
    middle &= odds >= np.median(odds[middle])
    typical = np.percentile(window.hu[middle], 50, method="nearest")  # one that occurs: of two voxels, not their mean
    return np.asarray(middle & (np.abs(window.hu - typical) <= 2 * max(window.noise_hu, 12.0)))

"""The one scale on which uncertainty is shown and stored, and from where on a voxel counts as uncertain."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume

MOST_SHOWN_VOXELS = 1 << 24
"""A map of more voxels is shown coarser: it would be slower to show, and larger to save, than the CT itself."""


ENTROPY_UNIT = math.log(2)
"""Entropy (nats) that is shown as 1: a coin toss between two structures."""


ENTROPY_SCALE = "log 2, clipped"


OLD_ENTROPY_SCALE = "log C"
"""What entropy is divided by, in the words of records. Records of before say nothing; they go with thresholds of their
own, and are shown and exported as they were made."""


SHOWN_THRESHOLDS = {"entropy": 0.8, "variance": 0.25, "mutual_information": 0.25}
"""Above this a voxel is shown as uncertain, and is not taken as ground truth unseen. By measure, because each fills its
scale in another way: on the native phantoms 7 to 10 % of the body lie above with one member of the demo model, whose
label is wrong in 8 to 10 %, and 4 to 8 % with four (variance), whose label is wrong in 6 to 7 %."""


FloatMap = npt.NDArray[np.float32]


def coin_toss(measure: str, entropy_bound: float, voting: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """What a measure, divided by its bound, is where half of the probability is each of two structures.

    Parameters
    ----------
    measure
        ``entropy``, ``variance`` or ``mutual_information``; the last two have their bounds from ``voting``, too.
    entropy_bound
        log C of C classes (nats), log 2 of a model of regions, whose measures are means over its regions.
    voting
        How many members vote (at each place).
    """
    most = np.minimum(np.maximum(np.asarray(voting, float), 2), math.exp(entropy_bound))
    if measure == "variance":
        return np.asarray(0.5 / (1 - 1 / most))
    if measure == "mutual_information":
        return np.asarray(ENTROPY_UNIT / np.log(most))
    return np.full(most.shape, ENTROPY_UNIT / entropy_bound)


def shown_threshold(measure: str) -> float:
    """The threshold (0..1) from which on a measure is shown, unless the user chose another."""
    return SHOWN_THRESHOLDS.get(measure, 0.25)


def coarsened(uncertainty: Volume, most_voxels: int = MOST_SHOWN_VOXELS) -> Volume:
    """A map to look at, of at most ``most_voxels``: each of its voxels has the highest value of those it stands for.

    Axes are halved, those of the finest spacing first, so a place that is above a threshold stays above it. NaN only
    where nothing was computed. A map that is small enough is given back as it is.
    """
    array, spacing = uncertainty.array, np.array(uncertainty.geometry.spacing_xyz)
    steps = np.ones(3, int)  # x, y, z
    while np.prod(-(-np.array(array.shape[::-1]) // steps)) > most_voxels:
        steps[np.argmin(np.where(np.array(array.shape[::-1]) > steps, spacing * steps, np.inf))] *= 2
    if (steps == 1).all():
        return uncertainty
    for axis, step in enumerate(steps[::-1]):
        if step > 1:
            array = np.fmax.reduceat(array, np.arange(0, array.shape[axis], step), axis=axis)
    scale = np.diag([*steps.astype(float), 1.0])
    scale[:3, 3] = (steps - 1) / 2  # centre of the first voxels' block
    geometry = Geometry.from_ijk_to_ras(uncertainty.geometry.ijk_to_ras @ scale, array.shape)
    return Volume(array, geometry, uncertainty.name)

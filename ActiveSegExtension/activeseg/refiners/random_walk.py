"""The random walker with priors (Grady 2005): from every voxel, does a walk that shuns edges end here or there?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import dia_array, diags_array
from scipy.sparse.linalg import cg

Field = npt.NDArray[np.float32]
REFERENCE_MM = 1.5
LEAST_WEIGHT = 1e-3
HARD = 1e3


def random_walk(
    image: Field,
    noise: float,
    prior: Field,
    here: npt.NDArray[np.bool_],
    there: npt.NDArray[np.bool_],
    spacing_kji: npt.NDArray[np.float64],
    pull: float,
) -> Field:
    """How likely a walk from each voxel ends ``here``, (k, j, i), 0..1.

    Parameters
    ----------
    image, noise
        Its steps, in units of ``2 noise`` over 1.5 mm, are what a walk shuns.
    prior
        (k, j, i), 0..1: how likely a walk that stops at the voxel counts as one that ends here.
    here, there
        Where walks end.
    pull
        How readily a walk stops and follows the prior, against a step of 1.5 mm.
    """
    size, shape = prior.size, prior.shape
    diagonals, offsets = [], []
    degree = np.zeros(shape, np.float64)
    for axis, spacing in enumerate(spacing_kji):
        if shape[axis] == 1:
            continue
        step = np.diff(image, axis=axis) * (REFERENCE_MM / spacing) / (2 * noise)
        weight = (REFERENCE_MM / spacing) ** 2 * (np.exp(-0.5 * step.astype(np.float64) ** 2) + LEAST_WEIGHT)
        padded = np.zeros(shape)
        first = [slice(None)] * 3
        first[axis] = slice(0, -1)
        second = [slice(None)] * 3
        second[axis] = slice(1, None)
        padded[tuple(first)] = weight
        degree[tuple(first)] += weight
        degree[tuple(second)] += weight
        stride = int(np.prod(shape[axis + 1 :]))
        flat = padded.ravel()
        diagonals += [-flat, np.concatenate([np.zeros(stride), -flat[: size - stride]])]
        offsets += [-stride, stride]
    hard = HARD * (here | there).ravel()
    diagonal = degree.ravel() + pull + hard
    matrix = dia_array((np.stack([diagonal, *diagonals]), [0, *offsets]), shape=(size, size))
    right = pull * prior.ravel().astype(np.float64) + hard * here.ravel()
    start = np.where(here.ravel(), 1.0, np.where(there.ravel(), 0.0, prior.ravel()))
    found: tuple[Any, int] = cg(matrix, right, x0=start, rtol=1e-3, maxiter=200, M=diags_array(1 / diagonal))
    return np.asarray(found[0].reshape(shape), np.float32)

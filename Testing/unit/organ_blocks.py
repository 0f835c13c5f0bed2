"""A label map of two box-shaped organs on a small grid, and regions on it."""

from __future__ import annotations

import numpy as np

from activeseg.core.correction import RegionReview, RegionState
from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema

SCHEMA = LabelSchema.from_names(["liver", "spleen", "kidney"])
LIVER, SPLEEN, KIDNEY, IGNORE = 1, 2, 3, 4
SHAPE = (10, 20, 20)
GRID = Geometry.from_ijk_to_ras(np.diag([1.0, 2.0, 3.0, 1.0]), SHAPE)


def blocks() -> np.ndarray:
    """Liver of 2,000 voxels, spleen of 200, no kidney."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, :10, :] = LIVER
    labels[:, 12:14, :10] = SPLEEN
    return labels


Range = tuple[int, int]


def region(number: int, k: Range, j: Range, i: Range, state: str = "open") -> RegionReview:
    return RegionReview(number, (k, j, i), RegionState(state))

"""A prompt: what a person says about a few voxels, with a click, a scribble, a lasso or a box."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.core.geometry import Box

MOST_POINTS = 10_000
"""Of one prompt; a scribble through a slice of 2,000 columns has fewer."""

MOST_INDEX = 1_000_000
"""No image has as many voxels along an axis (``geometry.AxisLength``)."""


class PromptKind(StrEnum):
    """What ``Prompt.points_kji`` are: the point, the corners of a line, of a closed line, or two of a box."""

    POINT = "point"
    SCRIBBLE = "scribble"
    LASSO = "lasso"
    BOX = "box"


@dataclass(frozen=True)
class Prompt:
    """A person says that some voxels belong to a structure, or that they do not.

    Attributes
    ----------
    kind
        A point and a scribble touch voxels of which it is true; a lasso, in one plane of voxels, and a box go around
        what it is about: nothing outside of them is meant.
    structure
        Name of the structure.
    points_kji
        Voxels of the CT (k, j, i): one point; the corners of the scribble or the lasso in their order; two opposite
        corners of the box, both in it.
    include
        False says that these voxels, or those within, do not belong to the structure.

    Raises
    ------
    InputError
        For a number of points that the kind cannot have, an index that no image has, and a lasso that lies in no plane
        of voxels.
    """

    kind: PromptKind
    structure: str
    points_kji: tuple[tuple[int, int, int], ...]
    include: bool = True

    def __post_init__(self) -> None:
        least, most = _POINTS[self.kind]
        if not least <= len(self.points_kji) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise InputError(f"A {self.kind.value} has {wanted} points; this one has {len(self.points_kji)}.")
        if any(not 0 <= index < MOST_INDEX for point in self.points_kji for index in point):
            raise InputError(f"The {self.kind.value} has a point that lies in no image.", "Point at a voxel of the CT.")
        if self.kind is PromptKind.LASSO and not (np.ptp(np.array(self.points_kji), axis=0) == 0).any():
            raise InputError("The lasso lies in no slice of the CT.", "Draw it in a slice view that is not tilted.")

    @property
    def box_kji(self) -> Box:
        """The smallest box around its points, half-open ranges."""
        points = np.array(self.points_kji)
        k, j, i = zip(points.min(axis=0).tolist(), (points.max(axis=0) + 1).tolist(), strict=True)
        return k, j, i

    def voxels_kji(self) -> npt.NDArray[np.intp]:
        """Its voxels, (N, 3), each once: the point, the line, or all within the lasso or the box.

        As many as its size says: look whether ``box_kji`` lies within the image first.
        """
        points = np.array(self.points_kji, np.intp)
        if self.kind is PromptKind.POINT:
            return points
        if self.kind is PromptKind.SCRIBBLE:
            return _line(points)
        if self.kind is PromptKind.LASSO:
            return _within(points)
        (k0, k1), (j0, j1), (i0, i1) = self.box_kji
        return np.asarray(np.argwhere(np.ones((k1 - k0, j1 - j0, i1 - i0), bool)) + (k0, j0, i0), np.intp)  # noqa: RUF005


_POINTS = {
    PromptKind.POINT: (1, 1),
    PromptKind.SCRIBBLE: (1, MOST_POINTS),
    PromptKind.LASSO: (3, MOST_POINTS),
    PromptKind.BOX: (2, 2),
}


def _line(points: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The voxels along straight lines from point to point."""
    pieces = [points[:1]]
    for start, end in itertools.pairwise(points):
        steps = int(np.abs(end - start).max())
        share = np.arange(1, steps + 1)[:, None] / max(steps, 1)
        pieces.append(np.rint(start + share * (end - start)).astype(np.intp))
    return np.unique(np.concatenate(pieces), axis=0)


def _within(points: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The voxels on and within a closed line in one plane, by the even-odd rule at their centres."""
    axis = int(np.flatnonzero(np.ptp(points, axis=0) == 0)[0])
    rows, columns = (other for other in range(3) if other != axis)
    border = _line(np.concatenate([points, points[:1]]))
    low, high = border.min(axis=0), border.max(axis=0)
    row = np.arange(low[rows], high[rows] + 1)[:, None]
    column = np.arange(low[columns], high[columns] + 1)[None, :]
    inside = np.zeros((len(row), column.shape[1]), bool)
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        if start[rows] == end[rows]:
            continue
        crosses = (start[rows] <= row) != (end[rows] <= row)
        at = start[columns] + (row - start[rows]) / (end[rows] - start[rows]) * (end[columns] - start[columns])
        inside ^= crosses & (column < at)
    inside[border[:, rows] - low[rows], border[:, columns] - low[columns]] = True
    found = np.empty((int(inside.sum()), 3), np.intp)
    found[:, axis] = points[0, axis]
    found[:, rows], found[:, columns] = (np.argwhere(inside) + low[[rows, columns]]).T
    return found

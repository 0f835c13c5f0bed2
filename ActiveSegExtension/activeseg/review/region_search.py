"""The search for places: boxes that hold the most doubt, every structure in its turn, none overlapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from activeseg.core.geometry import Box, FloatArray, Geometry, index_map
from activeseg.core.votes import GridVotes
from activeseg.review.doubt import Doubt

_BLOCK_MM = 4.0  # doubt is summed over blocks of this size before it is averaged over a box
_CORE = 0.25  # the core is what has more than this doubt
_LEAST_CORE = 0.001  # a core smaller than this part of the largest box, or than so many voxels, is not listed
_LEAST_CORE_VOXELS = 3
LEAST_BOX_VOXELS = 3  # along each axis of the CT
MARGIN_MM = 6.0  # around the core
_PEAK_OF_MOST = 0.99  # a peak may hold less than the most that a box can hold, but no less than this part of it
_NOBODY = 0  # stands for where no member sees a structure


@dataclass(frozen=True)
class Search:
    """How places are searched; the defaults are what ``Testing/benchmarks/regions.py`` chose.

    Attributes
    ----------
    body_share : all boxes together are at most this part of the body
    smallest_mm, largest_mm : sides of a box
    turn : a structure's doubt counts this much less for each region that it has already
    favour_small : a structure's doubt is divided by its volume to this power
    smooth : whether doubt is averaged over a box before the worst place is sought (off: the worst voxel)
    """

    body_share: float = 0.10
    smallest_mm: float = 20.0
    largest_mm: float = 60.0
    turn: float = 0.7
    favour_small: float = 0.3
    smooth: bool = True


DEFAULT_SEARCH = Search()


@dataclass(frozen=True)
class Place:
    """A chosen box (half-open, on the CT's grid), its mean doubt, and rows of the Doubt: the core's and its middle."""

    box_kji: Box
    score: float
    core: npt.NDArray[np.intp]
    middle: int


def choose_places(
    doubt: Doubt,
    grid: GridVotes,
    ct: Geometry,
    wanted: Sequence[int],
    count: int,
    body_mm3: float,
    search: Search = DEFAULT_SEARCH,
) -> list[Place]:
    """At most ``count`` places, the most doubtful first.

    Parameters
    ----------
    grid : what ``doubt`` was made of; ``ct`` is the geometry that boxes are on
    wanted : label values that places may be about; 0 stands for voxels where no member sees a structure
    body_mm3 : volume of the body, which limits the boxes
    """
    chooser = _Chooser(doubt, grid, ct, wanted, box_side_mm(body_mm3, count, search), search)
    places: list[Place] = []
    while len(places) < count and (place := chooser.next_place()) is not None:
        places.append(place)
    return sorted(places, key=lambda place: -place.score)


def box_side_mm(body_mm3: float, count: int, search: Search = DEFAULT_SEARCH) -> float:
    """Side of the largest box: ten (or ``count``, if more) of them stay within the share of the body."""
    side = (search.body_share * body_mm3 / max(count, 10)) ** (1 / 3)
    return float(np.clip(side, search.smallest_mm, search.largest_mm))


class _Chooser:
    """The state of one search: which doubt is left, which boxes are taken, how many each structure has."""

    def __init__(
        self, doubt: Doubt, grid: GridVotes, ct: Geometry, wanted: Sequence[int], side_mm: float, search: Search
    ) -> None:
        self.doubt, self.ct, self.search, self.side_mm = doubt, ct, search, side_mm
        self.voxel_mm3 = grid.geometry.voxel_mm3
        self.matrix, self.shift = index_map(grid.geometry, ct)
        self.at_ct = np.empty(doubt.at_kji.shape, np.float32)
        for row, offset, found in zip(self.matrix, self.shift, self.at_ct, strict=True):
            found[:] = sum(factor * index for factor, index in zip(row, doubt.at_kji, strict=True) if factor) + offset
        spacing = np.array(grid.geometry.spacing_xyz[::-1])
        self.block = np.maximum(1, np.rint(_BLOCK_MM / spacing)).astype(int) if search.smooth else np.ones(3, int)
        self.patch = np.maximum(1, np.rint(side_mm / (self.block * spacing))).astype(int)
        if not search.smooth:
            self.patch[:] = 1
        self.at_block = (doubt.at_kji // self.block[:, None]).astype(np.int16)
        about = {value: doubt.about(value) for value in wanted}
        self.about = {value: rows for value, rows in about.items() if len(rows)}
        self.left = np.zeros(len(doubt.excess), np.float32)
        for rows in self.about.values():
            self.left[rows] = doubt.excess[rows]
        voxels = np.bincount(grid.labels.ravel(), minlength=max(wanted, default=0) + 1)
        self.worth = {
            value: float(max(len(rows), voxels[value] if value else 0)) ** -search.favour_small
            for value, rows in self.about.items()
        }
        self.boxes: list[Box] = []
        self.peaks: dict[int, tuple[float, FloatArray]] = {}
        self.bounds = {
            value: float(self.left[rows].sum(dtype=np.float64)) / _PEAK_OF_MOST for value, rows in self.about.items()
        }

    def next_place(self) -> Place | None:
        """The best place that is left; its doubt is used up afterwards."""
        while self.about:
            value = self._worst()
            height, center = self.peaks[value]
            if height <= 0:
                return None
            box = self._box(center, np.full(3, self.side_mm))
            place = self._place(value, box)
            if place is not None:
                self.worth[value] *= self.search.turn
                self.boxes.append(place.box_kji)
                self._use_up(self._inside(place.box_kji))
                return place
            rows = self.about[value][self._inside(box)[self.about[value]]]
            if self.left[rows].any():
                self._use_up(rows)
            else:
                del self.about[value]
        return None

    def _worst(self) -> int:
        """The structure whose peak is worth most. Doubt only gets less, so that an old peak bounds the new one."""
        while True:
            value = max(self.about, key=lambda value: self.bounds[value] * self.worth[value])
            if value in self.peaks:
                return value
            self.peaks[value] = self._peak(value)
            self.bounds[value] = self.peaks[value][0]

    def _peak(self, value: int) -> tuple[float, FloatArray]:
        """The most doubt about a structure in one box, and that box's middle on the CT's grid (k, j, i)."""
        rows = self.about[value]
        rows = rows[self.left[rows] > 0]
        if not len(rows):
            return 0.0, np.zeros(3)
        at = self.at_block[:, rows].astype(np.int32)
        low = at.min(axis=1) - self.patch // 2
        shape = at.max(axis=1) + self.patch // 2 + 1 - low
        flat = np.ravel_multi_index(tuple(at - low[:, None]), tuple(shape))
        blocks = np.bincount(flat, weights=self.left[rows], minlength=int(np.prod(shape))).reshape(shape)
        mass = uniform_filter(blocks, tuple(self.patch), mode="constant")
        # A blob smaller than the box gives a plateau: a little of the same filter again prefers its middle.
        plateau = np.argwhere(mass >= _PEAK_OF_MOST * mass.max())
        start = np.maximum(plateau.min(axis=0) - self.patch, 0)
        near = mass[tuple(slice(a, b) for a, b in zip(start, plateau.max(axis=0) + self.patch + 1, strict=True))]
        preferred = near + (1 - _PEAK_OF_MOST) * uniform_filter(near, tuple(self.patch))
        best = start + np.unravel_index(preferred.argmax(), near.shape)
        middle = (best + low + 0.5 - 0.5 * (self.patch % 2 == 0)) * self.block - 0.5
        return float(mass[tuple(best)]) * float(np.prod(self.patch)), middle @ self.matrix.T + self.shift

    def _place(self, value: int, box: Box) -> Place | None:
        """The box around the core that ``box`` holds, cut free of those taken; None when too little is left."""
        core = self._core(value, self._inside(box))
        if not len(core):
            return None
        low, high = self.at_ct[:, core].min(axis=1), self.at_ct[:, core].max(axis=1)
        size_mm = (high - low + 1) * np.array(self.ct.spacing_xyz[::-1]) + 2 * MARGIN_MM
        box = self._box((low + high) / 2, np.clip(size_mm, self.search.smallest_mm, self.side_mm))
        middle = self._nearest(core, self.at_ct[:, core].mean(axis=1))
        free = cut_free(box, self.at_ct[:, middle], self.boxes)
        inside = self._inside(free)
        core = core[inside[core]]
        least = max(_LEAST_CORE * self.side_mm**3 / self.voxel_mm3, _LEAST_CORE_VOXELS)
        if len(core) < least or not _usable(free, box):
            return None
        middle = self._nearest(core, self.at_ct[:, core] @ (self.left[core] / self.left[core].sum()))
        score = float(self.left[inside].sum()) * self.voxel_mm3 / self.side_mm**3
        return Place(free, score, core, middle)

    def _core(self, value: int, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """Rows of the connected doubt inside a box that is most about the structure."""
        import cc3d

        rows = np.flatnonzero(inside & (self.left > 0) & (self.doubt.excess > _CORE))
        if not len(rows):
            return rows
        at = self.doubt.at_kji[:, rows]
        at = at - at.min(axis=1, keepdims=True)
        mask = np.zeros(at.max(axis=1) + 1, np.uint8)
        mask[tuple(at)] = 1
        piece = cc3d.connected_components(mask, connectivity=26)[tuple(at)]
        mine = np.isin(rows, self.about[value])
        mass = np.bincount(piece[mine], weights=self.left[rows[mine]], minlength=1)
        return rows[piece == mass.argmax()] if mine.any() else rows[:0]

    def _box(self, center_kji: FloatArray, side_mm: FloatArray) -> Box:
        """A box of that size around a point, moved into the CT."""
        shape = np.array(self.ct.shape_kji)
        size = np.floor(side_mm / np.array(self.ct.spacing_xyz[::-1])).astype(int)
        size = np.minimum(np.maximum(size, LEAST_BOX_VOXELS), shape)
        low = np.clip(np.rint(center_kji - (size - 1) / 2).astype(int), 0, shape - size)
        k, j, i = ((int(a), int(a + n)) for a, n in zip(low, size, strict=True))
        return k, j, i

    def _inside(self, box: Box) -> npt.NDArray[np.bool_]:
        """Which rows lie in a box (by their voxel's centre)."""
        found = np.ones(self.left.shape, bool)
        for at, (low, high) in zip(self.at_ct, box, strict=True):
            found &= at >= low - 0.5
            found &= at < high - 0.5
        return found

    def _nearest(self, rows: npt.NDArray[np.intp], point_kji: FloatArray) -> int:
        return int(rows[((self.at_ct[:, rows] - point_kji[:, None]) ** 2).sum(axis=0).argmin()])

    def _use_up(self, rows: npt.NDArray[Any]) -> None:
        said = self.doubt.said[:, rows]
        self.left[rows] = 0
        for value in {int(v) for v in np.unique(said)} | {_NOBODY}:
            if value in self.peaks:
                self.bounds[value] = self.peaks.pop(value)[0] / _PEAK_OF_MOST


def cut_free(box: Box, keep_kji: npt.NDArray[Any], taken: Sequence[Box]) -> Box:
    """``box`` cut back until it overlaps none of ``taken``, always keeping the point, with the least loss each time."""
    for other in taken:
        if not all(a[0] < b[1] and b[0] < a[1] for a, b in zip(box, other, strict=True)):
            continue
        ways = []
        for axis in range(3):
            low, high = box[axis]
            if keep_kji[axis] >= other[axis][1] - 0.5:
                low = other[axis][1]
            elif keep_kji[axis] < other[axis][0] - 0.5:
                high = other[axis][0]
            else:
                continue
            kept = (high - low) / (box[axis][1] - box[axis][0])
            ways.append((kept, axis, (low, high)))
        _, axis, span = max(ways)
        box = tuple(span if a == axis else box[a] for a in range(3))  # type: ignore[assignment]
    return box


def _usable(box: Box, whole: Box) -> bool:
    """Whether enough of a box is left after cutting."""
    return all(2 * (a[1] - a[0]) >= b[1] - b[0] for a, b in zip(box, whole, strict=True))

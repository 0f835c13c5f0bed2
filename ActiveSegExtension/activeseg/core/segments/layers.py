"""Layers of segments, each with voxels of its own, into one label map. Plain numpy: nothing here knows Slicer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from activeseg.core.geometry import FloatArray

ToCt = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""Voxel indices (n, 3), each (k, j, i), of a layer as it was stored to those of the CT, which may be between voxels."""

_LARGEST_VALUE = 65_535
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Layer:
    """One image that several segments share without overlap, on the CT's grid.

    Attributes
    ----------
    array
        (k, j, i), whole numbers; may be smaller or larger than the CT.
    first_kji
        Index in the CT of the array's first voxel.
    segments
        Value in ``array`` -> index of the segment in Slicer's order; other values belong to no segment. Values are 1 to
        65535 (``small_values``).
    lost
        Segment index -> its voxels, as they were stored on another grid, that lie beyond the CT.
    unseen
        Segments that have voxels inside of the CT on another grid, but none on the CT's.
    """

    array: npt.NDArray[Any]
    first_kji: tuple[int, int, int]
    segments: Mapping[int, int]
    lost: Mapping[int, int] = field(default_factory=dict)
    unseen: frozenset[int] = frozenset()

    @classmethod
    def in_place(
        cls,
        array: npt.NDArray[Any],
        segments: Mapping[int, int],
        to_ct_ijk: FloatArray,
        corners: FloatArray,
    ) -> Layer:
        """A layer whose voxels are the CT's: the array seen along the CT's axes, not copied.

        Parameters
        ----------
        to_ct_ijk
            4 x 4; shifts, flips and swaps axes by whole voxels (``geometry.whole_voxels``).
        corners
            (8, 3), the array's corner voxels (i, j, k) as ``to_ct_ijk`` counts them.
        """
        turn = to_ct_ijk[2::-1, 2::-1]  # from and to (k, j, i)
        array = array.transpose(np.abs(turn).argmax(axis=1))
        array = array[tuple(slice(None, None, -1 if axis.min() < 0 else 1) for axis in turn)]
        i, j, k = (corners @ to_ct_ijk[:3, :3].T + to_ct_ijk[:3, 3]).min(axis=0).astype(int).tolist()
        return cls(array, (k, j, i), segments)

    @classmethod
    def resampled(
        cls,
        array: npt.NDArray[Any],
        first_kji: tuple[int, int, int],
        segments: Mapping[int, int],
        source: npt.NDArray[Any],
        to_ct: ToCt,
        shape_kji: Sequence[int],
    ) -> Layer:
        """A layer that was brought to the CT's grid: ``array`` is what came of ``source`` (k, j, i) there."""
        lost = _voxels_beyond(source, segments, to_ct, shape_kji)
        left, before = _voxels_of(array, segments), _voxels_of(source, segments)
        unseen = {s for s in segments.values() if not left.get(s) and before.get(s, 0) > lost.get(s, 0)}
        return cls(array, first_kji, segments, lost, frozenset(unseen))

    def inside(self, shape_kji: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
        """Where the array and the CT overlap: slices of the array, slices of the CT; None when they do not."""
        starts = [max(first, 0) for first in self.first_kji]
        stops = [
            min(first + length, size)
            for first, length, size in zip(self.first_kji, self.array.shape, shape_kji, strict=True)
        ]
        if any(stop <= start for start, stop in zip(starts, stops, strict=True)):
            return None
        there = tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))
        here = tuple(slice(s.start - first, s.stop - first) for s, first in zip(there, self.first_kji, strict=True))
        return here, there

    def table(self, codes: Sequence[int], dtype: Any) -> npt.NDArray[Any]:
        """A look-up table from values in ``array`` to ``codes[segment index]``; 0 for values of no segment."""
        table = np.zeros(max([0, *self.segments]) + 2, dtype)  # the last entry, 0, takes what is above (mode="clip")
        table[list(self.segments)] = [codes[segment] for segment in self.segments.values()]
        return table


@dataclass(frozen=True)
class Composition:
    """What the layers amount to.

    Attributes
    ----------
    labels
        (k, j, i) on the CT's grid.
    edited
        For each segment, whether it differs from the original.
    outside
        For each segment, its voxels beyond the CT's border, which are lost; counted on the grid on which it was stored.
    unseen
        For each segment, whether it is too small for the CT's grid: it has voxels there, and none is left.
    overlapping
        Voxels that more than one segment claimed.
    """

    labels: npt.NDArray[Any]
    edited: tuple[bool, ...]
    outside: tuple[int, ...]
    unseen: tuple[bool, ...]
    overlapping: int

    @property
    def is_beside_the_ct(self) -> bool:
        """Whether there are segments with voxels, and none of these lies inside of the CT."""
        return any(self.outside) and not any(self.unseen) and not self.labels.any()

    def sentences(self, names: Sequence[str], resampled: bool) -> tuple[str, ...]:
        """What the user should read about voxels; ``names`` of the segments, ``resampled``: a layer was."""
        told = [
            f"'{name}' has {voxels} voxels outside of the CT; they are cut off."
            for name, voxels in zip(names, self.outside, strict=True)
            if voxels
        ]
        told += [
            f"'{name}' is too small for the CT's voxels: nothing of it is left."
            for name, unseen in zip(names, self.unseen, strict=True)
            if unseen
        ]
        if self.overlapping:
            told.append(
                f"Segments overlap in {self.overlapping} voxels: edited segments take priority, then those lower in "
                "the list."
            )
        if resampled:
            told.append("The segments lie on another grid than the CT: their voxels were taken by nearest neighbour.")
        if not self.labels.any():
            told.append("No segment has voxels in the CT: all structures will be treated as absent.")
        return tuple(told)


def compose(
    layers: Sequence[Layer],
    values: Sequence[int],
    touched: Sequence[bool],
    shape_kji: tuple[int, int, int],
    original: npt.NDArray[Any] | None,
    dtype: Any,
) -> Composition:
    """Paste layers over each other: edited segments beat unedited ones, then a later segment beats an earlier one.

    Later beats earlier because Slicer's own export does so.

    Parameters
    ----------
    values
        The label value of each segment; 0: its voxels are not taken.
    touched
        For each segment, whether it is known to be edited.
    original
        (k, j, i) label map that was shown; a segment whose voxels differ from it counts as edited, too.
    """
    edited = list(touched)
    if original is not None:
        edited = [a or b for a, b in zip(edited, _differs(layers, values, original), strict=True)]
    outside, unseen = [0] * len(values), [False] * len(values)
    for layer in layers:
        for beyond in (layer.lost, _voxels_outside(layer, shape_kji)):
            for segment, voxels in beyond.items():
                outside[segment] += voxels if values[segment] else 0
        for segment in layer.unseen:
            unseen[segment] = values[segment] > 0

    order = sorted(range(len(values)), key=lambda segment: (edited[segment], segment))
    if len(layers) <= 1:  # no overlap: the segments' values can be written at once
        codes, code_dtype = list(values), dtype
    else:
        codes, code_dtype = [0] * len(values), _dtype_for(len(values))
        for rank, segment in enumerate(order, start=1):
            codes[segment] = rank if values[segment] else 0
    labels = np.zeros(shape_kji, code_dtype)
    claimed_twice = np.zeros(shape_kji if len(layers) > 1 else (0, 0, 0), bool)
    for number, layer in enumerate(layers):
        table = layer.table(codes, code_dtype)
        for place, plane, target in _planes(layer, labels):
            mapped = _looked_up(table, plane)
            if number:
                claimed_twice[place] |= (mapped != 0) & (target != 0)
            np.maximum(target, mapped, out=target)
    if len(layers) > 1:
        value_of_rank = np.array([0, *(values[segment] for segment in order)], dtype)
        ranks, labels = labels, np.empty(shape_kji, dtype)
        for plane, target in zip(ranks, labels, strict=True):
            target[...] = _looked_up(value_of_rank, plane)
    return Composition(labels, tuple(edited), tuple(outside), tuple(unseen), int(np.count_nonzero(claimed_twice)))


def small_values(array: npt.NDArray[Any], segments: Mapping[int, int]) -> tuple[npt.NDArray[Any], Mapping[int, int]]:
    """The same layer with values that a look-up table can hold; unchanged where they are 1 to 65535 already.

    Atlases number their structures up to 614,454,277 (Allen's mouse brain), and values may come as 64 bits.
    """
    if max(segments, default=0) <= _LARGEST_VALUE and array.dtype != np.uint64:
        return array, segments
    if not segments:
        return np.zeros(array.shape, np.uint8), {}
    known = np.array(sorted(segments), array.dtype)
    small = np.zeros(array.shape, np.uint32)
    for plane, target in zip(array, small, strict=True):
        place = np.minimum(np.searchsorted(known, plane), len(known) - 1)
        target[...] = np.where(known[place] == plane, place + 1, 0)
    return small, {place: segments[int(value)] for place, value in enumerate(known, start=1)}


def _dtype_for(largest: int) -> Any:
    return np.min_scalar_type(max(largest, 0))


def _looked_up(table: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``table[values]``, in half the time; values beyond the table take its last entry, negative ones its first."""
    return np.take(table, values, mode="clip")


def _planes(
    layer: Layer, other: npt.NDArray[Any]
) -> Iterator[tuple[tuple[int | slice, ...], npt.NDArray[Any], npt.NDArray[Any]]]:
    """Plane by plane, to stay in the cache: its place in the CT, the layer's voxels and ``other``'s (the CT's grid)."""
    overlap = layer.inside(other.shape)
    if overlap is None:
        return
    here, (k, *rest) = overlap
    for plane, number in zip(layer.array[here], range(k.start, k.stop), strict=True):
        place: tuple[int | slice, ...] = (number, *rest)
        yield place, plane, other[place]


def _voxels_outside(layer: Layer, shape_kji: Sequence[int]) -> dict[int, int]:
    """Segment index -> its voxels outside of the CT, in a layer that grew beyond it."""
    overlap = layer.inside(shape_kji)
    if overlap is not None and overlap[0] == _all_of(layer.array):
        return {}
    everywhere = _voxels_of(layer.array, layer.segments)
    inside = _voxels_of(layer.array[overlap[0]], layer.segments) if overlap is not None else {}
    return {segment: rest for segment, n in everywhere.items() if (rest := n - inside.get(segment, 0))}


def _voxels_of(array: npt.NDArray[Any], segments: Mapping[int, int]) -> dict[int, int]:
    """Segment index -> its voxels, for those that have some."""
    numbers = np.zeros(max([0, *segments]) + 2, np.intp)
    of_number = dict(enumerate(segments.values(), start=1))
    numbers[list(segments)] = list(of_number)
    total = np.zeros(len(of_number) + 1, np.int64)
    for plane in array:
        total += np.bincount(_looked_up(numbers, plane).reshape(-1), minlength=len(total))
    return {segment: int(total[number]) for number, segment in of_number.items() if total[number]}


def _voxels_beyond(
    source: npt.NDArray[Any], segments: Mapping[int, int], to_ct: ToCt, shape_kji: Sequence[int]
) -> dict[int, int]:
    """Segment index -> its voxels, of a layer on another grid, whose centres lie outside of all of the CT's voxels."""
    box = _box_of(source)
    if box is None or not _beyond(to_ct(_surface(box)), shape_kji).any():
        # The way to the CT is continuous and can be gone back: what is enclosed by places in the CT is in it, too.
        return {}
    total: dict[int, int] = {}
    first = np.array([span.start for span in box])
    for number, plane in enumerate(source[box]):
        at = np.argwhere(plane)
        points = np.concatenate([np.full((len(at), 1), number), at], axis=1) + first
        there = at[_beyond(to_ct(points.astype(float)), shape_kji)] if len(at) else at
        for segment, voxels in _voxels_of(plane[tuple(there.T)][None], segments).items():
            total[segment] = total.get(segment, 0) + voxels
    return total


def _beyond(points_kji: npt.NDArray[np.float64], shape_kji: Sequence[int]) -> npt.NDArray[np.bool_]:
    """For each point (n, 3), in voxel indices, whether it lies outside of a grid's outermost voxels."""
    low, high = -0.5 - _ROUNDING, np.asarray(shape_kji) - 0.5 + _ROUNDING
    return np.asarray(((points_kji < low) | (points_kji > high)).any(axis=1))


def _box_of(array: npt.NDArray[Any]) -> tuple[slice, slice, slice] | None:
    """The smallest box with all voxels that are not 0; None when all are."""
    planes = np.array([plane.any() for plane in array], bool)
    if not planes.any():
        return None
    flat = np.zeros(array.shape[1:], bool)
    for plane in array[planes]:
        flat |= plane != 0
    spans = [np.flatnonzero(used) for used in (planes, flat.any(axis=1), flat.any(axis=0))]
    k, j, i = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return k, j, i


def _surface(box: Sequence[slice]) -> npt.NDArray[np.float64]:
    """The voxels (n, 3) on the six sides of a box."""
    sides = []
    for axis, span in enumerate(box):
        for end in {span.start, span.stop - 1}:
            ranges = [np.array([end]) if a == axis else np.arange(s.start, s.stop) for a, s in enumerate(box)]
            sides.append(np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3))
    return np.concatenate(sides).astype(float)


def _differs(layers: Sequence[Layer], values: Sequence[int], original: npt.NDArray[Any]) -> list[bool]:
    """For each segment: whether its voxels are not exactly those that ``original`` has for its value."""
    largest = max(max(values, default=0), int(original.max(initial=0)))
    dtype = _dtype_for(largest)
    changed = np.zeros(largest + 1, bool)
    # The part of the CT in which each segment can have voxels; None: nowhere.
    reach_of: list[tuple[slice, ...] | None] = [None] * len(values)
    for layer in layers:
        table, held_only = layer.table(values, dtype), np.zeros(largest + 1, dtype)
        held = [values[segment] for segment in layer.segments.values()]
        held_only[held] = held
        for _, plane, before in _planes(layer, original):
            now, then = _looked_up(table, plane), _looked_up(held_only, before)
            different = now != then
            if different.any():
                changed[now[different]] = True
                changed[then[different]] = True
        overlap = layer.inside(original.shape)
        for segment in layer.segments.values():
            reach_of[segment] = overlap[1] if overlap else None
    if all(reach == _all_of(original) for reach in reach_of):
        boxes = [None] * largest
    else:
        boxes = scipy.ndimage.find_objects(original, max_label=largest)
    return [
        value > 0 and (bool(changed[value]) or not _contains(reach, boxes[value - 1]))
        for value, reach in zip(values, reach_of, strict=True)
    ]


def _all_of(array: npt.NDArray[Any]) -> tuple[slice, ...]:
    return tuple(slice(0, length) for length in array.shape)


def _contains(outer: Sequence[slice] | None, inner: Sequence[slice] | None) -> bool:
    """Whether box ``inner`` lies in box ``outer``; None is the empty box."""
    if inner is None:
        return True
    return outer is not None and all(o.start <= i.start and i.stop <= o.stop for o, i in zip(outer, inner, strict=True))

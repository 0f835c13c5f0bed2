"""Layers of segments, each with voxels of its own, into one label map. Plain numpy: nothing here knows Slicer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.ndimage


@dataclass(frozen=True)
class Layer:
    """One image that several segments share without overlap, on the CT's grid.

    Attributes
    ----------
    array : (k, j, i), whole numbers; may be smaller or larger than the CT
    first_kji : index in the CT of the array's first voxel
    segments : value in ``array`` -> index of the segment in Slicer's order; other values belong to no segment
    """

    array: npt.NDArray[Any]
    first_kji: tuple[int, int, int]
    segments: Mapping[int, int]

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
        for value, segment in self.segments.items():
            table[value] = codes[segment]
        table[0] = 0
        return table


@dataclass(frozen=True)
class Composition:
    """What the layers amount to.

    Attributes
    ----------
    labels : (k, j, i) on the CT's grid
    edited : for each segment, whether it differs from the original
    outside : for each segment, its voxels beyond the CT's border, which are lost
    overlapping : voxels that more than one segment claimed
    """

    labels: npt.NDArray[Any]
    edited: tuple[bool, ...]
    outside: tuple[int, ...]
    overlapping: int


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
    values : the label value of each segment; 0: its voxels are not taken
    touched : for each segment, whether it is known to be edited
    original : (k, j, i) label map that was shown; a segment whose voxels differ from it counts as edited, too
    """
    edited = list(touched)
    if original is not None:
        edited = [a or b for a, b in zip(edited, _differs(layers, values, original), strict=True)]
    outside = [0] * len(values)
    for layer in layers:
        for segment, voxels in _voxels_outside(layer, values, shape_kji).items():
            outside[segment] += voxels

    order = sorted(range(len(values)), key=lambda segment: (edited[segment], segment))
    if len(layers) <= 1:  # no overlap: the segments' values can be written at once
        codes, code_dtype = list(values), dtype
    else:
        codes, code_dtype = [0] * len(values), _dtype_for(len(values))
        for rank, segment in enumerate(order, start=1):
            codes[segment] = rank if values[segment] else 0
    labels = np.zeros(shape_kji, code_dtype)
    overlapping = 0
    for number, layer in enumerate(layers):
        table = layer.table(codes, code_dtype)
        for plane, target in _planes(layer, labels):
            mapped = _looked_up(table, plane)
            if number:
                overlapping += int(np.count_nonzero((mapped != 0) & (target != 0)))
            np.maximum(target, mapped, out=target)
    if len(layers) > 1:
        value_of_rank = np.array([0, *(values[segment] for segment in order)], dtype)
        ranks, labels = labels, np.empty(shape_kji, dtype)
        for plane, target in zip(ranks, labels, strict=True):
            target[...] = _looked_up(value_of_rank, plane)
    return Composition(labels, tuple(edited), tuple(outside), overlapping)


def _dtype_for(largest: int) -> Any:
    return np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16


def _looked_up(table: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``table[values]``, in half the time; values beyond the table take its last entry, negative ones its first."""
    return np.take(table, values, mode="clip")


def _planes(layer: Layer, other: npt.NDArray[Any]) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """The layer's voxels and ``other``'s (on the CT's grid) at the same places, plane by plane to stay in the cache."""
    overlap = layer.inside(other.shape)
    if overlap is not None:
        yield from zip(layer.array[overlap[0]], other[overlap[1]], strict=True)


def _voxels_outside(layer: Layer, values: Sequence[int], shape_kji: Sequence[int]) -> dict[int, int]:
    """Segment index -> its voxels outside of the CT, in a layer that grew beyond it."""
    overlap = layer.inside(shape_kji)
    if overlap is not None and overlap[0] == _all_of(layer.array):
        return {}
    rest = np.ones(layer.array.shape, bool)
    if overlap is not None:
        rest[overlap[0]] = False
    counts = np.bincount(np.clip(layer.array[rest], 0, None).astype(np.intp))
    return {
        segment: int(counts[value])
        for value, segment in layer.segments.items()
        if value < len(counts) and counts[value] and values[segment]
    }


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
        for plane, before in _planes(layer, original):
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

"""Label maps as arrays: what they may hold, and counting in them without a second copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.core.labels import IGNORE, LabelSchema

SLAB_VOXELS = 1 << 21
"""Voxels that are worked on at a time, so that a 512 x 512 x 400 CT needs no second copy of itself in float."""

LabelMap = npt.NDArray[Any]


def check_label_map(labels: LabelMap, schema: LabelSchema, shape_kji: tuple[int, ...], what: str) -> None:
    """Raise InputError unless ``labels`` is whole numbers of this shape with values 0..ignore of the schema."""
    if labels.shape != tuple(shape_kji):
        raise InputError(
            f"{what} has {labels.shape} voxels (k, j, i), the image {tuple(shape_kji)}.", "Both must lie on one grid."
        )
    if labels.dtype.kind not in "ui":
        raise InputError(f"{what} holds {labels.dtype} values; labels are whole numbers.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > schema.ignore_value:
        wrong = low if low < 0 else high
        raise InputError(
            f"{what} holds the value {wrong}, which is no structure: values end with {IGNORE} = {schema.ignore_value}.",
            "Say what this value is, or give a label map with the values of the structures.",
            value=wrong,
        )


def smallest_dtype(value: int) -> type[np.uint8] | type[np.uint16]:
    """The unsigned type for label maps up to ``value``."""
    return np.uint8 if value <= 255 else np.uint16


def slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Ranges along k of about SLAB_VOXELS voxels."""
    step = max(1, SLAB_VOXELS // max(1, shape[1] * shape[2]))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def values_in(labels: LabelMap) -> npt.NDArray[Any]:
    """The values that occur, in order; quick where they lie in patches, as those of structures do."""
    found: set[Any] = set()
    for plane in labels:
        voxels = plane.reshape(-1)
        begins = np.flatnonzero(voxels[1:] != voxels[:-1]) + 1
        found.update(voxels[:1].tolist(), np.unique(voxels[begins]).tolist())
    return np.array(sorted(found), labels.dtype)


def label_counts(labels: LabelMap, schema: LabelSchema) -> npt.NDArray[np.int64]:
    """Number of voxels of each value, from background to ignore."""
    total = np.zeros(schema.ignore_value + 1, np.int64)
    for slab in slabs(labels.shape):
        total += np.bincount(labels[slab].reshape(-1).astype(np.intp, copy=False), minlength=len(total))
    return total


@dataclass(frozen=True)
class LabelPairs:
    """Voxels with each pair of values of two label maps, for the pairs that occur: all of them would be values squared.

    Attributes
    ----------
    rows, columns : (n,) value in the one and in the other label map
    voxels : (n,) how many voxels have both
    values : how many values there are, from background to ignore
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    voxels: npt.NDArray[np.int64]
    values: int

    def of_rows(self) -> npt.NDArray[np.int64]:
        """(values,) voxels of each value in the one label map."""
        return self._sums(self.rows, self.voxels)

    def of_columns(self) -> npt.NDArray[np.int64]:
        """(values,) voxels of each value in the other label map."""
        return self._sums(self.columns, self.voxels)

    def in_both(self) -> npt.NDArray[np.int64]:
        """(values,) voxels that have this value in both label maps."""
        return self._sums(self.rows, np.where(self.rows == self.columns, self.voxels, 0))

    def of(self, row: int, column: int) -> int:
        """Voxels with this pair."""
        return int(self.voxels[(self.rows == row) & (self.columns == column)].sum())

    def where_neither_ignores(self) -> LabelPairs:
        """The pairs without the last value."""
        known = (self.rows < self.values - 1) & (self.columns < self.values - 1)
        return LabelPairs(self.rows[known], self.columns[known], self.voxels[known], self.values)

    def _sums(self, at: npt.NDArray[np.int64], voxels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        total = np.zeros(self.values, np.int64)
        np.add.at(total, at, voxels)
        return total


def label_pairs(rows: LabelMap, columns: LabelMap, schema: LabelSchema) -> LabelPairs:
    """How many voxels have which pair of labels, background and ignore included."""
    values = schema.ignore_value + 1
    total: dict[int, int] = {}
    for slab in slabs(rows.shape):
        joint = rows[slab].astype(np.int64) * values
        np.add(joint, columns[slab], out=joint, casting="unsafe")  # unsigned 64 bits would make it floating point
        if values * values <= SLAB_VOXELS:
            counts = np.bincount(joint.reshape(-1), minlength=values * values)
            pairs = np.flatnonzero(counts)
            counts = counts[pairs]
        else:
            pairs, counts = np.unique(joint, return_counts=True)
        for pair, voxels in zip(pairs.tolist(), counts.tolist(), strict=True):
            total[pair] = total.get(pair, 0) + voxels
    pairs = np.array(sorted(total), np.int64)
    return LabelPairs(pairs // values, pairs % values, np.array([total[p] for p in pairs.tolist()], np.int64), values)

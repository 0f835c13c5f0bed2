"""Whether the values of a label map that came from elsewhere are the model's. Programs renumber structures.

Slicer's own export to a label map, for example, numbers the segments that are there 1, 2, 3, and so on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from activeseg.core.errors import InputError
from activeseg.core.label_map import LabelMap, LabelPairs, label_pairs, smallest_dtype
from activeseg.core.labels import IGNORE, LabelSchema

_GONE = 0.1
"""A structure of which less than this is left under its own value (Dice) is no longer there."""
_FITS = 0.5
"""Another value with more than this (Dice) is the structure: not more than one value can be."""


class DoubtfulValues(InputError):
    """What were structures before are others now. ``value_of`` says which value each seems to have now."""

    def __init__(self, value_of: Mapping[str, int], file: str) -> None:
        self.value_of = dict(value_of)
        shown = [f"'{name}' seems to be {value}" for name, value in list(self.value_of.items())[:5]]
        more = f" and {len(self.value_of) - 5} more" if len(self.value_of) > 5 else ""
        super().__init__(
            f"The values of '{file}' do not mean what the model's do: {', '.join(shown)}{more}. "
            "Some programs renumber the segments when they export a label map.",
            "Save the segmentation as .seg.nrrd, or say which structure each value is.",
            values={str(value): name for name, value in self.value_of.items()},
        )


def check_values(
    before: LabelMap, after: LabelMap, schema: LabelSchema, file: str, taken_for_sure: Collection[int] = ()
) -> None:
    """Raise DoubtfulValues where a structure has vanished from its place and another value stands there.

    Parameters
    ----------
    before, after : (k, j, i) on one grid, values of ``schema``; voxels that one of them ignores do not count
    file : its name, for the message
    taken_for_sure : values of the schema about which the user said so
    """
    doubtful = {
        schema.name_of(was): now
        for was, now in _moved(label_pairs(before, after, schema).where_neither_ignores()).items()
        if was not in taken_for_sure and now not in taken_for_sure
    }
    if doubtful:
        raise DoubtfulValues(doubtful, file)


def _moved(pairs: LabelPairs) -> dict[int, int]:
    """Value before -> value that stands in its place now."""
    before, now = pairs.of_rows(), pairs.of_columns()
    dice_same = 2.0 * pairs.in_both() / np.maximum(before + now, 1)
    dice = 2.0 * pairs.voxels / (before[pairs.rows] + now[pairs.columns])
    other = (pairs.rows > 0) & (pairs.columns > 0) & (pairs.rows != pairs.columns)
    moved = other & (dice > _FITS) & (dice_same[pairs.rows] < _GONE)
    return dict(zip(pairs.rows[moved].tolist(), pairs.columns[moved].tolist(), strict=True))


def renamed_values(
    labels: LabelMap, schema: LabelSchema, structure_of: Mapping[str, str | None], file: str
) -> tuple[LabelMap, set[int]]:
    """The label map with the values that ``structure_of`` (value -> structure, None: background) says, in the schema's.

    Values that are not in it stay. Returns the label map and the values of the schema that it now says something about.
    Raises InputError for what is no value or no structure.
    """
    largest = int(labels.max(initial=0))
    table = np.arange(max(largest, schema.ignore_value) + 1)
    said = set()
    for key, name in structure_of.items():
        text = key.strip()
        if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:9]) <= largest:
            raise InputError(
                f"'{key}' is no value of the label map '{file}', which has 1 to {largest}.",
                "Name its values, for a label map has no segments.",
            )
        value = 0 if name is None else schema.ignore_value if name == IGNORE else schema.named(name).value
        table[int(text)] = value
        said.add(value)
    dtype = smallest_dtype(int(table.max()))
    renamed = np.empty(labels.shape, dtype)
    for plane, target in zip(labels, renamed, strict=True):
        target[...] = table[plane]
    return renamed, said

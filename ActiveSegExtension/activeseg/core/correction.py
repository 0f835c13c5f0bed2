"""What a person changed in a prediction, and which places they looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

from activeseg.core.geometry import Box, Geometry
from activeseg.core.label_map import LabelMap, LabelPairs, check_label_map, label_pairs
from activeseg.core.labels import LabelSchema


class Review(StrEnum):
    """How much of the case the user reviewed, and so which voxels are used as ground truth."""

    ALL = "all"
    REGIONS = "regions"
    NONE = "none"


class RegionState(StrEnum):
    """What became of a place that the user was asked to look at."""

    OPEN = "open"
    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    SKIPPED = "skipped"

    @property
    def reviewed(self) -> bool:
        """Whether a person vouches for every voxel inside."""
        return self in (RegionState.ACCEPTED, RegionState.CORRECTED)


def patch_names(region: int, alternative: int) -> tuple[str, str]:
    """The names in ``alternatives.npz`` of an alternative's label patch and of its mask; both count from 1."""
    name = f"region{region}_alternative{alternative}"
    return f"{name}_labels", f"{name}_changed"


class Place(Protocol):
    """A region as far as this file needs to know it; ``regions.Region`` is one."""

    @property
    def number(self) -> int: ...
    @property
    def box_kji(self) -> Box: ...
    @property
    def state(self) -> RegionState: ...


@dataclass(frozen=True)
class RegionReview:
    """A region's number in the list, its box on the CT's grid (half-open ranges along k, j, i) and its state."""

    number: int
    box_kji: Box
    state: RegionState = RegionState.OPEN

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into arrays (k, j, i) of the CT's grid."""
        k, j, i = self.box_kji
        return slice(*k), slice(*j), slice(*i)

    def to_dict(self) -> dict[str, Any]:
        return {"number": self.number, "box_kji": [list(r) for r in self.box_kji], "state": self.state.value}


@dataclass(frozen=True)
class StructureChange:
    """What happened to one structure. Voxels are counted on the CT's grid.

    ``dice_before`` and ``dice_after`` compare the prediction and the edited label map with the truth; without a truth
    the edited label map stands for it, and ``dice_after`` is 1. None where both are empty.
    """

    name: str
    voxels_before: int
    voxels_after: int
    voxels_added: int
    voxels_removed: int
    voxel_mm3: float
    dice_before: float | None
    dice_after: float | None

    @property
    def voxels_changed(self) -> int:
        return self.voxels_added + self.voxels_removed

    @property
    def mm3_changed(self) -> float:
        return self.voxels_changed * self.voxel_mm3

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "voxels_before": self.voxels_before,
            "voxels_after": self.voxels_after,
            "voxels_added": self.voxels_added,
            "voxels_removed": self.voxels_removed,
            "mm3_before": self.voxels_before * self.voxel_mm3,
            "mm3_after": self.voxels_after * self.voxel_mm3,
            "mm3_changed": self.mm3_changed,
            "dice_before": self.dice_before,
            "dice_after": self.dice_after,
        }


@dataclass(frozen=True)
class Correction:
    """An edited label map against the prediction that it started from.

    Attributes
    ----------
    structures : one entry for each structure of the schema that the prediction or the edited label map holds
    voxels_changed : voxels whose label differs
    ignored_to_background : voxels that were ignored and count as background now
    regions : the places the user was asked about, with what became of them
    seconds : time spent, if it was measured
    annotator, notes : the user's own words
    """

    structures: tuple[StructureChange, ...]
    voxels_changed: int
    regions: tuple[RegionReview, ...] = ()
    ignored_to_background: int = 0
    annotator: str = ""
    seconds: float | None = None
    notes: str = ""

    @classmethod
    def between(
        cls,
        predicted: LabelMap,
        edited: LabelMap,
        geometry: Geometry,
        schema: LabelSchema,
        *,
        truth: LabelMap | None = None,
        regions: Iterable[Place] = (),
        annotator: str = "",
        seconds: float | None = None,
        notes: str = "",
    ) -> Correction:
        """Compare two label maps (k, j, i) of ``schema`` on the CT's grid; both may hold the ignore value.

        ``regions`` are taken with their states; an edit inside a region that was open or skipped makes it corrected.
        Voxels that are ignore on either side of a Dice are left out of it. Raises InputError when a shape or a value
        does not fit.
        """
        for name, labels in (("predicted", predicted), ("edited", edited), ("true", truth)):
            if labels is not None:
                check_label_map(labels, schema, geometry.shape_kji, f"The {name} label map")
        moved = label_pairs(predicted, edited, schema)
        before = moved if truth is None else label_pairs(predicted, truth, schema)
        after = label_pairs(edited, edited if truth is None else truth, schema)
        was, now, kept, true = moved.of_rows(), moved.of_columns(), moved.in_both(), before.of_columns()
        dice_before, dice_after = _dice(before), _dice(after)
        structures = [
            StructureChange(
                label.name,
                int(was[v]),
                int(now[v]),
                int(now[v] - kept[v]),
                int(was[v] - kept[v]),
                geometry.voxel_mm3,
                dice_before[v],
                dice_after[v],
            )
            for label in schema.labels
            if was[v := label.value] or now[v] or true[v]
        ]
        return cls(
            tuple(structures),
            int(moved.voxels.sum() - kept.sum()),
            states_after_editing(regions, predicted, edited),
            moved.of(schema.ignore_value, 0),
            annotator,
            seconds,
            notes,
        )

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the structures that the user changed."""
        return tuple(s.name for s in self.structures if s.voxels_changed)

    @property
    def added(self) -> tuple[str, ...]:
        """Names of the structures that the prediction had not found at all."""
        return tuple(s.name for s in self.structures if s.voxels_after and not s.voxels_before)

    @property
    def deleted(self) -> tuple[str, ...]:
        """Names of the structures of which nothing is left: they count as background."""
        return tuple(s.name for s in self.structures if s.voxels_before and not s.voxels_after)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; structures that stayed as they were are left out."""
        return {
            "voxels_changed": self.voxels_changed,
            "structures": [s.to_dict() for s in self.structures if s.voxels_changed],
            "added": list(self.added),
            "deleted": list(self.deleted),
            "regions": [r.to_dict() for r in self.regions],
            "annotator": self.annotator,
            "seconds": self.seconds,
            "notes": self.notes,
        }

    def sentences(self) -> tuple[str, ...]:
        """What to tell the user before the case is stored, most important first."""
        told = [
            f"'{name}' was deleted: all its voxels that no other structure took become background."
            for name in self.deleted
        ]
        if self.ignored_to_background:
            told.append(f"{self.ignored_to_background} voxels that were ignored count as background now.")
        told += [f"'{name}' was added." for name in self.added]
        told += [
            f"'{s.name}': {s.voxels_added} voxels added, {s.voxels_removed} removed ({s.mm3_changed:.0f} mm3)."
            for s in sorted(self.structures, key=lambda s: -s.voxels_changed)
            if s.voxels_changed and s.name not in self.deleted + self.added
        ]
        return tuple(told) or ("Nothing was changed.",)


def states_after_editing(regions: Iterable[Place], predicted: LabelMap, edited: LabelMap) -> tuple[RegionReview, ...]:
    """What became of the regions: an edit inside the box of an open or skipped one makes it corrected."""
    told = []
    for place in regions:
        region = RegionReview(place.number, place.box_kji, place.state)
        if not region.state.reviewed and np.any(predicted[region.slices] != edited[region.slices]):
            region = replace(region, state=RegionState.CORRECTED)
        told.append(region)
    return tuple(told)


def _dice(pairs: LabelPairs) -> list[float | None]:
    """For each value 2 |A and B| / (|A| + |B|) over voxels that neither side ignores."""
    known = pairs.where_neither_ignores()
    sizes, both = (known.of_rows() + known.of_columns()).tolist(), known.in_both().tolist()
    return [2.0 * shared / size if size else None for shared, size in zip(both, sizes, strict=True)]

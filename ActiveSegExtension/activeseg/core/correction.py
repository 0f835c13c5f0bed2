"""What a person changed in a prediction, and which regions they reviewed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import numpy as np

from activeseg.core.geometry import Box, Geometry, slices_of
from activeseg.core.label_map import LabelMap, LabelPairs, check_label_map, label_pairs
from activeseg.core.labels import LabelSchema
from activeseg.core.records import NOT_WRITTEN, Within, to_json, written_as


class Review(StrEnum):
    """How much of the case the user reviewed, and so which voxels are used as ground truth."""

    ALL = "all"
    REGIONS = "regions"
    NONE = "none"


class RegionState(StrEnum):
    """Review state of a region."""

    OPEN = "open"
    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    SKIPPED = "skipped"

    @property
    def reviewed(self) -> bool:
        """Whether a person vouches for every voxel inside."""
        return self in (RegionState.ACCEPTED, RegionState.CORRECTED)


class RegionReason(StrEnum):
    """Why a region is listed: the members differ there, none of them is sure, the scan cuts a structure off, or the
    labels that a case has are others than those that a model proposes."""

    MEMBERS_DISAGREE = "members_disagree"
    LOW_CONFIDENCE = "low_confidence"
    OPEN_EDGE = "open_edge"
    LABELS_DIFFER = "labels_differ"

    @property
    def words(self) -> str:
        """For a list."""
        return self.value.replace("_", " ")


NOTHING_HERE = "nothing here"
"""What background is called where a person reads of it."""


def patch_names(region: int, alternative: int) -> tuple[str, str]:
    """The names in ``alternatives.npz`` of an alternative's label patch and of its mask; both count from 1."""
    name = f"region{region}_alternative{alternative}"
    return f"{name}_labels", f"{name}_changed"


@dataclass(frozen=True)
class RegionReview:
    """A region's number in the list, its box on the CT's grid (half-open ranges along k, j, i) and its state."""

    number: int
    box_kji: Box
    state: RegionState = RegionState.OPEN

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into arrays (k, j, i) of the CT's grid."""
        return slices_of(self.box_kji)


@dataclass(frozen=True, kw_only=True)
class Region(RegionReview):
    """A region to review, as ``regions.json`` lists it: without its alternatives.

    Attributes
    ----------
    number
        1 = worst.
    center_ras
        Where views should jump to, mm: the middle of the uncertain core; it lies in the box.
    score
        Mean doubt over a box of the largest size, 0..1.
    structures
        Names of the uncertain structures, most affected first; empty where only background is.
    size_voxels, size_mm3
        Size of the core, in voxels of the CT and in mm3.
    votes
        For each structure (background too) how many members see mostly that in the core.
    reason
        Why it is listed; None in files of version 0.1.
    doubt
        Mean uncertainty of the core, 0..1, where 1 is a coin toss between two structures
        (``uncertainty_scale.coin_toss``); None in files of version 0.1.
    """

    center_ras: tuple[float, float, float] = field(metadata=written_as("center_ras_mm"))
    score: float
    structures: tuple[str, ...]
    size_voxels: int
    size_mm3: float
    votes: Mapping[str, int]
    reason: RegionReason | None = None
    doubt: Annotated[float, Within(0, 1)] | None = None

    @property
    def about(self) -> str:
        """Its structures for a person to read."""
        return ", ".join(name.replace("_", " ") for name in self.structures) or NOTHING_HERE

    @property
    def reason_text(self) -> str:
        """Why it is listed; empty where that is not known."""
        return "" if self.reason is None else self.reason.words

    @property
    def doubt_text(self) -> str:
        """``doubt`` in percent, at least 1: a region without doubt is not listed. Empty where it is not known."""
        return "" if self.doubt is None else f"{max(1, round(100 * self.doubt))} %"


@dataclass(frozen=True)
class StructureChange:
    """What happened to one structure. Voxels are counted on the CT's grid.

    ``dice_before`` and ``dice_after`` compare the prediction and the edited label map with the truth; without a truth
    the edited label map stands for it, and ``dice_after`` is 1. None where both are empty.
    """

    ALSO_WRITTEN: ClassVar = ("mm3_before", "mm3_after", "mm3_changed")
    name: str
    voxels_before: int
    voxels_after: int
    voxels_added: int
    voxels_removed: int
    voxel_mm3: float = field(metadata=NOT_WRITTEN)
    dice_before: float | None
    dice_after: float | None

    @property
    def voxels_changed(self) -> int:
        return self.voxels_added + self.voxels_removed

    @property
    def mm3_before(self) -> float:
        return self.voxels_before * self.voxel_mm3

    @property
    def mm3_after(self) -> float:
        return self.voxels_after * self.voxel_mm3

    @property
    def mm3_changed(self) -> float:
        return self.voxels_changed * self.voxel_mm3


@dataclass(frozen=True)
class Correction:
    """An edited label map against the prediction that it started from.

    Attributes
    ----------
    structures : one entry for each structure of the schema that the prediction or the edited label map holds
    voxels_changed : voxels whose label differs
    ignored_to_background : voxels that were ignored and count as background now
    regions : the regions to review, with their states
    seconds : time spent, if it was measured
    annotator, notes : the user's own words
    """

    ALSO_WRITTEN: ClassVar = ("added", "deleted")
    structures: tuple[StructureChange, ...]
    voxels_changed: int
    regions: tuple[RegionReview, ...] = ()
    ignored_to_background: int = field(default=0, metadata=NOT_WRITTEN)
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
        regions: Iterable[RegionReview] = (),
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
        changed = tuple(s for s in self.structures if s.voxels_changed)
        return dict(to_json(replace(self, structures=changed)))

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


def states_after_editing(
    regions: Iterable[RegionReview], predicted: LabelMap, edited: LabelMap
) -> tuple[RegionReview, ...]:
    """States of the regions: an edit inside the box of an open or skipped one makes it corrected."""
    told = []
    for region in (RegionReview(region.number, region.box_kji, region.state) for region in regions):
        edited_inside = bool(np.any(predicted[region.slices] != edited[region.slices]))
        corrected = edited_inside and not region.state.reviewed
        told.append(replace(region, state=RegionState.CORRECTED) if corrected else region)
    return tuple(told)


def _dice(pairs: LabelPairs) -> list[float | None]:
    """For each value 2 |A and B| / (|A| + |B|) over voxels that neither side ignores."""
    known = pairs.where_neither_ignores()
    sizes, both = (known.of_rows() + known.of_columns()).tolist(), known.in_both().tolist()
    return [2.0 * shared / size if size else None for shared, size in zip(both, sizes, strict=True)]

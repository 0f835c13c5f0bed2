"""What a person changed in a prediction, and which voxels of the result may count as truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from activeseg.errors import InputError
from activeseg.labels import IGNORE, LabelSchema
from activeseg.volume import Geometry, Volume

SLAB_VOXELS = 1 << 21
"""Voxels that are worked on at a time, so that a 512 x 512 x 400 CT needs no second copy of itself in float."""

IGNORED_SHARE = 0.05
"""At most this part of a structure is ignored under ``Review.REGIONS``: with more it would not be learned."""

LabelMap = npt.NDArray[Any]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class Review(StrEnum):
    """How much of the case the user looked at, and so what counts as truth (design section 7, in its order)."""

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
    regions : the places the user was asked about, with what became of them
    seconds : time spent, if it was measured
    annotator, notes : the user's own words
    """

    structures: tuple[StructureChange, ...]
    voxels_changed: int
    regions: tuple[RegionReview, ...] = ()
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
        moved = _pairs(predicted, edited, schema)
        before = moved if truth is None else _pairs(predicted, truth, schema)
        after = _pairs(edited, edited if truth is None else truth, schema)
        structures = []
        for label in schema.labels:
            v = label.value
            was, now, kept = int(moved[v].sum()), int(moved[:, v].sum()), int(moved[v, v])
            if was or now or before[:, v].any():
                dice = _dice(before, v), _dice(after, v)
                structures.append(
                    StructureChange(label.name, was, now, now - kept, was - kept, geometry.voxel_mm3, *dice)
                )
        return cls(
            tuple(structures),
            int(moved.sum() - np.trace(moved)),
            states_after_editing(regions, predicted, edited),
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
        told += [f"'{name}' was added." for name in self.added]
        told += [
            f"'{s.name}': {s.voxels_added} voxels added, {s.voxels_removed} removed ({s.mm3_changed:.0f} mm3)."
            for s in sorted(self.structures, key=lambda s: -s.voxels_changed)
            if s.voxels_changed and s.name not in self.deleted + self.added
        ]
        return tuple(told) or ("Nothing was changed.",)


@dataclass(frozen=True)
class TrainingSummary:
    """What ``label_for_training`` did with the voxels that nobody looked at.

    Attributes
    ----------
    ignored : voxels that became ``ignore``, by the structure they had (``background`` is one)
    kept_by_limit : uncertain voxels that count as truth only because of the limit of 5 %, likewise
    not_computed : voxels without an uncertainty value that would have been judged by it; they count as truth
    """

    review: Review
    voxels: int
    ignored: dict[str, int]
    kept_by_limit: dict[str, int]
    not_computed: int
    regions_reviewed: int

    @property
    def ignored_voxels(self) -> int:
        return sum(self.ignored.values())

    def to_dict(self) -> dict[str, Any]:
        return {
            "review": self.review.value,
            "ignored_voxels": self.ignored_voxels,
            "ignored": self.ignored,
            "kept_by_limit": self.kept_by_limit,
            "not_computed": self.not_computed,
            "regions_reviewed": self.regions_reviewed,
        }

    def sentences(self) -> tuple[str, ...]:
        """For the user: what counts as truth and what does not."""
        share = self.ignored_voxels / max(self.voxels, 1)
        told = [f"{self.ignored_voxels} voxels ({share:.1%}) are ignored in training; all others count as truth."]
        if self.not_computed:
            told.append(f"{self.not_computed} voxels have no uncertainty value (not computed); they count as truth.")
        if self.kept_by_limit:
            told.append(
                f"More than {IGNORED_SHARE:.0%} of {', '.join(self.kept_by_limit)} is uncertain; "
                "only the most uncertain voxels are ignored there. Review more regions."
            )
        if share > 0.5:
            told.append("Most of this case is ignored. Training on such cases lets structures spread: review more.")
        return tuple(told)


def label_for_training(
    edited: LabelMap,
    predicted: LabelMap,
    schema: LabelSchema,
    review: Review,
    geometry: Geometry,
    *,
    uncertainty: Volume | None = None,
    threshold: float = 0.25,
    regions: Iterable[Place] = (),
) -> tuple[LabelMap, TrainingSummary]:
    """The label map that goes into the dataset: the edited one, with ``ignore`` where nobody vouches for it.

    * ``Review.ALL``: everything counts as truth.
    * ``Review.REGIONS``: voxels whose uncertainty is above ``threshold`` become ``ignore``, unless the user edited them
      or they lie in a reviewed region. Of each structure at most 5 % of its voxels, the most uncertain ones. Background
      has no size of its own: 5 % of it would be a thick shell around everything, into which structures could grow
      unpunished. Its limit is 5 % of the voxels of all structures together, as many as all of them may give.
    * ``Review.NONE``: everything becomes ``ignore``, except what the user edited and what lies in a reviewed region.

    Parameters
    ----------
    edited, predicted : (k, j, i) on the CT's grid, values of ``schema``; ignore in ``edited`` stays ignore
    geometry : the CT's grid
    uncertainty : 0..1 on its own grid (the network's), sampled linearly at the CT's voxels; NaN, and voxels beyond the
        grid, are "not computed": they are not ignored, and counted in the summary. Needed for ``Review.REGIONS``
    regions : an edit inside a region's box makes it reviewed

    Returns
    -------
    labels : (k, j, i) uint8 or uint16
    summary : what was ignored, and why the rest was not

    Raises
    ------
    InputError : a shape or value does not fit, or ``Review.REGIONS`` without an uncertainty map
    """
    for name, labels in (("predicted", predicted), ("edited", edited)):
        check_label_map(labels, schema, geometry.shape_kji, f"The {name} label map")
    result = edited.astype(smallest_dtype(schema.ignore_value))
    states = states_after_editing(regions, predicted, edited)
    reviewed = [region for region in states if region.state.reviewed]
    names = [schema.name_of(value) for value in range(schema.ignore_value + 1)]
    kept = np.zeros(len(names), np.int64)
    not_computed = 0
    if review is Review.NONE:
        free = np.ones(edited.shape, bool)
        _exclude(free, edited, predicted, reviewed)
        result[free] = schema.ignore_value
    elif review is Review.REGIONS:
        if uncertainty is None:
            raise InputError(
                "There is no uncertainty map to decide what was worth a look.",
                "Export with review 'all' if you looked at everything, or with 'none'.",
            )
        limits = _limits(edited, schema)
        most = _MostUncertain(limits)
        for start, values in _sampled(uncertainty, geometry):
            slab = slice(start, start + len(values))
            free = np.ones(values.shape, bool)
            _exclude(free, edited[slab], predicted[slab], reviewed, start)
            free &= edited[slab] != schema.ignore_value
            not_computed += int(np.count_nonzero(free & np.isnan(values)))
            with np.errstate(invalid="ignore"):
                free &= values > threshold
            at = np.flatnonzero(free)
            most.add(at + start * edited[0].size, values.reshape(-1)[at], edited[slab].reshape(-1)[at])
        result.reshape(-1)[most.positions()] = schema.ignore_value
        kept = most.seen - np.minimum(most.seen, limits)
    ignored = label_counts(edited, schema) - label_counts(result, schema)  # negative for ignore itself
    return result, TrainingSummary(
        review,
        int(edited.size),
        {name: int(n) for name, n in zip(names, ignored, strict=True) if n > 0},
        {name: int(n) for name, n in zip(names, kept, strict=True) if n > 0},
        not_computed,
        len(reviewed),
    )


def states_after_editing(regions: Iterable[Place], predicted: LabelMap, edited: LabelMap) -> tuple[RegionReview, ...]:
    """What became of the regions: an edit inside the box of an open or skipped one makes it corrected."""
    told = []
    for place in regions:
        region = RegionReview(place.number, place.box_kji, place.state)
        if not region.state.reviewed and np.any(predicted[region.slices] != edited[region.slices]):
            region = replace(region, state=RegionState.CORRECTED)
        told.append(region)
    return tuple(told)


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
            f"{what} holds the value {wrong}; its schema ends with {IGNORE} = {schema.ignore_value}.",
            value=wrong,
        )


def smallest_dtype(value: int) -> type[np.uint8] | type[np.uint16]:
    """The unsigned type for label maps up to ``value``."""
    return np.uint8 if value <= 255 else np.uint16


def _slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Ranges along k of about SLAB_VOXELS voxels."""
    step = max(1, SLAB_VOXELS // max(1, shape[1] * shape[2]))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def label_counts(labels: LabelMap, schema: LabelSchema) -> npt.NDArray[np.int64]:
    """Number of voxels of each value, from background to ignore."""
    total = np.zeros(schema.ignore_value + 1, np.int64)
    for slab in _slabs(labels.shape):
        total += np.bincount(labels[slab].reshape(-1), minlength=len(total))
    return total


def _pairs(rows: LabelMap, columns: LabelMap, schema: LabelSchema) -> npt.NDArray[np.int64]:
    """(V, V) numbers of voxels with each pair of labels, background and ignore included."""
    values = schema.ignore_value + 1
    total = np.zeros(values * values, np.int64)
    for slab in _slabs(rows.shape):
        joint = rows[slab].astype(np.int64) * values + columns[slab]
        total += np.bincount(joint.reshape(-1), minlength=values * values)
    return total.reshape(values, values)


def _dice(pairs: npt.NDArray[np.int64], value: int) -> float | None:
    """2 |A and B| / (|A| + |B|) over voxels that neither side ignores (the last row and column)."""
    known = pairs[:-1, :-1]
    size = int(known[value].sum() + known[:, value].sum())
    return 2.0 * int(known[value, value]) / size if size else None


def _limits(edited: LabelMap, schema: LabelSchema) -> npt.NDArray[np.int64]:
    """How many voxels of each value may be ignored: see ``label_for_training`` for background."""
    counts = label_counts(edited, schema)
    counts[0] = counts[1:-1].sum()
    counts[-1] = 0
    return (counts * IGNORED_SHARE + 1e-9).astype(np.int64)


def _exclude(
    free: npt.NDArray[np.bool_], edited: LabelMap, predicted: LabelMap, reviewed: Sequence[RegionReview], start: int = 0
) -> None:
    """Clear ``free`` (a slab that begins at k = ``start``) where the user edited or reviewed."""
    for slab in _slabs(free.shape):
        free[slab] &= edited[slab] == predicted[slab]
    for region in reviewed:
        k, j, i = region.slices
        free[max(k.start - start, 0) : max(k.stop - start, 0), j, i] = False


class _MostUncertain:
    """Collects voxels slab by slab and keeps, for each label value, the most uncertain ones up to its limit."""

    def __init__(self, limits: npt.NDArray[np.int64]) -> None:
        self.limits = limits
        self.seen = np.zeros(len(limits), np.int64)
        self._bar = np.where(limits > 0, -np.inf, np.inf).astype(np.float32)
        self._at = np.empty(0, np.int64)
        self._uncertainty = np.empty(0, np.float32)
        self._value = np.empty(0, np.int64)

    def add(self, at: npt.NDArray[Any], uncertainty: npt.NDArray[Any], value: LabelMap) -> None:
        """Voxels by flat index, in rising order from call to call, so that a later one never beats an equal one."""
        self.seen += np.bincount(value, minlength=len(self.limits))
        better = uncertainty > self._bar[value]
        at, uncertainty, value = at[better], uncertainty[better], value[better]
        self._at = np.concatenate([self._at, at])
        self._uncertainty = np.concatenate([self._uncertainty, uncertainty])
        self._value = np.concatenate([self._value, value.astype(np.int64)])
        if len(self._at) > self.limits.sum() + 2 * SLAB_VOXELS:
            self._prune()
            full = np.bincount(self._value, minlength=len(self.limits)) >= self.limits
            lowest = np.full(len(self.limits), np.inf, np.float32)
            np.minimum.at(lowest, self._value, self._uncertainty)
            self._bar = np.where(full, lowest, self._bar)

    def _prune(self) -> None:
        # By label, then falling uncertainty, then position, so that equal values are cut the same way every time.
        order = np.lexsort((self._at, -self._uncertainty, self._value))
        value = self._value[order]
        first = np.searchsorted(value, np.arange(len(self.limits)))
        rank = np.arange(len(value)) - first[value]
        order = order[rank < self.limits[value]]
        self._at, self._uncertainty, self._value = self._at[order], self._uncertainty[order], self._value[order]

    def positions(self) -> npt.NDArray[np.int64]:
        """Flat indices of the voxels that were kept."""
        self._prune()
        return self._at


def _sampled(uncertainty: Volume, target: Geometry) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """The map at the voxels of ``target``, in slabs: first k and float32 (slab, j, i); NaN where there is no value.

    Linear between voxel centres; within half a voxel beyond the outermost centres the border value counts.
    """
    from scipy.ndimage import affine_transform  # the command line needs this file's enums at its start, not scipy

    source = np.ascontiguousarray(uncertainty.array, dtype=np.float32)
    if uncertainty.geometry.same_grid(target):
        for slab in _slabs(target.shape_kji):
            yield slab.start, source[slab]
        return
    xyz = np.linalg.inv(uncertainty.geometry.ijk_to_lps) @ target.ijk_to_lps
    matrix, offset = xyz[:3, :3][::-1, ::-1], xyz[:3, 3][::-1]  # the same map in array axes (k, j, i)
    matrix = np.where(np.abs(matrix) < 1e-9, 0.0, matrix)
    for slab in _slabs(target.shape_kji):
        shape = (slab.stop - slab.start, *target.shape_kji[1:])
        shifted = offset + matrix[:, 0] * slab.start
        values = np.asarray(
            affine_transform(source, matrix, shifted, shape, np.float32, order=1, mode="nearest", prefilter=False)
        )
        for axis in range(3):
            at = shifted[axis] + sum(
                matrix[axis, d] * np.arange(shape[d]).reshape([-1 if e == d else 1 for e in range(3)])
                for d in range(3)
                if matrix[axis, d]
            )
            beyond = (at < -0.5) | (at > source.shape[axis] - 0.5)
            values[np.broadcast_to(beyond, shape)] = np.nan
        yield slab.start, values

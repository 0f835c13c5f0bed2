"""The label map to train on: which voxels of a corrected one count as truth, and which become ``ignore``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from activeseg.core import label_map
from activeseg.core.correction import RegionReview, Review, states_after_editing
from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.label_map import LabelMap, check_label_map, label_counts, slabs, smallest_dtype
from activeseg.core.labels import LabelSchema
from activeseg.core.records import NOT_WRITTEN, to_json
from activeseg.core.resample import sampled
from activeseg.core.volume import Volume

IGNORED_SHARE = 0.05
"""At most this part of a structure is ignored under ``Review.REGIONS``: with more it would not be learned."""


@dataclass(frozen=True)
class TrainingSummary:
    """What ``label_for_training`` did with unreviewed voxels.

    Attributes
    ----------
    ignored : voxels that became ``ignore``, by the structure they had (``background`` is one)
    kept_by_limit : uncertain voxels that count as truth only because of the limit of 5 %, likewise
    not_computed : voxels without an uncertainty value that would have been judged by it; they count as truth
    """

    ALSO_WRITTEN: ClassVar = ("ignored_voxels",)
    review: Review
    voxels: int = field(metadata=NOT_WRITTEN)
    ignored: dict[str, int]
    kept_by_limit: dict[str, int]
    not_computed: int
    regions_reviewed: int

    @property
    def ignored_voxels(self) -> int:
        return sum(self.ignored.values())

    def to_dict(self) -> dict[str, Any]:
        return dict(to_json(self))

    def sentences(self) -> tuple[str, ...]:
        """For the user: which voxels are used as ground truth, and which are ignored."""
        share = self.ignored_voxels / max(self.voxels, 1)
        told = [
            f"{self.ignored_voxels} voxels ({share:.1%}) are ignored in training; all others are used as ground truth."
        ]
        if self.not_computed:
            told.append(
                f"{self.not_computed} voxels have no uncertainty value (not computed); they are used as ground truth."
            )
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
    regions: Iterable[RegionReview] = (),
) -> tuple[LabelMap, TrainingSummary]:
    """The label map that goes into the dataset: the edited one, with ``ignore`` where it was not reviewed.

    * ``Review.ALL``: everything is used as ground truth.
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
                "There is no uncertainty map to decide which voxels are uncertain.",
                "Export with review 'all' if you reviewed the whole case, or with 'none'.",
            )
        limits = _limits(edited, schema)
        most = _MostUncertain(limits)
        for start, values in sampled(uncertainty, geometry):
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
    for slab in slabs(free.shape):
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
        if len(self._at) > self.limits.sum() + 2 * label_map.SLAB_VOXELS:
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

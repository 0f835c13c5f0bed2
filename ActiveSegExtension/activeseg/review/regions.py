"""Where to look: the few regions of a segmentation that a person should review, worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import Region, RegionReview
from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry, box_on, slices_of
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes, Segmented
from activeseg.review.alternatives import Alternative, find_alternatives
from activeseg.review.doubt import Doubt, doubt_of
from activeseg.review.region_reason import doubt_share, reason_of
from activeseg.review.region_search import DEFAULT_SEARCH, Place, Search, choose_places

BODY_HU = -300


_AFFECTED_PART = 0.1  # a structure with less of the core's doubt than this part of the most affected one is not named


@dataclass(frozen=True, kw_only=True)
class FoundRegion(Region):
    """A region with what members would draw there instead, most votes first."""

    alternatives: tuple[Alternative, ...] = ()


def body_volume_mm3(ct: Volume) -> float:
    """Volume of what is denser than air and lung, above -300 HU."""
    return float(np.count_nonzero(ct.array > BODY_HU)) * ct.geometry.voxel_mm3


def find_regions(
    segmented: Segmented,
    ct_geometry: Geometry,
    focus: Sequence[str] = (),
    count: int = 10,
    measure: str | None = None,
    body_mm3: float | None = None,
    search: Search = DEFAULT_SEARCH,
) -> tuple[FoundRegion, ...]:
    """The regions to review, worst first; fewer than ``count`` when there is no more doubt.

    Parameters
    ----------
    ct_geometry : the CT's grid, on which boxes and patches are given
    focus : names of the structures that regions may be about; empty means all
    measure : ``variance``, ``entropy`` or ``mutual_information``; None takes the run's default
    body_mm3 : volume of the body (``body_volume_mm3``), which limits the boxes; None takes that of all structures

    Raises
    ------
    InputError : a focus structure is unknown, or this run has not got that measure
    """
    grid = segmented.grid
    uncertainty = grid.ranking(measure or grid.default_measure)
    if uncertainty is None:
        raise InputError(f"This run has no {measure}; it had one member.", "Take entropy, or run with more members.")
    wanted = [segmented.schema.named(name).value for name in focus] or range(len(segmented.schema) + 1)
    if body_mm3 is None:
        body_mm3 = float(np.count_nonzero(segmented.labels)) * ct_geometry.voxel_mm3
    doubt = doubt_of(grid, uncertainty)
    places = choose_places(doubt, grid, ct_geometry, wanted, count, body_mm3, search)
    used = measure or grid.default_measure
    return tuple(
        _region(number, place, doubt, segmented, ct_geometry, used) for number, place in enumerate(places, start=1)
    )


def without(votes: GridVotes, ct_geometry: Geometry, regions: Sequence[RegionReview]) -> GridVotes:
    """The same votes without doubt in these regions, so that none is found there; nothing else is copied."""
    if not regions:
        return votes
    maps = {name: getattr(votes, name) for name in ("entropy", "variance", "mutual_information")}
    copies = {name: array.copy() for name, array in maps.items() if array is not None}
    for region in regions:
        where = slices_of(box_on(region.box_kji, ct_geometry, votes.geometry))
        for array in copies.values():
            array[where] = 0
    return replace(votes, **copies)


def apply_alternative(labels: npt.NDArray[Any], region: FoundRegion, index: int = 0) -> npt.NDArray[Any]:
    """New labels (k, j, i) on the CT's grid with the alternative's changed voxels; ``labels`` stays as it is.

    Raises InputError when there is no such alternative or the label map is of another CT.
    """
    if not 0 <= index < len(region.alternatives):
        raise InputError(
            f"Region {region.number} has {len(region.alternatives)} alternatives; there is no number {index + 1}.",
            "List the regions to see what can be taken.",
        )
    alternative = region.alternatives[index]
    if labels[region.slices].shape != alternative.changed.shape:
        raise InputError(
            f"The label map has shape {labels.shape}, which does not hold the region at {region.box_kji}.",
            "Give the label map of the CT that the region was found in.",
        )
    result = labels.copy()
    np.copyto(result[region.slices], alternative.labels.astype(labels.dtype), where=alternative.changed)
    return result


def _region(
    number: int, place: Place, doubt: Doubt, segmented: Segmented, ct_geometry: Geometry, measure: str
) -> FoundRegion:
    grid, schema = segmented.grid, segmented.schema
    core, weight = doubt.said[:, place.core], doubt.excess[place.core]
    core_kji = doubt.at_kji[:, place.core].T
    mass = {
        int(value): float(weight[(core == value).any(axis=0)].sum())
        for value in np.unique(core)
        if 0 < value <= len(schema)
    }
    most = max(mass.values(), default=0.0)
    affected = [value for value in sorted(mass, key=lambda value: -mass[value]) if mass[value] >= _AFFECTED_PART * most]
    votes: dict[str, int] = {}
    for vote in core[1:]:
        seen = np.bincount(vote, weights=weight)[: len(schema) + 1]
        if seen.any():
            name = schema.name_of(int(seen.argmax()))
            votes[name] = votes.get(name, 0) + 1
    size_mm3 = len(core_kji) * grid.geometry.voxel_mm3
    r, a, s = grid.geometry.ras_of_ijk(doubt.at_kji[::-1, place.middle])
    return FoundRegion(
        number,
        place.box_kji,
        center_ras=(float(r), float(a), float(s)),
        score=place.score,
        structures=tuple(schema.name_of(value) for value in affected),
        size_voxels=max(1, round(size_mm3 / ct_geometry.voxel_mm3)),
        size_mm3=size_mm3,
        votes=dict(sorted(votes.items(), key=lambda entry: -entry[1])),
        reason=reason_of(doubt.at_kji[:, place.core], core, weight, grid.geometry, ct_geometry),
        doubt=doubt_share(grid, measure, doubt.at_kji[:, place.core]),
        alternatives=find_alternatives(segmented, ct_geometry, place.box_kji, core_kji),
    )

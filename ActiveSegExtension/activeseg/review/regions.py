"""Where to look: the few regions of a segmentation that a person should review, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import RegionState, patch_names
from activeseg.core.errors import InputError, shown
from activeseg.core.geometry import Box, Geometry
from activeseg.core.volume import Volume
from activeseg.core.votes import Segmented
from activeseg.review.alternatives import Alternative, find_alternatives
from activeseg.review.excess_uncertainty import Doubt, doubt_of
from activeseg.review.region_search import DEFAULT_SEARCH, Place, Search, choose_places

BODY_HU = -300


_AFFECTED_PART = 0.1  # a structure with less of the core's doubt than this part of the most affected one is not named


@dataclass(frozen=True)
class Region:
    """A region to review.

    Attributes
    ----------
    number : 1 = worst
    box_kji : half-open index ranges on the CT's grid, ((k0, k1), (j0, j1), (i0, i1))
    center_ras : where views should jump to, mm: the middle of the doubtful core; it lies in the box
    score : mean doubt over a box of the largest size, 0..1
    structures : names of the structures in doubt, most affected first; empty where only background is
    size_voxels, size_mm3 : size of the core, in voxels of the CT and in mm3
    votes : for each structure (background too) how many members see mostly that in the core
    alternatives : what members would draw here instead, most votes first
    state : what the user has done with it
    """

    number: int
    box_kji: Box
    center_ras: tuple[float, float, float]
    score: float
    structures: tuple[str, ...]
    size_voxels: int
    size_mm3: float
    votes: Mapping[str, int]
    alternatives: tuple[Alternative, ...] = ()
    state: RegionState = RegionState.OPEN

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into arrays (k, j, i) of the CT's grid."""
        k, j, i = self.box_kji
        return slice(*k), slice(*j), slice(*i)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, without the alternatives' arrays."""
        return {
            "number": self.number,
            "box_kji": [list(span) for span in self.box_kji],
            "center_ras_mm": list(self.center_ras),
            "score": self.score,
            "structures": list(self.structures),
            "size_voxels": self.size_voxels,
            "size_mm3": self.size_mm3,
            "votes": dict(self.votes),
            "alternatives": [alternative.to_dict() for alternative in self.alternatives],
            "state": str(self.state),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], patches: Mapping[str, npt.NDArray[Any]]) -> Region:
        """Reads ``to_dict`` and the arrays of ``alternatives.npz`` back. Raises InputError when they do not fit."""
        try:
            number = int(data["number"])
            k, j, i = ((int(low), int(high)) for low, high in data["box_kji"])
            r, a, s = (float(v) for v in data["center_ras_mm"])
            return cls(
                number,
                (k, j, i),
                (r, a, s),
                float(data["score"]),
                tuple(str(name) for name in data["structures"]),
                int(data["size_voxels"]),
                float(data["size_mm3"]),
                {str(name): int(votes) for name, votes in data["votes"].items()},
                tuple(
                    Alternative.from_dict(entry, *(patches[name] for name in patch_names(number, n)))
                    for n, entry in enumerate(data["alternatives"], start=1)
                ),
                RegionState(data["state"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise InputError(f"Not a region of regions.json: {shown(error)}.") from error


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
) -> tuple[Region, ...]:
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
    doubt = doubt_of(grid, uncertainty, search.shell)
    places = choose_places(doubt, grid, ct_geometry, wanted, count, body_mm3, search)
    return tuple(_region(number, place, doubt, segmented, ct_geometry) for number, place in enumerate(places, start=1))


def _region(number: int, place: Place, doubt: Doubt, segmented: Segmented, ct_geometry: Geometry) -> Region:
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
    return Region(
        number,
        place.box_kji,
        (float(r), float(a), float(s)),
        place.score,
        tuple(schema.name_of(value) for value in affected),
        max(1, round(size_mm3 / ct_geometry.voxel_mm3)),
        size_mm3,
        dict(sorted(votes.items(), key=lambda entry: -entry[1])),
        find_alternatives(segmented, ct_geometry, place.box_kji, core_kji),
    )

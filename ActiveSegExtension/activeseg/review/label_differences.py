"""Where a label map and what is proposed for it differ: regions to review, each with the proposal to take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import RegionReason
from activeseg.core.geometry import Box, Geometry, slices_of
from activeseg.core.labels import LabelSchema
from activeseg.review.alternatives import Alternative, alternative_of
from activeseg.review.region_search import DEFAULT_SEARCH, LEAST_BOX_VOXELS, MARGIN_MM, cut_free
from activeseg.review.regions import FoundRegion

MOST_REGIONS = 50
"""Of one case; a person reviews no more, and the rest is counted."""
_ROUNDS = 4  # what a neighbour's box leaves over is looked at again


@dataclass(frozen=True)
class Differences:
    """Where two label maps differ.

    Attributes
    ----------
    regions
        Largest first; their boxes do not overlap.
    not_listed
        Voxels that differ in no region: thinner than can be told apart, or beyond the number of regions.
    """

    regions: tuple[FoundRegion, ...]
    not_listed: int


def find_differences(
    labels: npt.NDArray[Any],
    proposed: npt.NDArray[Any],
    differs: npt.NDArray[np.bool_],
    geometry: Geometry,
    schema: LabelSchema,
    proposer: str,
    resolution_mm: float = 0.0,
    most: int = MOST_REGIONS,
) -> Differences:
    """The regions in which ``proposed`` differs from ``labels``, both (k, j, i) on the CT's grid.

    Parameters
    ----------
    differs
        (k, j, i) boolean: the voxels that count.
    proposer
        Who proposes it.
    resolution_mm
        A layer that is not thicker is listed only where it lies in the box of another region: outlines of two grids
        always differ so much.
    most
        Regions at most.
    """
    regions: list[FoundRegion] = []
    boxes: list[Box] = []
    block = [int(resolution_mm / spacing + 1e-6) + 1 for spacing in geometry.spacing_xyz[::-1]]
    pool = _thicker(differs, block)
    for _ in range(_ROUNDS):
        for core in _pieces(pool, geometry):
            core = core[pool[tuple(core.T)]]
            if len(core) < math.prod(block) or len(regions) == most:
                continue
            box = _box(core, geometry, boxes)
            inside = slices_of(box)
            core = core[_within(core, box)]
            pool[inside] = False
            boxes.append(box)
            alternative = alternative_of(
                [proposer], labels[inside], proposed[inside], differs[inside], schema, geometry.voxel_mm3
            )
            regions.append(_region(core, box, replace(alternative, votes=0), labels[inside], geometry, schema))
        if not pool.any() or len(regions) == most:
            break
    regions.sort(key=lambda region: -region.size_voxels)
    listed = sum(int(np.count_nonzero(differs[region.slices])) for region in regions)
    numbered = tuple(replace(region, number=number) for number, region in enumerate(regions, start=1))
    return Differences(numbered, int(np.count_nonzero(differs)) - listed)


def _thicker(differs: npt.NDArray[np.bool_], block: Sequence[int]) -> npt.NDArray[np.bool_]:
    """What blocks of so many voxels that differ (k, j, i) cover."""
    from scipy.ndimage import grey_opening

    thicker = np.zeros(differs.shape, bool)
    at = [np.flatnonzero(differs.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not len(at[0]):
        return thicker
    near = tuple(slice(int(found[0]), int(found[-1]) + 1) for found in at)
    thicker[near] = grey_opening(differs[near].view(np.uint8), block, mode="constant").astype(bool)
    return thicker


def _pieces(pool: npt.NDArray[np.bool_], geometry: Geometry) -> Iterator[npt.NDArray[np.intp]]:
    """Voxels (N, 3) of what hangs together, cut into parts that fit into a box; the largest part first."""
    import cc3d

    at = np.argwhere(pool)
    if not len(at):
        return
    piece = cc3d.connected_components(pool, connectivity=26)[tuple(at.T)].astype(np.int64)
    limit = np.floor((DEFAULT_SEARCH.largest_mm - 2 * MARGIN_MM) / np.array(geometry.spacing_xyz[::-1]))
    limit = np.maximum(limit.astype(int), LEAST_BOX_VOXELS)
    order = np.argsort(piece, kind="stable")
    at, piece = at[order], piece[order]
    starts = np.flatnonzero(np.r_[True, piece[1:] != piece[:-1]])
    parts: list[npt.NDArray[np.intp]] = []
    for own in np.split(at, starts[1:]):
        low, length = own.min(axis=0), np.ptp(own, axis=0) + 1
        count = -(-length // limit)
        tile = np.ravel_multi_index(tuple(((own - low) * count // length).T), tuple(count))
        parts += [own[tile == number] for number in np.unique(tile)]
    yield from sorted(parts, key=lambda part: -len(part))


def _box(core: npt.NDArray[np.intp], geometry: Geometry, taken: list[Box]) -> Box:
    """Around the core with a margin, free of those taken; it holds the voxel of the core that is nearest its middle."""
    spacing = np.array(geometry.spacing_xyz[::-1])
    margin = np.ceil(MARGIN_MM / spacing).astype(int)
    shape = np.array(geometry.shape_kji)
    size = np.minimum(np.maximum(np.ptp(core, axis=0) + 1 + 2 * margin, LEAST_BOX_VOXELS), shape)
    low = np.clip((core.min(axis=0) + core.max(axis=0) + 1 - size) // 2, 0, shape - size)
    k, j, i = ((int(start), int(start + length)) for start, length in zip(low, size, strict=True))
    return cut_free((k, j, i), _middle(core), taken)


def _middle(core: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    return np.asarray(core[int(((core - core.mean(axis=0)) ** 2).sum(axis=1).argmin())], np.intp)


def _within(core: npt.NDArray[np.intp], box: Box) -> npt.NDArray[np.bool_]:
    low, high = np.array(box).T
    return np.asarray(((core >= low) & (core < high)).all(axis=1))


def _region(
    core: npt.NDArray[np.intp],
    box: Box,
    alternative: Alternative,
    labels: npt.NDArray[Any],
    geometry: Geometry,
    schema: LabelSchema,
) -> FoundRegion:
    """A region without a number; ``labels`` are those of its box."""
    inside = tuple((core - [low for low, _ in box]).T)
    voxels = np.bincount(np.concatenate([labels[inside], alternative.labels[inside]]))
    affected = [int(value) for value in np.argsort(-voxels, kind="stable") if voxels[value] and value]
    r, a, s = geometry.ras_of_ijk(_middle(core)[::-1])
    size_mm3 = len(core) * geometry.voxel_mm3
    return FoundRegion(
        0,
        box,
        center_ras=(float(r), float(a), float(s)),
        score=min(1.0, size_mm3 / DEFAULT_SEARCH.largest_mm**3),
        structures=tuple(schema.name_of(value) for value in affected),
        size_voxels=len(core),
        size_mm3=size_mm3,
        votes={},
        reason=RegionReason.LABELS_DIFFER,
        alternatives=(alternative,),
    )

"""What a person taught in one case: voxels of reviewed regions, and the label that they have now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import RegionReview
from activeseg.core.geometry import Geometry
from activeseg.core.label_map import LabelMap
from activeseg.refiners.part_model import PartModel, Values, answers

MOST_VOXELS = 24_000
"""That are looked at, of all reviewed ones: as many of each region at most, drawn at random."""
_SEED = 20_000


@dataclass(frozen=True, eq=False)
class Evidence:
    """Voxels of the CT, and what was taught there.

    Attributes
    ----------
    voxels_kji
        (3, N), of the CT's grid.
    taught
        (N,) values of the schema.
    said
        (N,) what the model says there, at the same points.
    half
        (N,) 0 or 1: each region has two halves, so that one can be left out.
    volume
        (N,) how many of the network's voxels each stands for.
    """

    voxels_kji: Values
    taught: Values
    said: Values
    half: npt.NDArray[np.int8]
    volume: npt.NDArray[np.float32]

    def where(self, chosen: npt.NDArray[np.bool_]) -> Evidence:
        """A part of it."""
        return Evidence(
            self.voxels_kji[:, chosen], self.taught[chosen], self.said[chosen], self.half[chosen], self.volume[chosen]
        )

    def moves(self, values: int, but_half: int | None = None) -> npt.NDArray[np.float64]:
        """(values, values): how much was taught to become the one (column) that the model calls the other (row)."""
        used = self.half != but_half if but_half is not None else slice(None)
        pairs = self.said[used] * values + self.taught[used]
        return np.asarray(np.bincount(pairs, self.volume[used], values * values), float).reshape(values, values)


def protected_voxels(labels: LabelMap, predicted: LabelMap, reviewed: Sequence[RegionReview]) -> npt.NDArray[np.bool_]:
    """Which voxels a person decided: reviewed regions, and edits anywhere."""
    decided = np.asarray(labels != predicted)
    for region in reviewed:
        decided[region.slices] = True
    return decided


def gathered(
    parts: Sequence[PartModel],
    geometry: Geometry,
    labels: LabelMap,
    predicted: LabelMap,
    reviewed: Sequence[RegionReview],
) -> Evidence:
    """What reviewed regions teach about structures that the parts know.

    Edits elsewhere teach nothing: only what was wrong is edited, so that a structure would be pushed too far. A voxel
    that was left as predicted teaches what the model says there, which near a surface may be another label on the CT's
    grid than on the network's.

    Parameters
    ----------
    geometry
        Of the CT; ``labels`` and ``predicted`` (k, j, i) are on it.
    """
    random = np.random.default_rng(_SEED)
    pools = [box_voxels(region, geometry) for region in reviewed]
    per_network_voxel = geometry.voxel_mm3 / parts[0].geometry.voxel_mm3
    drawn, volume = [], []
    for pool in pools:
        count = pool.shape[1]
        most = MOST_VOXELS // len(pools)
        used = np.sort(random.choice(count, most, replace=False)) if count > most else np.arange(count)
        drawn.append(pool[:, used])
        volume.append(np.full(len(used), per_network_voxel * count / max(len(used), 1), np.float32))
    k, j, i, half = np.concatenate(drawn, axis=1)
    voxels = np.stack([k, j, i])
    now, before = labels[k, j, i].astype(np.intp), predicted[k, j, i]
    said, _ = answers(parts, [None] * len(parts), voxels, geometry)
    known = np.unique(np.concatenate([[0], *(part.values for part in parts)]))
    taught = np.where(now == before, said, now)
    reached = np.any([part.points_of(voxels, geometry)[1] for part in parts], axis=0)
    usable = reached & np.isin(now, known)
    return Evidence(voxels, taught, said, half.astype(np.int8), np.concatenate(volume)).where(usable)


def box_voxels(region: RegionReview, geometry: Geometry) -> Values:
    """(4, N): the voxels of a region's box (k, j, i), and in which half of it each lies.

    The box is cut across its longest side; in regions of odd numbers the first half is 0, in others it is 1.
    """
    box = np.array(region.box_kji)
    sides = (box[:, 1] - box[:, 0]) * np.array(geometry.spacing_xyz[::-1])
    axis = int(sides.argmax())
    voxels = np.stack(np.meshgrid(*(np.arange(low, high) for low, high in box), indexing="ij")).reshape(3, -1)
    upper = 2 * voxels[axis] >= box[axis].sum()
    return np.concatenate([voxels, (upper ^ (region.number % 2 == 0))[None]]).astype(np.intp)

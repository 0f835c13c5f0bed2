"""What else the members would have drawn in a region: label patches that one click puts in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from activeseg.core.geometry import Box, Geometry, index_map
from activeseg.core.labels import LabelSchema
from activeseg.core.records import NOT_WRITTEN
from activeseg.core.votes import Segmented

SAME_DICE = 0.95


@dataclass(frozen=True)
class Amount:
    """How much of a structure: voxels of the CT, and their volume."""

    voxels: int
    mm3: float


@dataclass(frozen=True)
class Alternative:
    """A label patch that ``votes`` members voted for in a region.

    Attributes
    ----------
    votes, members : how many members, and their names; no votes and one name where another program proposes it
    gains, loses : voxels of the CT that each structure gets or gives away when the alternative is taken
    voxel_mm3 : volume of one of those voxels
    labels : (k, j, i) over the region's box on the CT's grid, the label values after taking it
    changed : (k, j, i) boolean, the only voxels that taking it writes
    """

    ALSO_WRITTEN: ClassVar = ("summary",)
    votes: int
    members: tuple[str, ...]
    gains: Mapping[str, Amount]
    loses: Mapping[str, Amount]
    voxel_mm3: float
    labels: npt.NDArray[Any] = field(compare=False, repr=False, metadata=NOT_WRITTEN)
    changed: npt.NDArray[np.bool_] = field(compare=False, repr=False, metadata=NOT_WRITTEN)

    @property
    def summary(self) -> str:
        """One line for a button: ``3 members: + 1.2 mL kidney_left``."""
        who = f"{self.votes} member{'s' if self.votes != 1 else ''}" if self.votes else ", ".join(self.members)
        changes = [f"+ {volume_text(amount.mm3)} {name}" for name, amount in self.gains.items()]
        changes += [f"- {volume_text(amount.mm3)} {name}" for name, amount in self.loses.items()]
        return f"{who}: {', '.join(changes)}"


def volume_text(mm3: float) -> str:
    """A volume as people say it: ``340 mm³`` or ``1.2 mL``."""
    return f"{mm3:.0f} mm³" if mm3 < 500 else f"{mm3 / 1000:.3g} mL"


def find_alternatives(
    segmented: Segmented, ct_geometry: Geometry, box_kji: Box, core_kji: npt.NDArray[np.int32]
) -> tuple[Alternative, ...]:
    """The members' other opinions about one region, most votes first.

    Parameters
    ----------
    box_kji : the region, half-open index ranges on the CT's grid
    core_kji : (N, 3) voxels of the network's grid that make up the region's core

    A member's opinion is where it disagrees with the ensemble inside the box, as far as that hangs together (26
    neighbours) with the core. It is found on the network's grid and carried to the CT's grid by nearest neighbour, so
    that voxels on which the member agrees are never touched. Opinions that agree on every structure by a Dice of 0.95
    around what they change are one; what is that close to the current labels is none.
    """
    import cc3d

    grid = segmented.grid
    window = _window(grid.geometry, ct_geometry, box_kji)
    if window is None:
        return ()
    start = np.array([s.start for s in window])
    now = grid.labels[window]
    core = np.zeros(now.shape, bool)
    core_at = core_kji - start
    core_at = core_at[((core_at >= 0) & (core_at < now.shape)).all(axis=1)]
    core[tuple(core_at.T)] = True

    # Where a view does not reach, its label map says nothing; which view that is, is not recorded.
    all_vote = np.True_ if grid.voting is None else grid.voting[window] == len(grid.members)
    opinions: list[tuple[list[str], npt.NDArray[Any]]] = []
    for member, vote_map in zip(grid.members, grid.votes, strict=True):
        vote = vote_map[window]
        differs = (vote != now) & all_vote & (vote <= len(segmented.schema))
        pieces = cc3d.connected_components(differs, connectivity=26)
        touched = np.unique(pieces[core & differs])
        opinion = np.where(np.isin(pieces, touched) & differs, vote, now)
        if _alike(opinion, now, now):
            continue
        for names, other in opinions:
            if _alike(opinion, other, now):
                names.append(member.name)
                break
        else:
            opinions.append(([member.name], opinion))

    opinions.sort(key=lambda entry: -len(entry[0]))
    index, known = _nearest(grid.geometry, ct_geometry, box_kji, window)
    patch = segmented.labels[tuple(slice(*span) for span in box_kji)]
    found = []
    for names, opinion in opinions:
        other = opinion[index]
        changed = known & (opinion != now)[index] & (other != patch)
        if changed.any():
            found.append(alternative_of(names, patch, other, changed, segmented.schema, ct_geometry.voxel_mm3))
    return tuple(found)


def alternative_of(
    names: list[str],
    patch: npt.NDArray[Any],
    other: npt.NDArray[Any],
    changed: npt.NDArray[np.bool_],
    schema: LabelSchema,
    voxel_mm3: float,
) -> Alternative:
    def amounts(values: npt.NDArray[Any]) -> dict[str, Amount]:
        number = np.bincount(values, minlength=1)
        number[0] = 0
        order = [(int(value), int(number[value])) for value in np.argsort(-number, kind="stable") if number[value]]
        return {schema.name_of(value): Amount(count, round(count * voxel_mm3, 3)) for value, count in order}

    labels = np.where(changed, other, patch).astype(patch.dtype)
    return Alternative(
        len(names), tuple(names), amounts(other[changed]), amounts(patch[changed]), voxel_mm3, labels, changed
    )


def _alike(a: npt.NDArray[Any], b: npt.NDArray[Any], now: npt.NDArray[Any]) -> bool:
    """Whether two patches agree on every structure by a Dice of 0.95, within the box around what either changes."""
    differs = np.argwhere((a != now) | (b != now))
    if not len(differs):
        return True
    near = tuple(slice(low, high + 1) for low, high in zip(differs.min(axis=0), differs.max(axis=0), strict=True))
    a, b = a[near].ravel(), b[near].ravel()
    size = int(max(a.max(), b.max())) + 1
    total = np.bincount(a, minlength=size) + np.bincount(b, minlength=size)
    both = np.bincount(a[a == b], minlength=size)
    present = total > 0
    present[0] = False
    return bool((2 * both[present] >= SAME_DICE * total[present]).all())


def _window(grid: Geometry, ct: Geometry, box_kji: Box) -> tuple[slice, slice, slice] | None:
    """The network's voxels that the box covers, as slices; None when it lies outside of its grid."""
    matrix, shift = index_map(ct, grid)
    corners = np.array(np.meshgrid(*[(low, high - 1) for low, high in box_kji], indexing="ij")).reshape(3, -1).T
    at = corners @ matrix.T + shift
    low = np.maximum(np.rint(at.min(axis=0)), 0).astype(int)
    high = np.minimum(np.rint(at.max(axis=0)) + 1, grid.shape_kji).astype(int)
    if (high <= low).any():
        return None
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _nearest(
    grid: Geometry, ct: Geometry, box_kji: Box, window: tuple[slice, slice, slice]
) -> tuple[tuple[npt.NDArray[np.intp], ...], npt.NDArray[np.bool_]]:
    """For each CT voxel of the box the nearest network voxel (index into the window), and whether there is one."""
    matrix, shift = index_map(ct, grid)
    shape = tuple(high - low for low, high in box_kji)
    at = np.indices(shape).reshape(3, -1).T + [low for low, _ in box_kji]
    index = np.rint(at @ matrix.T + shift).astype(int) - [s.start for s in window]
    limit = np.array([s.stop - s.start for s in window])
    known = ((index >= 0) & (index < limit)).all(axis=1).reshape(shape)
    index = np.clip(index, 0, limit - 1)
    return tuple(axis.reshape(shape) for axis in index.T), known

"""What prompts ask of a box, checked, and the answer to it under the rules that hold for every refiner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from activeseg.core.errors import InputError
from activeseg.core.geometry import Box, grown, slices_of
from activeseg.core.prompt import Prompt, PromptKind
from activeseg.refiners.base import RefinableCase, free_voxels
from activeseg.review.alternatives import Alternative, alternative_of

Mask = npt.NDArray[np.bool_]
REACH_MM = 80.0
"""No voxel further than this from all prompts changes, however wide the box is; so time and memory have a bound."""
_AREAS = (PromptKind.LASSO, PromptKind.BOX)


@dataclass(frozen=True, eq=False)
class Area:
    """A lasso or a box that goes around a piece of the structure; masks (k, j, i) over ``Question.part_kji``.

    Attributes
    ----------
    drawn
        What it goes around.
    within
        Where the piece may lie. A box is the bound. What is drawn in one slice is about what lies there, in other
        slices too, but it is no thicker than the drawn outline is wide: along the slice's normal it reaches as far as
        the largest circle that fits into the outline.
    """

    drawn: Mask
    within: Mask


@dataclass(frozen=True, eq=False)
class Question:
    """What prompts ask, on the part of a box that is near them.

    Attributes
    ----------
    value
        Of the structure that may change: that of the last prompt.
    include
        Whether the last prompt says that voxels belong to it.
    part_kji
        The part of the box, on the CT's grid. All arrays below are (k, j, i) over it.
    labels
        As they are now.
    wanted, unwanted
        Voxels of which prompts say that they belong to the structure, or that they do not. Where two prompts
        contradict each other the later one counts.
    areas
        What lassos and boxes go around.
    free
        Voxels that the structure may gain (``free_voxels``).
    """

    value: int
    include: bool
    part_kji: Box
    labels: npt.NDArray[Any]
    wanted: Mask
    unwanted: Mask
    areas: tuple[Area, ...]
    free: Mask

    @property
    def touched(self) -> Mask:
        """The voxels on the side of the last prompt: wanted ones, with what areas go around, or unwanted ones."""
        if not self.include:
            return self.unwanted
        drawn = [area.drawn for area in self.areas]
        return np.asarray(np.logical_or.reduce([self.wanted, *drawn]) & ~self.unwanted)


def question_of(case: RefinableCase, labels: npt.NDArray[Any], box_kji: Box, prompts: Sequence[Prompt]) -> Question:
    """What the prompts ask.

    Raises
    ------
    InputError
        There are no prompts, a structure is unknown, the box is not one of the CT, the labels are not those of the box,
        or a point lies outside of the box. All of this is found out before anything large is made.
    """
    if not prompts:
        raise InputError("There is no prompt.", "Give at least one.")
    shape = case.ct.geometry.shape_kji
    if not all(0 <= low < high <= length for (low, high), length in zip(box_kji, shape, strict=True)):
        raise InputError(f"The box {box_kji} is no box of the CT, which has {shape} voxels.")
    if labels.shape != tuple(high - low for low, high in box_kji):
        raise InputError(f"The labels have shape {labels.shape}, the box {tuple(b - a for a, b in box_kji)}.")
    values = [case.schema.named(prompt.structure).value for prompt in prompts]
    for prompt in prompts:
        if not all(a <= low and high <= b for (low, high), (a, b) in zip(prompt.box_kji, box_kji, strict=True)):
            raise InputError(
                f"The {prompt.kind.value} at {_corner(prompt)} reaches outside of the box {box_kji}.",
                "Place it within the box.",
            )
    last = prompts[-1]
    same = [prompt for prompt, value in zip(prompts, values, strict=True) if value == values[-1]]
    part = _part(case, box_kji, same)
    near = labels[slices_of(_relative(part, box_kji))]
    wanted, unwanted, areas = np.zeros(near.shape, bool), np.zeros(near.shape, bool), []
    for prompt, value in zip(prompts, values, strict=True):
        mine = value == values[-1]
        if not mine and not (prompt.include and prompt.kind not in _AREAS):
            continue  # it says nothing about this structure
        drawn = _drawn(prompt, part)
        if mine and prompt.include and prompt.kind in _AREAS:
            areas.append(Area(drawn, _within(drawn, case.ct.geometry.spacing_xyz[::-1])))
            continue
        yes = mine and prompt.include
        (wanted if yes else unwanted)[drawn] = True
        (unwanted if yes else wanted)[drawn] = False
    free = free_voxels(near, values[-1], [_drawn(p, part) for p in same if p.include], len(case.schema))
    free |= wanted & (near <= len(case.schema))
    return Question(values[-1], last.include, part, near, wanted, unwanted, tuple(areas), free)


def answer(
    case: RefinableCase, labels: npt.NDArray[Any], box_kji: Box, asked: Question, mask: Mask, name: str
) -> Alternative:
    """The alternative that follows from where a refiner sees the structure.

    Parameters
    ----------
    mask
        (k, j, i) over ``asked.part_kji``.

    Of what it gains only free voxels are taken, and only pieces (26 neighbours) that hang on the prompts; likewise of
    what it loses. Voxels that a prompt touched are as the prompt says.
    """
    own = asked.labels == asked.value
    mask = (mask | asked.wanted) & ~asked.unwanted
    gains = hanging(mask & asked.free, asked.wanted & asked.free)
    for area in asked.areas:
        gains |= hanging(mask & asked.free & area.within, area.drawn & mask)
    loses = own & hanging(~mask & own, asked.unwanted & own)
    changed = np.zeros(labels.shape, bool)
    at = slices_of(_relative(asked.part_kji, box_kji))
    changed[at] = (gains & ~own) | loses
    other = labels.copy()
    other[at][gains & ~own] = asked.value
    other[at][loses] = 0
    return replace(alternative_of([name], labels, other, changed, case.schema, case.ct.geometry.voxel_mm3), votes=0)


def hanging(mask: Mask, touched: Mask) -> Mask:
    """The pieces of a mask (26 neighbours) with a voxel among the touched ones."""
    import cc3d

    pieces = cc3d.connected_components(mask, connectivity=26)
    numbers = np.unique(pieces[touched & mask])
    return np.asarray(np.isin(pieces, numbers) & mask)


def _corner(prompt: Prompt) -> tuple[int, int, int]:
    (k, _), (j, _), (i, _) = prompt.box_kji
    return k, j, i


def _part(case: RefinableCase, box_kji: Box, prompts: Sequence[Prompt]) -> Box:
    """The box as far as ``REACH_MM`` from the prompts."""
    k, j, i = (
        (min(low for low, _ in axis), max(high for _, high in axis))
        for axis in zip(*(p.box_kji for p in prompts), strict=True)
    )
    near = grown((k, j, i), case.ct.geometry, REACH_MM)
    k, j, i = ((max(a, c), min(b, d)) for (a, b), (c, d) in zip(near, box_kji, strict=True))
    return k, j, i


def _relative(inner: Box, outer: Box) -> Box:
    k, j, i = ((a - c, b - c) for (a, b), (c, _) in zip(inner, outer, strict=True))
    return k, j, i


def _drawn(prompt: Prompt, part_kji: Box) -> Mask:
    """A prompt's voxels as a mask over the part."""
    mask = np.zeros([high - low for low, high in part_kji], bool)
    clipped = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(prompt.box_kji, part_kji, strict=True)]
    if any(high <= low for low, high in clipped):
        return mask
    if prompt.kind is PromptKind.BOX:
        mask[tuple(slice(low - c, high - c) for (low, high), (c, _) in zip(clipped, part_kji, strict=True))] = True
        return mask
    at = prompt.voxels_kji() - [low for low, _ in part_kji]
    at = at[((at >= 0) & (at < mask.shape)).all(axis=1)]
    mask[tuple(at.T)] = True
    return mask


def _within(drawn: Mask, spacing_kji: Sequence[float]) -> Mask:
    """See ``Area.within``."""
    ends = np.argwhere(drawn)
    low, high = ends.min(axis=0), ends.max(axis=0)
    flat = np.flatnonzero(low == high)
    if len(flat) != 1:  # a solid box, or a line
        return drawn
    axis = int(flat[0])
    plane = np.take(drawn, low[axis], axis)
    spacing = [s for n, s in enumerate(spacing_kji) if n != axis]
    deepest = float(distance_transform_edt(np.pad(plane, 1), sampling=spacing).max())
    steps = int(deepest / spacing_kji[axis])
    within = np.zeros_like(drawn)
    moved = np.moveaxis(within, axis, 0)
    moved[max(0, low[axis] - steps) : low[axis] + steps + 1] = plane
    return within

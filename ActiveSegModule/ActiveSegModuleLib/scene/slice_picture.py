"""What a small picture of an alternative shows: one slice of the CT, the structure there now and as it would be.

Only arrays: who has a screen draws them. Slices are axial, seen from the feet: the patient's right is on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.geometry import Box, Geometry

from ..slicer_types import Node
from .alternatives import LabelPatch, OfferedAlternative
from .case import Case
from .labelmap import array_of
from .placement import geometry_of

_AROUND_MM = 12.0
_SMALLEST_MM = 50.0
_WINDOW = (-160.0, 240.0)


@dataclass(frozen=True)
class VoxelsMoved:
    """What a structure gets and gives away when an alternative is taken, in voxels of the CT and in mL."""

    structure: str
    gained: int
    lost: int
    gained_ml: float
    lost_ml: float


@dataclass(frozen=True)
class AlternativePicture:
    """A slice for one alternative.

    Attributes
    ----------
    ct : (row, column), the CT's values
    labels_now, labels_then : (row, column), the segmentation as it is, and as taking the alternative makes it
    value : of the structure that the alternative changes most, which the contour is about
    structure : its name
    spacing_mm : of rows, and of columns
    window : values of the CT to show as black and as white
    moved : of each structure that gets or gives away voxels anywhere in the region, most voxels first
    """

    ct: npt.NDArray[Any]
    labels_now: npt.NDArray[Any]
    labels_then: npt.NDArray[Any]
    value: int
    structure: str
    spacing_mm: tuple[float, float]
    window: tuple[float, float]
    moved: tuple[VoxelsMoved, ...]

    @property
    def now(self) -> npt.NDArray[np.bool_]:
        """The structure as it is."""
        return np.asarray(self.labels_now == self.value)

    @property
    def then(self) -> npt.NDArray[np.bool_]:
        """The structure as the alternative makes it."""
        return np.asarray(self.labels_then == self.value)


def pictures(case: Case, offered: Sequence[OfferedAlternative]) -> tuple[AlternativePicture, ...]:
    """A picture of each alternative of one region: the same place in all, where most of what they change lies.

    Where one of them changes nothing there, each shows the slice in which it changes most itself.
    """
    if not offered:
        return ()
    geometry = geometry_of(case.ct_node)
    view = _AxialView.of(geometry)
    changes = [_changed_now(case, alternative.patch) for alternative in offered]
    spans = view.window(offered[0].patch.box_kji, np.logical_or.reduce([changed for _, changed in changes]))
    amounts = [view.amounts(changed) for _, changed in changes]
    together = np.minimum.reduce([np.minimum(amount, 1) for amount in amounts]) * np.sum(amounts, axis=0)
    return tuple(
        _picture(case, view, spans, alternative.patch, now, changed, together if together.any() else amount)
        for alternative, (now, changed), amount in zip(offered, changes, amounts, strict=True)
    )


@dataclass(frozen=True)
class _AxialView:
    """How an array (k, j, i) of the CT is looked at.

    Attributes
    ----------
    axes : array axes along which one goes up the body, down the picture, and to its right
    flipped : whether the array's indices go the other way, for the same three
    spacing : mm along the same three
    shape_kji : of the CT
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    spacing: tuple[float, float, float]
    shape_kji: tuple[int, ...]

    @classmethod
    def of(cls, geometry: Geometry) -> _AxialView:
        directions = geometry.ijk_to_ras[:3, :3][:, ::-1]  # columns: one step along k, j, i
        lengths = np.linalg.norm(directions, axis=0)
        share = np.abs(directions / lengths)
        axes: list[int] = []
        for anatomical in (2, 1, 0):
            axes.append(max((axis for axis in range(3) if axis not in axes), key=lambda a: share[anatomical, a]))
        # up the body is towards S; down the picture is away from A, and to its right is away from R
        wanted = ((2, 1), (1, -1), (0, -1))
        flipped = [directions[row, axis] * sign < 0 for axis, (row, sign) in zip(axes, wanted, strict=True)]
        s, a, r = axes
        up, down, right = (bool(flip) for flip in flipped)
        return cls(
            (s, a, r),
            (up, down, right),
            (lengths[s], lengths[a], lengths[r]),
            tuple(int(n) for n in geometry.shape_kji),
        )

    def amounts(self, changed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """How many voxels change in each slice of a box."""
        return np.count_nonzero(changed, axis=tuple(axis for axis in range(3) if axis != self.axes[0]))

    def window(self, box_kji: Box, changed: npt.NDArray[np.bool_]) -> dict[int, tuple[int, int]]:
        """The part of the CT to show, by array axis: around what changes, square and not too small."""
        within = changed if changed.any() else np.ones_like(changed)
        middle, half = {}, _SMALLEST_MM / 2
        for axis, mm in zip(self.axes[1:], self.spacing[1:], strict=True):
            there = np.flatnonzero(within.any(axis=tuple(other for other in range(3) if other != axis)))
            middle[axis] = box_kji[axis][0] + (int(there[0]) + int(there[-1])) / 2
            half = max(half, (int(there[-1]) - int(there[0]) + 1) * mm / 2 + _AROUND_MM)
        spans = {}
        for axis, mm in zip(self.axes[1:], self.spacing[1:], strict=True):
            low, high = round(middle[axis] - half / mm), round(middle[axis] + half / mm) + 1
            spans[axis] = max(0, low), min(self.shape_kji[axis], high)
        return spans

    def turned(self, box: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A box of one slice as rows and columns."""
        picture = box.transpose(self.axes)[0]
        rows, columns = (slice(None, None, -1 if flip else 1) for flip in self.flipped[1:])
        return picture[rows, columns]


def _changed_now(case: Case, patch: LabelPatch) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """What the patch's box holds now, and which voxels taking the patch changes: some may be edited so already."""
    now = case.labels_in(patch.box_kji)
    return now, patch.changed & (patch.labels != now)


def _picture(
    case: Case,
    view: _AxialView,
    spans: dict[int, tuple[int, int]],
    patch: LabelPatch,
    now: npt.NDArray[Any],
    changed: npt.NDArray[np.bool_],
    amount: npt.NDArray[np.int64],
) -> AlternativePicture:
    along = view.axes[0]
    at = patch.box_kji[along][0] + int(amount.argmax())
    k, j, i = (spans[axis] if axis != along else (at, at + 1) for axis in range(3))
    shown = (k, j, i)
    inside = tuple(slice(*span) for span in shown)
    labels_now = case.labels_in(shown)
    labels_then = labels_now.copy()
    whole, part = _overlap(patch.box_kji, shown)
    labels_then[part] = np.where(changed[whole], patch.labels[whole], labels_then[part])
    moved = _moved(case, patch, now, changed)
    structure = moved[0].structure if moved else ""
    return AlternativePicture(
        np.array(view.turned(array_of(case.ct_node.GetImageData())[inside])),
        np.array(view.turned(labels_now)),
        np.array(view.turned(labels_then)),
        case.schema.named(structure).value if structure else 0,
        structure,
        view.spacing[1:],
        _window_of(case.ct_node),
        moved,
    )


def _overlap(box: Box, other: Box) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """What two boxes have in common, as indices into the one and into the other."""
    spans = [(max(a[0], b[0]), min(a[1], b[1])) for a, b in zip(box, other, strict=True)]
    spans = [(low, max(low, high)) for low, high in spans]
    into = [
        tuple(slice(low - origin[0], high - origin[0]) for (low, high), origin in zip(spans, each, strict=True))
        for each in (box, other)
    ]
    return into[0], into[1]


def _moved(
    case: Case, patch: LabelPatch, now: npt.NDArray[Any], changed: npt.NDArray[np.bool_]
) -> tuple[VoxelsMoved, ...]:
    schema, ml = case.schema, patch.geometry.voxel_mm3 / 1000
    gained = np.bincount(patch.labels[changed].astype(np.intp), minlength=len(schema) + 1)
    lost = np.bincount(now[changed].astype(np.intp), minlength=len(schema) + 1)
    found = [
        VoxelsMoved(label.name, more, less, more * ml, less * ml)
        for label in schema.labels
        if (more := int(gained[label.value])) + (less := int(lost[label.value]))
    ]
    return tuple(sorted(found, key=lambda moved: (-max(moved.gained, moved.lost), -moved.gained)))


def _window_of(ct_node: Node) -> tuple[float, float]:
    display = ct_node.GetScalarVolumeDisplayNode()
    if display is None:
        return _WINDOW
    return float(display.GetWindowLevelMin()), float(display.GetWindowLevelMax())

"""Body, lungs, bone, fat, soft tissue and air by rules on HU: works on any CT, with nothing to download.

The six structures exclude one another and together are the whole body. ``body`` itself is what the others leave over:
voxels half in air and half in tissue, at the skin, around the lungs and in the walls of the airways.

Known limits: vessels brighter than 300 HU count as bone, fatty marrow counts as fat or soft tissue, and clothes or a
mattress denser than -500 HU that lie on the skin count as body.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from activeseg.core.clock import Clock
from activeseg.core.errors import InputError
from activeseg.core.labels import Code, Label, LabelSchema, Terminology
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Segmenter, Settings
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes, Member, MemberKind, Segmented
from activeseg.review.uncertainty import measures_from_votes

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
Image = npt.NDArray[np.int16]

CHANNEL = "CT"
ANATOMY = Code("SCT", "123037004", "Anatomical Structure")
TISSUE = Code("SCT", "85756007", "Tissue")
SUBSTANCE = Code("SCT", "105590001", "Substance")

HOUNSFIELD_SCHEMA = LabelSchema(
    (
        Label(1, "body", (177, 122, 101), Terminology(ANATOMY, Code("SCT", "38266002", "Entire body"))),
        Label(
            2,
            "lungs",
            (197, 165, 145),
            Terminology(ANATOMY, Code("SCT", "39607008", "Lung"), Code("SCT", "51440002", "Right and left")),
        ),
        Label(3, "bone", (241, 214, 145), Terminology(TISSUE, Code("SCT", "3138006", "Bone"))),
        Label(4, "fat", (230, 220, 70), Terminology(TISSUE, Code("SCT", "55603005", "Fat"))),
        Label(5, "soft_tissue", (205, 84, 79), Terminology(TISSUE, Code("SCT", "87784001", "Soft tissue"))),
        Label(6, "air", (102, 178, 255), Terminology(SUBSTANCE, Code("SCT", "15158005", "Air"))),
    )
)
BODY, LUNGS, BONE, FAT, SOFT_TISSUE, AIR = range(1, 7)


@dataclass(frozen=True)
class Rules:
    """Thresholds in HU. Fat lies between ``fat_from`` and ``fat_to``, soft tissue from there to ``bone_from``."""

    air_below: float = -500.0
    fat_from: float = -190.0
    fat_to: float = -30.0
    bone_from: float = 200.0


NOMINAL = Rules()
MEMBERS: tuple[tuple[Member, Rules], ...] = (
    (Member("rules", MemberKind.TRAINED), NOMINAL),
    (Member("fat and soft tissue +20 HU", MemberKind.VIEW), replace(NOMINAL, fat_from=-170.0, fat_to=-10.0)),
    (Member("fat and soft tissue -20 HU", MemberKind.VIEW), replace(NOMINAL, fat_from=-210.0, fat_to=-50.0)),
    (Member("bone -50 HU", MemberKind.VIEW), replace(NOMINAL, bone_from=150.0)),
    (Member("bone +50 HU", MemberKind.VIEW), replace(NOMINAL, bone_from=250.0)),
    (Member("air and lungs +100 HU", MemberKind.VIEW), replace(NOMINAL, air_below=-400.0)),
    (Member("air and lungs -100 HU", MemberKind.VIEW), replace(NOMINAL, air_below=-600.0)),
)

GAS_BELOW = -940.0
"""Free gas; lungs, which hold blood and walls too, lie above on average (emphysema reaches about -930 HU)."""
LEAST_LUNG_ML, LEAST_BONE_ML = 20.0, 0.3
LEAST_CORTEX = 0.05
"""Part of a bone that lies 100 HU above the threshold; kidneys and veins full of contrast are more even."""
MARROW_MM, LEAST_MARROW_HU, LARGEST_MARROW_MM2 = 6.0, 80.0, 2500.0
"""How far apart walls of cortex close over marrow, how dense it is at least, and the largest hole of it in a slice."""
TABLE_MM = 8.0
"""Tables are shells a few millimetres thick; what an opening of this width leaves is a patient."""
SMOOTH_MM = 1.0
MIXED_MM = 1.5


class HounsfieldSegmenter(Segmenter):
    """``hounsfield``: see the module. Seven members: the nominal rules decide, the shifted ones are views."""

    name = "hounsfield"
    schema = HOUNSFIELD_SCHEMA
    channels = (CHANNEL,)

    def check(self, settings: Settings) -> None:
        """Raises InputError for an unknown structure or an impossible number of members."""
        for structure in settings.structures:
            self.schema.named(structure)
        _member_count(settings)

    def segment(self, images: Mapping[str, Volume], settings: Settings, progress: Progress) -> Segmented:
        """See ``Segmenter.segment``. The votes are on the CT's own grid. InputError when it is not a CT in HU."""
        self.check(settings)
        if CHANNEL not in images:
            raise InputError(f"The model needs an image named '{CHANNEL}'; got {', '.join(images) or 'none'}.")
        ct = images[CHANNEL]
        clock = Clock()
        progress("segment", 0.0, "body")
        members = MEMBERS[: _member_count(settings)]
        votes = self._votes(_whole_hu(ct), ct, [rules for _, rules in members], progress.part(0.0, 0.85))
        chosen = settings.structures or self.schema.names
        if settings.structures:
            kept = np.zeros(len(self.schema) + 1, np.uint8)
            for name in chosen:
                kept[self.schema.named(name).value] = self.schema.named(name).value
            votes = [kept[vote] for vote in votes]
        clock.lap("segment")
        progress("segment", 0.85, "uncertainty")
        entropy, variance, information = measures_from_votes(votes, len(self.schema) + 1)
        clock.lap("uncertainty")
        progress("segment", 1.0)
        names = tuple(member for member, _ in members)
        bound = math.log(len(self.schema) + 1)
        grid = GridVotes(
            ct.geometry, votes[0], names, tuple(votes), entropy, variance, information, entropy_bound=bound
        )
        details: dict[str, str] = {"device": "cpu"}
        if settings.device not in ("auto", "cpu"):
            details["device_note"] = f"The HU rules have no use for '{settings.device}'; they ran on the CPU."
        return Segmented(votes[0], self.schema, chosen, grid, clock.laps, details)

    def _votes(self, hu: Image, ct: Volume, rules: list[Rules], progress: Progress) -> list[Labels]:
        """The label map of each set of rules, (k, j, i) on the CT's grid."""
        axes = _axial_first(ct)
        spacing = tuple(float(ct.geometry.spacing_xyz[2 - axis]) for axis in axes)
        upright = hu.transpose(axes)
        box = _body_box(upright)
        votes = [np.zeros(hu.shape, np.uint8) for _ in rules]
        if box is None:
            return votes
        touches = [(box[axis].start == 0, box[axis].stop == upright.shape[axis]) for axis in (1, 2)]
        rooms = _Rooms(np.ascontiguousarray(upright[box]), spacing, touches)
        for number, (vote, rule) in enumerate(zip(votes, rules, strict=True)):
            progress("segment", number / len(rules), f"rules {number + 1} of {len(rules)}")
            vote.transpose(axes)[box] = rooms.labels(rule, progress)
        return votes


def _member_count(settings: Settings) -> int:
    if settings.members == "auto":
        return len(MEMBERS)
    try:
        count = int(settings.members)
    except ValueError:
        count = 0
    if not 1 <= count <= len(MEMBERS):
        raise InputError(
            f"hounsfield cannot run with {settings.members} members.", f"Choose auto or 1 to {len(MEMBERS)}."
        )
    return count


def _whole_hu(ct: Volume) -> Image:
    """The CT as int16. Raises InputError when no voxel is as dark as fat is, which no CT in HU lacks."""
    if ct.array.ndim != 3 or ct.array.size == 0:
        raise InputError(f"The CT has shape {ct.array.shape}; it must have three dimensions and voxels in each.")
    low, high = ct.array.min(), ct.array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("The CT has voxels that are not numbers.", "Repair it, or load the original again.")
    if low >= -200:
        raise InputError(
            f"The model hounsfield needs a CT in HU, and the darkest voxel of this image is {float(low):g}.",
            "Apply rescale slope and intercept first; for other images than CT, choose another model.",
        )
    if ct.array.dtype == np.int16:
        return np.asarray(ct.array)
    return np.asarray(np.clip(np.rint(ct.array) if ct.array.dtype.kind == "f" else ct.array, -32768, 32767), np.int16)


def _axial_first(ct: Volume) -> tuple[int, int, int]:
    """The order of array axes that puts the one nearest to the patient's long axis first."""
    along = np.abs(ct.geometry.direction_matrix[2, ::-1])  # of k, j, i
    first = int(np.argmax(along))
    second, third = (axis for axis in range(3) if axis != first)
    return first, second, third


def _body_box(hu: Image) -> tuple[slice, slice, slice] | None:
    """Bounding box of everything dense, table included; None when there is nothing."""
    slices = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        dense = np.flatnonzero(hu.max(axis=others) > NOMINAL.air_below - 100)
        if not len(dense):
            return None
        slices.append(slice(int(dense[0]), int(dense[-1]) + 1))
    return slices[0], slices[1], slices[2]


class _Rooms:
    """One CT (axial slices first) and the parts of the answer that several sets of rules share.

    ``touches`` tells for the two axes within a slice whether its start and its end are where the image ends.
    """

    def __init__(self, hu: Image, spacing: tuple[float, ...], touches: list[tuple[bool, bool]]) -> None:
        self.hu, self.spacing, self.touches = hu, spacing, touches
        self.ml = math.prod(spacing) / 1000.0
        sigma = [min(SMOOTH_MM / s, 2.0) for s in spacing]
        # In thin slices the noise of a voxel is larger than the step from fat to muscle.
        self.smooth = hu if max(sigma) < 0.3 else gaussian_filter(hu, sigma, output=np.int16, mode="nearest")
        self._spaces: dict[float, tuple[Mask, Mask, Mask, Mask]] = {}
        self._bone: dict[float, Mask] = {}

    def labels(self, rules: Rules, progress: Progress) -> Labels:
        """The label map of these rules, uint8, in the shape of the CT."""
        body, lungs, air, mixed = self.spaces(rules.air_below)
        progress.check()
        bone = self.bone(rules.bone_from)
        progress.check()
        found = np.zeros(self.hu.shape, np.uint8)
        found[body] = BODY
        tissue = body & (self.smooth >= rules.fat_to)
        found[tissue] = SOFT_TISSUE
        fat = body & (self.smooth >= rules.fat_from) & ~tissue & ~mixed
        found[fat] = FAT
        found[bone & body] = BONE
        found[lungs] = LUNGS
        found[air] = AIR
        return found

    def spaces(self, air_below: float) -> tuple[Mask, Mask, Mask, Mask]:
        """Body (filled), lungs, other air in the body, and the thin rim where tissue and air mix."""
        if air_below not in self._spaces:
            dense = self.hu > air_below
            patient = self._patient(dense)
            body = np.stack([_without_holes(plane, self.touches) for plane in patient])
            hollow = body & ~dense
            lungs, air = self._lungs_and_air(hollow)
            mixed = _grown(~body | hollow, [max(1, round(MIXED_MM / s)) for s in self.spacing]) & body
            self._spaces[air_below] = body, lungs, air, mixed
        return self._spaces[air_below]

    def _patient(self, dense: Mask) -> Mask:
        """The dense voxels without the table: what survives an opening, and is large and mostly soft."""
        steps = [round(TABLE_MM / 2 / s) for s in self.spacing]
        core = _shrunk(dense, steps)
        parts, count = cc3d.connected_components(core, connectivity=6, return_N=True)
        if count == 0:
            # Smaller than the opening everywhere: a phantom of a few voxels, or a single thin slice.
            parts, count = cc3d.connected_components(dense, connectivity=6, return_N=True)
            steps = [0, 0, 0]
        sizes = cc3d.statistics(parts)["voxel_counts"]
        sizes[0] = 0
        keep = np.zeros(count + 1, bool)
        for part in np.flatnonzero(sizes >= max(1, 0.02 * sizes.max())):
            keep[part] = part == sizes.argmax() or float(np.median(self.hu[parts == part])) > -150
        # The core grows back a little further than it shrank, but only through dense voxels that touch it.
        return np.asarray(_grown(keep[parts], [s + 1 if s else 0 for s in steps]) & dense)

    def _lungs_and_air(self, hollow: Mask) -> tuple[Mask, Mask]:
        """Large rooms that are not pure gas are lungs, less the airways in them; the rest is air."""
        parts, count = cc3d.connected_components(hollow, connectivity=6, return_N=True)
        inside, values = parts[hollow], self.hu[hollow]
        sizes = np.bincount(inside, minlength=count + 1)
        is_lung = np.zeros(count + 1, bool)
        for part in np.flatnonzero(sizes * self.ml >= LEAST_LUNG_ML):
            is_lung[part] = float(np.median(values[inside == part])) > GAS_BELOW + 20
        lungs = is_lung[parts]
        del parts, inside, values
        # Trachea and main bronchi: the gas in a lung that an opening of 4 mm leaves, with its wall of mixed voxels.
        gas = lungs & (self.smooth < GAS_BELOW)
        steps = [max(1, round(2.0 / s)) for s in self.spacing]
        airways = _grown(_shrunk(gas, steps), [s + 1 for s in steps]) & lungs
        lungs &= ~airways
        cc3d.dust(lungs, threshold=max(2, int(LEAST_LUNG_ML / 4 / self.ml)), connectivity=6, in_place=True)
        for plane in lungs:  # vessels
            plane[:] = _without_holes(plane)
        lungs &= ~airways
        return lungs, np.asarray(hollow & ~lungs)

    def bone(self, bone_from: float) -> Mask:
        """Dense components that hold cortex, with the marrow in their hollows."""
        if bone_from not in self._bone:
            bone = np.ascontiguousarray(self.smooth >= bone_from)
            cc3d.dust(bone, threshold=max(2, int(LEAST_BONE_ML / self.ml)), connectivity=26, in_place=True)
            parts, count = cc3d.connected_components(bone, connectivity=26, return_N=True)
            inside = parts[bone]
            sizes = np.bincount(inside, minlength=count + 1)
            cortex = np.bincount(inside[self.smooth[bone] >= bone_from + 100], minlength=count + 1)
            bone[bone] = (cortex >= LEAST_CORTEX * sizes)[inside]
            del parts, inside
            steps = [max(1, round(MARROW_MM / s)) for s in self.spacing]
            closed = _shrunk(_grown(bone, steps), steps)
            bone |= closed & (self.smooth >= LEAST_MARROW_HU)
            for plane, around, hu in zip(bone, closed, self.smooth, strict=True):
                self._fill_marrow(plane, around, hu)
            self._bone[bone_from] = bone
        return self._bone[bone_from]

    def _fill_marrow(self, bone: Mask, around: Mask, hu: Image) -> None:
        """Fill the holes of one slice in place that are of bone's size and denser than what else bone encloses."""
        if not bone.any():
            return
        holes = _without_holes(around | bone) & ~bone
        parts, count = cc3d.connected_components(holes, connectivity=4, return_N=True)
        inside = parts[holes]
        sizes = np.bincount(inside, minlength=count + 1)
        means = np.bincount(inside, weights=hu[holes], minlength=count + 1) / np.maximum(sizes, 1)
        marrow = (sizes * self.spacing[1] * self.spacing[2] <= LARGEST_MARROW_MM2) & (means >= LEAST_MARROW_HU)
        # Where a wall is open, the canal and the marrow are one hole; the canal is less dense.
        bone[holes] = marrow[inside] & (hu[holes] >= LEAST_MARROW_HU / 2)


def _without_holes(plane: Mask, touches: Sequence[tuple[bool, bool]] = ()) -> Mask:
    """A slice with all holes filled that do not reach its edge.

    ``touches`` (for each axis: its start, its end) are edges at which the image may cut through the body: there the
    edge counts as body from the first to the last voxel of it, so that lungs that are cut open are holes as well.
    """
    open_space = np.pad(~plane, 2, constant_values=True)
    for axis, ends in enumerate(touches):
        for end, beyond, touching in zip((0, -1), (1, -2), ends, strict=True):
            on_edge = np.flatnonzero(np.take(plane, end, axis=axis)) + 2
            if touching and len(on_edge):
                np.moveaxis(open_space, axis, 0)[beyond, on_edge[0] : on_edge[-1] + 1] = False
    parts = cc3d.connected_components(open_space, connectivity=4)
    return np.asarray(parts[2:-2, 2:-2] != parts[0, 0])


def _shrunk(mask: Mask, steps: list[int]) -> Mask:
    """Erosion by a box of ``2 * steps + 1`` voxels along each axis; the image's border does not erode."""
    return ~_grown(~mask, steps)


def _grown(mask: Mask, steps: list[int]) -> Mask:
    """Dilation by a box of ``2 * steps + 1`` voxels along each axis, by shifts: far faster than scipy's on a CT."""
    result = mask.copy()
    for axis, count in enumerate(steps):
        reach = 0
        while reach < count:
            # A shift by up to 2 * reach + 1 leaves no gap, so the width grows threefold each time.
            shift = min(2 * reach + 1, count - reach)
            ahead = (slice(None),) * axis + (slice(shift, None),)
            behind = (slice(None),) * axis + (slice(None, -shift),)
            before = result.copy()
            result[ahead] |= before[behind]
            result[behind] |= before[ahead]
            reach += shift
    return result


def open_named(rest: str) -> HounsfieldSegmenter | None:
    """``hounsfield``; None for a name that goes on."""
    return None if rest else HounsfieldSegmenter()

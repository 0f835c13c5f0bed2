"""Where a grid of voxels lies in the patient: the one place that knows LPS (ITK, DICOM) and RAS (NIfTI, Slicer)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.core.json_values import WrongField
from activeseg.core.records import NOT_WRITTEN, Within, from_json, to_json, written_as

FloatArray = npt.NDArray[np.float64]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Half-open ranges of voxels along (k, j, i)."""

AxisLength = Annotated[int, Within(1, 1_000_000)]
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SAME_VOXEL = 0.05
"""Two grids have the same voxels when no centre lies further than this part of a voxel beside the other's, along each
axis. Programs round headers to four decimals: over 512 columns of 0.7 mm that adds up to 0.026 mm, 4 % of a voxel.
Nearest neighbour would give the very same labels up to 50 %, and no outline is known to 5 % of a voxel. The corners
are compared, so that a wrong spacing counts with all of its drift.
"""
_IN_ORDER: tuple[tuple[int, ...], tuple[int, ...]] = ((2, 1, 0), ())
TIE = 1e-3
"""Nearest neighbour looks this part of a voxel further along each axis: on a grid twice as fine two voxels are equally
near everywhere, and rounding would take now one, now the other, which leaves gaps between structures.
"""


@dataclass(frozen=True)
class Geometry:
    """Where a grid lies in the patient.

    Attributes
    ----------
    shape_kji
        Numbers of voxels, slowest axis first, as in arrays.
    spacing_xyz
        mm between voxel centres along i, j, k.
    origin_lps
        Centre of voxel (0, 0, 0), mm.
    direction_lps
        9 numbers, row-major 3 x 3; its columns are the directions of i, j, k (ITK's direction).
    assumed
        Whether the file did not say how the grid lies in the patient.

    Raises
    ------
    InputError
        For a spacing, origin or direction that is not finite, a spacing that is not positive, and sheared axes.
    """

    shape_kji: tuple[AxisLength, AxisLength, AxisLength]
    spacing_xyz: tuple[float, float, float] = field(metadata=written_as("spacing_xyz_mm"))
    origin_lps: tuple[float, float, float] = field(metadata=written_as("origin_lps_mm"))
    direction_lps: tuple[float, ...]
    assumed: bool = field(default=False, compare=False, metadata=NOT_WRITTEN)

    def __post_init__(self) -> None:
        if len(self.direction_lps) != 9:
            raise InputError(f"'direction_lps' has {len(self.direction_lps)} numbers; it needs 9.")
        spacing = np.asarray(self.spacing_xyz, float)
        if not (np.all(np.isfinite(spacing)) and np.all(spacing > 0)):
            raise InputError(f"The image's voxel spacing is {self.spacing_xyz} mm; it must be positive.")
        direction = self.direction_matrix
        if not np.all(np.isfinite(direction)) or not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
            raise InputError(
                "The image's axes are not at right angles (sheared geometry).",
                "Resample it to an orthogonal grid, for example with Slicer's Resample Scalar Volume.",
                direction=[float(v) for v in self.direction_lps],
            )
        if not np.all(np.isfinite(self.origin_lps)):
            raise InputError(f"The image's origin is {self.origin_lps}; it must be finite.")

    @property
    def direction_matrix(self) -> FloatArray:
        return np.asarray(self.direction_lps, float).reshape(3, 3)

    @property
    def voxel_mm3(self) -> float:
        return float(np.prod(self.spacing_xyz))

    @property
    def ijk_to_lps(self) -> FloatArray:
        """4 x 4; takes homogeneous (i, j, k, 1) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction_matrix * np.asarray(self.spacing_xyz)
        matrix[:3, 3] = self.origin_lps
        return matrix

    @property
    def ijk_to_ras(self) -> FloatArray:
        """4 x 4; takes homogeneous (i, j, k, 1) to RAS mm. This is NIfTI's affine and Slicer's IJKToRAS."""
        return np.asarray(LPS_TO_RAS @ self.ijk_to_lps)

    @property
    def nibabel_affine(self) -> FloatArray:
        """4 x 4, voxel indices to RAS mm, as nibabel has it: of a file without a place, nibabel assumes another than
        ITK, from right to left with the centre in the middle (``Nifti1Header.get_base_affine``)."""
        if not self.assumed:
            return self.ijk_to_ras
        steps = np.asarray(self.spacing_xyz) * [-1, 1, 1]
        matrix = np.diag([*steps, 1.0])
        matrix[:3, 3] = -steps * (np.asarray(self.shape_kji[::-1]) - 1) / 2
        return matrix

    @classmethod
    def from_ijk_to_ras(cls, matrix: npt.ArrayLike, shape_kji: Sequence[int]) -> Geometry:
        """From NIfTI's affine or Slicer's IJKToRAS (4 x 4, mm)."""
        ras = np.asarray(matrix, float)
        if not np.isfinite(ras).all():
            raise InputError(f"The image's place in space is not finite: {ras[:3].tolist()}.", "Export it again.")
        lps = LPS_TO_RAS @ ras
        with np.errstate(all="ignore"):
            spacing = np.linalg.norm(lps[:3, :3], axis=0)
            direction = lps[:3, :3] / spacing
        return cls(
            (int(shape_kji[0]), int(shape_kji[1]), int(shape_kji[2])),
            (float(spacing[0]), float(spacing[1]), float(spacing[2])),
            (float(lps[0, 3]), float(lps[1, 3]), float(lps[2, 3])),
            tuple(float(v) for v in direction.ravel()),
        )

    def ras_of_ijk(self, points_ijk: npt.ArrayLike) -> FloatArray:
        """Points (..., 3) in voxel indices (i, j, k) to RAS mm."""
        points = np.asarray(points_ijk, float)
        matrix = self.ijk_to_ras
        return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])

    def ijk_of_ras(self, points_ras: npt.ArrayLike) -> FloatArray:
        """Points (..., 3) in RAS mm to continuous voxel indices (i, j, k)."""
        inverse = np.linalg.inv(self.ijk_to_ras)
        return np.asarray(np.asarray(points_ras, float) @ inverse[:3, :3].T + inverse[:3, 3])

    def farthest_corner_mm(self, other: Geometry) -> float:
        """How far apart, along one axis, the same corner voxel of two grids of one shape lies at most, mm."""
        corners = corners_ijk(self.shape_kji)
        return float(np.abs(self.ras_of_ijk(corners) - other.ras_of_ijk(corners)).max())

    def same_grid(self, other: Geometry) -> bool:
        """Whether both grids have the same voxels in the same order: same shape, all corners within ``SAME_VOXEL``."""
        return self._order_in(other) == _IN_ORDER

    def same_voxels(self, other: Geometry) -> bool:
        """Whether both grids have the same voxels, stored in any order: axes may be flipped and swapped."""
        return self._order_in(other) is not None

    def array_in_order_of(self, other: Geometry, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array (k, j, i) of this grid as ``other`` stores the same voxels; the array itself if nothing moves.

        Raises
        ------
        InputError
            Where ``other`` has other voxels.
        """
        order = self._order_in(other)
        if order is None:
            raise InputError(f"The grids {self.shape_kji} and {other.shape_kji} do not have the same voxels.")
        if order == _IN_ORDER:
            return array
        axes, flipped = order
        moved = np.transpose(array, [2 - axis for axis in axes])
        return np.ascontiguousarray(np.flip(moved, flipped))

    def _order_in(self, other: Geometry) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Where this grid's axes went in ``other``, whose voxels are the same; None where they are not.

        For each of ``other``'s array axes (k, j, i): which of this grid's i, j, k (0, 1, 2) it is; and the array axes
        of ``other`` that run the other way.
        """
        corners = corners_ijk(self.shape_kji)
        exact = whole_voxels(np.linalg.inv(other.ijk_to_ras) @ self.ijk_to_ras, corners)
        if exact is None:
            return None
        there = corners @ exact[:3, :3].T + exact[:3, 3]
        if there.min(axis=0).any() or (there.max(axis=0)[::-1] + 1).tolist() != list(other.shape_kji):
            return None
        turn = exact[2::-1, :3]  # rows: other's k, j, i
        return tuple(np.abs(turn).argmax(axis=1).tolist()), tuple(np.flatnonzero(turn.sum(axis=1) < 0).tolist())

    def canonical(self) -> Geometry:
        """The same voxels with axes permuted and flipped so that i, j, k run closest to right, anterior, superior."""
        axes, flipped = self._canonical_axes()
        matrix = self.ijk_to_ras
        shape_xyz = np.array(self.shape_kji[::-1])[axes]
        columns = matrix[:3, axes]
        origin = matrix[:3, 3] + (columns * (shape_xyz - 1))[:, flipped].sum(axis=1)
        affine = np.eye(4)
        affine[:3, :3] = columns * np.where(flipped, -1.0, 1.0)
        affine[:3, 3] = origin
        return Geometry.from_ijk_to_ras(affine, shape_xyz[::-1].tolist())

    def array_to_canonical(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array (k, j, i) on this grid, rearranged for ``canonical()``; contiguous, not copied if nothing moves."""
        axes, flipped = self._canonical_axes()
        moved = np.transpose(array, _array_axes(axes))
        return np.ascontiguousarray(np.flip(moved, tuple(np.flatnonzero(flipped[::-1]).tolist())))

    def array_from_canonical(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The way back: an array on ``canonical()``'s grid, rearranged for this one.

        Raises
        ------
        InputError
            For an array of another shape.
        """
        axes, flipped = self._canonical_axes()
        wanted = tuple(self.shape_kji[axis] for axis in _array_axes(axes))
        if array.shape != wanted:
            raise InputError(f"The array has shape {array.shape}, the canonical grid {wanted}.")
        moved = np.flip(array, tuple(np.flatnonzero(flipped[::-1]).tolist()))
        return np.ascontiguousarray(np.transpose(moved, np.argsort(_array_axes(axes))))

    def _canonical_axes(self) -> tuple[list[int], npt.NDArray[np.bool_]]:
        """For R, A, S in turn: which of i, j, k (0, 1, 2) runs along it, and whether it runs the other way.

        The axis that fits best chooses first, as nibabel.orientations.io_orientation does.
        """
        cosines = self.direction_matrix * np.array([[-1.0], [-1.0], [1.0]])
        axes = [-1, -1, -1]
        free = np.abs(cosines)
        for axis in np.argsort(-np.max(free, axis=0), kind="stable"):
            world = int(np.argmax(free[:, axis]))
            axes[world] = int(axis)
            free[world] = -1.0
        return axes, cosines[[0, 1, 2], axes] < 0

    def cropped(self, box_kji: Box) -> Geometry:
        """The grid of the voxels in a box, half-open ranges of this grid's indices."""
        (k0, k1), (j0, j1), (i0, i1) = box_kji
        matrix = self.ijk_to_ras.copy()
        matrix[:3, 3] = self.ras_of_ijk((i0, j0, k0))
        return Geometry.from_ijk_to_ras(matrix, (k1 - k0, j1 - j0, i1 - i0))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``from_dict`` reads it back."""
        return dict(to_json(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Geometry:
        """Raises InputError when a part is missing, of another length, or impossible."""
        try:
            return from_json(cls, data, "geometry")
        except WrongField as error:
            raise InputError(f"Not the geometry of an image: {error}.") from error


def _array_axes(axes_xyz: Sequence[int]) -> list[int]:
    """The order of i, j, k as the order of array axes k, j, i."""
    return [2 - axis for axis in reversed(axes_xyz)]


def volume_shape(sizes_xyz: Sequence[int], components: int = 1, *, thin: bool = False) -> tuple[int, int, int]:
    """(k, j, i) of an image with these sizes, x first. Further axes of length 1 are dropped.

    Parameters
    ----------
    components
        Values in each voxel.
    thin
        One slice is a 2D image, however it is stored, unless it may be thin: a segmentation is often cropped to what
        is painted, which may be one voxel.

    Raises
    ------
    InputError
        Unless it is one scalar 3D image.
    """
    sizes = "x".join(str(size) for size in sizes_xyz)
    if components != 1:
        raise InputError(
            f"The image has {components} values in each voxel (colour or vector image).",
            "Export it as a grey-scale image.",
        )
    if any(size < 1 for size in sizes_xyz):
        raise InputError(
            f"The image has impossible sizes ({sizes}); its header is damaged.", "Copy or export it again."
        )
    if any(size > 1 for size in sizes_xyz[3:]):
        raise InputError(f"The image has more than 3 dimensions ({sizes}).", "Export one time point as a 3D image.")
    if len(sizes_xyz) < 3 or (min(sizes_xyz[:3]) < 2 and not thin):
        raise InputError(f"The image is 2D ({sizes}): a volume needs at least two slices.", "Give the whole 3D image.")
    return int(sizes_xyz[2]), int(sizes_xyz[1]), int(sizes_xyz[0])


def slices_of(box_kji: Box) -> tuple[slice, slice, slice]:
    """A box as an index into arrays (k, j, i)."""
    k, j, i = box_kji
    return slice(*k), slice(*j), slice(*i)


def holds(box_kji: Box, other: Box) -> bool:
    """Whether all of another box lies in this one."""
    return all(a <= c and d <= b for (a, b), (c, d) in zip(box_kji, other, strict=True))


def grown(box_kji: Box, geometry: Geometry, margin_mm: float) -> Box:
    """A box with a margin on all sides, as far as the grid reaches."""
    steps = [int(np.ceil(margin_mm / spacing)) for spacing in geometry.spacing_xyz[::-1]]
    k, j, i = (
        (max(0, low - step), min(length, high + step))
        for (low, high), step, length in zip(box_kji, steps, geometry.shape_kji, strict=True)
    )
    return k, j, i


def box_on(box_kji: Box, of: Geometry, to: Geometry) -> Box:
    """The smallest box of one grid's voxels that holds the centres of a box of another's, as far as the grid reaches;
    at least one voxel long."""
    matrix, shift = index_map(of, to)
    corners = np.array(np.meshgrid(*[(low, high - 1) for low, high in box_kji], indexing="ij")).reshape(3, -1).T
    at = corners @ matrix.T + shift
    last = np.array(to.shape_kji) - 1
    low = np.clip(np.rint(at.min(axis=0)), 0, last).astype(int).tolist()
    high = (np.clip(np.rint(at.max(axis=0)), 0, last).astype(int) + 1).tolist()
    k, j, i = zip(low, high, strict=True)
    return k, j, i


def corners_ijk(shape_kji: Sequence[int], first_ijk: Sequence[int] = (0, 0, 0)) -> FloatArray:
    """The eight corner voxels' indices (i, j, k), (8, 3), of a box of voxels."""
    ends = [(first, first + length - 1) for first, length in zip(first_ijk, shape_kji[::-1], strict=True)]
    return np.array([[i, j, k] for i in ends[0] for j in ends[1] for k in ends[2]], float)


def whole_voxels(matrix: FloatArray, corners: FloatArray) -> FloatArray | None:
    """A matrix between the voxel indices of two grids in whole numbers; None where it does not take voxels to voxels.

    It does where it only shifts, flips and swaps axes, and no corner ends further than ``SAME_VOXEL`` from a voxel's
    centre.

    Parameters
    ----------
    matrix
        4 x 4; takes homogeneous (i, j, k, 1) of the one grid to those of the other.
    corners
        (8, 3), of the part of the one grid that is looked at (``corners_ijk``).
    """
    rounded = np.rint(matrix)
    turn = np.abs(rounded[:3, :3])
    if not (np.all(turn.sum(axis=0) == 1) and np.all(turn.sum(axis=1) == 1)):
        return None
    there = corners @ matrix[:3, :3].T + matrix[:3, 3]
    rounded[:3, 3] = np.rint(there[0] - corners[0] @ rounded[:3, :3].T)
    off = np.abs(there - corners @ rounded[:3, :3].T - rounded[:3, 3]).max()
    return rounded if off <= SAME_VOXEL else None


def index_map(of: Geometry, to: Geometry) -> tuple[FloatArray, FloatArray]:
    """Matrix (3, 3) and shift (3,) that take voxel indices (k, j, i) of one grid to continuous ones of the other."""
    matrix = np.linalg.inv(to.ijk_to_ras) @ of.ijk_to_ras
    return matrix[:3, :3][::-1, ::-1].copy(), matrix[:3, 3][::-1].copy()

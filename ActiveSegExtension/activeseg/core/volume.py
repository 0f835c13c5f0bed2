"""Images in patient space: the one place that knows LPS (ITK, DICOM) and RAS (NIfTI, Slicer)."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import ActiveSegError, InputError
from activeseg.core.progress import Progress

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813  (the name that SimpleITK's own manual uses)

Notice = Callable[[str], None]
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
FloatArray = npt.NDArray[np.float64]

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
    shape_kji : numbers of voxels, slowest axis first, as in arrays
    spacing_xyz : mm between voxel centres along i, j, k
    origin_lps : centre of voxel (0, 0, 0), mm
    direction_lps : 9 numbers, row-major 3 x 3; its columns are the directions of i, j, k (ITK's direction)
    assumed : whether the file did not say how the grid lies in the patient
    """

    shape_kji: tuple[int, int, int]
    spacing_xyz: tuple[float, float, float]
    origin_lps: tuple[float, float, float]
    direction_lps: tuple[float, ...]
    assumed: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
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
        k, j, i = self.shape_kji
        corners = np.array([[a, b, c] for a in (0, i - 1) for b in (0, j - 1) for c in (0, k - 1)], float)
        return float(np.abs(self.ras_of_ijk(corners) - other.ras_of_ijk(corners)).max())

    def same_grid(self, other: Geometry) -> bool:
        """Whether both grids have the same voxels in the same order: same shape, all corners within ``SAME_VOXEL``."""
        return self._order_in(other) == _IN_ORDER

    def same_voxels(self, other: Geometry) -> bool:
        """Whether both grids have the same voxels, stored in any order: axes may be flipped and swapped."""
        return self._order_in(other) is not None

    def array_in_order_of(self, other: Geometry, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array (k, j, i) of this grid as ``other`` stores the same voxels; the array itself if nothing moves.

        Raises InputError where ``other`` has other voxels.
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
        to_other = np.linalg.inv(other.ijk_to_ras) @ self.ijk_to_ras
        steps = np.rint(to_other[:3, :3])  # rows: other's i, j, k
        ones = np.abs(steps)
        if not (np.isfinite(steps).all() and (ones.sum(axis=0) == 1).all() and (ones.sum(axis=1) == 1).all()):
            return None
        if (ones @ self.shape_kji[::-1]).tolist() != list(other.shape_kji[::-1]):
            return None
        k, j, i = self.shape_kji
        corners = np.array([[a, b, c] for a in (0, i - 1) for b in (0, j - 1) for c in (0, k - 1)], float)
        flipped = steps.sum(axis=1) < 0
        expected = corners @ steps.T + flipped * (np.array(other.shape_kji[::-1]) - 1)
        there = corners @ to_other[:3, :3].T + to_other[:3, 3]
        if not np.abs(there - expected).max() <= SAME_VOXEL:
            return None
        axes = tuple(int(axis) for axis in np.argmax(ones, axis=1)[::-1])
        return axes, tuple(np.flatnonzero(flipped[::-1]).tolist())

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

        Raises InputError for another shape.
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

    def to_dict(self) -> dict[str, Any]:
        return {
            "shape_kji": list(self.shape_kji),
            "spacing_xyz_mm": list(self.spacing_xyz),
            "origin_lps_mm": list(self.origin_lps),
            "direction_lps": list(self.direction_lps),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Geometry:
        return cls(
            tuple(data["shape_kji"]),
            tuple(data["spacing_xyz_mm"]),
            tuple(data["origin_lps_mm"]),
            tuple(data["direction_lps"]),
        )


def _array_axes(axes_xyz: Sequence[int]) -> list[int]:
    """The order of i, j, k as the order of array axes k, j, i."""
    return [2 - axis for axis in reversed(axes_xyz)]


def volume_shape(sizes_xyz: Sequence[int], components: int = 1, *, thin: bool = False) -> tuple[int, int, int]:
    """(k, j, i) of an image with these sizes, x first. Raises InputError unless it is one scalar 3D image.

    Further axes of length 1 are dropped. One slice is a 2D image, however it is stored, unless it may be ``thin``: a
    segmentation is often cropped to what is painted, which may be one voxel.
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


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An InputError of the block names the file, if it did not do so itself."""
    try:
        yield
    except InputError as error:
        if path.name in error.message:
            raise
        raise InputError(f"'{path.name}': {error.message}", error.action, **error.details) from error


def warn(text: str) -> None:
    """What a notice becomes where nobody listens: a Python warning."""
    warnings.warn(text, stacklevel=3)


@dataclass(frozen=True)
class Volume:
    """A scalar image: ``array`` (k, j, i), HU for CT (label maps are volumes of whole numbers), on a ``geometry``.

    ``name`` never comes from a file: it could be a patient's.
    """

    array: npt.NDArray[Any]
    geometry: Geometry
    name: str = ""

    def __post_init__(self) -> None:
        if tuple(self.array.shape) != self.geometry.shape_kji:
            raise InputError(f"The array has shape {self.array.shape}, the geometry {self.geometry.shape_kji}.")

    @classmethod
    def read(
        cls,
        path: str | Path,
        series: str | None = None,
        notice: Notice = warn,
        *,
        allow_nan: bool = False,
        thin: bool = False,
    ) -> Volume:
        """A NIfTI, NRRD or MetaImage file, or a DICOM series: its folder (with all sub-folders) or one of its files.

        Parameters
        ----------
        series : for DICOM: UID, number in the list or description of the series; needed only where there are several
        notice : is told what was assumed or left out, never a patient's data
        allow_nan : for maps of ours that are NaN where nothing was computed
        thin : for segmentations, which may be one voxel thick; an image of one slice is no volume

        Raises InputError for whatever is not one scalar 3D image with orthogonal axes and finite values.
        """
        from activeseg.io import itk, nifti
        from activeseg.io.dicom import series as dicom

        path = Path(path).expanduser()
        try:
            if not path.exists():
                raise InputError(f"There is no file or folder '{path}'.", "Check the path.")
            if path.is_dir():
                return dicom.read_series(path, series, notice)
            if not path.is_file():
                raise InputError(f"'{path}' is neither a file nor a folder.", "Give an image file or a DICOM folder.")
            if path.stat().st_size == 0:
                raise InputError(f"'{path.name}' is empty (0 bytes).", "Copy or export it again.")
            suffix = _suffix(path)
            if suffix is None and dicom.is_dicom(path):
                return dicom.read_file(path, series, notice)
            if series is not None:
                raise InputError(f"A series ('{series}') can only be chosen in DICOM; '{path.name}' is one image.")
            if suffix is None:
                raise InputError(
                    f"'{path.name}' is not an image that can be read.",
                    f"Give {', '.join(_READ_SUFFIXES)}, or a folder of DICOM slices.",
                )
            read = nifti.read if suffix.startswith(".nii") else itk.read
            with naming(path):
                array, geometry = read(path, notice, thin)
        except OSError as error:
            raise InputError(f"'{error.filename or path}' cannot be opened: {error.strerror or error}.") from error
        if not allow_nan:
            _check_finite(array, path.name)
        return cls(array, geometry)

    def write(self, path: str | Path, progress: Progress | None = None) -> None:
        """Write .nii, .nii.gz, .nrrd or .mha; what was there stays until the new file is complete on disk.

        The voxel type is kept (bool becomes uint8, float16 float32); .nii.gz and .nrrd are compressed. Raises
        InputError for another suffix or a missing folder, ActiveSegError when the disk is full, Cancelled.
        """
        from activeseg.io import itk, nifti

        path, progress = Path(path).expanduser(), progress or Progress()
        suffix = _suffix(path)
        if suffix not in _WRITE_SUFFIXES:
            raise InputError(f"'{path.name}' cannot be written.", f"End its name in {', '.join(_WRITE_SUFFIXES)}.")
        if not path.parent.is_dir():
            raise InputError(f"There is no folder '{path.parent}'.", "Make it first.")
        try:
            with replacing(path, suffix) as fresh:
                if suffix.startswith(".nii"):
                    nifti.write(fresh, _storable(self.array), self.geometry, progress)
                else:
                    itk.write(fresh, self.to_sitk())
                progress.check()
        except OSError as error:
            raise ActiveSegError(
                f"'{path}' cannot be written: {error.strerror or error}.",
                "Check the disk's free space and the folder's permissions; a file that was there before is unchanged.",
            ) from error

    def to_sitk(self) -> sitk.Image:
        """A SimpleITK image with its own copy of the voxels."""
        import SimpleITK as sitk  # noqa: N813

        image = sitk.GetImageFromArray(_storable(self.array))
        image.SetSpacing(self.geometry.spacing_xyz)
        image.SetOrigin(self.geometry.origin_lps)
        image.SetDirection(self.geometry.direction_lps)
        return image

    @classmethod
    def from_sitk(cls, image: sitk.Image, name: str = "") -> Volume:
        """From a scalar 3D SimpleITK image (further axes of length 1 are dropped); copies the voxels.

        Raises InputError for another kind of image or a sheared one.
        """
        import SimpleITK as sitk  # noqa: N813

        shape = volume_shape(image.GetSize(), image.GetNumberOfComponentsPerPixel(), thin=True)
        size = image.GetDimension()
        direction = np.asarray(image.GetDirection()).reshape(size, size)[:3, :3]
        geometry = Geometry(
            shape, image.GetSpacing()[:3], image.GetOrigin()[:3], tuple(float(v) for v in direction.ravel())
        )
        return cls(sitk.GetArrayFromImage(image).reshape(shape), geometry, name)

    def sha256(self) -> str:
        """Fingerprint of voxels and geometry (to 1e-4 mm), whatever file, format or name they came in."""
        digest = hashlib.sha256(repr((self.array.dtype.str, self.geometry.shape_kji)).encode())
        digest.update(np.round(self.geometry.ijk_to_ras * 1e4).astype("<i8").tobytes())
        digest.update(np.ascontiguousarray(self.array).data)
        return digest.hexdigest()

    def canonical(self) -> Volume:
        """The same voxels at the same places, stored closest to RAS (back: ``Geometry.array_from_canonical``)."""
        return Volume(self.geometry.array_to_canonical(self.array), self.geometry.canonical(), self.name)

    def in_order_of(self, geometry: Geometry) -> Volume:
        """The same voxels as ``geometry`` stores them, and on it; raises InputError where its voxels are others."""
        return Volume(self.geometry.array_in_order_of(geometry, self.array), geometry, self.name)

    def resample_labels_to(self, geometry: Geometry, *, may_miss: bool = False) -> Volume:
        """A label map on another grid, nearest neighbour (``TIE`` where two are equally near), 0 outside.

        Where the voxels are the same they are only put in the other order; the array is the same where that is too.
        Raises InputError when the label map has structures and none of them reaches the grid, unless it ``may_miss``.
        """
        if self.geometry.same_voxels(geometry):
            return self.in_order_of(geometry)
        import SimpleITK as sitk  # noqa: N813

        k, j, i = geometry.shape_kji
        resample = sitk.ResampleImageFilter()
        resample.SetInterpolator(sitk.sitkNearestNeighbor)
        resample.SetSize((i, j, k))
        resample.SetOutputSpacing(geometry.spacing_xyz)
        resample.SetOutputOrigin((geometry.ijk_to_lps @ (TIE, TIE, TIE, 1))[:3].tolist())
        resample.SetOutputDirection(geometry.direction_lps)
        array = sitk.GetArrayFromImage(resample.Execute(self.to_sitk()))
        if not may_miss and self.array.any() and not array.any():
            raise InputError("No structure of the label map lies inside the image.", "Check that they belong together.")
        return Volume(array, geometry, self.name)


def read_label_map(path: str | Path, notice: Notice = warn) -> Volume:
    """A label map of whole numbers from 0 to 65535 as uint8, or uint16 where a value is above 255.

    It may be one voxel thick. Floats are accepted when they are whole. Raises InputError that names a wrong value. The
    header of Slicer's ``.seg.nrrd`` says what its values mean; this function does not look at it.
    """
    volume = Volume.read(path, notice=notice, thin=True)
    array = volume.array
    if array.dtype.kind == "f":
        for slab in array:
            fractional = slab[slab != np.rint(slab)]
            if fractional.size:
                raise InputError(
                    f"'{Path(path).name}' is not a label map: it holds the value {fractional[0]:.6g}.",
                    "Labels are whole numbers; give the label map, not the image or a probability map.",
                )
    lowest, highest = array.min(), array.max()
    wrong = lowest if lowest < 0 else highest
    if wrong < 0 or wrong > 65535:
        raise InputError(
            f"'{Path(path).name}' is not a label map: it holds the value {wrong:.0f}.", "Labels are 0 to 65535."
        )
    return Volume(array.astype(np.uint8 if highest <= 255 else np.uint16, copy=False), volume.geometry)


_WRITE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
_READ_SUFFIXES = (*_WRITE_SUFFIXES, ".nhdr", ".mhd")


def _suffix(path: Path) -> str | None:
    """The suffix of a supported format, lower case."""
    return next((suffix for suffix in _READ_SUFFIXES if path.name.lower().endswith(suffix)), None)


def _storable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array in a type that image files know."""
    kinds = {np.dtype(bool): np.uint8, np.dtype(np.float16): np.float32}
    return array.astype(kinds.get(array.dtype, array.dtype.newbyteorder("=")), copy=False)


def _check_finite(array: npt.NDArray[Any], name: str) -> None:
    # Minimum and maximum show every NaN and infinity without an array of truth values.
    if array.dtype.kind == "f" and not np.isfinite([array.min(), array.max()]).all():
        count = int(np.count_nonzero(~np.isfinite(array)))
        raise InputError(
            f"'{name}' has {count} voxels that are not numbers (NaN or infinite).",
            "Replace them, for example by -1024 HU.",
        )


@contextlib.contextmanager
def replacing(path: Path, suffix: str) -> Iterator[Path]:
    """A fresh sibling to write to (its name ends in ``suffix``), which takes ``path``'s place if the block succeeds.

    The file and the folder's entry are on disk before the block counts as done. Otherwise the sibling is removed; that
    of a process that was killed is removed by ``remove_abandoned``.
    """
    fresh = path.with_name(f".activeseg-{_writer()}-{uuid.uuid4().hex[:12]}{suffix}")
    try:
        yield fresh
        sync_to_disk(fresh)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_to_disk(path.parent)


@contextlib.contextmanager
def a_new_file(path: Path) -> Iterator[Path]:
    """As ``replacing``, but a file that is there meanwhile, or already, stays as it is and the new one goes."""
    fresh = path.with_name(f".activeseg-{_writer()}-{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        yield fresh
        sync_to_disk(fresh)
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        except OSError:  # a drive without hard links
            if not path.exists():
                os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_to_disk(path.parent)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it where they are missing, on disk for good. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    for path in missing:
        sync_to_disk(path.parent)


_ABANDONED = re.compile(
    r"\.(?:activeseg|staging)-(?:(?P<place>[0-9a-f]{12})-(?P<pid>\d{1,10})-[0-9a-f]{12}|[0-9a-f]{32})(\.\w+)*"
)
_ABANDONED_S = 3600.0


def staging_folder(folder: Path) -> Path:
    """A name in ``folder`` for a new folder that is renamed when it is whole; ``remove_abandoned`` knows it."""
    return folder / f".staging-{_writer()}-{uuid.uuid4().hex[:12]}"


def remove_abandoned(folder: Path, staging: bool = False) -> list[str]:
    """Remove the siblings of ``replacing`` whose writer was killed, with ``staging`` also the folders of
    ``staging_folder``; gives their names.

    The writer is known by the name: a process of this computer that is no more, else (another computer, a program of
    an earlier version) one that has not touched the file for an hour. Links are left alone.
    """
    removed = []
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            named = _ABANDONED.fullmatch(entry.name)
            if named is None or entry.is_symlink():
                continue
            if entry.name.startswith(".staging-") != entry.is_dir() or (entry.is_dir() and not staging):
                continue
            with contextlib.suppress(OSError):
                old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_S
                if old or _is_gone(named["place"], named["pid"]):
                    (shutil.rmtree if entry.is_dir() else os.unlink)(entry.path)
                    removed.append(entry.name)
    return sorted(removed)


def _writer() -> str:
    """This process, as others of this computer can look it up."""
    return f"{_place()}-{os.getpid()}"


def _place() -> str:
    """Where a process id means something: this computer, and on Linux this container."""
    import platform

    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:12]


def _is_gone(place: str | None, pid: str | None) -> bool:
    if os.name != "posix" or pid is None or place != _place():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


_NOT_OFFERED = frozenset(
    getattr(errno, name)
    for name in ("EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EPERM", "EACCES", "ENOTTY", "EBADF", "EISDIR")
    if hasattr(errno, name)
)
"""How network drives and foreign file systems answer for what they do not offer; none of it says that data are lost."""


def sync_to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on disk, as far as the drive offers it.

    Raises OSError for a real fault (full, broken, not there), not for a drive that cannot flush (EINVAL, ENOTSUP).
    """
    folder = path.is_dir()
    if folder and os.name != "posix":
        return
    try:
        handle = os.open(path, (os.O_RDONLY if folder else os.O_RDWR) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if folder and error.errno in _NOT_OFFERED:
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
    finally:
        os.close(handle)


def set_rights(path: Path | int, mode: int) -> bool:
    """``chmod`` (a path, or an open file's number where the system can), as far as the drive keeps rights.

    Returns whether it took them. Raises OSError for a real fault, not for a drive that refuses (EPERM, ENOTSUP).
    """
    if isinstance(path, int) and os.chmod not in os.supports_fd:
        return False
    try:
        os.chmod(path, mode)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
        return False
    return True


def check_replacing(folder: Path) -> None:
    """Raise OSError when the drive does not let one file take another one's place: found out before work, not after.

    Nothing stays in ``folder``.
    """
    old, new = (folder / f".activeseg-{_writer()}-{uuid.uuid4().hex[:12]}.probe" for _ in range(2))
    try:
        old.write_bytes(b"")
        new.write_bytes(b"")
        try:
            os.replace(new, old)
        except OSError as error:
            why = error.strerror or str(error)
            raise OSError(error.errno, f"this drive does not let a file replace another one ({why})") from error
    finally:
        for path in (old, new):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

"""Images in patient space: the one place that knows LPS (ITK, DICOM) and RAS (NIfTI, Slicer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Geometry:
    """Where a grid lies in the patient.

    Attributes
    ----------
    shape_kji : numbers of voxels, slowest axis first, as in arrays
    spacing_xyz : mm between voxel centres along i, j, k
    origin_lps : centre of voxel (0, 0, 0), mm
    direction_lps : 9 numbers, row-major 3 x 3; its columns are the directions of i, j, k (ITK's direction)
    """

    shape_kji: tuple[int, int, int]
    spacing_xyz: tuple[float, float, float]
    origin_lps: tuple[float, float, float]
    direction_lps: tuple[float, ...]

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

    @classmethod
    def from_ijk_to_ras(cls, matrix: npt.ArrayLike, shape_kji: Sequence[int]) -> Geometry:
        """From NIfTI's affine or Slicer's IJKToRAS (4 x 4, mm)."""
        lps = LPS_TO_RAS @ np.asarray(matrix, float)
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
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

    def same_grid(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same voxels: same shape, and all eight corners within the tolerance."""
        if self.shape_kji != other.shape_kji:
            return False
        k, j, i = self.shape_kji
        corners = np.array([[a, b, c] for a in (0, i - 1) for b in (0, j - 1) for c in (0, k - 1)], float)
        return bool(np.abs(self.ras_of_ijk(corners) - other.ras_of_ijk(corners)).max() <= tolerance_mm)

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


@dataclass(frozen=True)
class Volume:
    """A scalar image: ``array`` (k, j, i), HU for CT (label maps are volumes of whole numbers), on a ``geometry``."""

    array: npt.NDArray[Any]
    geometry: Geometry
    name: str = ""

    def __post_init__(self) -> None:
        if tuple(self.array.shape) != self.geometry.shape_kji:
            raise InputError(f"The array has shape {self.array.shape}, the geometry {self.geometry.shape_kji}.")

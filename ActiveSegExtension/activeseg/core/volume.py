"""A volume: voxels on a grid in the patient. It knows no file format; ``io.images`` reads and writes it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.core.geometry import TIE, Box, Geometry, slices_of

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813  (the name that SimpleITK's own manual uses)


@dataclass(frozen=True)
class Volume:
    """A scalar image on a grid in the patient.

    Attributes
    ----------
    array
        (k, j, i); HU for CT. Label maps are volumes of whole numbers.
    name
        The modality of a DICOM series, else empty. It never comes from a file's name or text, which could be a
        patient's.
    """

    array: npt.NDArray[Any]
    geometry: Geometry
    name: str = ""

    def __post_init__(self) -> None:
        if tuple(self.array.shape) != self.geometry.shape_kji:
            raise InputError(f"The array has shape {self.array.shape}, the geometry {self.geometry.shape_kji}.")

    def to_sitk(self) -> sitk.Image:
        """A SimpleITK image with its own copy of the voxels."""
        import SimpleITK as sitk  # noqa: N813

        image = sitk.GetImageFromArray(storable(self.array))
        image.SetSpacing(self.geometry.spacing_xyz)
        image.SetOrigin(self.geometry.origin_lps)
        image.SetDirection(self.geometry.direction_lps)
        return image

    def sha256(self) -> str:
        """Fingerprint of voxels and geometry (to 1e-4 mm), whatever file, format or name they came in."""
        digest = hashlib.sha256(repr((self.array.dtype.str, self.geometry.shape_kji)).encode())
        digest.update(np.round(self.geometry.ijk_to_ras * 1e4).astype("<i8").tobytes())
        digest.update(np.ascontiguousarray(self.array).data)
        return digest.hexdigest()

    def cropped(self, box_kji: Box | None) -> Volume:
        """The voxels in a box (half-open ranges of indices), not copied; None: all of them."""
        if box_kji is None:
            return self
        return Volume(self.array[slices_of(box_kji)], self.geometry.cropped(box_kji), self.name)

    def canonical(self) -> Volume:
        """The same voxels at the same places, stored closest to RAS (back: ``Geometry.array_from_canonical``)."""
        return Volume(self.geometry.array_to_canonical(self.array), self.geometry.canonical(), self.name)

    def in_order_of(self, geometry: Geometry) -> Volume:
        """The same voxels as ``geometry`` stores them, and on it.

        Raises
        ------
        InputError
            Where its voxels are others.
        """
        return Volume(self.geometry.array_in_order_of(geometry, self.array), geometry, self.name)

    def resample_labels_to(self, geometry: Geometry, *, may_miss: bool = False) -> Volume:
        """A label map on another grid, nearest neighbour (``TIE`` where two are equally near), 0 outside.

        Where the voxels are the same they are only put in the other order; the array is the same where that is too.

        Raises
        ------
        InputError
            When the label map has structures and none of them reaches the grid, unless it ``may_miss``.
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


def storable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array in a type that image files know."""
    kinds = {np.dtype(bool): np.uint8, np.dtype(np.float16): np.float32}
    return array.astype(kinds.get(array.dtype, array.dtype.newbyteorder("=")), copy=False)

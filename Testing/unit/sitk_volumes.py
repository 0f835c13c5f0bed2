"""SimpleITK's images as the volumes that they should be read as."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813

from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume


def volume_of(image: sitk.Image) -> Volume:
    """A scalar 3D image (further axes of length 1 are dropped), with its own copy of the voxels."""
    size = image.GetDimension()
    direction = np.asarray(image.GetDirection()).reshape(size, size)[:3, :3]
    shape = image.GetSize()[2::-1]
    geometry = Geometry(shape, image.GetSpacing()[:3], image.GetOrigin()[:3], tuple(direction.ravel().tolist()))
    return Volume(sitk.GetArrayFromImage(image).reshape(shape), geometry)

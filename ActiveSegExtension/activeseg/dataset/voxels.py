"""How images and label maps lie in the dataset: closest to RAS, in the smallest exact type, with a neutral header."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.label_map import smallest_dtype
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.volume import Volume
from activeseg.io import nifti

_INT16 = np.iinfo(np.int16)


def stored_image(image: Volume, channel: str) -> Volume:
    """An image as the dataset keeps it: canonical; int16 where that is exact (CT in HU), else float32.

    Raises InputError for voxels that are not finite numbers.
    """
    array = image.array
    if array.dtype.kind not in "biuf":
        raise InputError(f"The image '{channel}' holds {array.dtype} values; numbers are needed.")
    low, high = array.min(), array.max()
    if not np.isfinite([low, high]).all():
        raise InputError(
            f"The image '{channel}' has voxels that are not numbers (NaN or infinite).",
            "Replace them, for example by -1024 HU.",
        )
    whole = array.dtype.kind in "biu" or all(np.array_equal(plane, np.rint(plane)) for plane in array)
    exact = whole and _INT16.min <= low and high <= _INT16.max
    return Volume(array.astype(np.int16 if exact else np.float32, copy=False), image.geometry).canonical()


def stored_labels(labels: npt.NDArray[Any], geometry: Geometry, schema: LabelSchema) -> Volume:
    """A label map (k, j, i) as the dataset keeps it: canonical, in the smallest type that holds ``ignore``."""
    return Volume(labels.astype(smallest_dtype(schema.ignore_value), copy=False), geometry).canonical()


def voxels_sha256(images: Sequence[Volume]) -> str:
    """Fingerprint of stored images, without their place: it is the same for a DICOM series and its NIfTI copy."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr((image.array.dtype.str, image.array.shape)).encode())
        digest.update(np.ascontiguousarray(image.array).data)
    return digest.hexdigest()


def write(path: Path, volume: Volume, progress: Progress) -> None:
    """NIfTI with nothing in its header but type, size and place. Raises OSError, also for a full disk."""
    nifti.write(path, volume, progress)

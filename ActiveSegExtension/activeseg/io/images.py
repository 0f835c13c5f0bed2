"""Images of any format, by their name and content: the one place to read and write a volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import ActiveSegError, InputError, Notice, naming, warn
from activeseg.core.progress import Progress
from activeseg.core.volume import Volume, storable
from activeseg.system.files import replacing


def read_volume(
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
    allow_nan : for ActiveSeg's own maps, which are NaN where nothing was computed
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
    return Volume(array, geometry)


def write_volume(volume: Volume, path: str | Path, progress: Progress | None = None) -> None:
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
                nifti.write(fresh, storable(volume.array), volume.geometry, progress)
            else:
                itk.write(fresh, volume.to_sitk())
            progress.check()
    except OSError as error:
        raise ActiveSegError(
            f"'{path}' cannot be written: {error.strerror or error}.",
            "Check the disk's free space and the folder's permissions; a file that was there before is unchanged.",
        ) from error


def read_label_map(path: str | Path, notice: Notice = warn) -> Volume:
    """A label map of whole numbers from 0 to 65535 as uint8, or uint16 where a value is above 255.

    It may be one voxel thick. Floats are accepted when they are whole. Raises InputError that names a wrong value. The
    header of Slicer's ``.seg.nrrd`` says what its values mean; this function does not look at it.
    """
    volume = read_volume(path, notice=notice, thin=True)
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


def _check_finite(array: npt.NDArray[Any], name: str) -> None:
    # Minimum and maximum show every NaN and infinity without an array of truth values.
    if array.dtype.kind == "f" and not np.isfinite([array.min(), array.max()]).all():
        count = int(np.count_nonzero(~np.isfinite(array)))
        raise InputError(
            f"'{name}' has {count} voxels that are not numbers (NaN or infinite).",
            "Replace them, for example by -1024 HU.",
        )

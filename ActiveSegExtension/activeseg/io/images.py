"""Images of any format, by their content and name: the one place to read and write a volume."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import ActiveSegError, InputError, Notice, naming, warn
from activeseg.core.progress import Progress
from activeseg.core.volume import Volume
from activeseg.system.files import replacing
from activeseg.system.regular_files import open_regular

_FORMATS = {"nifti": (".nii.gz", ".nii"), "itk": (".nrrd", ".mha", ".nhdr", ".mhd"), "dicom.series": ()}
"""The module of each format, and how its files' names end; imported when a file is of it.

Each offers ``recognise(start)``, whether a file that begins with these bytes is of the format, and ``read(path, notice,
thin)``; those of ``_WRITTEN`` offer ``write(path, volume, progress)``.
"""
_WRITTEN = (".nii.gz", ".nii", ".nrrd", ".mha")
_SUFFIXES = {suffix: name for name, suffixes in _FORMATS.items() for suffix in suffixes}
_START_BYTES = 4096


def read_volume(
    path: str | Path,
    series: str | None = None,
    notice: Notice = warn,
    *,
    allow_nan: bool = False,
    thin: bool = False,
) -> Volume:
    """A NIfTI, NRRD or MetaImage file, or a DICOM series: its folder (with all sub-folders) or one of its files.

    Its first bytes tell what a file is, and its name where they do not.

    Parameters
    ----------
    series
        For DICOM: UID, number in the list or description of the series; needed only where there are several.
    notice
        Is told what was assumed or left out, never a patient's data.
    allow_nan
        For ActiveSeg's own maps, which are NaN where nothing was computed.
    thin
        For segmentations, which may be one voxel thick; an image of one slice is no volume.

    Raises
    ------
    InputError
        For everything that is not one scalar 3D image with orthogonal axes and finite values.
    """
    path = Path(path).expanduser()
    try:
        if not path.exists():
            raise InputError(f"There is no file or folder '{path}'.", "Check the path.")
        name = "dicom.series" if path.is_dir() else _format_of(path)
        if name == "dicom.series":
            return cast(Volume, _module(name).read(path, notice, thin, series))
        if series is not None:
            raise InputError(f"A series ('{series}') can only be chosen in DICOM; '{path.name}' is one image.")
        if name is None:
            raise InputError(
                f"'{path.name}' is not an image that can be read.",
                f"Give {', '.join(_SUFFIXES)}, or a folder of DICOM slices.",
            )
        with naming(path):
            volume: Volume = _module(name).read(path, notice, thin)
    except OSError as error:
        raise InputError(f"'{error.filename or path}' cannot be opened: {error.strerror or error}.") from error
    if not allow_nan:
        _check_finite(volume.array, path.name)
    return volume


def write_volume(volume: Volume, path: str | Path, progress: Progress | None = None) -> None:
    """Write .nii, .nii.gz, .nrrd or .mha; what was there stays until the new file is complete on disk.

    The voxel type is kept (bool becomes uint8, float16 float32); .nii.gz and .nrrd are compressed.

    Raises
    ------
    InputError
        For another suffix or a missing folder.
    ActiveSegError
        When the disk is full.
    Cancelled
    """
    path, progress = Path(path).expanduser(), progress or Progress()
    suffix = _suffix(path)
    if suffix not in _WRITTEN:
        raise InputError(f"'{path.name}' cannot be written.", f"End its name in {', '.join(_WRITTEN)}.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder '{path.parent}'.", "Make it first.")
    try:
        with replacing(path, suffix) as fresh:
            _module(_SUFFIXES[suffix]).write(fresh, volume, progress)
            progress.check()
    except OSError as error:
        raise ActiveSegError(
            f"'{path}' cannot be written: {error.strerror or error}.",
            "Check the disk's free space and the folder's permissions; a file that was there before is unchanged.",
        ) from error


def read_label_map(path: str | Path, notice: Notice = warn) -> Volume:
    """A label map of whole numbers from 0 to 65535 as uint8, or uint16 where a value is above 255.

    It may be one voxel thick. Floats are accepted when they are whole. The header of Slicer's ``.seg.nrrd`` says what
    its values mean; this function does not look at it.

    Raises
    ------
    InputError
        As ``read_volume`` does, and for a wrong value, which it names.
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


def _format_of(path: Path) -> str | None:
    """The format of a file, a key of ``_FORMATS``. Raises InputError for what is no file, or empty; OSError."""
    if not path.is_file():
        raise InputError(f"'{path}' is neither a file nor a folder.", "Give an image file or a DICOM folder.")
    with open_regular(path) as file:
        start = file.read(_START_BYTES)
    if not start:
        raise InputError(f"'{path.name}' is empty (0 bytes).", "Copy or export it again.")
    suffix = _suffix(path)
    by_name = _SUFFIXES[suffix] if suffix else None
    likely_first = sorted(_FORMATS, key=lambda name: name != by_name)
    return next((name for name in likely_first if _module(name).recognise(start)), by_name)


def _module(name: str) -> Any:
    return importlib.import_module(f"activeseg.io.{name}")


def _suffix(path: Path) -> str | None:
    """The suffix of a supported format, lower case."""
    return next((suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix)), None)


def _check_finite(array: npt.NDArray[Any], name: str) -> None:
    # Minimum and maximum show every NaN and infinity without an array of truth values.
    if array.dtype.kind == "f" and not np.isfinite([array.min(), array.max()]).all():
        count = int(np.count_nonzero(~np.isfinite(array)))
        raise InputError(
            f"'{name}' has {count} voxels that are not numbers (NaN or infinite).",
            "Replace them, for example by -1024 HU.",
        )

"""NIfTI files, checked on the way in and on the way out.

Written out here because ITK's reader (5.4, measured) accepts truncated and corrupted ``.nii.gz`` without a word,
replaces a sheared sform by the qform, mixes pixdim with sform and turns whole numbers into floats when an intercept is
given; its writer does not notice a full disk. nibabel is not part of Slicer. Layouts: nifti1.h and nifti2.h of
nifti.nimh.nih.gov.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError, Notice
from activeseg.core.geometry import FloatArray, Geometry, volume_shape
from activeseg.core.progress import Progress
from activeseg.io import announced
from activeseg.system.regular_files import open_regular

_FIELDS = (
    *("size", "dim", "datatype", "pixdim", "offset", "slope", "inter", "units"),
    *("qform_code", "sform_code", "quaternion", "qoffset", "srow", "magic"),
)
_NIFTI1 = np.dtype(
    {
        "names": _FIELDS,
        "formats": (
            *("i4", "(8,)i2", "i2", "(8,)f4", "f4", "f4", "f4", "u1"),
            *("i2", "i2", "(3,)f4", "(3,)f4", "(3,4)f4", "S4"),
        ),
        "offsets": (0, 40, 70, 76, 108, 112, 116, 123, 252, 254, 256, 268, 280, 344),
        "itemsize": 348,
    }
)
_NIFTI2 = np.dtype(
    {
        "names": _FIELDS,
        "formats": (
            *("i4", "(8,)i8", "i2", "(8,)f8", "i8", "f8", "f8", "i4"),
            *("i4", "i4", "(3,)f8", "(3,)f8", "(3,4)f8", "S8"),
        ),
        "offsets": (0, 16, 12, 104, 168, 176, 184, 500, 344, 348, 352, 376, 400, 4),
        "itemsize": 540,
    }
)
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_VECTORS = {32: "complex", 1792: "complex", 2048: "complex", 128: "RGB colour", 2304: "RGBA colour"}
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_LARGEST_OFFSET = 1 << 28  # extensions of the header are a few MB at most
_FORMS_AGREE_MM = 0.1


def read(path: Path, notice: Notice, thin: bool = False) -> tuple[npt.NDArray[Any], Geometry]:
    """Voxels (k, j, i) and their place. Raises InputError; OSError where the file cannot be opened.

    The affine is the sform where there is one, else the qform, as nibabel does. Slope and intercept are applied; whole
    numbers stay whole when both are whole.
    """
    with open_regular(path) as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        most_bytes = raw.seek(0, 2) * (announced.MAX_DEFLATE_RATIO if packed else 1)
        raw.seek(0)
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if packed else raw)
        try:
            header = _header(file, path)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                f"'{path.name}' is damaged: its compressed data is cut off or corrupted ({error}).", "Copy it again."
            ) from error
        shape = _shape(header, thin)
        geometry = _geometry(header, shape, notice)
        array = _voxels(file, header, shape, path, most_bytes)
        if packed:
            announced.check_end(file, path)
    return _scaled(array, float(header["slope"]), float(header["inter"])), geometry


def _header(file: IO[bytes], path: Path) -> np.void:
    start = file.read(4)
    for layout in (_NIFTI1, _NIFTI2):
        for order in ("<", ">"):
            if len(start) == 4 and int(np.frombuffer(start, order + "i4")[0]) == layout.itemsize:
                rest = start + file.read(layout.itemsize - 4)
                if len(rest) < layout.itemsize:
                    raise InputError(
                        f"'{path.name}' ends inside its header, after {len(rest)} bytes.", "Copy it again."
                    )
                header: np.void = np.frombuffer(rest, layout.newbyteorder(order))[0]
                if not header["magic"].startswith((b"n+1", b"n+2")):
                    raise InputError(
                        f"'{path.name}' is only the header of a two-file image (Analyze or NIfTI .hdr/.img).",
                        "Save it as one .nii.gz file.",
                    )
                return header
    raise InputError(f"'{path.name}' is not a NIfTI file.", "Check its name, or copy it again.")


def _shape(header: np.void, thin: bool) -> tuple[int, int, int]:
    count = int(header["dim"][0])
    code = int(header["datatype"])
    if not 1 <= count <= 7:
        raise InputError(f"The NIfTI header says {count} dimensions; it is damaged.", "Copy or export the image again.")
    if code not in _DTYPES:
        kind = _VECTORS.get(code, f"of an unsupported NIfTI data type ({code})")
        raise InputError(
            f"The image is {kind}; one number for each voxel is needed.", "Export it as a grey-scale image."
        )
    sizes = [int(n) for n in header["dim"][1 : count + 1]]
    if thin:  # libraries leave trailing axes of length 1 out
        sizes += [1] * (3 - count)
    return volume_shape(sizes, thin=thin)


def _geometry(header: np.void, shape: tuple[int, int, int], notice: Notice) -> Geometry:
    unit = int(header["units"]) & 7
    mm = _MM_PER_UNIT.get(unit, 1.0)
    if mm != 1.0:
        notice(f"The NIfTI file measures in {'metres' if unit == 1 else 'micrometres'}; converted to mm.")
    zooms = _zooms(header)
    if int(header["sform_code"]) > 0:
        geometry = _placed(header["srow"], mm, shape)
        if int(header["qform_code"]) > 0 and np.all(zooms > 0):
            apart = geometry.farthest_corner_mm(_placed(_qform(header), mm, shape))
            if apart > _FORMS_AGREE_MM:
                notice(
                    f"The NIfTI file's sform and qform place the image up to {apart:.3g} mm apart. Its sform is used, "
                    "as nibabel and TotalSegmentator do; 3D Slicer may show the file by its qform."
                )
        return geometry
    if not np.all(zooms > 0):
        raise InputError(f"The image's voxel spacing is {tuple(zooms.tolist())} mm; it must be positive.")
    if int(header["qform_code"]) > 0:
        return _placed(_qform(header), mm, shape)
    notice("The NIfTI file does not say how the image lies in the patient: left and right are assumed, as ITK does.")
    return replace(_placed(np.diag([-1.0, -1.0, 1.0, 1.0])[:3] * [*zooms, 1], mm, shape), assumed=True)


def _placed(rows: FloatArray, mm: float, shape: tuple[int, int, int]) -> Geometry:
    return Geometry.from_ijk_to_ras(np.vstack([np.asarray(rows, float) * mm, [0, 0, 0, 1]]), shape)


def _zooms(header: np.void) -> FloatArray:
    """mm along i, j, k. With a form, which tells the directions, a sign means nothing (nibabel, ITK); else it might."""
    zooms: FloatArray = header["pixdim"][1:4].astype(float)
    return np.abs(zooms) if int(header["qform_code"]) > 0 else zooms


def _qform(header: np.void) -> FloatArray:
    """The 3 x 4 rows of NIfTI's method 2 (nifti1.h): a unit quaternion, pixdim and an offset."""
    from scipy.spatial.transform import Rotation

    b, c, d = (float(v) for v in header["quaternion"])
    a_squared = 1.0 - b * b - c * c - d * d
    # Close to a half turn this is all rounding; nibabel.quaternions.fillpositive takes it for one at the same distance.
    half_turn = 3 * float(np.finfo(header["quaternion"].dtype).eps)
    if not a_squared > -half_turn:
        raise InputError(f"The NIfTI file's quaternion ({b:.6g}, {c:.6g}, {d:.6g}) is no rotation.", "Export it again.")
    a = 0.0 if a_squared < half_turn else a_squared**0.5
    zooms = _zooms(header)
    zooms[2] *= -1.0 if float(header["pixdim"][0]) < 0 else 1.0
    return np.column_stack([Rotation.from_quat([b, c, d, a]).as_matrix() * zooms, header["qoffset"].astype(float)])


def _voxels(
    file: IO[bytes], header: np.void, shape: tuple[int, int, int], path: Path, most_bytes: int
) -> npt.NDArray[Any]:
    dtype = np.dtype(_DTYPES[int(header["datatype"])]).newbyteorder(header.dtype["size"].byteorder)
    said = float(header["offset"])
    if not 0 <= said <= _LARGEST_OFFSET:
        raise InputError(f"The voxels begin at byte {said:g}, says the NIfTI header (vox_offset).", "Export it again.")
    offset = max(int(said), header.dtype.itemsize + 4)  # the four bytes announce extensions
    array = announced.empty_array(path, shape, dtype, max(most_bytes - offset, 0))
    announced.skip(file, offset - header.dtype.itemsize, path)
    announced.fill(array, file, path)
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _scaled(array: npt.NDArray[Any], slope: float, inter: float) -> npt.NDArray[Any]:
    """Slope and intercept applied slab by slab; nifti1.h: a slope of 0 means that there is no scaling.

    nibabel takes one that is not finite likewise. Raises InputError for an intercept that is not finite.
    """
    if not np.isfinite(slope) or slope == 0:
        return array
    if not np.isfinite(inter):
        raise InputError(f"The NIfTI header scales the voxels by {slope:g} and adds {inter:g}.", "Export it again.")
    if slope == 1 and inter == 0:
        return array
    whole = array.dtype.kind in "iu" and slope.is_integer() and inter.is_integer()
    if whole:
        ends = sorted(int(end) * int(slope) + int(inter) for end in (array.min(), array.max()))
        fitting = [d for d in (array.dtype, np.dtype("i2"), np.dtype("i4"), np.dtype("i8")) if _fits(ends, d)]
        whole = bool(fitting)
    target = fitting[0] if whole else np.dtype("f4" if array.dtype.itemsize <= 2 else "f8")
    factors: tuple[Any, Any] = (int(slope), int(inter)) if whole else (slope, inter)
    scaled = np.empty(array.shape, target)
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is told afterwards
        for k, slab in enumerate(array):
            scaled[k] = slab.astype("i8" if whole else "f8") * factors[0] + factors[1]
    return scaled


def _fits(ends: list[int], dtype: np.dtype[Any]) -> bool:
    info = np.iinfo(dtype)
    return info.min <= ends[0] and ends[1] <= info.max


def write(path: Path, array: npt.NDArray[Any], geometry: Geometry, progress: Progress) -> None:
    """NIfTI-1 with sform and qform, compressed where the name ends in ``.gz``; the same input gives the same bytes.

    Raises OSError (also when the disk is full) and Cancelled; the caller removes what was begun.
    """
    with open(path, "wb") as raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0) as packed:
                _write_body(packed.write, array, geometry, progress)
        else:
            _write_body(raw.write, array, geometry, progress)


def _write_body(put: Callable[[Any], Any], array: npt.NDArray[Any], geometry: Geometry, progress: Progress) -> None:
    from scipy.spatial.transform import Rotation

    stored = array.dtype.newbyteorder("<")
    code = next((number for number, kind in _DTYPES.items() if np.dtype(kind) == array.dtype), None)
    if code is None:
        raise InputError(f"Voxels of type {array.dtype} cannot be stored in a NIfTI file.", "Convert them first.")
    header = np.zeros((), _NIFTI1.newbyteorder("<"))
    affine = geometry.ijk_to_ras
    axes = affine[:3, :3] / np.asarray(geometry.spacing_xyz)
    handed = 1.0 if np.linalg.det(axes) > 0 else -1.0
    # (x, y, z, w), whose sign is free; NIfTI stores x, y, z and wants w >= 0
    quaternion = Rotation.from_matrix(axes * [1, 1, handed]).as_quat()
    header["size"], header["magic"], header["offset"] = 348, b"n+1", 352
    header["dim"] = [3, *geometry.shape_kji[::-1], 1, 1, 1, 1]
    header["datatype"], header["slope"], header["units"] = code, 1, 2
    header["pixdim"] = [handed, *geometry.spacing_xyz, 1, 1, 1, 1]
    header["qform_code"] = header["sform_code"] = 1
    header["quaternion"] = quaternion[:3] * (-1 if quaternion[3] < 0 else 1)
    header["qoffset"], header["srow"] = affine[:3, 3], affine[:3]
    head = bytearray(header.tobytes())
    head[72:74] = (8 * array.dtype.itemsize).to_bytes(2, "little")  # bitpix, which says again what datatype says
    put(bytes(head) + bytes(4))
    for slab in array:
        progress.check()
        put(np.ascontiguousarray(slab, stored).data)

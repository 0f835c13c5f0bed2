"""NIfTI files, checked on the way in and on the way out: nibabel understands the header, the voxels are streamed here.

ITK's reader (5.4, measured) accepts truncated and corrupted ``.nii.gz`` without a word, replaces a sheared sform by the
qform, mixes pixdim with sform and turns whole numbers into floats when an intercept is given; its writer does not
notice a full disk. nibabel (5.4, measured) takes the memory that a header announces, does not look at the check sum
at the end, and cannot be cancelled. It is imported when it is needed: it takes long, and Slicer does not have it.
"""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError, Notice
from activeseg.core.geometry import FloatArray, Geometry, volume_shape
from activeseg.core.progress import Progress
from activeseg.core.volume import Volume, storable
from activeseg.io import announced
from activeseg.system.regular_files import open_regular

_GZIP = b"\x1f\x8b"
_HEADER_BYTES = {348: "Nifti1Header", 540: "Nifti2Header"}
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_LARGEST_OFFSET = 1 << 28  # extensions of the header are a few MB at most
_FORMS_AGREE_MM = 0.1


def recognise(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a NIfTI file, compressed or not."""
    if start.startswith(_GZIP):
        try:
            start = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(start, max(_HEADER_BYTES))
        except zlib.error:
            return False
    return start[344:347] == b"n+1" or start[4:7] == b"n+2"


def read(path: Path, notice: Notice, thin: bool = False) -> Volume:
    """A NIfTI file.

    The affine is the sform where there is one, else the qform, as nibabel does. Slope and intercept are applied; whole
    numbers stay whole when both are whole.

    Raises
    ------
    InputError
        For a file that is damaged, or no scalar 3D image with orthogonal axes.
    OSError
        Where the file cannot be opened.
    """
    with open_regular(path) as raw:
        packed = raw.read(2) == _GZIP
        most_bytes = raw.seek(0, 2) * (announced.MAX_DEFLATE_RATIO if packed else 1)
        raw.seek(0)
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if packed else raw)
        with _in_words(path):
            header = _header(file, path)
            dtype, shape = _dtype(header), _shape(header, thin)
            geometry = _geometry(header, shape, notice)
            slope, inter = header.get_slope_inter()
        array = _voxels(file, header, shape, dtype, path, most_bytes)
        if packed:
            announced.check_end(file, path)
    return Volume(array if slope is None else _scaled(array, slope, inter), geometry)


@contextlib.contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """What nibabel and gzip raise for a header that cannot be meant becomes an InputError."""
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise announced.corrupted(path, error) from error
    except (HeaderDataError, WrapStructError, ValueError, LookupError, ArithmeticError) as error:
        raise InputError(
            f"'{path.name}' cannot be read: its NIfTI header is damaged ({error}).", "Copy or export the image again."
        ) from error


def _header(file: IO[bytes], path: Path) -> Any:
    """A nibabel Nifti1Header or Nifti2Header, with its spacings as nibabel repairs them on loading."""
    import nibabel

    start = file.read(4)
    size = next((n for n in _HEADER_BYTES if start in (n.to_bytes(4, "little"), n.to_bytes(4, "big"))), None)
    if size is None:
        raise InputError(f"'{path.name}' is not a NIfTI file.", "Check its name, or copy it again.")
    block = start + file.read(size - 4)
    if len(block) < size:
        raise InputError(f"'{path.name}' ends inside its header, after {len(block)} bytes.", "Copy it again.")
    if not recognise(block):
        raise InputError(
            f"'{path.name}' is only the header of a two-file image (Analyze or NIfTI .hdr/.img).",
            "Save it as one .nii.gz file.",
        )
    header = getattr(nibabel, _HEADER_BYTES[size])(block, check=False)
    if int(header["qform_code"]) > 0:  # it tells the directions: a sign beside it means nothing
        header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
        header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    return header


def _dtype(header: Any) -> np.dtype[Any]:
    """The type of the voxels as they are stored. Raises InputError unless it is one number for each."""
    code = int(header["datatype"])
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except KeyError:
        dtype = np.dtype("V1")
    if _is_number(dtype):
        return dtype
    kind = f"of an unsupported NIfTI data type ({code})"
    if dtype.names or dtype.kind == "c":
        kind = f"{''.join(dtype.names)} colour" if dtype.names else "complex"
    raise InputError(f"The image is {kind}; one number for each voxel is needed.", "Export it as a grey-scale image.")


def _is_number(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iuf" and dtype.itemsize <= 8


def _shape(header: Any, thin: bool) -> tuple[int, int, int]:
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise InputError(f"The NIfTI header says {count} dimensions; it is damaged.", "Copy or export the image again.")
    sizes = [int(n) for n in header["dim"][1 : count + 1]]
    if thin:  # libraries leave trailing axes of length 1 out
        sizes += [1] * (3 - count)
    return volume_shape(sizes, thin=thin)


def _geometry(header: Any, shape: tuple[int, int, int], notice: Notice) -> Geometry:
    unit = int(header["xyzt_units"]) & 7
    mm = _MM_PER_UNIT.get(unit, 1.0)
    if mm != 1.0:
        notice(f"The NIfTI file measures in {'metres' if unit == 1 else 'micrometres'}; converted to mm.")
    zooms = header["pixdim"][1:4].astype(float)
    if int(header["sform_code"]) > 0:
        geometry = _placed(header.get_sform(), mm, shape)
        if int(header["qform_code"]) > 0 and np.all(zooms > 0):
            apart = geometry.farthest_corner_mm(_placed(header.get_qform(), mm, shape))
            if apart > _FORMS_AGREE_MM:
                notice(
                    f"The NIfTI file's sform and qform place the image up to {apart:.3g} mm apart. Its sform is used, "
                    "as nibabel and TotalSegmentator do; 3D Slicer may show the file by its qform."
                )
        return geometry
    if not np.all(zooms > 0):
        raise InputError(f"The image's voxel spacing is {tuple(zooms.tolist())} mm; it must be positive.")
    if int(header["qform_code"]) > 0:
        return _placed(header.get_qform(), mm, shape)
    notice("The NIfTI file does not say how the image lies in the patient: left and right are assumed, as ITK does.")
    return replace(_placed(np.diag([*(zooms * [-1, -1, 1]), 1.0]), mm, shape), assumed=True)


def _placed(affine: FloatArray, mm: float, shape: tuple[int, int, int]) -> Geometry:
    return Geometry.from_ijk_to_ras(np.vstack([np.asarray(affine[:3], float) * mm, [0, 0, 0, 1]]), shape)


def _voxels(
    file: IO[bytes], header: Any, shape: tuple[int, int, int], dtype: np.dtype[Any], path: Path, most_bytes: int
) -> npt.NDArray[Any]:
    said, size = float(header["vox_offset"]), int(header.sizeof_hdr)
    if not 0 <= said <= _LARGEST_OFFSET:
        raise InputError(f"The voxels begin at byte {said:g}, says the NIfTI header (vox_offset).", "Export it again.")
    offset = max(int(said), size + 4)  # the four bytes announce extensions
    array = announced.empty_array(path, shape, dtype, max(most_bytes - offset, 0))
    announced.skip(file, offset - size, path)
    announced.fill(array, file, path)
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _scaled(array: npt.NDArray[Any], slope: float, inter: float) -> npt.NDArray[Any]:
    """Slope and intercept applied slab by slab; nibabel would make floats of whole numbers."""
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


def write(path: Path, volume: Volume, progress: Progress) -> None:
    """NIfTI-1 with sform and qform, compressed where the name ends in ``.gz``; the same input gives the same bytes.

    There is nothing in its header but type, size and place. What was begun is left to the caller to remove.

    Raises
    ------
    InputError
        For voxels or sizes that the format does not know.
    OSError
        Also when the disk is full.
    Cancelled
    """
    array = storable(volume.array)
    head = _head(array, volume.geometry)
    with open(path, "wb") as raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0) as packed:
                _write_body(packed.write, head, array, progress)
        else:
            _write_body(raw.write, head, array, progress)


def _head(array: npt.NDArray[Any], geometry: Geometry) -> bytes:
    from nibabel import Nifti1Header
    from nibabel.spatialimages import HeaderDataError

    if not _is_number(array.dtype):
        raise InputError(f"Voxels of type {array.dtype} cannot be stored in a NIfTI file.", "Convert them first.")
    header = Nifti1Header(endianness="<")
    try:
        header.set_data_dtype(array.dtype)
        header.set_data_shape(geometry.shape_kji[::-1])
    except HeaderDataError as error:
        raise InputError(
            f"Voxels of type {array.dtype} and shape {array.shape} cannot be stored in a NIfTI file.",
            "Write .nrrd instead.",
        ) from error
    header.set_xyzt_units("mm")
    header.set_sform(geometry.ijk_to_ras, 1)
    header.set_qform(geometry.ijk_to_ras, 1)
    header["vox_offset"], header["scl_slope"], header["scl_inter"] = 352, 1, 0
    return bytes(header.binaryblock) + bytes(4)


def _write_body(put: Callable[[Any], Any], head: bytes, array: npt.NDArray[Any], progress: Progress) -> None:
    put(head)
    stored = array.dtype.newbyteorder("<")
    for slab in array:
        progress.check()
        put(np.ascontiguousarray(slab, stored).data)

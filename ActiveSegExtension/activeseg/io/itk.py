"""NRRD and MetaImage files: SimpleITK says what their headers mean, the voxels are read here.

Measured on ITK 5.4: a corrupted gzip stream inside a .nrrd or .mha is read without a word, a packed one is unpacked
whatever its header announces, a header may name any file as its voxels, a MetaImage header with 100,000 dimensions ends
the process, names that are not UTF-8 cannot be opened, and the last bytes of a .nrrd may be lost on a full disk. So ITK
sees nothing of a file but the fields that place it, each checked before.
"""

from __future__ import annotations

import contextlib
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from activeseg.core.errors import ActiveSegError, InputError, Notice
from activeseg.core.geometry import Geometry, volume_shape
from activeseg.core.progress import Progress
from activeseg.core.volume import Volume
from activeseg.io import announced
from activeseg.io.image_header import ImageHeader, damaged, is_meta, is_nrrd, read_header, unreadable
from activeseg.system.regular_files import open_regular

_DTYPES = {
    getattr(sitk, f"sitk{vector}{name}"): np.dtype(dtype)
    for vector in ("", "Vector")
    for name, dtype in {
        **{f"UInt{bits}": f"u{bits // 8}" for bits in (8, 16, 32, 64)},
        **{f"Int{bits}": f"i{bits // 8}" for bits in (8, 16, 32, 64)},
        **{f"Float{bits}": f"f{bits // 8}" for bits in (32, 64)},
    }.items()
}
_LONGEST_LINE = 1 << 24
_LOGGER = threading.RLock()


def recognise(start: bytes) -> bool:
    """Whether a file that begins with these bytes is an NRRD or a MetaImage file."""
    return is_nrrd(start) or is_meta(start)


def read(path: Path, notice: Notice, thin: bool = False) -> Volume:
    """An NRRD or MetaImage file.

    Raises
    ------
    InputError
        For a file that is damaged, or no scalar 3D image with orthogonal axes.
    OSError
        Where the file cannot be opened.
    """
    header = read_header(path)
    place = _placed(path, header, notice)
    shape = volume_shape(place.GetSize(), place.GetNumberOfComponents(), thin=thin)
    geometry = _geometry(place, shape)
    array = _voxels(path, header, shape, _dtype(place))
    if not header.is_placed:
        notice("The NRRD file does not say how the image lies in the patient: left and right are assumed, as ITK does.")
    return Volume(array, geometry)


def read_layers(path: Path, notice: Notice) -> tuple[npt.NDArray[Any], Geometry, Mapping[str, str]]:
    """A segmentation in an NRRD file: its voxels (layer, k, j, i), their place, and its ``key:=value`` lines.

    It may be one voxel thick.

    Raises
    ------
    InputError, OSError
        As ``read`` does.
    """
    header = read_header(path)
    place = _placed(path, header, notice)
    shape = volume_shape(place.GetSize(), thin=True)
    geometry, layers = _geometry(place, shape), place.GetNumberOfComponents()
    if layers > 1 and header.fields.get("kinds", "domain").split()[:1] == ["domain"]:
        raise InputError(f"'{path.name}' has layers that are not its first axis.", "Save it from Slicer again.")
    array = _voxels(path, header, (*shape, layers), _dtype(place))
    return np.moveaxis(array, -1, 0), geometry, header.texts


def write(path: Path, volume: Volume, progress: Progress) -> None:
    """NRRD or MetaImage, compressed for .nrrd; what was begun is left to the caller to remove.

    Raises
    ------
    ActiveSegError
        Where the file is not complete afterwards, as on a full disk.
    Cancelled
    """
    image = volume.to_sitk()
    progress.check()
    with itk_errors(lambda _: _incomplete()), plain_path(path.parent) as folder:
        sitk.WriteImage(image, str(folder / path.name), path.suffix == ".nrrd")
    try:
        header = read_header(path)
        if header.storage.encoding != "raw":
            with open_regular(path) as file:
                file.seek(header.first_byte)
                announced.check_end(announced.unpacked(file), path, sys.maxsize)
    except InputError as error:
        raise _incomplete() from error


def _incomplete() -> ActiveSegError:
    return ActiveSegError("The image could not be written completely.", "Check the disk's free space.")


@contextlib.contextmanager
def itk_errors(instead: Callable[[str], ActiveSegError]) -> Iterator[None]:
    """In the block SimpleITK's RuntimeError, its only one, becomes the error that fits what was tried.

    ``instead`` gets ITK's own text, which names paths and lines of C++: for the error's details only.
    """
    try:
        yield
    except RuntimeError as error:
        raise instead(str(error)) from error


@contextlib.contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    """The path, or where it is not UTF-8 a link to it, which C++ can open."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="activeseg-") as folder:
            link = Path(folder) / f"link{path.suffix if path.suffix.isascii() else ''}"
            link.symlink_to(path.absolute())
            yield link
    else:
        yield path


def _geometry(place: sitk.ImageFileReader, shape: tuple[int, int, int]) -> Geometry:
    size = place.GetDimension()
    direction = np.asarray(place.GetDirection()).reshape(size, size)[:3, :3]
    return Geometry(shape, place.GetSpacing()[:3], place.GetOrigin()[:3], tuple(float(v) for v in direction.ravel()))


def _dtype(place: sitk.ImageFileReader) -> np.dtype[Any]:
    kind = place.GetPixelID()
    if kind not in _DTYPES:
        raise InputError(
            f"The image is of type '{sitk.GetPixelIDValueAsString(kind)}'; one number for each voxel is needed.",
            "Export it as a grey-scale image.",
        )
    return _DTYPES[kind]


def _placed(path: Path, header: ImageHeader, notice: Notice) -> sitk.ImageFileReader:
    """ITK's reader after it has read a header of the checked fields only. Raises InputError."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if header.is_nrrd else "MetaImageIO")
    with tempfile.TemporaryDirectory(prefix="activeseg-") as folder:
        plain = Path(folder) / ("header.nrrd" if header.is_nrrd else "header.mha")
        plain.write_text(header.place(), encoding="ascii", newline="\n")
        reader.SetFileName(str(plain))
        with itk_errors(lambda said: unreadable(path, said)), itk_warnings(notice):
            reader.ReadImageInformation()
    return reader


def _voxels(path: Path, header: ImageHeader, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """All voxels, (k, j, i) or (k, j, i, layer). Raises InputError, OSError."""
    missing = [file.name for file in header.data_files if not file.exists()]
    if missing:
        raise InputError(
            f"'{path.name}' has its voxels in '{missing[0][:200]}', which is not there.", "Copy both into one folder."
        )
    most = sum(file.stat().st_size for file in header.data_files)
    most *= {"raw": 1, "packed": announced.MAX_DEFLATE_RATIO, "text": dtype.itemsize}[header.storage.encoding]
    array = announced.empty_array(path, shape, dtype.newbyteorder(">" if header.storage.big_endian else "<"), most)
    flat = array.reshape(-1)
    if len(flat) % len(header.data_files):
        raise damaged(path, f"its voxels are in {len(header.data_files)} files, which cannot hold equal parts")
    part = len(flat) // len(header.data_files)
    for number, data_file in enumerate(header.data_files):
        with open_regular(data_file) as file:
            file.seek(header.first_byte)
            _fill(path, flat[number * part : (number + 1) * part], file, header)
    return array if array.dtype.isnative else array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))


def _fill(path: Path, part: npt.NDArray[Any], file: IO[bytes], header: ImageHeader) -> None:
    for _ in range(header.storage.skipped_lines):
        if not file.readline(_LONGEST_LINE):
            break
    if header.storage.encoding == "text":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what is no number
                part[:] = np.fromstring(file.read(), part.dtype.newbyteorder("="), len(part), sep=" ")
        except (ValueError, DeprecationWarning) as error:
            raise InputError(
                f"'{path.name}' is cut off or damaged: its text is not {len(part)} numbers.", "Copy it again."
            ) from error
        return
    stream: announced.Stream = announced.unpacked(file) if header.storage.encoding == "packed" else file
    if header.storage.skipped_bytes >= 0:
        announced.skip(stream, header.storage.skipped_bytes, path)
    elif header.storage.encoding == "raw":  # -1: the voxels are the end of the file
        file.seek(max(file.seek(0, 2) - part.nbytes, 0))
    announced.fill(part, stream, path)
    if header.storage.encoding == "packed":
        announced.check_end(stream, path)


@contextlib.contextmanager
def itk_warnings(notice: Notice) -> Iterator[None]:
    """What ITK would print on stderr inside the block goes to ``notice`` afterwards, each warning once."""
    with _LOGGER:
        collected = _Collected()
        previous = collected.SetAsGlobalITKLogger()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            previous.SetAsGlobalITKLogger()
    for text in dict.fromkeys(collected.texts):
        notice(text)


class _Collected(sitk.LoggerBase):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.texts: list[str] = []

    def DisplayText(self, text: str) -> None:  # noqa: N802  (SimpleITK's names)
        # "WARNING: In <source file>, line N\nClass (0x...): what matters"
        self.texts.append(" ".join(re.sub(r"^WARNING: In .*?\): ", "", text.strip(), flags=re.DOTALL).split()))

    DisplayWarningText = DisplayErrorText = DisplayGenericOutputText = DisplayText

    def DisplayDebugText(self, text: str) -> None:  # noqa: N802
        pass

"""NRRD and MetaImage files through SimpleITK, and the checks that ITK leaves out.

Measured on ITK 5.4: a corrupted gzip stream inside a .nrrd or .mha is read without a word, and the last bytes of a
.nrrd may be lost on a full disk without an error.
"""

from __future__ import annotations

import contextlib
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from activeseg.errors import ActiveSegError, InputError
from activeseg.volume import Geometry, Notice, Volume, volume_shape

_IO = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
_READ_BYTES = 1 << 20
_LONGEST_HEADER = 1 << 20
_LOGGER = threading.RLock()


def read(path: Path, notice: Notice, thin: bool = False) -> tuple[npt.NDArray[Any], Geometry]:
    """Voxels (k, j, i) and their place. Raises InputError; OSError where the file cannot be opened."""
    volume = Volume.from_sitk(read_image(path, notice, thin=thin))
    return volume.array, volume.geometry


def read_image(path: Path, notice: Notice, layers: bool = False, thin: bool = False) -> sitk.Image:
    """The whole 3D image with its header. Raises as ``read`` does.

    ``layers``: it is a segmentation, whose voxels may hold several values; that and what is ``thin`` may be one voxel
    thick.
    """
    fields, stream = _header(path)
    _check_stream(path, stream)
    if "nan" in fields.get("spacings", "").lower().split():
        raise InputError(f"The image's voxel spacing is '{fields['spacings']}' mm; it must be positive.")
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_IO[path.suffix.lower()])
    reader.SetFileName(str(path))
    try:
        with itk_warnings(notice):
            reader.ReadImageInformation()
            volume_shape(reader.GetSize(), 1 if layers else reader.GetNumberOfComponents(), thin=thin or layers)
            image: sitk.Image = reader.Execute()
    except RuntimeError as error:
        raise _input_error(path, str(error)) from error
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(
            "The image is complex; one number for each voxel is needed.", "Export it as a grey-scale image."
        )
    if _IO[path.suffix.lower()] == "NrrdImageIO" and not {"space", "space dimension"} & fields.keys():
        notice("The NRRD file does not say how the image lies in the patient: left and right are assumed, as ITK does.")
    return image


def write(path: Path, image: sitk.Image) -> None:
    """Write, compressed for .nrrd. Raises ActiveSegError when the file is not complete afterwards."""
    try:
        sitk.WriteImage(image, str(path), path.suffix == ".nrrd")
        _check_stream(path, _header(path)[1])
    except (RuntimeError, InputError) as error:
        raise ActiveSegError("The image could not be written completely.", "Check the disk's free space.") from error


def _input_error(path: Path, itk_says: str) -> InputError:
    zero = re.search(r"change spacing from .* to (\[.*?\])", itk_says)
    if zero:
        return InputError(f"The image's voxel spacing is {zero[1]} mm; it must be positive.")
    return InputError(
        f"'{path.name}' cannot be read: it is damaged, cut off or not a {_IO[path.suffix.lower()][:-7]} image.",
        "Copy or export it again.",
        itk=itk_says,
    )


def _header(path: Path) -> tuple[dict[str, str], tuple[Path, int] | None]:
    """The header's fields, and the file and byte where a gzip or zlib stream of voxels begins, if there is one."""
    meta = _IO[path.suffix.lower()] == "MetaImageIO"
    end = rb"^ElementDataFile[^\n]*\n" if meta else rb"^\r?\n"
    with open(path, "rb") as file:
        start = file.read(_LONGEST_HEADER)
    found = re.search(end, start, re.MULTILINE)
    text = start[: found.end() if found else None].decode("latin-1")
    # "key: value" in NRRD (not "key:=value", which is free text), "Key = value" in MetaImage
    pairs = re.findall(r"^(\w+) *= *(.*?)\s*$" if meta else r"^([\w ]+):(?!=) *(.*?)\s*$", text, re.MULTILINE)
    fields = {key.lower(): value for key, value in pairs}
    packed = fields.get("compresseddata") == "True" if meta else fields.get("encoding") in ("gz", "gzip")
    data = fields.get("elementdatafile", "LOCAL") if meta else fields.get("data file", fields.get("datafile", "LOCAL"))
    if not (packed and found):
        return fields, None
    if data.upper() == "LOCAL":
        return fields, (path, found.end())
    detached = path.parent / data
    return fields, (detached, 0) if detached.is_file() else None


def _check_stream(path: Path, stream: tuple[Path, int] | None) -> None:
    """Decompress to the end, where the check sum is, and keep nothing. Raises InputError."""
    if stream is None:
        return
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: a gzip or a zlib header
    with open(stream[0], "rb") as file:
        file.seek(stream[1])
        try:
            while not inflate.eof and (chunk := file.read(_READ_BYTES)):
                inflate.decompress(chunk)
        except zlib.error as error:
            raise InputError(
                f"'{path.name}' is damaged: its compressed data is corrupted.", "Copy it again."
            ) from error
    if not inflate.eof:
        raise InputError(f"'{path.name}' is damaged: its compressed data is cut off.", "Copy it again.")


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

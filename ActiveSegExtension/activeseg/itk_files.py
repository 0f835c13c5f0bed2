"""NRRD and MetaImage files: what their headers mean is SimpleITK's to say, their voxels are read here.

Measured on ITK 5.4: a corrupted gzip stream inside a .nrrd or .mha is read without a word, a packed one is unpacked
whatever its header announces, a header may name any file as its voxels, a MetaImage header with 100,000 dimensions ends
the process, names that are not UTF-8 cannot be opened, and the last bytes of a .nrrd may be lost on a full disk. So ITK
sees nothing of a file but the fields that place it, each checked before.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from activeseg import announced
from activeseg.errors import ActiveSegError, InputError
from activeseg.regular_files import open_regular
from activeseg.volume import Geometry, Notice, volume_shape

_NRRD = (".nrrd", ".nhdr")
_PLACE = {
    "nrrd": (
        *("type", "dimension", "sizes", "space", "space dimension", "space directions", "space origin", "kinds"),
        *("spacings", "axis mins", "axis maxs", "axismins", "axismaxs", "centers", "centerings"),
    ),
    "meta": (
        *("NDims", "DimSize", "ElementType", "ElementNumberOfChannels", "ElementSpacing", "ElementSize"),
        *("Offset", "Position", "Origin", "TransformMatrix", "Rotation", "Orientation", "CenterOfRotation"),
    ),
}
"""The fields that ITK sees of each format; none of them can hold a patient's data."""
_PLAIN_VALUE = re.compile(r"[\w .,+()?-]{0,4096}", re.ASCII)
_GREATEST_NUMBER = 1e12
_DIMENSIONS = range(1, 11)
_LONGEST_AXIS = (1 << 31) - 1  # ITK takes what is more for as much
_LONGEST_HEADER = 1 << 24
_MOST_DATA_FILES = 1 << 16
_DTYPES = {
    getattr(sitk, f"sitk{vector}{name}"): np.dtype(dtype)
    for vector in ("", "Vector")
    for name, dtype in {
        **{f"UInt{bits}": f"u{bits // 8}" for bits in (8, 16, 32, 64)},
        **{f"Int{bits}": f"i{bits // 8}" for bits in (8, 16, 32, 64)},
        **{f"Float{bits}": f"f{bits // 8}" for bits in (32, 64)},
    }.items()
}
_META_TYPES = [f"MET_{sign}{name}" for sign in ("", "U") for name in ("CHAR", "SHORT", "INT", "LONG", "LONG_LONG")] + [
    "MET_FLOAT",
    "MET_DOUBLE",
]
_META_WORDS = {
    **dict.fromkeys(("NDims", "ElementType", "ElementNumberOfChannels"), 1),
    **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), 2),
}
"""Fields of one word, and of as many as a square matrix has; all others have one for each dimension."""
_LOGGER = threading.RLock()


@dataclass(frozen=True)
class _Header:
    """What a file says about its voxels. ``texts`` are NRRD's own ``key:=value`` lines.

    ``data_files`` hold equal parts of the voxels, one after the other; the header's own file from byte ``end`` on.
    """

    fields: dict[str, str]
    texts: dict[str, str]
    data_files: tuple[Path, ...]
    first_byte: int
    encoding: str
    big_endian: bool
    skipped_lines: int
    skipped_bytes: int


def read(path: Path, notice: Notice, thin: bool = False) -> tuple[npt.NDArray[Any], Geometry]:
    """Voxels (k, j, i) and their place. Raises InputError; OSError where the file cannot be opened."""
    header = _read_header(path)
    place = _placed(path, header, notice)
    shape = volume_shape(place.GetSize(), place.GetNumberOfComponents(), thin=thin)
    geometry = _geometry(place, shape)
    array = _voxels(path, header, shape, _dtype(place))
    if path.suffix.lower() in _NRRD and not {"space", "space dimension"} & header.fields.keys():
        notice("The NRRD file does not say how the image lies in the patient: left and right are assumed, as ITK does.")
    return array, geometry


def read_image(path: Path, notice: Notice) -> sitk.Image:
    """A segmentation in an NRRD file, with its ``key:=value`` lines as metadata; raises as ``read`` does.

    Its voxels may hold several values (layers), and it may be one voxel thick.
    """
    header = _read_header(path)
    place = _placed(path, header, notice)
    shape = volume_shape(place.GetSize(), thin=True)
    geometry, layers = _geometry(place, shape), place.GetNumberOfComponents()
    if layers > 1 and header.fields.get("kinds", "domain").split()[:1] == ["domain"]:
        raise InputError(f"'{path.name}' has layers that are not its first axis.", "Save it from Slicer again.")
    array = _voxels(path, header, (*shape, layers) if layers > 1 else shape, _dtype(place))
    image = sitk.GetImageFromArray(array, isVector=layers > 1)
    image.SetSpacing(geometry.spacing_xyz)
    image.SetOrigin(geometry.origin_lps)
    image.SetDirection(geometry.direction_lps)
    for key, text in header.texts.items():
        image.SetMetaData(key, text)
    return image


def write(path: Path, image: sitk.Image) -> None:
    """Write, compressed for .nrrd. Raises ActiveSegError when the file is not complete afterwards."""
    try:
        with plain_path(path.parent) as folder:
            sitk.WriteImage(image, str(folder / path.name), path.suffix == ".nrrd")
        header = _read_header(path)
        if header.encoding != "raw":
            with open_regular(path) as file:
                file.seek(header.first_byte)
                announced.check_end(announced.unpacked(file), path, sys.maxsize)
    except (RuntimeError, InputError) as error:
        raise ActiveSegError("The image could not be written completely.", "Check the disk's free space.") from error


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


def _placed(path: Path, header: _Header, notice: Notice) -> sitk.ImageFileReader:
    """ITK's reader after it has read a header of the checked fields only. Raises InputError."""
    nrrd = path.suffix.lower() in _NRRD
    sizes = header.fields.get("sizes" if nrrd else "DimSize", "")
    count = header.fields.get("dimension" if nrrd else "NDims", "")
    if not (count.isdecimal() and len(count) < 4 and int(count) in _DIMENSIONS):
        raise _damaged(path, f"it has '{count[:40]}' dimensions")
    if len(sizes.split()) != int(count) or not all(re.fullmatch(r"-?\d{1,18}", size) for size in sizes.split()):
        raise _damaged(path, f"its sizes are '{sizes[:80]}' in {count} dimensions")
    if not all(0 < int(size) <= _LONGEST_AXIS for size in sizes.split()):
        raise _damaged(path, f"its sizes are '{sizes}'")
    if not nrrd:
        channels = header.fields.get("ElementNumberOfChannels", "1")
        if not (channels.isdecimal() and 1 <= int(channels[:9]) <= 1 << 16):
            raise _damaged(path, f"it has '{channels[:40]}' channels")
    lines = []
    for key in _PLACE["nrrd" if nrrd else "meta"]:
        value = header.fields.get(key)
        if value is not None:
            words = {1: 1, 2: int(count) ** 2}.get(_META_WORDS.get(key, 0), int(count))
            if not (_PLAIN_VALUE.fullmatch(value) and _is_sane(key, value)) or not (
                nrrd or len(value.split()) == words
            ):
                raise _damaged(path, f"its '{key}' is '{value[:80]}'")
            lines.append(f"{key}: {value}" if nrrd else f"{key} = {value}")
    if "nan" in header.fields.get("spacings", "").lower().split():
        raise InputError(f"The image's voxel spacing is '{header.fields['spacings']}' mm; it must be positive.")
    if nrrd:
        text = "\n".join(["NRRD0005", *lines, "encoding: raw", "endian: little", "", ""])
    else:
        text = "\n".join(["ObjectType = Image", *lines, "BinaryData = True", "ElementDataFile = LOCAL", ""])
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if nrrd else "MetaImageIO")
    with tempfile.TemporaryDirectory(prefix="activeseg-") as folder:
        plain = Path(folder) / ("header.nrrd" if nrrd else "header.mha")
        plain.write_text(text, encoding="ascii", newline="\n")
        reader.SetFileName(str(plain))
        try:
            with itk_warnings(notice):
                reader.ReadImageInformation()
        except RuntimeError as error:
            raise _input_error(path, str(error)) from error
    return reader


def _is_sane(key: str, value: str) -> bool:
    """Whether a field's numbers are numbers; MetaImage takes what is none, and infinity, for 0."""
    if key in ("type", "space", "kinds", "centers", "centerings"):
        return True
    if key == "ElementType":
        return value in _META_TYPES
    for word in re.split(r"[ ,()]+", value):
        if word.lower() in ("", "none", "nan") and key[0].islower():  # an axis without a place in NRRD
            continue
        try:
            if not abs(float(word)) < _GREATEST_NUMBER:
                return False
        except ValueError:
            return False
    return True


def _input_error(path: Path, itk_says: str) -> InputError:
    kind = "NRRD" if path.suffix.lower() in _NRRD else "MetaImage"
    return InputError(
        f"'{path.name}' cannot be read: it is damaged, cut off or not a {kind} image.",
        "Copy or export it again.",
        itk=itk_says,
    )


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"'{path.name}' cannot be read: its header is damaged, {why}.", "Copy or export it again.")


def _read_header(path: Path) -> _Header:
    nrrd = path.suffix.lower() in _NRRD
    # "key: value" in NRRD, and "key:=value" for free text; "Key = value" in MetaImage
    end = rb"^\r?\n" if nrrd else rb"^ElementDataFile[^\n]*(\n|\Z)"
    with open_regular(path) as file:
        start, found = b"", None
        for length in (1 << 16, _LONGEST_HEADER):
            start += file.read(length - len(start))
            found = re.search(end, start, re.MULTILINE)
            if found:
                break
    if not start.startswith(b"NRRD00") if nrrd else b"=" not in start[:200]:
        raise _input_error(path, "")
    if found is None and (not nrrd or len(start) == _LONGEST_HEADER):
        raise _damaged(path, "it has no end")
    text = start[: found.end() if found else None]
    lines = [_text(line) for line in text.splitlines()]
    pairs = [re.fullmatch(r"([\w ]+):(?!=) *(.*?)\s*" if nrrd else r"(\w+) *= *(.*?)\s*", line) for line in lines]
    fields = {(match[1].lower() if nrrd else match[1]): match[2] for match in pairs if match}
    texts = [re.fullmatch(r"([^:]+?):=(.*)", line) for line in lines] if nrrd else []
    first_byte = found.end() if found else len(text)
    if nrrd:
        said = fields.get("data file", fields.get("datafile", ""))
        local = not said
        if "encoding" not in fields or (local and found is None):
            raise _damaged(path, "it has no end")
        skips = [fields.get(f"{what} skip", fields.get(f"{what}skip", "0")) for what in ("line", "byte")]
        encoding = {"raw": "raw", "gz": "packed", "gzip": "packed"}.get(fields.get("encoding", "").lower(), "text")
        if encoding == "text" and fields.get("encoding", "").lower() not in ("txt", "text", "ascii"):
            raise InputError(
                f"'{path.name}' stores its voxels as '{fields.get('encoding', '')[:40]}', which is not read.",
                "Save it again with the encoding raw or gzip.",
            )
        big_endian = fields.get("endian", "little").lower() == "big"
    else:
        said = fields.get("ElementDataFile", "")
        local = said.upper() == "LOCAL"
        skips = ["0", fields.get("HeaderSize", "0")]
        packed, binary = _truth(fields, "CompressedData"), _truth(fields, "BinaryData")
        encoding = "packed" if packed else "raw" if binary else "text"
        big_endian = _truth(fields, "BinaryDataByteOrderMSB") or _truth(fields, "ElementByteOrderMSB")
    if not all(re.fullmatch(r"-1|\d{1,12}", skip) for skip in skips):
        raise _damaged(path, f"it skips {skips[0][:40]} lines and {skips[1][:40]} bytes")
    if local:
        files = [path]
    else:
        with open_regular(path) as file:
            rest = file.read(_LONGEST_HEADER).splitlines() if said.upper().startswith("LIST") else []
        keys = (b"data file", b"datafile", b"elementdatafile")
        last = max((n for n, line in enumerate(rest) if line.lower().startswith(keys)), default=len(rest))
        files = [_beside(path, name) for name in _data_names(path, said, rest[last + 1 :])]
    return _Header(
        fields,
        {match[1]: re.sub(r"\\(.)", lambda c: "\n" if c[1] == "n" else c[1], match[2]) for match in texts if match},
        tuple(files),
        first_byte if local else 0,
        encoding,
        big_endian,
        int(skips[0]),
        int(skips[1]),
    )


def _truth(fields: dict[str, str], key: str) -> bool:
    return fields.get(key, "")[:1] in ("T", "t", "1")


def _text(raw: bytes) -> str:
    """UTF-8, else Latin-1, as older programs wrote names."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _data_names(path: Path, said: str, lines: Sequence[bytes]) -> list[str]:
    """The files that hold the voxels: those in the ``lines`` behind LIST, numbered ones (``x%03d.raw 1 9 1``), or one.

    Raises InputError for impossible numbers.
    """
    if said.upper().startswith("LIST"):
        names = [os.fsdecode(line.strip()) for line in lines if line.strip()]
    elif numbered := re.fullmatch(r"(.*)%(0?\d{0,2})d(.*?)\s+(-?\d{1,9})\s+(-?\d{1,9})\s+(-?\d{1,9})( +\d+)?", said):
        before, width, after, first, last, step = numbered.groups()[:6]
        if int(step) == 0 or abs(int(last) - int(first)) // abs(int(step)) >= _MOST_DATA_FILES:
            raise _damaged(path, f"its voxels are in '{said[:80]}'")
        numbers = range(int(first), int(last) + (1 if int(step) > 0 else -1), int(step))
        names = [f"{before}{number:{width or '0'}d}{after}" for number in numbers]
    else:
        names = [said]
    if not 0 < len(names) <= _MOST_DATA_FILES:
        raise _damaged(path, f"its voxels are in {len(names)} files")
    return names


def _beside(header: Path, name: str) -> Path:
    """A file of voxels, which must be beside or below its header, through no link that leads elsewhere.

    A stranger's header could name any file, whose content would be shown as voxels. Raises InputError.
    """
    try:
        target = header.parent / name
        inside = target.resolve().is_relative_to(header.parent.resolve())
    except (OSError, ValueError, RuntimeError):  # impossible names, and links in a circle
        inside = False
    if not inside:
        raise InputError(
            f"'{header.name}' names '{name[:200]}' as its voxels, which is not in its own folder.",
            "Put the voxels beside the header, or save both as one file.",
        )
    return target


def _voxels(path: Path, header: _Header, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """All voxels, (k, j, i) or (k, j, i, layer). Raises InputError, OSError."""
    missing = [file.name for file in header.data_files if not file.exists()]
    if missing:
        raise InputError(
            f"'{path.name}' has its voxels in '{missing[0][:200]}', which is not there.", "Copy both into one folder."
        )
    most = sum(file.stat().st_size for file in header.data_files)
    most *= {"raw": 1, "packed": announced.MAX_DEFLATE_RATIO, "text": dtype.itemsize}[header.encoding]
    array = announced.empty_array(path, shape, dtype.newbyteorder(">" if header.big_endian else "<"), most)
    flat = array.reshape(-1)
    if len(flat) % len(header.data_files):
        raise _damaged(path, f"its voxels are in {len(header.data_files)} files, which cannot hold equal parts")
    part = len(flat) // len(header.data_files)
    for number, data_file in enumerate(header.data_files):
        with open_regular(data_file) as file:
            file.seek(header.first_byte)
            _fill(path, flat[number * part : (number + 1) * part], file, header)
    return array if array.dtype.isnative else array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))


def _fill(path: Path, part: npt.NDArray[Any], file: IO[bytes], header: _Header) -> None:
    for _ in range(header.skipped_lines):
        if not file.readline(_LONGEST_HEADER):
            break
    if header.encoding == "text":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what is no number
                part[:] = np.fromstring(file.read(), part.dtype.newbyteorder("="), len(part), sep=" ")
        except (ValueError, DeprecationWarning) as error:
            raise InputError(
                f"'{path.name}' is cut off or damaged: its text is not {len(part)} numbers.", "Copy it again."
            ) from error
        return
    stream: announced.Stream = announced.unpacked(file) if header.encoding == "packed" else file
    if header.skipped_bytes >= 0:
        announced.skip(stream, header.skipped_bytes, path)
    elif header.encoding == "raw":  # -1: the voxels are the end of the file
        file.seek(max(file.seek(0, 2) - part.nbytes, 0))
    announced.fill(part, stream, path)
    if header.encoding == "packed":
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

"""Headers of NRRD and MetaImage files: which fields place the image, and where and how its voxels are stored.

NRRD: https://teem.sourceforge.net/nrrd/format.html. MetaImage: https://itk.org/Wiki/MetaIO/Documentation.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from activeseg.core.errors import InputError
from activeseg.system.regular_files import open_regular

_NRRD = (".nrrd", ".nhdr")
_PLACE = {
    "nrrd": (
        *("type", "dimension", "sizes", "space", "space dimension", "space directions", "space origin", "kinds"),
        *("spacings", "axis mins", "axis maxs", "axismins", "axismaxs", "centers", "centerings"),
    ),
    "meta": (
        *("NDims", "DimSize", "ElementType", "ElementNumberOfChannels", "ElementSpacing", "ElementSize"),
        *("Offset", "Position", "Origin", "ImagePosition"),
        *("TransformMatrix", "Rotation", "Orientation", "CenterOfRotation"),
    ),
}
"""The fields that ITK sees of each format; none of them can hold a patient's data."""
_NRRD_ENCODINGS = {
    "raw": "raw",
    "gz": "packed",
    "gzip": "packed",
    **dict.fromkeys(("txt", "text", "ascii"), "text"),
}
_PLAIN_VALUE = re.compile(r"[\w .,+()?-]{0,4096}", re.ASCII)
_GREATEST_NUMBER = 1e12
_DIMENSIONS = range(1, 11)
_LONGEST_AXIS = (1 << 31) - 1  # ITK takes what is more for as much
_USUAL_HEADER = 1 << 16
_LONGEST_HEADER = 1 << 24
_MOST_CHANNELS = 1 << 16
_MOST_DATA_FILES = 1 << 16
_META_TYPES = [f"MET_{sign}{name}" for sign in ("", "U") for name in ("CHAR", "SHORT", "INT", "LONG", "LONG_LONG")] + [
    "MET_FLOAT",
    "MET_DOUBLE",
]
_META_WORDS = {
    **dict.fromkeys(("NDims", "ElementType", "ElementNumberOfChannels"), 1),
    **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), 2),
}
"""Fields of one word, and of as many as a square matrix has; all others have one for each dimension."""


@dataclass(frozen=True)
class Storage:
    """How the voxels are stored.

    Attributes
    ----------
    said
        Names their file or files; empty where they follow the header.
    encoding
        ``raw``, ``packed`` (gzip or zlib) or ``text``.
    skipped_bytes
        Before the voxels; -1 where these are the end of their file.
    """

    said: str
    encoding: str
    big_endian: bool
    skipped_lines: int
    skipped_bytes: int


@dataclass(frozen=True)
class ImageHeader:
    """A file's header.

    Attributes
    ----------
    texts
        NRRD's free ``key:=value`` lines.
    data_files
        Hold equal parts of the voxels, one after the other; each from ``first_byte`` on.
    """

    path: Path
    is_nrrd: bool
    fields: Mapping[str, str]
    texts: Mapping[str, str]
    storage: Storage
    data_files: tuple[Path, ...]
    first_byte: int

    @property
    def is_placed(self) -> bool:
        """Whether it says how the image lies in the patient; MetaImage always does."""
        return not self.is_nrrd or bool({"space", "space dimension"} & self.fields.keys())

    def place(self) -> str:
        """A header of the fields that place the image only, each of them checked.

        Raises
        ------
        InputError
            For a field that cannot be meant.
        """
        if not self.is_nrrd and "ElementType" not in self.fields:  # ITK would print that on its own
            raise damaged(self.path, "it does not say of which type the voxels are")
        count = self._dimensions()
        lines = []
        for key in _PLACE["nrrd" if self.is_nrrd else "meta"]:
            value = self.fields.get(key)
            if value is not None:
                value = " ".join(value.split())
                words = {1: 1, 2: count**2}.get(_META_WORDS.get(key, 0), count)
                complete = self.is_nrrd or len(value.split()) == words
                if not (complete and _PLAIN_VALUE.fullmatch(value) and _is_sane(key, value)):
                    raise damaged(self.path, f"its '{key}' is '{value[:80]}'")
                lines.append(f"{key}: {value}" if self.is_nrrd else f"{key} = {value}")
        spacings = self.fields.get("spacings", "").lower().split()
        if "nan" in (spacings[1:-1] if len(spacings) > 3 else spacings):  # axes without a place come first or last
            raise InputError(f"The image's voxel spacing is '{self.fields['spacings']}' mm; it must be positive.")
        if self.is_nrrd:
            return "\n".join(["NRRD0005", *lines, "encoding: raw", "endian: little", "", ""])
        return "\n".join(["ObjectType = Image", *lines, "BinaryData = True", "ElementDataFile = LOCAL", ""])

    def _dimensions(self) -> int:
        """How many there are. Raises InputError where that, their sizes or the channels are impossible."""
        sizes = self.fields.get("sizes" if self.is_nrrd else "DimSize", "")
        count = self.fields.get("dimension" if self.is_nrrd else "NDims", "")
        channels = self.fields.get("ElementNumberOfChannels", "1")
        if not (count.isdecimal() and len(count) < 4 and int(count) in _DIMENSIONS):
            raise damaged(self.path, f"it has '{count[:40]}' dimensions")
        if len(sizes.split()) != int(count) or not all(re.fullmatch(r"-?\d{1,18}", size) for size in sizes.split()):
            raise damaged(self.path, f"its sizes are '{sizes[:80]}' in {count} dimensions")
        if not all(0 < int(size) <= _LONGEST_AXIS for size in sizes.split()):
            raise damaged(self.path, f"its sizes are '{sizes}'")
        if not (channels.isdecimal() and 1 <= int(channels[:9]) <= _MOST_CHANNELS):
            raise damaged(self.path, f"it has '{channels[:40]}' channels")
        return int(count)


def is_nrrd(start: bytes) -> bool:
    """Whether a file that begins with these bytes is NRRD."""
    return start.startswith(b"NRRD00")


def is_meta(start: bytes) -> bool:
    """Whether a file that begins with these bytes is surely a MetaImage; some begin with other fields."""
    return re.match(rb"\s*(ObjectType|NDims)\s*[=:]", start) is not None


def read_header(path: Path) -> ImageHeader:
    """The header of an NRRD or MetaImage file.

    Raises
    ------
    InputError
        For a damaged one, and one whose voxels lie elsewhere.
    OSError
    """
    text, nrrd, complete = _up_to_its_end(path)
    lines = [_text(line) for line in text.splitlines()]
    # "key: value" in NRRD, and "key:=value" for free text; "Key = value" in MetaImage, rarely with a colon
    field = r"([\w ]+):(?!=)\s*(.*?)\s*" if nrrd else r"(\w+)\s*[=:]\s*(.*?)\s*"
    pairs = [re.fullmatch(field, line) for line in lines]
    fields = {(match[1].lower() if nrrd else match[1]): match[2] for match in pairs if match}
    texts = [re.fullmatch(r"([^:]+?):=(.*)", line) for line in lines] if nrrd else []
    storage = _nrrd_storage(path, fields) if nrrd else _meta_storage(path, fields)
    if not storage.said and not complete:
        raise damaged(path, "it has no end")
    files = [_beside(path, name) for name in _data_names(path, storage.said)] if storage.said else [path]
    return ImageHeader(
        path,
        nrrd,
        fields,
        {match[1]: re.sub(r"\\(.)", lambda c: "\n" if c[1] == "n" else c[1], match[2]) for match in texts if match},
        storage,
        tuple(files),
        0 if storage.said or (not nrrd and storage.skipped_bytes > 0) else len(text),  # MetaImage counts from the start
    )


def unreadable(path: Path, itk_says: str = "") -> InputError:
    """The error for a file that is no image, or none that ITK understands."""
    kind = "NRRD" if path.suffix.lower() in _NRRD else "MetaImage"
    return InputError(
        f"'{path.name}' cannot be read: it is damaged, cut off or not a {kind} image.",
        "Copy or export it again.",
        itk=itk_says,
    )


def damaged(path: Path, why: str) -> InputError:
    """The error for a header that cannot be meant."""
    return InputError(f"'{path.name}' cannot be read: its header is damaged, {why}.", "Copy or export it again.")


def _up_to_its_end(path: Path) -> tuple[bytes, bool, bool]:
    """The header, whether it is NRRD, and whether its end was found: one that stands alone needs none in NRRD.

    Raises InputError.
    """
    with open_regular(path) as file:
        start, found = file.read(8), None
        nrrd = is_nrrd(start)
        end = re.compile(rb"^\r?\n" if nrrd else rb"^ElementDataFile[^\n]*(\n|\Z)", re.MULTILINE)
        for length in (_USUAL_HEADER, _LONGEST_HEADER):
            start += file.read(length - len(start))
            found = end.search(start)
            if found:
                break
    if not (nrrd or is_meta(start)) and (path.suffix.lower() in _NRRD or not re.search(rb"[=:]", start[:200])):
        raise unreadable(path)
    if found is None and (not nrrd or len(start) == _LONGEST_HEADER):
        raise damaged(path, "it has no end")
    return start[: found.end() if found else None], nrrd, found is not None


def _nrrd_storage(path: Path, fields: Mapping[str, str]) -> Storage:
    packing = fields.get("encoding")
    if packing is None:
        raise damaged(path, "it has no end")
    encoding = _NRRD_ENCODINGS.get(packing.lower())
    if encoding is None:
        raise InputError(
            f"'{path.name}' stores its voxels as '{packing[:40]}', which is not read.",
            "Save it again with the encoding raw or gzip.",
        )
    lines, count = (fields.get(f"{what} skip", fields.get(f"{what}skip", "0")) for what in ("line", "byte"))
    said = fields.get("data file", fields.get("datafile", ""))
    big_endian = fields.get("endian", "little").lower() == "big"
    return Storage(said, encoding, big_endian, _skipped(path, lines), _skipped(path, count))


def _meta_storage(path: Path, fields: Mapping[str, str]) -> Storage:
    said = fields.get("ElementDataFile", "")
    packed, binary = _truth(fields, "CompressedData"), _truth({"BinaryData": "True", **fields}, "BinaryData")
    return Storage(
        "" if said.upper() == "LOCAL" else said or ".",
        "packed" if packed else "raw" if binary else "text",
        _truth(fields, "BinaryDataByteOrderMSB") or _truth(fields, "ElementByteOrderMSB"),
        0,
        _skipped(path, fields.get("HeaderSize", "0")),
    )


def _skipped(path: Path, said: str) -> int:
    if not re.fullmatch(r"-1|\d{1,12}", said):
        raise damaged(path, f"it skips '{said[:40]}' lines or bytes")
    return int(said)


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


def _truth(fields: Mapping[str, str], key: str) -> bool:
    return fields.get(key, "")[:1] in ("T", "t", "1")


def _text(raw: bytes) -> str:
    """UTF-8, else as Windows has it: other programs write the system's own code page."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def _listed(path: Path) -> Sequence[bytes]:
    """The lines behind the last field of a header, which name files."""
    with open_regular(path) as file:
        lines = file.read(_LONGEST_HEADER).splitlines()
    keys = (b"data file", b"datafile", b"elementdatafile")
    last = max((n for n, line in enumerate(lines) if line.lower().startswith(keys)), default=len(lines))
    return lines[last + 1 :]


def _data_names(path: Path, said: str) -> list[str]:
    """The files that hold the voxels: those in the lines behind LIST, numbered ones (``x%03d.raw 1 9 1``), or one.

    Raises InputError for impossible numbers.
    """
    if said.upper().startswith("LIST"):
        names = [os.fsdecode(line.strip()) for line in _listed(path) if line.strip()]
    elif numbered := re.fullmatch(r"(.*)%(0?\d{0,2})d(.*?)\s+(-?\d{1,9})\s+(-?\d{1,9})\s+(-?\d{1,9})( +\d+)?", said):
        before, width, after, first, last, step = numbered.groups()[:6]
        if int(step) == 0 or abs(int(last) - int(first)) // abs(int(step)) >= _MOST_DATA_FILES:
            raise damaged(path, f"its voxels are in '{said[:80]}'")
        numbers = range(int(first), int(last) + (1 if int(step) > 0 else -1), int(step))
        names = [f"{before}{number:{width or '0'}d}{after}" for number in numbers]
    else:
        names = [said]
    if not 0 < len(names) <= _MOST_DATA_FILES:
        raise damaged(path, f"its voxels are in {len(names)} files")
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

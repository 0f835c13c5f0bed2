"""The tags of one DICOM file that tell what its images are and where they lie (encoding: DICOM PS3.5, PS3.10).

SimpleITK reads the pixels, but not this: it shows no sequences, in which multi-frame images keep each frame's position,
and it gives one and the same error for a structure set and for a damaged image. Only the tags named here are kept; what
identifies a patient is skipped while reading.

pydicom (2.4 in Slicer 5.10, 3.0 in the engine) reads the elements; what goes around them is written here. ``dcmread``
takes as much as a hostile file asks for: it unpacks a deflated file to its end, reads sequences of undefined length,
wanted or not, into each other until Python's stack ends, keeps a million empty items, and takes the end of a damaged
file for the end of its header.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydicom.dataelem import RawDataElement
from pydicom.filereader import data_element_generator

from activeseg.system.regular_files import open_regular

_UNREADABLE = (struct.error, zlib.error, EOFError, ValueError, LookupError, TypeError, AttributeError)
"""What pydicom and zlib raise for a file that is damaged; MalformedError is one of them."""
_TEXTS = {
    0x00020002: "media_class",
    0x00020010: "transfer_syntax",
    0x00080008: "image_type",
    0x00080016: "sop_class",
    0x00080018: "instance_uid",
    0x00080032: "acquisition_time",
    0x00080060: "modality",
    0x0008103E: "description",
    0x00180086: "echo",
    0x00181060: "trigger_time",
    0x00181210: "kernel",
    0x0020000D: "study_uid",
    0x0020000E: "series_uid",
    0x00200011: "series_number",
    0x00200012: "acquisition",
    0x00200032: "position",
    0x00200037: "orientation",
    0x00200100: "temporal_position",
    0x00209056: "stack",
    0x00280004: "photometric",
    0x00280008: "frames",
    0x00280030: "pixel_spacing",
    0x00281052: "intercept",
    0x00281053: "slope",
}
_NUMBERS = {
    0x00209128: "temporal_position",
    0x00280002: "samples",
    0x00280010: "rows",
    0x00280011: "columns",
    0x00280100: "bits_allocated",
    0x00280101: "bits_stored",
    0x00280103: "signed",
    0x00280120: "padding",
    0x00280121: "padding_limit",
}
_SEQUENCES = {
    0x00209111: "frame_content",
    0x00209113: "plane_position",
    0x00209116: "plane_orientation",
    0x00289110: "pixel_measures",
    0x00289145: "value_transformation",
    0x52009229: "shared",
    0x52009230: "per_frame",
}
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_CHARACTER_SET = 0x00080005  # pydicom would look for it, and log what it does not know
ITEM, _ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
_LONGEST_TEXT = 4096
_DEEPEST = 64  # structured reports nest about 20 deep
MOST_ITEMS = 1 << 16  # frames of a multi-frame image have one each
_DEFLATED, _BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
MOST_DEFLATED_BYTES = 1 << 24

Tags = dict[str, Any]


class MalformedError(ValueError):
    """The file begins as DICOM and does not go on as DICOM."""


def recognise(start: bytes) -> bool:
    """Whether a file that begins with these bytes is DICOM: some old files lack the preamble, and a few group 2."""
    if start[128:132] == b"DICM":
        return True
    group, element, vr = struct.unpack("<HH2s", start[:6]) if len(start) >= 8 else (0, 0, b"")
    return group in (2, 8) and element <= 0x18 and (_is_vr(vr) or not any(start[6:8]))


def read_tags(path: Path) -> Tags | None:
    """The tags above by name: texts, whole numbers, lists of items for sequences; ``pixels`` is where voxels begin.

    None for a file that is not DICOM.

    Raises
    ------
    MalformedError
        For a file that begins as DICOM and is damaged.
    InputError
        For what is no regular file.
    OSError
    """
    with open_regular(path) as file:
        start = file.read(132)
        marked = start[128:] == b"DICM"
        if not recognise(start):
            return None
        file.seek(132 if marked else 0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pydicom's, about values that are not kept
                return _read(file)
        except _UNREADABLE as error:
            if not marked:
                return None
            raise error if isinstance(error, MalformedError) else MalformedError(_reason(error)) from None


@dataclass(frozen=True)
class Pixels:
    """Where the value of a file's pixel data begins and how long it is (undefined: in fragments).

    ``deflated_from`` is where the deflated part of the file begins, in which ``offset`` counts.
    """

    offset: int
    length: int
    order: str
    deflated_from: int | None


class Bounded:
    """A file up to some byte, as pydicom reads it: what should be there and is not is an error, not an end."""

    def __init__(self, file: IO[bytes], end: int) -> None:
        self.file, self.end = file, end
        self.tell = file.tell

    def read(self, count: int) -> bytes:
        """So many bytes, or none at the very end."""
        left = self.end - self.tell()
        if count > left:
            if left == 0:
                return b""
            raise MalformedError("the file ends too early")
        return self.file.read(count)

    def seek(self, place: int) -> int:
        if place > self.end:
            raise MalformedError("the file ends too early")
        return self.file.seek(place)

    def skip(self, count: int) -> None:
        self.seek(self.tell() + count)

    def part(self, length: int) -> Bounded:
        """The next so many bytes; all that are left where the length is undefined."""
        if length == UNDEFINED:
            return self
        if self.tell() + length > self.end:
            raise MalformedError("the file ends too early")
        return Bounded(self.file, self.tell() + length)

    def item(self, order: str) -> tuple[int, int]:
        """Tag and length of an item, or the end of the sequence that it is in."""
        group, element, length = struct.unpack(order + "HHI", self.read(8))
        return group << 16 | element, length


@dataclass
class _Reader:
    """Reads data sets of one encoding; sequences are gone through here, with limits, and their elements by pydicom."""

    explicit: bool
    order: str
    deflated_from: int | None = None

    def dataset(self, file: Bounded, depth: int = 0, keep: bool = True, only_group: int | None = None) -> Tags:
        """Elements up to the end of ``file``, the item's own end mark, or the pixels, which stay unread."""
        tags: Tags = {}
        halted: list[tuple[int, str | None, int, int]] = []

        def halt(tag: int, vr: str | None, length: int) -> bool:
            if only_group is not None and tag >> 16 != only_group:
                return True
            if self.explicit and not depth and not (vr and _is_vr(vr)):
                raise MalformedError(f"no value representation in element {tag:08x}")
            here = vr == "SQ" or length == UNDEFINED or tag in _SEQUENCES or tag == _CHARACTER_SET
            here |= tag in _PIXELS and not depth
            if here:
                halted.append((int(tag), vr, length, file.tell()))
            return here

        while True:
            for element in data_element_generator(
                file,  # type: ignore[arg-type]
                not self.explicit,
                self.order == "<",
                halt,
                defer_size=_LONGEST_TEXT,
            ):
                assert isinstance(element, RawDataElement)  # pydicom is halted before others
                if element.tag == _ITEM_END:
                    return tags
                if keep and (element.value is not None or not element.length):  # else it is longer than is kept
                    self._keep(tags, element.tag, element.value or b"")
            if not halted:
                return tags
            tag, vr, length, at = halted.pop()
            file.seek(at)
            if tag in _PIXELS and not depth:
                return tags | {"pixels": Pixels(at, length, self.order, self.deflated_from)}
            wanted = keep and tag in _SEQUENCES
            if length != UNDEFINED and not wanted:
                file.skip(length)
                continue
            # PS3.5 6.2.2: an element of unknown kind and undefined length is a sequence in implicit little endian.
            reader = self if vr != "UN" else _Reader(explicit=False, order="<")
            found = reader.sequence(file.part(length), depth + 1, wanted)
            if wanted:
                tags[_SEQUENCES[tag]] = found

    def sequence(self, file: Bounded, depth: int, keep: bool) -> list[Tags]:
        """The items up to the end of ``file`` or the sequence's own end mark."""
        if depth > _DEEPEST:
            raise MalformedError(f"its sequences are nested more than {_DEEPEST} deep")
        found: list[Tags] = []
        while file.tell() < file.end:
            tag, length = file.item(self.order)
            if tag == SEQUENCE_END:
                break
            if tag != ITEM:
                raise MalformedError("no item where one should begin")
            if not keep and length != UNDEFINED:  # also a fragment of an icon's pixels
                file.skip(length)
                continue
            item = self.dataset(file.part(length), depth, keep)
            if keep:
                found.append(item)
                if len(found) > MOST_ITEMS:
                    raise MalformedError(f"it has a sequence of more than {MOST_ITEMS} items")
        return found

    def _keep(self, tags: Tags, tag: int, value: bytes) -> None:
        if tag in _TEXTS:
            tags[_TEXTS[tag]] = _text(value)
        elif tag in _NUMBERS and len(value) in (2, 4):
            tags[_NUMBERS[tag]] = int.from_bytes(value, "little" if self.order == "<" else "big")


def _read(raw: IO[bytes]) -> Tags:
    here = raw.tell()
    file = Bounded(raw, raw.seek(0, 2))
    file.seek(here)
    tags = _Reader(explicit=True, order="<").dataset(file, only_group=2)
    syntax = tags.get("transfer_syntax")
    deflated_from = None
    if syntax == _DEFLATED:
        deflated_from = file.tell()
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        header = inflate.decompress(raw.read(MOST_DEFLATED_BYTES), MOST_DEFLATED_BYTES)
        file = Bounded(io.BytesIO(header), len(header))
    start = file.file.read(6)
    file.file.seek(-len(start), 1)
    # What is there counts: some files name another syntax than they use.
    order = ">" if syntax == _BIG_ENDIAN else "<"
    return tags | _Reader(_is_vr(start[4:6]), order, deflated_from).dataset(file)


def _reason(error: Exception) -> str:
    """One of ``_UNREADABLE`` in words: pydicom's own tell of its code."""
    return str(error) if isinstance(error, zlib.error) else "its elements cannot be told apart"


def _is_vr(text: bytes | str) -> bool:
    """Whether it may be a value representation; one that pydicom does not know counts as such, too."""
    return len(text) == 2 and text.isalpha() and text.isupper()


def _text(raw: bytes) -> str:
    """UTF-8, else Latin-1: only the description can hold more than ASCII, and it is only shown."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return "".join(c for c in text if c.isprintable()).strip()

"""The tags of one DICOM file that tell what its images are and where they lie (encoding: DICOM PS3.5, PS3.10).

SimpleITK reads the pixels, but not this: it shows no sequences, in which multi-frame images keep each frame's position,
and it gives one and the same error for a structure set and for a damaged image. Only the tags named here are kept; what
identifies a patient is skipped while reading.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from activeseg.io.announced import MAX_DEFLATE_RATIO
from activeseg.system.regular_files import open_regular

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
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_UNDEFINED = 0xFFFFFFFF
_LONGEST_TEXT = 4096
_DEEPEST = 64  # structured reports nest about 20 deep
_MOST_ITEMS = 1 << 16  # frames of a multi-frame image have one each
_DEFLATED, _BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_DEFLATED_HEADER = 1 << 24
_MOST_SLICE_VOXELS = 1 << 26  # 8,192 x 8,192
_LONGEST_CODED_HEADER = 1 << 17
_LEAST_LIMIT = 1 << 24  # as many bytes may be announced in any case, however well they are packed

Tags = dict[str, Any]


class MalformedError(ValueError):
    """The file begins as DICOM and does not go on as DICOM."""


def read_tags(path: Path) -> Tags | None:
    """The tags above by name: texts, whole numbers, lists of items for sequences; ``pixels`` is where voxels begin.

    None for a file that is not DICOM. Raises MalformedError, OSError; InputError for what is no regular file.
    """
    with open_regular(path) as file:
        start = file.read(132)
        marked = start[128:] == b"DICM"
        file.seek(132 if marked else 0)
        # Some old files come without the preamble, and a few without group 2.
        group, element = struct.unpack("<HH", start[:4]) if len(start) >= 8 else (0, 0)
        if not marked and not (group in (2, 8) and element <= 0x18):
            return None
        try:
            return _read(file)
        except (MalformedError, struct.error, zlib.error) as error:
            if marked:
                raise MalformedError(str(error)) from None
            return None


def check_pixels(path: Path, tags: Tags) -> None:
    """Look whether the voxels that the header announces are there, before GDCM takes memory for them.

    GDCM (SimpleITK 2.5, measured) fills what a file lacks with whatever was in memory, believes the sizes in a JPEG
    stream, and unpacks a deflated file to its end. Raises MalformedError, OSError.
    """
    frames = tags.get("frames") or "1"
    if not (frames.isdecimal() and 1 <= int(frames[:9]) <= _MOST_ITEMS):
        raise MalformedError(f"its number of frames is '{frames[:40]}'")
    rows, columns, bits = tags["rows"], tags["columns"], tags.get("bits_allocated", 16)
    if bits not in (8, 16, 32, 64):
        raise MalformedError(f"it allocates {bits} bits for a voxel")
    wanted = rows * columns * int(frames) * bits // 8
    if rows * columns > _MOST_SLICE_VOXELS:
        raise MalformedError(f"it announces slices of {columns} x {rows} voxels")
    with open_regular(path) as file:
        size = file.seek(0, 2)
        if wanted > max(_LEAST_LIMIT, size * MAX_DEFLATE_RATIO):
            raise MalformedError(f"it announces {wanted} bytes of voxels, and has {size} bytes")
        where = tags["pixels"]
        if where.deflated_from is not None:
            file.seek(where.deflated_from)
            size = _inflated_size(file, where.offset + wanted + _DEFLATED_HEADER)
            if not where.length <= size - where.offset:
                raise MalformedError("the file ends too early")
        if where.length != _UNDEFINED and where.length < wanted:
            raise MalformedError(f"{wanted} bytes of voxels are announced, {where.length} are there")
        if where.deflated_from is None:
            file.seek(where.offset)
            reader = _Reader(file, where.explicit, where.order)
            if where.length == _UNDEFINED:
                reader.fragments(int(frames), (rows, columns))
            else:
                reader.skip(where.length)


def _inflated_size(file: IO[bytes], most: int) -> int:
    """How many bytes are packed in the rest of a file. Raises MalformedError for more than ``most``, zlib.error."""
    inflate, size, packed = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
    while not inflate.eof and (packed := inflate.unconsumed_tail or file.read(1 << 20)):
        size += len(inflate.decompress(packed, 1 << 22))
        if size > most:
            raise MalformedError(f"more than {most} bytes are packed in it, and fewer are announced")
    return size


def _read(file: IO[bytes]) -> Tags:
    tags = _Reader(file, explicit=True, order="<").dataset(only_group=2)
    syntax = tags.get("transfer_syntax")
    deflated_from = None
    if syntax == _DEFLATED:
        deflated_from = file.tell()
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        file = io.BytesIO(inflate.decompress(file.read(_DEFLATED_HEADER), _DEFLATED_HEADER))
    here = file.tell()
    vr = file.read(6)[4:6]  # what is there counts: some files name another syntax than they use
    file.seek(here)
    reader = _Reader(file, vr.isalpha() and vr.isupper(), ">" if syntax == _BIG_ENDIAN else "<", deflated_from)
    return tags | reader.dataset()


@dataclass(frozen=True)
class Pixels:
    """Where the value of a file's pixel data begins and how long it is (undefined: in fragments).

    ``deflated_from`` is where the deflated part of the file begins, in which ``offset`` counts.
    """

    offset: int
    length: int
    explicit: bool
    order: str
    deflated_from: int | None


class _Reader:
    def __init__(self, file: IO[bytes], explicit: bool, order: str, deflated_from: int | None = None) -> None:
        self.deflated_from = deflated_from
        self.file = file
        self.explicit = explicit
        self.order = order
        here = file.tell()
        self.size = file.seek(0, 2)
        file.seek(here)

    def dataset(self, end: int | None = None, only_group: int | None = None, keep: bool = True, depth: int = 0) -> Tags:
        """Elements up to ``end`` (a file offset), to the item's own end mark, or to the pixels, which stay unread."""
        tags: Tags = {}
        while (here := self.file.tell()) < (self.size if end is None else end):
            tag = self._tag()
            if only_group is not None and tag >> 16 != only_group:
                self.file.seek(here)
                break
            if tag == _ITEM_END:
                self._unpack("I")
                break
            vr, length = self._vr_and_length(tag)
            if tag in _PIXELS and depth == 0 and keep:
                tags["pixels"] = Pixels(self.file.tell(), length, self.explicit, self.order, self.deflated_from)
                break
            if tag in _PIXELS and length == _UNDEFINED:  # an icon's
                self.fragments(0, None)
            elif vr == b"SQ" or length == _UNDEFINED or (not self.explicit and tag in _SEQUENCES):
                wanted = keep and tag in _SEQUENCES
                if length != _UNDEFINED and not wanted:
                    self.skip(length)
                    continue
                items = self._as_implicit(vr).sequence(length, wanted, depth + 1)
                if wanted:
                    tags[_SEQUENCES[tag]] = items
            elif keep and tag in _TEXTS and length <= _LONGEST_TEXT:
                tags[_TEXTS[tag]] = _text(self._exactly(length))
            elif keep and tag in _NUMBERS and length in (2, 4):
                tags[_NUMBERS[tag]] = self._unpack("H" if length == 2 else "I")
            else:
                self.skip(length)
        return tags

    def sequence(self, length: int, keep: bool, depth: int) -> list[Tags]:
        if depth > _DEEPEST:
            raise MalformedError(f"its sequences are nested more than {_DEEPEST} deep")
        end = None if length == _UNDEFINED else self.file.tell() + length
        items: list[Tags] = []
        while end is None or self.file.tell() < end:
            tag, size = self._tag(), int(self._unpack("I"))
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise MalformedError("no item where one should begin")
            item = self.dataset(None if size == _UNDEFINED else self.file.tell() + size, keep=keep, depth=depth)
            if keep:
                items.append(item)
            if len(items) > _MOST_ITEMS:
                raise MalformedError(f"it has a sequence of more than {_MOST_ITEMS} items")
        return items

    def fragments(self, frames: int, matrix: tuple[int, int] | None) -> None:
        """Walk over compressed pixel data (PS3.5 A.4). Raises MalformedError where frames are missing or another size.

        The first fragment is a table of offsets.
        """
        count = -1
        while self.file.tell() < self.size:
            tag, size = self._tag(), int(self._unpack("I"))
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise MalformedError("no fragment where one should begin")
            if count >= 0 and matrix:
                here = self.file.tell()
                coded = _coded_matrix(self._exactly(min(size, _LONGEST_CODED_HEADER)))
                if coded not in (None, matrix):
                    raise MalformedError(f"rows and columns are {matrix}, in its compressed voxels {coded}")
                self.file.seek(here)
            count += 1
            self.skip(size)
        if count < frames:
            raise MalformedError(f"{frames} frames are announced, {max(count, 0)} are there")

    def _as_implicit(self, vr: bytes) -> _Reader:
        """PS3.5 6.2.2: an element of unknown kind and length is a sequence in implicit little endian."""
        return _Reader(self.file, explicit=False, order="<") if vr == b"UN" else self

    def _vr_and_length(self, tag: int) -> tuple[bytes, int]:
        if not self.explicit:
            return b"", self._unpack("I")
        vr = self._exactly(2)
        if not (vr.isalpha() and vr.isupper()):
            raise MalformedError(f"no value representation in element {tag:08x}")
        if vr in _LONG_VRS:
            self.skip(2)
            return vr, self._unpack("I")
        return vr, self._unpack("H")

    def _tag(self) -> int:
        group, element = struct.unpack(self.order + "HH", self._exactly(4))
        return int(group << 16 | element)

    def _unpack(self, kind: str) -> int:
        return int(struct.unpack(self.order + kind, self._exactly(struct.calcsize(kind)))[0])

    def _exactly(self, count: int) -> bytes:
        data = self.file.read(count)
        if len(data) < count:
            raise MalformedError("the file ends too early")
        return data

    def skip(self, count: int) -> None:
        """Leave so many bytes out. Raises MalformedError where there are fewer."""
        if self.file.seek(count, 1) > self.size:
            raise MalformedError("the file ends too early")


def _coded_matrix(start: bytes) -> tuple[int, int] | None:
    """Rows and columns in the header of a JPEG, JPEG-LS or JPEG 2000 stream; None where none begins here.

    Raises MalformedError where one begins that does not tell them.

    JPEG: ITU T.81 B.2.2, markers SOF; JPEG-LS: T.87 C.2.2; JPEG 2000: T.800 A.5.1, marker SIZ.
    """
    if start.startswith((b"\xff\x4f", b"\x00\x00\x00\x0cjP")):
        siz = start.find(b"\xff\x4f\xff\x51")
        if siz < 0 or len(start) < siz + 24:
            raise MalformedError("its compressed voxels do not tell their size")
        right, below, left, above = struct.unpack(">IIII", start[siz + 8 : siz + 24])
        return below - above, right - left
    if not start.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(start) and start[at] == 0xFF:
        marker = start[at + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = struct.unpack(">HH", start[at + 5 : at + 9])
            return rows, columns
        at += 1 if marker == 0xFF else 2 + int.from_bytes(start[at + 2 : at + 4], "big")
    raise MalformedError("its compressed voxels do not tell their size")


def _text(raw: bytes) -> str:
    """UTF-8, else Latin-1: only the description can hold more than ASCII, and it is only shown."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return "".join(c for c in text if c.isprintable()).strip()

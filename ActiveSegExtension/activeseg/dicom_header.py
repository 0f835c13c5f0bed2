"""The tags of one DICOM file that tell what its images are and where they lie (encoding: DICOM PS3.5, PS3.10).

SimpleITK reads the pixels, but not this: it shows no sequences, in which multi-frame images keep each frame's position,
and it gives one and the same error for a structure set and for a damaged image. Only the tags named here are kept; what
identifies a patient is skipped while reading.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import IO, Any

_TEXTS = {
    0x00020010: "transfer_syntax",
    0x00080008: "image_type",
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
_NUMBERS = {0x00209128: "temporal_position", 0x00280002: "samples", 0x00280010: "rows", 0x00280011: "columns"}
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
_DEFLATED, _BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"

Tags = dict[str, Any]


class MalformedError(ValueError):
    """The file begins as DICOM and does not go on as DICOM."""


def read_tags(path: Path) -> Tags | None:
    """The tags above by name: texts, whole numbers, lists of items for sequences; ``pixels`` says that voxels follow.

    None for a file that is not DICOM. Raises MalformedError, OSError.
    """
    with open(path, "rb") as file:
        start = file.read(132)
        marked = start[128:] == b"DICM"
        file.seek(132 if marked else 0)
        # Some old files come without the preamble, and a few without group 2.
        group, element = struct.unpack("<HH", start[:4]) if len(start) >= 8 else (0, 0)
        if not marked and not (group in (2, 8) and element <= 0x18):
            return None
        try:
            return _read(file)
        except (MalformedError, struct.error, zlib.error):
            if marked:
                raise MalformedError(f"'{path.name}' is a damaged DICOM file.") from None
            return None


def _read(file: IO[bytes]) -> Tags:
    tags = _Reader(file, explicit=True, order="<").dataset(only_group=2)
    syntax = tags.get("transfer_syntax")
    if syntax == _DEFLATED:
        file = io.BytesIO(zlib.decompress(file.read(), -zlib.MAX_WBITS))
    here = file.tell()
    vr = file.read(6)[4:6]  # what is there counts: some files name another syntax than they use
    file.seek(here)
    return tags | _Reader(file, vr.isalpha() and vr.isupper(), ">" if syntax == _BIG_ENDIAN else "<").dataset()


class _Reader:
    def __init__(self, file: IO[bytes], explicit: bool, order: str) -> None:
        self.file = file
        self.explicit = explicit
        self.order = order
        here = file.tell()
        self.size = file.seek(0, 2)
        file.seek(here)

    def dataset(self, end: int | None = None, only_group: int | None = None, keep: bool = True) -> Tags:
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
            if tag in _PIXELS:
                tags["pixels"] = True
                break
            if vr == b"SQ" or length == _UNDEFINED or (not self.explicit and tag in _SEQUENCES):
                wanted = keep and tag in _SEQUENCES
                if length != _UNDEFINED and not wanted:
                    self._skip(length)
                    continue
                items = self._as_implicit(vr).sequence(length, wanted)
                if wanted:
                    tags[_SEQUENCES[tag]] = items
            elif keep and tag in _TEXTS and length <= _LONGEST_TEXT:
                tags[_TEXTS[tag]] = _text(self._exactly(length))
            elif keep and tag in _NUMBERS and length in (2, 4):
                tags[_NUMBERS[tag]] = self._unpack("H" if length == 2 else "I")
            else:
                self._skip(length)
        return tags

    def sequence(self, length: int, keep: bool) -> list[Tags]:
        end = None if length == _UNDEFINED else self.file.tell() + length
        items: list[Tags] = []
        while end is None or self.file.tell() < end:
            tag, size = self._tag(), int(self._unpack("I"))
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise MalformedError("no item where one should begin")
            items.append(self.dataset(None if size == _UNDEFINED else self.file.tell() + size, keep=keep))
        return items

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
            self._skip(2)
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

    def _skip(self, count: int) -> None:
        if self.file.seek(count, 1) > self.size:
            raise MalformedError("the file ends too early")


def _text(raw: bytes) -> str:
    """UTF-8, else Latin-1: only the description can hold more than ASCII, and it is only shown."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return "".join(c for c in text if c.isprintable()).strip()

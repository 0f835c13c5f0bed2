"""Whether the voxels that a DICOM header announces are there: looked at before GDCM takes memory for them.

GDCM (SimpleITK 2.5, measured) fills what a file lacks with whatever was in memory, believes the sizes in a JPEG stream,
and unpacks a deflated file to its end.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import IO

from activeseg.io.announced import MAX_DEFLATE_RATIO
from activeseg.io.dicom.header import (
    ITEM,
    MOST_DEFLATED_BYTES,
    MOST_ITEMS,
    SEQUENCE_END,
    UNDEFINED,
    Bounded,
    MalformedError,
    Tags,
)
from activeseg.system.regular_files import open_regular

_MOST_SLICE_VOXELS = 1 << 26  # 8,192 x 8,192
_LONGEST_CODED_HEADER = 1 << 17
_LEAST_LIMIT = 1 << 24  # as many bytes may be announced in any case, however well they are packed


def check_pixels(path: Path, tags: Tags) -> None:
    """Look whether the voxels are there that a file's header (``read_tags``) announces.

    Raises
    ------
    MalformedError
        Where fewer are there.
    OSError
    """
    frames = tags.get("frames") or "1"
    if not (frames.isdecimal() and 1 <= int(frames[:9]) <= MOST_ITEMS):
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
            size = _inflated_size(file, where.offset + wanted + MOST_DEFLATED_BYTES)
            if not where.length <= size - where.offset:
                raise MalformedError("the file ends too early")
        if where.length != UNDEFINED and where.length < wanted:
            raise MalformedError(f"{wanted} bytes of voxels are announced, {where.length} are there")
        if where.deflated_from is None:
            bounded = Bounded(file, size)
            bounded.seek(where.offset)
            if where.length == UNDEFINED:
                _check_fragments(bounded, where.order, int(frames), (rows, columns))
            else:
                bounded.skip(where.length)


def _inflated_size(file: IO[bytes], most: int) -> int:
    """How many bytes are packed in the rest of a file. Raises MalformedError for more than ``most``, zlib.error."""
    inflate, size, packed = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
    while not inflate.eof and (packed := inflate.unconsumed_tail or file.read(1 << 20)):
        size += len(inflate.decompress(packed, 1 << 22))
        if size > most:
            raise MalformedError(f"more than {most} bytes are packed in it, and fewer are announced")
    return size


def _check_fragments(file: Bounded, order: str, frames: int, matrix: tuple[int, int]) -> None:
    """Walk over compressed pixel data (PS3.5 A.4), whose first fragment is a table of offsets.

    Raises MalformedError where frames are missing or of another size.
    """
    count = -1
    while file.tell() < file.end:
        tag, size = file.item(order)
        if tag == SEQUENCE_END:
            break
        if tag != ITEM:
            raise MalformedError("no fragment where one should begin")
        if count >= 0:
            here = file.tell()
            coded = _coded_matrix(file.read(min(size, _LONGEST_CODED_HEADER)))
            if coded not in (None, matrix):
                raise MalformedError(f"rows and columns are {matrix}, in its compressed voxels {coded}")
            file.seek(here)
        count += 1
        file.skip(size)
    if count < frames:
        raise MalformedError(f"{frames} frames are announced, {max(count, 0)} are there")


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

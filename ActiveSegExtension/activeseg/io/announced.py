"""Voxels of an image file: read as far as the header announces them, and refused before more memory is taken.

A packed file of 3 MB can hold 3 GB, and a header can announce any number.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.core.sizes import size_text

MOST_VOXELS = 1 << 32
"""Twice of what the largest clinical CT has (1,024 x 1,024 x 2,000)."""
MAX_DEFLATE_RATIO = 1032
"""zlib's own limit, https://zlib.net/zlib_tech.html"""
_READ_BYTES = 1 << 22
_MOST_BEHIND = 1 << 20  # some programs pad the end of a file


class _Readable(Protocol):
    """What can be read piece by piece into memory that is there already."""

    def readinto(self, into: memoryview, /) -> int | None: ...


Stream = _Readable | IO[bytes]
"""A file that is open for reading; Python's own are all readable into memory, which ``IO`` does not say."""


def empty_array(
    path: Path, shape: Sequence[int], dtype: npt.DTypeLike, most_bytes: int | None = None
) -> npt.NDArray[Any]:
    """An array for the voxels that the header of ``path`` announces; its memory is taken only as it is filled.

    Parameters
    ----------
    most_bytes
        What the file can hold at most.

    Raises
    ------
    InputError
        Where that, this computer's memory or ``MOST_VOXELS`` is less.
    """
    voxels = math.prod(int(n) for n in shape)
    wanted = voxels * np.dtype(dtype).itemsize
    sizes = "x".join(str(n) for n in reversed(shape))
    if most_bytes is not None and wanted > most_bytes:
        raise InputError(
            f"'{path.name}' is cut off: {wanted} bytes of voxels are announced ({sizes}), fewer are there.",
            "Copy it again.",
        )
    if voxels > MOST_VOXELS:
        raise InputError(
            f"'{path.name}' announces {voxels} voxels ({sizes}); no volume of more than {MOST_VOXELS} is read.",
            "Copy it again, or crop or resample it first.",
        )
    free = _free_memory()
    try:
        if free is not None and wanted > free:
            raise MemoryError
        return np.empty(shape, dtype)
    except MemoryError:
        raise InputError(
            f"'{path.name}' announces {size_text(wanted)} of voxels ({sizes}), more than there is memory.",
            "Close other programs, or crop or resample it first.",
        ) from None


def unpacked(file: IO[bytes]) -> gzip.GzipFile | _Inflated:
    """A gzip or a zlib stream that begins here, as a file of what is packed in it. Its check sum is looked at."""
    here = file.tell()
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(here)
    return gzip.GzipFile(fileobj=file) if packed else _Inflated(file)


def fill(array: npt.NDArray[Any], file: Stream, path: Path) -> None:
    """Read the bytes of a contiguous array.

    Raises
    ------
    InputError
        Where there are fewer, or a packed file is damaged.
    """
    into = array.reshape(-1).view("u1").data
    got = 0
    while got < len(into):
        count = _read(file, into[got : got + _READ_BYTES], path)
        if not count:
            raise InputError(
                f"'{path.name}' is cut off: {len(into)} bytes of voxels are announced, {got} are there.",
                "Copy it again.",
            )
        got += count


def check_end(file: Stream, path: Path, most: int = _MOST_BEHIND) -> None:
    """Read a packed file to its end, where the check sum is.

    Raises
    ------
    InputError
        Where more than ``most`` bytes follow, or the check sum is wrong.
    """
    behind = 0
    scrap = memoryview(bytearray(1 << 16))
    while count := _read(file, scrap, path):
        behind += count
        if behind > most:
            raise InputError(f"'{path.name}' holds more voxels than its header announces.", "Copy or export it again.")


def skip(file: Stream, count: int, path: Path) -> None:
    """Leave so many bytes out.

    Raises
    ------
    InputError
        Where there are fewer.
    """
    scrap = memoryview(bytearray(min(count, 1 << 16)))
    while count:
        got = _read(file, scrap[: min(count, len(scrap))], path)
        if not got:
            raise InputError(f"'{path.name}' is cut off: it ends before its voxels begin.", "Copy it again.")
        count -= got


def corrupted(path: Path, error: Exception) -> InputError:
    """The error for a packed file that zlib or gzip cannot unpack."""
    return InputError(
        f"'{path.name}' is damaged: its compressed data is cut off or corrupted ({error}).", "Copy it again."
    )


def _read(file: Stream, into: memoryview, path: Path) -> int:
    try:
        return cast(_Readable, file).readinto(into) or 0
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise corrupted(path, error) from error


class _Inflated:
    """A zlib stream, unpacked only as far as it is asked for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inflate = zlib.decompressobj()

    def readinto(self, into: memoryview) -> int:
        """How many bytes came, 0 at the end. Raises EOFError, zlib.error."""
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._file.read(_READ_BYTES)
            if not packed:
                raise EOFError("it ends before the end of the stream")
            piece = self._inflate.decompress(packed, len(into))
            if piece:
                into[: len(piece)] = piece
                return len(piece)
        return 0


def _free_memory() -> int | None:
    """Bytes that can be had without swapping; all there are where the system does not tell, None where neither."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None

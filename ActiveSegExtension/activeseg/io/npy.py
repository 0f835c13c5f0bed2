"""Arrays between a client and the engine: ``.npy`` files that never hold pickles."""

from __future__ import annotations

import math
from collections.abc import Generator
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.io.announced import empty_array, fill
from activeseg.system.regular_files import open_regular

PART_BYTES = 8 << 20
"""As much as a slow disk's cache takes in some milliseconds."""


def write_array(path: Path, array: npt.NDArray[Any]) -> str:
    """Write ``.npy``; gives the path as it goes into a message. Raises OSError."""
    for _ in writing_array(path, array):
        pass
    return str(path)


def writing_array(path: Path, array: npt.NDArray[Any]) -> Generator[None, None, None]:
    """Write ``.npy`` by and by: ``PART_BYTES`` with each step of the iterator. Raises OSError."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        voxels = array.reshape(-1).view(np.uint8)
        for start in range(0, voxels.size, PART_BYTES):
            file.write(voxels[start : start + PART_BYTES].data)
            yield


def read_array(path: str | Path) -> npt.NDArray[Any]:
    """The array of an ``.npy`` file, copied into memory.

    Raises InputError when it is none, holds objects, or is not as long as its header says; nothing was read then.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = header(file)
            if dtype.hasobject or dtype.itemsize == 0:
                raise ValueError(f"it holds {dtype} values")
            if any(n < 0 for n in shape):
                raise ValueError(f"its shape is {shape}")
            there = _rest(file)
            wanted = math.prod(shape) * dtype.itemsize
            if there != wanted:
                raise ValueError(f"{wanted} bytes are announced {shape}, {there} are there")
            array = empty_array(path, shape[::-1] if fortran_order else shape, dtype, wanted)
            fill(array, file, path)
    except (OSError, ValueError, TypeError, SyntaxError, RecursionError, MemoryError, TokenError) as error:
        raise InputError(f"'{path}' is no array file: {error}.", "Write it with numpy.save.") from error
    return array.transpose() if fortran_order else array


def _rest(file: BinaryIO) -> int:
    """How many bytes follow."""
    here = file.tell()
    end = file.seek(0, 2)
    file.seek(here)
    return end - here

"""Archives of arrays (``.npz``) that may be damaged or hostile: no pickles, and no more memory than is foreseen."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.system.regular_files import open_regular

MOST_ARRAYS = 10_000
_LONGEST_HEADER = 10_000


def read_npz(
    source: Path | bytes, most_bytes: int, what: str, action: str = "", only: Collection[str] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """All arrays by name, from a file or from the bytes of one.

    Parameters
    ----------
    most_bytes : that all arrays together may take; more is refused by what their headers say, before it is unpacked
    what : the beginning of the sentence of an error, such as "The file 'layers.npz'"; ``action`` follows it
    only : the names of those that are wanted; the others are not unpacked

    Raises
    ------
    InputError : it is missing, damaged, holds something else than arrays of numbers, or too much
    """
    try:
        with open_regular(source) if isinstance(source, Path) else io.BytesIO(source) as file:
            return _read(file, most_bytes, only)
    except InputError as error:
        raise InputError(f"{what} cannot be read: {error.message}", action) from error
    except OSError as error:
        raise InputError(f"{what} cannot be read: {error.strerror or error}.", action) from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        # the last two: a compression that zipfile lacks, and encryption
        raise InputError(f"{what} is damaged: {error}.", action) from error
    except (SyntaxError, MemoryError, OverflowError, TypeError) as error:  # of the text of an array's header
        raise InputError(f"{what} is damaged: an array's header cannot be read.", action) from error


def _read(file: IO[bytes], most_bytes: int, only: Collection[str] | None) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {}
    left = most_bytes
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > MOST_ARRAYS:
            raise InputError(f"It holds {len(members)} files.")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if only is not None and name not in only:
                continue
            with archive.open(member) as stream:
                shape, fortran, kind = _header(stream)
                size = math.prod(shape) * kind.itemsize
                if size < 0 or size > left or size > member.file_size:
                    raise InputError(f"'{member.filename}' announces {size} bytes, which cannot be.")
                left -= size
                data = stream.read(size)
            if len(data) != size:
                raise InputError(f"'{member.filename}' ends too early.")
            array = np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C").copy()
            arrays[name] = array
    return arrays


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = read(stream, max_header_size=_LONGEST_HEADER)
    if kind.kind not in "biuf" or any(length < 0 for length in shape):
        raise InputError(f"It holds an array of '{kind}' and shape {shape}, not of numbers.")
    return shape, fortran, kind

"""Array files between client and engine: read as numpy reads them, refused before memory is taken or code is run."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from activeseg.core.errors import InputError
from activeseg.io.npy import read_array, write_array


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.zeros((0, 3), np.uint8),
        np.array([True]),
        np.arange(4, dtype=">i2"),
    ],
)
def test_arrays_are_what_numpy_saved(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    read = read_array(tmp_path / "a.npy")
    assert read.dtype == array.dtype
    assert np.array_equal(read, array)
    assert read.flags.writeable
    write_array(tmp_path / "b.npy", array)
    assert np.array_equal(read_array(tmp_path / "b.npy"), array)


def header(shape: tuple[int, ...], descr: str = "<i2") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def written(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


class Evil:
    def __reduce__(self):
        return os.mkdir, ("marker",)


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Evil()], object))
    return file.getvalue()


def several() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, a=np.zeros(10), b=np.zeros(10))
    return file.getvalue()


HOSTILE = {
    "empty": b"",
    "cut in its header": header((2, 3))[:20],
    "cut in its voxels": header((2, 3)) + bytes(5),
    "more than announced": header((2, 3)) + bytes(100),
    "huge": header((10**6,) * 3) + bytes(8),
    "beyond 64 bits": header((2**62, 2**62)) + bytes(8),
    "negative": header((-1, 3)) + bytes(8),
    "no bytes at all in a huge shape": header((2**40,), "|V0"),
    "objects": pickled(),
    "several": several(),
    "nested": written(b"{'descr': " + b"(" * 5000 + b")" * 5000 + b"}"),
    "code": written(b"__import__('os').mkdir('marker')"),
    "no type": written(b"{'descr': 'zz', 'fortran_order': False, 'shape': (1,), }\n"),
    "no shape": written(b"{'descr': '<i2', 'fortran_order': False, 'shape': ('a',), }\n"),
    "a header that does not end": written(b"{'descr': ('<i2', 'fortran_order': False, 'shape': (1L,\n"),
    "version 9": b"\x93NUMPY\x09\x00" + bytes(100),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_array_is_refused_and_nothing_of_it_runs(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    Path("a.npy").write_bytes(HOSTILE[case])
    with pytest.raises(InputError, match=r"a\.npy"):
        read_array("a.npy")
    assert os.listdir() == ["a.npy"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a FIFO")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(InputError, match="regular file"):
        read_array(tmp_path / "a.npy")

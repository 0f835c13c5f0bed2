"""A full disk is told before the work with what is needed, and afterwards as what it is."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from activeseg.core.errors import DeviceError, EngineError
from activeseg.system.disk import RESERVE_BYTES, refuse_full, told_full

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="a device that is always full")
Usage = namedtuple("Usage", "total used free")


def test_more_than_is_free_is_refused_with_disk_need_and_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**10, 0, 3 * 10**9))
    refuse_full({tmp_path: 10**9, tmp_path / "not" / "there": 10**9}, "this segmentation")
    with pytest.raises(DeviceError) as caught:
        refuse_full({tmp_path: 2 * 10**9, tmp_path / "not" / "there": 10**9}, "this segmentation")
    assert str(tmp_path) in caught.value.message
    assert "3.1 GB are needed for this segmentation, 3.0 GB are free" in caught.value.message
    assert caught.value.action
    assert caught.value.details["needed_bytes"] == 3 * 10**9 + RESERVE_BYTES
    assert caught.value.details["free_bytes"] == 3 * 10**9


@needs_full
def test_a_disk_that_is_full_while_an_array_is_written_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r".") as plain, FULL.open("wb", buffering=0) as file:
        file.write(b"x")
    with pytest.raises(OSError, match=r".") as numpys, FULL.open("wb") as file:
        np.zeros(1 << 20).tofile(file)
    for caught in (plain.value, numpys.value):
        told = told_full(caught, tmp_path)
        assert told is not None
        assert "is full" in told.message
        assert "nothing more can be written" in told.message


def test_other_failures_are_no_full_disk(tmp_path: Path) -> None:
    assert told_full(OSError(errno.ENOENT, "no"), tmp_path) is None
    assert told_full(ValueError("no space left"), tmp_path) is None
    assert told_full(None, tmp_path) is None
    ours = EngineError("The draft could not be saved.")
    ours.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert told_full(ours, tmp_path) is not None

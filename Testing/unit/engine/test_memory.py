"""Memory that is free, limited, lacking, and taken."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from activeseg.core.errors import DeviceError
from activeseg.engine.worker import memory
from activeseg.system.heap import is_out_of_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA")
def test_within_a_limit_too_much_is_a_memory_error_and_afterwards_it_is_not() -> None:
    def take(mib: int) -> int:
        return int(np.ones(mib << 17).nbytes)

    with memory.at_most(64 << 20), pytest.raises(MemoryError):
        take(256)
    assert take(256) == 256 << 20


def test_lack_of_memory_is_recognised_in_its_many_forms() -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch names its own."""

    def caused(outer: Exception, inner: Exception) -> Exception:
        outer.__cause__ = inner
        return outer

    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert is_out_of_memory(caused(DeviceError("The device ran out of memory."), MemoryError()))
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert not is_out_of_memory(RuntimeError("CUDA error: no kernel image is available for execution on the device"))
    assert not is_out_of_memory(DeviceError("The device 'cuda' is not available."))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    for name, text in (("max", "1000\n"), ("current", "900\n"), ("stat", "anon 5\ninactive_file 300\n")):
        (tmp_path / name).write_text(text)
    files = (tmp_path / "max", tmp_path / "current", tmp_path / "stat")
    assert memory.container_room(*files) == 400
    (tmp_path / "max").write_text("max\n")
    assert memory.container_room(*files) is None
    assert memory.container_room(tmp_path / "none", *files[1:]) is None


def test_a_peak_is_what_was_taken_since() -> None:
    peak = memory.Peak()
    assert np.ones(64 << 17).nbytes == 64 << 20
    assert peak.taken() > 60 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a process's peak stays")
def test_a_peak_forgets_what_was_taken_before() -> None:
    assert np.ones(256 << 17).nbytes == 256 << 20
    assert memory.Peak().taken() < 200 << 20


# Files.

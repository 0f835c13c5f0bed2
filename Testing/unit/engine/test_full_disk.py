"""A disk that is full while the engine works: its answer says so, and its log stops nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from activeseg.client.protocol import Request
from activeseg.engine.supervisor.log_file import LogFile
from activeseg.engine.worker.failures import answer_to_failure

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="a device that is always full")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_job_that_meets_a_full_or_read_only_disk_says_so(tmp_path: Path, number: int) -> None:
    cause = OSError(number, os.strerror(number), str(tmp_path / "labels.npy"))
    error = RuntimeError("a library failed")
    error.__cause__ = cause
    answer = answer_to_failure(Request("1", "segment", {"folder": str(tmp_path)}), error)
    assert answer.data["code"] == "device"
    assert str(tmp_path) in answer.message
    assert "unexpected" not in answer.message
    assert "read-only" in answer.message if number == errno.EROFS else "is full" in answer.message


@needs_full
def test_a_log_on_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "engine.log", 1 << 20)
    os.dup2(os.open(FULL, os.O_WRONLY), log.descriptor)
    log.write("a line")
    assert log.tail(1) == ["a line"]

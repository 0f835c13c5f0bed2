"""A disk that is full while the engine works: its answer says so, and its log stops nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from activeseg.client.messages.segmenting import SegmentRequest
from activeseg.client.protocol import Request
from activeseg.core.errors import DeviceError
from activeseg.core.geometry import Geometry
from activeseg.core.progress import Progress
from activeseg.core.volume import Volume
from activeseg.engine.jobs.segmenting import segment
from activeseg.engine.supervisor.log_file import LogFile
from activeseg.engine.worker.failures import answer_to_failure
from activeseg.engine.worker.kept import Keeping, keep
from activeseg.engine.worker.worker import Job
from activeseg.io.images import write_volume
from activeseg.system import disk

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


def test_a_segmentation_says_before_the_work_which_disk_is_too_full_and_how_much_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    geometry = Geometry((20, 30, 40), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    write_volume(Volume(np.zeros(geometry.shape_kji, np.int16), geometry), tmp_path / "ct.nii.gz")
    stages: list[str] = []
    job = Job(
        tmp_path / "scratch",
        Progress(lambda stage, _fraction, _text: stages.append(stage)),
        lambda _notice: None,
        lambda _estimate: None,
        lambda _label: None,
    )
    monkeypatch.setattr(disk, "free_bytes", lambda _folder: disk.RESERVE_BYTES)
    request = SegmentRequest(model="hounsfield", image=tmp_path / "ct.nii.gz")
    with pytest.raises(DeviceError, match=r"too full: about .* are needed for this segmentation") as caught:
        segment(request, job, keep(Keeping(tmp_path, 0, 0), lambda **_: None))
    assert caught.value.details["folder"] == str(tmp_path / "scratch")
    assert caught.value.details["needed_bytes"] == disk.RESERVE_BYTES + 18 * 24_000
    assert stages == ["check", "read"]

"""Log files: bounded, few, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from activeseg.engine.supervisor.log_file import LogFile, remove_old_logs


def test_the_log_never_grows_beyond_its_limit_and_keeps_the_file_before(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "engine-1.log", 200)
    for number in range(30):
        log.write(f"line {number:02d} {'x' * 20}")
    old = tmp_path / "logs" / "engine-1.log.1"
    assert log.path.stat().st_size <= 200
    assert old.stat().st_size <= 200
    together = old.read_text() + log.path.read_text()
    assert together.splitlines()[-1].startswith("line 29")
    assert [line[:7] for line in log.tail(2)] == ["line 28", "line 29"]
    os.write(log.descriptor, b"written past us\n")
    assert log.path.read_text().endswith("written past us\n")
    os.close(log.descriptor)


def test_only_the_newest_logs_stay(tmp_path: Path) -> None:
    for number in range(6):
        path = tmp_path / f"engine-{number}.log"
        path.touch()
        os.utime(path, (number, number))
    remove_old_logs(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine-4.log", "engine-5.log"]


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_logs_that_cannot_be_looked_at_or_removed_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "engine-vanished.log").symlink_to(tmp_path / "removed")  # as if another engine had just removed it
    (tmp_path / "engine-kept.log").mkdir()
    os.utime(tmp_path / "engine-kept.log", (1, 1))
    for number in range(2, 5):
        path = tmp_path / f"engine-{number}.log"
        path.touch()
        os.utime(path, (number, number))
    remove_old_logs(tmp_path, keep=1)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"engine-4.log"}

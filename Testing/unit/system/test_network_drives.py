"""Drives that refuse what is a nicety (rights, flushing folders), and drives that lack what is needed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from activeseg.system import file_lock
from activeseg.system.files import check_replacing, replacing, set_rights, sync_to_disk

fcntl = pytest.importorskip("fcntl", reason="flock is POSIX's")


def refusing(code: int):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_drive_that_keeps_no_rights_is_no_error(code, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "chmod", refusing(code))
    assert set_rights(tmp_path, 0o700) is False


def test_rights_are_set_where_the_drive_keeps_them(tmp_path):
    assert set_rights(tmp_path, 0o750) is True
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


@pytest.mark.parametrize("what", [set_rights, sync_to_disk])
def test_a_broken_disk_is_an_error(what, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "chmod", refusing(errno.EIO))
    monkeypatch.setattr(os, "fsync", refusing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        what(tmp_path, *([0o700] if what is set_rights else []))


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_drive_that_cannot_flush_is_no_error(code, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setattr(os, "fsync", refusing(code))
    sync_to_disk(tmp_path)
    sync_to_disk(tmp_path / "file")
    with replacing(tmp_path / "file", ".json") as fresh:
        fresh.write_text("y")
    assert (tmp_path / "file").read_text() == "y"


def test_a_drive_where_nothing_can_be_replaced_is_found_out_beforehand(tmp_path, monkeypatch):
    check_replacing(tmp_path)
    monkeypatch.setattr(os, "replace", refusing(errno.EEXIST))
    with pytest.raises(OSError, match="does not let a file replace another one"):
        check_replacing(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOLCK])
def test_a_drive_without_locks_is_told_as_that(code, tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    with pytest.raises(OSError, match="this drive cannot lock files"):
        file_lock.acquire(tmp_path / ".lock")


def test_a_lock_that_is_held_is_none(tmp_path: Path):
    held = file_lock.acquire(tmp_path / ".lock")
    assert held is not None
    assert file_lock.acquire(tmp_path / ".lock") is None
    held.release()

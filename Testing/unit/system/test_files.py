"""Files and folders appear whole or not at all; a lock has one holder, and the others get a sentence."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from activeseg.core.errors import DatasetError
from activeseg.system import file_lock
from activeseg.system.file_lock import acquire, held, is_held
from activeseg.system.files import (
    is_staging_folder,
    is_temporary_file,
    new_folder,
    remove_abandoned,
    replacing,
    staging_folder,
    write_json,
)


def test_a_folder_appears_with_all_that_was_put_into_it(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out") as fresh:
        (fresh / "a.txt").write_text("a")
        assert not (tmp_path / "out").exists()
        assert is_staging_folder(fresh.name)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "a.txt"]


def test_an_empty_folder_gives_way_and_a_full_one_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as fresh:
        (fresh / "a.txt").write_text("a")
    with pytest.raises(OSError, match="not empty"), new_folder(tmp_path / "out") as fresh:
        (fresh / "b.txt").write_text("b")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "out"]


def test_a_block_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "out") as fresh:
        (fresh / "sub" / "a.txt").write_text("a")
    assert list(tmp_path.iterdir()) == []


def test_json_is_written_with_the_rights_asked_for(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ü": 1}, 0o600)
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"ü": 1}
    if os.name == "posix":
        assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600
    write_json(tmp_path / "a.json", [2])
    assert (tmp_path / "a.json").read_text() == "[\n 2\n]\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_the_names_of_temporary_files_and_folders_are_known(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.json", ".json") as fresh:
        fresh.write_text("{}")
        assert is_temporary_file(fresh.name)
        assert not is_staging_folder(fresh.name)
    assert is_temporary_file(f".activeseg-{'0' * 32}.nii.gz")
    assert is_staging_folder(staging_folder(tmp_path).name)
    for name in ("a.json", ".activeseg-x.json", ".activeseg-draft", f"activeseg-{'0' * 32}"):
        assert not is_temporary_file(name)
        assert not is_staging_folder(name)


def test_folders_that_were_left_long_ago_are_removed(tmp_path: Path) -> None:
    left = tmp_path / f".staging-{'0' * 32}"
    left.mkdir()
    (tmp_path / "mine").mkdir()
    assert remove_abandoned(tmp_path, staging=True) == []
    os.utime(left, (time.time() - 7200, time.time() - 7200))
    assert remove_abandoned(tmp_path) == []
    assert remove_abandoned(tmp_path, staging=True) == [left.name]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def busy() -> DatasetError:
    return DatasetError("Somebody is at it.")


def failed(error: OSError) -> DatasetError:
    return DatasetError(f"It does not work: {error.strerror}.")


def test_who_does_not_get_a_lock_is_told_in_its_own_words(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with held(lock, 0.0, busy=busy, failed=failed):
        assert is_held(lock)
        with pytest.raises(DatasetError, match="Somebody is at it"), held(lock, 0.0, busy=busy, failed=failed):
            pass
    assert not is_held(lock)
    with pytest.raises(DatasetError, match="It does not work"), held(tmp_path, 0.0, busy=busy, failed=failed):
        pass


def test_a_lock_that_is_not_needed_is_left_out_on_a_drive_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, wait_s: float = 0.0) -> None:
        raise file_lock.NoLocks(95, "this drive cannot lock files", str(path))

    assert acquire(tmp_path / ".lock") is not None
    monkeypatch.setattr(file_lock, "acquire", refuse)
    with held(tmp_path / ".lock", 0.0, busy=busy, failed=failed, needed=False):
        pass
    with (
        pytest.raises(DatasetError, match="cannot lock files"),
        held(tmp_path / ".lock", 0.0, busy=busy, failed=failed),
    ):
        pass

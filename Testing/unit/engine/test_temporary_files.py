"""Scratch folders, outputs that a kill left half written, and temporary files of libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from activeseg.engine.supervisor.scratch import Scratch
from activeseg.engine.supervisor.temporary_outputs import Output
from activeseg.engine.worker.worker import temporary_folder
from activeseg.predictions import prediction_folder


def test_only_folders_of_dead_engines_are_swept(tmp_path: Path) -> None:
    mine = Scratch(tmp_path)
    dead = mine.folder.with_name(mine.folder.name.replace(f"-{os.getpid()}-", "-4194999-"))
    reused = mine.folder.with_name(mine.folder.name.replace(f"-{os.getpid()}-", "-1-"))
    elsewhere = mine.folder.with_name("engine-other_computer-4194999-1-abc")
    for folder in (dead, reused, elsewhere):
        folder.mkdir()
    other = Scratch(tmp_path)
    assert mine.folder.is_dir()
    assert elsewhere.is_dir()
    assert not dead.exists()
    assert not reused.exists(), "another process has that number now"
    other.close()
    mine.close()


def test_after_a_kill_the_output_is_as_it_was(tmp_path: Path) -> None:
    known = prediction_folder.temporary_prefix(tmp_path / "out", "new")
    (tmp_path / f"{known}abcdefgh").mkdir()  # was there before, so it is another writer's
    output = Output.of({"output": str(tmp_path / "out")})
    assert output is not None
    (tmp_path / f"{known}ijklmnop").mkdir()
    (tmp_path / f"{known}ijklmnop" / "labels.nii.gz").touch()
    (tmp_path / ".out.notes").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "prediction.json").touch()
    output.tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{known}abcdefgh", ".out.notes"])


def test_what_the_user_put_into_the_output_meanwhile_stays(tmp_path: Path) -> None:
    output = Output.of({"output": str(tmp_path / "out")})
    assert output is not None
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels.nii.gz").touch()
    (tmp_path / "out" / "notes.txt").touch()
    output.tidy()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_an_old_prediction_that_was_moved_aside_comes_back(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "prediction.json").write_text("old")
    output = Output.of({"output": str(tmp_path / "out")})
    assert output is not None
    os.rename(tmp_path / "out", tmp_path / f"{prediction_folder.temporary_prefix(tmp_path / 'out', 'old')}abcdefgh")
    output.tidy()
    assert (tmp_path / "out" / "prediction.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "given", ["~nobody-of-this-name/x", "\ud800", "", "\0", "x" * 100_000, 7, None, ["/x"], "/proc/1/x"]
)
def test_what_cannot_be_an_output_is_none(given: object) -> None:
    output = Output.of({"output": given})
    assert output is None or output.tidy() is None


def test_temporary_files_of_libraries_go_into_the_jobs_folder(tmp_path: Path) -> None:
    import tempfile

    before = tempfile.gettempdir()
    folder = tmp_path / "temporary"
    folder.mkdir()
    with temporary_folder(folder):
        assert tempfile.gettempdir() == str(folder)
        Path(tempfile.mkdtemp()).joinpath("left").touch()
        child = subprocess.run(
            [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"], capture_output=True, text=True
        )
        assert child.stdout.strip() == str(folder)
    assert tempfile.gettempdir() == before
    assert not folder.exists()

"""Replacing a prediction: only our files go, and whatever happens meanwhile, the old or the new one is there."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import in_child

from activeseg.core.errors import EngineError
from activeseg.predictions import prediction_folder
from activeseg.predictions.prediction_folder import RECORD, making, recover, restore

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills forked processes, which needs POSIX")

CHANGES = {"os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.mkdir", "shutil.copyfile"}
OURS = ("labels.nii.gz", "overview.png", RECORD)


def write(folder: Path, which: str, names: tuple[str, ...] = OURS) -> None:
    for name in names:
        (folder / name).write_text(f"{which} {name}")


def prediction_with_files_of_the_user(folder: Path) -> Path:
    folder.mkdir()
    write(folder, "old")
    (folder / "edited.seg.nrrd").write_text("an hour of work")
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("note")
    (folder / "notes" / "deeper").mkdir()
    (folder / "notes" / "deeper" / "b.txt").write_text("deeper note")
    (folder / "link").symlink_to(folder.parent / "elsewhere")
    return folder


def replace(folder: Path) -> None:
    with making(folder) as fresh:
        write(fresh, "new", ("regions.json", *OURS))


def state(folder: Path) -> str:
    """``old`` or ``new``, whole, with all that is the user's."""
    assert (folder / "edited.seg.nrrd").read_text() == "an hour of work"
    assert (folder / "notes" / "a.txt").read_text() == "note"
    assert (folder / "notes" / "deeper" / "b.txt").read_text() == "deeper note"
    assert os.readlink(folder / "link") == str(folder.parent / "elsewhere")
    which = (folder / RECORD).read_text().split()[0]
    names = OURS if which == "old" else ("regions.json", *OURS)
    assert {path.name for path in folder.iterdir()} == {*names, "edited.seg.nrrd", "notes", "link"}
    assert all((folder / name).read_text() == f"{which} {name}" for name in names)
    return which


def no_links(*_: object, **__: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Do the work in another process, which is killed before its ``number``-th change on the disk; whether it was."""

    def counted() -> None:
        left = number

        def hook(event: str, _: object) -> None:
            nonlocal left
            if event in CHANGES:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        work()

    status = in_child(counted)
    if os.WIFSIGNALED(status):
        return True
    assert status == 0
    return False


@pytest.mark.parametrize("drive", ["exchanges", "no links", "no exchange", "neither"])
def test_killed_at_any_step_the_old_or_the_new_prediction_is_there_and_all_of_the_users(
    drive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if drive in ("no exchange", "neither"):
        monkeypatch.setattr(prediction_folder, "_exchanged", lambda one, other: False)
    if drive in ("no links", "neither"):
        monkeypatch.setattr(os, "link", no_links)
    seen: list[str] = []
    number = 1
    while True:
        parent = tmp_path / str(number)
        parent.mkdir()
        folder = prediction_with_files_of_the_user(parent / "out")
        killed = killed_at(number, lambda folder=folder: replace(folder))
        if drive in ("exchanges", "no links"):
            state(folder)  # without help
        restore(folder)
        which = state(folder)
        recover(folder)
        assert state(folder) == which
        assert os.listdir(parent) == ["out"]
        seen.append(which)
        if not killed:
            break
        number += 1
    assert seen == sorted(seen, reverse=True)
    assert {"old", "new"} == set(seen)


def test_what_the_user_saved_while_it_was_replaced_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prediction_with_files_of_the_user(tmp_path / "out")
    exchanged = prediction_folder._exchanged

    def saved_meanwhile(one: Path, other: Path) -> bool:
        fresh = other / ".saving"
        fresh.write_text("two hours of work")
        os.replace(fresh, other / "edited.seg.nrrd")  # as most programs save
        (other / "more.txt").write_text("more")
        return exchanged(one, other)

    monkeypatch.setattr(prediction_folder, "_exchanged", saved_meanwhile)
    replace(folder)
    assert (folder / "edited.seg.nrrd").read_text() == "two hours of work"
    assert (folder / "more.txt").read_text() == "more"
    assert os.listdir(tmp_path) == ["out"]


def test_a_failure_leaves_the_old_prediction_and_nothing_else(tmp_path: Path) -> None:
    folder = prediction_with_files_of_the_user(tmp_path / "out")

    def fail() -> None:
        with making(folder) as fresh:
            write(fresh, "new")
            raise OSError(28, "full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert state(folder) == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_several_that_write_one_folder_follow_one_another(tmp_path: Path) -> None:
    folder = prediction_with_files_of_the_user(tmp_path / "out")

    def many_times() -> None:
        for _ in range(10):
            replace(folder)

    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                many_times()
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert state(folder) == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_who_holds_on_for_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_folder, "LOCK_WAIT_S", 0.0)
    with making(tmp_path / "one") as fresh:
        write(fresh, "new")
        with pytest.raises(EngineError, match="Another program"), making(tmp_path / "two"):
            pass
    assert sorted(os.listdir(tmp_path)) == ["one"]


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    replace(tmp_path / ("x" * 255))
    assert (tmp_path / ("x" * 255) / RECORD).is_file()

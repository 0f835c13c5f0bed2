"""A crash, a full disk or another writer at any instant: the dataset is the old one or the new one, never between."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_cases import SCHEMA, correction, ct, labels, oblique, update_case
from forked import in_child

from activeseg.core.errors import Cancelled, DatasetError
from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.dataset import Dataset, NewCase, Origin, Provenance, transaction
from activeseg.dataset.migration import migrate_dataset
from activeseg.dataset.verification import verify_dataset

resource = pytest.importorskip("resource", reason="kills forked processes at every step, which needs POSIX")

Step = Callable[[str], None]
TRUTH = Provenance(Origin.TRUTH)
BIGGER = LabelSchema.from_names(["spleen", "liver", "tumour"])


def state(folder: Path) -> dict:
    """What the dataset says and holds: for each case its revision and the bytes of all its files."""
    listing = json.loads((folder / "dataset.json").read_text())
    cases = {}
    for name, entry in listing["dataset"].items():
        files = [*entry["images"], entry["label"]]
        cases[name] = [(file, (folder / file).read_bytes()) for file in files]
    assert listing["numTraining"] == len(cases)
    return cases


def prepared(folder: Path, private: Path) -> Dataset:
    dataset = Dataset.create(folder, SCHEMA, private_dir=private)
    dataset.add_case(NewCase(ct(0), labels(0), oblique(), correction(0)))
    return dataset


def add(dataset: Dataset) -> None:
    dataset.add_case(NewCase(ct(1), labels(1), oblique(), correction(1)))


def update(dataset: Dataset) -> None:
    update_case(dataset, "CT_0001", labels(5), oblique(), TRUTH)


def same_image(dataset: Dataset) -> None:
    dataset.add_case(NewCase(ct(0), labels(6), oblique(), TRUTH))


def remove(dataset: Dataset) -> None:
    dataset.remove_case("CT_0001")


CHANGES = pytest.mark.parametrize("change", [add, update, same_image, remove], ids=lambda f: f.__name__)


@CHANGES
def test_killed_at_any_step_leaves_the_old_state_or_the_new_one(change: Callable, tmp_path: Path) -> None:
    steps = 0
    while True:
        steps += 1
        work = tmp_path / str(steps)
        folder, private = work / "Dataset501_A", work / "private"
        old = state(prepared(folder, private).folder)
        (work / "steps").write_text("")

        def kill_at(step: str, last: int = steps, log: Path = work / "steps") -> None:
            with open(log, "a") as file:
                file.write(step + "\n")
            if len(log.read_text().splitlines()) == last:
                os.kill(os.getpid(), signal.SIGKILL)

        status = in_child(lambda f=folder, p=private, k=kill_at: change(Dataset.open(f, private_dir=p, step=k)))
        done = (work / "steps").read_text().splitlines()
        crashed = state(folder)
        assert (crashed != old) == ("committed" in done), "the one commit point"
        again = Dataset.open(folder, private_dir=private)
        assert verify_dataset(again) == []
        assert not list(folder.glob(".staging-*"))
        assert state(folder) == crashed
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        if crashed == old:
            change(again)
        else:
            again.add_case(NewCase(ct(9), labels(9), oblique(), TRUTH))
        assert verify_dataset(again) == []
        assert state(folder) != old
    assert steps > 7, "a real number of steps was tried"


def test_killed_in_the_middle_of_a_file_leaves_the_old_state(tmp_path: Path) -> None:
    folder, private = tmp_path / "Dataset501_A", tmp_path / "private"
    old = state(prepared(folder, private).folder)
    asked = iter(range(100))

    def killed_at_the_ninth_slice() -> bool:
        if next(asked) == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    progress = Progress(cancelled=killed_at_the_ninth_slice)
    dataset = Dataset.open(folder, private_dir=private)
    status = in_child(lambda: dataset.add_case(NewCase(ct(1), labels(1), oblique(), TRUTH), progress=progress) and None)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert list(folder.glob(".staging-*/*.nii.gz")), "it was begun"
    again = Dataset.open(folder, private_dir=private)
    assert state(folder) == old
    assert verify_dataset(again) == []
    assert not list(folder.glob(".staging-*"))


def test_cancelling_leaves_nothing(tmp_path: Path) -> None:
    dataset = prepared(tmp_path / "Dataset501_A", tmp_path / "private")
    old, asked = state(dataset.folder), iter(range(100))
    with pytest.raises(Cancelled):
        dataset.add_case(
            NewCase(ct(1), labels(1), oblique(), TRUTH), progress=Progress(cancelled=lambda: next(asked) == 9)
        )
    assert state(dataset.folder) == old
    assert Dataset.open(dataset.folder, private_dir=tmp_path / "private").swept == ()
    assert not list(dataset.folder.glob(".staging-*"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@CHANGES
def test_an_error_of_the_disk_at_any_step_changes_nothing_and_is_told(
    change: Callable, code: int, tmp_path: Path
) -> None:
    folder, private = tmp_path / "Dataset501_A", tmp_path / "private"
    old = state(prepared(folder, private).folder)
    taken: list[str] = []
    change(Dataset.open(folder, private_dir=private, step=taken.append))
    for last in range(1, taken.index("committed") + 1):
        work = tmp_path / str(last)
        folder = work / "Dataset501_A"
        old = state(prepared(folder, private).folder)
        seen: list[str] = []

        def fail_at(step: str, last: int = last, seen: list[str] = seen) -> None:
            seen.append(step)
            if len(seen) == last:
                raise OSError(code, os.strerror(code))

        dataset = Dataset.open(folder, private_dir=private, step=fail_at)
        with pytest.raises((DatasetError, OSError), match=os.strerror(code)):
            change(dataset)
        assert state(folder) == old
        left = [p.name for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
        assert sorted(left) == [
            "CT_0001.json",
            "CT_0001.nii.gz",
            "CT_0001_0000.nii.gz",
            "dataset.json",
            "schema.1.json",
        ]


def test_a_disk_that_is_really_too_small_changes_nothing_and_is_told(tmp_path: Path) -> None:
    folder, private = tmp_path / "Dataset501_A", tmp_path / "private"
    old = state(prepared(folder, private).folder)
    grid = Geometry((40, 50, 60), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    told = tmp_path / "told"

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        try:
            Dataset.open(folder, private_dir=private).add_case(
                NewCase(ct(3, grid), np.zeros(grid.shape_kji, np.uint8), grid, TRUTH)
            )
        except DatasetError as error:
            told.write_text(str(error))

    assert in_child(work) == 0
    assert "File too large" in told.read_text()
    assert "Nothing was changed" in told.read_text()
    assert state(folder) == old
    assert not list(folder.glob(".staging-*"))
    assert Dataset.open(folder, private_dir=private).swept == ()


def test_creating_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """Killed before the one rename; the next creation beside it removes what is left."""
    folder, private = tmp_path / "Dataset501_A", tmp_path / "private"

    def die(source: object, target: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        transaction.os.rename = die
        Dataset.create(folder, SCHEMA, private_dir=private)

    assert os.WTERMSIG(in_child(work)) == signal.SIGKILL
    assert not folder.exists()
    assert list(tmp_path.glob(".staging-*"))
    Dataset.create(folder, SCHEMA, private_dir=private)
    assert not list(tmp_path.glob(".staging-*"))


def test_migrating_is_whole_or_not_at_all(tmp_path: Path) -> None:
    private = tmp_path / "private"
    dataset = prepared(tmp_path / "Dataset501_A", private)
    add(dataset)
    old = state(dataset.folder)
    calls = iter(range(100))

    def killed_in_the_second_case(stage: str, fraction: float, text: str) -> None:
        if next(calls) == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    target = tmp_path / "Dataset502_B"
    status = in_child(
        lambda: migrate_dataset(dataset, target, BIGGER, progress=Progress(killed_in_the_second_case)) and None
    )
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert not target.exists()
    assert state(dataset.folder) == old
    new = migrate_dataset(dataset, target, BIGGER)
    assert verify_dataset(new) == []
    assert not list(tmp_path.glob(".staging-*"))


def test_everything_is_on_disk_before_the_commit_and_the_commit_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = prepared(tmp_path / "Dataset501_A", tmp_path / "private")
    happened: list[tuple[str, Path]] = []
    sync, rename = transaction.sync_to_disk, os.replace

    def noted_sync(path: Path) -> None:
        happened.append(("sync", path))
        sync(path)

    def noted_rename(source: Path, target: Path) -> None:
        happened.append(("from", Path(source)))
        happened.append(("to", Path(target)))
        rename(source, target)

    monkeypatch.setattr(transaction, "sync_to_disk", noted_sync)
    monkeypatch.setattr(transaction.os, "replace", noted_rename)
    add(dataset)
    update(dataset)
    folder = dataset.folder
    commits = [n for n, what in enumerate(happened) if what == ("to", folder / "dataset.json")]
    assert len(commits) == 2
    for n, (kind, path) in enumerate(happened):
        if kind == "from" and path.parent.parent == folder:
            assert ("sync", path) in happened[:n], "a file is flushed before it gets its name"
        if kind == "to" and path.parent != folder and path.is_relative_to(folder):
            commit = next(c for c in commits if c > n)
            assert ("sync", path.parent) in happened[n:commit], "its name is flushed before the commit"
    for commit in commits:
        assert ("sync", folder) in happened[commit : commit + 2]


def test_two_processes_that_add_at_once_both_succeed(tmp_path: Path) -> None:
    folder, private = tmp_path / "Dataset501_A", tmp_path / "private"
    Dataset.create(folder, SCHEMA, private_dir=private)

    def several(first: int) -> None:
        dataset = Dataset.open(folder, private_dir=private, lock_wait_s=60)
        for seed in range(first, first + 5):
            dataset.add_case(NewCase(ct(seed), labels(seed), oblique(), TRUTH))

    children = []
    for first in (10, 20, 30):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                several(first)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    dataset = Dataset.open(folder, private_dir=private)
    assert sorted(dataset.cases()) == [f"CT_{n:04d}" for n in range(1, 16)]
    assert verify_dataset(dataset) == []
    assert set(dataset.private.sources()) == set(dataset.cases())


def test_two_processes_that_add_the_same_image_make_one_case(tmp_path: Path) -> None:
    folder, private = tmp_path / "Dataset501_A", tmp_path / "private"
    Dataset.create(folder, SCHEMA, private_dir=private)
    first = Dataset.open(folder, private_dir=private)
    second_is_in = False

    def meanwhile(step: str) -> None:
        nonlocal second_is_in
        if step == "staged" and not second_is_in:
            second_is_in = True
            assert first.add_case(NewCase(ct(0), labels(0), oblique(), TRUTH)).added

    saved = Dataset.open(folder, private_dir=private, step=meanwhile).add_case(
        NewCase(ct(0), labels(1), oblique(), TRUTH)
    )
    assert (saved.name, saved.revision, saved.added) == ("CT_0001", 2, False)
    assert np.array_equal(first.open_case("CT_0001").labels.array, labels(1))
    assert verify_dataset(first) == []


def test_a_writer_that_holds_the_lock_is_named(tmp_path: Path) -> None:
    dataset = prepared(tmp_path / "Dataset501_A", tmp_path / "private")
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with transaction.locked(dataset.folder, 5):
                os.write(ready[1], b"x")
                os.read(go[0], 1)
        finally:
            os._exit(0)
    os.read(ready[0], 1)
    try:
        impatient = Dataset.open(dataset.folder, private_dir=tmp_path / "private", lock_wait_s=0.05)
        assert impatient.swept == (), "opening to read works meanwhile"
        assert verify_dataset(impatient) == []
        for change in (add, update, remove):
            with pytest.raises(DatasetError, match=rf"being changed by .* \(process {child}\)"):
                change(impatient)
    finally:
        os.write(go[1], b"x")
        os.waitpid(child, 0)
    add(impatient)


def test_opening_leaves_the_staging_folder_of_a_living_writer_alone(tmp_path: Path) -> None:
    dataset = prepared(tmp_path / "Dataset501_A", tmp_path / "private")
    seen: list[tuple[str, ...]] = []

    def reopen(step: str) -> None:
        if step == "staged" and not seen:
            seen.append(Dataset.open(dataset.folder, private_dir=tmp_path / "private").swept)

    add(Dataset.open(dataset.folder, private_dir=tmp_path / "private", step=reopen))
    assert seen == [()]
    assert verify_dataset(dataset) == []


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write everywhere")
def test_a_dataset_that_may_only_be_read_can_be_opened(tmp_path: Path) -> None:
    dataset = prepared(tmp_path / "Dataset501_A", tmp_path / "private")
    for path in (dataset.folder, *dataset.folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        opened = Dataset.open(dataset.folder, private_dir=tmp_path / "private")
        assert verify_dataset(opened) == []
        with pytest.raises(DatasetError, match="could not be changed"):
            add(opened)
    finally:
        for path in (dataset.folder, *dataset.folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

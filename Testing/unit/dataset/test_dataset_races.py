"""Several processes at once, kills, drives and names: nothing is lost, nobody is told nonsense."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
from dataset_cases import SCHEMA, correction, ct, labels, oblique
from forked import in_child

from activeseg.core.errors import DatasetError
from activeseg.dataset import Dataset, NewCase, Origin, Provenance
from activeseg.dataset.layout import real_folder
from activeseg.dataset.verification import verify_dataset

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks")
TRUTH = Provenance(Origin.TRUTH)


def stored(folder: Path, private: Path, seed: int) -> None:
    with Dataset.opened_or_created(folder, SCHEMA, private_dir=private) as dataset:
        dataset.lock_wait_s = 240.0
        dataset.add_case(NewCase(ct(seed), labels(seed), oblique(), TRUTH))


@pytest.mark.parametrize("name", ["Dataset501_A", "kidneys"])
def test_eight_processes_that_make_the_same_dataset_store_all_of_their_cases(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activeseg.dataset.dataset.LOCK_WAIT_S", 240.0)
    children = []
    for seed in range(8):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                stored(tmp_path / "data" / name, tmp_path / "private", seed)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    dataset = Dataset.open(tmp_path / "data" / name, private_dir=tmp_path / "private")
    assert len(dataset.cases()) == 8
    assert verify_dataset(dataset) == []
    assert len(list((tmp_path / "data").iterdir())) == 1, "one dataset, and nothing beside it"


def test_a_failing_export_does_not_remove_what_another_process_stores(tmp_path: Path) -> None:
    folder, private = tmp_path / "Dataset501_A", tmp_path / "private"
    made = Dataset.opened_or_created(folder, SCHEMA, private_dir=private)
    made.__enter__()
    assert in_child(lambda: stored(folder, private, 1)) == 0
    assert not made.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert len(Dataset.open(folder, private_dir=private).cases()) == 1


def test_a_failing_export_leaves_a_dataset_into_which_another_process_is_about_to_store(tmp_path: Path) -> None:
    folder, private = tmp_path / "Dataset501_A", tmp_path / "private"
    outer = Dataset.opened_or_created(folder, SCHEMA, private_dir=private)
    outer.__enter__()
    with Dataset.opened_or_created(folder, SCHEMA, private_dir=private) as other:
        assert not outer.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        other.add_case(NewCase(ct(1), labels(1), oblique(), TRUTH))
    assert len(Dataset.open(folder, private_dir=private).cases()) == 1


def test_a_failing_export_leaves_no_empty_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset501_A"
    with pytest.raises(ZeroDivisionError), Dataset.opened_or_created(folder, SCHEMA, private_dir=tmp_path / "private"):
        raise ZeroDivisionError
    assert not folder.exists()


@pytest.mark.parametrize("last", ["committed", "journal closed", "removed CT_0002.json"])
def test_a_patient_whose_removal_was_killed_is_forgotten_by_the_next_writer(last: str, tmp_path: Path) -> None:
    folder, private = tmp_path / "Dataset501_A", tmp_path / "private"
    dataset = Dataset.create(folder, SCHEMA, private_dir=private)
    for seed in (0, 1):
        dataset.add_case(NewCase(ct(seed), labels(seed), oblique(), correction(seed), source={"patient": f"P{seed}"}))

    def die(step: str) -> None:
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    killed = in_child(lambda: Dataset.open(folder, private_dir=private, step=die).remove_case("CT_0002"))
    assert os.WTERMSIG(killed) == signal.SIGKILL
    assert verify_dataset(Dataset.open(folder, private_dir=private, only_look=True)) == [], "known waste is no finding"
    again = Dataset.open(folder, private_dir=private)
    if last != "committed":
        assert again.private.sources() == {"CT_0001": {"patient": "P0"}}
    assert sorted(path.name for path in private.iterdir() if path.name.startswith(".activeseg")) == []
    assert verify_dataset(again) == []


def test_a_patient_of_a_case_that_was_never_stored_is_forgotten(tmp_path: Path) -> None:
    folder, private = tmp_path / "Dataset501_A", tmp_path / "private"
    Dataset.create(folder, SCHEMA, private_dir=private)

    def die(step: str) -> None:
        if step.startswith("placed"):
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        dataset = Dataset.open(folder, private_dir=private, step=die)
        dataset.add_case(NewCase(ct(0), labels(0), oblique(), TRUTH, source={"patient": "P"}))

    assert os.WTERMSIG(in_child(work)) == signal.SIGKILL
    again = Dataset.open(folder, private_dir=private)
    assert again.private.sources() == {}
    assert verify_dataset(again) == []


def test_an_empty_staging_folder_of_a_killed_writer_is_swept(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset501_A"
    Dataset.create(folder, SCHEMA, private_dir=tmp_path / "private")
    (folder / f".staging-{'0' * 32}").mkdir()
    beside = tmp_path / f".staging-{'1' * 32}"
    beside.mkdir()
    os.utime(beside, (1, 1))
    assert Dataset.open(folder, private_dir=tmp_path / "private").swept == (f".staging-{'0' * 32}",)
    Dataset.create(tmp_path / "Dataset502_B", SCHEMA, private_dir=tmp_path / "private")
    assert not beside.exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP])
def test_a_drive_without_locks_is_told_and_blames_no_other_program(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    dataset = Dataset.create(tmp_path / "Dataset501_A", SCHEMA, private_dir=tmp_path / "private")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(DatasetError, match="this drive cannot lock files"):
        dataset.add_case(NewCase(ct(0), labels(0), oblique(), TRUTH))


@pytest.mark.parametrize("name", ["con", "NUL", "Com1", "lpt9", "CONIN$", "a:b", "x.", "x ", "aux.nii"])
def test_a_case_gets_no_name_that_windows_cannot_hold(name: str, tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "Dataset501_A", SCHEMA, private_dir=tmp_path / "private")
    with pytest.raises(DatasetError, match="cannot be a case's name"):
        dataset.add_case(NewCase(ct(0), labels(0), oblique(), TRUTH, name=name))
    assert dataset.cases() == {}


def test_a_dataset_is_never_made_under_another_name_than_was_typed_unsaid(tmp_path: Path) -> None:
    typed = tmp_path / "Dataset802_Prüfung ä"
    with pytest.raises(DatasetError, match="'Dataset802_Prufung_a'"):
        Dataset.create(typed, SCHEMA, private_dir=tmp_path / "private")
    assert list(tmp_path.iterdir()) == []
    assert real_folder(typed) == tmp_path / "Dataset802_Prufung_a"
    made = Dataset.create(real_folder(typed), SCHEMA, private_dir=tmp_path / "private")
    assert real_folder(typed) == made.folder
    assert real_folder(tmp_path / "Nierenübung") == tmp_path / "Dataset501_Nierenubung"
    kidneys = Dataset.create(tmp_path / "Nierenübung", SCHEMA, private_dir=tmp_path / "private")
    assert Dataset.open(tmp_path / "Nierenübung", private_dir=tmp_path / "private").folder == kidneys.folder

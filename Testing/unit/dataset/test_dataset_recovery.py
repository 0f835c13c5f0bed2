"""Nothing that somebody confirmed is ever removed by opening, and what is not listed can be taken back."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dataset_cases import SCHEMA, correction, ct, labels, oblique, update_case

from activeseg.core.errors import DatasetError
from activeseg.core.labels import LabelSchema
from activeseg.dataset import Dataset, NewCase, Origin, Provenance
from activeseg.dataset.migration import migrate_dataset
from activeseg.dataset.recovery import recover_dataset
from activeseg.dataset.verification import verify_dataset

TRUTH = Provenance(Origin.TRUTH)


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "dataset.json")
    }


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return tmp_path / "private"


@pytest.fixture
def restored(tmp_path: Path, private: Path) -> Dataset:
    """A dataset of four cases, one corrected twice, whose dataset.json is an older one with the first case alone."""
    dataset = Dataset.create(tmp_path / "Dataset501_A", SCHEMA, private_dir=private)
    dataset.add_case(NewCase(ct(0), labels(0), oblique(), correction(0), source={"patient": "P0"}))
    older = (dataset.folder / "dataset.json").read_bytes()
    for seed in (1, 2, 3):
        dataset.add_case(NewCase(ct(seed), labels(seed), oblique(), correction(seed), source={"patient": f"P{seed}"}))
    update_case(dataset, "CT_0001", labels(9), oblique(), TRUTH)
    (dataset.folder / "dataset.json").write_bytes(older)
    return dataset


def test_an_older_listing_that_was_restored_costs_nothing(restored: Dataset, private: Path) -> None:
    before = hashes(restored.folder)
    for only_look in (True, False):
        opened = Dataset.open(restored.folder, private_dir=private, only_look=only_look)
        assert opened.swept == ()
    assert hashes(restored.folder) == before
    assert opened.unlisted().cases == {"CT_0001": 2, "CT_0002": 1, "CT_0003": 1, "CT_0004": 1}
    assert {case: source["patient"] for case, source in opened.private.sources().items()} == {
        f"CT_000{n + 1}": f"P{n}" for n in range(4)
    }


def test_unlisted_cases_are_taken_back(restored: Dataset, private: Path) -> None:
    before = hashes(restored.folder)
    done = recover_dataset(restored.folder, private_dir=private)
    assert (dict(done.listed), done.lost, done.set_aside) == (
        {"CT_0001": 2, "CT_0002": 1, "CT_0003": 1, "CT_0004": 1},
        {},
        (),
    )
    assert hashes(restored.folder) == before
    again = Dataset.open(restored.folder, private_dir=private)
    assert verify_dataset(again) == []
    assert np.array_equal(again.open_case("CT_0001").labels.array, labels(9))
    assert np.array_equal(again.open_case("CT_0003").labels.array, labels(2))
    assert again.add_case(NewCase(ct(7), labels(7), oblique(), TRUTH)).name == "CT_0005"
    assert not again.add_case(NewCase(ct(2), labels(8), oblique(), TRUTH)).added, "its image is known again"


def test_a_new_case_never_takes_the_files_of_an_unlisted_one(restored: Dataset, private: Path) -> None:
    before = hashes(restored.folder)
    dataset = Dataset.open(restored.folder, private_dir=private)
    assert dataset.add_case(NewCase(ct(8), labels(8), oblique(), TRUTH)).name == "CT_0005"
    with pytest.raises(DatasetError, match=r"the dataset does not list it. Recover"):
        dataset.add_case(NewCase(ct(9), labels(9), oblique(), TRUTH, name="CT_0003"))
    kept = hashes(restored.folder)
    assert before.items() <= kept.items()
    assert [file for file in kept if ".staging" in file] == []
    assert dataset.private.sources()["CT_0003"] == {"patient": "P2"}


@pytest.mark.parametrize("damage", ["{", "[]", '{"activeseg": 5}', "", None], ids=str)
def test_a_damaged_listing_is_made_again(restored: Dataset, private: Path, damage: str | None) -> None:
    listing = restored.folder / "dataset.json"
    listing.unlink()
    if damage is not None:
        listing.write_text(damage)
        with pytest.raises(DatasetError):
            Dataset.open(restored.folder, private_dir=private)
    done = recover_dataset(restored.folder, private_dir=private)
    assert done.rebuilt
    assert sorted(done.listed) == ["CT_0001", "CT_0002", "CT_0003", "CT_0004"]
    again = Dataset.open(restored.folder, private_dir=private)
    assert verify_dataset(again) == []
    assert again.private.path == restored.private.path, "the same dataset, so the same patients"
    kept = [path.read_text() for path in restored.folder.glob("set_aside/*/dataset.json")]
    assert kept == ([] if damage is None else [damage])


def test_a_listing_of_an_earlier_activeseg_is_made_again_without_channels_in_the_schema(
    restored: Dataset, private: Path
) -> None:
    schema = restored.folder / "provenance/schema.1.json"
    schema.write_text(json.dumps({"labels": json.loads(schema.read_text())["labels"]}))
    (restored.folder / "dataset.json").write_text("x")
    done = recover_dataset(restored.folder, private_dir=private)
    assert len(done.listed) == 4
    assert Dataset.open(restored.folder, private_dir=private).private.path == restored.private.path


def test_what_is_not_whole_is_set_aside_and_told(restored: Dataset, private: Path) -> None:
    folder = restored.folder
    (folder / "labelsTr/CT_0002.nii.gz").write_bytes(b"torn")
    (folder / "imagesTr/CT_0003_0000.nii.gz").unlink()
    done = recover_dataset(folder, private_dir=private)
    assert sorted(done.listed) == ["CT_0001", "CT_0004"]
    assert "fingerprint" in done.lost["CT_0002"]
    assert "missing" in done.lost["CT_0003"]
    assert verify_dataset(Dataset.open(folder, private_dir=private)) == []
    kept = sorted(path.name for path in (folder / "set_aside").rglob("*") if path.is_file())
    assert kept == ["CT_0002.json", "CT_0002.nii.gz", "CT_0002_0000.nii.gz", "CT_0003.json", "CT_0003.nii.gz"]
    assert "Not recoverable: CT_0002" in " ".join(done.sentences())


def test_cases_that_waited_wait_again_after_the_listing_was_lost(restored: Dataset, private: Path) -> None:
    recover_dataset(restored.folder, private_dir=private)
    dataset = Dataset.open(restored.folder, private_dir=private)
    bigger = LabelSchema.from_names([*SCHEMA.names, "tumour"])
    new = migrate_dataset(dataset, restored.folder.with_name("Dataset502_B"), bigger, private_dir=private)
    whole = labels(3) % 4
    update_case(new, "CT_0002", whole, oblique(), TRUTH)
    expected = {name: (entry.revision, entry.waiting) for name, entry in new.cases().items()}
    (new.folder / "dataset.json").unlink()
    recover_dataset(new.folder, private_dir=private)
    again = Dataset.open(new.folder, private_dir=private)
    assert {name: (entry.revision, entry.waiting) for name, entry in again.cases().items()} == expected
    assert verify_dataset(again) == []


def test_a_folder_that_is_no_dataset_is_not_made_one(tmp_path: Path) -> None:
    (tmp_path / "Dataset501_A").mkdir()
    with pytest.raises(DatasetError, match="holds no schema"):
        recover_dataset(tmp_path / "Dataset501_A")
    assert list((tmp_path / "Dataset501_A").iterdir()) == []


def test_the_copy_of_a_dataset_that_was_made_before_a_case_was_removed_keeps_it(
    restored: Dataset, private: Path
) -> None:
    copied = restored.folder.with_name("Dataset502_A")
    shutil.copytree(restored.folder, copied)
    recover_dataset(restored.folder, private_dir=private)
    Dataset.open(restored.folder, private_dir=private).remove_case("CT_0003")
    assert "CT_0003" in recover_dataset(copied, private_dir=private).listed

"""Another schema makes another dataset: values follow names, and nobody learns from what nobody annotated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dataset_cases import SCHEMA, correction, ct, labels, oblique, update_case

from activeseg.core.errors import DatasetError, InputError
from activeseg.core.labels import LabelSchema
from activeseg.dataset import Dataset, NewCase, Origin, Provenance
from activeseg.dataset.migration import migrate_dataset
from activeseg.dataset.verification import verify_dataset

TRUTH = Provenance(Origin.TRUTH)
WITH_TUMOUR = LabelSchema.from_names(["tumour", "liver", "spleen", "kidney"])


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = Dataset.create(tmp_path / "Dataset501_Old", SCHEMA, private_dir=tmp_path / "private")
    for seed in range(3):
        made.add_case(NewCase(ct(seed), labels(seed), oblique(), correction(seed), source={"path": f"/ct/{seed}"}))
    update_case(made, "CT_0002", labels(7), oblique(), TRUTH)
    return made


def content(dataset: Dataset) -> dict:
    return json.loads((dataset.folder / "dataset.json").read_text())


def by_name(dataset: Dataset, case: str) -> np.ndarray:
    """The label map in words."""
    names = np.array([dataset.schema.name_of(v) for v in range(dataset.schema.ignore_value + 1)])
    return names[dataset.open_case(case).labels.array]


def test_values_follow_names_ignore_moves_and_the_old_dataset_stays(dataset: Dataset, tmp_path: Path) -> None:
    before = (dataset.folder / "dataset.json").read_bytes()
    reordered = LabelSchema.from_names(["kidney", "spleen", "liver"])
    new = migrate_dataset(dataset, tmp_path / "Dataset502_New", reordered)
    for case in dataset.cases():
        assert np.array_equal(by_name(new, case), by_name(dataset, case))
        assert np.array_equal(new.open_case(case).images["CT"].array, dataset.open_case(case).images["CT"].array)
    assert verify_dataset(new) == []
    assert verify_dataset(dataset) == []
    assert (dataset.folder / "dataset.json").read_bytes() == before
    assert content(new)["numTraining"] == 3
    assert content(new)["labels"] == {"background": 0, "kidney": 1, "spleen": 2, "liver": 3, "ignore": 4}


def test_history_and_private_file_go_along(dataset: Dataset, tmp_path: Path) -> None:
    new = migrate_dataset(dataset, tmp_path / "Dataset502_New", WITH_TUMOUR)
    record = new.record("CT_0002")
    assert [(r.number, r.schema) for r in record.history] == [(1, 1), (2, 1)]
    assert (record.current.number, record.current.schema) == (3, 2)
    assert new.schema_of(record.history[0]) == SCHEMA
    assert record.history[0].provenance == correction(1)
    old_label = (dataset.folder / "labelsTr/CT_0002.r2.nii.gz").read_bytes()
    assert (new.folder / record.history[1].label.file).read_bytes() == old_label
    assert new.private.sources()["CT_0003"] == {"path": "/ct/2"}
    again = migrate_dataset(new, tmp_path / "Dataset503_Again", SCHEMA)
    assert verify_dataset(again) == []
    assert [r.schema for r in again.record("CT_0001").history] == [1, 2]


def test_cases_wait_outside_of_training_until_the_new_structure_is_annotated(dataset: Dataset, tmp_path: Path) -> None:
    new = migrate_dataset(dataset, tmp_path / "Dataset502_New", WITH_TUMOUR)
    assert {entry.waiting for entry in new.cases().values()} == {("tumour",)}
    assert (content(new)["numTraining"], content(new)["dataset"]) == (0, {})
    opened = new.open_case("CT_0001")
    assert opened.waiting == ("tumour",)
    assert np.array_equal(by_name(new, "CT_0001"), by_name(dataset, "CT_0001"))
    without = Provenance(Origin.CORRECTED, decided=("liver", "spleen", "kidney"))
    with pytest.raises(DatasetError, match=r"1 of the dataset's 4 .*tumour"):
        update_case(new, "CT_0001", opened.labels.array, opened.labels.geometry, without)
    edited = opened.labels.array.copy()
    edited[0, 0, 0] = 1
    update_case(new, "CT_0001", edited, opened.labels.geometry, TRUTH)
    assert list(content(new)["dataset"]) == ["CT_0001"]
    assert content(new)["numTraining"] == 1
    assert new.cases()["CT_0001"].waiting == ()
    assert new.add_case(NewCase(ct(9), labels(9), oblique(), TRUTH)).added
    assert list(content(new)["dataset"]) == ["CT_0001", "CT_0004"]
    assert verify_dataset(new) == []


def test_the_same_image_exported_again_ends_the_waiting_too(dataset: Dataset, tmp_path: Path) -> None:
    new = migrate_dataset(dataset, tmp_path / "Dataset502_New", WITH_TUMOUR)
    assert not new.add_case(NewCase(ct(0), labels(0), oblique(), TRUTH)).added
    assert new.cases()["CT_0001"].waiting == ()


def test_renaming_is_not_adding_and_merging_is_allowed(dataset: Dataset, tmp_path: Path) -> None:
    merged = LabelSchema.from_names(["upper organs", "kidney"])
    new = migrate_dataset(
        dataset, tmp_path / "Dataset502_New", merged, rename={"liver": "upper organs", "spleen": "upper organs"}
    )
    assert {entry.waiting for entry in new.cases().values()} == {()}
    old = by_name(dataset, "CT_0001")
    expected = np.where(np.isin(old, ["liver", "spleen"]), "upper organs", old)
    assert np.array_equal(by_name(new, "CT_0001"), expected)


def test_a_removed_structure_becomes_background_and_ends_waiting_for_it(dataset: Dataset, tmp_path: Path) -> None:
    new = migrate_dataset(dataset, tmp_path / "Dataset502_New", WITH_TUMOUR)
    fewer = migrate_dataset(new, tmp_path / "Dataset503_Fewer", LabelSchema.from_names(["liver", "kidney"]))
    old = by_name(dataset, "CT_0001")
    assert np.array_equal(by_name(fewer, "CT_0001"), np.where(old == "spleen", "background", old))
    assert {entry.waiting for entry in fewer.cases().values()} == {()}
    assert verify_dataset(fewer) == []


def test_waiting_goes_on_under_a_new_name(dataset: Dataset, tmp_path: Path) -> None:
    new = migrate_dataset(dataset, tmp_path / "Dataset502_New", WITH_TUMOUR)
    renamed = LabelSchema.from_names(["liver", "spleen", "kidney", "lesion"])
    newer = migrate_dataset(new, tmp_path / "Dataset503_Newer", renamed, rename={"tumour": "lesion"})
    assert {entry.waiting for entry in newer.cases().values()} == {("lesion",)}


def test_unknown_names_and_taken_folders_are_refused_before_any_work(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no structure 'livr'"):
        migrate_dataset(dataset, tmp_path / "Dataset502_New", SCHEMA, rename={"livr": "liver"})
    with pytest.raises(InputError, match="no structure 'lever'"):
        migrate_dataset(dataset, tmp_path / "Dataset502_New", SCHEMA, rename={"liver": "lever"})
    with pytest.raises(DatasetError, match="not empty"):
        migrate_dataset(dataset, dataset.folder, SCHEMA)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Dataset501_Old", "private"]

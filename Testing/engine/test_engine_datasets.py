"""Datasets through a real engine: from a segmentation to a stored correction, and what becomes of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_engine import DEADLINE_S, WatchedEngine, array_message, in_memory, noise_ct

from activeseg.client.messages.images import ArrayFile
from activeseg.core.errors import Crashed, DatasetError, InputError
from activeseg.core.labels import LabelSchema
from activeseg.core.records import from_json
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset
from activeseg.io.images import write_volume
from activeseg.io.npy import read_array
from activeseg.io.seg_nrrd import write_segmentation

STRUCTURES = ["one", "two"]
SCHEMA = {
    "labels": [
        {"value": n, "name": name, "color": [200, 10 * n, 0], "terminology": None}
        for n, name in enumerate(STRUCTURES, start=1)
    ]
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedEngine]:
    with WatchedEngine(tmp_path_factory.mktemp("engine") / "home") as started:
        yield started


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Any]:
    """Where the dataset and its private file go."""
    return {"dataset": str(tmp_path / "Dataset801_Test"), "private_dir": str(tmp_path / "private")}


@pytest.fixture
def ct() -> Volume:
    return noise_ct((20, 24, 28), spacing=2.0)


def truth(ct: Volume) -> Volume:
    labels = np.zeros(ct.array.shape, np.uint8)
    labels[4:10, 4:12, 4:12], labels[10:15, 8:20, 8:20] = 1, 2
    return Volume(labels, ct.geometry)


def add(engine: WatchedEngine, place: dict[str, Any], ct: Volume, name: str = "ct") -> Any:
    images = {"CT": in_memory(engine, ct, name)}
    labels = in_memory(engine, truth(ct), f"{name}_labels")
    return engine.do("dataset.add", {**place, "images": images, "labels": labels})


def test_a_dataset_is_made_filled_shown_opened_and_emptied(
    engine: WatchedEngine, place: dict[str, Any], ct: Volume
) -> None:
    assert engine.do("dataset.create", {**place, "schema": SCHEMA})["dataset"] == place["dataset"]
    added = add(engine, place, ct)
    assert (added["case"], added["revision"], added["added"]) == ("CT_0001", 1, True)
    shown = engine.do("dataset.show", place)
    assert [label["name"] for label in shown["schema"]["labels"]] == STRUCTURES
    assert shown["cases"] == {"CT_0001": {"revision": 1, "waiting": []}}
    assert engine.do("dataset.verify", place)["findings"] == []
    job = engine.submit("dataset.open", {**place, "case": "CT_0001"})
    opened = engine.wait(job, DEADLINE_S)
    image, labels = from_json(ArrayFile, opened["images"]["CT"]).read(), from_json(ArrayFile, opened["labels"]).read()
    assert np.array_equal(image.array, ct.array)
    assert np.array_equal(labels.array, truth(ct).array)
    assert labels.geometry.same_grid(ct.geometry)
    engine.do("job.release", {"job": job})
    engine.do("dataset.remove", {**place, "case": "CT_0001"})
    assert engine.do("dataset.show", place)["cases"] == {}
    assert engine.scratch_entries() == set()


def test_segments_of_a_file_are_read_by_name_and_values_that_were_numbered_anew_are_refused(
    engine: WatchedEngine, place: dict[str, Any], ct: Volume, tmp_path: Path
) -> None:
    engine.do("dataset.create", {**place, "schema": SCHEMA})
    swapped = LabelSchema.from_names(STRUCTURES[::-1])
    labels = truth(ct).array
    path = tmp_path / "truth.seg.nrrd"
    write_segmentation(path, np.array([0, 2, 1], np.uint8)[labels], ct.geometry, swapped)
    images = {"CT": in_memory(engine, ct)}
    assert engine.do("dataset.add", {**place, "images": images, "labels": str(path)})["case"] == "CT_0001"
    stored = Dataset.open(place["dataset"], private_dir=Path(place["private_dir"])).open_case("CT_0001").labels
    assert np.array_equal(stored.array, labels)
    write_volume(Volume(np.array([0, 2, 1], np.uint8)[labels], ct.geometry), tmp_path / "anew.nii.gz")
    wish = {**place, "images": {"CT": in_memory(engine, ct, "again")}, "labels": str(tmp_path / "anew.nii.gz")}
    with pytest.raises(InputError, match=r"'one' seems to be 2, 'two' seems to be 1"):
        engine.do("dataset.add", wish)
    named = engine.do("dataset.add", {**wish, "schema": swapped.to_dict()})
    assert named["revision"] == 2
    stored = Dataset.open(place["dataset"], private_dir=Path(place["private_dir"])).open_case("CT_0001").labels
    assert np.array_equal(stored.array, labels)


def test_a_dataset_is_migrated_to_more_structures(
    engine: WatchedEngine, place: dict[str, Any], ct: Volume, tmp_path: Path
) -> None:
    engine.do("dataset.create", {**place, "schema": SCHEMA})
    add(engine, place, ct)
    third = {"value": 3, "name": "three", "color": [0, 0, 9], "terminology": None}
    target = str(tmp_path / "Dataset802_More")
    wish = {**place, "target": target, "schema": {"labels": [*SCHEMA["labels"], third]}}
    assert engine.do("dataset.migrate", wish)["cases"] == 1
    shown = engine.do("dataset.show", {**place, "dataset": target})
    assert shown["cases"]["CT_0001"]["waiting"] == ["three"]


def test_a_correction_in_memory_is_exported(engine: WatchedEngine, ct: Volume, tmp_path: Path) -> None:
    """The panel's way: image and edited label map as arrays, the prediction as a folder."""
    path, output = tmp_path / "ct.nii.gz", tmp_path / "prediction"
    write_volume(ct, path)
    job = engine.submit("segment", {"model": "hounsfield", "image": str(path), "output": str(output), "regions": 3})
    result = engine.wait(job, DEADLINE_S)
    labels = read_array(result["labels"])
    labels[8:10, 8:12, 8:12] = 1
    edited = array_message(Path(engine.client.engine["inbox"]) / "edited.npy", Volume(labels, ct.geometry))
    wish = {
        "prediction": str(output),
        "edited": edited,
        "dataset": str(tmp_path / "Dataset803_Edited"),
        "review": "all",
        "annotator": "A. Reader",
        "seconds": 12.5,
        "private_dir": str(tmp_path / "private"),
    }
    exported = engine.do("export", wish)
    assert (exported["case"], exported["added"]) == ("CT_0001", True)
    assert exported["sentences"]
    opened = Dataset.open(exported["dataset"]).open_case("CT_0001")
    assert np.array_equal(opened.images["CT"].array, ct.array)
    engine.do("job.release", {"job": job})
    again = engine.do("export", {**wish, "images": {"CT": in_memory(engine, ct)}})
    assert (again["case"], again["added"], again["revision"]) == ("CT_0001", False, 2)


def test_errors_of_datasets_keep_their_kind(engine: WatchedEngine, place: dict[str, Any], ct: Volume) -> None:
    with pytest.raises(DatasetError):
        engine.do("dataset.show", place)
    engine.do("dataset.create", {**place, "schema": SCHEMA})
    with pytest.raises(DatasetError, match="CT_0009"):
        engine.do("dataset.open", {**place, "case": "CT_0009"})
    with pytest.raises(InputError, match="label schema"):
        engine.do("dataset.create", {"dataset": "/x", "schema": {"labels": [{"value": "?"}]}})
    with pytest.raises(InputError, match="CT"):
        engine.do("dataset.add", {**place, "images": {"MR": in_memory(engine, ct)}, "labels": in_memory(engine, ct)})
    with pytest.raises(InputError, match="names no image"):
        engine.do("dataset.add", {**place, "images": {}, "labels": "labels.nii.gz"})


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_worker_that_is_killed_while_it_writes_leaves_the_dataset_clean(
    engine: WatchedEngine, place: dict[str, Any], ct: Volume
) -> None:
    engine.do("dataset.create", {**place, "schema": SCHEMA})
    large = noise_ct((160, 160, 160), seed=5)
    images = {"CT": in_memory(engine, large, "large")}
    labels = in_memory(engine, Volume(np.ones(large.array.shape, np.uint8), large.geometry), "large_labels")
    job = engine.submit("dataset.add", {**place, "images": images, "labels": labels})
    engine.until_stage(job, "store")
    engine.child("worker").send_signal(signal.SIGKILL)
    assert isinstance(engine.failure(job).error, Crashed)
    assert engine.do("dataset.show", place)["cases"] == {}
    folder = Path(place["dataset"])
    assert [path.name for path in folder.rglob("*.nii.gz")] == []
    assert [path.name for path in folder.iterdir() if path.name.startswith(".staging")] == []
    assert add(engine, place, ct)["case"] == "CT_0001"

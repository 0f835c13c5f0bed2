"""The label before the views, drafts that outlive a crash, and exports that only say what they would do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunet_models import make_model
from running_engine import DEADLINE_S, WatchedEngine, array_message, in_memory, noise_ct

from activeseg.client.engine_client import LabelEvent, NoticeEvent, ProgressEvent, Result
from activeseg.client.messages.images import ArrayFile
from activeseg.core.errors import Cancelled, DatasetError, InputError
from activeseg.core.geometry import Geometry
from activeseg.core.progress import Progress
from activeseg.core.records import from_json
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.corrections.drafts import Draft
from activeseg.dataset import Dataset
from activeseg.dataset.verification import verify_dataset
from activeseg.engine.jobs import descent, segmenting
from activeseg.engine.worker.kept import Keeping, keep
from activeseg.engine.worker.requests import read_request
from activeseg.engine.worker.worker import Job
from activeseg.io.npy import read_array
from activeseg.predictions.make_prediction import segment
from activeseg.predictions.prediction import Prediction

LABELS = {"background": 0, "one": 1, "two": 2, "three": 3}
VIEWS = {"members": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single trained member, so that all others are views."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny", LABELS, spacing=(4.0,) * 3, patch=(24, 32, 32))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedEngine]:
    with WatchedEngine(tmp_path_factory.mktemp("engine") / "home") as started:
        yield started


@pytest.fixture
def ct() -> Volume:
    return noise_ct()


@pytest.fixture
def draft(tmp_path: Path) -> str:
    return str(tmp_path / "drafts" / "a1")


def wish(model: Path, image: Any, **more: Any) -> dict[str, Any]:
    return {"model": f"nnunet:{model}", "image": image, "regions": 3, **more}


def inbox(engine: WatchedEngine, array: np.ndarray, name: str) -> str:
    path = Path(engine.client.engine["inbox"]) / f"{name}.npy"
    np.save(path, array)
    return str(path)


def layers(engine: WatchedEngine, value: int = 1) -> dict[str, Any]:
    array = np.full((3, 4, 5), value, np.uint8)
    return {"json": {"value": value}, "arrays": [inbox(engine, array, f"layer{value}")]}


def release_all(engine: WatchedEngine) -> None:
    for entry in engine.do("jobs.list")["jobs"]:
        engine.do("job.release", {"job": entry["job"]})
    assert engine.scratch_entries() == set()


def label_of(engine: WatchedEngine, job: str) -> LabelEvent:
    (label,) = [event for event in engine.events if isinstance(event, LabelEvent) and event.job == job]
    return label


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_the_label_is_told_before_the_end_and_is_the_results(engine: WatchedEngine, ct: Volume, tmp_path: Path) -> None:
    output = tmp_path / "out"
    engine.events.clear()
    job = engine.submit("segment", {"model": "demo", "image": in_memory(engine, ct), "output": str(output)})
    result = engine.wait(job, DEADLINE_S)
    label = label_of(engine, job)
    answer = next(event for event in engine.events if isinstance(event, Result) and event.id == job)
    assert engine.events.index(label) < engine.events.index(answer)
    assert label.result == {**result, "prediction": None}
    assert result["prediction"] == str(output)
    release_all(engine)


def test_views_vote_after_the_label_was_told(engine: WatchedEngine, model: Path, ct: Volume, draft: str) -> None:
    engine.events.clear()
    more = {"settings": VIEWS, "label_first": True, "draft": draft}
    job = engine.submit("segment", wish(model, in_memory(engine, ct), **more))
    result = engine.wait(job, DEADLINE_S)
    label = label_of(engine, job)
    at = engine.events.index(label)
    later = [event.stage for event in engine.events[at:] if isinstance(event, ProgressEvent) and event.job == job]
    assert "network" in later
    assert [member["name"] for member in label.result["record"]["members"]] == ["fold 0"]
    assert [member["kind"] for member in result["record"]["members"]] == ["trained", "view", "view", "view"]
    assert set(label.result["measures"]) == {"entropy"}
    assert set(result["measures"]) == {"entropy", "variance", "mutual_information"}
    assert label.result["regions"]
    assert (Path(label.result["regions_folder"]) / "alternatives.npz").is_file()
    assert np.array_equal(read_array(label.result["labels"]), read_array(result["labels"]))
    assert label.result.keys() == result.keys()
    base = Draft.open(Path(draft)).read_base()
    assert isinstance(base, Prediction)
    assert len(base.members) == 4
    assert np.array_equal(base.labels.array, read_array(result["labels"]))
    plain = engine.submit("segment", wish(model, in_memory(engine, ct), settings={"members": 1, "device": "cpu"}))
    alone = engine.wait(plain, DEADLINE_S)
    assert np.array_equal(read_array(alone["labels"]), read_array(label.result["labels"]))
    assert Geometry.from_dict(label.result["geometry"]) == ct.geometry
    release_all(engine)


def test_without_views_there_is_one_pass_and_one_label(
    engine: WatchedEngine, model: Path, ct: Volume, draft: str
) -> None:
    engine.events.clear()
    more = {"settings": {"members": 1, "usage_statistics": True}, "label_first": True, "draft": draft}
    job = engine.submit("segment", wish(model, in_memory(engine, ct), **more))
    result = engine.wait(job, DEADLINE_S)
    assert label_of(engine, job).result == result
    assert result["record"]["settings"]["usage_statistics"] is True
    assert Draft.open(Path(draft)).read_images()["CT"].sha256() == ct.sha256()
    release_all(engine)


def test_cancelling_the_views_leaves_the_draft_with_the_label(engine: WatchedEngine, model: Path, draft: str) -> None:
    ct = noise_ct((96, 112, 112))
    more = {"settings": {"members": 9, "device": "cpu"}, "label_first": True, "draft": draft}
    engine.events.clear()
    job = engine.submit("segment", wish(model, in_memory(engine, ct), **more))
    engine.until(lambda event: isinstance(event, LabelEvent))
    labels = read_array(label_of(engine, job).result["labels"])
    engine.until_stage(job, "network")
    engine.cancel(job)
    assert isinstance(engine.failure(job).error, Cancelled)
    assert engine.scratch_entries() == set()
    opened = engine.do("draft.open", {"draft": draft})
    assert np.array_equal(read_array(opened["labels"]), labels)
    assert [member["name"] for member in opened["record"]["members"]] == ["fold 0"]
    release_all(engine)


def test_without_memory_for_views_the_label_is_the_answer(
    model: Path, ct: Volume, draft: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, so that the views can be told that the memory is not enough."""

    def short(images: Any, segmenter: Any, settings: Settings, *more: Any) -> Prediction:
        if settings.members != 1:
            raise MemoryError
        runs.append(settings)
        return segment(images, segmenter, settings, *more)

    monkeypatch.setattr(descent, "segment_images", short)
    runs: list[Settings] = []
    labels: list[Any] = []
    notices: list[str] = []
    image = array_message(tmp_path / "ct.npy", ct)
    request = read_request("segment", wish(model, image, settings=VIEWS, label_first=True, draft=draft))
    job = Job(tmp_path / "job", Progress(), notices.append, lambda estimate: None, labels.append)
    job.folder.mkdir()
    kept = keep(Keeping(tmp_path, 1 << 30, 0), lambda **said: None)
    result = segmenting.segment(request, job, kept)
    assert len(runs) == 1, "what is known is not computed again"
    assert len(labels) == 1
    assert [member["name"] for member in result.record["members"]] == ["fold 0"]
    assert "no views" in result.fallbacks[-1]
    assert any("Not enough memory" in notice for notice in notices)
    assert read_array(result.labels).shape == ct.array.shape
    assert replace(result, fallbacks=(), peak_bytes=0) == replace(labels[0], fallbacks=(), peak_bytes=0)


def test_a_draft_that_cannot_be_stored_does_not_cost_the_segmentation(
    engine: WatchedEngine, ct: Volume, tmp_path: Path
) -> None:
    (tmp_path / "drafts").write_text("a file, where a folder should be")
    engine.events.clear()
    params = {"model": "hounsfield", "image": in_memory(engine, ct), "draft": str(tmp_path / "drafts" / "a1")}
    job = engine.submit("segment", params)
    assert engine.wait(job, DEADLINE_S)["labels"]
    (notice,) = [event for event in engine.events if isinstance(event, NoticeEvent) and event.job == job]
    assert "The draft could not be saved" in notice.text
    release_all(engine)


def test_edits_are_saved_listed_opened_and_discarded(engine: WatchedEngine, ct: Volume, draft: str) -> None:
    folder = str(Path(draft).parent)
    assert engine.do("draft.list", {"folder": folder}) == {"drafts": []}
    job = engine.submit("segment", {"model": "hounsfield", "image": in_memory(engine, ct), "draft": draft})
    result = engine.wait(job, DEADLINE_S)
    (listed,) = engine.do("draft.list", {"folder": folder})["drafts"]
    assert (listed["id"], listed["draft"], listed["has_edits"], listed["state"]) == ("a1", draft, False, {})
    state = {"name": "Case", "regions": {"1": "accepted"}}
    entries = [{**entry, "state": "accepted"} for entry in result["regions"]]
    regions = {"entries": entries, "alternatives": str(Path(result["regions_folder"]) / "alternatives.npz")}
    saved = engine.do("draft.save", {"draft": draft, "state": state, "layers": layers(engine), "regions": regions})
    (listed,) = engine.do("draft.list", {"folder": folder})["drafts"]
    assert listed == saved
    assert (listed["has_edits"], listed["state"]) == (True, state)
    assert listed["bytes"] > ct.array.nbytes
    engine.do("draft.save", {"draft": draft, "state": state, "layers": layers(engine, 7), "has_edits": False})
    opening = engine.submit("draft.open", {"draft": draft})
    opened = engine.wait(opening, DEADLINE_S)
    assert not opened["has_edits"]
    assert opened["layers"]["json"] == {"value": 7}
    assert np.array_equal(read_array(opened["layers"]["arrays"][0]), np.full((3, 4, 5), 7, np.uint8))
    assert np.array_equal(from_json(ArrayFile, opened["image"]).read().array, ct.array)
    assert Geometry.from_dict(opened["image"]["geometry"]) == Geometry.from_dict(opened["geometry"]) == ct.geometry
    assert np.array_equal(read_array(opened["labels"]), read_array(result["labels"]))
    known = ("model", "members", "schema", "decided", "images", "created", "settings", "threshold")
    assert {key: opened["record"][key] for key in known} == {key: result["record"][key] for key in known}
    assert opened["regions"] == result["regions"], "saved without regions, it has the prediction's"
    assert (Path(opened["regions_folder"]) / "alternatives.npz").is_file()
    assert opened["measures"].keys() == {result["record"]["measure"]}
    release_all(engine)
    assert engine.do("draft.discard", {"draft": draft})["discarded"]
    assert not engine.do("draft.discard", {"draft": draft})["discarded"]
    assert engine.do("draft.list", {"folder": folder}) == {"drafts": []}
    with pytest.raises(InputError, match="no draft"):
        engine.do("draft.open", {"draft": draft})


def test_a_draft_is_saved_while_a_segmentation_runs(engine: WatchedEngine, model: Path, ct: Volume, draft: str) -> None:
    first = engine.submit("segment", {"model": "hounsfield", "image": in_memory(engine, ct), "draft": draft})
    engine.wait(first, DEADLINE_S)
    job = engine.submit("segment", wish(model, in_memory(engine, noise_ct((96, 112, 112))), settings={"members": 9}))
    engine.until_stage(job, "network")
    engine.do("draft.save", {"draft": draft, "layers": layers(engine)})
    running = [entry for entry in engine.do("jobs.list")["jobs"] if entry["job"] == job]
    assert running[0]["state"] == "running"
    engine.do("cancel", {"job": job})
    assert isinstance(engine.failure(job).error, Cancelled)
    release_all(engine)


def scene_base(engine: WatchedEngine, result: dict[str, Any], ct: Volume) -> dict[str, Any]:
    """What a scene keeps of a result."""
    uncertainty = result["measures"][result["record"]["measure"]]
    return {
        "record": result["record"],
        "labels": {"array": result["labels"], "geometry": result["geometry"]},
        "uncertainty": {"array": uncertainty, "geometry": result["measures_geometry"]},
        "regions": {
            "entries": result["regions"],
            "alternatives": str(Path(result["regions_folder"]) / "alternatives.npz"),
        },
        "image": in_memory(engine, ct, "scene_ct"),
    }


def test_a_scene_that_came_from_elsewhere_brings_its_base(
    engine: WatchedEngine, ct: Volume, draft: str, tmp_path: Path
) -> None:
    job = engine.submit("segment", {"model": "hounsfield", "image": in_memory(engine, ct), "regions": 3})
    result = engine.wait(job, DEADLINE_S)
    with pytest.raises(InputError, match="no draft") as caught:
        engine.do("draft.save", {"draft": draft, "layers": layers(engine)})
    assert caught.value.details == {"missing": "base"}
    base = scene_base(engine, result, ct)
    engine.do("draft.save", {"draft": draft, "layers": layers(engine), "base": base})
    opened = engine.do("draft.open", {"draft": draft})
    assert np.array_equal(read_array(opened["labels"]), read_array(result["labels"]))
    measure = result["record"]["measure"]
    assert np.array_equal(read_array(opened["measures"][measure]), read_array(result["measures"][measure]))
    assert opened["regions"] == result["regions"]
    labels = read_array(result["labels"])
    labels[8:10, 8:12, 8:12] = 1
    edited = {"array": inbox(engine, labels, "edited"), "geometry": ct.geometry.to_dict()}
    params = {"draft": draft, "edited": edited, "dataset": str(tmp_path / "Dataset801_A"), "review": "all"}
    exported = engine.do("export", {**params, "private_dir": str(tmp_path / "private")})
    stored = Dataset.open(exported["dataset"]).open_case(exported["case"])
    assert np.array_equal(stored.images["CT"].array, ct.array)
    assert np.array_equal(stored.labels.array, labels)
    release_all(engine)


def test_an_export_that_is_not_to_store_says_the_same_and_touches_nothing(
    engine: WatchedEngine, ct: Volume, draft: str, tmp_path: Path
) -> None:
    job = engine.submit("segment", {"model": "hounsfield", "image": in_memory(engine, ct), "draft": draft})
    labels = read_array(engine.wait(job, DEADLINE_S)["labels"])
    labels[8:10, 8:12, 8:12] = 1
    release_all(engine)
    edited = array_message(Path(engine.client.engine["inbox"]) / "edited.npy", Volume(labels, ct.geometry))
    params = {
        "draft": draft,
        "edited": edited,
        "dataset": str(tmp_path / "Dataset801_A"),
        "private_dir": str(tmp_path / "private"),
    }

    def asked() -> Any:
        before = contents(tmp_path)
        told = engine.do("export", {**params, "store": False})
        assert contents(tmp_path) == before
        assert told["case"] is told["revision"] is told["added"] is None
        return told

    told = asked()
    assert "will be made" in told["sentences"][-1]
    stored = engine.do("export", params)
    assert stored.keys() == told.keys()
    assert {key: stored[key] for key in ("dataset", "correction", "training")} == {
        key: told[key] for key in ("dataset", "correction", "training")
    }
    assert stored["sentences"][:-1] == told["sentences"][:-1]
    assert "CT_0001 already: its label map will be updated" in asked()["sentences"][-1]
    other = {"labels": [{"value": 1, "name": "tumour", "color": [1, 2, 3], "terminology": None}]}
    made = engine.do("dataset.create", {"dataset": str(tmp_path / "Dataset802_B"), "schema": other})["dataset"]
    before = contents(tmp_path)
    with pytest.raises(DatasetError):
        engine.do("export", {**params, "dataset": made, "store": False})
    assert contents(tmp_path) == before


def test_a_case_that_was_opened_again_is_corrected_further(
    engine: WatchedEngine, ct: Volume, draft: str, tmp_path: Path
) -> None:
    names = ["one", "two"]
    schema = {
        "labels": [
            {"value": n, "name": name, "color": [200, n, 0], "terminology": None} for n, name in enumerate(names, 1)
        ]
    }
    place = {"dataset": str(tmp_path / "Dataset801_A"), "private_dir": str(tmp_path / "private")}
    truth = np.zeros(ct.array.shape, np.uint8)
    truth[8:16, 8:16, 8:16], truth[20:24, 8:16, 8:16] = 1, 3  # ignore
    engine.do("dataset.create", {**place, "schema": schema})
    images = {"CT": in_memory(engine, ct)}
    engine.do("dataset.add", {**place, "images": images, "labels": in_memory(engine, Volume(truth, ct.geometry), "t")})
    opened = engine.do("dataset.open", {**place, "case": "CT_0001"})
    assert opened["revision"] == 1
    origin = {"dataset": place["dataset"], "case": "CT_0001"}
    base = {
        "record": {"schema": opened["schema"], "decided": names, "origin": origin},
        "labels": opened["labels"],
        "image": opened["images"]["CT"],
    }
    engine.do("draft.save", {"draft": draft, "layers": layers(engine), "base": base})
    again = engine.do("draft.open", {"draft": draft})
    assert (again["record"]["origin"], again["record"]["decided"], again["regions"]) == (origin, names, [])
    edited = from_json(ArrayFile, opened["labels"]).read().array
    edited[8:16, 8:16, 16:20] = 2
    params = {**place, "draft": draft, "edited": in_memory(engine, Volume(edited, ct.geometry), "edited")}
    assert "its label map will be updated" in engine.do("export", {**params, "store": False})["sentences"][-1]
    everything = engine.do("export", {**params, "store": False, "review": "all"})["sentences"]
    assert any("256 voxels stay ignored although all was reviewed" in sentence for sentence in everything)
    erased = in_memory(engine, Volume(np.where(edited == 3, 0, edited), ct.geometry), "erased")
    without = engine.do("export", {**params, "edited": erased, "store": False, "review": "all"})["sentences"]
    assert "256 voxels that were ignored count as background now." in without
    assert not any("stay ignored" in sentence for sentence in without)
    exported = engine.do("export", {**params, "annotator": "A. Reader"})
    assert (exported["case"], exported["revision"], exported["added"]) == ("CT_0001", 2, False)
    dataset = Dataset.open(place["dataset"], private_dir=tmp_path / "private")
    assert np.array_equal(dataset.open_case("CT_0001").labels.array, edited), "what was ignored stays ignored"
    record = dataset.record("CT_0001")
    assert record.current.provenance.origin == "corrected"
    assert record.current.provenance.replaces == record.history[0].number == 1
    assert record.current.provenance.correction["structures"][0]["name"] == "two"
    assert record.history[0].provenance.origin == "truth"
    assert record.history[0].provenance.replaces is None
    assert verify_dataset(dataset) == []
    release_all(engine)

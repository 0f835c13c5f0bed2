"""Jobs of a real engine: segment, warm models, progress, cancel at any moment, crashes, the queue."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunet_models import make_model
from processes import soon_gone
from running_engine import DEADLINE_S, WatchedEngine, in_memory, noise_ct

from activeseg.client.engine_client import EstimateEvent, Failure, ProgressEvent
from activeseg.client.launch import EngineOptions
from activeseg.core.errors import Cancelled, Crashed, DeviceError, InputError, ModelError
from activeseg.core.geometry import Geometry
from activeseg.core.progress import Progress
from activeseg.core.records import to_json
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.volume import Volume
from activeseg.io.images import write_volume
from activeseg.io.npy import read_array
from activeseg.predictions.make_prediction import segment
from activeseg.predictions.prediction import Prediction
from activeseg.predictions.region_files import read_regions
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter

LABELS = {"background": 0, "one": 1, "two": 2, "three": 3}
WITHIN_S = 30.0  # seconds are the benchmark's business; this only tells a stop from a job run to its end
"""From cancel to its answer; the design says 2 s, which the benchmark measures on a quiet machine."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A four-member network whose grid is coarser than the images, so that labels are resampled."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return make_model(folder, LABELS, spacing=(4.0, 4.0, 4.0), patch=(24, 32, 32), folds=(0, 1, 2, 3))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedEngine]:
    """One engine for the file: every test must leave it usable."""
    with WatchedEngine(tmp_path_factory.mktemp("engine") / "home") as started:
        yield started


@pytest.fixture
def ct() -> Volume:
    return noise_ct()


def wish(model: Path, image: Any, **more: Any) -> dict[str, Any]:
    return {"model": f"nnunet:{model}", "image": image, "regions": 3, **more}


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_usable(engine: WatchedEngine, model: Path) -> None:
    """The engine segments, and nothing of earlier jobs lies about."""
    result = engine.do("segment", wish(model, in_memory(engine, noise_ct((24, 24, 24)))))
    assert read_array(result["labels"]).shape == (24, 24, 24)
    job = Path(result["labels"]).parent
    assert job.name in engine.scratch_entries()
    for entry in engine.do("jobs.list")["jobs"]:
        engine.do("job.release", {"job": entry["job"]})
    assert engine.scratch_entries() == set()


def test_a_segmentation_is_the_one_that_the_library_makes(engine: WatchedEngine, model: Path, ct: Volume) -> None:
    job = engine.submit("segment", wish(model, in_memory(engine, ct)))
    result = engine.wait(job, DEADLINE_S)
    segmenter = NnUNetSegmenter(model)
    # Each process times by itself whether bfloat16 pays, which is not what is compared here.
    segmenter.load(Settings()).bf16_pays = "bfloat16" in result["record"]["details"]["arithmetic"]
    expected = segment({"CT": ct}, segmenter, Settings(), (), 3, Progress())
    assert np.array_equal(read_array(result["labels"]), expected.labels.array)
    assert Geometry.from_dict(result["geometry"]) == ct.geometry
    grid = expected.grid
    assert grid is not None
    assert set(result["measures"]) == {"entropy", "variance", "mutual_information"}
    for name, path in result["measures"].items():
        assert np.array_equal(read_array(path), grid.measure(name), equal_nan=True)
    assert Geometry.from_dict(result["measures_geometry"]) == grid.geometry
    regions = read_regions(Path(result["regions_folder"]))
    assert to_json(regions) == to_json(expected.regions) == result["regions"]
    assert [m["name"] for m in result["record"]["members"]] == ["fold 0", "fold 1", "fold 2", "fold 3"]
    assert result["fallbacks"] == []
    engine.do("job.release", {"job": job})
    assert engine.scratch_entries() == set()


def test_the_second_run_loads_nothing(engine: WatchedEngine, tmp_path: Path, ct: Volume) -> None:
    model = make_model(tmp_path / "model", LABELS, spacing=(4.0,) * 3, patch=(16,) * 3)
    image = in_memory(engine, ct)
    for _ in range(2):
        job = engine.submit("segment", wish(model, image))
        engine.wait(job, DEADLINE_S)
        engine.do("job.release", {"job": job})
        (weights,) = model.glob("fold_*/*.pth")
        before = weights.stat()
        weights.write_bytes(bytes(before.st_size))  # cannot be loaded, and looks as if nothing had changed
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert f"nnunet:{model}" in engine.do("system.info")["engine"]["worker"]["warm"]


def test_a_model_that_was_trained_anew_in_its_folder_is_loaded_again(
    engine: WatchedEngine, tmp_path: Path, ct: Volume
) -> None:
    folder = make_model(tmp_path / "model", LABELS, spacing=(4.0,) * 3, patch=(16,) * 3)
    image = in_memory(engine, ct)
    assert len(engine.do("segment", wish(folder, image))["record"]["members"]) == 1
    make_model(folder, LABELS, spacing=(4.0,) * 3, patch=(16,) * 3, folds=(0, 1))
    assert len(engine.do("segment", wish(folder, image))["record"]["members"]) == 2
    for job in engine.do("jobs.list")["jobs"]:
        engine.do("job.release", {"job": job["job"]})


def test_progress_and_estimate_come_before_and_during_the_work(engine: WatchedEngine, model: Path, ct: Volume) -> None:
    engine.events.clear()
    job = engine.submit("segment", wish(model, in_memory(engine, ct)))
    result = engine.wait(job, DEADLINE_S)
    engine.do("job.release", {"job": job})
    estimate = next(e.estimate for e in engine.events if isinstance(e, EstimateEvent) and e.job == job)
    assert estimate == result["estimate"]
    assert estimate["fits"]
    assert 0 < estimate["ram_bytes"] < estimate["ram_free_bytes"]
    assert estimate["basis"] in ("timed", "last run")
    assert estimate["seconds"] >= 0  # rounded to tenths
    assert (estimate["members"], estimate["classes"]) == (4, 4)
    told = [e for e in engine.events if isinstance(e, ProgressEvent) and e.job == job]
    stages = list(dict.fromkeys(e.stage for e in told))
    assert stages[0] == "start"
    assert stages[-1] == "save"
    assert [s for s in stages if s in ("read", "preprocess", "network", "resample", "regions")] == [
        "read",
        "preprocess",
        "network",
        "resample",
        "regions",
    ]
    fractions = [e.fraction for e in told]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < fractions[-1] < 1
    assert any(e.eta_s is not None for e in told)


def test_a_prediction_folder_is_written_when_asked_for(
    engine: WatchedEngine, model: Path, ct: Volume, tmp_path: Path
) -> None:
    path, output = tmp_path / "ct.nii.gz", tmp_path / "out"
    write_volume(ct, path)
    job = engine.submit("segment", wish(model, str(path), output=str(output)))
    result = engine.wait(job, DEADLINE_S)
    assert result["prediction"] == str(output)
    saved = Prediction.load(output)
    assert np.array_equal(saved.labels.array, read_array(result["labels"]))
    assert saved.images["CT"]["path"] == str(path)
    engine.do("job.release", {"job": job})
    with pytest.raises(InputError, match="already holds a prediction"):
        engine.do("segment", wish(model, str(path), output=str(output)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct.nii.gz", "out"]


def test_a_wrong_model_is_an_error_of_its_kind(engine: WatchedEngine, tmp_path: Path, ct: Volume) -> None:
    with pytest.raises(ModelError, match="not a trained nnU-Net model"):
        engine.do("segment", wish(tmp_path, in_memory(engine, ct)))
    with pytest.raises(DeviceError, match="cuda"):
        engine.do("models.check", {"model": "demo", "settings": {"device": "cuda"}})
    assert engine.scratch_entries() == set()


@pytest.mark.parametrize("stage", ["start", "check", "read", "preprocess", "network", "resample", "regions", "save"])
def test_cancel_ends_the_job_at_any_stage_and_leaves_nothing(
    engine: WatchedEngine, model: Path, stage: str, tmp_path: Path
) -> None:
    image = in_memory(engine, noise_ct((64, 96, 96)))
    many = 1000 if stage == "regions" else 3  # so that the search, which asks nobody, is not over before the cancel
    job = engine.submit("segment", wish(model, image, output=str(tmp_path / "out"), regions=many))
    engine.until_stage(job, stage)
    asked = time.monotonic()
    question = engine.cancel(job)
    assert engine.wait(question, DEADLINE_S)["job"] == job
    answer = engine.answer(job, DEADLINE_S)
    if stage != "save":  # writing the result may have been quicker than the cancellation
        assert time.monotonic() - asked < WITHIN_S
        assert isinstance(getattr(answer, "error", None), Cancelled), answer
        assert list(tmp_path.iterdir()) == []
        assert engine.scratch_entries() == set()
    else:
        assert {path.name for path in tmp_path.iterdir()} <= {"out"}
        engine.do("job.release", {"job": job})
    assert_usable(engine, model)
    assert list(engine.temporary.iterdir()) == []


def test_a_job_is_cancelled_while_torch_is_being_imported(tmp_path: Path, model: Path) -> None:
    with WatchedEngine(tmp_path / "home") as engine:
        image = in_memory(engine, noise_ct())
        job = engine.submit("segment", wish(model, image))
        engine.until_stage(job, "check")
        asked = time.monotonic()
        engine.cancel(job)
        assert isinstance(engine.failure(job).error, Cancelled)
        assert time.monotonic() - asked < WITHIN_S
        assert engine.scratch_entries() == set()
        assert_usable(engine, model)


def test_jobs_run_in_order_and_a_queued_one_can_be_cancelled(engine: WatchedEngine, model: Path) -> None:
    long, short = in_memory(engine, noise_ct((96, 112, 112)), "long"), in_memory(engine, noise_ct((48, 64, 64)))
    first, second, third = (engine.submit("segment", wish(model, image)) for image in (long, short, short))
    engine.until_stage(first, "network")
    states = {entry["job"]: entry["state"] for entry in engine.do("jobs.list")["jobs"]}
    assert [states[job] for job in (first, second, third)] == ["running", "queued", "queued"]
    assert engine.do("cancel", {"job": second})["state"] == "cancelled"
    assert isinstance(engine.failure(second).error, Cancelled)
    for job in (first, third):
        engine.wait(job, DEADLINE_S)
        engine.do("job.release", {"job": job})
    assert engine.scratch_entries() == set()


def test_cancelling_twice_or_too_late_is_answered_in_words(engine: WatchedEngine, model: Path) -> None:
    image = in_memory(engine, noise_ct((64, 96, 96)))
    job = engine.submit("segment", wish(model, image))
    engine.until_stage(job, "network")
    questions = [engine.cancel(job), engine.cancel(job)]
    assert {engine.wait(question, DEADLINE_S)["state"] for question in questions} <= {"cancelling", "cancelled"}
    assert isinstance(engine.failure(job).error, Cancelled)
    late = engine.do("cancel", {"job": job})
    assert late["state"] == "cancelled"
    assert "ended already" in late["text"]
    with pytest.raises(InputError, match="no job"):
        engine.do("cancel", {"job": "never"})
    assert_usable(engine, model)


def test_cheap_questions_are_answered_while_a_job_runs(engine: WatchedEngine, model: Path, tmp_path: Path) -> None:
    schema = {"labels": [{"value": 1, "name": "one", "color": [255, 0, 0], "terminology": None}]}
    dataset = engine.do("dataset.create", {"dataset": str(tmp_path / "Dataset801_Test"), "schema": schema})["dataset"]
    questions: dict[str, dict[str, Any]] = {
        "jobs.list": {},
        "system.info": {},
        "models.list": {},
        "dataset.show": {"dataset": dataset},
        "log.tail": {},
    }
    for method, params in questions.items():  # the first time imports what they need
        engine.do(method, params)
    job = engine.submit("segment", wish(model, in_memory(engine, noise_ct((96, 112, 112)))))
    engine.until_stage(job, "network")
    for method, params in questions.items():
        engine.do(method, params)
        running = [entry for entry in engine.do("jobs.list")["jobs"] if entry["job"] == job]
        assert running[0]["state"] == "running", f"the job ended before {method} was answered"
    engine.do("cancel", {"job": job})
    assert isinstance(engine.failure(job).error, Cancelled)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", ["SIGKILL", "SIGSEGV"])
def test_a_crash_of_the_worker_is_an_error_of_that_job_alone(engine: WatchedEngine, model: Path, number: str) -> None:
    image = in_memory(engine, noise_ct((64, 96, 96)))
    job, following = (engine.submit("segment", wish(model, image)) for _ in range(2))
    engine.until_stage(job, "network")
    engine.child("worker").send_signal(getattr(signal, number))
    failure = engine.failure(job)
    assert isinstance(failure.error, Crashed)
    assert number in failure.error.message
    assert failure.error.details["log"]
    if number == "SIGSEGV":
        assert any("Segmentation fault" in line for line in engine.do("log.tail", {"lines": 400})["lines"])
    assert engine.wait(following, DEADLINE_S)["labels"]
    engine.do("job.release", {"job": following})
    assert_usable(engine, model)


def test_a_worker_that_does_not_stop_is_killed_with_all_that_it_started(engine: WatchedEngine, model: Path) -> None:
    """A stopped process notices nothing, as one that is deep in a library."""
    job = engine.submit("segment", wish(model, in_memory(engine, noise_ct((64, 96, 96)))))
    engine.until_stage(job, "network")
    worker = engine.child("worker")
    worker.suspend()
    engine.cancel(job)
    assert isinstance(engine.failure(job).error, Cancelled)
    assert soon_gone([worker])
    assert_usable(engine, model)


def test_a_prediction_that_a_killed_worker_was_writing_leaves_no_trace(
    engine: WatchedEngine, model: Path, ct: Volume, tmp_path: Path
) -> None:
    path, output = tmp_path / "ct.nii.gz", tmp_path / "out"
    write_volume(ct, path)
    job = engine.submit("segment", wish(model, str(path), output=str(output)))
    engine.wait(job, DEADLINE_S)
    engine.do("job.release", {"job": job})
    record, before = output / "prediction.json", content_of(output)
    job = engine.submit("segment", wish(model, str(path), output=str(output), overwrite=True))
    engine.until_stage(job, "save")
    engine.child("worker").suspend()
    replaced = record.exists() and record.read_bytes() != before[record.name]  # before it could be stopped
    engine.do("cancel", {"job": job})
    answer = engine.answer(job, DEADLINE_S)
    if replaced:
        assert set(content_of(output)) == set(before)
        Prediction.load(output)
    else:
        assert isinstance(getattr(answer, "error", None), Cancelled), answer
        assert content_of(output) == before
    if not isinstance(answer, Failure):
        engine.do("job.release", {"job": job})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct.nii.gz", "out"]
    assert_usable(engine, model)


def test_the_least_recently_used_model_leaves_first(tmp_path: Path, ct: Volume) -> None:
    folders = [make_model(tmp_path / f"model{n}", LABELS, spacing=(4.0,) * 3, patch=(16,) * 3) for n in range(3)]
    names = [f"nnunet:{folder}" for folder in folders]
    segmenter = NnUNetSegmenter(folders[0])
    segment({"CT": ct}, segmenter, Settings(), (), 0)
    room = 2.5 * segmenter.warm_bytes / 2**30
    with WatchedEngine(tmp_path / "home", EngineOptions(warm_gib=room)) as engine:
        image = in_memory(engine, ct)

        def warm_after(name: str) -> list[str]:
            engine.do("segment", {"model": name, "image": image, "regions": 0})
            kept: list[str] = engine.do("system.info")["engine"]["worker"]["warm"]
            return kept

        assert warm_after(names[0]) == [names[0]]
        assert warm_after(names[1]) == [names[0], names[1]]
        assert warm_after(names[0]) == [names[1], names[0]]
        assert warm_after(names[2]) == [names[0], names[2]]


def test_the_log_tells_which_job_failed_with_which_kind_of_error(engine: WatchedEngine, ct: Volume) -> None:
    with pytest.raises(ModelError, match="a-model-that-nobody-has"):
        engine.do("models.check", {"model": "a-model-that-nobody-has"})
    line = engine.until_printed("models.check failed: ModelError model")
    assert line in engine.do("log.tail", {"lines": 50})["lines"]


def test_offloaded_sums_give_the_same_labels(model: Path, ct: Volume) -> None:
    segmenter = NnUNetSegmenter(model)
    for mode in Mode:
        kept = segment({"CT": ct}, segmenter, Settings(mode=mode), (), 0)
        offloaded = segment({"CT": ct}, segmenter, replace(Settings(mode=mode), offload=True), (), 0)
        assert np.array_equal(kept.labels.array, offloaded.labels.array)


def test_an_estimate_of_the_second_run_comes_from_the_first(engine: WatchedEngine, model: Path, ct: Volume) -> None:
    image = in_memory(engine, ct)
    for _ in range(2):
        job = engine.submit("segment", wish(model, image))
        result = engine.wait(job, DEADLINE_S)
        engine.do("job.release", {"job": job})
    assert result["estimate"]["basis"] == "last run"
    assert set(result["estimate"]["stages_s"]) >= {"preprocess", "network", "regions"}
    known = json.loads((engine.home / "calibration.json").read_text())
    assert any(str(model) in key for key in known)

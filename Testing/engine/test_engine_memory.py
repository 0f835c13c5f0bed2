"""Lack of memory in a real engine: foreseen by the estimate, or met on the way; each step down is said."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from nnunet_models import make_model
from running_engine import DEADLINE_S, WatchedEngine, array_message, in_memory, noise_ct

from activeseg.client.engine_client import EstimateEvent, NoticeEvent, ProgressEvent
from activeseg.client.launch import EngineOptions, engine_environment
from activeseg.core.errors import DeviceError
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.volume import Volume
from activeseg.engine.jobs import segmenting
from activeseg.engine.planning.calibration import PEAK_MARGIN
from activeseg.engine.planning.estimate import need_of
from activeseg.engine.worker import memory
from activeseg.engine.worker.kept import Keeping, keep
from activeseg.engine.worker.requests import read_request
from activeseg.engine.worker.worker import Job
from activeseg.io.npy import read_array
from activeseg.predictions.make_prediction import segment
from activeseg.segmenters.nnunet.network_size import read_size
from activeseg.segmenters.nnunet.segmenter import OVERHEAD, NnUNetSegmenter
from activeseg.system import heap

CLASSES = 120
SMALL, LARGE = (32, 64, 64), (64, 128, 128)
LOGITS = 2 * CLASSES * int(np.prod(LARGE))
"""Bytes of one member's float16 logits of the large image, which exact mode cannot do without."""


def wish(model: Path, image: Any, **more: Any) -> dict[str, Any]:
    return {"model": f"nnunet:{model}", "image": image, "regions": 0, "settings": {"mode": "exact"}, **more}


def big_need(folder: Path, volume: Volume, members: int, loaded: bool) -> int:
    size = read_size(folder, "3d_fullres")
    assert size is not None
    settings = Settings(mode=Mode.EXACT, members=members)
    return need_of(volume.geometry, [size], settings, OVERHEAD, loaded=loaded).ram


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two members and many classes: large results, little work."""
    labels = {"background": 0, **{f"s{n}": n for n in range(1, CLASSES)}}
    folder = tmp_path_factory.mktemp("wide") / "model"
    return make_model(folder, labels, patch=(32, 32, 64), folds=(0, 1))


def test_when_the_estimate_says_no_fewer_members_vote_and_it_is_said(wide_model: Path, tmp_path: Path) -> None:
    volume = noise_ct(LARGE)
    limit = (big_need(wide_model, volume, 2, False) + big_need(wide_model, volume, 1, False)) / 2
    with WatchedEngine(tmp_path / "home", EngineOptions(memory_gib=limit / 2**30)) as engine:
        image = in_memory(engine, volume)
        job = engine.submit("segment", wish(wide_model, image))
        result = engine.wait(job, DEADLINE_S)
        assert len(result["record"]["members"]) == 1
        assert result["fallbacks"] == ["Only the first trained member votes."]
        assert NoticeEvent(job, "Only the first trained member votes.") in engine.events
        estimates = [e.estimate for e in engine.events if isinstance(e, EstimateEvent) and e.job == job]
        assert [e["fits"] for e in estimates] == [False, True]


def test_a_hopeless_wish_is_refused_before_the_work(wide_model: Path, tmp_path: Path) -> None:
    volume = noise_ct((96, 192, 192))
    with WatchedEngine(tmp_path / "home", EngineOptions(memory_gib=0.1)) as engine:
        job = engine.submit("segment", wish(wide_model, in_memory(engine, volume)))
        failure = engine.failure(job)
        assert isinstance(failure.error, DeviceError)
        assert failure.error.details["estimate"]["fits"] is False
        assert not any(isinstance(e, ProgressEvent) and e.stage == "network" for e in engine.events)


@pytest.mark.parametrize(("times", "kept"), [(1.2, False), (3.0, True)])
def test_freed_memory_is_kept_only_where_there_is_plenty(
    wide_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: float, kept: bool
) -> None:
    volume, said = noise_ct(SMALL), []
    free = int(times * big_need(wide_model, volume, 2, loaded=False))
    monkeypatch.setattr(memory, "budget", lambda limit: free)
    monkeypatch.setattr(heap, "keep_freed", lambda wanted=True: said.append(wanted))
    request = read_request("segment", wish(wide_model, array_message(tmp_path / "ct.npy", volume)))
    job = Job(tmp_path / "job", Progress(), *[lambda _: None] * 3)
    job.folder.mkdir()
    segmenting.segment(request, job, keep(Keeping(tmp_path, 1 << 30, 0), lambda **_: None))
    assert said == [kept]
    memory.give_back()
    assert said == [kept, False]


@pytest.fixture
def warm(wide_model: Path, tmp_path: Path) -> Iterator[WatchedEngine]:
    """An engine whose worker has imported and loaded all that it needs for the model.

    Its allocator returns what is freed at once, so that what a limit leaves is what arrays can have.
    """
    environment = {**engine_environment(), "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    with WatchedEngine(tmp_path / "home", environment=environment) as engine:
        job = engine.submit("segment", wish(wide_model, in_memory(engine, noise_ct(SMALL), "small")))
        engine.wait(job, DEADLINE_S)
        engine.do("job.release", {"job": job})
        yield engine


def give_no_more_than(engine: WatchedEngine, more: int) -> None:
    """The worker's next allocations beyond so many bytes fail, whatever it has taken until now.

    The estimate does not know of this limit, so that the job begins.
    """
    worker = engine.child("worker")
    most = worker.memory_info().data + more
    worker.rlimit(psutil.RLIMIT_DATA, (most, most))


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA is a limit of Linux")


@linux
def test_when_memory_runs_out_on_the_way_fewer_members_vote_and_it_is_said(
    warm: WatchedEngine, wide_model: Path
) -> None:
    volume = noise_ct(LARGE)
    give_no_more_than(warm, 3 * LOGITS)  # two members need a mean (1), logits (1), probabilities (2); one less than 2
    worker = warm.child("worker").pid
    job = warm.submit("segment", wish(wide_model, in_memory(warm, volume)))
    result = warm.wait(job, DEADLINE_S)
    estimates = [e.estimate for e in warm.events if isinstance(e, EstimateEvent) and e.job == job]
    assert [e["fits"] for e in estimates] == [True, True]
    notices = [e.text for e in warm.events if isinstance(e, NoticeEvent) and e.job == job]
    assert notices == ["Not enough memory; trying again with less.", "Only the first trained member votes."]
    assert result["fallbacks"] == ["Only the first trained member votes."]
    assert warm.child("worker").pid == worker
    alone = segment({"CT": volume}, NnUNetSegmenter(wide_model), Settings(mode=Mode.EXACT, members=1), regions=0)
    assert np.array_equal(read_array(result["labels"]), alone.labels.array)


@linux
def test_when_there_is_no_step_down_the_job_fails_in_words_and_the_engine_stays(
    warm: WatchedEngine, wide_model: Path, tmp_path: Path
) -> None:
    small, large = in_memory(warm, noise_ct(SMALL), "small"), in_memory(warm, noise_ct(LARGE), "large")
    give_no_more_than(warm, LOGITS * 4 // 5)
    worker, output = warm.child("worker").pid, tmp_path / "prediction"
    one = {"mode": "exact", "members": 1}
    job = warm.submit("segment", wish(wide_model, large, settings=one, output=str(output)))
    failure = warm.failure(job)
    assert isinstance(failure.error, DeviceError), failure
    assert failure.error.message.startswith("Not enough memory")
    assert failure.error.action
    assert warm.until_printed("allocate memory") in warm.do("log.tail", {"lines": 200})["lines"]
    assert any(isinstance(e, ProgressEvent) and e.job == job and e.stage == "preprocess" for e in warm.events)
    assert not output.exists()
    assert warm.scratch_entries() == set()
    assert not any(warm.temporary.iterdir())
    result = warm.do("segment", wish(wide_model, small, settings=one))
    assert read_array(result["labels"]).shape == SMALL
    assert warm.child("worker").pid == worker


@linux
def test_the_second_estimate_is_the_peak_that_the_first_run_took(tmp_path: Path) -> None:
    """Two engines of one home, for a run of a loaded model takes less than one that must load it."""
    volume, home = noise_ct((48, 96, 96)), tmp_path / "home"
    wanted = {"model": "demo", "regions": 0, "settings": {"device": "cpu", "members": 1}}
    options = EngineOptions(memory_gib=1.0)  # not twice what is needed: what is freed is given back
    needs, peaks = [], []
    for _ in range(2):
        with WatchedEngine(home, options) as engine:
            job = engine.submit("segment", {**wanted, "image": in_memory(engine, volume)})
            needs.append(engine.wait(job, DEADLINE_S)["estimate"]["ram_bytes"])
        known = json.loads((home / "calibration.json").read_text("utf-8"))
        (learnt,) = [entry for key, entry in known.items() if key.startswith("peak|demo|")]
        peaks.append(learnt["bytes"])
    assert needs[1] == int(peaks[0] * PEAK_MARGIN) != needs[0]
    assert needs[1] >= max(peaks), "what the second run took was foreseen"

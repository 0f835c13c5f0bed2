"""What a first segmentation needs is loaded ahead, and nobody hears of it."""

from __future__ import annotations

from typing import Any

import pytest
from slicer_application import SlicerCore
from watched_process import WatchedProcess, until

from activeseg.client.messages.system import SystemRequest, SystemResult
from activeseg.core.volume import Volume
from ActiveSegModuleLib.engine.asking import ask, when_ready
from ActiveSegModuleLib.engine.listener import Listener
from ActiveSegModuleLib.logic.run import Choice
from ActiveSegModuleLib.logic.segmenting import Segmenting
from ActiveSegModuleLib.logic.warming import Warming


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def warming(process: WatchedProcess, log: list[str]) -> Warming:
    ready: list[bool] = []
    when_ready(process, lambda: ready.append(True), lambda error: pytest.fail(str(error)))
    until(lambda: ready)
    return Warming(process, log.append)


def warm_models(process: WatchedProcess) -> list[str]:
    told: list[SystemResult] = []
    ask(process, SystemRequest(), told.append, lambda error: pytest.fail(str(error)))
    until(lambda: told)
    return list(told[0].engine["worker"].get("warm", []))


def test_a_model_is_loaded_once_for_an_engine(process: WatchedProcess, warming: Warming, log: list[str]) -> None:
    warming.start("demo")
    until(lambda: warming.is_going_on)
    until(lambda: not warming.is_going_on)
    assert warm_models(process) == ["demo"]
    warming.start("demo")
    warming.start("hounsfield")
    assert not warming.is_going_on
    assert warm_models(process) == ["demo"]
    assert log == []


def test_nothing_is_loaded_before_an_engine_has_answered(make_process: Any, log: list[str]) -> None:
    process = make_process()
    Warming(process, log.append).start("demo")
    assert not process.engine


def test_what_goes_wrong_is_only_logged(warming: Warming, log: list[str]) -> None:
    warming.start("totalsegmentator:no-such-task")
    until(lambda: log)
    assert "no-such-task" in log[0]
    assert not warming.is_going_on


def test_a_segmentation_waits_for_what_is_being_loaded_and_takes_back_what_is_not(
    process: WatchedProcess, warming: Warming, image: Volume, log: list[str], tmp_path: Any
) -> None:
    core = SlicerCore.start()
    segmenting = Segmenting(core.scene, process, tmp_path / "drafts", Listener())
    ct = core.add_volume(image.array, image.geometry, "Phantom")
    warming.start("demo")
    until(lambda: warming.is_going_on)
    warming.make_way()
    segmenting.start(ct, Choice("hounsfield", regions=0))
    until(lambda: segmenting.running is None)
    assert segmenting.last_error is None
    assert warm_models(process) == ["demo", "hounsfield"], "what had begun was not ended"

    behind = Warming(process, log.append)  # as after another start of the engine
    segmenting.start(ct, Choice("demo", members=4))
    until(lambda: segmenting.running is not None and segmenting.running.stage == "network")
    behind.start("hounsfield")
    assert not behind.is_going_on
    behind.make_way()
    segmenting.cancel()
    until(lambda: segmenting.running is None)
    assert log == [], "taking it back is nothing that went wrong"

"""An EngineProcess that writes down what it tells, and the wait for it in Qt's event loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PySide6 import QtCore

from activeseg.client.engine_client import EstimateEvent, LabelEvent, NoticeEvent, ProgressEvent
from activeseg.client.messages.images import ArrayFile
from activeseg.core.errors import ActiveSegError
from activeseg.core.geometry import Geometry
from activeseg.core.records import to_json
from activeseg.core.volume import Volume
from ActiveSegModuleLib.engine.engine_process import EngineProcess, Listeners

HANGS_AFTER_MS = 240_000
"""A test that has waited for so long will never end; on a quiet machine all comes within seconds."""
LOOK_AGAIN_MS = 20


def until(condition: Callable[[], object]) -> None:
    """Run the event loop until the condition holds; it is looked at after each event, and now and then."""
    guard, ticks = QtCore.QTimer(singleShot=True), QtCore.QTimer()
    guard.start(HANGS_AFTER_MS)
    ticks.start(LOOK_AGAIN_MS)  # for what is no event of Qt's, such as the end of a process of the engine
    while not condition():
        if not guard.isActive():
            pytest.fail("What the test waits for does not happen.")
        QtCore.QCoreApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents)


@dataclass
class Answer:
    """All that the callbacks of one request were given."""

    id: str = ""
    results: list[Any] = field(default_factory=list)
    errors: list[ActiveSegError] = field(default_factory=list)
    progress: list[ProgressEvent] = field(default_factory=list)
    notices: list[EstimateEvent | NoticeEvent | LabelEvent] = field(default_factory=list)

    @property
    def arrived(self) -> bool:
        return bool(self.results or self.errors)

    def result(self) -> Any:
        """Wait for it."""
        until(lambda: self.arrived)
        assert not self.errors, self.errors
        return self.results[0]

    def error(self) -> ActiveSegError:
        """Wait for it."""
        until(lambda: self.arrived)
        assert not self.results, self.results
        return self.errors[0]

    def has_reached(self, stage: str) -> bool:
        assert not self.arrived, f"the job ended before '{stage}'"
        return any(event.stage == stage for event in self.progress)


class WatchedProcess(EngineProcess):
    """Writes down what its listeners hear."""

    def __init__(self, python: Path, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.about: list[Mapping[str, Any]] = []
        self.ends: list[tuple[ActiveSegError, tuple[str, ...]]] = []
        self.lines: list[str] = []
        self.raised: list[Exception] = []
        super().__init__(
            QtCore,
            python,
            home,
            os.environ if environment is None else environment,
            listeners=Listeners(
                self.about.append, lambda *end: self.ends.append(end), self.lines.append, self.raised.append
            ),
        )

    def ask(self, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        """A request whose answer can be waited for."""
        answer = Answer()
        answer.id = self.request(
            method, params, answer.results.append, answer.errors.append, answer.progress.append, answer.notices.append
        )
        return answer

    def start_and_wait(self) -> Mapping[str, Any]:
        """What the engine says about itself."""
        count = len(self.about)
        self.start()
        until(lambda: len(self.about) > count)
        return self.about[-1]

    def segment(self, shape: tuple[int, int, int] = (40, 48, 48)) -> Answer:
        """Ask for a segmentation with the demo model, of a block of noise in air at 4 mm."""
        if not self.engine:
            self.start_and_wait()
        array = np.full(shape, -1000, np.int16)
        inside = array[tuple(slice(n // 8, -n // 8) for n in shape)]
        inside[:] = np.random.default_rng(3).normal(40, 120, inside.shape)
        geometry = Geometry(shape, (4.0, 4.0, 4.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
        image = to_json(ArrayFile.write(Path(self.engine["inbox"]) / "ct.npy", Volume(array, geometry)))
        return self.ask("segment", {"model": "demo", "image": image, "regions": 2})

    def processes(self) -> list[psutil.Process]:
        """The engine's own process and everything below it."""
        root = psutil.Process(self.engine["pid"])
        return [root, *root.children(recursive=True)]

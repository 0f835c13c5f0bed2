"""A real engine for tests: started once for a file, watched through its client, with what it must leave behind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from activeseg.client.engine_client import Event, Failure, LogEvent, ProgressEvent, Result
from activeseg.client.launch import EngineOptions, engine_environment
from activeseg.client.messages.images import ArrayFile
from activeseg.client.subprocess_engine import SubprocessEngine
from activeseg.core.geometry import Geometry
from activeseg.core.records import to_json
from activeseg.core.volume import Volume

DEADLINE_S = 240.0
"""How long a test waits for an event at most; on a quiet machine all come within seconds."""


class WatchedEngine(SubprocessEngine):
    """An engine that remembers its events, and whose libraries find temporary files in ``temporary``."""

    def __init__(
        self, home: Path, options: EngineOptions | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.events: list[Event] = []
        self.home, self.temporary = home, home.with_name("temporary")
        self.temporary.mkdir(parents=True, exist_ok=True)
        own = {**(environment or engine_environment()), "TMPDIR": str(self.temporary)}
        super().__init__(sys.executable, home, options, "test", own, self.events.append)

    def until(self, wanted: Callable[[Event], bool]) -> None:
        """Wait for an event that is still to come."""
        self.wait_for(wanted, DEADLINE_S)

    def until_stage(self, job: str, *stages: str, above: float = -1.0) -> None:
        """Wait until a job says that it is at one of these stages; fails at once when it ends before."""
        seen = False

        def reached(event: Event) -> bool:
            nonlocal seen
            if isinstance(event, ProgressEvent) and event.job == job:
                seen = seen or (event.stage in stages and event.fraction > above)
            if isinstance(event, Result | Failure) and event.id == job and not seen:
                raise AssertionError(f"the job ended before {stages}: {event}")
            return seen

        self.until(reached)

    def failure(self, job: str) -> Failure:
        answer = self.answer(job, DEADLINE_S)
        assert isinstance(answer, Failure), answer
        return answer

    def do(self, method: str, params: dict[str, Any] | None = None) -> Any:
        return self.call(method, params, DEADLINE_S)

    def processes(self) -> list[psutil.Process]:
        """The engine's own process and everything below it."""
        assert self.process is not None
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def child(self, role: str) -> psutil.Process:
        return next(p for p in self.processes() if f"--role={role}" in p.cmdline())

    def printed(self) -> list[str]:
        return [event.line for event in self.events if isinstance(event, LogEvent)]

    def until_printed(self, *words: str) -> str:
        """The line of the log with these words; it comes by a way of its own, maybe after the answer."""

        def told(line: str) -> bool:
            return all(word in line for word in words)

        if not any(map(told, self.printed())):
            self.until(lambda event: isinstance(event, LogEvent) and told(event.line))
        return next(filter(told, self.printed()))

    def scratch_entries(self) -> set[str]:
        """What lies in the jobs' folders, without the client's own."""
        inbox = Path(self.client.engine["inbox"])
        return {path.name for path in inbox.parent.iterdir()} - {"inbox"}


def noise_ct(shape: tuple[int, int, int] = (40, 48, 48), spacing: float = 3.0, seed: int = 3) -> Volume:
    """A block of soft tissue with blobs, in air."""
    rng = np.random.default_rng(seed)
    array = np.full(shape, -1000, np.int16)
    k, j, i = (n // 8 for n in shape)
    inside = array[k:-k, j:-j, i:-i]
    inside[:] = rng.normal(40, 120, inside.shape).astype(np.int16)
    return Volume(array, Geometry(shape, (spacing,) * 3, (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1)))


def in_memory(engine: WatchedEngine, volume: Volume, name: str = "ct") -> dict[str, Any]:
    """The image as a client gives it: an array file in the engine's inbox."""
    engine.start()
    return array_message(Path(engine.client.engine["inbox"]) / f"{name}.npy", volume)


def array_message(path: Path, volume: Volume) -> dict[str, Any]:
    """What a message says of a volume, whose array is written to ``path`` (``.npy``)."""
    return dict(to_json(ArrayFile.write(path, volume)))

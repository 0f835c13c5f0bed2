"""The process that does the work: one job after the other, with what it needs kept in memory."""

from __future__ import annotations

import faulthandler
import importlib
import math
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.client.protocol import (
    Code,
    ErrorResponse,
    Lines,
    Message,
    Notification,
    ProtocolError,
    Request,
    Response,
    decode,
    encode,
)
from activeseg.engine import lifetime, memory
from activeseg.engine.methods import METHODS
from activeseg.engine.params import Params, WrongParams
from activeseg.engine.pipes import Pipes
from activeseg.errors import ActiveSegError, EngineError
from activeseg.progress import Progress
from activeseg.switches import switch_off

GIB = 1 << 30
REPORT_EVERY_S = 0.05
"""Progress within a stage is told no more often; a new stage at once."""


@dataclass(frozen=True)
class Job:
    """What a method's function gets.

    Attributes
    ----------
    params : checked access to the request's parameters
    folder : for what the result names; ``folder/temporary`` is the temporary folder of this process meanwhile
    progress : to be called often; it also knows of cancellation
    notice : tells the user something about the job
    estimate : tells what the job will need
    label : gives the client the label map before the job's end, as the job's result will
    """

    name: str
    params: Params
    folder: Path
    progress: Progress
    notice: Callable[[str], None]
    estimate: Callable[[Mapping[str, Any]], None]
    label: Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Keeping:
    """What this process may keep and use; see ``activeseg.client.launch.EngineOptions``."""

    home: Path
    warm_bytes: int
    memory_bytes: int


class Worker:
    """Runs requests of the supervisor in the main thread, while a second one listens for ``cancel``."""

    def __init__(self, pipes: Pipes, keeping: Keeping) -> None:
        self._pipes = pipes
        self._keeping = keeping
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self._busy = False
        self._writing = threading.Lock()
        self._state: dict[str, Any] = {}

    def run(self) -> None:
        """Serve until the supervisor closes the pipe."""
        threading.Thread(target=self._listen, daemon=True).start()
        while (request := self._requests.get()) is not None:
            self._busy = True
            self.send(self._answer(request))
            self._cancelled.discard(request.id)
            self._busy = False
            memory.give_back()  # takes a part of a second, for which nobody has to wait

    def send(self, message: Message) -> None:
        """Raises EngineError when the message is too long."""
        view = memoryview(encode(message))
        with self._writing:
            while view:
                view = view[os.write(self._pipes.target, view) :]

    def _listen(self) -> None:
        lines = Lines()

        def received(data: bytes) -> None:
            for line in lines.feed(data):
                try:
                    message = decode(line or b"")
                except ProtocolError as error:
                    print(f"The supervisor sent what is no message: {error}", file=sys.stderr)
                    continue
                if isinstance(message, Request):
                    self._requests.put(message)
                elif isinstance(message, Notification) and message.method == "cancel":
                    self._cancelled.add(str(message.params["job"]))

        try:
            self._pipes.read_all(received)
        finally:  # also when memory is short: nobody would notice a worker that no longer listens
            if self._busy:
                lifetime.end_own_group()
            self._requests.put(None)

    def _answer(self, request: Request) -> Message:
        """The response; whatever a job raises becomes an error in words."""
        try:
            result = self._run(request)
            response = Response(request.id, plain(result))
            encode(response)
            return response
        except WrongParams as error:
            return ErrorResponse.of(request.id, error, Code.INVALID_PARAMS)
        except ActiveSegError as error:
            traceback.print_exc()
            error.details = plain(error.details)
            return ErrorResponse.of(request.id, error)
        except Exception as error:
            traceback.print_exc()
            what = f"{type(error).__name__}: {error}".strip(": ")
            told = EngineError(f"The job failed for an unexpected reason ({what[:500]}).", "Please send us the log.")
            return ErrorResponse.of(request.id, told, Code.INTERNAL)

    def _run(self, request: Request) -> Any:
        method = METHODS[request.method]
        module, _, name = method.function.partition(":")
        folder = Path(request.params["folder"])
        job = Job(
            request.method,
            Params(request.method, request.params["params"]),
            folder,
            self._progress(request.id),
            lambda text: self.send(Notification("notice", {"job": request.id, "text": text})),
            lambda estimate: self.send(Notification("estimate", {"job": request.id, "estimate": plain(estimate)})),
            lambda result: self.send(Notification("label", {"job": request.id, "result": plain(result)})),
        )
        job.progress.check()
        with temporary_folder(folder / "temporary" if method.is_job else None):
            function = getattr(importlib.import_module(f"activeseg.engine.{module}"), name)
            return function(job, self._kept(module))

    def _kept(self, module: str) -> Any:
        """What the functions of a module keep from job to job, made by its ``keep``."""
        if module not in self._state:
            make = getattr(importlib.import_module(f"activeseg.engine.{module}"), "keep", lambda keeping, tell: None)
            self._state[module] = make(self._keeping, lambda **said: self.send(Notification("worker", plain(said))))
        return self._state[module]

    def _progress(self, job: str) -> Progress:
        last = ("", 0.0)

        def report(stage: str, fraction: float, text: str) -> None:
            nonlocal last
            now = time.monotonic()
            if stage == last[0] and now - last[1] < REPORT_EVERY_S:
                return
            last = (stage, now)
            params = {"job": job, "stage": stage, "fraction": fraction, "text": text}
            self.send(Notification("progress", params))

        return Progress(report, lambda: job in self._cancelled)


@contextmanager
def temporary_folder(folder: Path | None) -> Iterator[None]:
    """Within it libraries put their temporary files there, so that they vanish with the job even if it is killed."""
    if folder is None:
        yield
        return
    names = ("TMPDIR", "TEMP", "TMP")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(folder)))
    tempfile.tempdir = None  # tempfile remembers where it looked first
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


def plain(value: Any) -> Any:
    """JSON-ready: numpy's numbers become Python's, paths and enums texts, what is no finite number null."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def work(pipes: Pipes, role: str, home: Path, parent: int, warm_gib: float, memory_gib: float) -> int:
    """Be one of the engine's processes; the exit code."""
    lifetime.die_with_parent(parent)
    faulthandler.enable(2)
    switch_off()
    Worker(pipes, Keeping(home, int(warm_gib * GIB), int(memory_gib * GIB))).run()
    return 0

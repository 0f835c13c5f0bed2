"""The process that does the work: one job after the other, with what it needs kept in memory."""

from __future__ import annotations

import faulthandler
import importlib
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.client.messages.segmenting import SegmentResult
from activeseg.client.protocol import (
    ErrorResponse,
    Lines,
    Message,
    Notification,
    ProtocolError,
    Request,
    Response,
    decode,
    encode,
    encode_answer,
)
from activeseg.core.errors import shortened
from activeseg.core.progress import Progress
from activeseg.engine.methods import METHODS
from activeseg.engine.pipes import Pipes
from activeseg.engine.worker import memory
from activeseg.engine.worker.failures import answer_to_failure
from activeseg.engine.worker.kept import Keeping, keep
from activeseg.engine.worker.plain import plain
from activeseg.engine.worker.requests import read_request
from activeseg.system import processes
from activeseg.system.switches import switch_off

GIB = 1 << 30
REPORT_EVERY_S = 0.05
"""Progress within a stage is told no more often; a new stage at once."""
QUICK_S = 0.2
"""What took no longer has not taken memory that is worth giving back, which takes as long."""
TOLD_LENGTH = 2000
"""Characters of a notice and of a progress's text."""


@dataclass(frozen=True)
class Job:
    """What a method's function gets.

    Attributes
    ----------
    folder : for what the result names; ``folder/temporary`` is the temporary folder of this process meanwhile
    progress : to be called often; it also knows of cancellation
    notice : tells the user something about the job
    estimate : tells what the job will need
    label : gives the client the label map before the job's end, as the job's result will
    """

    folder: Path
    progress: Progress
    notice: Callable[[str], None]
    estimate: Callable[[Mapping[str, Any]], None]
    label: Callable[[SegmentResult], None]


class Worker:
    """Runs requests of the supervisor in the main thread, while a second one listens for ``cancel``."""

    def __init__(self, pipes: Pipes, keeping: Keeping) -> None:
        self._pipes = pipes
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self._busy = False
        self._writing = threading.Lock()
        self._kept = keep(keeping, lambda **said: self.send(Notification("worker", plain(said))))

    def run(self) -> None:
        """Serve until the supervisor closes the pipe."""
        threading.Thread(target=self._listen, daemon=True).start()
        while (request := self._requests.get()) is not None:
            self._busy = True
            began = time.monotonic()
            answer = self._answer(request)
            self._write(encode_answer(answer))
            self._cancelled.discard(request.id)
            self._busy = False
            if time.monotonic() - began > QUICK_S:
                memory.give_back()  # takes a part of a second, for which no request has to wait

    def send(self, message: Message) -> None:
        """Raises EngineError when the message cannot be sent."""
        self._write(encode(message))

    def _write(self, line: bytes) -> None:
        view = memoryview(line)
        with self._writing:
            while view:
                view = view[os.write(self._pipes.target, view) :]

    def _listen(self) -> None:
        lines = Lines()

        def received(data: bytes) -> None:
            for line in lines.feed(data):
                try:
                    message = decode(line if line is not None else b"")
                except ProtocolError as error:
                    self._refuse(error)
                    continue
                if isinstance(message, Request):
                    self._requests.put(message)
                elif isinstance(message, Notification) and message.method == "cancel":
                    self._cancelled.add(str(message.params.get("job")))

        try:
            self._pipes.read_all(received)
        finally:  # also when memory is short: a worker that no longer listens would go unnoticed
            if self._busy:
                processes.end_own_group()
            self._requests.put(None)

    def _refuse(self, error: ProtocolError) -> None:
        """Answer a request that cannot be read, or end, so that the supervisor notices: it waits for an answer."""
        if error.reply.id is None:
            print("The supervisor sent what is no message; this process ends.", file=sys.stderr, flush=True)
            processes.end_own_group()
        self._write(encode_answer(error.reply))

    def _answer(self, request: Request) -> Response | ErrorResponse:
        """The response; whatever a job raises becomes an error in words."""
        try:
            return Response(request.id, plain(self._run(request)))
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # libraries call sys.exit
            return answer_to_failure(request, error)

    def _run(self, request: Request) -> Any:
        method = METHODS[request.method]
        module, _, name = method.function.partition(":")
        folder = Path(request.params["folder"])
        job = Job(
            folder,
            self._progress(request.id),
            lambda text: self.send(Notification("notice", {"job": request.id, "text": shortened(text, TOLD_LENGTH)})),
            lambda estimate: self.send(Notification("estimate", {"job": request.id, "estimate": plain(estimate)})),
            lambda result: self.send(Notification("label", {"job": request.id, "result": plain(result)})),
        )
        job.progress.check()
        asked = read_request(request.method, request.params["params"])
        with temporary_folder(folder / "temporary" if method.is_job else None):
            function = getattr(importlib.import_module(f"activeseg.engine.jobs.{module}"), name)
            return function(asked, job, self._kept)

    def _progress(self, job: str) -> Progress:
        last = ("", 0.0)

        def report(stage: str, fraction: float, text: str) -> None:
            nonlocal last
            now = time.monotonic()
            if stage == last[0] and now - last[1] < REPORT_EVERY_S:
                return
            last = (stage, now)
            params = {"job": job, "stage": stage, "fraction": plain(fraction) or 0.0, "text": text[:TOLD_LENGTH]}
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


def work(pipes: Pipes, role: str, home: Path, parent: int, warm_gib: float, memory_gib: float) -> int:
    """Be one of the engine's processes; the exit code."""
    processes.die_with_parent(parent)
    faulthandler.enable(2)
    switch_off()
    Worker(pipes, Keeping(home, int(warm_gib * GIB), int(memory_gib * GIB))).run()
    return 0

"""An engine as a child process of this Python program; calls block, events go to a callback."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from activeseg.client.engine_client import TAIL_LINES, CrashedEvent, EngineClient, Event, Failure, Result
from activeseg.client.launch import EngineOptions, engine_command, engine_environment
from activeseg.core.errors import ActiveSegError, Crashed, EngineError
from activeseg.system.processes import exit_reason

Listener = Callable[[Event], None]
_ENDED = object()


class SubprocessEngine:
    """Starts an engine at the first call, and again at the call after a crash.

    All methods are for one thread, the one that waits. ``cancel`` alone may be called from a ``listener``.
    """

    def __init__(
        self,
        python: str | Path,
        home: str | Path,
        options: EngineOptions | None = None,
        name: str = "activeseg",
        environment: Mapping[str, str] | None = None,
        listener: Listener | None = None,
    ) -> None:
        """Nothing is started yet. ``environment`` None takes this process's, cleaned."""
        self.client = EngineClient(name)
        self._command = engine_command(python, home, options)
        self._environment = engine_environment() if environment is None else dict(environment)
        self._listener: Listener = listener or (lambda event: None)
        self._arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: dict[str, Result | Failure] = {}
        self._stderr: deque[str] = deque(maxlen=TAIL_LINES)
        self._threads: list[threading.Thread] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._log = ""

    def __enter__(self) -> SubprocessEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> dict[str, Any]:
        """Start the engine if none runs; what it says about itself.

        Raises EngineError when it cannot be started or speaks another version, Crashed when it ended at once.
        """
        if self.process is not None and self.process.poll() is None and self.client.engine:
            return self.client.engine
        self._forget_process()
        try:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise EngineError(
                f"The engine's Python '{self._command[0]}' cannot be started: {error.strerror or error}.",
                "Set up the engine's environment again.",
            ) from error
        self._arrived = queue.SimpleQueue()
        for target, stream in ((self._read, self.process.stdout), (self._read_errors, self.process.stderr)):
            thread = threading.Thread(target=target, args=(stream, self._arrived), daemon=True)
            thread.start()
            self._threads.append(thread)
        id, line = self.client.hello()
        self._write(line)
        engine: dict[str, Any] = self.wait(id)
        self._log = str(engine.get("log", ""))
        return engine

    def call(self, method: str, params: Mapping[str, Any] | None = None, timeout_s: float | None = None) -> Any:
        """Ask and wait for the answer. Raises the typed error of the engine, Crashed, or TimeoutError."""
        return self.wait(self.submit(method, params), timeout_s)

    def submit(self, method: str, params: Mapping[str, Any] | None = None) -> str:
        """Ask and go on; the id is for ``wait`` and ``cancel``."""
        self.start()
        id, line = self.client.request(method, params)
        self._write(line)
        return id

    def wait(self, id: str, timeout_s: float | None = None) -> Any:
        """The result of a request. Raises its error, or TimeoutError (then it can be waited for again)."""
        answer = self.answer(id, timeout_s)
        if isinstance(answer, Failure):
            raise answer.error
        return answer.value

    def answer(self, id: str, timeout_s: float | None = None) -> Result | Failure:
        """Like ``wait``, but a failure is returned."""
        self.wait_for(lambda event: isinstance(event, Result | Failure) and event.id == id, timeout_s, known=id)
        return self._answers.pop(id)

    def wait_for(self, wanted: Callable[[Event], bool], timeout_s: float | None = None, known: str = "") -> None:
        """Handle events until ``wanted`` is true for one. Raises TimeoutError; Crashed when the engine has ended."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while known not in self._answers:
            if self.process is None:
                raise Crashed("The engine is not running.", "Call again; it starts automatically.")
            try:
                left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                data = self._arrived.get(timeout=left)
            except queue.Empty:
                raise TimeoutError(f"No answer of the engine within {timeout_s} s.") from None
            found = False
            crashed: Crashed | None = None
            for event in self._events(data):
                if isinstance(event, Result | Failure):
                    self._answers[event.id] = event
                if isinstance(event, CrashedEvent):
                    crashed = event.error
                found = wanted(event) or found
                self._listener(event)
            if found:
                return
            if crashed is not None and known not in self._answers:
                raise crashed

    def cancel(self, job: str) -> str:
        """Ask to end a job; its own request then fails with Cancelled. The id is of the question."""
        return self.submit("cancel", {"job": job})

    def close(self, timeout_s: float = 10.0) -> None:
        """End the engine and wait until it is gone."""
        process = self.process
        if process is None:
            return
        with contextlib.suppress(ActiveSegError, OSError, TimeoutError):
            if process.poll() is None and self.client.engine:
                self.wait(self.submit("shutdown"), timeout_s)  # it may die instead of answering, and is forgotten then
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._forget_process()

    def _events(self, data: Any) -> list[Event]:
        if data is not _ENDED:
            return self.client.receive(data)
        assert self.process is not None
        code = self.process.wait()
        events = self.client.closed(f"The engine ended unexpectedly ({exit_reason(code)}).", self._tail())
        self._forget_process()
        return events

    def _tail(self) -> tuple[str, ...]:
        """The end of the log, or of what was printed before there was one."""
        for thread in self._threads:
            thread.join(1.0)
        return tail(Path(self._log)) or tuple(self._stderr) if self._log else tuple(self._stderr)

    def _forget_process(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                assert stream is not None
                with contextlib.suppress(OSError):
                    stream.close()
            if self.client.pending:  # requests of a process that was given up
                self.client.closed("The engine was stopped.")
        self.process, self._threads = None, []

    def _write(self, line: bytes) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # a broken or closed pipe: the reader reports the end
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def _read(self, stream: IO[bytes], arrived: queue.SimpleQueue[Any]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(stream.fileno(), 65536):
                arrived.put(data)
        arrived.put(_ENDED)

    def _read_errors(self, stream: IO[bytes], _: object) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in stream:
                self._stderr.append(line.decode("utf-8", "replace").rstrip())


def tail(path: Path, lines: int = TAIL_LINES) -> tuple[str, ...]:
    """The last lines of a log; empty when there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 200 * lines))
            return tuple(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError:
        return ()

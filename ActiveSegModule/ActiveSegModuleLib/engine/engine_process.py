"""The engine as a QProcess of the application: no threads, and nothing but ``shutdown`` blocks.

The same code runs in Slicer (``qt``, which is PythonQt) and with PySide6 (``PySide6.QtCore``).
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.client.engine_client import (
    TAIL_LINES,
    CrashedEvent,
    EngineClient,
    EstimateEvent,
    Event,
    Failure,
    LabelEvent,
    LogEvent,
    NoticeEvent,
    ProgressEvent,
    Result,
)
from activeseg.client.launch import EngineOptions, engine_command, engine_environment
from activeseg.client.subprocess_engine import tail
from activeseg.core.errors import ActiveSegError, EngineError
from activeseg.system.processes import exit_reason

from ..slicer_types import Qt
from .engine import OnError, OnNotice, OnProgress, ignore
from .later import Later
from .signals import connect

_STDERR_BYTES = 8192


def _show(error: Exception) -> None:
    sys.excepthook(type(error), error, error.__traceback__)


@dataclass(frozen=True)
class Listeners:
    """Who hears of what concerns no single request.

    Attributes
    ----------
    starting : when an engine's process is started
    started : with what the engine says about itself (``hello`` in ``docs/protocol.md``)
    ended : once for each engine that is lost, after each of its open requests got the same error; and the end of its
        log. The error is a Crashed, or an EngineError when it cannot be started or speaks another version
    log : with each line of the log
    exception : with what a callback raised, and with errors of requests that have no ``on_error``
    """

    started: Callable[[Mapping[str, Any]], None] = ignore
    ended: Callable[[ActiveSegError, tuple[str, ...]], None] = ignore
    log: Callable[[str], None] = ignore
    exception: Callable[[Exception], None] = _show
    starting: Callable[[], None] = ignore


@dataclass(frozen=True)
class _Callbacks:
    result: Callable[[Any], None]
    error: OnError | None
    progress: OnProgress
    notice: OnNotice


@dataclass(frozen=True)
class _Lost:
    error: ActiveSegError
    log_tail: tuple[str, ...]


class EngineProcess:
    """Starts an engine at the first request, and again at the request after its end.

    Callbacks come from the event loop, in the order of the events, and never from within a call of this class. They
    may call it, open dialogs, or raise.

    ``later`` calls functions at later turns of the event loop, until ``shutdown``.

    Keep a reference, and call ``shutdown`` when the application quits (``aboutToQuit()``) or the module is reloaded.
    """

    def __init__(
        self,
        qt: Qt,
        python: str | Path,
        home: str | Path,
        environment: Mapping[str, str],
        options: EngineOptions | None = None,
        listeners: Listeners | None = None,
        name: str = "Slicer",
    ) -> None:
        """Nothing is started yet.

        Parameters
        ----------
        qt : the module that holds QProcess, QTimer, QByteArray and QProcessEnvironment
        python : the Python of the engine's environment
        home : a folder for logs and scratch
        environment : variables to start from, in Slicer those of ``slicer.util.startupEnvironment()``; what would
            disturb a foreign Python is taken out
        name : who is asking, for the engine's log
        """
        self._qt = qt
        self._client = EngineClient(name)
        self._listeners = listeners or Listeners()
        self._program, *self._arguments = engine_command(python, home, options)
        self._callbacks: dict[str, _Callbacks] = {}
        self._waiting: list[bytes] = []  # to be sent after the greeting
        self._greeting = b""
        self._refusal: ActiveSegError | None = None  # why an engine that has started is not used
        self._stderr = b""
        self._shut_down = False
        self._events: deque[Event | _Lost] = deque()
        self._delivery_is_due = False
        self.later = Later(qt)
        variables = qt.QProcessEnvironment()
        for key, value in engine_environment(environment).items():
            variables.insert(key, value)
        self._process = qt.QProcess()
        self._process.setProcessEnvironment(variables)
        for signature, slot in (
            ("started()", self._greet),
            ("readyReadStandardOutput()", self._read),
            ("readyReadStandardError()", self._read_errors),
            ("finished(int,QProcess::ExitStatus)", self._finished),
            ("errorOccurred(QProcess::ProcessError)", self._failed),
        ):
            connect(self._process, signature, slot)

    @property
    def engine(self) -> Mapping[str, Any]:
        """What the running engine said about itself, such as its ``inbox``; empty when none is ready."""
        return self._client.engine

    @property
    def is_starting(self) -> bool:
        """Whether its process runs and has not said anything yet."""
        return self._runs() and not self.engine

    def start(self) -> None:
        """Start the engine if none runs; a listener hears how it went. Raises EngineError after ``shutdown``."""
        self._refuse_after_shutdown()
        if not self._runs():
            self._refusal, self._stderr = None, b""
            _, self._greeting = self._client.hello()
            self._process.start(self._program, self._arguments)
            self.later(self._listeners.starting)

    def request(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        on_result: Callable[[Any], None] = ignore,
        on_error: OnError | None = None,
        on_progress: OnProgress = ignore,
        on_notice: OnNotice = ignore,
    ) -> str:
        """See ``Engine.request``. Raises EngineError after ``shutdown``."""
        self._refuse_after_shutdown()
        id, line = self._client.request(method, params)
        self._callbacks[id] = _Callbacks(on_result, on_error, on_progress, on_notice)
        if self.engine:
            self._write(line)
        else:
            self._waiting.append(line)
            self.start()
        return id

    def cancel(self, id: str) -> None:
        """See ``Engine.cancel``."""
        if id in self._client.pending:
            self.request("cancel", {"job": id}, on_error=ignore)  # the answer may have crossed this on its way

    def shutdown(self, timeout_s: float = 5.0) -> None:
        """End the engine and all that it started, for good, and wait until it is gone; nothing is called back any more.

        An engine that does not end within ``timeout_s`` is killed; its own processes end with it.
        """
        self._shut_down = True
        self.later.close()
        self._client.closed("The engine was shut down.")
        for left in (self._callbacks, self._waiting, self._events):
            left.clear()
        if self._runs():
            self._process.closeWriteChannel()
            if not self._process.waitForFinished(round(timeout_s * 1000)):
                self._process.kill()
                self._process.waitForFinished(round(timeout_s * 1000))

    def _runs(self) -> bool:
        return self._process.state() != self._qt.QProcess.ProcessState.NotRunning

    def _refuse_after_shutdown(self) -> None:
        if self._shut_down:
            raise EngineError("The engine was shut down.", "Reload the module, or restart the application.")

    # What the process tells. No callback runs here, where an open dialog would keep QProcess from signalling again.

    def _greet(self) -> None:
        self._write(self._greeting)

    def _read(self) -> None:
        data = self._process.readAllStandardOutput().data()
        if self._shut_down:
            return
        for event in self._client.receive(data):
            self._events.append(event)
            if isinstance(event, Result | Failure) and event.method == "hello":
                self._greeted(event)
        self._deliver_soon()

    def _greeted(self, answer: Result | Failure) -> None:
        if isinstance(answer, Result):
            for line in self._waiting:
                self._write(line)
            self._waiting.clear()
        else:
            self._refusal = answer.error
            self._process.kill()

    def _read_errors(self) -> None:
        """What is printed before the log is open, for example by a Python that cannot start."""
        self._stderr = (self._stderr + self._process.readAllStandardError().data())[-_STDERR_BYTES:]

    def _finished(self, code: int, status: object) -> None:
        self._read()
        self._read_errors()
        signalled = os.name == "posix" and status == self._qt.QProcess.ExitStatus.CrashExit
        reason = exit_reason(-code if signalled else code & 0xFFFFFFFF)  # Windows' own codes come as negative numbers
        log = self.engine.get("log")
        log_tail = tail(Path(log)) if log else ()
        printed = tuple(self._stderr.decode("utf-8", "replace").splitlines()[-TAIL_LINES:])
        self._lost(f"The engine ended unexpectedly ({reason}).", log_tail or printed, self._refusal)

    def _failed(self, kind: object) -> None:
        if kind == self._qt.QProcess.ProcessError.FailedToStart:  # all others are followed by ``finished``, or harmless
            error = EngineError(
                f"The engine's Python '{self._program}' cannot be started: {self._process.errorString()}.",
                "Set up the engine's environment again.",
            )
            self._lost(error.message, (), error)

    def _lost(self, reason: str, log_tail: tuple[str, ...], error: ActiveSegError | None) -> None:
        """The process is gone; ``error`` None makes it a crash."""
        if self._shut_down:
            return
        for told in self._client.closed(reason, log_tail):
            if isinstance(told, Failure):
                self._events.append(Failure(told.id, told.method, error or told.error))
            elif isinstance(told, CrashedEvent):
                self._events.append(_Lost(error or told.error, log_tail))
        self._waiting.clear()
        self._deliver_soon()

    def _write(self, line: bytes) -> None:
        self._process.write(self._qt.QByteArray(line))

    # Callbacks, from the event loop.

    def _deliver_soon(self) -> None:
        if self._events and not self._delivery_is_due:
            self._delivery_is_due = True
            self.later(self._deliver)

    def _deliver(self) -> None:
        self._delivery_is_due = False
        while self._events:
            event = self._events.popleft()
            self._deliver_soon()  # the rest, in case that this callback opens a dialog
            try:
                self._tell(event)
            except Exception as error:
                self._complain(error)

    def _tell(self, event: Event | _Lost) -> None:
        match event:
            case Result(method="hello", value=about):
                self._listeners.started(about)
            case Result(id=id, value=value) if id in self._callbacks:
                self._callbacks.pop(id).result(value)
            case Failure(id=id, error=error) if id in self._callbacks:
                (self._callbacks.pop(id).error or self._listeners.exception)(error)
            case ProgressEvent() if event.job in self._callbacks:
                self._callbacks[event.job].progress(event)
            case EstimateEvent() | NoticeEvent() | LabelEvent() if event.job in self._callbacks:
                self._callbacks[event.job].notice(event)
            case LogEvent(line):
                self._listeners.log(line)
            case _Lost(error, log_tail):
                self._listeners.ended(error, log_tail)

    def _complain(self, error: Exception) -> None:
        try:
            self._listeners.exception(error)
        except Exception as another:
            _show(another)

"""The process that a client talks to: it answers at once, keeps the jobs in order, and never imports torch."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from activeseg.client.protocol import (
    PROTOCOL_VERSION,
    TOO_LONG,
    ErrorCode,
    ErrorResponse,
    Lines,
    ProtocolError,
    Request,
    Response,
    decode,
)
from activeseg.core.about import __version__
from activeseg.core.errors import ActiveSegError, EngineError, InputError, shown
from activeseg.engine.methods import METHODS
from activeseg.engine.pipes import Pipes
from activeseg.engine.supervisor.child import Gone, Heard, Unreadable
from activeseg.engine.supervisor.client_side import Client
from activeseg.engine.supervisor.dispatcher import LISTED, Dispatcher, Limits
from activeseg.engine.supervisor.log_file import LogFile, remove_old_logs
from activeseg.engine.unexpected import new_number, unexpected
from activeseg.system import processes
from activeseg.system.disk import told_full

TAIL_BYTES = 1 << 19
"""Of the log's end in one message."""
LAST_RESORT_S = 4.0


class _InputEnded:
    """The client has closed its end, or is gone."""


Event = bytes | None | Heard | Unreadable | Gone | _InputEnded


class Supervisor:
    """Reads requests, answers them or has them queued.

    All decisions are taken in one thread, the main one; others only carry bytes to and from it.
    """

    def __init__(
        self, pipes: Pipes, home: Path, log: LogFile, limits: Limits, python: str, environment: Mapping[str, str]
    ) -> None:
        self._pipes = pipes
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._client = Client(pipes.target, log, lambda: self._events.put(_InputEnded()))
        self._dispatcher = Dispatcher(self._client, home, limits, python, environment, self._events.put)
        self._ended = False
        self._own: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "hello": self._hello,
            "cancel": self._dispatcher.cancel,
            "jobs.list": lambda params: {"jobs": self._dispatcher.listed()},
            "job.release": self._dispatcher.release,
            "log.tail": self._log_tail,
            "shutdown": lambda params: {},
        }

    def run(self) -> None:
        """Serve until the client is gone or has asked to end; then nothing of the engine is left."""
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            while not self._ended:
                with contextlib.suppress(queue.Empty):
                    self._take(self._events.get(timeout=self._dispatcher.next_turn()))
                self._dispatcher.look_after_jobs()
        finally:
            self._dispatcher.end()

    def stop(self) -> None:
        """End soon; may be called from a signal handler."""
        self._events.put(_InputEnded())

    # What arrives.

    def _listen(self) -> None:
        lines = Lines()

        def received(data: bytes) -> None:
            for line in lines.feed(data):
                self._events.put(line)

        self._pipes.read_all(received)
        self._events.put(_InputEnded())
        # Should the main thread hang, the engine still ends in time.
        resort = threading.Timer(LAST_RESORT_S, self._dispatcher.last_resort)
        resort.daemon = True
        resort.start()

    def _take(self, event: Event) -> None:
        """Handle what has arrived; whatever goes wrong with it, the next one is handled as well."""
        try:
            self._handle(event)
        except Exception as error:
            self._client.log_failure("What arrived could not be handled", error)

    def _handle(self, event: Event) -> None:
        match event:
            case None:
                self._client.answer(TOO_LONG.reply)
            case bytes():
                self._handle_line(event)
            case Heard():
                self._dispatcher.handle_child(event.child, event.message)
            case Unreadable():
                self._dispatcher.handle_unreadable(event)
            case Gone():
                self._dispatcher.handle_end(event.child)
            case _InputEnded():
                self._ended = True

    def _handle_line(self, line: bytes) -> None:
        try:
            message = decode(line)
            if not isinstance(message, Request):
                raise ProtocolError(ErrorCode.INVALID_REQUEST, "Only requests are answered here, with an id.")
            self._handle_request(message)
        except ProtocolError as error:
            self._client.answer(error.reply)

    def _handle_request(self, request: Request) -> None:
        if not self._client.greeted and request.method != "hello":
            raise ProtocolError(ErrorCode.NO_HELLO, "The first request must be 'hello'.", request.id)
        if self._dispatcher.knows(request.id):
            raise ProtocolError(ErrorCode.INVALID_REQUEST, f"The id '{request.id}' was used before.", request.id)
        try:
            if request.method in self._own:
                answer = Response(request.id, self._own[request.method](request.params))
            elif request.method in METHODS:
                self._dispatcher.queue(request)
                return
            else:
                raise ProtocolError(
                    ErrorCode.UNKNOWN_METHOD, f"There is no method {shown(request.method)}.", request.id
                )
        except ProtocolError:
            raise
        except _Unsupported as error:
            self._client.answer(ErrorResponse.of(request.id, error, ErrorCode.UNSUPPORTED_PROTOCOL))
        except InputError as error:
            self._client.answer(ErrorResponse.of(request.id, error, ErrorCode.INVALID_PARAMS))
        except ActiveSegError as error:
            self._client.answer(ErrorResponse.of(request.id, error))
        except Exception as error:
            number = new_number()
            self._client.log_failure(f"{shown(request.method)} could not be handled ({number})", error)
            if not self._dispatcher.knows(request.id):  # else it is answered when it ends
                self._client.answer(ErrorResponse.of(request.id, unexpected(number, "request"), ErrorCode.INTERNAL))
        else:
            self._client.answer(answer)
            if request.method == "hello":
                with contextlib.suppress(OSError):  # told when a question needs it
                    self._dispatcher.start_clerk()
            self._ended = request.method == "shutdown"

    # What is answered here.

    def _hello(self, params: Mapping[str, Any]) -> dict[str, Any]:
        if self._client.greeted:
            raise InputError("'hello' was said before.", "Start another engine for another client.")
        spoken = params.get("protocol")
        if spoken != PROTOCOL_VERSION or isinstance(spoken, bool):
            raise _Unsupported(
                f"The client speaks version {shown(spoken)} of the protocol, the engine version {PROTOCOL_VERSION}.",
                "Update the engine's environment, or the program that uses it.",
            )
        self._client.greeted = True
        self._client.log.write(f"Client: {str(params.get('client', ''))[:100]}")
        return {
            "protocol": PROTOCOL_VERSION,
            "activeseg": __version__,
            "pid": os.getpid(),
            "python": ".".join(str(n) for n in sys.version_info[:3]),
            "log": str(self._client.log.path),
            "inbox": str(self._dispatcher.scratch.inbox),
            "methods": sorted([*self._own, *METHODS]),
        }

    def _log_tail(self, params: Mapping[str, Any]) -> dict[str, Any]:
        lines = params.get("lines", 50)
        if not isinstance(lines, int) or isinstance(lines, bool) or lines < 0:
            raise InputError(f"'lines' is {shown(lines)}; it must be a number from 0.")
        room, fitting = TAIL_BYTES, []
        for line in reversed(self._client.log.tail(min(lines, LISTED * 2))):
            room -= len(json.dumps(line))
            if room < 0:
                break
            fitting.append(line)
        return {"lines": fitting[::-1], "log": str(self._client.log.path)}


class _Unsupported(EngineError):
    """The client speaks another version of the protocol."""


def supervise(home: Path, limits: Limits, python: str, environment: Mapping[str, str]) -> int:
    """Be the engine on this process's stdin and stdout; the exit code."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        logs = home / "logs"
        log = LogFile(logs / f"engine-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log", limits.log_bytes)
        remove_old_logs(logs)
        pipes = Pipes.take_over(log.descriptor)
        processes.lead_session()
        supervisor = Supervisor(pipes, home, log, limits, python, environment)
    except OSError as error:
        full = told_full(error, home)
        print(full or f"The engine cannot use its folder '{home}': {error.strerror or error}.", file=sys.stderr)
        return ActiveSegError.exit_code
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    supervisor.run()
    return 0

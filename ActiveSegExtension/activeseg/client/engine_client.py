"""The client's half of the protocol: bytes in, events out. No process, no Qt, no threads; transports own those."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from activeseg.client.protocol import (
    PROTOCOL_VERSION,
    ErrorResponse,
    Lines,
    Notification,
    ProtocolError,
    Request,
    Response,
    decode,
    encode,
)
from activeseg.core.about import __version__
from activeseg.core.errors import ActiveSegError, Crashed, EngineError, shown

TAIL_LINES = 20


@dataclass(frozen=True)
class Result:
    """A request was answered."""

    id: str
    method: str
    value: Any


@dataclass(frozen=True)
class Failure:
    """A request failed, or its job was cancelled (``error`` is then a Cancelled)."""

    id: str
    method: str
    error: ActiveSegError


@dataclass(frozen=True)
class ProgressEvent:
    """How far a job is.

    Attributes
    ----------
    fraction
        The part of the whole job that is done, 0..1; it never falls.
    eta_s
        Seconds left of the whole job; None where that is not known.
    late
        Whether the stage takes longer than was expected.
    """

    job: str
    stage: str
    fraction: float
    eta_s: float | None
    text: str
    late: bool = False


@dataclass(frozen=True)
class EstimateEvent:
    """What a job will need, before it starts; see ``docs/protocol.md``."""

    job: str
    estimate: Mapping[str, Any]


@dataclass(frozen=True)
class NoticeEvent:
    """Something that the user should read about a job: what was assumed, or a step down to save memory."""

    job: str
    text: str


@dataclass(frozen=True)
class LabelEvent:
    """A job's label map is there, while the job goes on; ``result`` has the shape of ``segment``'s.

    Its files stay as long as those of the job's result, and until a ``cancel`` of the job is answered.
    """

    job: str
    result: Mapping[str, Any]


@dataclass(frozen=True)
class LogEvent:
    """A line of the engine's log."""

    line: str


@dataclass(frozen=True)
class CrashedEvent:
    """The engine ended unexpectedly; open requests got their Failure before. ``log_tail`` is for the user to read."""

    error: Crashed
    log_tail: tuple[str, ...] = ()


Event = Result | Failure | ProgressEvent | EstimateEvent | NoticeEvent | LabelEvent | LogEvent | CrashedEvent


@dataclass
class EngineClient:
    """One conversation with one engine after the other.

    A transport writes what ``hello`` and ``request`` give to the engine's stdin, passes what comes from its stdout to
    ``receive``, and says ``closed`` when the process has ended. After that, ``hello`` begins with the next engine; ids
    go on, so that a late answer is never taken for another one's.

    Attributes
    ----------
    name : who is asking, for the engine's log
    engine : what the engine said about itself in its answer to ``hello``; empty before that
    """

    name: str
    engine: dict[str, Any] = field(default_factory=dict)
    _open: dict[str, str] = field(default_factory=dict)
    _lines: Lines = field(default_factory=Lines)
    _count: int = 0
    _hello: str = ""

    @property
    def pending(self) -> Mapping[str, str]:
        """Requests without an answer yet: id -> method."""
        return dict(self._open)

    def hello(self) -> tuple[str, bytes]:
        """The first request to a fresh engine."""
        self._lines, self.engine = Lines(), {}
        self._hello, line = self.request(
            "hello", {"protocol": PROTOCOL_VERSION, "client": self.name, "activeseg": __version__}
        )
        return self._hello, line

    def request(self, method: str, params: Mapping[str, Any] | None = None) -> tuple[str, bytes]:
        """A request's id (the name of its job) and the bytes to send. Raises EngineError for an impossible message."""
        request = Request(str(self._count + 1), method, params or {})
        line = encode(request)
        self._count += 1
        self._open[request.id] = method
        return request.id, line

    def receive(self, data: bytes) -> list[Event]:
        """The events in these bytes, however they are cut. Never raises: what is no message becomes a LogEvent."""
        events: list[Event] = []
        for line in self._lines.feed(data):
            if line is None:
                events.append(LogEvent("The engine sent a message that is too long; it was skipped."))
                continue
            event: Event | None
            try:
                event = self._event(line)
            except ProtocolError:
                event = LogEvent(f"Not a message: {line[:200]!r}")
            except Exception:  # whatever an engine of another version or a damaged one says
                event = LogEvent(f"Not a message that this version knows: {line[:200]!r}")
            if event is not None:
                events.append(event)
        return events

    def closed(self, reason: str, log_tail: tuple[str, ...] = ()) -> list[Event]:
        """The process has ended: a Failure for every open request, and one CrashedEvent at the end.

        ``reason`` is a sentence. Not to be called after a ``shutdown`` that was asked for and answered.
        """
        action = "Start the job again; the engine starts automatically."
        error = Crashed(reason, action, log=list(log_tail[-TAIL_LINES:]))
        failures: list[Event] = [Failure(id, method, error) for id, method in self._open.items()]
        self._open.clear()
        self._lines, self.engine = Lines(), {}
        return [*failures, CrashedEvent(error, log_tail)]

    def _event(self, line: bytes) -> Event | None:
        message = decode(line)
        match message:
            case Response(id, value):
                if id not in self._open:
                    return LogEvent(f"An answer to nothing that was asked: {id}")
                method = self._open.pop(id)
                return self._greeted(value) if id == self._hello else Result(id, method, value)
            case ErrorResponse():
                if message.id is None or message.id not in self._open:
                    return LogEvent(f"The engine refused a message: {message.message}")
                return Failure(message.id, self._open.pop(message.id), message.error())
            case Notification():
                return _event_of(message)
            case Request():
                return LogEvent(f"The engine asked for '{message.method}', which clients do not answer.")

    def _greeted(self, value: Any) -> Event:
        spoken = value.get("protocol") if isinstance(value, dict) else None
        if spoken != PROTOCOL_VERSION:
            error = EngineError(
                f"The engine speaks version {shown(spoken)} of the protocol, this program version {PROTOCOL_VERSION}.",
                "Update the engine's environment, or this program.",
            )
            return Failure(self._hello, "hello", error)
        self.engine = dict(value)
        return Result(self._hello, "hello", value)


def _event_of(message: Notification) -> Event:
    params = message.params
    if message.method == "progress":
        eta = params["eta_s"]
        return ProgressEvent(
            str(params["job"]),
            str(params["stage"]),
            min(max(float(params["fraction"]), 0.0), 1.0),
            None if eta is None else float(eta),
            str(params["text"]),
            params.get("late") is True,
        )
    if message.method == "estimate":
        return EstimateEvent(str(params["job"]), dict(params["estimate"]))
    if message.method == "notice":
        return NoticeEvent(str(params["job"]), str(params["text"]))
    if message.method == "label":
        return LabelEvent(str(params["job"]), dict(params["result"]))
    if message.method == "log":
        return LogEvent(str(params["line"]))
    return LogEvent(f"A notification of a later version: {message.method}")

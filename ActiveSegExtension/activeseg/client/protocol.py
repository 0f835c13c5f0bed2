"""The messages between a client and the engine: JSON-RPC 2.0, one UTF-8 line each. See ``docs/protocol.md``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from activeseg.core.errors import ActiveSegError, EngineError, shortened, shown
from activeseg.core.json_depth import is_deeper

PROTOCOL_VERSION = 2
LINE_LIMIT = 1 << 20
"""Bytes of one message with its newline; arrays never travel in messages."""
NAME_LIMIT = 200
"""Characters of a method's name or of an id."""
DEPTH_LIMIT = 100
"""How deep a message may be nested: far below Python's stack, however deep the reader and the writer already are."""
SENTENCE_LIMIT = 4000
"""Characters of an error's message and of its action."""


class ErrorCode(IntEnum):
    """Numbers of errors: those of JSON-RPC, then those of ActiveSeg from -32000 on."""

    PARSE = -32700
    INVALID_REQUEST = -32600
    UNKNOWN_METHOD = -32601
    INVALID_PARAMS = -32602
    INTERNAL = -32603
    ACTIVESEG = -32000
    NO_HELLO = -32001
    UNSUPPORTED_PROTOCOL = -32002
    TOO_LONG = -32003


@dataclass(frozen=True)
class Request:
    """Asks for something; ``id`` is new in this session, and the name of the job that it may start."""

    id: str
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Response:
    """The one answer to a request."""

    id: str
    result: Any


@dataclass(frozen=True)
class ErrorResponse:
    """The one answer to a request that failed; ``id`` is None when the message could not be told apart."""

    id: str | None
    code: int
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, request: str | None, error: ActiveSegError, code: ErrorCode = ErrorCode.ACTIVESEG) -> ErrorResponse:
        """A typed error as it travels: sentence, and in ``data`` the kind, the suggested action and the details."""
        action = shortened(error.action, SENTENCE_LIMIT)
        data = {"code": error.code, "action": action, "details": error.details}
        return cls(request, int(code), shortened(error.message, SENTENCE_LIMIT), data)

    def error(self) -> ActiveSegError:
        """The typed error again; an unknown kind becomes an EngineError."""
        return ActiveSegError.from_dict({**self.data, "message": self.message})


@dataclass(frozen=True)
class Notification:
    """Tells something; there is no answer."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)


Message = Request | Response | ErrorResponse | Notification


class ProtocolError(Exception):
    """A line that is no message; ``reply`` is the answer that it gets."""

    def __init__(self, code: ErrorCode, message: str, request: str | None = None) -> None:
        super().__init__(message)
        self.reply = ErrorResponse.of(request, EngineError(message), code)


class Lines:
    """Cuts bytes, however they arrive, into lines; a longer one than the limit is dropped up to its newline."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._length = 0
        self._dropping = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that are complete now, without newline; None stands for one that was too long."""
        found: list[bytes | None] = []
        *complete, rest = data.split(b"\n")
        for piece in complete:
            self._add(piece)
            found.append(None if self._dropping else b"".join(self._pieces))
            self._pieces, self._length, self._dropping = [], 0, False
        self._add(rest)
        return found

    def _add(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length >= self._limit:
            self._dropping, self._pieces = True, []
        if not self._dropping and piece:
            self._pieces.append(piece)


TOO_LONG = ProtocolError(
    ErrorCode.TOO_LONG, f"A message was longer than {LINE_LIMIT} bytes and was skipped. Arrays go by files."
)


def encode(message: Message) -> bytes:
    """One line with its newline, which ``decode`` reads.

    Raises EngineError when it is too long, nested too deeply, or holds what JSON cannot say.
    """
    body: dict[str, Any] = {"jsonrpc": "2.0"}
    match message:
        case Request():
            body |= {"id": message.id, "method": message.method, "params": dict(message.params)}
        case Response():
            body |= {"id": message.id, "result": message.result}
        case ErrorResponse():
            error = {"code": message.code, "message": message.message, "data": dict(message.data)}
            body |= {"id": message.id, "error": error}
        case Notification():
            body |= {"method": message.method, "params": dict(message.params)}
    try:
        line = json.dumps(body, allow_nan=False, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
    except RecursionError as error:
        raise EngineError(_TOO_DEEP) from error
    except (TypeError, ValueError) as error:
        raise EngineError(f"A message cannot be written as JSON: {shortened(str(error), 200)}.") from error
    if len(line) > LINE_LIMIT:
        raise EngineError(f"A message of {len(line)} bytes is too long; {LINE_LIMIT} are allowed.")
    if _may_be_deep(line) and is_deeper(body, DEPTH_LIMIT):
        raise EngineError(_TOO_DEEP)
    return line


def encode_answer(answer: Response | ErrorResponse) -> bytes:
    """One line in any case: an answer that cannot be sent becomes a short error which says so."""
    try:
        return encode(answer)
    except EngineError as error:
        if isinstance(answer, Response):
            told = EngineError(f"The result cannot be sent: {error.message}", "Please send us the log.")
            return encode(ErrorResponse.of(answer.id, told, ErrorCode.INTERNAL))
        kind = answer.data.get("code")
        data = {"code": kind if isinstance(kind, str) else EngineError.code, "action": "", "details": {}}
        if isinstance(action := answer.data.get("action"), str):
            data["action"] = shortened(action, SENTENCE_LIMIT)
        return encode(ErrorResponse(answer.id, answer.code, shortened(str(answer.message), SENTENCE_LIMIT), data))


def decode(line: bytes) -> Message:
    """The message of one line. Raises ProtocolError for anything else."""
    try:
        body = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(ErrorCode.PARSE, f"A line is not JSON: {shortened(str(error), 200)}.") from error
    if not isinstance(body, dict):
        raise ProtocolError(ErrorCode.INVALID_REQUEST, f"A message must be a JSON object, not a {type(body).__name__}.")
    request = _id_of(body)
    if _may_be_deep(line) and is_deeper(body, DEPTH_LIMIT):
        raise ProtocolError(ErrorCode.INVALID_REQUEST, _TOO_DEEP, request)
    if body.get("jsonrpc") != "2.0":
        raise ProtocolError(ErrorCode.INVALID_REQUEST, 'A message must say "jsonrpc": "2.0".', request)
    if "method" in body:
        return _call(body, request)
    return _answer(body, request)


def _call(body: Mapping[str, Any], request: str | None) -> Message:
    method, params = body["method"], body.get("params", {})
    if not isinstance(method, str) or not 0 < len(method) <= NAME_LIMIT:
        raise ProtocolError(
            ErrorCode.INVALID_REQUEST, f"'method' must be a name of 1 to {NAME_LIMIT} characters.", request
        )
    if not isinstance(params, dict):
        kind = type(params).__name__
        raise ProtocolError(
            ErrorCode.INVALID_PARAMS, f"'params' of {shown(method)} must be an object, not a {kind}.", request
        )
    if "id" not in body:
        return Notification(method, params)
    if request is None:
        raise ProtocolError(
            ErrorCode.INVALID_REQUEST, f"'id' must be a whole number or a text of 1 to {NAME_LIMIT} characters."
        )
    return Request(request, method, params)


def _answer(body: Mapping[str, Any], request: str | None) -> Message:
    if "result" in body and request is not None:
        return Response(request, body["result"])
    error = body.get("error")
    if isinstance(error, dict) and isinstance(error.get("code"), int) and isinstance(error.get("message"), str):
        data = error.get("data")
        return ErrorResponse(request, error["code"], error["message"], data if isinstance(data, dict) else {})
    raise ProtocolError(ErrorCode.INVALID_REQUEST, "A message has neither a method nor a result.", request)


def _id_of(body: Mapping[str, Any]) -> str | None:
    """Numbers and texts are the same name: 1 and "1" are one job."""
    value = body.get("id")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53:
        return str(value)
    return value if isinstance(value, str) and 0 < len(value) <= NAME_LIMIT else None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # beyond what Python makes of a text
        raise ValueError(f"{shortened(text, 40)} is too large a number") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # 1e999, which no JSON could say again
        raise ValueError(f"{shortened(text, 40)} is too large a number")
    return value


_TOO_DEEP = f"A message is nested more deeply than {DEPTH_LIMIT} levels."


def _may_be_deep(line: bytes) -> bool:
    """Whether there are brackets enough; hardly any message has so many, and only those are walked through."""
    return line.count(b"[") + line.count(b"{") > DEPTH_LIMIT

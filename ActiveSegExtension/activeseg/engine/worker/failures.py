"""What a client is told of a job that failed, and what the log keeps of it."""

from __future__ import annotations

import os
import re
import sys
import traceback
from pathlib import Path

from activeseg.client.protocol import ErrorCode, ErrorResponse, Request
from activeseg.core.errors import ActiveSegError, EngineError, InputError, Remedy, shortened
from activeseg.engine.unexpected import new_number, unexpected
from activeseg.engine.worker.plain import plain
from activeseg.engine.worker.requests import WrongParams
from activeseg.system.disk import told_full

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def answer_to_failure(request: Request, error: BaseException) -> ErrorResponse:
    """What is told to the user, who knows which image it was; the log gets the rest, without it."""
    if isinstance(error, WrongParams):
        return ErrorResponse.of(request.id, error, ErrorCode.INVALID_PARAMS)
    answer, number = _foreseen(request, error), new_number()
    what = f"{request.method} failed" + ("" if answer else f" ({number})")
    for line in discreetly(what, error):
        print(line, file=sys.stderr)
    return answer or ErrorResponse.of(request.id, unexpected(number), ErrorCode.INTERNAL)


def _foreseen(request: Request, error: BaseException) -> ErrorResponse | None:
    """The answer to errors that are raised on purpose, and to what may go wrong on any computer."""
    full = told_full(error, _folder_of(request))
    if full is not None and not isinstance(error, ActiveSegError):
        return ErrorResponse.of(request.id, full)
    if isinstance(error, ActiveSegError):
        if full is not None and full.message not in error.message:
            error.message = f"{error.message} {full.message}"
        try:
            error.details = plain(error.details)
        except Exception:
            error.details = {}
        return ErrorResponse.of(request.id, error)
    if isinstance(error, OSError) and error.filename:
        why = error.strerror or type(error).__name__
        unusable = InputError(f"'{os.fsdecode(error.filename)}' cannot be used: {why}.", "Check its name and rights.")
        return ErrorResponse.of(request.id, unusable)
    if isinstance(error, ImportError):  # what the engine needs was there when it was installed
        what = shortened(f"{type(error).__name__}: {error}".strip(": "), 500)
        sentence = f"A package of the engine is missing or damaged ({what})."
        return ErrorResponse.of(
            request.id,
            EngineError(
                sentence, "Repair the engine's environment.", cause="imports", remedy=Remedy.REPAIR_ENVIRONMENT
            ),
        )
    return None


def _folder_of(request: Request) -> Path:
    folder = request.params.get("folder")
    return Path(folder) if isinstance(folder, str) else Path.cwd()


def discreetly(what: str, error: BaseException) -> list[str]:
    """Lines for the log about a failure: kinds and places in the code.

    Our own sentences name files and what they hold, so they stay out; of others what is in quotes does.
    """
    lines, seen = [], 0
    cause: BaseException | None = error
    while cause is not None and seen < 10:
        kind = cause.code if isinstance(cause, ActiveSegError) else ""
        said = "" if isinstance(cause, ActiveSegError | OSError) else _QUOTED.sub("'...'", str(cause))
        if isinstance(cause, OSError):
            said = cause.strerror or ""
        begin = f"{what}: " if not seen else "  because of "
        lines.append(f"{begin}{type(cause).__name__} {kind or shortened(said, 500)}".rstrip())
        for frame in traceback.extract_tb(cause.__traceback__)[-12:]:
            lines.append(f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}')
        cause, seen = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__), seen + 1
    return lines

"""What goes to the client and into the log."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from activeseg.client.protocol import ErrorResponse, Notification, Response, encode, encode_answer
from activeseg.core.errors import EngineError
from activeseg.engine.pipes import Writer
from activeseg.engine.supervisor.log_file import LogFile
from activeseg.engine.supervisor.log_names import Names

BACKLOG = 500
"""Lines that wait for a client who does not read; beyond it progress and log are dropped."""


class Client:
    """The other end of stdout, and the log.

    Attributes
    ----------
    log
        The log file.
    names
        What must not be in the log.
    greeted
        Whether ``hello`` was answered; before that nothing is told unasked.
    """

    def __init__(self, target: int, log: LogFile, gone: Callable[[], object]) -> None:
        """``gone`` is called when the client no longer reads."""
        self.log, self.names, self.greeted = log, Names(), False
        self._writer = Writer(target, gone)

    def answer(self, message: Response | ErrorResponse) -> None:
        self._writer.send(encode_answer(message))

    def notify(self, method: str, **params: Any) -> None:
        """Tell something that may be dropped."""
        if self.greeted and self._writer.backlog < BACKLOG:
            with contextlib.suppress(EngineError):  # nobody waits for what cannot be said
                self._writer.send(encode(Notification(method, params)))

    def pass_on(self, message: Notification) -> None:
        """Tell what is a part of an answer: it is never dropped."""
        self._writer.send(encode(message))

    def printed(self, line: str) -> None:
        """From the threads that collect what the processes print."""
        line = self.names.hidden(line)
        self.log.write(line)
        self.notify("log", line=line[:2000])

    def log_failure(self, what: str, error: BaseException) -> None:
        """Where in the code it happened; the error's own words may hold names of files."""
        frames = traceback.extract_tb(error.__traceback__)
        places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-6:]))
        self.log.write(f"{what}: {type(error).__name__} at {places}")

    def close(self) -> None:
        self._writer.close(1.0)

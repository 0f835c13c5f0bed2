"""One of the engine's own processes, as the supervisor sees it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from activeseg.client.protocol import Lines, Message, ProtocolError, decode, encode
from activeseg.engine.pipes import Writer, read_all
from activeseg.system.processes import exit_reason, kill_tree

_LINE_ENDS = re.compile(rb"[\r\n]+")
_LONGEST_PRINT = 8192


@dataclass(frozen=True)
class Heard:
    """A process sent a message."""

    child: Child
    message: Message


@dataclass(frozen=True)
class Unreadable:
    """What a process sent is no message; ``why`` is a sentence."""

    child: Child
    why: str


@dataclass(frozen=True)
class Gone:
    """A process has closed its pipe, which it does by ending."""

    child: Child


class Child:
    """A started process; what it says arrives as ``Heard``, its end as ``Gone``, what it prints as lines."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        events: Callable[[Heard | Unreadable | Gone], object],
        printed: Callable[[str], object],
    ) -> None:
        """Start it in a group of its own. To be called from the main thread: Linux ties the process to that thread."""
        self._events = events
        self._printed = printed
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=os.name == "posix",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        assert self.process.stdin is not None
        self._writer = Writer(self.process.stdin.fileno(), lambda: None)
        threading.Thread(target=self._listen, daemon=True).start()
        self._log = threading.Thread(target=self._collect_prints, daemon=True)
        self._log.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, message: Message) -> None:
        """Raises EngineError when the message cannot be sent; a process that is gone is noticed by ``Gone``.

        Never waits for the process, which may be stopped.
        """
        self._writer.send(encode(message))

    def ask_to_end(self) -> None:
        """Close its input; it ends when it has nothing to do."""
        self._writer.close(1.0)
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def kill(self) -> None:
        """End it and everything that it started; waits until it is gone."""
        kill_tree(self.pid)
        self.process.wait()
        self.ask_to_end()

    def reason(self) -> str:
        """How it ended, in words; its last prints have then arrived."""
        try:
            code = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.kill()
            return "it closed its pipe"
        self._log.join(1.0)
        return exit_reason(code)

    def _listen(self) -> None:
        lines = Lines()

        def received(data: bytes) -> None:
            for line in lines.feed(data):
                if line is None:
                    self._events(Unreadable(self, "It sent a message that is too long."))
                    continue
                try:
                    message = decode(line)
                except ProtocolError as error:
                    self._events(Unreadable(self, f"It sent what is no message: {error}"))
                    continue
                self._events(Heard(self, message))

        assert self.process.stdout is not None
        read_all(self.process.stdout.fileno(), received)
        self._events(Gone(self))
        self.process.wait()  # else one that was asked to end stays in the system's table of processes

    def _collect_prints(self) -> None:
        """Lines of stderr; progress bars rewrite theirs with carriage returns, and some never end one."""
        rest = b""

        def received(data: bytes) -> None:
            nonlocal rest
            *complete, rest = _LINE_ENDS.split(rest + data)
            if len(rest) > _LONGEST_PRINT:
                complete, rest = [*complete, rest], b""
            for line in complete:
                if line.strip():
                    self._printed(line.decode("utf-8", "replace"))

        assert self.process.stderr is not None
        read_all(self.process.stderr.fileno(), received)
        if rest.strip():
            self._printed(rest.decode("utf-8", "replace"))

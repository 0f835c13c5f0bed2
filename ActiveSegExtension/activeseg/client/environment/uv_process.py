"""Runs a program for the environment: what it says goes to the log, and cancelling ends it with all that it started."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from activeseg.client.environment.failure import failure, failure_of, without_secrets
from activeseg.client.environment.uv_commands import shown

TICK_S = 0.1
"""How often cancelling is asked for while nothing is said; a caller in a GUI handles its events then."""
GRACE_S = 1.0

_WINDOWS_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)


@dataclass(frozen=True)
class Said:
    """What a program printed, by stream."""

    out: list[str]
    err: list[str]


@dataclass(frozen=True)
class Runner:
    """Runs programs in one folder with one environment and one log.

    ``held`` is a file descriptor that programs inherit: a lock on it lasts as long as the last of them.
    """

    folder: Path
    environment: Mapping[str, str]
    log: Path
    held: int | None = None

    def run(
        self,
        command: Sequence[str],
        what: str,
        tick: Callable[[], None],
        heard: Callable[[str], None] = lambda line: None,
    ) -> Said:
        """Run to the end. ``tick`` is called at least every 0.1 s and ends the program by raising; ``heard`` per line.

        Raises EngineError, whose message begins with ``what``, when the program fails; what ``tick`` raises otherwise.
        """
        self._note(f"$ {shown(command)}")
        try:
            process = subprocess.Popen(
                list(command),
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=os.name == "posix",
                pass_fds=() if self.held is None or os.name != "posix" else (self.held,),
                creationflags=_WINDOWS_GROUP,
            )
        except OSError as error:
            raise failure_of(what, error, str(self.log)) from error
        said = Said([], [])
        lines: queue.SimpleQueue[tuple[list[str], str] | None] = queue.SimpleQueue()
        readers = []
        for stream, kept in ((process.stdout, said.out), (process.stderr, said.err)):
            assert stream is not None
            readers.append(threading.Thread(target=_read, args=(stream, kept, lines), daemon=True))
            readers[-1].start()
        try:
            self._follow(lines, len(readers), tick, heard)
        except BaseException:
            end_tree(process)
            raise
        finally:
            for reader in readers:
                reader.join(GRACE_S)
        code = process.wait()
        if code != 0:
            self._note(f"exit code {code}")
            raise failure(what, [*said.err, *said.out] or [f"exit code {code}"], str(self.log))
        return said

    def _follow(
        self,
        lines: queue.SimpleQueue[tuple[list[str], str] | None],
        readers: int,
        tick: Callable[[], None],
        heard: Callable[[str], None],
    ) -> None:
        while readers:
            tick()
            try:
                item = lines.get(timeout=TICK_S)
            except queue.Empty:
                continue
            if item is None:
                readers -= 1
                continue
            kept, line = item
            kept.append(line)
            self._note(line)
            heard(line)

    def _note(self, line: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(without_secrets(line) + "\n")


def _read(stream: IO[bytes], kept: list[str], lines: queue.SimpleQueue[tuple[list[str], str] | None]) -> None:
    with stream:
        for line in stream:
            lines.put((kept, line.decode("utf-8", "replace").rstrip()))
    lines.put(None)


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process that ``Runner`` started and everything that it started, and wait for it."""
    if sys.platform == "win32":
        subprocess.run(kill_command(process.pid), capture_output=True, check=False)
    else:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                break
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                continue
    process.wait()


def kill_command(pid: int) -> list[str]:
    """How Windows ends a process with its children."""
    return ["taskkill", "/T", "/F", "/PID", str(pid)]

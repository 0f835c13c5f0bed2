"""How a command speaks: its result on stdout, everything else on stderr, and how it ends."""

from __future__ import annotations

import codecs
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from activeseg.core.errors import ActiveSegError, Cancelled, DeviceError, Remedy
from activeseg.core.progress import Progress
from activeseg.system.disk import told_full

WIDTH_WITHOUT_TERMINAL = 160
SECONDS_BETWEEN_STAGES, SECONDS_BETWEEN_LINES = 2.0, 10.0

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and what libraries print.")]

COMMANDS: dict[str, str] = {
    Remedy.LIST_MODELS: "activeseg models",
    Remedy.ENTER_LICENCE: "totalseg_set_license -l NUMBER",
    Remedy.ADD_NNINTERACTIVE: "activeseg refiners add",
    Remedy.SEGMENT: "activeseg segment",
    Remedy.RECOVER_DATASET: "activeseg dataset recover",
    Remedy.MIGRATE_DATASET: "activeseg dataset migrate",
    Remedy.NEW_PROJECT: "activeseg project new",
    Remedy.CHECK_PROJECT: "activeseg project check",
    Remedy.ASSIGN_PATIENT: "activeseg project admit",
    Remedy.RESUME_TRAINING: "activeseg training resume",
    Remedy.INSTALL_ENVIRONMENT: "activeseg environment install",
    Remedy.UPDATE_ENVIRONMENT: "activeseg environment update",
    Remedy.REPAIR_ENVIRONMENT: "activeseg environment repair",
    Remedy.CHOOSE_PYTHON: "activeseg environment use",
}
"""What is typed for a remedy; the library's own sentences name no commands."""


class Conversation:
    """What a command may say, from its start to its end; made by ``conversation``."""

    def __init__(self, stdout: IO[str], as_json: bool) -> None:
        self._stdout = stdout
        self._as_json = as_json
        self._errors = _Errors(stderr=True, highlight=False, markup=False, emoji=False)
        self._interrupted = False

    def interrupt(self) -> None:
        """Remember that the user wants to stop, for work that swallows KeyboardInterrupt."""
        self._interrupted = True

    @property
    def errors(self) -> Console:
        """Where everything but the result goes."""
        return self._errors

    @property
    def interrupted(self) -> bool:
        """Whether the user pressed Ctrl+C."""
        return self._interrupted

    def notice(self, text: str) -> None:
        """Tell the user something that is not the result."""
        self._errors.print(text, soft_wrap=True)

    def result(self, document: Mapping[str, Any], *shown: RenderableType) -> None:
        """The command's one result: ``document`` for a program, or what is ``shown`` to a person.

        What the command did is done by now. That its report cannot be printed is told, and no error.
        """
        if self._as_json:
            self._write_json(document)
            return
        width = None if self._stdout.isatty() else WIDTH_WITHOUT_TERMINAL
        console = _Output(file=self._stdout, width=width, highlight=False, markup=False, emoji=False)
        with self._told_when_it_cannot_be_printed():
            for part in shown:
                console.print(part, soft_wrap=isinstance(part, str))
            self._stdout.flush()

    def error(self, error: ActiveSegError) -> None:
        """Say what went wrong and what to do, on stderr; a program finds it on stdout too."""
        self._errors.print(Text(error.message, style="red"), soft_wrap=True)
        if error.action:
            self.notice(error.action)
        if setting := error.details.get("setting"):
            self.notice(f"The option is --{setting}.")
        if command := COMMANDS.get(str(error.details.get("remedy"))):
            self.notice(f"The command is: {command}")
        if self._as_json:
            # Details may hold anything; what JSON lacks becomes text.
            plain = json.loads(json.dumps({"error": error.to_dict()}, default=str), parse_constant=str)
            self._write_json(plain)

    def _write_json(self, document: Mapping[str, Any]) -> None:
        text = json.dumps(document, indent=1, allow_nan=False)
        with self._told_when_it_cannot_be_printed():
            self._stdout.write(text + "\n")
            self._stdout.flush()

    @contextmanager
    def _told_when_it_cannot_be_printed(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # the reader has ended, as ``head`` does
            pass
        except OSError as error:
            self.notice(f"The command has done its work, but its result cannot be printed: {error.strerror or error}.")

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A progress for long work: a bar with the time left on a terminal, a line now and then elsewhere."""
        if not self._errors.is_terminal:
            yield Progress(_rising(_lines(self.notice)), lambda: self._interrupted)
            return
        from rich import progress as bars

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TaskProgressColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[text]}", markup=False),
        )
        with bars.Progress(*columns, console=self._errors, transient=True) as bar:
            task = bar.add_task("", total=1.0, text="")

            def report(stage: str, fraction: float, text: str) -> None:
                bar.update(task, completed=fraction, description=stage, text=text)

            yield Progress(_rising(report), lambda: self._interrupted)


def table(*headings: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table in the style of all commands; columns in ``right`` hold numbers."""
    empty = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        empty.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return empty


Report = Callable[[str, float, str], None]


def _rising(report: Report) -> Report:
    """Reports whose fraction never falls: a stage that begins at its own 0 would spoil the time left."""
    highest = 0.0

    def rising(stage: str, fraction: float, text: str) -> None:
        nonlocal highest
        highest = max(highest, fraction)
        report(stage, highest, text)

    return rising


def _lines(notice: Callable[[str], None]) -> Report:
    """Reports as lines: nothing for quick work, then each new stage, and a line every ten seconds."""
    last_stage, last_time = "", time.monotonic()

    def report(stage: str, fraction: float, text: str) -> None:
        nonlocal last_stage, last_time
        passed = time.monotonic() - last_time
        if passed > (SECONDS_BETWEEN_STAGES if stage != last_stage else SECONDS_BETWEEN_LINES):
            last_stage, last_time = stage, time.monotonic()
            notice(f"{fraction:4.0%} {stage} {text}".rstrip())

    return report


@contextmanager
def conversation(as_json: bool, debug: bool) -> Iterator[Conversation]:
    """The frame around every command: nothing but its result reaches stdout, and every end has its exit code.

    Libraries print to file descriptor 1 (nnU-Net its citation), so that is pointed elsewhere while the command runs.
    Raises typer.Exit with the error's exit code, whatever went wrong.
    """
    with _own_stdout(debug) as stdout, _signals_interrupt() as on_signal, warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
        talk = Conversation(stdout, as_json)
        on_signal.append(talk.interrupt)
        try:
            yield talk
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            if debug:
                traceback.print_exc()
            told = _told(error)
            talk.error(told)
            raise typer.Exit(told.exit_code) from error


def _told(error: BaseException) -> ActiveSegError:
    """What the user is told about an error; one that we did not foresee is our mistake."""
    if isinstance(error, ActiveSegError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Cancelled()
    if isinstance(error, ModuleNotFoundError):
        return ActiveSegError(f"The package '{error.name}' is missing.", "Install it: pip install 'activeseg[engine]'.")
    if isinstance(error, MemoryError):
        return DeviceError("There is not enough memory.", "Close other programs, or use a coarser model.")
    full = told_full(error, Path.cwd())
    if full is not None:
        return full
    if isinstance(error, OSError):
        return ActiveSegError(f"A file could not be used: {error}.", "Check free space, names and permissions.")
    return ActiveSegError(
        f"ActiveSeg failed for an unexpected reason ({type(error).__name__}).",
        "This is a bug in ActiveSeg. Run the command again with --debug and report what it prints.",
    )


class _Output(Console):
    """Rich's own ends the program when the reader has ended."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class _Errors(_Output):
    """Prints to stderr, and goes on where that is closed, full or cannot show a letter: work must not end by it."""

    def print(self, *objects: Any, **options: Any) -> None:
        with suppress(OSError, ValueError):
            super().print(*objects, **options)

    def _check_buffer(self) -> None:  # where rich writes, for a progress bar from a thread of its own
        with suppress(OSError, ValueError):
            super()._check_buffer()


def _encoded_anyway(error: UnicodeError) -> tuple[str | bytes, int]:
    """The bytes of a file name that are no UTF-8; other impossible letters as escapes."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


codecs.register_error("activeseg", _encoded_anyway)


@contextmanager
def _own_stdout(debug: bool) -> Iterator[IO[str]]:
    """The real stdout as a file, while Python's and the process's own lead to nowhere, or to stderr for debugging.

    A path that is not UTF-8 comes out with the bytes that it has. A closed stdout is one without a reader.
    """
    if sys.stdout is not None:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:
        kept = os.open(os.devnull, os.O_WRONLY)
    elsewhere = os.dup(2) if debug else os.open(os.devnull, os.O_WRONLY)
    os.dup2(elsewhere, 1)
    stdout = os.fdopen(os.dup(kept), "w", encoding="utf-8", errors="activeseg")
    try:
        with os.fdopen(elsewhere, "w", encoding="utf-8", errors="backslashreplace") as sink, redirect_stdout(sink):
            yield stdout
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        with suppress(OSError):
            stdout.close()


@contextmanager
def _signals_interrupt() -> Iterator[list[Callable[[], None]]]:
    """Ctrl-C and a request to end both raise KeyboardInterrupt, after what is put into the list was called."""
    called: list[Callable[[], None]] = []

    def handler(number: int, frame: object) -> None:
        for function in called:
            function()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield called
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)

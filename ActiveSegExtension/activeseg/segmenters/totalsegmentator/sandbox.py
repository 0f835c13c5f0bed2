"""The private place in which the original TotalSegmentator runs.

The package keeps its configuration in ``TOTALSEG_HOME_DIR``, rewrites it at every run, creates it with usage statistics
turned on, sets environment variables and prints. Here it gets a home of its own for one run: statistics off
unless the user wants them, the user's licence copied in, everything put back afterwards.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from activeseg.core.errors import ModelError
from activeseg.core.progress import Progress
from activeseg.system.regular_files import read_json

VARIABLES = ("TOTALSEG_HOME_DIR", "TOTALSEG_WEIGHTS_PATH", "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
PREFIX = "activeseg_totalseg_"
LICENCE_LENGTH = 18  # the only thing that the package itself checks offline (config.has_valid_license_offline)

_one_at_a_time = threading.RLock()  # the environment and the package's modules belong to the whole process


@dataclass(frozen=True)
class UserHome:
    """The user's own TotalSegmentator folders. Only weights that are downloaded are ever written there."""

    home: Path
    weights: Path

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> UserHome:
        """Where the package would look (``config.get_totalseg_dir``, ``config.get_weights_dir``)."""
        if "TOTALSEG_HOME_DIR" in environment:
            home = Path(environment["TOTALSEG_HOME_DIR"])
        else:
            base = Path.home()
            home = (Path("/tmp") if str(base) == "/" else base) / ".totalsegmentator"
        weights = environment.get("TOTALSEG_WEIGHTS_PATH")
        return cls(home, Path(weights) if weights else home / "nnunet" / "results")

    def configuration(self) -> dict[str, Any]:
        """What the user's ``config.json`` holds; empty when there is none or it cannot be read."""
        try:
            return read_json(self.home / "config.json", ModelError)
        except ModelError:
            return {}

    @property
    def licence(self) -> str | None:
        """The licence number that ``totalseg_set_license`` stored."""
        number = self.configuration().get("license_number")
        return number if isinstance(number, str) and len(number) == LICENCE_LENGTH else None


class Printed:
    """Stands in for ``sys.stdout``: keeps what this thread prints, lets other threads through to the real one."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None else io.StringIO()  # a program without a console has none
        self._thread = threading.get_ident()
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        if threading.get_ident() != self._thread:
            return self._stream.write(text)
        self.lines += [line for line in text.splitlines() if line.strip()]
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def outside(self, progress: Progress) -> Progress:
        """A progress whose receiver may print: it gets the caller's own ``sys.stdout`` while it reports."""

        def report(stage: str, fraction: float, text: str) -> None:
            with redirect_stdout(self._stream):
                progress.report(stage, fraction, text)

        return Progress(report, progress.cancelled)


@contextmanager
def sandbox(user: UserHome, weights: Path, statistics: bool = False) -> Iterator[Printed]:
    """Within it the original package runs with a home of its own; yields what it prints.

    Parameters
    ----------
    weights : where the package finds (or puts) the trained models
    statistics : whether it may send its usage statistics

    Raises
    ------
    ModelError : the package ended the program (``sys.exit``), with the reason that it printed
    """
    with ExitStack() as stack:
        stack.enter_context(_one_at_a_time)
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX)))
        _write_configuration(home, user, statistics)
        stack.enter_context(_environment({"TOTALSEG_HOME_DIR": str(home), "TOTALSEG_WEIGHTS_PATH": str(weights)}))
        printed = Printed(sys.stdout)
        stack.enter_context(redirect_stdout(printed))
        try:
            yield printed
        except SystemExit as error:
            said = error.code if isinstance(error.code, str) else " ".join(printed.lines[-4:])
            raise ModelError(f"TotalSegmentator stopped: {' '.join(str(said).split()) or 'no reason given'}") from error


@contextmanager
def replaced(module: ModuleType, **names: Any) -> Iterator[None]:
    """Within it the module's globals of these names are others; they are put back whatever happens."""
    before = {name: getattr(module, name) for name in names}
    try:
        for name, value in names.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def _write_configuration(home: Path, user: UserHome, statistics: bool) -> None:
    theirs = user.configuration()
    ours: dict[str, Any] = {
        "totalseg_id": theirs.get("totalseg_id", "totalseg_ACTIVESG") if statistics else "totalseg_ACTIVESG",
        "send_usage_stats": statistics,
        "prediction_counter": 0,
        "statistics_disclaimer_shown": True,
    }
    if user.licence:
        ours["license_number"] = user.licence
    path = home / "config.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(ours), encoding="utf-8")


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these variables; afterwards all that the package touches are as before (``setup_nnunet`` sets three more)."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

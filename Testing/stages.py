"""What ``run.py test`` runs, and how the results are counted together.

Stages of one environment run one after the other, the two environments beside each other: much of the time goes into
waiting for processes, and the whole takes two thirds of what it would.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from environments import ENGINE, ROOT, SLICER, Environment, child_environment, say

NO_TESTS = 5  # pytest's exit code when it collected nothing
ENGINE_PYTHON = "ACTIVESEG_ENGINE_PYTHON"  # names the engine's Python to tests that run in another environment


@dataclass(frozen=True)
class Count:
    """Results of one or more stages; an error counts as failed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


@dataclass(frozen=True)
class Check:
    """A stage whose commands (arguments of Python, run in ``folder``) each pass or fail as a whole."""

    name: str
    environment: Environment
    folder: str
    commands: tuple[tuple[str, ...], ...]

    @property
    def environments(self) -> tuple[Environment, ...]:
        return (self.environment,)

    def run(self, _arguments: Sequence[str]) -> Count:
        """Run all commands, whichever fails; arguments of pytest mean nothing to them."""
        count = Count()
        for command in self.commands:
            code = tell(self.name, [str(self.environment.python), *command], ROOT / self.folder, child_environment())
            count += Count(passed=int(code == 0), failed=int(code != 0))
        return count


@dataclass(frozen=True)
class Tests:
    """A stage of pytest; ``paths`` are relative to Testing/. ``starts_engine``: they need the engine's Python."""

    name: str
    environment: Environment
    paths: tuple[str, ...]
    starts_engine: bool = False

    @property
    def environments(self) -> tuple[Environment, ...]:
        return (self.environment, ENGINE) if self.starts_engine else (self.environment,)

    def run(self, arguments: Sequence[str]) -> Count:
        """Run with more arguments of pytest. A stage without tests fails, unless the arguments left none."""
        variables = child_environment()
        if self.starts_engine:
            variables[ENGINE_PYTHON] = str(ENGINE.python)
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [str(self.environment.python), "-m", "pytest", "-q", f"--junitxml={report}"]
            paths = [f"Testing/{path}" for path in self.paths]
            code = tell(self.name, [*command, *paths, *arguments], ROOT, variables)
            count = count_junit(report) if report.is_file() else Count()
        if code == NO_TESTS and arguments:
            return count
        if code and not count.failed:
            return count + Count(failed=1)  # no tests, a crash, or wrong arguments
        return count


def tell(name: str, command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> int:
    """Run a command and print its lines behind the stage's name; gives its exit code."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            say(f"{name:8} | {line.rstrip()}")
    return process.returncode


def count_junit(report: Path) -> Count:
    """The results in a file that pytest's --junitxml wrote."""
    count = Count()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        count += Count(tests - failed - skipped, failed, skipped)
    return count


STOCK_SLICER = ("core", "system", "samples", "io", "client")
"""Packages of ``activeseg`` that Slicer's own Python imports, and so the folders of unit tests that run there too."""

STAGES: tuple[Check | Tests, ...] = (
    Check(
        "style",
        ENGINE,
        ".",
        (("-m", "ruff", "check"), ("-m", "ruff", "format", "--check")),
    ),
    Check(
        "types",
        ENGINE,
        "ActiveSegExtension",
        (
            ("-m", "mypy", "activeseg"),
            ("-m", "mypy", "--config-file", "../ActiveSegModule/mypy.ini", "-p", "ActiveSegModuleLib"),
            ("-m", "mypy", "../Testing/environments.py", "../Testing/stages.py"),
        ),
    ),
    Tests("contract", ENGINE, ("contract",)),
    Tests("unit", ENGINE, ("unit",)),
    Tests("engine", ENGINE, ("engine",)),
    Tests("core", SLICER, tuple(f"unit/{name}" for name in STOCK_SLICER)),  # in Slicer's environment
    Tests("mrml", SLICER, ("mrml",)),
    Tests("render", SLICER, ("render",)),
    Tests("qt", SLICER, ("qt",), starts_engine=True),
    Tests("panel", SLICER, ("panel",), starts_engine=True),
)


def run_stages(stages: Sequence[Check | Tests], for_pytest: Sequence[str]) -> int:
    """Run all stages whatever fails, print a summary as the last line, and give the exit code."""

    def run_lane(lane: Sequence[Check | Tests]) -> list[tuple[str, Count]]:
        return [(stage.name, run_stage(stage, for_pytest)) for stage in lane]

    environments = dict.fromkeys(stage.environment for stage in stages)
    lanes = [[stage for stage in stages if stage.environment is environment] for environment in environments]
    total, failed = Count(), []
    with ThreadPoolExecutor(max_workers=max(1, len(lanes))) as pool:
        for results in pool.map(run_lane, lanes):
            for name, count in results:
                total += count
                if count.failed:
                    failed.append(name)
    say("")
    if failed:
        say(f"Failed: {', '.join(failed)}.")
    elif not total.passed:
        say("No test ran.")
    say(str(total))
    return 1 if failed or not total.passed else 0


def run_stage(stage: Check | Tests, for_pytest: Sequence[str]) -> Count:
    """Run one stage, and say how it went and how long it took."""
    say(f"\n== {stage.name}")
    started = time.monotonic()
    count = stage.run(for_pytest)
    say(f"== {stage.name}: {count} ({time.monotonic() - started:.0f} s)")
    return count

"""What ``run.py test`` runs, one stage after the other, and how their results are counted together."""

from __future__ import annotations

import subprocess
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
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

    def run(self) -> Count:
        count = Count()
        for command in self.commands:
            done = subprocess.run(
                [str(self.environment.python), *command], cwd=ROOT / self.folder, env=child_environment(), check=False
            )
            count += Count(passed=int(done.returncode == 0), failed=int(done.returncode != 0))
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
            done = subprocess.run([*command, *paths, *arguments], cwd=ROOT, env=variables, check=False)
            count = count_junit(report) if report.is_file() else Count()
        if done.returncode == NO_TESTS and arguments:
            return count
        if done.returncode and not count.failed:
            return count + Count(failed=1)  # no tests, a crash, or wrong arguments
        return count


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
    total, failed = Count(), []
    for stage in stages:
        say(f"\n== {stage.name}")
        started = time.monotonic()
        count = stage.run() if isinstance(stage, Check) else stage.run(for_pytest)
        say(f"== {stage.name}: {count} ({time.monotonic() - started:.0f} s)")
        total += count
        if count.failed:
            failed.append(stage.name)
    say("")
    if failed:
        say(f"Failed: {', '.join(failed)}.")
    elif not total.passed:
        say("No test ran.")
    say(str(total))
    return 1 if failed or not total.passed else 0

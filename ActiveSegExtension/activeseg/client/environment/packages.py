"""The long stage of an installation: which packages suit this computer, and getting them."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from activeseg.client.environment import lock as locks
from activeseg.client.environment import plan as plans
from activeseg.client.environment import status as statuses
from activeseg.client.environment import uv_commands
from activeseg.client.environment.folder import EnvironmentFolder, size_of
from activeseg.client.environment.interpreter import Interpreter
from activeseg.client.environment.lock import Lock
from activeseg.client.environment.plan import Plan
from activeseg.client.environment.uv_process import Runner
from activeseg.core.errors import EngineError
from activeseg.core.progress import Progress
from activeseg.core.sizes import size_text

_UNREACHED = {"network", "proxy", "certificate", "credentials"}
_TORCH_INDEX = "download.pytorch.org"
_SECONDS_BETWEEN_SIZES = 2.0
_LOADING = re.compile(r"^\s*(Downloading|Downloaded|Building|Built) (\S+)(?: \(([\d.]+) ?([KMG]iB)\))?")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@dataclass(frozen=True)
class PackagesStage:
    """The stage that resolves and installs packages into the staging folder."""

    folder: EnvironmentFolder
    lock: Lock
    plan: Plan
    program: Path
    base: Interpreter
    run: Runner

    def make(self, progress: Progress) -> list[str]:
        """Make the environment and fill it; sentences about what was done otherwise than planned."""
        source, staging = self.plan.options.source, self.folder.staging
        progress("packages", 0.0, f"Making an environment on {self.base.text}")
        make = uv_commands.make_venv(self.program, self.base.path, staging, source)
        self.run.run(make, "The environment cannot be made", progress.check)
        python = statuses.python_of(staging)
        torch = source.torch if self.lock.uses_torch and sys.platform != "darwin" else ""
        torch, notes = self._resolve(python, torch, progress)
        wanted = locks.names((self.folder.path / "packages.txt").read_text("utf-8"))
        disk = self.plan.disk_bytes
        if any(name.startswith("nvidia-") for name in wanted) and self.plan.accelerator == "cpu":
            disk = plans.expected_bytes(self.lock, "cuda", False)[1]
            plans.refuse_full_disk(self.folder.path, disk)
        sync = uv_commands.sync(self.program, python, source, self.folder.path / "packages.txt", torch)
        loading = _Loading(self.folder.cache, len(wanted), disk, progress)
        self.run.run(sync, "The packages could not be installed", loading.tick, loading.heard)
        return notes

    def _resolve(self, python: Path, torch: str, progress: Progress) -> tuple[str, list[str]]:
        """Write packages.txt; the build of torch that it is for, and sentences about what was not as planned."""
        lock = self.lock
        notes: list[str] = []
        while True:
            try:
                self._resolve_once(lock, python, torch, progress)
                return torch, notes
            except EngineError as error:
                cause, output = error.details.get("cause"), "\n".join(error.details.get("output", []))
                if torch and cause in _UNREACHED and _TORCH_INDEX in output:
                    torch = ""
                    notes.append(f"{_TORCH_INDEX} cannot be reached: PyTorch comes from the package index.")
                elif cause == "missing" and self.lock.uses_torch and lock is self.lock:
                    lock = lock.with_free_torch()
                    notes.append("The tested PyTorch has no build for this computer: another version is taken.")
                else:
                    raise
                progress("packages", 0.02, notes[-1])

    def _resolve_once(self, lock: Lock, python: Path, torch: str, progress: Progress) -> None:
        files = {"requirements": lock.requirements, "pins": lock.pins, "excludes": lock.excludes}
        paths = {name: self.folder.path / f"{name}.txt" for name in files}
        for name, text in files.items():
            paths[name].write_text(text, "utf-8")
        output = self.folder.path / "packages.txt"
        output.unlink(missing_ok=True)  # uv would keep to the versions in it
        source = self.plan.options.source
        command = uv_commands.resolve(self.program, python, source, **paths, output=output, torch=torch)

        def tick() -> None:
            progress("packages", 0.02, "Looking up packages")

        self.run.run(command, "The packages could not be found", tick)


class _Loading:
    """Progress of the installation itself, from what uv says and from what has arrived in its cache."""

    def __init__(self, cache: Path, packages: int, disk_bytes: int, progress: Progress) -> None:
        self._cache, self._packages, self._bytes, self._progress = cache, packages, disk_bytes, progress
        self._loading: dict[str, str] = {}
        self._measured, self._arrived, self._ready = -_SECONDS_BETWEEN_SIZES, 0, 0

    def heard(self, line: str) -> None:
        """Take note of ``Downloading torch (183.1MiB)`` and the like."""
        if match := _LOADING.match(line):
            verb, name, size = match[1], match[2], match[3]
            if verb in ("Downloading", "Building"):
                amount = f" ({size_text(float(size) * _UNITS[match[4]])})" if size else ""
                self._loading[name] = f"{verb} {name}{amount}"
            else:
                self._loading.pop(name, None)

    def tick(self) -> None:
        """Report how many packages are there, how much of it lies on disk, and what is being loaded."""
        if time.monotonic() - self._measured > _SECONDS_BETWEEN_SIZES:
            self._measured = time.monotonic()
            self._arrived = max(self._arrived, min(size_of(self._cache), self._bytes))
            ready = sum(1 for folder in self._cache.glob("archive-v*/*") if not folder.name.startswith("."))
            self._ready = max(self._ready, min(ready, self._packages))
        fraction = (self._ready / max(self._packages, 1) + self._arrived / max(self._bytes, 1)) / 2
        self._progress.amount(self._arrived, self._bytes)
        amount = f"{self._ready} of {self._packages} packages, {size_text(self._arrived)} of {size_text(self._bytes)}"
        now = f"; {next(iter(self._loading.values()))}" if self._loading else ""
        self._progress("packages", 0.05 + 0.94 * fraction, f"{amount}{now}")

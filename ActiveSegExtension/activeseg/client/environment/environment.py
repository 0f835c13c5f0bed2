"""The engine's own Python environment, outside of Slicer's Python: ``EngineEnvironment`` makes, checks and removes it.

Plain blocking functions with a ``Progress``, which is called at least every 0.1 s while a program runs, so that a
caller in a GUI can handle its events in it, and cancel. Killed at any moment, the same call can be repeated.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from activeseg.client.environment import chosen_python, uv, uv_commands
from activeseg.client.environment import interpreter as interpreters
from activeseg.client.environment import plan as plans
from activeseg.client.environment import status as statuses
from activeseg.client.environment.folder import DOWNLOADS, INSTALLED, EnvironmentFolder
from activeseg.client.environment.interpreter import Interpreter
from activeseg.client.environment.lock import Lock, engine_lock
from activeseg.client.environment.packages import PackagesStage
from activeseg.client.environment.plan import Options, Plan
from activeseg.client.environment.status import State, Status
from activeseg.client.environment.uv_commands import Source
from activeseg.client.environment.uv_process import Runner
from activeseg.client.launch import engine_environment
from activeseg.core.about import __version__
from activeseg.core.errors import EngineError, InputError, shown
from activeseg.core.progress import Progress
from activeseg.system.files import write_json
from activeseg.system.folders import data_folder

__all__ = ["EngineEnvironment", "Options", "Plan", "Source", "State", "Status", "default_folder"]

STAGES = ("uv", "python", "packages", "check")
"""Of an installation, in their order; a removal has one stage."""
_PARTS = {"uv": (0.0, 0.05), "python": (0.05, 0.12), "packages": (0.12, 0.9), "check": (0.9, 1.0)}
"""Stages, and their parts of the whole."""

_LIBRARY_MISSING = re.compile(r"DLL load failed|WinError (126|1114)", re.IGNORECASE)


class EngineEnvironment:
    """The environment in one folder that the user chose."""

    def __init__(self, folder: str | Path, lock: Lock | None = None) -> None:
        """Nothing is looked at yet. ``lock`` None takes the engine's packages."""
        self.folder = EnvironmentFolder(Path(folder).expanduser().absolute())
        self.lock = lock or engine_lock()

    @property
    def python(self) -> Path | None:
        """The program to start the engine with, without looking whether it works; None when nothing is installed."""
        marker = self.folder.marker() or {}
        if marker.get("existing"):
            return statuses.chosen_python(self.folder, marker)
        return statuses.python_of(self.folder.environment) if self.folder.installed() is not None else None

    def plan(self, options: Options | None = None) -> Plan:
        """What ``install`` would do. Nothing is written or downloaded.

        Raises InputError when it cannot work: the folder is someone else's, too little disk, the chosen Python is
        Slicer's or of another version, no builds for this computer, or no uv in the folder of wheels.
        """
        options = options or Options()
        if options.python is not None:
            found: Interpreter | None = interpreters.probe(options.python, "chosen")
        else:
            found = interpreters.on_path()
        return plans.make_plan(self.folder, options, self.lock, found)

    def plan_again(self) -> Plan:
        """What ``repair``, or ``update`` where it is needed, would do. Raises as ``plan``, and where nothing is."""
        return self.plan(self.options_of_installation())

    def left_bytes(self) -> int:
        """What an installation that was not completed has left, which the next one uses again; 0 without one."""
        return 0 if self.folder.marker() is None or self.python is not None else self.folder.size()

    def install(self, plan: Plan, progress: Progress | None = None) -> Status:
        """Make the environment as planned; an existing one stays until the new one works. Stages: uv, python, packages,
        check.

        Raises EngineError or InputError (what failed, its cause, what to do), and Cancelled when all that was started
        has ended. In every case the same call can be repeated, and goes on with what was downloaded.
        """
        with self.folder.exclusive() as held:
            self._install(plan, progress or Progress(), held)
        return self.check(files=False)

    def check(self, files: bool = True) -> Status:
        """How the environment is doing; nothing is changed.

        ``files`` also compares every installed file's existence and size with the packages' records, which takes up to
        a few seconds.
        """
        return statuses.status_of(self.folder, self.lock, files)

    def repair(self, progress: Progress | None = None) -> Status:
        """Reinstall the environment with the same settings; everything is downloaded again."""
        plan = self.plan(self.options_of_installation())
        with _telling_of_passwords(plan.options), self.folder.exclusive() as held:
            self.folder.clear("staging", "cache", "uv", "python")
            self._install(plan, progress or Progress(), held)
        return self.check(files=False)

    def update(self, progress: Progress | None = None) -> Status:
        """Bring an outdated environment to this version's packages; one that is ready is left alone."""
        status = self.check(files=False)
        if status.state is not State.READY:
            plan = self.plan(self.options_of_installation())
            with _telling_of_passwords(plan.options):
                return self.install(plan, progress)
        if not status.existing:
            with self.folder.exclusive():  # what an earlier one, killed at its very end, did not come to
                self.folder.clear("staging", "replaced", "cache")
        return status

    def remove(self, progress: Progress | None = None) -> list[str]:
        """Remove the environment and its folder; a Python that the user already had is only forgotten. Stage: remove.

        Files in the folder that are not ours stay, and their names are returned. Raises InputError when the folder has
        no marker of ActiveSeg, EngineError when something in it is in use.
        """
        if self.folder.marker() is None:
            raise InputError(
                f"'{self.folder.path}' was not made by ActiveSeg and is not removed.", "Choose the engine's folder."
            )
        progress = progress or Progress()
        with self.folder.exclusive():
            self.folder.empty(progress)
            chosen_python.forget(self.folder.path)
        left = self.folder.disappear()
        progress.report("remove", 1.0, "")  # nothing is left to be cancelled
        return left

    def use_existing(self, python: str | Path, progress: Progress | None = None) -> Status:
        """From now on use a Python that the user already has. It is started in a clean environment and never changed.

        Raises InputError when it is Slicer's, or lacks packages, or has others than the engine can work with;
        EngineError when it does not start.
        """
        progress = progress or Progress()
        # The path stays as it is given: a virtual environment's Python is a link to another one.
        path = Path(python).expanduser().absolute()
        interpreters.refuse_slicer(path)
        progress("check", 0.0, f"Starting {path}")
        wrong = statuses.outside_of(statuses.ask(path, self.lock), self.lock)
        if wrong:
            raise InputError(
                f"The Python '{path}' does not suit: {'; '.join(wrong)}.",
                "Install what is missing into it, or let ActiveSeg make an environment of its own.",
                cause="missing",
            )
        with self.folder.exclusive() as held:
            marker = self.folder.marker() or {}
            self.folder.claim(marker)
            self._try_imports(self._runner(Source(), held), path, progress.part(0.2, 1.0), writes=False)
            chosen_python.remember(self.folder.path, path)
            self.folder.claim({**marker, "existing": str(path)})
        return self.check(files=False)

    def options_of_installation(self) -> Options:
        """As the environment was installed. Raises InputError when it was not."""
        marker = self.folder.marker()
        if marker is None:
            raise InputError(f"There is no engine's environment in '{self.folder.path}'.", "Install it first.")
        if marker.get("existing"):
            raise InputError(
                f"The Python {shown(marker['existing'])} is your own; ActiveSeg does not change it.",
                "Update it yourself, or let ActiveSeg make an environment of its own.",
            )
        return Options.from_dict(marker.get("options", {})).completed(os.environ)

    def _install(self, plan: Plan, progress: Progress, held: int | None) -> None:
        folder = self.folder
        progress("uv", 0.0)
        plans.refuse_full_disk(folder.path, plan.disk_bytes)
        folder.recover()
        before = folder.marker() or {}
        content = {"options": plan.options.to_dict(), "activeseg": __version__}
        chosen = statuses.chosen_python(folder, before)
        existing = {"existing": str(chosen)} if chosen is not None else {}
        folder.claim({**content, **existing})
        folder.log.write_text("", "utf-8")
        parts = {stage: progress.part(start, stop) for stage, (start, stop) in _PARTS.items()}
        run = self._runner(plan.options.source, held)
        program = uv.obtain(folder.uv, plan.options.source, run, parts["uv"])
        base = _obtain_python(folder, plan, program, run, parts["python"])
        notes = PackagesStage(folder, self.lock, plan, program, base, run).make(parts["packages"])
        python = statuses.python_of(folder.staging)
        self._add_remedy(python)
        about = self._try_imports(run, python, parts["check"], writes=True)
        said = statuses.ask(python, self.lock)
        installed = {
            "lock": self.lock.digest,
            "activeseg": __version__,
            "python": said["version"],
            "base": str(base.path),
            "versions": said["versions"],
            "notes": notes,
            **about,
        }
        write_json(folder.staging / INSTALLED, installed)
        folder.commit()
        folder.claim(content)
        # Its files are the environment's own (hard links): damage would be in both, and a repair would restore it.
        folder.clear("cache")
        progress("check", 1.0, "Ready")

    def _runner(self, source: Source, held: int | None) -> Runner:
        (self.folder.path / uv_commands.CONFIGURATION).write_text("", "utf-8")
        return Runner(self.folder.path, uv_commands.uv_environment(self.folder.path, source), self.folder.log, held)

    def _add_remedy(self, python: Path) -> None:
        packages = Path(statuses.ask(python, self.lock)["packages"])
        for source in self.lock.remedy:
            (packages / source.name).write_bytes(source.read_bytes())

    def _try_imports(self, run: Runner, python: Path, progress: Progress, writes: bool) -> dict[str, Any]:
        """Import what the engine needs in another Python; what it says about graphics cards. Raises EngineError."""
        started = time.monotonic()
        text = "Importing the packages for the first time"

        def tick() -> None:
            progress("check", 1 - 1 / (1 + (time.monotonic() - started) / 10), text)

        isolated = ["-I", *([] if writes else ["-B"]), "-X", "utf8"]
        command = [str(python), *isolated, "-c", statuses.import_code(self.lock)]
        clean = replace(run, environment=engine_environment())
        said = clean.run(command, "The environment's Python does not work", tick)
        wrong, about = statuses.read_imports(said.out[-1])
        if wrong:
            action = "Repair it, or report the log to ActiveSeg."
            if not writes:
                action = "Install packages that fit together into it, or let ActiveSeg make an environment of its own."
            if any(_LIBRARY_MISSING.search(sentence) for sentence in wrong):
                action = "Install Microsoft's 'Visual C++ Redistributable' (x64), then try again."
            raise EngineError(
                f"The packages do not work: {wrong[0]}", action, cause="imports", output=wrong, log=str(run.log)
            )
        return about


def default_folder() -> Path:
    """Where the environment goes when the user chose nothing: the system's place for a user's larger data."""
    return data_folder() / "engine"


@contextlib.contextmanager
def _telling_of_passwords(options: Options) -> Iterator[None]:
    """An error of the network says that a password was not kept."""
    try:
        yield
    except EngineError as error:
        if options.unknown and error.details.get("cause") in ("proxy", "credentials", "network"):
            error.action = f"{' '.join(options.password_sentences())} {error.action}".strip()
        raise


def _obtain_python(
    folder: EnvironmentFolder, plan: Plan, program: Path, run: Runner, progress: Progress
) -> Interpreter:
    """The Python to build on: the chosen one, one that is found, one from an archive, one that is downloaded."""
    progress("python", 0.0, "Looking for a Python")
    if plan.options.python is not None:
        return interpreters.probe(plan.options.python, "chosen")
    if plan.interpreter is not None:
        return interpreters.probe(plan.interpreter.path, plan.interpreter.origin)
    source = plan.options.source
    for major, minor in interpreters.SUPPORTED:
        found = _found_by_uv(uv_commands.find_python(program, f"{major}.{minor}"), run, progress)
        if found is not None:
            return found
    mirror = run.environment.get("UV_PYTHON_INSTALL_MIRROR", "")
    if source.offline and plan.archive is None and not mirror.startswith("file:"):
        raise EngineError(
            "No Python 3.11 to 3.13 was found, and without internet none can be downloaded.",
            f"Install Python {interpreters.DOWNLOADED} and choose it, or put an archive named "
            f"'cpython-{interpreters.DOWNLOADED}...-{interpreters.standalone_triple()}-install_only.tar.gz' "
            "(of python-build-standalone) into the folder of wheels.",
            cause="python",
        )
    if plan.archive is not None:
        version, downloads = interpreters.archive_version(plan.archive), folder.path / DOWNLOADS
        write_json(downloads, interpreters.downloads_of(plan.archive))
        what, origin = f"The Python in '{plan.archive.name}' could not be unpacked", "archive"
        progress("python", 0.3, f"Unpacking {plan.archive.name}")
    else:
        version, downloads = interpreters.DOWNLOADED, None
        what, origin = f"Python {version} could not be downloaded", "downloaded"
        progress("python", 0.3, f"Downloading Python {version}")
    run.run(uv_commands.install_python(program, folder.python, version, downloads), what, progress.check)
    found = _found_by_uv(uv_commands.find_python(program, version, managed=True), run, progress)
    if found is None:
        raise EngineError(f"{what}: it is not where it was put.", "Choose a Python that you have.", cause="python")
    return replace(found, origin=origin)


def _found_by_uv(command: list[str], run: Runner, progress: Progress) -> Interpreter | None:
    try:
        said = run.run(command, "No Python was found", progress.check)
        return interpreters.probe(said.out[-1]) if said.out else None
    except (EngineError, InputError):
        return None  # none of this version, or one that cannot be built on: the next is tried

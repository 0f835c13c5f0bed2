"""How an environment is doing: looked at from outside, and asked by starting its Python."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from activeseg.client.environment.chosen_python import is_chosen
from activeseg.client.environment.folder import INSTALLED, EnvironmentFolder, extended
from activeseg.client.environment.interpreter import SUPPORTED, run_python
from activeseg.client.environment.lock import Lock, release
from activeseg.core.errors import ActiveSegError, EngineError, InputError, Remedy, shown
from activeseg.system.regular_files import read_bytes

SHOWN = ("torch", "nnunetv2", "TotalSegmentator")
"""Packages whose versions the user sees."""
SHOWN_PROBLEMS = 5
RECORD_LIMIT = 64 << 20
_REPAIR = "The environment has to be repaired."


class State(Enum):
    """How far an environment is."""

    MISSING = "missing"
    INCOMPLETE = "incomplete"
    READY = "ready"
    OUTDATED = "outdated"
    DAMAGED = "damaged"


_REMEDIES = {
    State.MISSING: Remedy.INSTALL_ENVIRONMENT,
    State.INCOMPLETE: Remedy.INSTALL_ENVIRONMENT,
    State.OUTDATED: Remedy.UPDATE_ENVIRONMENT,
    State.DAMAGED: Remedy.REPAIR_ENVIRONMENT,
}


@dataclass(frozen=True)
class Status:
    """What ``check`` found.

    Attributes
    ----------
    state
        Ready can be used; outdated can be used too, other packages were tested with this version of ActiveSeg.
    python
        The program to start the engine with, when it is ready or outdated.
    python_version, versions
        Of Python, torch, nnunetv2, TotalSegmentator; empty when they could not be asked.
    size_bytes
        On disk; 0 for another Python of the user.
    problem, action
        Sentences; empty when it is ready.
    existing
        Whether it is a Python that the user already had.
    """

    state: State
    folder: Path
    python: Path | None = None
    python_version: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    size_bytes: int = 0
    problem: str = ""
    action: str = ""
    existing: bool = False

    @property
    def usable(self) -> bool:
        return self.state in (State.READY, State.OUTDATED)

    @property
    def remedy(self) -> Remedy | None:
        """What of ActiveSeg's own helps; None when it is ready."""
        if self.existing and self.state is State.DAMAGED:
            return Remedy.CHOOSE_PYTHON
        return _REMEDIES.get(self.state)

    def to_dict(self) -> dict[str, Any]:
        """The status as JSON-ready values."""
        return {
            "state": self.state.value,
            "folder": str(self.folder),
            "python": str(self.python) if self.python else "",
            "python_version": self.python_version,
            "versions": self.versions,
            "size_bytes": self.size_bytes,
            "problem": self.problem,
            "action": self.action,
            "existing": self.existing,
        }


def python_of(environment: Path, system: str = sys.platform) -> Path:
    """The program in a virtual environment."""
    return environment / ("Scripts/python.exe" if system == "win32" else "bin/python")


_ASK = """
import json, platform, sys, sysconfig
from importlib import metadata
names = {names!r}
found = {{}}
for name in names:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps({{
    "version": platform.python_version(),
    "versions": found,
    "packages": sysconfig.get_path("purelib"),
    "base": sys.base_prefix,
}}))
"""

_IMPORT = """
import contextlib, importlib, json, os, sys, warnings
warnings.simplefilter("ignore")
wrong, about = [], {{}}
with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
    for name in {modules!r}:
        try:
            importlib.import_module(name)
        except BaseException as error:
            wrong.append(f"{{name}}: {{type(error).__name__}}: {{error}}")
    if "torch" in sys.modules and not wrong:
        import torch
        about = {{"cuda": torch.version.cuda, "cuda_works": torch.cuda.is_available()}}
    if {trainers!r} and not wrong:
        try:
            from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
            recursive_find_trainer_class_by_name("nnUNetTrainerNoMirroring")
        except BaseException as error:
            wrong.append(f"nnunetv2's trainers: {{type(error).__name__}}: {{error}}")
print(json.dumps({{"wrong": wrong, "about": about}}))
"""


def ask(python: Path, lock: Lock) -> dict[str, Any]:
    """Start a Python: its ``version``, the ``versions`` of the lock's direct packages, and the ``packages`` folder.

    Raises EngineError when it does not start.
    """
    wanted = sorted({*lock.bounds(), *(SHOWN if lock.uses_torch else ())})
    found = run_python(python, _ASK.format(names=wanted))
    if isinstance(found, dict) and isinstance(found.get("versions"), dict):
        texts = (found.get("version"), found.get("packages"), *found["versions"].values())
        if all(isinstance(text, str) for text in texts):
            return found
    raise EngineError(f"'{python}' does not answer as a Python does.", "Choose another Python.", cause="python")


def chosen_python(folder: EnvironmentFolder, marker: Mapping[str, Any]) -> Path | None:
    """The Python of the user's that the marker names, if this user chose it; nothing else is started."""
    existing = marker.get("existing")
    python = Path(existing) if isinstance(existing, str) and "\0" not in existing else None
    return python if python is not None and is_chosen(folder.path, python) else None


def import_code(lock: Lock) -> str:
    """A program that imports what the engine needs, and prints what is wrong as JSON."""
    return _IMPORT.format(modules=list(lock.imports), trainers="nnunetv2" in lock.imports)


def read_imports(line: str) -> tuple[list[str], dict[str, Any]]:
    """What ``import_code`` printed: what is wrong, and what torch says about graphics cards."""
    said = json.loads(line)
    return list(said["wrong"]), dict(said["about"])


def damaged_files(packages: Path) -> Iterator[str]:
    """Files that the installed packages' own records name, and that are gone or of another size.

    Two to three seconds' worth of file names on a slow disk; nothing is read but the records. ``pip check`` and
    ``uv pip check`` compare versions only, and know no file that is gone.
    """
    for record in sorted(packages.glob("*.dist-info/RECORD")):
        name = f"{record.parent.name}/{record.name}"
        try:
            rows = list(csv.reader(read_bytes(record, RECORD_LIMIT).decode("utf-8").splitlines()))
        except (OSError, InputError, UnicodeError, csv.Error):
            yield name
            continue
        for row in rows:
            if len(row) != 3 or not row[2] or row[0].endswith(".pyc"):
                continue
            try:
                if os.stat(extended(Path(os.path.normpath(packages / row[0])))).st_size != int(row[2]):
                    yield row[0]
            except (OSError, ValueError):
                yield row[0]


def status_of(folder: EnvironmentFolder, lock: Lock, files: bool) -> Status:
    """Look at a folder; see ``EngineEnvironment.check``."""
    marker = folder.marker()
    if marker is None:
        return Status(
            State.MISSING,
            folder.path,
            problem="The engine is not installed.",
            action="The environment has to be installed.",
        )
    if marker.get("existing"):
        python = chosen_python(folder, marker)
        if python is None:
            return Status(
                State.DAMAGED,
                folder.path,
                problem=f"The folder names the Python {shown(marker['existing'])}, which you have not chosen here.",
                action="Choose the Python again.",
                existing=True,
            )
        return status_of_existing(folder, python, lock)
    installed = folder.installed()
    if installed is None:
        problem = "The installation was not completed."
        action = "The environment has to be installed again; what was downloaded is used again."
        if folder.environment.exists():
            return Status(State.DAMAGED, folder.path, problem=f"'{INSTALLED}' is missing.", action=_REPAIR)
        return Status(State.INCOMPLETE, folder.path, size_bytes=folder.size(), problem=problem, action=action)
    python = python_of(folder.environment)
    size = folder.size()

    def damaged(problem: str) -> Status:
        return Status(State.DAMAGED, folder.path, size_bytes=size, problem=problem, action=_REPAIR)

    try:
        said = ask(python, lock)
    except ActiveSegError as error:
        return damaged(error.message)
    wanted = installed.get("versions", {})
    if not isinstance(wanted, dict):
        return damaged(f"The file '{INSTALLED}' is damaged: 'versions' is {shown(wanted)}.")
    gone = [name for name, version in wanted.items() if said["versions"].get(name) != version]
    packages = Path(said["packages"])
    if not gone and files:
        gone = list(damaged_files(packages))
    gone += [path.name for path in lock.remedy if not (packages / path.name).is_file()]
    if gone:
        more = f" and {len(gone) - SHOWN_PROBLEMS} more" if len(gone) > SHOWN_PROBLEMS else ""
        return damaged(f"Files are missing or changed: {', '.join(gone[:SHOWN_PROBLEMS])}{more}.")
    outdated = installed.get("lock") != lock.digest
    return Status(
        State.OUTDATED if outdated else State.READY,
        folder.path,
        python,
        said["version"],
        _shown(said["versions"], lock),
        size,
        "This version of ActiveSeg was tested with other packages." if outdated else "",
        "The environment can be updated; until then it is used as it is." if outdated else "",
    )


def status_of_existing(folder: EnvironmentFolder, python: Path, lock: Lock) -> Status:
    """Look at a Python that the user already has; nothing in it is touched."""
    try:
        said = ask(python, lock)
    except ActiveSegError as error:
        return Status(State.DAMAGED, folder.path, problem=error.message, action="Choose another Python.", existing=True)
    wrong = outside_of(said, lock)
    state = State.DAMAGED if wrong else State.READY
    return Status(
        state,
        folder.path,
        python,
        said["version"],
        _shown(said["versions"], lock),
        problem=f"The Python '{python}' does not suit: {'; '.join(wrong)}." if wrong else "",
        action="Install what is missing into it, or let ActiveSeg make an environment of its own." if wrong else "",
        existing=True,
    )


def outside_of(said: dict[str, Any], lock: Lock) -> list[str]:
    """What in the answer of ``ask`` lies outside the bounds, as parts of a sentence."""
    kind = release(said["version"])[:2]
    wrong = [] if kind in SUPPORTED else [f"Python is {said['version']} (needs 3.11 to 3.13)"]
    return wrong + lock.outside(said["versions"])


def _shown(versions: dict[str, str], lock: Lock) -> dict[str, str]:
    return {name: versions[name] for name in SHOWN if name in versions} if lock.uses_torch else versions

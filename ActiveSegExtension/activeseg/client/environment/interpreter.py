"""Pythons that the engine's environment can be built on, and why one cannot be."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.client.environment.lock import release
from activeseg.client.launch import engine_environment
from activeseg.core.errors import EngineError, InputError

SUPPORTED = ((3, 12), (3, 11), (3, 13))
"""In the order in which they are looked for."""
DOWNLOADED = "3.12"
ANSWER_WITHIN_S = 60.0

_SLICER_NAMES = {"pythonslicer", "python-real", "slicer", "slicerapp-real"}
_PROBE = """
import json, platform, struct, sys, sysconfig
print(json.dumps({
    "version": platform.python_version(),
    "implementation": platform.python_implementation(),
    "bits": struct.calcsize("P") * 8,
    "machine": platform.machine(),
    "gil": not sysconfig.get_config_var("Py_GIL_DISABLED"),
    "executable": sys.executable,
    "base": sys.base_prefix,
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python that started and may be used: its program, version such as ``3.12.10``, and who brought it."""

    path: Path
    version: str
    origin: str = "found"

    @property
    def text(self) -> str:
        """For the user."""
        return f"Python {self.version} at {self.path}"


def is_slicer(path: str | Path, environment: Mapping[str, str] | None = None) -> bool:
    """Whether a Python is Slicer's own: a launcher that works only inside Slicer, and no base for an environment."""
    variables = os.environ if environment is None else environment
    given = Path(path)
    home = variables.get("SLICER_HOME", "")
    for candidate in {given, Path(os.path.abspath(given)), given.resolve()}:
        if candidate.name.lower().removesuffix(".exe") in _SLICER_NAMES:
            return True
        if home and candidate.is_relative_to(home):
            return True
        if any((folder / "bin" / name).is_file() for folder in candidate.parents for name in _LAUNCHERS):
            return True
    return False


_LAUNCHERS = ("PythonSlicer", "PythonSlicer.exe")


def run_python(python: str | Path, code: str, timeout_s: float = ANSWER_WITHIN_S) -> Any:
    """The JSON on the last line that ``code`` prints in another Python, isolated, and without writing .pyc.

    Raises EngineError with the end of what it said when it does not start, fails or takes too long.
    """
    action = "Choose another Python, or let ActiveSeg make the environment again."
    try:
        done = subprocess.run(
            [str(python), "-I", "-B", "-X", "utf8", "-c", code],
            capture_output=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            env=engine_environment(),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            check=False,
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise EngineError(f"'{python}' cannot be started as a Python: {reason}.", action, cause="python") from error
    except subprocess.TimeoutExpired:
        raise EngineError(f"'{python}' did not answer within {timeout_s:.0f} s.", action, cause="python") from None
    said = done.stdout.decode("utf-8", "replace").strip().splitlines()
    try:
        if done.returncode == 0:
            return json.loads(said[-1])
    except (ValueError, IndexError):
        pass
    errors = done.stderr.decode("utf-8", "replace").strip().splitlines() or said
    why = errors[-1] if errors else f"exit code {done.returncode}"
    raise EngineError(f"'{python}' does not work as a Python: {why}", action, cause="python", output=errors[-20:])


def probe(path: str | Path, origin: str = "found") -> Interpreter:
    """Start a Python and see whether it can be the base of the environment.

    Raises InputError when it is Slicer's, of another version, not CPython, free-threaded or 32 bit; EngineError when it
    does not start.
    """
    action = "Choose a CPython 3.11, 3.12 or 3.13, or leave the choice to ActiveSeg."
    refuse_slicer(path)
    said = run_python(path, _PROBE)
    if not isinstance(said, dict) or not {"version", "implementation", "bits", "gil", "base"} <= set(said):
        raise EngineError(f"'{path}' does not answer as a Python does.", "Choose another Python.", cause="python")
    if is_slicer(Path(said["base"]) / "bin" / "python"):
        refuse_slicer(Path(said["base"]) / "bin" / "python-real")
    version = str(said["version"])
    kind = release(version)[:2]
    wrong = ""
    if said["implementation"] != "CPython":
        wrong = f"is {said['implementation']} and not CPython"
    elif kind not in SUPPORTED:
        wrong = f"is version {version}; 3.11 to 3.13 are supported"
    elif said["bits"] != 64:
        wrong = f"is a {said['bits']} bit program; 64 bit is needed"
    elif not said["gil"]:
        wrong = "is free-threaded; PyTorch needs the ordinary build"
    if wrong:
        raise InputError(f"The Python '{path}' {wrong}.", action, cause="python")
    # What pyenv puts on the path is a script that starts another Python tomorrow.
    return Interpreter(Path(said.get("executable") or path), version, origin)


def refuse_slicer(path: str | Path) -> None:
    """Raise InputError when a Python is Slicer's own."""
    if is_slicer(path):
        raise InputError(
            f"'{path}' is Slicer's own Python, a launcher that an environment cannot be built on.",
            "Choose another Python 3.11 to 3.13, or leave the choice to ActiveSeg.",
            cause="python",
        )


def on_path(environment: Mapping[str, str] | None = None) -> Interpreter | None:
    """The first Python on the search path that can be used, without starting anything else than Pythons."""
    search = engine_environment(environment).get("PATH", "")
    for name in (*(f"python{major}.{minor}" for major, minor in SUPPORTED), "python3", "python"):
        found = shutil.which(name, path=search)
        if found is None or "WindowsApps" in Path(found).parts:  # a stub of Windows that opens its shop
            continue
        try:
            return probe(found)
        except (InputError, EngineError):
            continue
    return None


_ARCHIVE = re.compile(r"cpython-3\.(\d+)\.(\d+)(\+\d+)?-.*-install_only(_stripped)?\.tar\.(gz|zst)$")


def archive_in(folder: Path, system: str = sys.platform, machine: str = "") -> Path | None:
    """A standalone Python (of python-build-standalone) for this machine in a folder of wheels; the newest one."""
    triple = standalone_triple(system, machine)
    fitting = []
    for path in folder.iterdir():
        match = _ARCHIVE.match(path.name)
        if match and f"-{triple}-" in path.name and (3, int(match[1])) in SUPPORTED:
            fitting.append((-SUPPORTED.index((3, int(match[1]))), int(match[2]), path))
    return max(fitting)[2] if fitting else None


def standalone_triple(system: str = sys.platform, machine: str = "") -> str:
    """How python-build-standalone names a machine, such as ``x86_64-unknown-linux-gnu``."""
    kind = (machine or platform.machine()).lower()
    processor = {"amd64": "x86_64", "arm64": "aarch64"}.get(kind, kind)
    vendor = {"win32": "pc-windows-msvc", "darwin": "apple-darwin"}.get(system, "unknown-linux-gnu")
    return f"{processor}-{vendor}"


def archive_version(archive: Path) -> str:
    """The version of the Python in an archive that ``archive_in`` found, such as ``3.12.10``."""
    return archive.name.split("-")[1].partition("+")[0]


def downloads_of(archive: Path, system: str = sys.platform) -> dict[str, dict[str, object]]:
    """The list of downloads for ``uv python install`` that has an archive for this machine as its only entry.

    uv's own list (with ``--mirror file:...``) would serve only the one archive of each version that this uv knows. The
    SHA-256 is the one in a file ``<archive>.sha256`` beside it, as its makers publish it, if there is one.
    """
    processor = standalone_triple(system).partition("-")[0]
    name, libc = {"win32": ("windows", "none"), "darwin": ("darwin", "none")}.get(system, ("linux", "gnu"))
    version = archive_version(archive)
    major, minor, patch = map(int, version.split("."))
    published = archive.with_name(archive.name + ".sha256")
    return {
        f"cpython-{version}-{name}-{processor}-{libc}": {
            "name": "cpython",
            "arch": {"family": processor, "variant": None},
            "os": name,
            "libc": libc,
            "major": major,
            "minor": minor,
            "patch": patch,
            "prerelease": "",
            "url": archive.absolute().as_uri(),
            "sha256": published.read_text("utf-8").split()[0].lower() if published.is_file() else None,
            "variant": None,
            "build": None,
        }
    }

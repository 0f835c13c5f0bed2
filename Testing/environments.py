"""The two Python environments of the project, made with nothing but the standard library and pip.

``.venv`` is the engine's and ``.venv-slicer`` holds Slicer's own libraries; they are two because their VTKs exclude
each other. An environment that was made from the same inputs is left alone; anything else in its place is made anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ActiveSegExtension"
CONSTRAINTS = ROOT / "Testing" / "constraints.txt"
SECONDS_BETWEEN_LINES = 10


class SetupError(Exception):
    """An environment could not be made; the message says why and where to read more."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment in ``folder`` of the repository.

    ``installs`` are the arguments of one pip call each, in order; ``paths`` are folders whose modules it imports.
    """

    folder: str
    installs: tuple[tuple[str, ...], ...]
    paths: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return ROOT / self.folder

    @property
    def python(self) -> Path:
        return self.path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def stamp(self) -> Path:
        return self.path / "activeseg-stamp.txt"

    def inputs(self) -> str:
        """A digest of everything that decides what this environment contains and whether it works here."""
        project = tomllib.loads((PACKAGE / "pyproject.toml").read_text("utf-8"))
        tools = project.pop("tool")  # linters' settings do not change what is installed
        shipped = sorted((PACKAGE / "environment").glob("activeseg_*"))
        parts = [
            json.dumps([project, tools["hatch"], self.installs, self.paths], sort_keys=True),
            CONSTRAINTS.read_text("utf-8"),
            sys.version,
            str(self.path),
            *(path.read_text("utf-8") for path in shipped),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def ready(self) -> bool:
        """Whether it was completed from today's inputs, and its Python still starts."""
        if not self.stamp.is_file() or self.stamp.read_text("utf-8").strip() != self.inputs():
            return False
        try:
            return subprocess.run([self.python, "-c", "pass"], capture_output=True, check=False).returncode == 0
        except OSError:
            return False


# torch comes first and alone: the version that pip is set up to find (a CPU build, say) is then kept by what follows.
ENGINE = Environment(
    ".venv",
    (("torch",), ("--editable", "./ActiveSegExtension[engine,dev]")),
)
# The first ones are for the tests alone; a contract test sees that what runs in Slicer does without them.
TEST_LIBRARIES = (
    *("PySide6-Essentials", "filelock", "fontpkg-noto-sans", "hypothesis", "matplotlib", "nibabel", "psutil"),
    "pytest",
)
SLICER = Environment(
    ".venv-slicer",
    (("slicer-core", *TEST_LIBRARIES, "--editable", "./ActiveSegExtension"),),
    ("ActiveSegModule",),
)


def prepare(environments: Sequence[Environment]) -> None:
    """Make each environment that is not ready. Raises SetupError."""
    for environment in environments:
        if not environment.ready():
            make(environment)


def make(environment: Environment) -> None:
    """Make an environment from nothing; its stamp is written last, so that an interrupted one is made again."""
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError("This Python cannot make environments: install its 'venv' package (Debian: python3-venv).")
    started = time.monotonic()
    say(f"Setting up {environment.folder} (the first time takes a minute or more).")
    if environment.path.exists():
        shutil.rmtree(environment.path)
    environment.path.mkdir()
    log = environment.path / "setup.log"
    execute([sys.executable, "-m", "venv", str(environment.path)], log)
    for packages in environment.installs:
        say(f"  installing {' '.join(package for package in packages if not package.startswith('--'))}")
        pip = [str(environment.python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
        execute([*pip, "--constraint", str(CONSTRAINTS), *packages], log)
    if environment.paths:
        where = [str(environment.python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        site_packages = Path(subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip())
        folders = "".join(f"{ROOT / path}\n" for path in environment.paths)
        (site_packages / "activeseg_source.pth").write_text(folders, "utf-8")
    environment.stamp.write_text(environment.inputs() + "\n", "utf-8")
    say(f"  {environment.folder} is ready ({time.monotonic() - started:.0f} s).")


def execute(command: Sequence[str], log: Path) -> None:
    """Run a command with its output in ``log``, showing a line of it now and then. Raises SetupError with its end."""
    shown = time.monotonic()
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=child_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            if time.monotonic() - shown > SECONDS_BETWEEN_LINES and not line.startswith("WARNING"):
                shown = time.monotonic()
                say(f"    {line.strip()[:100]}")
    if process.returncode:
        end = "\n".join(log.read_text("utf-8").splitlines()[-25:])
        raise SetupError(f"{end}\n\nSetting up failed: '{' '.join(command)}' (everything it said is in {log}).")


def child_environment() -> dict[str, str]:
    """What programs of the project start with.

    libgomp's threads spin while they wait, which slows everything where two programs share the cores: PASSIVE.
    """
    own = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")  # another Python's
    variables = {name: value for name, value in os.environ.items() if name not in own}
    return {**variables, "OMP_WAIT_POLICY": "PASSIVE", "MPLBACKEND": "Agg", "PYTHONNOUSERSITE": "1"}


def say(text: str) -> None:
    print(text, flush=True)

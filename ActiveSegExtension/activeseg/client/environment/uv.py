"""uv, the installer of the engine's packages: one tested version, fetched and verified by the pip of this Python.

pip knows proxies, certificates, indexes, folders of wheels and which wheel suits the computer. With ``--target`` it
changes no package of the Python that it belongs to, which in Slicer is Slicer's own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from activeseg.client.environment.interpreter import is_slicer
from activeseg.client.environment.uv_commands import Source
from activeseg.client.environment.uv_process import Runner
from activeseg.client.launch import CERTIFICATES, engine_environment
from activeseg.core.errors import EngineError, InputError
from activeseg.core.progress import Progress

REQUIREMENT = Path(__file__).resolve().with_name("engine-installer.txt")
"""The version, and the SHA-256 of its wheels; nothing else is installed."""
VERSION = re.findall(r"^uv==(\S+)", REQUIREMENT.read_text("utf-8"), re.MULTILINE)[0]
WHEEL_BYTES, UNPACKED_BYTES = 19_000_000, 40_000_000


def program_in(folder: Path, system: str = sys.platform) -> Path:
    """Where uv lies in the folder that pip installed it into; pip names it so on every system."""
    return folder / "bin" / ("uv.exe" if system == "win32" else "uv")


def obtain(folder: Path, source: Source, run: Runner, progress: Progress) -> Path:
    """The uv that is in ``folder``, if it still works and is the tested version, else a new one.

    ``folder`` must be empty or hold a uv. Raises EngineError with what pip said, and Cancelled.
    """
    program = program_in(folder)
    if program.is_file():
        try:
            said = run.run([str(program), "--version"], "uv does not start", progress.check)
            if said.out[0].split()[1] == VERSION:
                return program
        except (EngineError, IndexError):
            pass  # damaged: pip replaces it
    progress("uv", 0.0, f"Loading the installer uv {VERSION}")
    pip = replace(run, environment=pip_environment(source))
    pip.run(pip_command(folder, source), f"uv {VERSION} could not be loaded", progress.check)
    run.run([str(program), "--version"], "uv does not start", progress.check)
    return program


def pip_command(folder: Path, source: Source) -> list[str]:
    """How pip puts uv into ``folder``; whatever is there of it is replaced."""
    where = ["--no-index"] if source.offline else []
    where += ["--find-links", str(source.wheels)] if source.wheels is not None else []
    return [
        *(*_pip(), "install", "--target", str(folder), "--upgrade", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--no-compile", "--no-cache-dir", "--progress-bar", "off"),
        *("-vv", "--retries", "2"),  # only a talkative pip says that an index refused
        *(*where, "--requirement", str(REQUIREMENT)),
    ]


def pip_environment(
    source: Source, environment: Mapping[str, str] | None = None, python: str = sys.executable
) -> dict[str, str]:
    """The variables for pip: in Slicer those that Slicer's Python needs to start, and where uv comes from.

    Addresses go by variables because they may hold passwords. ``environment`` None takes this process's.
    """
    given = os.environ if environment is None else environment
    cleaned = engine_environment(given)
    # Slicer's own list of certificates goes: pip's, or the system's, knows an organisation's as well.
    foreign = set(CERTIFICATES) - set(cleaned)
    found = {k: v for k, v in given.items() if k not in foreign} if is_slicer(python, given) else cleaned
    if found.get("SSL_CERT_FILE"):
        found.setdefault("PIP_CERT", found["SSL_CERT_FILE"])
    if source.offline:
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
            found.pop(name, None)
        found["PIP_CONFIG_FILE"] = os.devnull
    else:
        index = source.index or found.get("UV_DEFAULT_INDEX") or found.get("UV_INDEX_URL")
        if index:
            found["PIP_INDEX_URL"] = re.sub(r"^[\w-]+=(?=\w+:)", "", index)  # uv allows a name before it
    if source.proxy:
        found["PIP_PROXY"] = source.proxy
    return {
        **found,
        "PIP_USER": "0",  # excludes a target
        "PIP_REQUIRE_VIRTUALENV": "0",
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def refuse_folder_without_uv(wheels: Path) -> None:
    """Raise InputError when a folder of wheels has no uv of the tested version for this computer."""
    suiting = set(sys_tags())
    for path in wheels.glob(f"uv-{VERSION}-*.whl"):
        try:
            if parse_wheel_filename(path.name)[3] & suiting:
                return
        except InvalidWheelFilename:
            continue
    raise InputError(
        f"There is no wheel of uv {VERSION} for this computer in '{wheels}'.",
        f"Put it there; on a computer with internet: pip download --no-deps uv=={VERSION}",
        cause="missing",
    )


def _pip() -> list[str]:
    """This Python's pip, else the one that it keeps for new environments (uv makes environments without pip).

    ``-P``: a ``pip.py`` in the folder where it runs is not started.
    """
    python = [sys.executable, "-P"]
    if importlib.util.find_spec("pip") is not None:
        return [*python, "-m", "pip"]
    kept = importlib.util.find_spec("ensurepip")
    wheels = sorted(Path(kept.origin).parent.glob("_bundled/pip-*.whl")) if kept and kept.origin else []
    if not wheels:
        raise EngineError(f"The Python '{sys.executable}' has no pip.", "Install pip into it.", cause="python")
    return [*python, str(wheels[-1] / "pip")]

"""What the tests of the engine's environment install: the original uv, and wheels so small that it takes no time."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from activeseg.client.environment import uv
from activeseg.client.environment.environment import Options, Source
from activeseg.client.environment.lock import Lock

PYTHON = Path(getattr(sys, "_base_executable", sys.executable))
"""Of the tests, without their virtual environment."""


def small_lock(version: str = "1.0", extra: str = "", remedy: tuple[Path, ...] = ()) -> Lock:
    """Two packages, of which one needs the other and one that is left out."""
    requirements = f"alveole>=1,<3\n{extra}"
    return Lock(requirements, f"alveole=={version}\nbronchus==1.0\n{extra}", "trachea\n", ("alveole",), remedy)


def make_wheel(folder: Path, name: str, version: str, needs: tuple[str, ...] = ()) -> Path:
    """A wheel with one module that knows its version."""
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {
        f"{name}/__init__.py": "".join(f"import {need}\n" for need in needs if need != "trachea")
        + f"VERSION = '{version}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_digest(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in files.items():
            archive.writestr(inner, text)
    return path


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def load_uv(folder: Path) -> Path:
    """uv's original wheel from the package index, into a folder of wheels; ``uv.REQUIREMENT`` has its SHA-256."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest", str(folder)]
    subprocess.run([*pip, "--requirement", str(uv.REQUIREMENT)], check=True)
    (wheel,) = folder.glob("uv-*.whl")
    return wheel


def offline(wheels: Path, python: Path | None = PYTHON) -> Options:
    """From a folder of wheels and nothing else."""
    return Options(python, Source(wheels=wheels, offline=True))

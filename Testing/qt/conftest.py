"""Makes both packages importable from the checkout, and gives every test an engine that must leave nothing behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PySide6 import QtCore

ROOT = Path(__file__).resolve().parents[2]
for folder in ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml", "Testing/qt"):
    sys.path.insert(0, str(ROOT / folder))

from watched_process import WatchedProcess, until  # noqa: E402

ENGINE_PYTHON = "ACTIVESEG_ENGINE_PYTHON"


@pytest.fixture(scope="session", autouse=True)
def application() -> QtCore.QCoreApplication:
    return QtCore.QCoreApplication.instance() or QtCore.QCoreApplication(sys.argv[:1])


@pytest.fixture(scope="session")
def engine_python() -> Path:
    folder = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    python = Path(os.environ.get(ENGINE_PYTHON) or ROOT / ".venv" / folder)
    if not python.is_file():
        pytest.fail(f"The engine's Python '{python}' is not there; {ENGINE_PYTHON} names another one.")
    return python


@pytest.fixture
def make_process(tmp_path: Path, engine_python: Path) -> Iterator[Callable[..., WatchedProcess]]:
    """Engines that are not started yet; after the test they are shut down, and nothing below this process is left."""
    made: list[WatchedProcess] = []

    def make(python: Path = engine_python, **more: Any) -> WatchedProcess:
        made.append(WatchedProcess(python, tmp_path / f"home{len(made)}", **more))
        return made[-1]

    yield make
    for process in made:
        process.shutdown()
    until(lambda: not psutil.Process().children(recursive=True))


@pytest.fixture
def process(make_process: Callable[..., WatchedProcess]) -> WatchedProcess:
    return make_process()

"""Slicer around the panel: PySide6 for Qt, slicer-core for the scene, a genuine engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
ROOT = Path(__file__).resolve().parents[2]
for folder in ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml", "Testing/contract", "Testing/panel"):
    sys.path.insert(0, str(ROOT / folder))

from kept_answers import KeptAnswers  # noqa: E402
from pictures_look import Theme, dress  # noqa: E402
from PySide6 import QtWidgets  # noqa: E402
from slicer_stand_in import LoadedModule, installed  # noqa: E402
from user import User  # noqa: E402

ENGINE_PYTHON = "ACTIVESEG_ENGINE_PYTHON"


@pytest.fixture(scope="session")
def application() -> QtWidgets.QApplication:
    """Qt in Slicer's light style."""
    made = QtWidgets.QApplication.instance() or QtWidgets.QApplication(sys.argv[:1])
    dress(made, Theme.LIGHT)
    return made


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The module is imported anew in each test, which is quick when its files are compiled only once."""
    before = sys.pycache_prefix, sys.dont_write_bytecode
    sys.pycache_prefix, sys.dont_write_bytecode = str(tmp_path_factory.mktemp("compiled")), False
    yield
    sys.pycache_prefix, sys.dont_write_bytecode = before


@pytest.fixture
def slicer_core(application: Any, compiled: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Slicer with an empty scene; what slots raise fails the test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    errors: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda _type, error, _trace: errors.append(error))
    with installed(tmp_path) as (core, _said):
        yield core
    if errors:
        raise errors[0]


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> KeptAnswers:
    """Of all tests: most of those with an engine are about what happens after a segmentation."""
    return KeptAnswers(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def engine_python(monkeypatch: pytest.MonkeyPatch) -> Path:
    python = Path(os.environ.get(ENGINE_PYTHON) or ROOT / ".venv" / "bin" / "python")
    if not python.is_file():
        pytest.fail(f"The engine's Python '{python}' is not there; {ENGINE_PYTHON} names another one.")
    monkeypatch.setenv(ENGINE_PYTHON, str(python))
    return python


@pytest.fixture
def panel(slicer_core: Any, engine_python: Path) -> Iterator[LoadedModule]:
    """The module, opened by the user."""
    module = LoadedModule(ROOT / "ActiveSegModule" / "ActiveSegModule.py")
    module.enter()
    yield module
    module.close()


@pytest.fixture
def user(slicer_core: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """The module, opened by a user whose Slicer has no engine: most of the panel needs none."""
    monkeypatch.delenv(ENGINE_PYTHON, raising=False)
    module = LoadedModule(ROOT / "ActiveSegModule" / "ActiveSegModule.py")
    module.enter()
    yield User(module, slicer_core)
    module.close()

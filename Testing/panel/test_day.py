"""A whole day with the panel against the real engine, from a Slicer that has none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ENGINE_PYTHON, ROOT
from day_hands import Hands, Ledger, opened
from day_walk import Day
from slicer_stand_in import LoadedModule


@pytest.fixture
def day(slicer_core: Any, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Day]:
    """A Slicer that knows of no engine, with the module open in its window."""
    monkeypatch.delenv(ENGINE_PYTHON, raising=False)
    module = LoadedModule(ROOT / "ActiveSegModule" / "ActiveSegModule.py")
    window = opened(module.parent, monkeypatch)
    hands = Hands(window, Ledger())
    module.enter()
    yield Day(module, slicer_core, hands, tmp_path, monkeypatch)
    hands.let_go()
    module.close()
    window.close()


def test_a_whole_day(day: Day, engine: Path) -> None:
    day.walk(engine)
    assert day.unsightly == []
    assert day.hands.robbed == [], "nothing took the keyboard from somebody who typed"


@pytest.fixture
def engine() -> Path:
    """A Python with the engine's packages, which nobody but the user knows of."""
    python = Path(os.environ.get(ENGINE_PYTHON) or ROOT / ".venv" / "bin" / "python")
    if not python.is_file():
        pytest.fail(f"The engine's Python '{python}' is not there; {ENGINE_PYTHON} names another one.")
    return python

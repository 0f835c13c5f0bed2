"""Makes both packages importable from the checkout, and gives every test an application of its own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml"):
    sys.path.insert(0, str(ROOT / folder))

import scene_cases  # noqa: E402
from slicer_application import SlicerCore  # noqa: E402


@pytest.fixture
def core() -> SlicerCore:
    return SlicerCore.start()


@pytest.fixture
def make_case(core: SlicerCore) -> Callable[..., scene_cases.Case]:
    return functools.partial(scene_cases.make_case, core)


@pytest.fixture
def case(core: SlicerCore) -> scene_cases.Case:
    return scene_cases.make_case(core)

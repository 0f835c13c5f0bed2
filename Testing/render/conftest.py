"""Makes both packages importable from the checkout, and gives every test an application of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in ("ActiveSegExtension", "ActiveSegModule", "Testing", "Testing/mrml", "Testing/render"):
    sys.path.insert(0, str(ROOT / folder))

from slicer_application import SlicerCore  # noqa: E402


@pytest.fixture
def core() -> SlicerCore:
    return SlicerCore.start()

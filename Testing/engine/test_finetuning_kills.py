"""The short form of ``Testing/soak/kills.py``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "soak"))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes the way POSIX does")


def test_killed_at_random_moments_fine_tuning_leaves_a_whole_project_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kills

    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))
    assert kills.killed(tmp_path, 2, 5, longest_s=12.0) == []

"""The short form of ``Testing/soak/environment_kills.py``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "soak"))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes the way POSIX does")


def test_killed_at_random_moments_the_environment_is_known_and_can_be_gone_on_with(tmp_path: Path) -> None:
    import environment_kills

    counts = environment_kills.run(3, 1, tmp_path)
    assert sum(count for name, count in counts.items() if name.startswith("then")) == 3

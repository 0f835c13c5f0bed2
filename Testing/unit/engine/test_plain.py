"""Results as plain JSON."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from activeseg.core.segmenter import Mode
from activeseg.engine.worker.plain import plain


def test_results_become_plain_json() -> None:
    values = {1: (np.float32(0.5), np.int64(3), float("nan"), Path("a"), Mode.FAST, np.array([1, 2]), None, True)}
    assert plain(values) == {"1": [0.5, 3, None, "a", "fast", [1, 2], None, True]}


# Processes.

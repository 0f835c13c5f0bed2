"""The examples under ``docs/`` run as they stand, with what ships."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
SAID = {
    "segment_a_ct": ("ensemble members", "region 1:", "Written to"),
    "correct_and_export": ("Stored as CT_0001", "1 case, 0 problems"),
    "plan_a_finetuning": ("CT_0002: held out", "iterations", "liver"),
}


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_an_example_runs_and_shows_its_result(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        cwd=tmp_path,
        env={**os.environ, "ACTIVESEG_PRIVATE_DIR": str(tmp_path / "private"), "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not [words for words in SAID[name] if words not in done.stdout], done.stdout

"""``Testing/gpu_check.py`` works: without CUDA it does everything that it would do on a GPU, at toy size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CHECK = Path(__file__).resolve().parents[1] / "gpu_check.py"


def test_without_a_gpu_the_check_runs_itself_at_toy_size_and_says_so(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_WAIT_POLICY": "PASSIVE"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, str(CHECK), "--json", str(rows)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no GPU is looked at; at toy size" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("9 of 9 checks are right on the CPU only")
    assert len(json.loads(rows.read_text())) == 9


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(CHECK), "--device", "cuda"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("torch sees no CUDA device")

"""What a file announces bounds the memory that reading it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from image_bombs import BOMBS, DICOM_BOMBS, write_bombs

HERE = Path(__file__).resolve().parents[1]
MOST_MB = 200
"""Beyond what the libraries take. The smallest of the bombs unpacks to 768 MiB."""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
def test_bombs_are_refused_before_memory_is_taken(tmp_path):
    write_bombs(tmp_path)
    done = subprocess.run(
        [sys.executable, HERE / "image_bombs.py", tmp_path],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1] / "ActiveSegExtension")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    harmless, *tried = map(json.loads, done.stdout.splitlines())
    assert harmless["said"] == ["", ""]
    assert {bomb["name"] for bomb in tried} == {*BOMBS, *DICOM_BOMBS, "sparse.nii"}
    assert len(tried) > 40
    silent = [b for b in tried if not all(b["name"] in said or "IM000" in said for said in b["said"])]
    assert silent == []
    assert [bomb for bomb in tried if any(len(said) > 500 or "\n" in said for said in bomb["said"])] == []
    assert max(tried, key=lambda bomb: bomb["mb"])["mb"] < harmless["mb"] + MOST_MB, tried


def test_images_with_something_changed_are_read_or_refused():
    """The short form of ``Testing/soak/images.py``."""
    script = HERE.parent / "soak" / "images.py"
    done = subprocess.run(
        [sys.executable, script, "--seed", "5", "--count", "400"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("RIGHT: 400 files")

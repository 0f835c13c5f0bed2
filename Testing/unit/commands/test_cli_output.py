"""What a command prints never fails what it did: closed, full and foreign outputs, and names in other encodings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from activeseg.core.geometry import Geometry
from activeseg.core.hounsfield_units import doubts
from activeseg.core.volume import Volume
from activeseg.io.images import write_volume

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell and /dev")
PACKAGE = Path(__file__).resolve().parents[3] / "ActiveSegExtension"


def shell(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs ``script``, in which ``$A`` is the command."""
    command = f"A='{sys.executable} -m activeseg.cli'; set -o pipefail; {script}"
    return subprocess.run(
        ["bash", "-c", command, "bash", *map(os.fsencode, map(os.fspath, arguments))],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE), **environment},
        check=False,
    )


@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ct") / "ct.nii.gz"
    write_volume(
        Volume(np.full((8, 24, 24), -1000, np.int16), Geometry.from_ijk_to_ras(np.diag([3.0, 3, 3, 1]), (8, 24, 24))),
        path,
    )
    return path


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("$A models | true", b""),
        ("$A models --json >&-", b""),
        ("$A models > /dev/full", b"its result cannot be printed: No space left on device"),
    ],
)
def test_a_result_that_cannot_be_printed_is_no_failure(script, told):
    done = shell(script)
    assert done.returncode == 0, done.stderr
    assert told in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_error_keeps_its_exit_code_where_it_cannot_be_told():
    assert shell("$A segment /nowhere -m hounsfield -o /nowhere/out > /dev/full 2>&1").returncode == 2


def test_work_in_a_folder_whose_name_is_not_utf8_is_done_and_told(tmp_path, ct):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    folder.mkdir()
    out = folder / "out"
    done = shell('$A segment "$1" -m hounsfield -o "$2"', ct, out, LC_ALL="C", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert b"Written to " + os.fsencode(out) in done.stdout


def test_work_is_done_where_neither_output_takes_a_word(tmp_path, ct):
    done = shell('$A segment "$1" -m hounsfield -o "$2" > /dev/full 2>&1', ct, tmp_path / "out")
    assert done.returncode == 0
    assert (tmp_path / "out" / "prediction.json").is_file()


def test_what_does_not_look_like_a_ct_is_told():
    hu = np.linspace(-1000, 1200, 1000, dtype=np.float32).reshape(10, 10, 10)
    geometry = Geometry.from_ijk_to_ras(np.eye(4), hu.shape)

    def said(array: np.ndarray, name: str = "", channel: str = "CT") -> str:
        return " ".join(doubts({channel: Volume(array, geometry, name)}))

    assert said(hu) == said(hu, "CT") == ""
    assert "an MR image (MR)" in said(hu, "MR")
    assert "a PET image (PT)" in said(hu, "PT", "CT_2")
    for array in (hu + 1024, (hu + 1024) / 4096, np.clip(hu, -160, 240) + 160, hu * 0, hu - 5000):
        assert "does not look like HU" in said(array)
    assert said(hu + 1024, "MR", "T2") == ""

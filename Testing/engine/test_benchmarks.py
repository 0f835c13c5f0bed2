"""Every benchmark explains itself, and what it lacks it says in a sentence before its work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
BENCHMARKS = sorted(path.name for path in FOLDER.glob("*.py") if path.name != "asked.py")
IN_SLICER = {"confined_stroke.py", "day.py", "event_loop.py", "scene_roundtrip.py", "scene_saving.py"}
NOWHERE = "/not/there/file"
WRONG = {
    "clicks.py": [["--json", NOWHERE], ["--cases", "0"], ["--seed", "6100"]],
    "confined_stroke.py": [["--json", NOWHERE]],
    "dataset_add.py": [["many"], ["0"]],
    "day.py": [["--json", NOWHERE]],
    "event_loop.py": [["--json", NOWHERE]],
    "finetuning.py": [["--json", NOWHERE]],
    "forgetting.py": [["--json", NOWHERE], ["--seeds", "0"]],
    "learning_curve.py": [["--json", NOWHERE], ["--counts", "x"]],
    "memory.py": [["--image", NOWHERE], ["--image", str(FOLDER)], ["--image", __file__]],
    "minutes.py": [["--json", NOWHERE], ["--cases", "0"]],
    "refine.py": [["--json", NOWHERE], ["--draws", "0"]],
    "regions.py": [["--json", NOWHERE], ["--cases", "0"], ["--ct", NOWHERE]],
    "scene_roundtrip.py": [["--json", NOWHERE]],
    "scene_saving.py": [["--json", NOWHERE]],
    "shapes.py": [["--cases", "0"], ["--examples", "7"]],
    "spread.py": [["--json", NOWHERE], ["--cases", "0"], ["--image", NOWHERE, "--truth", NOWHERE]],
    "warm.py": [["--image", NOWHERE], ["--image", __file__], ["--rounds", "0"]],
}
RUN = """
import contextlib, io, json, runpy, sys
from pathlib import Path
done = []
for script, arguments in json.loads(sys.argv[1]):
    sys.argv, out, err, path = [script, *arguments], io.StringIO(), io.StringIO(), sys.path[:]
    sys.path.insert(0, str(Path(script).parent))
    code = "it went on"
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as error:
            code = error.code
    sys.path[:] = path
    done.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(done))
"""


@pytest.fixture(scope="module")
def ends() -> dict[tuple[str, ...], tuple[object, str, str]]:
    """Exit code, stdout and stderr of each benchmark with each way to call it; in one process, for torch's sake."""
    calls = [(name, *arguments) for name in BENCHMARKS for arguments in [["--help"], *WRONG[name]]]
    given = json.dumps([[str(FOLDER / name), arguments] for name, *arguments in calls])
    done = subprocess.run([sys.executable, "-c", RUN, given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {call: tuple(end) for call, end in zip(calls, json.loads(done.stdout), strict=True)}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_explains_itself(ends: dict, name: str) -> None:
    code, out, _ = ends[name, "--help"]
    assert code in (0, None)
    assert f"Testing/benchmarks/{name}" in out


@pytest.mark.parametrize(("name", "arguments"), [(name, wrong) for name in BENCHMARKS for wrong in WRONG[name]])
def test_what_a_benchmark_lacks_is_told_in_a_sentence(ends: dict, name: str, arguments: list[str]) -> None:
    code, out, err = ends[name, *arguments]
    assert code == 2, err
    assert not out
    last = err.strip().splitlines()[-1]
    wanted = ".venv-slicer/bin/python" if name in IN_SLICER else arguments[-1]
    assert wanted in last

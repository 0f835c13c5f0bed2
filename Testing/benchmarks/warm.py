"""The second click against the genuine command: one image, the real 3 mm architecture, random weights.

    .venv/bin/python Testing/benchmarks/warm.py [--json] [--rounds 5] [--image CT.nii.gz]

Each round runs the genuine ``TotalSegmentator --fast`` command (with ``--ml``: one label file), then the warm engine in
exact and in fast mode, so that all three see the same computer (``--rounds 3`` is enough where nothing else runs). The
engine's times include reading the image, one member's label and entropy, ten regions, and writing the result; the
ratios are of medians. Beside them: the first click after the engine's start, an empty call, the start until the first
answer, cancel until the worker is idle, peak memory, and the cold command: ``activeseg segment`` in a fresh process,
as if nothing had ever run on this computer, and once more. ``ONEDNN_MAX_CPU_ISA=AVX2`` in the environment shows all of
it as on a CPU without bfloat16 (of x86).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asked import ENGINE, at_least_one, nifti, started_in

started_in(ENGINE, __file__, __doc__)

import nibabel  # noqa: E402
import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing" / "engine"))

from standin import write_standin  # noqa: E402

from activeseg.client.engine_client import ProgressEvent  # noqa: E402
from activeseg.client.launch import engine_environment  # noqa: E402
from activeseg.client.subprocess_engine import SubprocessEngine  # noqa: E402
from activeseg.core.errors import Cancelled  # noqa: E402
from activeseg.segmenters.totalsegmentator.sandbox import UserHome  # noqa: E402
from activeseg.segmenters.totalsegmentator.tasks import task_named  # noqa: E402

CT = ROOT / ".." / "shared" / "data" / "ct" / "example_ct.nii.gz"
MODEL = "totalsegmentator:total-fast"
QUIET = 1.5
SMALLEST, LARGEST = 32, 160
"""Voxels along each axis of what the networks' last layers are fitted on."""
WINDOWS = {
    "lung_upper_lobe_left": (-950.0, -500.0),
    "liver": (20.0, 90.0),
    "heart": (90.0, 200.0),
    "rib_left_5": (200.0, 2000.0),
}
REAL_3_MM = {"features": (32, 64, 128, 256, 320), "patch": (112, 112, 128), "convolutions": 2}


def middle(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    """Its middle, large enough for any of the networks and small enough to be seen by one in one pass."""
    array = np.asanyarray(image.dataobj)
    low = [max((n - LARGEST) // 2, 0) for n in array.shape]
    array = array[tuple(slice(a, a + LARGEST) for a in low)]
    array = np.pad(array, [(0, max(SMALLEST - n, 0)) for n in array.shape], mode="edge")
    return nibabel.Nifti1Image(np.round(array).astype(np.int16), image.affine)


def standin(home: Path, image: Path) -> None:
    """A home of the genuine package with a network of 16.6 million weights for ``total --fast``.

    They are random but for the last layer, which follows windows of HU: noise in 117 classes would be no segmentation.
    """
    (model,) = task_named("total-fast").parts()
    user = UserHome(home, home / "nnunet" / "results")
    write_standin(user, model, WINDOWS, middle(nibabel.load(image)), **REAL_3_MM)  # type: ignore[arg-type]
    config = {"totalseg_id": "totalseg_BENCHMRK", "send_usage_stats": False, "prediction_counter": 0}
    (home / "config.json").write_text(json.dumps({**config, "statistics_disclaimer_shown": True}))


def genuine(image: Path, home: Path, output: Path) -> tuple[float, float]:
    """Seconds of the genuine command, and GiB of its largest process."""
    command = [Path(sys.executable).with_name("TotalSegmentator"), "-i", image, "-o", output]
    environment = {**os.environ, "TOTALSEG_HOME_DIR": str(home), "OMP_WAIT_POLICY": "PASSIVE"}
    started = time.perf_counter()
    log = output.with_suffix(".log")
    with log.open("wb") as printed:
        process = subprocess.Popen(
            [*command, "--fast", "--ml", "-d", "cpu"], env=environment, stdout=printed, stderr=printed
        )
        _, status, usage = os.wait4(process.pid, 0)  # of the command and its own children, not of the engine
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not output.exists():
        raise SystemExit(f"The genuine command failed:\n{log.read_text()}")
    return seconds, usage.ru_maxrss / 2**20


def command(image: Path, home: Path, folder: Path) -> float:
    """Seconds of ``activeseg segment`` in a process of its own; ``folder`` keeps what it finds out of this computer."""
    code = "from activeseg.cli import main; main()"
    words = ["segment", image, "-m", MODEL, "-o", folder / "out", "--overwrite", "--device", "cpu", "--members", "1"]
    extra = {"TOTALSEG_HOME_DIR": str(home), "XDG_CACHE_HOME": str(folder / "cache"), "OMP_WAIT_POLICY": "PASSIVE"}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], env={**os.environ, **extra}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"The command failed:\n{done.stderr}")
    return time.perf_counter() - started


class Engine(SubprocessEngine):
    """A resident engine whose weights are the stand-in's."""

    def __init__(self, folder: Path, home: Path, **variables: str) -> None:
        extra = {"TOTALSEG_HOME_DIR": str(home), **variables}
        self.seen: list[Any] = []
        super().__init__(
            sys.executable, folder, None, "benchmark", engine_environment(extra=extra), listener=self.seen.append
        )

    def click(self, image: Path, mode: str) -> tuple[float, dict[str, Any]]:
        """Seconds from the wish to the result on disk, and the result."""
        started = time.perf_counter()
        job = self.submit("segment", wish(image, mode))
        result: dict[str, Any] = self.wait(job)
        seconds = time.perf_counter() - started
        self.call("job.release", {"job": job})
        return seconds, result

    def cancel_to_idle(self, image: Path) -> float:
        """Seconds from asking, in the middle of the network, until the job's answer."""
        job = self.submit("segment", wish(image, "exact"))
        self.wait_for(lambda event: isinstance(event, ProgressEvent) and event.job == job and event.stage == "network")
        self.wait_for(lambda event: isinstance(event, ProgressEvent) and event.job == job)  # a second into the tile
        started = time.perf_counter()
        self.cancel(job)
        try:
            self.wait(job)
        except Cancelled:
            return time.perf_counter() - started
        raise SystemExit("The job ended before it was cancelled.")


def wish(image: Path, mode: str) -> dict[str, Any]:
    return {"model": MODEL, "image": str(image), "regions": 10, "settings": {"mode": mode, "members": 1}}


def empty_call(engine: SubprocessEngine) -> float:
    started = time.perf_counter()
    engine.call("jobs.list")
    return time.perf_counter() - started


def first_answer(folder: Path, home: Path) -> float:
    started = time.perf_counter()
    with Engine(folder, home) as engine:
        engine.start()
        return time.perf_counter() - started


def measure(image: Path, rounds: int) -> dict[str, Any]:
    load = os.getloadavg()[0]
    if load > QUIET:
        print(f"The computer is busy (load {load:.1f}); times mean little.", file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        home = folder / "totalsegmentator"
        standin(home, image)
        commands = [command(image, home, folder) for _ in range(2)]
        engine_home = folder / "engine"
        starts = [first_answer(engine_home, home) for _ in range(5)]
        times: dict[str, list[float]] = {"genuine": [], "exact": [], "fast": []}
        with Engine(engine_home, home) as engine:
            started = time.perf_counter()
            engine.start()
            engine.click(image, "fast")
            cold = time.perf_counter() - started
            engine.click(image, "exact")
            stages: dict[str, Any] = {}
            for number in range(rounds):
                seconds, genuine_peak = genuine(image, home, folder / f"genuine{number}.nii")
                times["genuine"].append(seconds)
                for mode in ("exact", "fast"):
                    seconds, result = engine.click(image, mode)
                    times[mode].append(seconds)
                    stages[mode] = result["record"]["timings_s"]
            empty = [empty_call(engine) for _ in range(200)]
            cancels = [engine.cancel_to_idle(image) for _ in range(3)]
    middle = {name: statistics.median(values) for name, values in times.items()}
    return {
        "warm_exact_ratio": round(middle["exact"] / middle["genuine"], 3),
        "warm_fast_ratio": round(middle["fast"] / middle["genuine"], 3),
        "bf16": "bfloat16" in str(result["record"]["details"]["arithmetic"]),
        "rounds": rounds,
        "load_at_start": round(load, 2),
        "seconds": {name: [round(value, 2) for value in values] for name, values in times.items()},
        "cold_fast_s": round(cold, 2),
        "cold_command_s": round(commands[0], 2),
        "cold_command_again_s": round(commands[1], 2),
        "stages_s": stages,
        "first_answer_s": round(statistics.median(starts), 3),
        "empty_call_ms": round(statistics.median(empty) * 1000, 2),
        "cancel_to_idle_s": [round(value, 2) for value in cancels],
        "worker_peak_gib": round(result["peak_bytes"] / 2**30, 2),
        "genuine_peak_gib": round(genuine_peak, 2),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=at_least_one, default=5, help="how often each of the three is run")
    parser.add_argument("--image", type=Path, default=CT, help="a NIfTI file; by default the example of the tests")
    given = parser.parse_args(arguments)
    found = measure(nifti(given.image), given.rounds)
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:20} {value}")


if __name__ == "__main__":
    main()

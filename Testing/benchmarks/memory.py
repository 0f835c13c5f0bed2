"""The memory that a segmentation was said to need against what its worker took.

    .venv/bin/python Testing/benchmarks/memory.py [--json] [--only TEXT] [--plenty] [--image CT.nii.gz]

Each row is one segmentation by a warm engine: the estimate, the rise of the worker's resident memory from before the
job to its peak (Linux resets that on request), and their ratio, which should be somewhat above 1 everywhere. The heap
is as where memory is no more than enough, for that is what the estimate is about; with ``--plenty`` it is as the engine
itself decides on this computer. The networks have random weights and the sizes of real ones; times mean nothing here.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from asked import ENGINE, nifti, refuse, started_in

started_in(ENGINE, __file__, __doc__)

import nibabel
import psutil
import SimpleITK as sitk  # noqa: N813
from warm import CT, MODEL, ROOT, WINDOWS, Engine, middle, standin

from activeseg.client.engine_client import EstimateEvent
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.tasks import task_named

sys.path.insert(0, str(ROOT / "Testing" / "engine"))

from nnunet_models import make_model
from standin import write_standin

GIB = 2**30
REAL_1_5_MM = {"features": (32, 64, 128, 128, 128), "patch": (128, 128, 128)}
SCARCE = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
"""As ``activeseg.system.heap`` has it there."""


def resampled(image: Path, size: tuple[int, int, int], spacing: float, path: Path) -> Path:
    """The same body in another number of voxels (x, y, z)."""
    ct = sitk.ReadImage(str(image))
    grid = sitk.Image(*size, sitk.sitkInt16)
    grid.SetSpacing([spacing] * 3)
    grid.SetOrigin(ct.GetOrigin())
    grid.SetDirection(ct.GetDirection())
    sitk.WriteImage(sitk.Resample(ct, grid, sitk.Transform(), sitk.sitkLinear, -1000), str(path))
    return path


def parts_standin(home: Path, image: Path) -> None:
    """The five networks of ``total`` beside the 3 mm one, smaller in their deeper stages."""
    user, seen = UserHome(home, home / "nnunet" / "results"), middle(nibabel.load(image))
    for model in task_named("total").parts():
        windows = {name: window for name, window in WINDOWS.items() if name in model.classes.values()}
        write_standin(user, model, windows, seen, **REAL_1_5_MM)  # type: ignore[arg-type]


def jobs(folder: Path, image: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and parameters of each segmentation."""
    halfway = resampled(image, (200, 200, 160), 1.3, folder / "middle.nii.gz")
    large = resampled(image, (512, 512, 400), 0.7, folder / "large.nii.gz")
    labels = {"background": 0, **{f"structure_{value}": value for value in range(1, 25)}}
    model = (
        f"nnunet:{make_model(folder / 'model', labels, (1.5,) * 3, folds=(0, 1, 2), mirror=(0, 1, 2), **REAL_1_5_MM)}"
    )
    for mode in ("fast", "exact"):
        for members in (1, 4):
            yield f"3 mm, 118 classes, small CT, {mode}, {members}", wish(MODEL, image, mode, members)
        yield f"3 mm, 118 classes, 512x512x400, {mode}, 1", wish(MODEL, large, mode, 1)
        yield f"3 mm, 118 classes, 512x512x400, {mode}, 1, smooth", wish(MODEL, large, mode, 1, resample="smooth")
        for members in (1, 3, 4):
            yield (
                f"1.5 mm, 25 classes, 200x200x160, {mode}, {members}",
                wish(model, halfway, mode, members, mirroring=False),
            )
    yield "1.5 mm, 25 classes, 200x200x160, exact, 1, mirrored", wish(model, halfway, "exact", 1)
    for members in (1, 2):
        yield (
            f"1.5 mm, five networks, 200x200x160, fast, {members}",
            wish("totalsegmentator:total", halfway, "fast", members),
        )
    yield "HU rules, 512x512x400", wish("hounsfield", large, "fast", 4)


def wish(model: str, image: Path, mode: str, members: int, **more: Any) -> dict[str, Any]:
    settings = {"device": "cpu", "mode": mode, "members": members, **more}
    return {"model": model, "image": str(image), "regions": 10, "settings": settings}


def resident(pid: int, key: str) -> int:
    """Bytes of ``VmRSS`` (now) or ``VmHWM`` (the most)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":")) * 1024


def worker() -> int:
    """Of this process's children the one with the most memory."""
    return int(max(psutil.Process().children(recursive=True), key=lambda p: p.memory_info().rss).pid)


def measure(image: Path, only: str, plenty: bool) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        standin(folder / "totalsegmentator", image)
        parts_standin(folder / "totalsegmentator", image)
        first = resampled(image, (64, 64, 64), 1.5, folder / "first.nii.gz")
        for name, parameters in jobs(folder, image):
            if only not in name:
                continue
            with Engine(folder / "engine", folder / "totalsegmentator", **({} if plenty else SCARCE)) as engine:
                engine.start()
                engine.wait(engine.submit("segment", {**parameters, "image": str(first)}))  # loads the model
                time.sleep(2)  # the worker gives back what it freed after it has answered
                pid = worker()
                before = resident(pid, "VmRSS")
                Path(f"/proc/{pid}/clear_refs").write_text("5")
                job = engine.submit("segment", parameters)
                engine.wait(job)
                taken = resident(pid, "VmHWM") - before
                said = [e.estimate for e in engine.seen if isinstance(e, EstimateEvent) and e.job == job][-1]
            rows[name] = {
                "estimated_gib": round(said["ram_bytes"] / GIB, 2),
                "taken_gib": round(taken / GIB, 2),
                "ratio": round(said["ram_bytes"] / taken, 2),
            }
            print(f"{name:45} {rows[name]}", file=sys.stderr, flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--plenty", action="store_true", help="with the heap as the engine has it here")
    parser.add_argument("--image", type=Path, default=CT, help="a NIfTI file; by default the example of the tests")
    given = parser.parse_args(arguments)
    if not Path("/proc/self/clear_refs").exists():
        refuse("Peaks can be read again and again on Linux only.")
    found = measure(nifti(given.image), given.only, given.plenty)
    if given.json:
        print(json.dumps(found))
        return
    for name, row in found.items():
        print(f"{name:45} {row['estimated_gib']:6.2f} {row['taken_gib']:6.2f} {row['ratio']:6.2f}")


if __name__ == "__main__":
    main()

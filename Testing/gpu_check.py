"""Whether all that ActiveSeg does on a GPU is right on this one, in under four minutes.

    python Testing/gpu_check.py [--toy] [--device cuda|cpu] [--only NAME ...] [--json FILE]

Any Python with torch for CUDA and the packages of the engine's lock will do; nothing has to be installed of ActiveSeg
itself, and no data are needed: networks are the one that ships, and small ones with random weights. What the GPU says
is compared with the CPU. Without CUDA the same is done on the CPU at toy size, which shows that this check works, and
no more. One table; exit code 0 when every line is right, 1 when one is not.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

TESTING = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTING.parent / "ActiveSegExtension"), str(TESTING), str(TESTING / "engine")]

import nibabel  # noqa: E402
import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import psutil  # noqa: E402
import torch  # noqa: E402
from finetuned import ended, make_project  # noqa: E402
from nnunet_models import make_model  # noqa: E402
from running_engine import WatchedEngine, in_memory, noise_ct  # noqa: E402
from standin import write_standin  # noqa: E402

from activeseg.client.engine_client import ProgressEvent  # noqa: E402
from activeseg.client.messages.images import ArrayFile  # noqa: E402
from activeseg.core.errors import Cancelled  # noqa: E402
from activeseg.core.progress import Progress  # noqa: E402
from activeseg.core.records import to_json  # noqa: E402
from activeseg.core.segmenter import Mode, Settings  # noqa: E402
from activeseg.core.volume import Volume  # noqa: E402
from activeseg.engine.jobs import segmenting  # noqa: E402
from activeseg.engine.planning.estimate import need_of  # noqa: E402
from activeseg.engine.worker import memory  # noqa: E402
from activeseg.engine.worker.kept import Keeping, keep  # noqa: E402
from activeseg.engine.worker.plain import plain  # noqa: E402
from activeseg.engine.worker.requests import read_request  # noqa: E402
from activeseg.engine.worker.worker import Job  # noqa: E402
from activeseg.io.npy import read_array  # noqa: E402
from activeseg.learning.training.finetuning import plan_finetuning, start_finetuning  # noqa: E402
from activeseg.learning.training.run_folder import Stage  # noqa: E402
from activeseg.predictions.make_prediction import segment  # noqa: E402
from activeseg.predictions.prediction import Prediction  # noqa: E402
from activeseg.samples.phantom import Domain, make_phantom, phantom_geometry  # noqa: E402
from activeseg.segmenters.demo import demo_segmenter  # noqa: E402
from activeseg.segmenters.nnunet.network import Network  # noqa: E402
from activeseg.segmenters.nnunet.network_size import read_size  # noqa: E402
from activeseg.segmenters.nnunet.segmenter import OVERHEAD  # noqa: E402
from activeseg.segmenters.nnunet.sweep import sweep_exact  # noqa: E402
from activeseg.segmenters.totalsegmentator.sandbox import UserHome  # noqa: E402
from activeseg.segmenters.totalsegmentator.segmenter import TotalSegmentatorSegmenter  # noqa: E402
from activeseg.segmenters.totalsegmentator.tasks import task_named  # noqa: E402

MIB = 1 << 20
TIES = 1e-5
"""Share of voxels that may differ in exact arithmetic: sums in another order round another way where two labels tie."""
SAME_PLACES = 0.7
"""Share of the regions that must lie where another device finds one, for lists end somewhere."""
LEAK = 64 * MIB
"""What a second job may leave behind on the GPU beyond what the first one did."""
WINDOWS = {"liver": (20.0, 90.0), "lung_upper_lobe_left": (-950.0, -500.0), "rib_left_5": (200.0, 2000.0)}
Labels = npt.NDArray[Any]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    right: bool
    figures: str
    seconds: float


class Wrong(Exception):
    """A check found something else than it should have; the text says what."""


def must(right: bool, figures: str) -> str:
    if not right:
        raise Wrong(figures)
    return figures


@dataclass
class Bench:
    """What the checks share: the device that is looked at, how large they may be, and a folder for what they write."""

    device: str
    toy: bool
    folder: Path

    def __post_init__(self) -> None:
        grid = phantom_geometry((8.0,) * 3, shape_kji=(14, 18, 20)) if self.toy else phantom_geometry()
        self.ct = make_phantom(Domain.NATIVE, 12, geometry=grid).ct
        self._made: dict[str, Prediction] = {}

    def demo(self, device: str, mode: Mode, full: bool = False) -> Prediction:
        """What the network that ships says; ``full``: exact in float32 and without TF32, whatever the device."""
        key = f"{device} {mode} {full}"
        if key not in self._made:
            segmenter = demo_segmenter()
            settings = Settings(device=device, mode=mode)
            segmenter.load(settings).autocast = not full
            with in_float32() if full else contextlib.nullcontext():
                self._made[key] = segment({"CT": self.ct}, segmenter, settings)
        return self._made[key]

    def totalsegmentator(self) -> TotalSegmentatorSegmenter:
        """``total --fast`` with a network whose structures follow windows of HU."""
        home = UserHome(self.folder / "totalsegmentator", self.folder / "totalsegmentator" / "results")
        (model,) = task_named("total-fast").parts()
        if not home.weights.exists():
            seen = make_phantom(Domain.CONTRAST, 1, geometry=phantom_geometry((6.0,) * 3)).ct
            image = nibabel.Nifti1Image(seen.array.transpose(2, 1, 0), seen.geometry.ijk_to_ras)
            write_standin(home, model, WINDOWS, image, patch=(32, 32, 32) if self.toy else (64, 64, 64))
        return TotalSegmentatorSegmenter("total-fast", home)

    def wide(self) -> Path:
        """A model with two members and many classes: large results, little work."""
        folder = self.folder / "wide"
        if not folder.exists():
            labels = {"background": 0, **{f"s{n}": n for n in range(1, 40 if self.toy else 120)}}
            make_model(folder, labels, patch=(32, 32, 32), folds=(0, 1))
        return folder


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """Within it no convolution on a GPU is rounded to TF32."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """Within it the same convolution is computed the same way twice."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


def dice(a: Labels, b: Labels) -> float:
    """Over all foreground: voxels that have the same label in both, twice, of those that have any."""
    both = np.count_nonzero(a) + np.count_nonzero(b)
    return 1.0 if not both else 2.0 * float(np.count_nonzero((a == b) & (a > 0))) / both


def worst_structure(a: Labels, b: Labels) -> float:
    """Least Dice of a structure of 1,000 voxels or more in ``a``."""
    values, counts = np.unique(a[a > 0], return_counts=True)
    large = values[counts >= 1000]
    return min(
        (2.0 * float(((a == v) & (b == v)).sum()) / float((a == v).sum() + (b == v).sum()) for v in large), default=1
    )


# The checks, in the order of the table.


def exact_as_on_a_cpu(bench: Bench) -> str:
    """The demo's label map in exact mode, float32 on both devices."""
    here = bench.demo(bench.device, Mode.EXACT, full=True).labels.array
    there = bench.demo("cpu", Mode.EXACT, full=True).labels.array
    differ = int(np.count_nonzero(here != there))
    return must(differ <= TIES * here.size, f"{differ} of {here.size} voxels differ")


def exact_as_the_original(bench: Bench) -> str:
    """Logits of exact mode as shipped (float16 on a GPU), against nnU-Net's own function on the same device."""
    found = []
    models = {"demo": demo_segmenter().folder, "118 classes": bench.totalsegmentator().user.weights}
    for name, folder in models.items():
        plans = next(folder.rglob("plans.json")).parent
        network = Network.load(plans, device=bench.device)
        network.use_fold(0)
        first, *others = network.patch
        shape = (first + first // 2, *(n if bench.toy else n + n // 2 for n in others))
        data = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0))
        with repeatable(), torch.inference_mode(), contextlib.redirect_stdout(io.StringIO()):
            theirs = network.predictor.predict_sliding_window_return_logits(data).cpu()
            ours = sweep_exact(network, data, False, Progress()).cpu()
        found.append(f"{name}: {int((ours != theirs).sum())} of {ours.numel()} logits differ")
        must(torch.equal(ours, theirs), found[-1])
    return "; ".join(found)


def fast_as_exact(bench: Bench) -> str:
    """The demo in fast mode on the device, against exact float32 on the CPU."""
    here = bench.demo(bench.device, Mode.FAST)
    there = bench.demo("cpu", Mode.EXACT, full=True).labels.array
    whole, worst = dice(there, here.labels.array), worst_structure(there, here.labels.array)
    said = f"Dice {whole:.5f}, worst structure {worst:.4f}, {here.details['arithmetic']}"
    least = 0.99 if bench.toy else 0.999  # a toy has so few voxels that five are more than one in a thousand
    return must(whole >= least and worst >= 0.99, said)


def totalsegmentator(bench: Bench) -> str:
    """118 classes through TotalSegmentator's own resampling, alone and with two views, against the CPU."""
    segmenter, figures = bench.totalsegmentator(), []
    for members in (2,) if bench.toy else (1, 3):
        settings = Settings(mode=Mode.FAST, members=members)
        made = [
            segment({"CT": bench.ct}, segmenter, replace(settings, device=device)) for device in (bench.device, "cpu")
        ]
        here, there = (prediction.labels.array for prediction in made)
        figures.append(f"{members} members: Dice {dice(there, here):.5f}")
        must(bool(there.any()) and dice(there, here) >= 0.999, figures[-1])
        must(len(made[0].members) == members, f"{len(made[0].members)} members voted, not {members}")
    return "; ".join(figures)


def uncertainty(bench: Bench) -> str:
    """Every measure of the demo's four members, against the CPU."""
    here, there = bench.demo(bench.device, Mode.FAST).grid, bench.demo("cpu", Mode.FAST).grid
    assert here is not None
    assert there is not None
    figures = []
    for name in segmenting.MEASURES:
        ours, theirs = here.measure(name), there.measure(name)
        assert ours is not None
        assert theirs is not None
        must(bool(np.array_equal(np.isnan(ours), np.isnan(theirs))), f"{name} is computed at other voxels")
        apart = np.abs(np.nan_to_num(ours) - np.nan_to_num(theirs))
        figures.append(f"{name} {apart.mean():.5f} apart, {apart.max():.3f} at most")
        must(float(apart.mean()) < 0.002 and float(np.nanmax(ours)) > 0.1, figures[-1])
    return "; ".join(figures)


def regions(bench: Bench) -> str:
    """The list of regions, against the CPU."""
    here, there = bench.demo(bench.device, Mode.FAST).regions, bench.demo("cpu", Mode.FAST).regions

    def meets(a: Any, b: Any) -> bool:
        return all(low < high2 and low2 < high for (low, high), (low2, high2) in zip(a.box_kji, b.box_kji, strict=True))

    met = sum(any(meets(a, b) for b in there) for a in here)
    return must(bool(here) and met >= SAME_PLACES * len(here), f"{met} of {len(here)} lie where the CPU finds one")


def too_small(bench: Bench) -> str:
    """A card with too little memory: a step down, which is said, and the same label map."""
    shape = (32, 64, 64) if bench.toy else (64, 128, 128)
    volume, model = noise_ct(shape), bench.wide()
    settings = {"mode": "exact", "device": bench.device, "members": 1 if bench.device == "cuda" else 2}
    size = read_size(model, "3d_fullres")
    assert size is not None
    limit = 0
    if bench.device != "cuda":  # without a card it is the computer's memory that is short
        needs = [need_of(volume.geometry, [size], Settings(mode=Mode.EXACT, members=n), OVERHEAD).ram for n in (1, 2)]
        limit = sum(needs) // 2
    plenty, _ = job_here(bench, "plenty", model, volume, settings | {"members": 1}, 0)
    memory.give_back()
    with capped(150 * MIB) if bench.device == "cuda" else contextlib.nullcontext():
        result, notices = job_here(bench, "short", model, volume, settings, limit)
    memory.give_back()
    said = result["fallbacks"]
    must(bool(said) and said[0] in notices, f"no step down was said: {notices}")
    differ = int(np.count_nonzero(read_array(plenty["labels"]) != read_array(result["labels"])))
    return must(differ <= TIES * volume.array.size, f"'{said[-1]}' {differ} voxels differ")


@contextlib.contextmanager
def capped(more: int) -> Iterator[None]:
    """Within it this process can take only so many bytes more of the GPU."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + more) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def job_here(
    bench: Bench, name: str, model: Path, volume: Volume, settings: dict[str, Any], limit: int
) -> tuple[dict[str, Any], list[str]]:
    """A worker's job in this process: its result and its notices."""
    folder, notices = bench.folder / name, list[str]()
    folder.mkdir()
    wish = {"model": f"nnunet:{model}", "image": to_json(ArrayFile.write(folder / "ct.npy", volume)), "regions": 0}
    request = read_request("segment", {**wish, "settings": settings})
    job = Job(folder, Progress(), notices.append, lambda _: None, lambda _: None)
    kept = keep(Keeping(folder, 1 << 30, limit), lambda **_: None)
    return plain(segmenting.segment(request, job, kept)), notices


def fine_tuning(bench: Bench) -> str:
    """20 iterations in a process of their own, measured and judged."""
    os.environ["ACTIVESEG_PRIVATE_DIR"] = str(bench.folder / "private")
    project = make_project(bench.folder / "project")
    small = {"members": 1, "epochs": 1, "iterations": 2, "patch_kji": (16, 24, 24), "batch_size": 1}
    plan = small if bench.toy else {"members": 1, "epochs": 2, "iterations": 10}
    run = start_finetuning(project, plan_finetuning(project, plan, device=bench.device).plan)
    state = ended(run)
    must(state.stage is Stage.DONE, f"{state.stage}: {state.error}")
    told = [event for event in run.events()[0] if event["event"] == "iteration"]
    losses = [event["loss"] for event in told]
    wanted = plan["epochs"] * plan["iterations"]  # type: ignore[operator]
    must(len(told) == wanted and bool(np.isfinite(losses).all()), f"{len(told)} iterations, losses {losses}")
    spent = float(np.median([event["seconds"] for event in told]))
    return f"{state.version}: loss {losses[0]:.3f} > {losses[-1]:.3f}, {spent:.2f} s an iteration; {state.verdict}"


def one_worker(bench: Bench) -> str:
    """In one engine: a job that is cancelled, two that follow, and what they leave on the device."""
    before = taken(bench)
    with WatchedEngine(bench.folder / "engine" / "home") as engine:
        ct = in_memory(engine, bench.ct)
        wish = {"model": "demo", "image": ct, "regions": 5, "settings": {"device": bench.device, "members": 4}}
        slow = {**wish, "settings": {**wish["settings"], "mode": "exact", "members": 8}}
        job = engine.submit("segment", slow)
        engine.wait_for(
            lambda event: isinstance(event, ProgressEvent) and event.job == job and event.stage == "network", 300.0
        )
        started = time.perf_counter()
        engine.cancel(job)
        failure = engine.failure(job)
        cancelled = time.perf_counter() - started
        must(isinstance(failure.error, Cancelled), f"the cancelled job ended with {failure.error}")
        left, results, seconds = [], [], []
        for _ in range(2):
            started = time.perf_counter()
            results.append(engine.do("segment", wish))
            seconds.append(time.perf_counter() - started)
            engine.do("models.check", {"model": "demo"})  # the worker has cleared up when it answers the next request
            left.append(taken(bench, engine.child("worker")))
        first, second = (read_array(result["labels"]) for result in results)
        differ = int(np.count_nonzero(first != second))
        must(differ <= TIES * first.size, f"the second job differs in {differ} voxels")
    after = taken(bench)
    grown = left[1] - left[0]
    said = f"cancelled in {cancelled:.2f} s; {seconds[0]:.1f} and {seconds[1]:.1f} s; second job +{grown / MIB:.0f} MiB"
    said += f"; after the engine's end {(after - before) / MIB:+.0f} MiB"
    return must(grown <= (LEAK if bench.device == "cuda" else 4 * LEAK) and after - before <= LEAK, said)


def taken(bench: Bench, worker: psutil.Process | None = None) -> int:
    """Bytes in use on the GPU, by whomever; on a CPU those of the worker, 0 without one."""
    if bench.device == "cuda":
        torch.cuda.synchronize()
        free, total = torch.cuda.mem_get_info()
        return int(total - free)
    return 0 if worker is None else int(worker.memory_info().rss)


CHECKS: dict[str, Callable[[Bench], str]] = {
    "exact, float32, as on the CPU": exact_as_on_a_cpu,
    "exact as nnU-Net on this device": exact_as_the_original,
    "fast as exact": fast_as_exact,
    "TotalSegmentator and views": totalsegmentator,
    "uncertainty": uncertainty,
    "regions": regions,
    "too little memory": too_small,
    "fine-tuning": fine_tuning,
    "cancel, two jobs, memory": one_worker,
}


def checked(name: str, check: Callable[[Bench], str], bench: Bench) -> Row:
    """The line of one check; whatever it raises is its figure."""
    started = time.perf_counter()
    try:
        right, figures = True, check(bench)
    except Wrong as error:
        right, figures = False, str(error)
    except Exception as error:
        traceback.print_exc()
        right, figures = False, f"{type(error).__name__}: {error}"
    gc.collect()
    memory.give_back()
    return Row(name, right, " ".join(figures.split()), round(time.perf_counter() - started, 1))


def table(rows: Sequence[Row]) -> str:
    lines = [f"{'CHECK':32} {'':6} {'S':>6}  FIGURES"]
    lines += [f"{row.name:32} {'right' if row.right else 'WRONG':6} {row.seconds:6.1f}  {row.figures}" for row in rows]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="small images and few iterations, as without CUDA")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is one")
    parser.add_argument("--only", nargs="+", choices=CHECKS, metavar="NAME", help=f"of: {'; '.join(CHECKS)}")
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    given = parser.parse_args(arguments)
    there = torch.cuda.is_available()
    if given.device == "cuda" and not there:
        parser.error("torch sees no CUDA device")
    device = given.device or ("cuda" if there else "cpu")
    name = torch.cuda.get_device_name(0) if device == "cuda" else "no GPU is looked at; at toy size"
    print(f"torch {torch.__version__}, {device}: {name}", flush=True)
    started, rows = time.perf_counter(), list[Row]()
    with tempfile.TemporaryDirectory(prefix="activeseg_gpu_check_") as folder:
        bench = Bench(device, given.toy or device == "cpu", Path(folder))
        for title in given.only or CHECKS:
            print(f"... {title}", file=sys.stderr, flush=True)
            rows.append(checked(title, CHECKS[title], bench))
    print(table(rows))
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    right = sum(row.right for row in rows)
    where = "on the GPU" if device == "cuda" else "on the CPU only, which says nothing about a GPU"
    print(f"{right} of {len(rows)} checks are right {where}; {time.perf_counter() - started:.0f} s.")
    return 0 if right == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The main job from end to end, without network access: ``python3 Testing/run.py demo [CT] [--out DIR]``.

Without a CT: a native-domain phantom, on which the network that ships (trained on contrast-domain phantoms) fails in
places, is segmented; its uncertain regions are listed and drawn; the first ten are corrected from the truth as a user
would; the case is exported into an nnU-Net dataset; and a Slicer scene (.mrb) and pictures are written. Then three
corrected cases teach the model: the new version is measured on held-out phantoms and takes over; one that was trained
on shuffled labels is refused. With a CT: the same up to the scene, with TotalSegmentator where its weights are
installed, else with HU rules; first alternatives stand in for
the user, and there is no truth to compare with.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import demo_loop
import numpy as np
import numpy.typing as npt
from demo_loop import dice_per_structure
from rich.console import Console
from rich.table import Table

from activeseg.core.correction import NOTHING_HERE, RegionState, Review
from activeseg.core.errors import ActiveSegError
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Settings
from activeseg.corrections.exporting import CorrectedCase, export_correction
from activeseg.io.images import read_volume, write_volume
from activeseg.io.seg_nrrd import write_segmentation
from activeseg.learning.measuring.pictures import dice_bars
from activeseg.predictions.make_prediction import segment
from activeseg.predictions.prediction import Prediction
from activeseg.review.regions import FoundRegion, apply_alternative
from activeseg.samples.phantom import Domain, make_phantom
from activeseg.segmenters import list_models, open_segmenter

ROOT = Path(__file__).resolve().parents[1]
SEED = 12  # of the phantom; the network was trained on others
DATASET = "Dataset801_ActiveSegDemo"
MARK = ".activeseg-demo"  # a folder that holds it may be replaced by the next demo
Labels = npt.NDArray[Any]

console = Console()


@dataclass(frozen=True)
class Corrected:
    """The label map after the stand-in for a user, and what he did in each region."""

    labels: Labels
    states: dict[int, RegionState]
    alternatives_taken: int
    voxels_painted: int


def correct_from_truth(prediction: Prediction, truth: Labels, count: int = 10) -> Corrected:
    """In each of the first regions take the alternative that repairs most, if one does, and paint the rest."""
    labels = prediction.labels.array.copy()
    states, taken, painted = {}, 0, 0
    for region in prediction.regions[:count]:
        box = region.slices
        wrong = np.count_nonzero(labels[box] != truth[box])
        if not wrong:
            states[region.number] = RegionState.ACCEPTED
            continue
        offers = [apply_alternative(labels, region, index) for index in range(len(region.alternatives))]
        best = min(offers, key=lambda offer: np.count_nonzero(offer[box] != truth[box]), default=labels)
        left = np.count_nonzero(best[box] != truth[box])
        if left < wrong:
            labels, taken = best, taken + 1
        painted += int(min(left, wrong))
        labels[box] = truth[box]
        states[region.number] = RegionState.CORRECTED
    return Corrected(labels, states, taken, painted)


def take_first_alternatives(prediction: Prediction, count: int = 10) -> Corrected:
    """What can be done without a truth or a person: the first alternative of each region, the rest left open."""
    labels, states = prediction.labels.array.copy(), {}
    for region in prediction.regions[:count]:
        if region.alternatives:
            labels = apply_alternative(labels, region)
            states[region.number] = RegionState.CORRECTED
    return Corrected(labels, states, len(states), 0)


def model_for_patients() -> str:
    """TotalSegmentator's quick model when its weights are installed, else the rules that need none."""
    ready = {model.name for model in list_models() if model.state == "ready"}
    fast = ("totalsegmentator:total-fast", "totalsegmentator:total-fastest", "totalsegmentator:total")
    return next((name for name in fast if name in ready), "hounsfield")


def show_regions(regions: Sequence[FoundRegion]) -> None:
    """The list that leads the user."""
    table = Table(
        "#", "structures", "why", "doubt", "size (ml)", "members say", "alternatives", title="Regions to review"
    )
    for r in regions:
        said = ", ".join(f"{name} {votes}" for name, votes in r.votes.items())
        row = (
            ", ".join(r.structures[:3]) or NOTHING_HERE,
            r.reason_text,
            r.doubt_text,
            f"{r.size_mm3 / 1000:.1f}",
            said,
        )
        table.add_row(str(r.number), *row, str(len(r.alternatives)))
    console.print(table)


def write_scene(out: Path, ct: Path) -> list[str]:
    """The Slicer scene and its pictures, in the environment that holds slicer-core. Returns the files written."""
    python = ROOT / ".venv-slicer" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    command = [python, ROOT / "Testing" / "demo_scene.py", out / "prediction", ct]
    command += ["--corrected", out / "corrected.seg.nrrd", "--out", out / "slicer"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ActiveSegError(f"The Slicer scene was not written: {done.stderr.strip()[-2000:]}")
    written = json.loads(done.stdout.strip().splitlines()[-1])["files"]
    return [str(Path(name).relative_to(out)) if Path(name).is_absolute() else name for name in written]


def run(ct_path: Path | None, out: Path) -> dict[str, Any]:
    """All steps; returns what goes into summary.json."""
    started = time.monotonic()
    out.mkdir(parents=True)
    (out / MARK).touch()
    truth: Labels | None = None
    if ct_path is None:
        phantom = make_phantom(Domain.NATIVE, SEED)
        ct, truth, name = phantom.ct, phantom.labels.array, "demo"
        write_volume(phantom.labels, out / "truth.nii.gz")
    else:
        ct, name = read_volume(ct_path, notice=console.print), model_for_patients()
    write_volume(ct, out / "ct.nii.gz")
    segmenter = open_segmenter(name)
    console.print(f"Segmenting {ct_path or 'a native-domain phantom'} with '{name}' ...")
    settings = Settings()
    images = {segmenter.channels[0]: ct}
    prediction = segment(
        images,
        segmenter,
        settings,
        progress=Progress(),
        sources={segmenter.channels[0]: {"path": str(out / "ct.nii.gz")}},
    )
    prediction.save(out / "prediction", images)
    show_regions(prediction.regions)
    fixed = take_first_alternatives(prediction) if truth is None else correct_from_truth(prediction, truth)
    write_segmentation(out / "corrected.seg.nrrd", fixed.labels, ct.geometry, prediction.schema, prediction.decided)
    corrected = CorrectedCase(
        out / "prediction",
        out / "corrected.seg.nrrd",
        images,
        review=Review.REGIONS,
        states=fixed.states,
        notes="made by the demo",
    )
    exported = export_correction(corrected, out / "nnUNet_raw" / DATASET, private_dir=out / "private")
    for sentence in exported.sentences:
        console.print(f"  {sentence}")
    summary: dict[str, Any] = {
        "model": name,
        "members": [m.name for m in prediction.members],
        "agreement": prediction.agreement,
        "regions": len(prediction.regions),
        "alternatives_taken": fixed.alternatives_taken,
        "voxels_painted": fixed.voxels_painted,
        "dataset": str(Path("nnUNet_raw") / DATASET),
        "case": exported.case,
        "dice_before": None,
        "dice_after": None,
    }
    if truth is not None:
        before = dice_per_structure(prediction.labels.array, truth, prediction.schema)
        after = dice_per_structure(fixed.labels, truth, prediction.schema)
        summary["dice_before"], summary["dice_after"] = (
            float(np.mean([*before.values()])),
            float(np.mean([*after.values()])),
        )
        after = {key: after.get(key, 0.0) for key in before}
        summary["dice_per_structure"] = {key: [before[key], after[key]] for key in before}
        dice_bars(out / "dice.png", before, after, ("predicted", "after ten regions"), "Dice with the truth")
    console.print("Writing the Slicer scene and its pictures ...")
    summary["scene"] = write_scene(out, out / "ct.nii.gz")
    if truth is not None:
        summary |= close_the_loop(out)
    summary["timings_s"] = {**prediction.timings, "demo": round(time.monotonic() - started, 1)}
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def close_the_loop(out: Path) -> dict[str, Any]:
    """Corrections of three cases, fine-tuning, the gate; and once more with shuffled labels, which the gate refuses."""

    def ten_regions(prediction: Prediction, truth: Labels) -> tuple[Labels, dict[int, RegionState]]:
        corrected = correct_from_truth(prediction, truth)
        return corrected.labels, corrected.states

    console.print("Correcting ten regions in each of three native phantoms ...")
    project = demo_loop.make_project(out / "project", (SEED, SEED + 1, SEED + 2), ten_regions, 10, Review.REGIONS)
    console.print("Fine-tuning on them ...")
    trained = demo_loop.fine_tune(project, console, **demo_loop.PLAN)
    console.print(f"{trained.version}: {trained.reason}")
    old = (demo_loop.old_domain(project, "base"), demo_loop.old_domain(project, trained.version))
    demo_loop.draw(out / "finetuned.png", trained.new_domain, old)
    console.print("The same with shuffled labels, which must not take over ...")
    shuffled = demo_loop.spoil(project, out / "spoiled")
    spoiled = demo_loop.fine_tune(shuffled, console, **{**demo_loop.PLAN, "members": 1})
    console.print(f"{spoiled.version}: {spoiled.reason}")
    return {
        "new_domain_dice": list(trained.new_domain),
        "old_domain_dice": list(old),
        "promoted": {"corrected": trained.promoted, "spoiled": spoiled.promoted},
        "reasons": {"corrected": trained.reason, "spoiled": spoiled.reason},
        "finetuning_s": {"corrected": trained.seconds, "spoiled": spoiled.seconds},
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="run.py demo", description=__doc__.splitlines()[0])
    parser.add_argument("ct", nargs="?", type=Path, help="a CT of your own (NIfTI, NRRD, MHA or DICOM folder)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo-output"), help="folder for results (default: %(default)s)"
    )
    chosen = parser.parse_args()
    out = chosen.out.resolve()
    if out.exists() and any(out.iterdir()) and not (out / MARK).is_file():
        console.print(f"[red]{out} is not empty and not a result of the demo. Give another folder with --out.[/red]")
        return 2
    shutil.rmtree(out, ignore_errors=True)
    try:
        summary = run(chosen.ct, out)
    except ActiveSegError as error:
        console.print(f"[red]{error}[/red]")
        return error.exit_code
    if summary["dice_before"] is not None:
        console.print(f"Mean Dice {summary['dice_before']:.3f} -> {summary['dice_after']:.3f} after ten regions.")
        (new, newer), (old, older) = summary["new_domain_dice"], summary["old_domain_dice"]
        console.print(f"After fine-tuning: {new:.3f} -> {newer:.3f} on new native phantoms,")
        console.print(f"{old:.3f} -> {older:.3f} on contrast phantoms, on which the base model was trained.")
    console.print(f"Done in {summary['timings_s']['demo']} s. Look at {out}:")
    console.print("prediction/overview.png, dice.png, finetuned.png, slicer/.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Dice for the time of training: ours against the genuine ``nnUNetv2_train``, with pretrained weights and from scratch.

    .venv/bin/python Testing/benchmarks/finetuning.py [--json FILE]

The same three native phantoms with their whole truth, the same network (one member of the demonstration model);
nnU-Net trains one epoch of its own (250 iterations, without mirroring), ours as many iterations as its plan says, half
of the images replayed contrast phantoms. Dice is that of one member, on held-out native phantoms and on contrast
phantoms, on which the network was trained first.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "ActiveSegExtension")]

from asked import ENGINE, file_to_write, started_in  # noqa: E402

started_in(ENGINE, __file__, __doc__)

import demo_loop  # noqa: E402
import psutil  # noqa: E402
from learning_curve import CASES, whole  # noqa: E402

from activeseg.core.correction import Review  # noqa: E402
from activeseg.learning.project.version import MODEL  # noqa: E402
from activeseg.learning.training.finetuning import plan_finetuning  # noqa: E402
from activeseg.learning.training.preparation import DATASET  # noqa: E402
from activeseg.learning.training.run_folder import RunFolder  # noqa: E402
from activeseg.samples.phantom import Domain  # noqa: E402
from activeseg.segmenters.demo import demo_segmenter  # noqa: E402
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter  # noqa: E402

TRAINER = "OneEpoch"
TRAINER_CODE = """from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import (
    nnUNetTrainerNoMirroring,
)


class OneEpoch(nnUNetTrainerNoMirroring):
    def initialize(self):
        self.num_epochs = 1
        super().initialize()

    def plot_network_architecture(self):
        pass
"""
OURS = {"members": 1, "epochs": 6, "iterations": 20, "replay": 0.5}


def watched(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds, and GiB of the process with its children at their peak."""
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        try:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            peak = max(peak, sum(member.memory_info().rss for member in family))
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.1)
    if process.returncode:
        assert process.stderr is not None
        raise SystemExit(process.stderr.read().decode()[-3000:])
    return time.perf_counter() - started, peak / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=file_to_write, help="write the figures there, too")
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        base = work / "base"
        shutil.copytree(demo_segmenter().folder, base)
        for fold in (1, 2, 3):
            shutil.rmtree(base / f"fold_{fold}")
        found["before"] = measured(base)
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "nnUNet_n_proc_DA": "0"}
        environment |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(8 << 30)}
        ours(work, environment, found)
        genuine(work, base, environment, found)
    for who, figures in found.items():
        told = f"{who:28s} new {figures['new']:.3f}  old {figures['old']:.3f}"
        if "minutes" in figures:
            gain = (figures["new"] - found["before"]["new"]) / figures["minutes"]
            told += f"  {figures['minutes']:.1f} min  {figures['peak_gib']:.1f} GiB  {gain:+.3f} Dice a minute"
        print(told)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def measured(model: Path) -> dict[str, Any]:
    """Dice of one member."""
    segmenter = NnUNetSegmenter(model)
    new = demo_loop.mean_dice(segmenter, Domain.NATIVE, demo_loop.HELD_OUT_NEW, 1)
    return {"new": new, "old": demo_loop.mean_dice(segmenter, Domain.CONTRAST, demo_loop.OLD_DOMAIN, 1)}


def ours(work: Path, environment: dict[str, str], found: dict[str, dict[str, Any]]) -> None:
    """The training process, the measuring at its end included."""
    os.environ["ACTIVESEG_PRIVATE_DIR"] = environment["ACTIVESEG_PRIVATE_DIR"] = str(work / "private")
    project = demo_loop.make_project(work / "project", CASES, lambda p, t: whole(p, t, 0), 1, Review.ALL)
    planned = plan_finetuning(project, OURS, device="cpu")
    run = RunFolder.create(project, planned.parent, planned.plan, planned.basis.cases)
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'ActiveSegExtension')!r}); "
    code += "import activeseg.learning.training.run as run; "
    code += "run.shutil.rmtree = lambda *_, **__: None; run.main()"  # what it was trained on is used again
    seconds, peak = watched([sys.executable, "-c", code, str(run.folder)], environment)
    shutil.copytree(run.folder / "preprocessed", work / "kept" / "nnUNet_preprocessed")
    version = project.version_folder(run.state.version)
    found["ours, with replay"] = {**measured(version / MODEL), "minutes": seconds / 60, "peak_gib": peak}


def genuine(work: Path, base: Path, environment: dict[str, str], found: dict[str, dict[str, Any]]) -> None:
    """nnU-Net's own command on the same preprocessed cases, without the replayed ones."""
    folders = {name: work / "kept" / name for name in ("nnUNet_preprocessed", "nnUNet_results", "nnUNet_raw")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    root = folders["nnUNet_preprocessed"] / DATASET
    for path in (root / "cases").glob("replay_*"):
        path.unlink()
    shutil.copytree(root / "labels", root / "gt_segmentations")
    environment |= {name: str(folder) for name, folder in folders.items()}
    environment["nnUNet_extTrainer"] = str(work / "trainer")
    os.environ["nnUNet_extTrainer"] = str(work / "trainer")  # its checkpoints name it
    (work / "trainer").mkdir()
    (work / "trainer" / "one_epoch.py").write_text(TRAINER_CODE)
    command = [str(Path(sys.executable).with_name("nnUNetv2_train")), "999", "3d_fullres", "all", "-tr", TRAINER]
    command += ["-device", "cpu"]
    weights = base / "fold_0" / "checkpoint_final.pth"
    for who, more in (("nnUNetv2_train, pretrained", ["-pretrained_weights", str(weights)]), ("from scratch", [])):
        seconds, peak = watched([*command, *more], environment)
        trained = folders["nnUNet_results"] / DATASET / f"{TRAINER}__nnUNetPlans__3d_fullres"
        found[who] = {**measured(trained), "minutes": seconds / 60, "peak_gib": peak}
        shutil.rmtree(trained)


if __name__ == "__main__":
    main()

"""What a fine-tuning gains on the new kind of image, and what it forgets on the old one, over several seeds.

    .venv/bin/python Testing/benchmarks/forgetting.py [--seeds 5] [--first 9000] [--json FILE]

For each seed three native phantoms, corrected in ten listed regions, with as many held out and eight replayed contrast
phantoms, of which the project holds two out; one member of the demonstration model. Three trainings of the same length:
without distillation and averaging, with both, and with both on the whole ground truth. Dice on the held-out native
phantoms, and on contrast phantoms that no project has seen, on whose kind the network was trained first. The loss that
the gate saw on the two held-out replayed phantoms stands beside the one that the ground truth tells.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "ActiveSegExtension")]

from asked import ENGINE, at_least_one, file_to_write, started_in  # noqa: E402

started_in(ENGINE, __file__, __doc__)

import demo_loop  # noqa: E402
import numpy as np  # noqa: E402
from learning_curve import listed, whole  # noqa: E402

from activeseg.core.correction import Review  # noqa: E402
from activeseg.learning.project.project import Project  # noqa: E402
from activeseg.segmenters.demo import demo_segmenter  # noqa: E402

REGIONS = 10
PLAN = {**demo_loop.PLAN, "members": 1}
OFF = {"distillation": 0.0, "forgetting_margin": 1.0}
"""As fine-tuning was before: nothing holds the network near its parent but the replayed images' label maps."""


def one_member(folder: Path) -> str:
    """The demonstration model's first member alone, as a model's name."""
    shutil.copytree(demo_segmenter().folder, folder)
    for fold in (1, 2, 3):
        shutil.rmtree(folder / f"fold_{fold}")
    return f"nnunet:{folder}"


def trained(project: Project, **changes: Any) -> dict[str, Any]:
    """One training, from its plan to the gate's decision."""
    result = demo_loop.fine_tune(project, None, **{**PLAN, **changes}, parent="base")
    version = project.version(result.version)
    kept = version.verdict.kept if version.verdict else None
    return {
        "before": result.new_domain[0],
        "new": result.new_domain[1],
        "old": demo_loop.old_domain(project, result.version),
        "seen_loss": None if kept is None else round(kept.before - kept.after, 4),
        "share": version.share,
        "promoted": result.promoted,
        "seconds": result.seconds,
    }


def of_seed(seed: int, work: Path) -> dict[str, dict[str, Any]]:
    """All trainings of one seed."""
    demo_loop.HELD_OUT_NEW, demo_loop.REPLAYED = tuple(range(seed + 40, seed + 43)), tuple(range(seed + 50, seed + 58))
    demo_loop.OLD_DOMAIN = tuple(range(seed + 60, seed + 63))
    os.environ["ACTIVESEG_PRIVATE_DIR"] = str(work / "private")
    model, cases = one_member(work / "model"), tuple(range(seed, seed + 3))
    regions = demo_loop.make_project(
        work / "regions", cases, lambda p, t: listed(p, t, REGIONS), REGIONS, Review.REGIONS, model
    )
    old = demo_loop.old_domain(regions, "base")
    found = {"without": trained(regions, **OFF), "as shipped": trained(regions)}
    truth = demo_loop.make_project(work / "whole", cases, lambda p, t: whole(p, t, 0), 1, Review.ALL, model)
    found["whole cases"] = trained(truth)
    best = found["whole cases"]["new"] - found["whole cases"]["before"]
    for figures in found.values():
        figures["gain"] = round(figures["new"] - figures["before"], 4)
        figures["of_whole"] = round(figures["gain"] / best, 3)
        figures["loss"] = round(old - figures["old"], 4)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=at_least_one, default=5, help="how many")
    parser.add_argument("--first", type=at_least_one, default=9000, help="the first one; the others are 100 apart")
    parser.add_argument("--json", type=file_to_write, help="write the figures there, too")
    options = parser.parse_args()
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for seed in range(options.first, options.first + 100 * options.seeds, 100):
        with tempfile.TemporaryDirectory() as folder:
            found[seed] = of_seed(seed, Path(folder))
        for who, figures in found[seed].items():
            print(seed, who, figures, flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1))
    for who in next(iter(found.values())):
        rows = {name: [one[who][name] for one in found.values()] for name in ("gain", "of_whole", "loss", "share")}
        told = (f"{name} {np.mean(values):.3f} ({np.std(values):.3f})" for name, values in rows.items())
        print(f"{who:12s}", *told, f"promoted {sum(one[who]['promoted'] for one in found.values())}", sep="   ")


if __name__ == "__main__":
    main()

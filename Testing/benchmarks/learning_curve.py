"""How much the model learns from how many corrected places: 0, 5, 10, 20 regions a case, the whole case, and as many
random boxes of the same sizes.

    .venv/bin/python Testing/benchmarks/learning_curve.py [--counts 0 5 10 20] [--json FILE]

The demo's project (three native phantoms, twelve held out or replayed ones) and its plan; mean Dice on the held-out
native phantoms, and on contrast phantoms, on which the base model was trained.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "ActiveSegExtension")]

from asked import ENGINE, at_least_one, file_to_write, started_in  # noqa: E402

started_in(ENGINE, __file__, __doc__)

import demo  # noqa: E402
import demo_loop  # noqa: E402
import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

from activeseg.core.correction import RegionState, Review  # noqa: E402
from activeseg.predictions.prediction import Prediction  # noqa: E402

CASES = (12, 13, 14)
Labels = npt.NDArray[Any]
Edited = tuple[Labels, dict[int, RegionState]]


def listed(prediction: Prediction, truth: Labels, count: int) -> Edited:
    """The first places of the list, from the truth."""
    corrected = demo.correct_from_truth(prediction, truth, count)
    return corrected.labels, corrected.states


def by_chance(prediction: Prediction, truth: Labels, count: int) -> Edited:
    """Boxes of the sizes that the list's have, each around a voxel of a structure that is drawn first."""
    rng = np.random.default_rng(count)
    labels = prediction.labels.array.copy()
    present = [v for v in np.unique(prediction.labels.array) if v]
    for region in prediction.regions[:count]:
        centre = rng.choice(np.argwhere(prediction.labels.array == rng.choice(present)))
        sizes = [span.stop - span.start for span in region.slices]
        starts = [int(np.clip(c - s // 2, 0, n - s)) for c, s, n in zip(centre, sizes, labels.shape, strict=True)]
        box = tuple(slice(a, a + s) for a, s in zip(starts, sizes, strict=True))
        labels[box] = truth[box]
    return labels, {}


def whole(_prediction: Prediction, truth: Labels, _count: int) -> Edited:
    return truth.copy(), {}


def train(correct: Any, count: int, review: Review) -> dict[str, Any]:
    """One project, from corrections to the gate."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ACTIVESEG_PRIVATE_DIR"] = f"{folder}/private"
        project = demo_loop.make_project(
            Path(folder) / "project", CASES, lambda p, t: correct(p, t, count), max(count, 1), review
        )
        trained = demo_loop.fine_tune(project, None, **demo_loop.PLAN)
        return {
            "new_domain": list(trained.new_domain),
            "old_domain": demo_loop.old_domain(project, trained.version),
            "promoted": trained.promoted,
            "reason": trained.reason,
            "seconds": trained.seconds,
        }


def none_or_more(text: str) -> int:
    """For ``argparse``: how many regions of a case; none is a count, too."""
    return 0 if text == "0" else at_least_one(text)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=none_or_more, nargs="+", default=[0, 5, 10, 20])
    parser.add_argument("--json", type=file_to_write, help="write the figures there, too")
    options = parser.parse_args(arguments)
    runs = [(f"{count} listed regions", listed, count, Review.REGIONS) for count in options.counts]
    runs += [(f"{count} random boxes", by_chance, count, Review.REGIONS) for count in options.counts if count]
    runs.append(("the whole case", whole, 0, Review.ALL))
    found = {}
    for name, correct, count, review in runs:
        found[name] = train(correct, count, review)
        before, after = found[name]["new_domain"]
        print(f"{name:20s} {before:.3f} > {after:.3f}   old {found[name]['old_domain']:.3f}", flush=True)
        print(f"{'':20s} {found[name]['reason']}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

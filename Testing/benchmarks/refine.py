"""Old labels that are partly wrong, refined by the rule of ``activeseg dataset refine``, by others, and replaced.

    .venv/bin/python Testing/benchmarks/refine.py [--contrast 3] [--native 4] [--seed 7200] [--draws 3] [--json FILE]

The old label map of a phantom is its truth, with five structures damaged: two are shifted by up to two voxels along
each axis, one has a rim too much, one is lost, and one has an island far away. The demo model, whose members were
trained on the contrast domain, proposes labels. Dice of damaged and of good structures with the truth, mean over
phantoms and draws; and what a person would find in the list: the share of the voxels that are still wrong which lies in
a listed region.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

from asked import ENGINE, at_least_one, file_to_write, started_in

started_in(ENGINE, __file__, __doc__)

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation

from activeseg.candidates.proposers import proposal_of
from activeseg.candidates.rule import DEFAULT_RULE, Rule, refined
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Settings
from activeseg.review.label_differences import find_differences
from activeseg.samples.phantom import PHANTOM_SCHEMA, Domain, make_phantom
from activeseg.segmenters import open_segmenter

DAMAGED = 5
RULES = {
    "the rule: p > 0.9, agreement > 0.85": DEFAULT_RULE,
    "p > 0.9, whatever the agreement": Rule(least_agreement=0.0),
    "p > 0.5, agreement > 0.85": Rule(least_probability=0.5),
    "p > 0.8, agreement > 0.85": Rule(least_probability=0.8),
    "p > 0.95, agreement > 0.85": Rule(least_probability=0.95),
    "p > 0.9, agreement > 0.75": Rule(least_agreement=0.75),
    "p > 0.9, agreement > 0.9": Rule(least_agreement=0.9),
}
Labels = npt.NDArray[Any]


def damaged(truth: Labels, random: np.random.Generator) -> tuple[Labels, set[int]]:
    """An old label map, and the values of the structures that are wrong in it."""
    old = truth.copy()
    chosen = random.permutation(np.arange(1, len(PHANTOM_SCHEMA) + 1))[:DAMAGED]
    for number, value in enumerate(chosen):
        mask = truth == value
        if not mask.any():
            continue
        old[mask] = 0
        if number < 2:
            new = np.roll(mask, random.integers(-2, 3, 3), (0, 1, 2))
        elif number == 2:
            new = binary_dilation(mask) & ((truth == 0) | mask)
        elif number == 3:
            new = np.zeros_like(mask)
        else:
            new, start = mask.copy(), random.integers(5, 50, 3)
            new[tuple(slice(at, at + 5) for at in start)] = True
        old[new & (old == 0)] = value
    return old, {int(value) for value in chosen}


def dice(found: Labels, truth: Labels) -> dict[int, float]:
    """By value, of the structures that the truth has."""
    result = {}
    for label in PHANTOM_SCHEMA.labels:
        a, b = found == label.value, truth == label.value
        if b.any():
            result[label.value] = 2 * float((a & b).sum()) / float(a.sum() + b.sum())
    return result


def measured(domain: Domain, seed: int, draws: int) -> Iterator[tuple[str, dict[str, float]]]:
    """For each draw the figures of each way, by its name."""
    phantom = make_phantom(domain, seed)
    truth, grid = phantom.labels.array, phantom.ct.geometry
    segmented = open_segmenter("demo").segment({"CT": phantom.ct}, Settings(device="cpu"), Progress())
    proposals = {
        name: (rule, proposal_of(segmented, grid, PHANTOM_SCHEMA, PHANTOM_SCHEMA.names, rule))
        for name, rule in RULES.items()
    }
    random = np.random.default_rng(seed)
    for _ in range(draws):
        old, hurt = damaged(truth, random)

        def figures(labels: Labels, truth: Labels = truth, hurt: set[int] = hurt) -> dict[str, float]:
            found = dice(labels, truth)
            return {
                "damaged": statistics.fmean(value for name, value in found.items() if name in hurt),
                "good": statistics.fmean(value for name, value in found.items() if name not in hurt),
            }

        yield "old labels", figures(old)
        yield "replaced by the model", figures(segmented.labels)
        for name, (rule, proposal) in proposals.items():
            after = refined(old, proposal, PHANTOM_SCHEMA, rule)
            told = figures(after.labels)
            if rule is DEFAULT_RULE:
                started = time.process_time()
                regions = find_differences(
                    after.labels, proposal.labels, after.differs, grid, PHANTOM_SCHEMA, "demo", proposal.resolution_mm
                ).regions
                told |= {"seconds": time.process_time() - started, "regions": len(regions)}
                wrong, taken = after.labels != truth, after.labels.copy()
                listed = np.zeros(wrong.shape, bool)
                for region in regions:
                    listed[region.slices] = True
                    alternative = region.alternatives[0]
                    here = taken[region.slices]
                    better = np.count_nonzero(alternative.labels != truth[region.slices]) < np.count_nonzero(
                        here != truth[region.slices]
                    )
                    if better:
                        here[alternative.changed] = alternative.labels[alternative.changed]
                told |= {"listed": float(wrong[listed].sum() / max(1, wrong.sum()))}
                yield "and the regions taken where that is better", figures(taken)
            yield name, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contrast", type=int, default=3, help="phantoms of the domain that the model was trained on")
    parser.add_argument("--native", type=int, default=4, help="phantoms of another domain")
    parser.add_argument("--seed", type=int, default=7200, help="of the first phantom")
    parser.add_argument("--draws", type=at_least_one, default=3, help="damages of each phantom")
    parser.add_argument("--json", type=file_to_write, help="write all figures there, too")
    options = parser.parse_args()
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for domain, count in ((Domain.CONTRAST, options.contrast), (Domain.NATIVE, options.native)):
        for seed in range(options.seed, options.seed + count):
            for name, figures in measured(domain, seed, options.draws):
                for what, value in figures.items():
                    found.setdefault(domain.value, {}).setdefault(name, {}).setdefault(what, []).append(value)
    for domain_name, ways in found.items():
        for name, told in ways.items():
            texts = (f"{what} {statistics.fmean(values):.3f}" for what, values in told.items())
            print(f"{domain_name:9s} {name:45s} {'  '.join(texts)}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

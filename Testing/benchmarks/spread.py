"""What correcting a few regions does to the rest of a case, and whether it is offered only where it helps.

    .venv/bin/python Testing/benchmarks/spread.py [--cases 40] [--seed 7000] [--domain native] [--members 4]
    .venv/bin/python Testing/benchmarks/spread.py --image CT.nii.gz --truth SEG.nii.gz [--model totalsegmentator:total]

Each case is a phantom that the network that ships segments; its worst 3, 5 and 10 regions are corrected from the truth,
as a person would. Dice is that of the structures outside of these regions, before and after the proposal was taken.
With ``--image`` one CT is segmented by any model instead, and ``--truth`` stands for the person.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from asked import ENGINE, at_least_one, file_to_write, nifti, started_in

started_in(ENGINE, __file__, __doc__)

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import RegionReview, RegionState
from activeseg.core.errors import InputError
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.core.votes import Segmented
from activeseg.io.images import read_volume
from activeseg.refiners.spreading import SpreadCase, spread
from activeseg.review.regions import body_volume_mm3, find_regions
from activeseg.samples.phantom import Domain, make_phantom
from activeseg.segmenters import open_segmenter

COUNTS = (3, 5, 10)
TUNING_SEEDS = range(6000, 6100)  # what the defaults were chosen on; never measure on these
LEAST_VOXELS = 20
Labels = npt.NDArray[Any]


def phantoms(domain: Domain, seeds: Sequence[int], members: str) -> Iterator[tuple[str, Volume, Labels, Segmented]]:
    """Name, CT, truth, and what the network that ships makes of it."""
    segmenter = open_segmenter("demo")
    (channel,) = segmenter.channels
    settings = Settings(members=members, keep_features=True)
    for seed in seeds:
        phantom = make_phantom(domain, seed)
        segmented = segmenter.segment({channel: phantom.ct}, settings, Progress())
        yield str(seed), phantom.ct, phantom.labels.array, segmented


def one_ct(image: Path, truth: Path, model: str, members: str) -> Iterator[tuple[str, Volume, Labels, Segmented]]:
    """The same of one CT and any model; the truth has the values of the model."""
    ct, true = read_volume(image), read_volume(truth)
    segmenter = open_segmenter(model)
    settings = Settings(members=members, keep_features=True)
    segmented = segmenter.segment(dict.fromkeys(segmenter.channels, ct), settings, Progress())
    yield image.name, ct, true.resample_labels_to(ct.geometry).array, segmented


def mean_dice(labels: Labels, truth: Labels, where: npt.NDArray[np.bool_], values: int) -> float:
    """Over structures of more than ``LEAST_VOXELS`` there."""
    pairs = np.bincount(labels[where].astype(np.intp) * values + truth[where], minlength=values * values)
    table = pairs.reshape(values, values)
    true, said, both = table.sum(axis=0), table.sum(axis=1), np.diag(table)
    there = true > LEAST_VOXELS
    there[0] = False
    return float((2 * both / np.maximum(true + said, 1))[there].mean())


def measure(ct: Volume, truth: Labels, segmented: Segmented, count: int) -> dict[str, Any]:
    """One case after so many regions were corrected."""
    found = find_regions(segmented, ct.geometry, body_mm3=body_volume_mm3(ct))[:count]
    labels, outside, regions = segmented.labels.copy(), np.ones(truth.shape, bool), []
    for region in found:
        right = bool((labels[region.slices] == truth[region.slices]).all())
        state = RegionState.ACCEPTED if right else RegionState.CORRECTED
        regions.append(RegionReview(region.number, region.box_kji, state))
        labels[region.slices] = truth[region.slices]
        outside[region.slices] = False
    values = len(segmented.schema) + 1
    before = mean_dice(labels, truth, outside, values)
    row: dict[str, Any] = {"regions": len(regions), "before": before, "after": before, "offered": False, "gain": None}
    case = SpreadCase(ct.geometry, segmented.schema, segmented.grid, segmented.labels, labels)
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        proposal = spread(case, regions)
    except InputError as error:
        row["refused"] = str(error)
        return row
    row |= {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    after = mean_dice(proposal.labels(), truth, outside, values)
    moved = int((proposal.labels() != labels).sum())
    return row | {"offered": proposal.offered, "gain": proposal.expected_gain, "after": after, "moved": moved}


def line(count: int, rows: Sequence[dict[str, Any]]) -> str:
    """A row of the table."""
    offered = [row for row in rows if row["offered"]]
    tried = [row for row in rows if "cpu" in row]
    rise = [100 * (row["after"] - row["before"]) for row in offered]
    cells = [
        str(count),
        f"{statistics.fmean(row['before'] for row in rows):.3f}",
        f"{statistics.fmean(row['after'] for row in rows):.3f}",
        f"{len(offered)} of {len(rows)}",
        f"{statistics.fmean(rise):+.1f}" if rise else "-",
        f"{sum(r < 0 for r in rise)}",
        f"{min(rise):+.2f}" if rise else "-",
        f"{statistics.fmean(row['cpu'] for row in tried):.2f}" if tried else "-",
        f"{statistics.median(row['seconds'] for row in tried):.2f}" if tried else "-",
    ]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=at_least_one, default=40)
    parser.add_argument("--seed", type=int, default=7000, help="seed of the first phantom")
    parser.add_argument("--domain", type=Domain, choices=list(Domain), default=Domain.NATIVE)
    parser.add_argument("--members", default="auto", help="how many members of the model vote")
    parser.add_argument("--image", type=Path, help="one CT instead of phantoms")
    parser.add_argument("--truth", type=Path, help="its truth, in the values of the model")
    parser.add_argument("--model", default="totalsegmentator:total", help="the model that segments it")
    parser.add_argument("--json", type=file_to_write, help="write all figures there")
    options = parser.parse_args(arguments)
    seeds = range(options.seed, options.seed + options.cases)
    if (options.image is None) != (options.truth is None):
        parser.error("--image and --truth belong together")
    if options.image is None and set(seeds) & set(TUNING_SEEDS):
        parser.error(f"seeds {TUNING_SEEDS.start} to {TUNING_SEEDS.stop - 1} were used to choose the defaults")
    cases = (
        phantoms(options.domain, seeds, options.members)
        if options.image is None
        else one_ct(nifti(options.image), nifti(options.truth), options.model, options.members)
    )
    rows: dict[int, list[dict[str, Any]]] = {count: [] for count in COUNTS}
    for name, ct, truth, segmented in cases:
        for count in COUNTS:
            row = measure(ct, truth, segmented, count) | {"case": name}
            rows[count].append(row)
            said = row.get("refused") or ("offered" if row["offered"] else "not offered")
            print(f"{name}, {count}: {row['before']:.3f} -> {row['after']:.3f}, {said}", file=sys.stderr, flush=True)
    print("| regions | Dice before | after | offered | rise where offered | made worse | worst | CPU s | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for count in COUNTS:
        print(line(count, rows[count]))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

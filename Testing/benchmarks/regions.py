"""How much of what is wrong the listed regions cover, against random boxes of the same size around the foreground.

    .venv/bin/python Testing/benchmarks/regions.py [--cases 24] [--seed 5000] [--domain native] [--variants]
        [--model hounsfield] [--members 1] [--ct CT.nii.gz --reference LABELS.nii.gz]

Each case is a phantom with known truth, segmented by the network that ships. The truth for `hounsfield` is what its
rules make of the phantom without noise. With `--ct` each case is that CT with other noise (30 HU) and moved by up to a
voxel, and the truth is the reference, in the structures that the model found anywhere. A voxel is wrong where the label
map differs from the truth; it is *gross* where no neighbour's truth explains it either, so that a surface shifted by
one voxel does not count. Random boxes have the sizes of the regions they are compared with, do not overlap, and are
centred on voxels of the predicted foreground: any voxel alike, or every structure alike; the better of the two counts.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asked import ENGINE, at_least_one, file_to_read, file_to_write, started_in

started_in(ENGINE, __file__, __doc__)

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, maximum_filter

from activeseg.core.progress import Progress
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.core.votes import Segmented
from activeseg.io.images import read_label_map, read_volume
from activeseg.review.region_search import DEFAULT_SEARCH, Search
from activeseg.review.regions import FoundRegion, body_volume_mm3, find_regions
from activeseg.samples.phantom import Domain, make_phantom
from activeseg.segmenters import open_segmenter

FIRST, ALL = 5, 10
DRAWS = 200
TUNING_SEEDS = range(4000, 4012)  # what the defaults of Search were chosen on; never measure on these
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """A CT with its truth, (k, j, i) in the model's values."""

    ct: Volume
    truth: npt.NDArray[Any]
    seed: int


@dataclass(frozen=True)
class Variant:
    """One way to search: what it changes in the defaults, and the measure."""

    name: str
    search: Search = DEFAULT_SEARCH
    measure: str | None = None


VARIANTS = (
    Variant("as shipped"),
    Variant("entropy", measure="entropy"),
    Variant("mutual information", measure="mutual_information"),
    Variant("worst voxel, not averaged", replace(DEFAULT_SEARCH, smooth=False)),
    Variant("structures take no turns", replace(DEFAULT_SEARCH, turn=1.0, favour_small=0.0)),
)


def phantoms(model: str, settings: Settings, domain: Domain, seeds: Sequence[int]) -> Iterator[tuple[Case, Segmented]]:
    """Phantoms with what the model makes of them."""
    segmenter = open_segmenter(model)
    (channel,) = segmenter.channels
    for seed in seeds:
        phantom = make_phantom(domain, seed)
        segmented = segmenter.segment({channel: phantom.ct}, settings, Progress())
        truth = phantom.labels.array
        if model == "hounsfield":
            quiet = make_phantom(domain, seed, noise=False).ct
            truth = segmenter.segment({channel: quiet}, Settings(members=1), Progress()).labels
        yield Case(phantom.ct, truth, seed), segmented


def noisy(
    model: str, settings: Settings, paths: tuple[Path, Path], seeds: Sequence[int]
) -> Iterator[tuple[Case, Segmented]]:
    """A CT with a reference, with other noise for each seed and moved by up to a voxel along each axis."""
    segmenter = open_segmenter(model)
    (channel,) = segmenter.channels
    ct, reference = read_volume(paths[0]), read_label_map(paths[1]).array
    known = np.unique(segmenter.segment({channel: ct}, settings, Progress()).labels)
    truth = np.where(np.isin(reference, known), reference, 0)
    for seed in seeds:
        random = np.random.default_rng(seed)
        by = tuple(int(n) for n in random.integers(-1, 2, 3))
        noise = 30 * gaussian_filter(random.normal(size=ct.array.shape), 0.5)
        moved = np.roll(np.rint(ct.array + noise).astype(np.int16), by, (0, 1, 2))
        case = Case(replace(ct, array=moved, name=f"noise {seed}"), np.roll(truth, by, (0, 1, 2)), seed)
        yield case, segmenter.segment({channel: case.ct}, settings, Progress())


def gross(labels: npt.NDArray[Any], truth: npt.NDArray[Any]) -> Mask:
    """Wrong voxels whose label is not the truth of any of their 26 neighbours."""
    wrong: Mask = labels != truth
    for value in np.unique(labels[wrong]):
        wrong &= ~((labels == value) & maximum_filter(truth == value, 3))
    return wrong


def covered(boxes: Sequence[tuple[slice, ...]], shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[box] = True
    return mask


def random_boxes(
    regions: Sequence[FoundRegion],
    places: Sequence[npt.NDArray[np.intp]],
    shape: tuple[int, ...],
    random: np.random.Generator,
) -> list[tuple[slice, ...]]:
    """Boxes of the regions' sizes around voxels of ``places``: one (N, 3) array for each kind, all kinds alike."""
    taken = np.zeros(shape, bool)
    boxes = []
    for region in regions:
        size = np.array([high - low for low, high in region.box_kji])
        for _ in range(100):
            among = places[random.integers(len(places))]
            low = np.clip(among[random.integers(len(among))] - size // 2, 0, np.array(shape) - size)
            box = tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))
            if not taken[box].any():
                break
        taken[box] = True
        boxes.append(box)
    return boxes


def measure_case(case: Case, segmented: Segmented, variant: Variant, draws: int) -> dict[str, float]:
    """Shares of the wrong voxels that the first 5 and 10 regions cover, and that random boxes do."""
    truth, labels = case.truth, segmented.labels
    body_mm3 = body_volume_mm3(case.ct)
    clock = time.perf_counter()
    regions = find_regions(
        segmented, case.ct.geometry, count=ALL, measure=variant.measure, body_mm3=body_mm3, search=variant.search
    )
    seconds = time.perf_counter() - clock
    wrong: Mask = labels != truth
    kinds = {"wrong": wrong, "gross": gross(labels, truth)}
    found: dict[str, float] = {"regions": len(regions), "seconds": seconds, "wrong": int(wrong.sum())}
    for first in (FIRST, ALL):
        boxes = covered([region.slices for region in regions[:first]], labels.shape)
        for kind, mask in kinds.items():
            found[f"{kind} {first}"] = float((mask & boxes).sum() / max(1, mask.sum()))
    found["body"] = float(boxes.sum() * case.ct.geometry.voxel_mm3 / body_mm3)
    per_structure = []
    for value in range(1, len(segmented.schema) + 1):
        mine = wrong & ((truth == value) | (labels == value))
        if mine.any():
            per_structure.append((mine & boxes).sum() / mine.sum())
    found["structures 10"] = float(np.mean(per_structure))

    foreground = np.argwhere(labels > 0)
    by_structure = [np.argwhere(labels == value) for value in np.unique(labels[labels > 0])]
    random = np.random.default_rng(case.seed)
    for name, places in (("by voxel", [foreground]), ("by structure", by_structure)):
        for first in (FIRST, ALL):
            shares = []
            for _ in range(draws):
                boxes = covered(random_boxes(regions[:first], places, labels.shape, random), labels.shape)
                shares.append((wrong & boxes).sum() / max(1, wrong.sum()))
            found[f"random {name} {first}"] = float(np.mean(shares))
    return found


def summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over cases, and the ratios of means to the better kind of random boxes."""
    mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
    for first in (FIRST, ALL):
        best = max(mean[f"random by voxel {first}"], mean[f"random by structure {first}"])
        mean[f"random {first}"] = best
        mean[f"ratio {first}"] = mean[f"wrong {first}"] / best
    return mean


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo", help="demo, hounsfield, or with --ct any model")
    parser.add_argument("--members", default="auto", help="how many members vote")
    parser.add_argument("--ct", type=file_to_read, help="this CT instead of phantoms")
    parser.add_argument("--reference", type=file_to_read, help="its label map, in the model's values")
    parser.add_argument("--cases", type=at_least_one, default=24)
    parser.add_argument("--seed", type=int, default=5000, help="seed of the first phantom")
    parser.add_argument("--domain", type=Domain, choices=list(Domain), default=Domain.NATIVE)
    parser.add_argument("--draws", type=at_least_one, default=DRAWS, help="random sets of boxes for each case")
    parser.add_argument(
        "--variants", action="store_true", help="also other measures, and the method with parts left out"
    )
    parser.add_argument("--json", type=file_to_write, help="write all figures there")
    options = parser.parse_args(arguments)
    seeds = range(options.seed, options.seed + options.cases)
    if set(seeds) & set(TUNING_SEEDS):
        parser.error(f"seeds {TUNING_SEEDS.start} to {TUNING_SEEDS.stop - 1} were used to choose the defaults")
    if (options.ct is None) != (options.reference is None):
        parser.error("--ct and --reference go together")
    variants = VARIANTS if options.variants else VARIANTS[:1]
    rows: dict[str, list[dict[str, float]]] = {variant.name: [] for variant in variants}
    settings = Settings(members=options.members)
    if options.ct:
        made = noisy(options.model, settings, (options.ct, options.reference), seeds)
    else:
        made = phantoms(options.model, settings, options.domain, seeds)
    for case, segmented in made:
        known = [v for v in variants if segmented.grid.ranking(v.measure or segmented.grid.default_measure) is not None]
        for variant in known:
            rows[variant.name].append(measure_case(case, segmented, variant, options.draws))
        print(f"{case.ct.name}: {rows[variants[0].name][-1]['wrong']:.0f} wrong voxels", file=sys.stderr)
    table = {name: summary(found) for name, found in rows.items() if found}
    source = options.ct.name if options.ct else options.domain
    print(f"{options.model}, {options.cases} cases, {source}, seeds {seeds.start} to {seeds.stop - 1}\n")
    print(
        "| search | first 5 | random 5 | ratio | first 10 | random 10 | ratio | gross, 10 | per structure, 10 | body |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, mean in table.items():
        columns = [
            mean["wrong 5"],
            mean["random 5"],
            mean["ratio 5"],
            mean["wrong 10"],
            mean["random 10"],
            mean["ratio 10"],
        ]
        columns += [mean["gross 10"], mean["structures 10"], mean["body"]]
        cells = [f"{c:.1f}" if n in (2, 5) else f"{100 * c:.1f} %" for n, c in enumerate(columns)]
        print(f"| {name} | {' | '.join(cells)} |")
    if options.json:
        record = {"domain": options.domain, "seeds": list(seeds), "draws": options.draws, "mean": table, "cases": rows}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

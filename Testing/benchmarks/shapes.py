"""How often a healthy structure is called unusual in its shape, and how often a damaged one is.

    .venv/bin/python Testing/benchmarks/shapes.py [--seed 7100] [--examples 12] [--cases 20] [--domain contrast]

What is usual comes from the truth of the first phantoms. Then the truth of the others is looked at, as it is and
damaged in ways that a model may be sure of, and what the model that ships makes of them. Structures that the image's
edge cuts are left out everywhere.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from asked import ENGINE, at_least_one, started_in

started_in(ENGINE, __file__, __doc__)

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt

from activeseg.core.label_map import LabelMap
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Settings
from activeseg.core.shapes import FEWEST_LABELS, ShapeReference
from activeseg.review.shapes import Shape, shape_warnings, shapes_of, usual_shapes
from activeseg.samples.phantom import PHANTOM_SCHEMA, Domain, Phantom, make_phantom
from activeseg.segmenters import open_segmenter

GOOD, BAD = 0.85, 0.7  # Dice
Mask = npt.NDArray[np.bool_]


def damages(mask: Mask, labels: LabelMap, random: np.random.Generator) -> Iterator[tuple[str, Mask]]:
    """The structure as errors leave it."""
    at = np.argwhere(mask)
    along = at @ random.normal(size=3)
    for part in (0.1, 0.3):
        cut = mask.copy()
        cut[tuple(at[along > np.quantile(along, 1 - part)].T)] = False
        yield f"{part:.0%} cut off", cut
    elsewhere = np.argwhere((labels > 0) & ~mask)
    away = ((np.indices(mask.shape).T - elsewhere[random.integers(len(elsewhere))]) ** 2).sum(axis=-1).T
    yield "island of 8 % elsewhere", mask | (away <= max(3.0, (0.08 * len(at) * 3 / (4 * np.pi)) ** (2 / 3)))
    depth = distance_transform_edt(mask)
    yield "hole of 10 %", mask & (depth <= np.quantile(depth[mask], 0.9))
    around = np.unique(labels[binary_dilation(mask) & ~mask])
    around = around[around > 0]
    if len(around):
        yield "16 mm of a neighbour", mask | (binary_dilation(mask, iterations=4) & (labels == random.choice(around)))
    yield "one voxel larger", binary_dilation(mask)
    yield "one voxel smaller", binary_erosion(mask)


def is_unusual(labels: LabelMap, phantom: Phantom, name: str, reference: ShapeReference) -> bool:
    usual = {name: reference[name]}
    return bool(shape_warnings(labels, phantom.labels.geometry, PHANTOM_SCHEMA, usual))


def examples(domain: Domain, seeds: Sequence[int]) -> ShapeReference:
    """What is usual among phantoms."""
    found: dict[str, list[Shape]] = {name: [] for name in PHANTOM_SCHEMA.names}
    for seed in seeds:
        labels = make_phantom(domain, seed).labels
        for name, shape in shapes_of(labels.array, labels.geometry, PHANTOM_SCHEMA).items():
            found[name].append(shape)
    return usual_shapes(found)


def whole(labels: LabelMap, phantom: Phantom, reference: ShapeReference) -> list[str]:
    """The structures of a label map that can be unusual."""
    shapes = shapes_of(labels, phantom.labels.geometry, PHANTOM_SCHEMA, list(reference))
    return [name for name, shape in shapes.items() if not shape.is_cut]


def dice(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7100, help="seed of the first phantom")
    parser.add_argument("--examples", type=at_least_one, default=12, help="phantoms that say what is usual")
    parser.add_argument("--cases", type=at_least_one, default=20, help="phantoms that are looked at")
    parser.add_argument("--domain", type=Domain, choices=list(Domain), default=Domain.CONTRAST)
    options = parser.parse_args(arguments)
    if options.examples < FEWEST_LABELS:
        parser.error(f"argument --examples: at least {FEWEST_LABELS} say what is usual, and not {options.examples}")
    first = options.seed + options.examples
    reference = examples(options.domain, range(options.seed, first))
    found: dict[str, list[bool]] = {}
    segmenter, random = open_segmenter("demo"), np.random.default_rng(options.seed)
    for seed in range(first, first + options.cases):
        phantom = make_phantom(options.domain, seed)
        truth = phantom.labels.array
        for name in whole(truth, phantom, reference):
            value = PHANTOM_SCHEMA.named(name).value
            found.setdefault("healthy", []).append(is_unusual(truth, phantom, name, reference))
            for kind, mask in damages(truth == value, truth, random):
                damaged = np.where(mask, value, np.where(truth == value, 0, truth))
                found.setdefault(kind, []).append(is_unusual(damaged, phantom, name, reference))
        labels = segmenter.segment({segmenter.channels[0]: phantom.ct}, Settings(), Progress()).labels
        for name in whole(labels, phantom, reference):
            value = PHANTOM_SCHEMA.named(name).value
            overlap = dice(labels == value, truth == value)
            kind = "good" if overlap >= GOOD else "bad" if overlap < BAD else "fair"
            found.setdefault(f"model's, {kind}", []).append(is_unusual(labels, phantom, name, reference))
    print(f"usual: {options.examples} {options.domain} phantoms from {options.seed} on; the next {options.cases}\n")
    print("| structure | called unusual | of |\n|---|---|---|")
    for kind, flags in found.items():
        print(f"| {kind} | {np.mean(flags):.0%} | {len(flags)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

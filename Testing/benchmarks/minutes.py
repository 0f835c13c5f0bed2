"""Minutes of a person: the clicks and strokes that a simulated user needs until a case is right, with and without help.

    .venv/bin/python Testing/benchmarks/minutes.py [--cases 8] [--seed 7100] [--goal 0.95] [--most 1500]

The person knows the truth of a native-domain phantom that the network that ships segments, and works until the mean
Dice of the structures reaches the goal, or for so many actions.

* A stroke repairs one connected wrong piece of one structure in one slice, as far as a brush of 8 x 8 voxels (32 mm)
  goes. Pieces of fewer than 5 voxels (80 mm2) are left for the end.
* The person goes through the listed regions, worst first. In each, an alternative is taken where it removes a third of
  the wrong voxels or more, everything else is repaired by strokes, and the region is accepted: one action each.
* With prompts, each wrong piece in space of 60 voxels (4 ml) or more is clicked first, in its deepest voxel; the answer
  is taken (a second action) where it removes more wrong voxels than it makes, else the click was for nothing.
* With spreading, it is asked for after 3, 5 and 10 reviewed regions (an action), and taken where it is offered
  (another); then regions are found again.
* After the regions, wrong pieces anywhere are repaired, those first that count most for the Dice of their structures.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from asked import ENGINE, at_least_one, file_to_write, started_in

started_in(ENGINE, __file__, __doc__)

import cc3d
import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from activeseg.core.correction import RegionReview, RegionState
from activeseg.core.errors import InputError
from activeseg.core.geometry import Box, slices_of
from activeseg.core.progress import Progress
from activeseg.core.prompt import Prompt, PromptKind
from activeseg.core.segmenter import Settings
from activeseg.core.votes import Segmented
from activeseg.refiners.adapted_votes import adapted_votes
from activeseg.refiners.base import RefinableCase
from activeseg.refiners.choosing import AUTO, refiner_named
from activeseg.refiners.spreading import SpreadCase, spread
from activeseg.review.regions import FoundRegion, apply_alternative, body_volume_mm3, find_regions
from activeseg.samples.phantom import Domain, Phantom, make_phantom
from activeseg.segmenters import open_segmenter

BRUSH, LEAST_PIECE, LEAST_CLICKED = 8, 5, 60
ASKED_AFTER = (3, 5, 10)
AROUND_MM = 20.0
TUNING_SEEDS = range(6000, 6100)
WAYS = {"strokes": (False, False), "prompts": (True, False), "spread": (False, True), "both": (True, True)}
Labels = npt.NDArray[Any]
Places = tuple[npt.NDArray[np.intp], ...]


class Enough(Exception):
    """The goal is reached, or the person has no more time."""


class Person:
    """A simulated user at work on one case."""

    def __init__(self, phantom: Phantom, segmented: Segmented, way: str, goal: float, most: int) -> None:
        self.phantom, self.segmented, self.goal, self.most = phantom, segmented, goal, most
        self.prompts, self.spreads = WAYS[way]
        self.truth, self.geometry = phantom.labels.array, phantom.ct.geometry
        self.labels, self.predicted = segmented.labels.copy(), segmented.labels
        self.values = len(segmented.schema) + 1
        self.reviewed: list[RegionReview] = []
        self.actions = {"strokes": 0, "clicks": 0, "others": 0}
        self.refiner: Any = None
        self.clicked: set[tuple[int, ...]] = set()

    @property
    def total(self) -> int:
        return sum(self.actions.values())

    def dice(self) -> float:
        pairs = self.labels.ravel().astype(np.intp) * self.values + self.truth.ravel()
        table = np.bincount(pairs, minlength=self.values**2).reshape(self.values, self.values)
        both, sizes = np.diag(table), table.sum(axis=0) + table.sum(axis=1)
        there = table.sum(axis=0) > 0
        there[0] = False
        return float((2 * both / np.maximum(sizes, 1))[there].mean())

    def act(self, kind: str) -> None:
        self.actions[kind] += 1
        if self.total >= self.most or (self.total % 5 == 0 and self.dice() >= self.goal):
            raise Enough

    def work(self) -> None:
        """Until it is enough."""
        try:
            regions = list(self.found())
            while regions:
                self.review(regions.pop(0))
                if self.spreads and len(self.reviewed) in ASKED_AFTER and self.spread():
                    regions = list(self.found())[: max(0, ASKED_AFTER[-1] - len(self.reviewed))]
            whole = tuple((0, length) for length in self.truth.shape)
            for least in (LEAST_PIECE, 1):
                self.repair(whole, least)  # type: ignore[arg-type]
        except Enough:
            pass

    def found(self) -> tuple[FoundRegion, ...]:
        """Regions to review, without those that overlap reviewed ones."""
        now = replace(self.segmented, labels=self.labels)
        listed = find_regions(now, self.geometry, body_mm3=body_volume_mm3(self.phantom.ct))
        return tuple(region for region in listed if not any(_overlap(region.box_kji, r.box_kji) for r in self.reviewed))

    def review(self, region: FoundRegion) -> None:
        wrong = self.wrong_in(self.labels, region.slices)
        if wrong and region.alternatives:
            taken = [apply_alternative(self.labels, region, n) for n in range(len(region.alternatives))]
            best = min(taken, key=lambda labels: self.wrong_in(labels, region.slices))
            if self.wrong_in(best, region.slices) <= 2 / 3 * wrong:
                self.labels = best
                self.act("others")
        self.repair(region.box_kji)
        self.reviewed.append(RegionReview(region.number, region.box_kji, RegionState.CORRECTED))
        self.act("others")

    def wrong_in(self, labels: Labels, where: tuple[slice, ...]) -> int:
        return int((labels[where] != self.truth[where]).sum())

    def repair(self, box: Box, least: int = LEAST_PIECE) -> None:
        if self.prompts:
            for piece in self.pieces_in_space(box):
                self.click(piece)
        for piece in self.pieces_in_slices(box, least):
            self.labels[piece] = self.truth[piece]
            self.act("strokes")

    def pieces_in_slices(self, box: Box, least: int) -> list[Places]:
        """Wrong pieces for one stroke each, those first that count most for the Dice of their structures."""
        where = slices_of(box)
        wrong = self.labels[where] != self.truth[where]
        _, j, i = np.indices(wrong.shape, sparse=True)
        blocks = (j // BRUSH % 2) * 2 + i // BRUSH % 2
        kinds = np.where(wrong, 1 + self.truth[where].astype(np.uint16) * 4 + blocks, 0).astype(np.uint16)
        found: list[Places] = []
        for k, plane in enumerate(kinds):
            pieces = cc3d.connected_components(plane, connectivity=8)
            rows, columns = np.nonzero(pieces)
            order = np.argsort(pieces[rows, columns], kind="stable")
            ends = np.flatnonzero(np.diff(pieces[rows, columns][order])) + 1
            for at in np.split(order, ends):
                if len(at) >= least:
                    start = [low for low, _ in box]
                    found.append((np.full(len(at), k + start[0]), rows[at] + start[1], columns[at] + start[2]))
        worth = 1 / np.maximum(np.bincount(self.truth.ravel(), minlength=self.values), 1)
        worth[0] = 0
        return sorted(found, key=lambda piece: -(worth[self.truth[piece]] + worth[self.labels[piece]]).sum())

    def pieces_in_space(self, box: Box) -> Iterator[Places]:
        """Wrong pieces of one structure in space, the largest first, as long as they are wrong."""
        where = slices_of(box)
        start = np.array([low for low, _ in box])
        wrong = self.labels[where] != self.truth[where]
        pairs = 1 + self.truth[where].astype(np.uint16) * self.values + self.labels[where]
        pieces = cc3d.connected_components(np.where(wrong, pairs, 0).astype(np.uint16), connectivity=6)
        sizes = np.bincount(pieces.ravel())[1:]
        for number in np.argsort(-sizes, kind="stable"):
            if sizes[number] < LEAST_CLICKED:
                return
            at = tuple((np.argwhere(pieces == number + 1) + start).T)
            still = self.labels[at] != self.truth[at]
            if still.sum() >= LEAST_CLICKED:
                yield tuple(axis[still] for axis in at)

    def around(self, box: Box) -> Box:
        """A box with a margin, as far as the CT reaches."""
        margins = [round(AROUND_MM / spacing) for spacing in self.geometry.spacing_xyz[::-1]]
        spans = zip(box, margins, self.truth.shape, strict=True)
        k, j, i = ((max(0, low - more), min(length, high + more)) for (low, high), more, length in spans)
        return k, j, i

    def click(self, piece: Places) -> None:
        """One click in the middle of a wrong piece, and its answer if that is better."""
        low, high = np.min(piece, axis=1), np.max(piece, axis=1) + 1
        k, j, i = zip(low.tolist(), high.tolist(), strict=True)
        box = self.around((k, j, i))
        where = slices_of(box)
        inside = np.zeros(self.truth[where].shape, bool)
        inside[tuple(axis - span[0] for axis, span in zip(piece, box, strict=True))] = True
        deepest = np.unravel_index(distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1].argmax(), inside.shape)
        at = tuple(int(a + span[0]) for a, span in zip(deepest, box, strict=True))
        if at in self.clicked:
            return
        self.clicked.add(at)
        true, now = int(self.truth[at]), int(self.labels[at])
        name = self.segmented.schema.name_of(true or now)
        prompt = Prompt(PromptKind.POINT, name, (at,), include=true > 0)  # type: ignore[arg-type]
        case = RefinableCase(self.phantom.ct, self.segmented.schema, self.segmented.grid)
        self.refiner = self.refiner or refiner_named(AUTO, case)
        answer = self.refiner.refine(case, self.labels[where].copy(), box, (prompt,))
        after = self.labels.copy()
        np.copyto(after[where], answer.labels.astype(after.dtype), where=answer.changed)
        for region in self.reviewed:
            after[region.slices] = self.labels[region.slices]
        if self.wrong_in(after, where) < self.wrong_in(self.labels, where):
            self.labels = after
            self.act("clicks")
        self.act("clicks")

    def spread(self) -> bool:
        """Ask for it, and take it where it is offered."""
        case = SpreadCase(self.geometry, self.segmented.schema, self.segmented.grid, self.predicted, self.labels.copy())
        self.act("others")
        try:
            proposal = spread(case, self.reviewed)
        except InputError:
            return False
        if not proposal.offered:
            return False
        self.labels = proposal.labels()
        self.segmented = replace(self.segmented, grid=adapted_votes(proposal, self.labels))
        self.predicted = np.where(self.labels == case.labels, self.predicted, self.labels)
        self.act("others")
        return True


def _overlap(one: Box, other: Box) -> bool:
    return all(a[0] < b[1] and b[0] < a[1] for a, b in zip(one, other, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=at_least_one, default=8)
    parser.add_argument("--seed", type=int, default=7100, help="seed of the first phantom")
    parser.add_argument("--goal", type=float, default=0.95, help="mean Dice at which the person stops")
    parser.add_argument("--most", type=at_least_one, default=1500, help="actions after which the person stops")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--json", type=file_to_write, help="write all figures there")
    options = parser.parse_args(arguments)
    seeds = range(options.seed, options.seed + options.cases)
    if set(seeds) & set(TUNING_SEEDS):
        parser.error(f"seeds {TUNING_SEEDS.start} to {TUNING_SEEDS.stop - 1} were used to choose the defaults")
    segmenter = open_segmenter("demo")
    (channel,) = segmenter.channels
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        phantom = make_phantom(Domain.NATIVE, seed)
        segmented = segmenter.segment({channel: phantom.ct}, Settings(keep_features=True), Progress())
        row: dict[str, Any] = {"seed": seed}
        for way in options.ways:
            person = Person(phantom, segmented, way, options.goal, options.most)
            row["start"] = person.dice()
            person.work()
            row[way] = {"actions": person.total, "dice": person.dice(), **person.actions}
            print(seed, way, row[way], file=sys.stderr, flush=True)
        rows.append(row)
    print(f"| seed | Dice at first | {' | '.join(options.ways)} |")
    print("|---" * (2 + len(options.ways)) + "|")
    for row in rows:
        cells = [f"{row[way]['actions']} ({row[way]['dice']:.3f})" for way in options.ways]
        print(f"| {row['seed']} | {row['start']:.3f} | {' | '.join(cells)} |")
    medians = [f"{statistics.median(row[way]['actions'] for row in rows):.0f}" for way in options.ways]
    print(f"| median | {statistics.median(row['start'] for row in rows):.3f} | {' | '.join(medians)} |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

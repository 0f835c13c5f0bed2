"""How many wrong voxels are left in a box after one, two and three clicks, for each refiner.

    .venv/bin/python Testing/benchmarks/clicks.py [--cases 6] [--seed 7000] [--boxes cubes|regions] [--json FILE]
    .venv/bin/python Testing/benchmarks/clicks.py --model totalsegmentator:total-fast --image CT --truth LABELS

Each case is a phantom of the native domain at 1.5 mm, segmented at 4 mm by the network that ships; or one CT with a
label map that counts as the truth. Boxes are cubes of 96 mm around the largest errors, or the regions that the product
lists. A simulated person clicks the innermost voxel of the largest wrong piece: with the true structure, or, where
nothing should be, with *not this* on what is there. The answer is taken as it is, and the next click follows.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asked import ENGINE, at_least_one, file_to_write, nifti, refuse, started_in

started_in(ENGINE, __file__, __doc__)

import cc3d
import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from activeseg.core.geometry import Box, slices_of
from activeseg.core.progress import Progress
from activeseg.core.prompt import Prompt, PromptKind
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.io.images import read_label_map, read_volume
from activeseg.models import open_model
from activeseg.refiners.base import RefinableCase
from activeseg.refiners.choosing import refiner_named
from activeseg.refiners.question import Question, answer, question_of
from activeseg.refiners.window import Window
from activeseg.review.alternatives import Alternative
from activeseg.review.regions import body_volume_mm3, find_regions
from activeseg.samples.phantom import Domain, make_phantom, phantom_geometry

TUNING_SEEDS = range(6100, 6200)  # what the refiners' numbers were chosen on; never measure on these
CLICKS = 3
CUBE_MM, APART_MM, CUBES = 96.0, 40.0, 4
LEAST_VOXELS = 30
"""Smaller pieces are not clicked, and boxes with less are not counted."""
BALL_MM = 6.0
Labels = npt.NDArray[Any]


@dataclass(frozen=True)
class Clicked:
    """A segmented case with its truth, and the boxes in which a person clicks."""

    name: str
    case: RefinableCase
    labels: Labels
    truth: Labels
    boxes: tuple[Box, ...]


@dataclass
class Row:
    """One box with one way to answer: wrong voxels before and after each click, and what the clicks took."""

    case: str
    box: Box
    way: str
    wrong: list[int]
    cpu_s: list[float]
    wall_s: list[float]
    clicked: list[str]


class ByHand:
    """What there is without a refiner: a ball, or where any member voted for the structure."""

    def __init__(self, votes: bool) -> None:
        self.votes = votes

    def refine(self, case: RefinableCase, labels: Labels, box: Box, prompts: Sequence[Prompt]) -> Alternative:
        asked = question_of(case, labels, box, prompts[-1:])
        near = distance_transform_edt(~asked.touched, sampling=case.ct.geometry.spacing_xyz[::-1])
        near = near <= (1.0 if self.votes else BALL_MM)
        if self.votes:
            near |= self._voted(case, asked)
        own = asked.labels == asked.value
        return answer(case, labels, box, asked, own | near if asked.include else own & ~near, "by hand")

    @staticmethod
    def _voted(case: RefinableCase, asked: Question) -> npt.NDArray[np.bool_]:
        window = Window.of(replace(case, votes=replace(case.votes, features=())), asked)
        grid, side = case.votes, np.zeros(window.labels.shape, np.float32)
        for vote in grid.votes:
            said = vote == asked.value
            side = np.maximum(side, window.sampled(said if asked.include else ~said, grid.geometry))
        return window.back(side) > 0.5


def phantoms(domain: Domain, seeds: Sequence[int], kind: str) -> Iterator[Clicked]:
    segmenter = open_model("demo")
    for seed in seeds:
        phantom = make_phantom(domain, seed, geometry=phantom_geometry((1.5, 1.5, 1.5)))
        yield clicked_case(segmenter, phantom.ct, phantom.labels.array, kind, f"{domain} {seed}")


def clicked_case(segmenter: Any, ct: Volume, truth: Labels, kind: str, name: str) -> Clicked:
    images = {segmenter.channels[0]: ct}
    segmented = segmenter.segment(images, Settings(keep_features=True), Progress())
    votes = segmented.grid
    if not votes.features:
        votes = segmenter.evidence(images, None, Settings(), Progress())
    case = RefinableCase(ct, segmented.schema, votes)
    if kind == "regions":
        regions = find_regions(segmented, ct.geometry, body_mm3=body_volume_mm3(ct))
        boxes = tuple(region.box_kji for region in regions)
    else:
        boxes = tuple(error_cubes(segmented.labels != truth, ct.geometry.spacing_xyz[::-1]))
    return Clicked(name, case, segmented.labels, truth, boxes)


def error_cubes(wrong: npt.NDArray[np.bool_], spacing_kji: Sequence[float]) -> Iterator[Box]:
    """Cubes around the innermost voxels of the largest wrong pieces, ``APART_MM`` from each other."""
    spacing = np.array(spacing_kji)
    steps = np.maximum(np.rint(4 / spacing), 1).astype(int)  # pieces that surfaces connect at 1.5 mm are several
    pieces = cc3d.connected_components(wrong[tuple(slice(None, None, step) for step in steps)], connectivity=6)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    size = np.minimum(np.rint(CUBE_MM / spacing).astype(int), wrong.shape)
    taken: list[npt.NDArray[Any]] = []
    for number in np.argsort(-sizes)[:12]:
        if len(taken) == CUBES or sizes[number] * np.prod(spacing * steps) < 2500:
            return
        depth = distance_transform_edt(pieces == number, sampling=spacing * steps)
        middle = np.array(np.unravel_index(depth.argmax(), depth.shape)) * steps
        if any(np.linalg.norm((middle - other) * spacing) < APART_MM for other in taken):
            continue
        taken.append(middle)
        low = np.clip(middle - size // 2, 0, np.array(wrong.shape) - size)
        k, j, i = ((int(a), int(a + n)) for a, n in zip(low, size, strict=True))
        yield k, j, i


def click(case: RefinableCase, labels: Labels, truth: Labels, box: Box) -> Prompt | None:
    """Of the largest piece (6 neighbours) with one label that should have one other; None where all are small."""
    kinds = np.unique(np.stack([labels, truth], -1)[labels != truth].astype(np.int64), axis=0)
    best: tuple[int, int, int, npt.NDArray[np.bool_]] | None = None
    for value in np.unique(kinds[:, 1]):
        # a structure that is missing is one piece, whatever was drawn there; what is too much is one structure's
        for now in kinds[kinds[:, 1] == 0, 0] if value == 0 else [-1]:
            if max(value, now) > len(case.schema):
                continue
            mask = (truth == value) & (labels != value) & ((labels == now) if value == 0 else True)
            pieces = cc3d.connected_components(mask, connectivity=6)
            sizes = np.bincount(pieces.ravel())[1:]
            if len(sizes) and (best is None or sizes.max() > best[0]):
                best = int(sizes.max()), int(value), int(now), pieces == sizes.argmax() + 1
    if best is None or best[0] < LEAST_VOXELS:
        return None
    _, value, now, piece = best
    spacing = case.ct.geometry.spacing_xyz[::-1]
    depth = distance_transform_edt(np.pad(piece, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    k, j, i = (int(a) + low for a, (low, _) in zip(np.unravel_index(depth.argmax(), depth.shape), box, strict=True))
    return Prompt(PromptKind.POINT, case.schema.name_of(value or now), ((k, j, i),), include=value != 0)


def clicks_in(given: Clicked, box: Box, way: str, refiner: Any) -> Row | None:
    truth, labels = given.truth[slices_of(box)], given.labels[slices_of(box)].copy()
    row = Row(given.name, box, way, [int((labels != truth).sum())], [], [], [])
    if row.wrong[0] < LEAST_VOXELS:
        return None
    prompts: list[Prompt] = []
    for _ in range(CLICKS):
        prompt = click(given.case, labels, truth, box)
        if prompt is not None:
            prompts.append(prompt)
            cpu, wall = time.process_time(), time.perf_counter()
            labels = refiner.refine(given.case, labels, box, prompts).labels
            row.cpu_s.append(time.process_time() - cpu)
            row.wall_s.append(time.perf_counter() - wall)
            row.clicked.append(f"{'' if prompt.include else 'not '}{prompt.structure}")
        row.wrong.append(int((labels != truth).sum()))
    return row


def ways(case: RefinableCase) -> dict[str, Any]:
    found: dict[str, Any] = {f"ball of {BALL_MM:g} mm": ByHand(votes=False), "any member's vote": ByHand(votes=True)}
    found["walker"] = refiner_named("walker", case)
    if case.votes.features:
        found["features"] = refiner_named("features", case)
    return found


def table(rows: Sequence[Row]) -> str:
    lines = ["| way | boxes | left after 1 | 2 | 3 | worse after 3 | clicks that made worse | CPU s a click | wall s |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for way in dict.fromkeys(row.way for row in rows):
        mine = [row for row in rows if row.way == way]
        wrong = np.array([row.wrong for row in mine], float)
        left = (wrong / wrong[:, :1]).mean(axis=0)[1:]
        harmful = np.diff(wrong, axis=1) > 0
        cpu, wall = (np.mean([s for row in mine for s in getattr(row, key)] or [0]) for key in ("cpu_s", "wall_s"))
        cells = [f"{share:.2f}" for share in left]
        cells += [str(int((wrong[:, -1] > wrong[:, 0]).sum())), f"{int(harmful.sum())} of {harmful.size}"]
        lines.append(f"| {way} | {len(mine)} | {' | '.join(cells)} | {cpu:.2f} | {wall:.2f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=at_least_one, default=6)
    parser.add_argument("--seed", type=int, default=7000, help="seed of the first phantom")
    parser.add_argument("--domain", type=Domain, choices=list(Domain), default=Domain.NATIVE)
    parser.add_argument("--boxes", choices=("cubes", "regions"), default="cubes")
    parser.add_argument("--model", default="demo", help="of a given image")
    parser.add_argument("--image", type=Path, help="a CT in place of phantoms")
    parser.add_argument("--truth", type=Path, help="its label map, in the values of the model")
    parser.add_argument("--json", type=file_to_write, help="write all figures there")
    options = parser.parse_args(arguments)
    seeds = range(options.seed, options.seed + options.cases)
    if set(seeds) & set(TUNING_SEEDS):
        parser.error(f"seeds {TUNING_SEEDS.start} to {TUNING_SEEDS.stop - 1} were used to choose the refiners' numbers")
    if (options.image is None) != (options.truth is None):
        refuse("An image needs a truth, and a truth an image: give both, --image and --truth.")
    if options.image is None:
        cases = phantoms(options.domain, seeds, options.boxes)
    else:
        ct, truth = read_volume(nifti(options.image)), read_label_map(nifti(options.truth))
        cases = iter([clicked_case(open_model(options.model), ct, truth.array, options.boxes, options.model)])
    rows: list[Row] = []
    for given in cases:
        for box in given.boxes:
            for way, refiner in ways(given.case).items():
                row = clicks_in(given, box, way, refiner)
                if row is not None:
                    rows.append(row)
        print(f"{given.name}: {len(given.boxes)} boxes", file=sys.stderr, flush=True)
    print(table(rows))
    if options.image is not None:
        names = sorted({row.clicked[0].removeprefix("not ") for row in rows if row.clicked})
        for name in names:
            print(f"\n{name}\n\n{table([r for r in rows if r.clicked and r.clicked[0].removeprefix('not ') == name])}")
    if options.json:
        options.json.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

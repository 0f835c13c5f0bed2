"""Clicks in a phantom that the network that ships is not made for: each box gets better, none gets worse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, label

from activeseg.core.geometry import Box, slices_of
from activeseg.core.progress import Progress
from activeseg.core.prompt import Prompt, PromptKind
from activeseg.core.segmenter import Settings
from activeseg.core.votes import Segmented
from activeseg.models import open_model
from activeseg.refiners.base import RefinableCase
from activeseg.refiners.choosing import available, refiner_named
from activeseg.samples.phantom import Domain, Phantom, make_phantom

LARGEST = 3
HALF = 12


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(Domain.NATIVE, 6100)


@pytest.fixture(scope="module")
def segmented(phantom: Phantom) -> Segmented:
    segmenter = open_model("demo")
    return segmenter.segment({segmenter.channels[0]: phantom.ct}, Settings(keep_features=True), Progress())


def missed(phantom: Phantom, segmented: Segmented) -> list[tuple[Prompt, Box]]:
    """A click into the middle of each of the largest pieces of structures that the network missed, and a box of it."""
    found = []
    for structure in segmented.schema.labels:
        pieces, _ = label((phantom.labels.array == structure.value) & (segmented.labels != structure.value))
        sizes = np.bincount(pieces.ravel())[1:]
        if len(sizes):
            depth = distance_transform_edt(pieces == sizes.argmax() + 1)
            k, j, i = (int(n) for n in np.unravel_index(depth.argmax(), depth.shape))
            found.append((int(sizes.max()), Prompt(PromptKind.POINT, structure.name, ((k, j, i),))))
    found.sort(key=lambda entry: -entry[0])
    boxes = []
    for _, prompt in found[:LARGEST]:
        ends = zip(prompt.points_kji[0], segmented.labels.shape, strict=True)
        k, j, i = ((max(0, at - HALF), min(length, at + HALF)) for at, length in ends)
        boxes.append((prompt, (k, j, i)))
    return boxes


@pytest.mark.parametrize("name", ["features", "walker"])
def test_a_click_never_worsens_a_box_and_helps(phantom: Phantom, segmented: Segmented, name: str) -> None:
    case = RefinableCase(phantom.ct, segmented.schema, segmented.grid)
    assert name in available(case)
    before, after = [], []
    for prompt, box in missed(phantom, segmented):
        truth, labels = phantom.labels.array[slices_of(box)], segmented.labels[slices_of(box)]
        answer = refiner_named(name, case).refine(case, labels, box, [prompt])
        before.append(int((labels != truth).sum()))
        after.append(int((answer.labels != truth).sum()))
    assert len(before) == LARGEST
    assert all(now < was for now, was in zip(after, before, strict=True)), (before, after)
    assert sum(after) < 0.95 * sum(before)

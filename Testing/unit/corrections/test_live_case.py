"""A case while it is corrected: what comes in is checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from shifted_case import NETWORK, SCHEMA, corrected, regions_on, shifted_case

from activeseg.core.correction import RegionReview
from activeseg.core.errors import InputError
from activeseg.core.progress import Progress
from activeseg.core.volume import Volume
from activeseg.corrections.live_case import LiveCase
from activeseg.refiners.spreading import Spread

REGIONS = regions_on(NETWORK)
Labels = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def proposed() -> tuple[LiveCase, Spread]:
    case, truth = shifted_case()
    ct = Volume(np.zeros(NETWORK.shape_kji, np.int16), NETWORK)
    live = LiveCase({"CT": ct}, SCHEMA, case.predicted, None, whole=case.votes)
    return live, live.spread(corrected(case, truth, REGIONS).labels, REGIONS, Progress())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda labels: labels[1:], "voxels"),
        (lambda labels: labels + 0.5, "whole numbers"),
        (lambda labels: labels.astype(np.int16) - 5, "-5"),
        (lambda labels: labels.astype(np.uint16) + 500, "no structure"),
    ],
)
def test_a_proposal_is_not_taken_with_labels_of_another_case(
    proposed: tuple[LiveCase, Spread], change: Callable[[Labels], Labels], said: str
) -> None:
    live, proposal = proposed
    with pytest.raises(InputError, match=said):
        live.take(proposal, change(proposal.labels()), REGIONS, (), 3, Progress())
    assert live.whole is proposal.case.votes


@pytest.mark.parametrize(
    ("regions", "said"),
    [
        ([replace(REGIONS[0], box_kji=((0, 10**30),) * 3)], "does not lie in the image"),
        ([replace(REGIONS[0], box_kji=((-5, -1), (0, 1), (0, 1)))], "does not lie in the image"),
        ([*REGIONS, REGIONS[0]], "listed twice"),
    ],
)
def test_a_proposal_is_not_taken_with_regions_of_another_case(
    proposed: tuple[LiveCase, Spread], regions: list[RegionReview], said: str
) -> None:
    live, proposal = proposed
    with pytest.raises(InputError, match=said):
        live.take(proposal, proposal.labels(), regions, (), 3, Progress())
    with pytest.raises(InputError, match=said):
        live.spread(proposal.case.labels, regions, Progress())


def test_a_proposal_is_not_taken_with_an_unknown_structure_in_focus(proposed: tuple[LiveCase, Spread]) -> None:
    live, proposal = proposed
    with pytest.raises(InputError, match="no structure 'soul'"):
        live.take(proposal, proposal.labels(), REGIONS, ("soul",), 3, Progress())

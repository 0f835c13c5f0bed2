"""``walker``: a random walk through the image, with what the ensemble says as its prior. It works for every model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.geometry import Box
from activeseg.core.prompt import Prompt
from activeseg.refiners.base import RefinableCase
from activeseg.refiners.question import answer, question_of
from activeseg.refiners.random_walk import random_walk
from activeseg.refiners.seeds import Seeds
from activeseg.refiners.window import Field, Window
from activeseg.review.alternatives import Alternative

PULL = 0.1
TRUST = 0.25
"""Of the ensemble's log-odds: where a prompt is needed, they are too sure."""
LOOKS = 4.0
"""Log-odds that a voxel gains or loses by looking like what was clicked, near the click."""
FADE_MM = 40.0


class Walker:
    """See ``activeseg.refiners.base.Refiner``."""

    name = "walker"

    def refine(
        self, case: RefinableCase, labels: npt.NDArray[Any], box_kji: Box, prompts: Sequence[Prompt]
    ) -> Alternative:
        asked = question_of(case, labels, box_kji, prompts)
        window = Window.of(case, asked)
        seeds = Seeds.of(window)
        odds = TRUST * window.log_odds(asked.value)
        odds = (odds if asked.include else -odds) + likeness(window, seeds, LOOKS) * np.exp(
            -seeds.distance_mm / FADE_MM
        )
        return walked(case, labels, box_kji, window, seeds, odds, PULL, self.name)


def walked(
    case: RefinableCase,
    labels: npt.NDArray[Any],
    box_kji: Box,
    window: Window,
    seeds: Seeds,
    odds: Field,
    pull: float,
    name: str,
) -> Alternative:
    """The answer of a random walk whose prior has these log-odds, for the last prompt's side."""
    prior = np.asarray(1 / (1 + np.exp(-odds)), np.float32)
    side = random_walk(window.hu, window.noise_hu, prior, seeds.here, seeds.there, window.spacing_kji, pull)
    asked = window.asked
    found = window.back(side) > 0.5
    return answer(case, labels, box_kji, asked, found if asked.include else ~found, name)


def likeness(window: Window, seeds: Seeds, most: float) -> Field:
    """Log-odds, up to ``most``, by how much a voxel looks like the seeds."""
    typical = np.median(window.hu[seeds.here])
    off = (window.hu - typical) / (2 * max(window.noise_hu, 12.0))
    return np.asarray(most * (2 * np.exp(-0.5 * np.minimum(off**2, 16)) - 1), np.float32)

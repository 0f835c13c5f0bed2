"""``walker``: a random walk through the image, with what the ensemble says as its prior. It works for every model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter

from activeseg.core.geometry import Box
from activeseg.core.prompt import Prompt
from activeseg.refiners.base import RefinableCase
from activeseg.refiners.question import answer, question_of
from activeseg.refiners.random_walk import random_walk
from activeseg.refiners.seeds import Seeds
from activeseg.refiners.window import SMOOTH_MM, Field, Window
from activeseg.review.alternatives import Alternative

PULL = 0.1
TRUST = 0.25
"""Of the ensemble's log-odds: where a prompt is needed, they are too sure."""
LOOKS = 4.0
"""Log-odds that a voxel gains or loses by looking like what was clicked."""
FADE_DEPTHS = 2.0
"""One is lost with so many times the depth of the piece under the prompt: a click into something thin says less about
what is far than one into something thick."""
LEAST_DEPTH_MM = 4.5
LEAST_SPREAD_HU = 12.0
"""Tissue differs by as much where there is no noise."""


class WalkerRefiner:
    """See ``activeseg.refiners.base.Refiner``."""

    name = "walker"

    def refine(
        self, case: RefinableCase, labels: npt.NDArray[Any], box_kji: Box, prompts: Sequence[Prompt]
    ) -> Alternative:
        asked = question_of(case, labels, box_kji, prompts)
        window = Window.of(case, asked)
        seeds = Seeds.of(window)
        looks = likeness(window, seeds, LOOKS)
        odds = sided(window, TRUST) + looks - distance_in_depths(window, seeds, looks) / FADE_DEPTHS
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


def sided(window: Window, trust: float) -> Field:
    """The model's log-odds for the side of the last prompt, as far as they are trusted."""
    odds = window.log_odds(window.asked.value)
    return np.asarray(trust * (odds if window.asked.include else -odds), np.float32)


def likeness(window: Window, seeds: Seeds, most: float) -> Field:
    """Log-odds, up to ``most``, by how much a voxel looks like the seeds."""
    typical = np.median(window.hu[seeds.here])
    off = (window.hu - typical) / (2 * max(window.noise_hu, LEAST_SPREAD_HU))
    return np.asarray(most * (2 * np.exp(-0.5 * np.minimum(off**2, 16)) - 1), np.float32)


def distance_in_depths(window: Window, seeds: Seeds, odds: Field) -> Field:
    """Distance from the prompt, in units of how deep in its piece it lies.

    The piece is what these odds hold for the last prompt's side, of what may change; a window's border is no border.
    """
    blurred = gaussian_filter(odds, SMOOTH_MM / window.spacing_kji)
    piece = (window.open & (blurred > 0)) | seeds.here
    depth = distance_transform_edt(np.pad(piece, 1, mode="edge"), sampling=window.spacing_kji)[1:-1, 1:-1, 1:-1]
    return np.asarray(seeds.distance_mm / max(float(depth[seeds.here].max()), LEAST_DEPTH_MM), np.float32)

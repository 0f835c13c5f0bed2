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
from activeseg.refiners.question import Mask, answer, question_of
from activeseg.refiners.random_walk import random_walk
from activeseg.refiners.seeds import Seeds
from activeseg.refiners.window import SMOOTH_MM, Field, Window
from activeseg.review.alternatives import Alternative

PULL = 0.1
TRUST = 0.5
"""Of the ensemble's log-odds: where a prompt is needed, they are too sure."""
LOOKS = 3.0
"""Log-odds that a voxel gains or loses by looking like what was clicked."""
FADE_DEPTHS = 1.5
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
        odds = sided(window, TRUST) + pointed(window, seeds, LOOKS, FADE_DEPTHS)
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


def pointed(window: Window, seeds: Seeds, looks: float, fade_depths: float, known: Field | None = None) -> Field:
    """Log-odds that follow from where the prompts point: by how a voxel looks, and how far it is.

    The last prompt's side speaks for what looks like its seeds, and the less the farther. The other side, where earlier
    prompts spoke for it, does the same near its own seeds; so an answer does not undo the one before.

    Parameters
    ----------
    known
        What is known besides, for how deep a prompt lies in its piece.
    """
    other = np.zeros(window.labels.shape, np.float32)
    if seeds.there.any():
        like = likeness(window, seeds.there, looks)
        fade = distance_in_depths(window, seeds.there, like, ~window.open) / fade_depths
        other = np.maximum(like - fade, 0)
    like = likeness(window, seeds.here, looks)
    fade = distance_in_depths(window, seeds.here, like if known is None else like + known, window.open) / fade_depths
    return np.asarray(like - fade - other, np.float32)


def likeness(window: Window, seeds: Mask, most: float) -> Field:
    """Log-odds, up to ``most``, by how much a voxel looks like the seeds."""
    typical = np.median(window.hu[seeds])
    off = (window.hu - typical) / (2 * max(window.noise_hu, LEAST_SPREAD_HU))
    return np.asarray(most * (2 * np.exp(-0.5 * np.minimum(off**2, 16)) - 1), np.float32)


def distance_in_depths(window: Window, seeds: Mask, odds: Field, where: Mask) -> Field:
    """Distance from the seeds, in units of how deep in their piece they lie.

    The piece is what these odds hold for, of what is looked at; a window's border is no border.
    """
    blurred = gaussian_filter(odds, SMOOTH_MM / window.spacing_kji)
    piece = (where & (blurred > 0)) | seeds
    depth = distance_transform_edt(np.pad(piece, 1, mode="edge"), sampling=window.spacing_kji)[1:-1, 1:-1, 1:-1]
    return np.asarray(window.distance_mm(seeds) / max(float(depth[seeds].max()), LEAST_DEPTH_MM), np.float32)

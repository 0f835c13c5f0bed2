"""``features``: what was clicked, told from the rest by the network's own decoder features; then a random walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates
from scipy.optimize import minimize

from activeseg.core.errors import InputError
from activeseg.core.geometry import Box
from activeseg.core.prompt import Prompt
from activeseg.refiners.base import RefinableCase
from activeseg.refiners.question import Mask, question_of
from activeseg.refiners.seeds import Seeds
from activeseg.refiners.walker import pointed, sided, walked
from activeseg.refiners.window import Field, Window
from activeseg.review.alternatives import Alternative

PULL = 0.3
MOST_ODDS = 6.0
LOOKS = 2.0
TRUST = 0.3
FADE_DEPTHS = 3.0
SURE = 0.9
"""A voxel is an example of what it is labelled as where the model is as sure of it,"""
APART_MM = 15.0
"""and, on the side that the prompt does not point at, so far away: near the prompt the model is wrong."""
RIDGE = 1e-2
MOST_SEEDS, MOST_SURE, MOST_OTHER = 300, 300, 1500


class FeaturesRefiner:
    """See ``activeseg.refiners.base.Refiner``."""

    name = "features"

    def refine(
        self, case: RefinableCase, labels: npt.NDArray[Any], box_kji: Box, prompts: Sequence[Prompt]
    ) -> Alternative:
        asked = question_of(case, labels, box_kji, prompts)
        if not case.votes.features:
            raise InputError("This case has no decoder features.", "Use the refiner 'walker'.", setting="refiner")
        window = Window.of(case, asked)
        seeds = Seeds.of(window)
        told = np.clip(classified(window, seeds), -MOST_ODDS, MOST_ODDS)
        odds = told + sided(window, TRUST) + pointed(window, seeds, LOOKS, FADE_DEPTHS, told)
        return walked(case, labels, box_kji, window, seeds, odds, PULL, self.name)


def classified(window: Window, seeds: Seeds) -> Field:
    """Log-odds of the last prompt's side, by a logistic regression on features and smoothed HU."""
    asked = window.asked
    own = window.labels == asked.value
    on_side = own if asked.include else ~own
    sure = window.sureness > SURE
    random = np.random.default_rng(0)
    here = [_some(seeds.here, MOST_SEEDS, random)] * 3 + [_some(sure & on_side, MOST_SURE, random)]
    there = [_some(seeds.there, MOST_SEEDS, random)] * 3
    there.append(_some(sure & ~on_side & (seeds.distance_mm > APART_MM), MOST_OTHER, random))
    yes, no = np.concatenate(here), np.concatenate(there)
    if not len(no):
        return np.zeros(window.labels.shape, np.float32)
    columns = Columns.of(window)
    given = columns.at(np.concatenate([yes, no]))
    middle, spread = columns.standard()
    truth = np.concatenate([np.ones(len(yes)), np.zeros(len(no))])
    share = np.where(truth == 1, 0.5 / len(yes), 0.5 / len(no))
    weights, bias = logistic_fit((given - middle) / spread, truth, share)
    weights = weights / spread
    return columns.weighted(weights) + np.float32(bias - float(weights @ middle))


@dataclass(frozen=True, eq=False)
class Columns:
    """What the classifier looks at: the features of the networks on their grids, and smoothed HU on the window's.

    A weighted sum of features is taken on the network's grid and only then carried to the window.
    """

    window: Window
    images: tuple[Field, ...]

    @classmethod
    def of(cls, window: Window) -> Columns:
        return cls(window, (window.hu, window.wide_hu))

    def at(self, voxels: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """(N, D) at voxels of the window, given as flat indices."""
        places = np.stack(np.unravel_index(voxels, self.window.labels.shape))
        found = []
        for part in self.window.parts:
            there = self.window.places_in(part.geometry, places)
            found += [map_coordinates(channel, there, order=1, mode="nearest") for channel in part.features]
        found += [image.ravel()[voxels] for image in self.images]
        return np.stack(found, axis=1).astype(np.float64)

    def standard(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(D,) mean and standard deviation around the window."""
        channels = [channel for part in self.window.parts for channel in part.features] + list(self.images)
        middle = np.array([channel.mean(dtype=np.float64) for channel in channels])
        return middle, np.array([channel.std(dtype=np.float64) for channel in channels]) + 1e-6

    def weighted(self, weights: npt.NDArray[np.float64]) -> Field:
        """The weighted sum at every voxel of the window."""
        total = np.zeros(self.window.labels.shape, np.float32)
        done = 0
        for part in self.window.parts:
            own = weights[done : done + len(part.features)].astype(np.float32)
            total += self.window.sampled(np.tensordot(own, part.features, 1), part.geometry)
            done += len(own)
        for weight, image in zip(weights[done:], self.images, strict=True):
            total += np.float32(weight) * image
        return total


def logistic_fit(
    columns: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], share: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], float]:
    """Weights and bias of a ridge logistic regression of weighted samples (N, D)."""

    def loss(at: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        odds = columns @ at[:-1] + at[-1]
        value = float(share @ (np.logaddexp(0, odds) - truth * odds)) + RIDGE * float(at[:-1] @ at[:-1])
        off = share * (1 / (1 + np.exp(-np.clip(odds, -60, 60))) - truth)
        return value, np.append(columns.T @ off + 2 * RIDGE * at[:-1], off.sum())

    found = minimize(loss, np.zeros(columns.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    return np.asarray(found.x[:-1]), float(found.x[-1])


def _some(mask: Mask, most: int, random: np.random.Generator) -> npt.NDArray[np.intp]:
    at = np.flatnonzero(mask)
    return at if len(at) <= most else random.choice(at, most, replace=False)

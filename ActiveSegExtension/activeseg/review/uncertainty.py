"""Where members disagree: variance, predictive entropy, mutual information, pairwise Dice.

One colour scale serves every model: 1 is as unsure as can be between two structures, however many others the model
knows. The formulas are those of an ensemble of M categorical predictions p_m over C classes:

* variance = mean_m |p_m - p|^2 = mean_m sum_c p_m(c)^2 - sum_c p(c)^2, divided by its bound 1 - 1/min(M, C)
* predictive entropy = H(p), at most log C; where it is shown or stored, divided by log 2 and clipped at 1: by its bound
  a coin toss between two of 118 classes would be 0.145. The search for regions takes it by its bound
* mutual information = H(p) - mean_m H(p_m), divided by its bound log min(M, C)   (Houlsby et al. 2011, BALD)

with p = mean_m p_m. Region-based models have R independent Bernoulli predictions: the measures are means over the
regions, divided by their bounds: 1/4 for the variance, log 2 for the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.uncertainty_scale import FloatMap


def variance_maximum(members: int, classes: int) -> float:
    """The largest variance that ``members`` categorical predictions over ``classes`` can have."""
    return 1.0 - 1.0 / min(members, classes)


def measures_from_votes(
    votes: Sequence[npt.NDArray[Any]], classes: int
) -> tuple[FloatMap, FloatMap | None, FloatMap | None]:
    """Entropy, variance and mutual information of members that give labels, not probabilities.

    Parameters
    ----------
    votes : M label maps of one shape (k, j, i)
    classes : number of classes, background included

    Returns
    -------
    entropy, variance, mutual information : float32 of that shape, divided by their bounds (0..1); the last two are None
        for one member

    A vote is a one-hot p_m, so H(p_m) = 0 and the mutual information equals H(p) up to its maximum.
    """
    first = votes[0]
    members = len(votes)
    entropy = np.zeros(first.shape, np.float32)
    if members == 1:
        return entropy, None, None
    differ = np.zeros(first.shape, bool)
    for vote in votes[1:]:
        differ |= vote != first
    at = np.stack([vote[differ] for vote in votes])  # (M, N), only where somebody disagrees
    same = np.zeros(at.shape, np.float32)
    for a, b in itertools.product(range(members), repeat=2):
        same[a] += at[a] == at[b]
    share = same / members  # p(v_m) of each member's own class
    bits = -np.log(share).mean(axis=0)  # sum_c p log p = mean_m log p(v_m)
    variance = np.zeros(first.shape, np.float32)
    variance[differ] = (1.0 - share.mean(axis=0)) / variance_maximum(members, classes)
    entropy[differ] = bits / np.log(classes)
    information = np.zeros(first.shape, np.float32)
    information[differ] = bits / np.log(min(members, classes))
    return entropy, variance, information


def pairwise_dice(votes: Sequence[npt.NDArray[Any]], value_count: int) -> float | None:
    """Agreement of a case: mean over pairs of members of their mean Dice over structures that either of them has.

    Parameters
    ----------
    votes : M label maps of one shape
    value_count : label values are 0..value_count - 1; 0 is left out

    Returns
    -------
    0..1, or None for one member or when no member found anything
    (Zenk et al., MedIA 2025: the simplest and best detector of failed cases).
    """
    scores = [float(np.nanmean(dice)) for dice in _dice_of_pairs(votes, value_count) if not np.isnan(dice).all()]
    return float(np.mean(scores)) if scores else None


def structure_agreement(votes: Sequence[npt.NDArray[Any]], value_count: int) -> npt.NDArray[np.float64]:
    """For each label value from 1 on, mean Dice over the pairs of members of which one has it; NaN where none has, and
    for one member. ``votes`` and ``value_count`` as in ``pairwise_dice``; (value_count - 1,)."""
    dice = np.array([*_dice_of_pairs(votes, value_count)]).reshape(-1, value_count - 1)
    pairs = (~np.isnan(dice)).sum(axis=0)
    return np.where(pairs, np.nansum(dice, axis=0) / np.maximum(pairs, 1), np.nan)


def _dice_of_pairs(votes: Sequence[npt.NDArray[Any]], value_count: int) -> Iterator[npt.NDArray[np.float64]]:
    """For each pair of members the Dice of each value from 1 on; NaN where neither has it."""
    counts = [np.bincount(vote.ravel(), minlength=value_count)[1:value_count] for vote in votes]
    for a, b in itertools.combinations(range(len(votes)), 2):
        same = votes[a] == votes[b]
        both = np.bincount(votes[a][same].ravel(), minlength=value_count)[1:value_count]
        total = counts[a] + counts[b]
        yield np.where(total > 0, 2.0 * both / np.maximum(total, 1), np.nan)

"""A version keeps as much of what was learnt as replayed images allow; a changed voxel counts by the parent's doubt."""

from __future__ import annotations

import numpy as np
import pytest

from activeseg.learning.measuring.forgetting import AT_A_COIN_TOSS, sureness
from activeseg.learning.project.gate import CaseDice
from activeseg.learning.project.share import SHARES, Chosen, choose

PARENT = {"CT_0002": {"liver": 1.0}}


def chosen(fall_as_trained: float, margin: float = 0.005) -> tuple[Chosen, list[float]]:
    """With a version that forgets in proportion to its share; and the shares that were measured."""
    asked: list[float] = []

    def child(share: float) -> CaseDice:
        asked.append(share)
        return {"CT_0002": {"liver": 1.0 - share * fall_as_trained}}

    return choose(PARENT, child, margin), asked


def test_a_version_that_forgets_little_stays_as_it_was_trained_and_nothing_else_is_measured() -> None:
    found, asked = chosen(0.004)
    assert (found.share, asked) == (1.0, [1.0])
    assert found.tried == {"1": pytest.approx(0.996)}


def test_the_largest_share_is_taken_with_which_little_is_forgotten() -> None:
    found, asked = chosen(0.008)
    assert (found.share, asked) == (0.5, [1.0, 0.75, 0.5])
    kept = found.kept(0.005)
    assert kept is not None
    assert kept.after == pytest.approx(0.996)
    assert not kept.falls


def test_where_no_share_is_small_enough_the_smallest_is_left_for_the_gate_to_refuse() -> None:
    found, asked = chosen(0.4)
    assert (found.share, asked) == (SHARES[-1], list(SHARES))
    kept = found.kept(0.005)
    assert kept is not None
    assert kept.falls


def test_images_that_show_nothing_leave_the_version_as_it_was_trained() -> None:
    found = choose({"CT_0002": {}}, lambda _share: {"CT_0002": {}}, 0.005)
    assert found == Chosen()
    assert found.kept(0.005) is None


def test_a_voxel_counts_by_how_sure_the_parent_is() -> None:
    first = np.array([1.0, 0.9, 0.7, 0.5])
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.nan_to_num(-first * np.log2(first) - (1 - first) * np.log2(1 - first))
    expected = AT_A_COIN_TOSS + (1 - AT_A_COIN_TOSS) * (2 * first - 1)
    assert sureness(entropy.astype(np.float32)) == pytest.approx(expected, abs=0.01)


def test_where_nothing_was_computed_the_parent_is_sure() -> None:
    assert sureness(np.array([np.nan], np.float32)).tolist() == [1.0]

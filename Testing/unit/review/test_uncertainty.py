"""The measures of disagreement are the formulas of their definition."""

from __future__ import annotations

import numpy as np
import pytest

from activeseg.core.geometry import Geometry
from activeseg.core.uncertainty_scale import coarsened, shown_threshold
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes, Member, MemberKind
from activeseg.review.uncertainty import measures_from_votes, pairwise_dice, variance_maximum

PLACE = Geometry.from_ijk_to_ras(np.eye(4), (1, 1, 1))


def by_definition(votes: list[np.ndarray], classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    one_hot = np.stack([np.eye(classes)[v] for v in votes])  # (M, ..., C)
    mean = one_hot.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(np.where(mean > 0, mean * np.log(mean), 0), axis=-1)
    variance = ((one_hot - mean) ** 2).sum(axis=-1).mean(axis=0)
    most = min(len(votes), classes)
    return entropy / np.log(classes), variance / (1 - 1 / most), entropy / np.log(most)


@pytest.mark.parametrize(("members", "classes"), [(2, 2), (3, 7), (7, 3), (5, 118)])
def test_measures_of_votes_are_those_of_one_hot_predictions(members: int, classes: int) -> None:
    rng = np.random.default_rng(members * classes)
    votes = [rng.integers(0, classes, (4, 5, 6)).astype(np.uint8) for _ in range(members)]
    votes[1][:2] = votes[0][:2]
    found = measures_from_votes(votes, classes)
    for measure, expected in zip(found, by_definition(votes, classes), strict=True):
        assert measure is not None
        assert measure.dtype == np.float32
        np.testing.assert_allclose(measure, expected, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 6, 118])
def test_a_coin_toss_between_two_structures_is_as_bright_as_can_be_however_many_there_are(classes: int) -> None:
    votes = [np.full((1, 1, 1), value, np.uint8) for value in (0, 0, 1, 1)]
    entropy, _, _ = measures_from_votes(votes, classes)
    members = tuple(Member(f"fold {n}", MemberKind.TRAINED) for n in range(4))
    grid = GridVotes(PLACE, votes[0], members, tuple(votes), entropy, entropy_bound=float(np.log(classes)))
    assert grid.measure("entropy") == pytest.approx(1)
    assert shown_threshold("entropy") < 1


def test_more_than_a_coin_toss_is_shown_as_one() -> None:
    votes = [np.full((1, 1, 1), value, np.uint8) for value in range(4)]
    entropy, variance, _ = measures_from_votes(votes, 118)
    members = tuple(Member(f"fold {n}", MemberKind.TRAINED) for n in range(4))
    grid = GridVotes(PLACE, votes[0], members, tuple(votes), entropy, variance, entropy_bound=float(np.log(118)))
    assert grid.measure("entropy") == 1
    assert grid.ranking("entropy") == pytest.approx(np.log(4) / np.log(118)), "the search tells it from a coin toss"
    assert grid.measure("variance") is grid.ranking("variance")


def test_one_member_has_no_variance() -> None:
    entropy, variance, information = measures_from_votes([np.ones((2, 3, 4), np.uint8)], 2)
    assert not entropy.any()
    assert variance is None
    assert information is None


def test_members_that_all_disagree_reach_the_maximum() -> None:
    _, variance, information = measures_from_votes([np.full((1, 1, 1), value, np.uint8) for value in range(4)], 9)
    assert variance is not None
    assert information is not None
    assert variance.item() == pytest.approx(1)
    assert information.item() == pytest.approx(1)
    assert variance_maximum(members=4, classes=9) == 0.75


def test_pairwise_dice_is_the_mean_over_pairs_and_structures_present() -> None:
    first = np.array([[[0, 1, 1, 2, 2, 0]]])
    second = np.array([[[0, 1, 0, 2, 2, 0]]])
    third = np.array([[[0, 1, 0, 0, 0, 0]]])
    pairs = [(2 / 3 + 1) / 2, (2 / 3 + 0) / 2, (1 + 0) / 2]
    assert pairwise_dice([first, second, third], 4) == pytest.approx(np.mean(pairs))


def test_agreement_of_one_member_or_of_nothing_is_not_a_number_made_up() -> None:
    empty = np.zeros((2, 2, 2), np.uint8)
    assert pairwise_dice([np.ones((2, 2, 2), np.uint8)], 2) is None
    assert pairwise_dice([empty, empty], 2) is None


def test_a_large_map_is_shown_coarser_with_its_peaks_in_place() -> None:
    turned = np.array([[0, -1.0, 0, 5], [0.8, 0, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    geometry = Geometry.from_ijk_to_ras(turned, (5, 9, 10))
    array = np.random.default_rng(3).random(geometry.shape_kji).astype(np.float32)
    array[0, :2, :4] = np.nan
    array[1, 8, 0] = np.nan
    found = coarsened(Volume(array, geometry), 100)
    assert found.geometry.spacing_xyz == pytest.approx((3.2, 2.0, 3.0))  # each time the finest axis
    assert found.array.shape == (5, 5, 3) == found.geometry.shape_kji
    assert np.isnan(found.array[0, 0, 0])
    assert np.isfinite(found.array).sum() == found.array.size - 1
    assert found.array[2, 1, 1] == array[2, 2:4, 4:8].max()
    block = geometry.ras_of_ijk([[i, j, 2] for i in range(4, 8) for j in (2, 3)])
    np.testing.assert_allclose(found.geometry.ras_of_ijk([[1, 1, 2]])[0], block.mean(axis=0), atol=1e-6)


def test_a_small_map_is_shown_as_it_is() -> None:
    map_ = Volume(np.zeros((2, 3, 4), np.float32), Geometry.from_ijk_to_ras(np.eye(4), (2, 3, 4)))
    assert coarsened(map_, 24) is map_
    assert coarsened(map_, 1).array.shape == (1, 1, 1)

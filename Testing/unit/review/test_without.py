"""Regions that were reviewed hold no doubt any more."""

from __future__ import annotations

import numpy as np

from activeseg.core.correction import RegionReview, RegionState
from activeseg.core.geometry import Geometry, box_on
from activeseg.core.votes import GridVotes, Member, MemberKind
from activeseg.review.regions import without

CT = Geometry((20, 24, 28), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def test_doubt_goes_where_a_region_was_reviewed_and_nowhere_else():
    network = Geometry((10, 12, 14), (2.0, 2.0, 2.0), (0.5, 0.5, 0.5), CT.direction_lps)
    labels = np.zeros(network.shape_kji, np.uint8)
    votes = GridVotes(
        network, labels, (Member("one", MemberKind.TRAINED),), (labels,), np.ones(network.shape_kji, np.float32)
    )
    region = RegionReview(1, ((4, 8), (6, 10), (8, 12)), RegionState.CORRECTED)
    after = without(votes, CT, [region])
    inside = np.zeros(network.shape_kji, bool)
    inside[2:4, 3:5, 4:6] = True
    assert np.array_equal(after.entropy == 0, inside)
    assert (votes.entropy == 1).all(), "the votes themselves stay"
    assert without(votes, CT, []) is votes


def test_a_box_on_another_grid_holds_the_same_places():
    part = CT.cropped(((5, 15), (2, 22), (9, 19)))
    assert part.shape_kji == (10, 20, 10)
    assert box_on(((0, 10), (0, 20), (0, 10)), part, CT) == ((5, 15), (2, 22), (9, 19))
    assert box_on(((0, 20), (0, 24), (0, 28)), CT, part) == ((0, 10), (0, 20), (0, 10))
    assert np.allclose(part.ras_of_ijk((0, 0, 0)), CT.ras_of_ijk((9, 2, 5)))

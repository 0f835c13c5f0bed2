"""What the networks of a task said is put together as the package puts together their labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from activeseg.core.errors import ModelError
from activeseg.core.geometry import Geometry
from activeseg.core.votes import GridVotes, Member, MemberKind
from activeseg.segmenters.totalsegmentator.votes import merged, stitched

FOLD = Member("fold 0", MemberKind.TRAINED)


def votes(
    labels: np.ndarray, entropy: np.ndarray, first_plane: int = 0, variance: np.ndarray | None = None
) -> GridVotes:
    matrix = np.diag([1.5, 1.5, 1.5, 1.0])
    matrix[2, 3] = 1.5 * first_plane
    geometry = Geometry.from_ijk_to_ras(matrix, labels.shape)
    return GridVotes(geometry, labels, (FOLD,), (labels,), entropy.astype(np.float32), variance)


def test_a_later_part_wins_where_it_found_something_and_the_largest_doubt_is_shown() -> None:
    first = votes(np.array([[[1, 1, 0]]], np.uint8), np.array([[[0.1, 0.7, np.nan]]]))
    second = votes(np.array([[[0, 5, 5]]], np.uint8), np.array([[[0.3, 0.2, 0.4]]]))
    both = merged([first, second])
    assert both.labels.tolist() == [[[1, 5, 5]]]
    assert both.votes[0].tolist() == [[[1, 5, 5]]]
    assert np.allclose(both.entropy, [[[0.3, 0.7, 0.4]]])
    assert both.variance is None
    assert first.labels.tolist() == [[[1, 1, 0]]], "the parts themselves are left as they are"


def test_parts_with_other_members_are_refused() -> None:
    part = votes(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 2)))
    other = replace(part, members=(Member("fold 3", MemberKind.TRAINED),))
    with pytest.raises(ModelError, match="do not fit together"):
        merged([part, other])


def test_pieces_are_cut_at_thirds_and_nothing_is_seen_twice() -> None:
    planes, margin = 100, 20
    third = planes // 3
    cuts = [(0, third + margin), (third + 1 - margin, third * 2 + margin), (third * 2 + 1 - margin, planes)]
    height = np.broadcast_to(np.arange(planes)[:, None, None], (planes, 3, 2))
    pieces = []
    for number, (start, stop) in enumerate(cuts):
        labels = np.full((stop - start, 3, 2), number + 1, np.uint8)
        pieces.append(votes(labels, height[start:stop] / planes, start, np.asarray(height[start:stop], np.float32)))
    whole = stitched(pieces)
    assert np.allclose(whole.entropy, height / planes)
    assert np.array_equal(whole.variance, height)
    assert np.bincount(whole.labels[:, 0, 0]).tolist() == [0, third, third, planes - 2 * third]
    assert whole.geometry.same_grid(replace(pieces[0].geometry, shape_kji=(planes, 3, 2)))

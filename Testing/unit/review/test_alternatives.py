"""An alternative is what members really voted for, and taking it changes that and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import zoom
from simulated_votes import SCHEMA, ball, geometry_of, segmented_from

from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.records import to_json
from activeseg.core.votes import Segmented
from activeseg.review.alternatives import Alternative, find_alternatives
from activeseg.review.regions import FoundRegion, apply_alternative, find_regions

LIVER, SPLEEN, KIDNEY, AORTA, GLAND, SPINE = (label.value for label in SCHEMA.labels)
SHAPE = (30, 30, 30)
BOX = ((5, 25), (5, 25), (5, 25))
CENTER = (15, 15, 12)


def block() -> npt.NDArray[np.uint8]:
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, :, :18] = LIVER
    return labels


def seeing(value: int, radius: float, center: tuple[int, ...] = CENTER) -> npt.NDArray[np.uint8]:
    labels = block()
    labels[ball(SHAPE, center, radius)] = value
    return labels


def alternatives_of(segmented: Segmented, ct: Geometry | None = None) -> tuple[Alternative, ...]:
    return find_alternatives(segmented, ct or segmented.grid.geometry, BOX, np.array([CENTER]))


def region_with(alternatives: tuple[Alternative, ...]) -> FoundRegion:
    return FoundRegion(
        1,
        BOX,
        center_ras=(0.0, 0.0, 0.0),
        score=0.5,
        structures=("liver",),
        size_voxels=1,
        size_mm3=8.0,
        votes={},
        alternatives=alternatives,
    )


def test_members_that_nearly_agree_are_one_alternative_and_most_votes_come_first() -> None:
    almost = seeing(KIDNEY, 5)
    almost[15, 15, 17] = LIVER
    votes = [block(), seeing(SPLEEN, 5), seeing(KIDNEY, 5), almost, seeing(KIDNEY, 5)]
    found = alternatives_of(segmented_from(votes, geometry_of(SHAPE, 2.0)))
    assert [(a.votes, a.members) for a in found] == [(3, ("fold 2", "fold 3", "fold 4")), (1, ("fold 1",))]
    assert [set(a.gains) for a in found] == [{"kidney"}, {"spleen"}]


def test_the_labels_as_they_are_are_no_alternative() -> None:
    nearly = block()
    nearly[15, 15, 18] = LIVER
    votes = [block(), block(), nearly]
    assert alternatives_of(segmented_from(votes, geometry_of(SHAPE, 2.0))) == ()
    assert alternatives_of(segmented_from([block()], geometry_of(SHAPE, 2.0))) == ()


def test_two_sizes_of_the_same_opinion_are_two_alternatives() -> None:
    votes = [block(), seeing(KIDNEY, 5), seeing(KIDNEY, 3)]
    found = alternatives_of(segmented_from(votes, geometry_of(SHAPE, 2.0)))
    assert [a.votes for a in found] == [1, 1]


def test_only_disagreement_that_hangs_together_with_the_core_is_taken() -> None:
    vote = seeing(KIDNEY, 3)
    vote[ball(SHAPE, (8, 8, 20), 2)] = SPLEEN
    segmented = segmented_from([block(), vote], geometry_of(SHAPE, 2.0))
    (taken,) = alternatives_of(segmented)
    expected = ball(SHAPE, CENTER, 3)[5:25, 5:25, 5:25]
    np.testing.assert_array_equal(taken.changed, expected)
    assert {name: amount.voxels for name, amount in taken.loses.items()} == {"liver": expected.sum()}


def test_disagreement_outside_of_the_box_is_left_alone() -> None:
    vote = block()
    vote[2:16, 14:17, 11:14] = KIDNEY
    segmented = segmented_from([block(), vote], geometry_of(SHAPE, 2.0))
    (taken,) = alternatives_of(segmented)
    result = apply_alternative(segmented.labels, region_with((taken,)))
    np.testing.assert_array_equal(result[5:], vote[5:])
    np.testing.assert_array_equal(result[:5], segmented.labels[:5])


def test_what_it_gains_and_loses_is_what_taking_it_changes() -> None:
    vote = seeing(KIDNEY, 5, (15, 15, 16))
    segmented = segmented_from([block(), vote], geometry_of(SHAPE, 2.0))
    (taken,) = alternatives_of(segmented)
    before = segmented.labels.copy()
    after = apply_alternative(segmented.labels, region_with((taken,)))
    np.testing.assert_array_equal(segmented.labels, before)
    gained, lost = taken.gains["kidney"], taken.loses["liver"]
    assert set(taken.gains) | set(taken.loses) == {"kidney", "liver"}
    assert gained.voxels == ((after == KIDNEY) & (before != KIDNEY)).sum()
    assert lost.voxels == ((before == LIVER) & (after != LIVER)).sum()
    assert to_json(taken)["gains"]["kidney"] == {"voxels": gained.voxels, "mm3": gained.voxels * 8.0}
    assert taken.summary == f"1 member: + {gained.mm3 / 1000:.3g} mL kidney, - 2.94 mL liver"


def test_a_smooth_label_map_keeps_its_own_surface_where_members_agree() -> None:
    """The CT's labels were resampled class-wise; nearest neighbour would put the network's steps back."""
    coarse = geometry_of(SHAPE, 3.0)
    organ = np.where(ball(SHAPE, (15, 15, 12), 9), LIVER, 0).astype(np.uint8)
    vote = organ.copy()
    vote[ball(SHAPE, (15, 15, 12), 4)] = KIDNEY
    matrix = coarse.ijk_to_ras.copy()
    matrix[:3, :3] /= 3
    matrix[:3, 3] -= 1.0
    fine = Geometry.from_ijk_to_ras(matrix, (90, 90, 90))
    smooth = np.where(zoom((organ > 0).astype(np.float32), 3, order=1, grid_mode=True, mode="nearest") > 0.5, LIVER, 0)
    steps = organ.repeat(3, 0).repeat(3, 1).repeat(3, 2)
    assert (smooth != steps).sum() > 1000
    segmented = replace(segmented_from([organ, vote], coarse), labels=smooth.astype(np.uint8))
    box = ((9, 81), (9, 81), (3, 75))
    (taken,) = find_alternatives(segmented, fine, box, np.array([CENTER]))
    region = replace(region_with((taken,)), box_kji=box)
    after = apply_alternative(segmented.labels, region)
    changed = after != smooth
    np.testing.assert_array_equal(changed, (vote != organ).repeat(3, 0).repeat(3, 1).repeat(3, 2))
    assert set(after[changed]) == {KIDNEY}


def test_a_member_that_does_not_vote_everywhere_changes_nothing_where_one_is_missing() -> None:
    voting = np.full(SHAPE, 2, np.uint8)
    voting[:15] = 1
    segmented = segmented_from([block(), seeing(KIDNEY, 5)], geometry_of(SHAPE, 2.0), voting=voting)
    (taken,) = alternatives_of(segmented)
    assert not taken.changed[:10].any()
    assert taken.changed[10:].any()


def test_every_alternative_of_a_found_region_touches_its_core() -> None:
    votes = [block(), seeing(KIDNEY, 4), seeing(SPLEEN, 5), block()]
    segmented = segmented_from(votes, geometry_of(SHAPE, 2.0))
    (region,) = find_regions(segmented, segmented.grid.geometry, body_mm3=4e6)
    assert len(region.alternatives) == 2
    for index in range(2):
        after = apply_alternative(segmented.labels, region, index)
        assert after[CENTER] != LIVER
        member = int(region.alternatives[index].members[0].removeprefix("fold "))
        np.testing.assert_array_equal(after, votes[member])


def test_what_is_not_there_cannot_be_taken() -> None:
    segmented = segmented_from([block(), seeing(KIDNEY, 4)], geometry_of(SHAPE, 2.0))
    region = region_with(alternatives_of(segmented))
    for index in (1, -1):
        with pytest.raises(InputError, match="1 alternatives"):
            apply_alternative(segmented.labels, region, index)
    with pytest.raises(InputError, match="shape"):
        apply_alternative(np.zeros((10, 10, 10), np.uint8), region)

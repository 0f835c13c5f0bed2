"""The rule: only what all members surely see otherwise changes, and only of structures on which they agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dataset_cases import IGNORE, KIDNEY, LIVER, SCHEMA, SPLEEN, all_orientations
from simulated_votes import SCHEMA as MODEL
from simulated_votes import geometry_of, segmented_from

from activeseg.candidates.proposers import proposal_of
from activeseg.candidates.refining import judged
from activeseg.candidates.rule import Proposal, Rule, refined
from activeseg.core.correction import RegionReason, RegionState
from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.review.label_differences import find_differences
from activeseg.review.regions import apply_alternative

SHAPE = (12, 14, 16)
GRID = geometry_of(SHAPE, 2.0)
CUBE, BESIDE = np.s_[2:8, 2:8, 2:8], np.s_[2:8, 2:8, 8:12]
AGREED = {"liver": 0.95, "spleen": 0.95, "kidney": 0.95}


def with_cube(value: int, at=CUBE) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[at] = value
    return labels


def proposal(labels: np.ndarray, sure: bool = True, **agreement: float | None) -> Proposal:
    return Proposal(labels, np.full(SHAPE, sure), {**AGREED, **agreement}, 4, 2.0)


# Which voxels change


def test_what_all_members_surely_see_otherwise_changes_and_nothing_is_left_to_review():
    old = with_cube(LIVER)
    after = refined(old, proposal(with_cube(SPLEEN, BESIDE)), SCHEMA)
    assert np.array_equal(after.labels, with_cube(SPLEEN, BESIDE))
    assert not after.differs.any()
    assert np.array_equal(old, with_cube(LIVER)), "the old label map stays as it is"


@pytest.mark.parametrize("doubt", [{"sure": False}, {"spleen": 0.85}, {"spleen": None}, {"liver": 0.5}])
def test_without_certainty_or_agreement_it_only_differs(doubt):
    old = with_cube(LIVER)
    after = refined(old, proposal(with_cube(SPLEEN), **doubt), SCHEMA)
    assert np.array_equal(after.labels, old)
    assert np.array_equal(after.differs, old > 0)


def test_only_structures_whose_members_agree_are_named_as_agreeing():
    after = refined(with_cube(LIVER), proposal(with_cube(LIVER), spleen=0.2, kidney=None), SCHEMA)
    assert after.agreeing == ("liver",)


def test_a_structure_that_was_not_looked_for_keeps_its_voxels_and_is_in_the_way_of_others():
    old = with_cube(KIDNEY)
    found = Proposal(
        with_cube(LIVER, BESIDE) + with_cube(LIVER, np.s_[2:4, 2:8, 2:8]), np.ones(SHAPE, bool), {"liver": 0.9}, 4, 2.0
    )
    after = refined(old, found, SCHEMA)
    assert np.array_equal(after.labels[CUBE], old[CUBE])
    assert (after.labels[BESIDE] == LIVER).all()
    assert np.array_equal(np.argwhere(after.differs), np.argwhere(with_cube(1, np.s_[2:4, 2:8, 2:8])))


def test_ignored_voxels_stay_ignored_and_differ_from_nothing():
    old = with_cube(IGNORE)
    after = refined(old, proposal(with_cube(LIVER)), SCHEMA)
    assert np.array_equal(after.labels, old)
    assert not after.differs.any()


def test_a_structure_that_no_member_found_is_listed_and_not_removed():
    after = refined(with_cube(LIVER), proposal(np.zeros(SHAPE, np.uint8), liver=None), SCHEMA)
    assert (after.labels[CUBE] == LIVER).all()
    assert after.differs[CUBE].all()


def test_nothing_changes_where_both_are_the_same():
    after = refined(with_cube(LIVER), proposal(with_cube(LIVER)), SCHEMA)
    assert not after.differs.any()
    assert np.array_equal(after.labels, with_cube(LIVER))


# What members say


def test_structures_are_matched_by_their_names_and_others_are_background():
    vote = np.zeros(SHAPE, np.uint8)
    vote[CUBE], vote[BESIDE] = MODEL.named("kidney").value, MODEL.named("aorta").value
    found = proposal_of(segmented_from([vote] * 3, GRID), GRID, SCHEMA, ("liver", "kidney"))
    assert np.array_equal(found.labels, with_cube(KIDNEY))
    assert found.agreement == {"liver": None, "kidney": 1.0}
    assert found.sure.all()
    assert found.members == 3


def test_one_member_that_disagrees_takes_the_certainty_where_it_does():
    vote, other = with_cube(1), with_cube(1, np.s_[2:8, 2:8, 2:7])
    found = proposal_of(segmented_from([vote, vote, vote, other], GRID), GRID, SCHEMA, ("liver",))
    assert np.array_equal(~found.sure, with_cube(1, np.s_[2:8, 2:8, 7:8]) > 0)
    assert 0.9 < found.agreement["liver"] < 1


def test_an_entropy_that_leaves_room_for_a_lower_probability_is_no_certainty():
    vote = with_cube(1)
    segmented = segmented_from([vote] * 4, GRID)
    entropy = np.zeros(SHAPE, np.float32)
    share = np.linspace(0.5, 0.999, SHAPE[2])  # two classes: p and 1 - p
    entropy[:] = -(share * np.log(share) + (1 - share) * np.log(1 - share)) / segmented.grid.entropy_bound
    entropy[0, 0, :] = np.nan
    told = replace(segmented, grid=replace(segmented.grid, entropy=entropy))
    found = proposal_of(told, GRID, SCHEMA, ("liver",), Rule(least_probability=0.9))
    assert np.array_equal(found.sure[1, 1], share > 0.9)
    assert not found.sure[0, 0].any(), "what was not computed is not sure"


def test_where_not_all_members_vote_nothing_is_sure():
    segmented = segmented_from([with_cube(1)] * 3, GRID)
    voting = np.full(SHAPE, 3, np.uint8)
    voting[:4] = 2
    told = replace(segmented, grid=replace(segmented.grid, voting=voting))
    found = proposal_of(told, GRID, SCHEMA, ("liver",))
    assert np.array_equal(found.sure, voting == 3)


@pytest.mark.parametrize("ct", [*all_orientations()])
def test_votes_reach_a_ct_of_any_orientation(ct: Geometry):
    coarse = ct.canonical()
    vote = np.zeros(coarse.shape_kji, np.uint8)
    vote[1:4, 2:5, 3:6] = 1
    on_ct = Volume(vote, coarse).resample_labels_to(ct).array
    segmented = replace(segmented_from([vote] * 2, coarse), labels=on_ct)
    found = proposal_of(segmented, ct, SCHEMA, ("liver",))
    assert np.array_equal(found.labels, on_ct)
    assert found.sure.all()


def test_beyond_the_networks_grid_nothing_is_sure():
    ct = geometry_of((20, 14, 16), 2.0)
    labels = np.zeros(ct.shape_kji, np.uint8)
    labels[:12] = with_cube(1)
    found = proposal_of(replace(segmented_from([with_cube(1)] * 2, GRID), labels=labels), ct, SCHEMA, ("liver",))
    assert found.sure[:12].all()
    assert not found.sure[12:].any()


def test_a_single_member_changes_nothing_and_says_so():
    found = proposal_of(segmented_from([with_cube(1)], GRID), GRID, SCHEMA, ("liver",))
    candidate = judged(found, "rules", Volume(np.zeros(SHAPE, np.uint8), GRID), SCHEMA, Rule())
    assert not candidate.labels.array.any()
    assert len(candidate.regions) == 1
    assert "no second member" in candidate.sentence()


# The list


def listed(labels: np.ndarray, proposed: np.ndarray, grid: Geometry = GRID, **how: float):
    return find_differences(labels, proposed, labels != proposed, grid, SCHEMA, "demo", **how)


def test_differences_are_listed_largest_first_with_the_proposal_to_take():
    old = with_cube(LIVER)
    new = with_cube(LIVER)
    new[2:8, 2:8, 2:4] = 0
    new[9:11, 10:12, 12:14] = SPLEEN
    found = listed(old, new)
    assert [region.number for region in found.regions] == [1, 2]
    assert [region.size_voxels for region in found.regions] == [72, 8]
    assert [region.structures for region in found.regions] == [("liver",), ("spleen",)]
    assert {region.reason for region in found.regions} == {RegionReason.LABELS_DIFFER}
    assert {region.state for region in found.regions} == {RegionState.OPEN}
    taken = old
    for region in found.regions:
        assert [(a.votes, a.members) for a in region.alternatives] == [(0, ("demo",))]
        taken = apply_alternative(taken, region)
    assert np.array_equal(taken, new)
    assert found.regions[0].alternatives[0].summary == "demo: - 0.576 mL liver"
    assert found.not_listed == 0


def test_what_is_not_thicker_than_the_resolution_is_counted_and_not_listed():
    old, new = with_cube(LIVER), with_cube(LIVER)
    new[2:8, 2:8, 8] = LIVER
    assert listed(old, new, resolution_mm=1.9).regions
    found = listed(old, new, resolution_mm=2.0)
    assert found.regions == ()
    assert found.not_listed == 36


def test_a_large_difference_is_cut_into_boxes_that_do_not_overlap_and_hold_all_of_it():
    grid = geometry_of((60, 50, 40), 3.0)
    old, new = np.zeros(grid.shape_kji, np.uint8), np.zeros(grid.shape_kji, np.uint8)
    new[5:55, 5:45, 5:35] = LIVER
    new[8:12, 8:12, 8:12] = SPLEEN
    found = listed(old, new, grid)
    times = np.zeros(grid.shape_kji, int)
    for region in found.regions:
        times[region.slices] += 1
        assert all(high - low <= 20 for low, high in region.box_kji)
        k, j, i = np.rint(grid.ijk_of_ras(region.center_ras))[::-1].astype(int)
        assert new[k, j, i]
        assert all(low <= at < high for (low, high), at in zip(region.box_kji, (k, j, i), strict=True))
    assert times.max() == 1
    assert found.not_listed == int((new > 0)[times == 0].sum())
    assert found.not_listed <= 0.02 * (new > 0).sum()


def test_there_are_no_more_regions_than_wanted_and_the_rest_is_counted():
    new = np.zeros(SHAPE, np.uint8)
    new[1:3, 1:3, 1:3], new[9:11, 10:12, 12:14], new[1:3, 10:12, 12:15] = LIVER, LIVER, LIVER
    found = listed(np.zeros(SHAPE, np.uint8), new, most=1)
    assert [region.size_voxels for region in found.regions] == [12]
    assert found.not_listed == 16


def test_nothing_that_differs_is_no_region():
    assert listed(with_cube(LIVER), with_cube(LIVER)).regions == ()


def test_a_proposal_for_a_schema_with_one_structure_is_as_any_other():
    only = LabelSchema.from_names(["liver"])
    found = proposal_of(segmented_from([with_cube(1)] * 2, GRID), GRID, only, ("liver",))
    candidate = judged(found, "demo", Volume(np.zeros(SHAPE, np.uint8), GRID), only, Rule())
    assert np.array_equal(candidate.labels.array, with_cube(1))
    assert candidate.correction.annotator == "machine"
    assert [change.voxels_added for change in candidate.correction.structures] == [216]

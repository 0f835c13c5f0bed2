"""A prompt changes what it is about, and nothing that it may not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from prompted_case import FOUND, IGNORE, ISLAND, LIVER, MISSED, NEIGHBOUR, NOWHERE, SPLEEN, Prompted, grid, prompted

from activeseg.core.errors import InputError
from activeseg.core.geometry import Box, slices_of
from activeseg.core.prompt import Prompt, PromptKind
from activeseg.refiners.choosing import available, refiner_named
from activeseg.review.alternatives import Alternative

LEFT = {"walker": 0.55, "features": 0.4}
"""Refiner -> what part of the wrong voxels may be left after one click at most."""
NAMES = tuple(LEFT)
OBLIQUE = [[0.9848, -0.1736, 0], [0.1736, 0.9848, 0], [0, 0, 1]]


def answered(given: Prompted, name: str, *prompts: Prompt, box: Box | None = None) -> Alternative:
    box = box or given.box
    return refiner_named(name, given.case).refine(given.case, given.labels[slices_of(box)], box, prompts)


@pytest.fixture(scope="module")
def patient() -> Prompted:
    return prompted()


@pytest.mark.parametrize("name", NAMES)
class TestEveryRefiner:
    def test_a_click_gains_the_part_that_the_model_missed(self, patient: Prompted, name: str) -> None:
        found = answered(patient, name, patient.prompt(MISSED))
        assert patient.wrong(found.labels) < LEFT[name] * patient.wrong(patient.labels)
        assert set(np.unique(found.labels[found.changed])) == {LIVER}
        assert (found.members, found.votes) == ((name,), 0)
        assert list(found.gains) == ["liver"]
        assert found.summary.startswith(f"{name}: + ")

    def test_nothing_but_background_and_the_structure_changes(self, patient: Prompted, name: str) -> None:
        found = answered(patient, name, patient.prompt(MISSED))
        assert found.changed.any()
        assert not (found.changed & (patient.labels == SPLEEN)).any()
        assert np.array_equal(found.labels[~found.changed], patient.labels[~found.changed])

    def test_a_click_on_another_structure_says_that_it_is_wrong_there(self, patient: Prompted, name: str) -> None:
        found = answered(patient, name, patient.prompt(NEIGHBOUR))
        assert found.labels[patient.voxel(NEIGHBOUR)] == LIVER
        assert (found.changed & (patient.labels == SPLEEN)).any()
        assert "spleen" in found.loses

    def test_not_this_removes_the_piece_around_the_click(self, patient: Prompted, name: str) -> None:
        found = answered(patient, name, patient.prompt(ISLAND, include=False))
        assert set(np.unique(found.labels[found.changed])) == {0}
        island = np.linalg.norm(np.argwhere(found.changed) * 2.0 - np.array(patient.voxel(ISLAND)) * 2.0, axis=1)
        assert island.max() < 10
        assert found.changed.sum() > 0.4 * (4 / 3 * np.pi * 6**3) / 8
        assert found.labels[patient.voxel(FOUND)] == LIVER

    def test_what_was_clicked_is_as_told_whatever_the_model_says(self, patient: Prompted, name: str) -> None:
        for place, include in ((NOWHERE, True), (FOUND, False)):
            found = answered(patient, name, patient.prompt(place, include=include))
            assert found.labels[patient.voxel(place)] == (LIVER if include else 0)

    def test_earlier_prompts_stay_satisfied(self, patient: Prompted, name: str) -> None:
        edge = patient.prompt((0, 14, 0), include=False)
        found = answered(patient, name, edge, patient.prompt((8, 4, 0)), patient.prompt(MISSED))
        assert found.labels[patient.voxel((0, 14, 0))] == 0
        assert found.labels[patient.voxel(MISSED)] == found.labels[patient.voxel((8, 4, 0))] == LIVER

    def test_an_answer_does_not_undo_the_one_before(self, patient: Prompted, name: str) -> None:
        no, yes = patient.prompt(ISLAND, include=False), patient.prompt(MISSED)
        first = answered(patient, name, no)
        second = answered(replace(patient, labels=first.labels), name, no, yes)
        assert not (second.labels[first.changed] == LIVER).any()
        assert patient.wrong(second.labels) < patient.wrong(first.labels) < patient.wrong(patient.labels)

    def test_the_later_of_two_prompts_at_one_place_counts(self, patient: Prompted, name: str) -> None:
        yes, no = patient.prompt(MISSED), patient.prompt(MISSED, include=False)
        assert answered(patient, name, no, yes).labels[patient.voxel(MISSED)] == LIVER
        assert answered(patient, name, yes, no).labels[patient.voxel(MISSED)] == 0

    def test_a_place_of_another_structure_is_not_taken(self, patient: Prompted, name: str) -> None:
        spleen = patient.prompt((4, 8, 0), structure="spleen")
        found = answered(patient, name, spleen, patient.prompt(MISSED))
        assert found.labels[patient.voxel((4, 8, 0))] == 0

    def test_nothing_outside_of_the_box_changes(self, patient: Prompted, name: str) -> None:
        box = ((10, 24), (12, 26), (8, 22))
        found = answered(patient, name, patient.prompt(MISSED), box=box)
        assert found.labels.shape == found.changed.shape == (14, 14, 14)
        assert found.changed.any()

    def test_a_scribble_is_the_structure_along_its_line(self, patient: Prompted, name: str) -> None:
        line = patient.prompt((-9, 6, 0), (0, 12, 0), (9, 6, 0), kind=PromptKind.SCRIBBLE)
        found = answered(patient, name, line)
        assert (found.labels[tuple(line.voxels_kji().T)] == LIVER).all()
        assert patient.wrong(found.labels) < LEFT[name] * patient.wrong(patient.labels)

    def test_a_lasso_bounds_the_change_in_its_slice_and_beside_it(self, patient: Prompted, name: str) -> None:
        corners = [(-8, 0, 0), (8, 0, 0), (8, 12, 0), (-8, 12, 0)]
        lasso = patient.prompt(*corners, kind=PromptKind.LASSO)
        found = answered(patient, name, lasso)
        k, j, i = np.argwhere(found.changed).T
        (lasso_k, _), (j0, j1), (i0, i1) = lasso.box_kji
        assert j0 <= j.min() <= j.max() < j1
        assert i0 <= i.min() <= i.max() < i1
        assert 0 < (np.abs(k - lasso_k) * 2).max() <= 8
        assert patient.wrong(found.labels) < patient.wrong(patient.labels)

    def test_a_box_bounds_the_change(self, patient: Prompted, name: str) -> None:
        prompt = patient.prompt((-10, -1, -10), (10, 14, 10), kind=PromptKind.BOX)
        found = answered(patient, name, prompt)
        inside = np.zeros(found.changed.shape, bool)
        inside[slices_of(prompt.box_kji)] = True
        assert found.changed.any()
        assert not (found.changed & ~inside).any()
        assert patient.wrong(found.labels) < 0.6 * patient.wrong(patient.labels)

    def test_not_this_with_a_lasso_or_a_box_empties_it(self, patient: Prompted, name: str) -> None:
        corners = [(-34, -8, 0), (-18, -8, 0), (-18, 8, 0), (-34, 8, 0)]
        lasso = patient.prompt(*corners, kind=PromptKind.LASSO, include=False)
        box = patient.prompt((-34, -8, -8), (-18, 8, 8), kind=PromptKind.BOX, include=False)
        for prompt in (lasso, box):
            found = answered(patient, name, prompt)
            assert not (found.labels[tuple(prompt.voxels_kji().T)] == LIVER).any()
            assert found.changed.any()

    def test_voxels_that_are_ignored_stay_so(self, patient: Prompted, name: str) -> None:
        labels = patient.labels.copy()
        labels[patient.voxel(MISSED)[0]] = IGNORE
        found = answered(replace(patient, labels=labels), name, patient.prompt(MISSED))
        assert np.array_equal(found.labels == IGNORE, labels == IGNORE)

    def test_the_same_again_gives_the_same_and_leaves_what_it_was_given(self, patient: Prompted, name: str) -> None:
        before = patient.labels.copy()
        first, second = (answered(patient, name, patient.prompt(MISSED)) for _ in range(2))
        assert np.array_equal(first.labels, second.labels)
        assert np.array_equal(patient.labels, before)

    @pytest.mark.parametrize(
        ("spacing", "turn"),
        [
            ((2, 2, 2), np.diag([-1, -1, 1])),
            ((2, 2, 2), OBLIQUE),
            ((1.5, 1.5, 4), None),
            ((2, 4, 2), np.eye(3)[[2, 0, 1]]),
        ],
        ids=["flipped", "oblique", "thick slices", "axes swapped"],
    )
    def test_every_grid_gives_nearly_the_same(self, patient: Prompted, name: str, spacing: tuple, turn: object) -> None:
        there = prompted(grid(spacing, turn))
        here = answered(patient, name, patient.prompt(MISSED))
        found = answered(there, name, there.prompt(MISSED))
        gained = [one.gains["liver"].mm3 for one in (here, found)]
        assert gained[1] == pytest.approx(gained[0], rel=0.2)
        assert there.wrong(found.labels) < LEFT[name] * there.wrong(there.labels)

    def test_votes_that_cover_a_part_of_the_ct_are_enough(self, name: str) -> None:
        given = prompted(votes=grid((3, 3, 3), half=18.0))
        found = answered(given, name, given.prompt(MISSED))
        assert given.wrong(found.labels) < 0.6 * given.wrong(given.labels)

    def test_a_lone_member_is_enough(self, name: str) -> None:
        given = prompted(members=1)
        found = answered(given, name, given.prompt(MISSED))
        assert given.wrong(found.labels) < LEFT[name] * given.wrong(given.labels)

    def test_prompts_at_the_edge_of_the_ct_and_boxes_of_one_slice_work(self, patient: Prompted, name: str) -> None:
        corner = Prompt(PromptKind.POINT, "liver", ((0, 0, 0),))
        assert answered(patient, name, corner).labels[0, 0, 0] == LIVER
        k, j, i = patient.voxel(MISSED)
        thin = ((k, k + 1), (8, 30), (8, 30))
        found = answered(patient, name, patient.prompt(MISSED), box=thin)
        assert found.labels[0, j - 8, i - 8] == LIVER
        assert answered(patient, name, patient.prompt(MISSED), box=((k, k + 1), (j, j + 1), (i, i + 1))).changed.all()

    def test_a_wide_box_is_looked_at_more_coarsely_with_nearly_the_same_answer(
        self, patient: Prompted, name: str
    ) -> None:
        fine = prompted(grid((0.6, 0.6, 0.6)))
        found = answered(fine, name, fine.prompt(MISSED))
        expected = answered(patient, name, patient.prompt(MISSED)).gains["liver"].mm3
        assert found.gains["liver"].mm3 == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("name", NAMES)
def test_a_box_around_two_voxels_of_other_density_is_answered(name: str) -> None:
    """Half way between them there is no voxel at all."""
    coarse = prompted(grid((6, 6, 6)), noise=0.0)
    edge = (3, 15, 3), (3, 21, 3)
    found = answered(coarse, name, coarse.prompt(*edge, kind=PromptKind.BOX))
    assert {*np.unique(found.labels[found.changed])} <= {LIVER}


def test_what_cannot_be_asked_is_refused_before_anything_large_is_made(patient: Prompted) -> None:
    walker = refiner_named("walker", patient.case)
    far = 900_000
    hostile = Prompt(PromptKind.BOX, "liver", ((0, 0, 0), (far, far, far)))
    box = ((0, 10), (0, 10), (0, 10))
    labels = patient.labels[slices_of(box)]
    inside = Prompt(PromptKind.POINT, "liver", ((5, 5, 5),))
    for prompts, sentence in (
        ((inside, hostile), "outside"),
        ((Prompt(PromptKind.POINT, "liver", ((5, 5, 10),)),), "outside"),
        ((replace(inside, structure="lever"),), "no structure 'lever'"),
        ((), "no prompt"),
    ):
        with pytest.raises(InputError, match=sentence):
            walker.refine(patient.case, labels, box, prompts)
    with pytest.raises(InputError, match="shape"):
        walker.refine(patient.case, labels[1:], box, (inside,))
    for bad in (((0, 10**9), (0, 10), (0, 10)), ((-1, 9), (0, 10), (0, 10)), ((5, 5), (0, 10), (0, 10))):
        with pytest.raises(InputError, match="no box of the CT"):
            walker.refine(patient.case, labels, bad, (inside,))


def test_parts_of_a_model_are_looked_at_together() -> None:
    given = prompted(parts=2)
    found = answered(given, "features", given.prompt(MISSED))
    assert given.wrong(found.labels) < LEFT["walker"] * given.wrong(given.labels)
    assert not (found.changed & (given.labels == SPLEEN)).any()


def test_a_model_without_features_is_refined_by_the_walker(patient: Prompted) -> None:
    plain = prompted(parts=0)
    assert available(plain.case) == ("walker",)
    assert available(patient.case)[0] == "features"
    assert refiner_named("auto", plain.case).name == "walker"
    assert refiner_named("auto", patient.case).name == "features"
    found = answered(plain, "auto", plain.prompt(MISSED))
    assert plain.wrong(found.labels) < LEFT["walker"] * plain.wrong(plain.labels)
    with pytest.raises(InputError, match="cannot answer"):
        refiner_named("features", plain.case)
    with pytest.raises(InputError, match="no refiner 'magic'"):
        refiner_named("magic", plain.case)


def test_a_case_on_the_grid_of_its_votes_needs_no_resampling() -> None:
    """As with thresholds in HU: the votes lie on the CT's own grid."""
    ct = grid((1.5, 1.5, 3))
    given = prompted(ct, votes=ct, parts=0, members=2)
    found = answered(given, "walker", given.prompt(MISSED))
    assert given.wrong(found.labels) < LEFT["walker"] * given.wrong(given.labels)

"""What was corrected is learned for the rest of the case, and what a person decided stays as it is."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from shifted_case import (
    KIDNEY,
    LIVER,
    NETWORK,
    SCHEMA,
    SHAPE,
    SPLEEN,
    TUMOUR,
    LabelMap,
    corrected,
    dice,
    on,
    outside,
    regions_on,
    shifted_case,
)

from activeseg.core.correction import RegionReview, RegionState
from activeseg.core.errors import Cancelled, InputError
from activeseg.core.geometry import Geometry
from activeseg.core.progress import Progress
from activeseg.refiners.spreading import Spread, spread

REGIONS = regions_on(NETWORK)


def taught(**changes: object) -> tuple[Spread, LabelMap]:
    case, truth = shifted_case(**changes)  # type: ignore[arg-type]
    regions = regions_on(case.geometry)
    return spread(corrected(case, truth, regions), regions), truth


def test_what_was_corrected_in_regions_is_corrected_in_the_rest_of_the_case() -> None:
    found, truth = taught()
    rest = outside(found.case, REGIONS)
    assert dice(found.case.labels, truth, SPLEEN, rest) < 0.2
    assert dice(found.labels(), truth, SPLEEN, rest) > 0.9
    assert found.offered
    assert found.expected_gain > 0.1
    assert found.regions_used == (1, 2, 3, 4)


def test_only_structures_move_that_the_person_moved() -> None:
    found, _ = taught()
    assert {change.name for change in found.changes} == {"liver", "spleen"}
    moved = found.labels() != found.case.labels
    assert set(found.case.labels[moved]) == {LIVER}
    assert set(found.labels()[moved]) == {SPLEEN}


def test_no_voxel_moves_alone() -> None:
    found, _ = taught()
    after = found.labels()
    spleen = np.pad(after == SPLEEN, 1, mode="edge")
    around = sum(np.roll(spleen, shift, (0, 1, 2)).astype(int) for shift in itertools.product((-1, 0, 1), repeat=3))
    alike = around[1:-1, 1:-1, 1:-1] - (after == SPLEEN)
    assert alike[after != found.case.labels].min() >= 9


def test_changes_are_counted_in_voxels_and_mm3() -> None:
    found, _ = taught()
    moved = int((found.labels() != found.case.labels).sum())
    gained, lost = (next(c for c in found.changes if c.name == name) for name in ("spleen", "liver"))
    assert (gained.voxels_gained, gained.voxels_lost) == (moved, 0)
    assert (lost.voxels_gained, lost.voxels_lost) == (0, moved)
    assert gained.mm3_gained == pytest.approx(27 * moved)


def test_reviewed_regions_and_edited_voxels_stay_as_they_are() -> None:
    case, truth = shifted_case()
    case = corrected(case, truth, REGIONS)
    case.labels[14, :, :] = KIDNEY  # an edit between the regions, and a wrong one
    rest = outside(case, REGIONS)
    found = spread(case, REGIONS)
    assert found.offered
    after = found.labels()
    assert (after[~rest] == case.labels[~rest]).all()
    assert (after[14] == KIDNEY).all()
    assert {change.name for change in found.changes} == {"liver", "spleen"}  # an edit alone teaches nothing


def test_an_accepted_region_is_learned_from_and_does_not_change() -> None:
    case, truth = shifted_case()
    accepted = RegionReview(9, ((26, 30), (0, 16), (18, 34)), RegionState.ACCEPTED)
    skipped = RegionReview(10, ((13, 15), (0, 16), (0, 36)), RegionState.SKIPPED)
    found = spread(corrected(case, truth, REGIONS), [*REGIONS, accepted, skipped])
    assert found.regions_used == (1, 2, 3, 4, 9)
    assert (found.labels()[accepted.slices] == case.labels[accepted.slices]).all()
    assert (found.labels()[skipped.slices] != case.labels[skipped.slices]).any()


def test_voxels_that_are_ignored_or_of_an_unknown_structure_teach_nothing_and_stay() -> None:
    case, truth = shifted_case()
    case = corrected(case, truth, REGIONS)
    case.labels[:15, :2, :] = SCHEMA.ignore_value
    case.labels[15:, :2, :] = TUMOUR
    found = spread(case, REGIONS)
    assert found.offered
    assert (found.labels()[:15, :2] == SCHEMA.ignore_value).all()
    assert (found.labels()[15:, :2] == TUMOUR).all()
    assert {change.name for change in found.changes} == {"liver", "spleen"}


def test_the_same_case_gives_the_same_proposal() -> None:
    first, second = taught()[0], taught()[0]
    assert first.expected_gain == second.expected_gain
    assert (first.labels() == second.labels()).all()


def test_chosen_structures_alone_can_be_taken() -> None:
    found, _ = taught()
    assert (found.labels(["spleen"]) == found.labels()).all()  # liver that becomes spleen is the spleen's
    assert (found.labels(["liver", "kidney"]) == found.case.labels).all()
    with pytest.raises(InputError, match="no structure 'lung'"):
        found.labels(["lung"])


def random_labels(true: LabelMap) -> LabelMap:
    return np.random.default_rng(3).integers(0, 4, true.shape).astype(true.dtype)


def lower_planes_as_kidney(true: LabelMap) -> LabelMap:
    """A person who draws by where things are, which the image does not show."""
    drawn = true.copy()
    drawn[: len(true) // 2] = KIDNEY
    return drawn


@pytest.mark.parametrize("person", [random_labels, lower_planes_as_kidney])
def test_corrections_that_the_image_does_not_explain_are_not_spread(person) -> None:
    case, truth = shifted_case()
    right = truth.copy()
    case = replace(case, predicted=right, labels=right.copy())
    found = spread(corrected(case, truth, REGIONS, person), REGIONS)
    assert not found.offered
    assert "the rest of the case" in found.why
    assert ("at least" in found.why) == (found.expected_gain > 0), "a rise is told with the one that is needed"
    assert found.changes == ()
    assert (found.labels() == found.case.labels).all()


def test_fewer_than_three_reviewed_regions_are_refused() -> None:
    case, truth = shifted_case()
    still_open = [replace(region, state=RegionState.OPEN) for region in REGIONS[2:]]
    with pytest.raises(InputError, match="from 3 reviewed regions on; this case has 2"):
        spread(corrected(case, truth, REGIONS), [*REGIONS[:2], *still_open])


def test_a_case_in_which_nothing_was_corrected_is_refused() -> None:
    case, _ = shifted_case()
    with pytest.raises(InputError, match="Nothing that the model knows was corrected"):
        spread(case, REGIONS)


def test_a_model_without_features_is_refused() -> None:
    case, truth = shifted_case()
    case = corrected(case, truth, REGIONS)
    with pytest.raises(InputError, match="cannot be spread in this case"):
        spread(replace(case, votes=replace(case.votes, features=())), REGIONS)


def test_of_two_part_models_only_the_one_whose_structures_were_corrected_learns() -> None:
    found, truth = taught(parts=((0, LIVER, SPLEEN), (0, KIDNEY)))
    assert found.terms[0] is not None
    assert found.terms[1] is None
    assert dice(found.labels(), truth, SPLEEN, outside(found.case, REGIONS)) > 0.9


def test_one_member_alone_is_held_more_strongly_and_learns_a_part() -> None:
    found, truth = taught(members=1)
    rest = outside(found.case, REGIONS)
    before, after = dice(found.case.labels, truth, SPLEEN, rest), dice(found.labels(), truth, SPLEEN, rest)
    assert before + 0.2 < after < dice(taught()[0].labels(), truth, SPLEEN, rest)


def test_a_ct_stored_the_other_way_round_changes_at_the_same_places() -> None:
    straight, _ = taught()
    turned = Geometry.from_ijk_to_ras(
        [[0, 0, -3, 3 * (SHAPE[2] - 1)], [0, 3, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1]], (SHAPE[2], SHAPE[1], SHAPE[0])
    )
    found, truth = taught(geometry=turned)
    assert found.case.labels.shape != straight.case.labels.shape
    assert dice(found.labels(), truth, SPLEEN, outside(found.case, regions_on(turned))) > 0.9
    assert np.mean(on(turned, straight.labels()) != found.labels()) < 0.005  # other voxels are drawn


@pytest.mark.parametrize("name", ["oblique", "thick slices", "finer", "larger than the network's grid"])
def test_a_ct_on_another_grid_is_corrected_and_not_changed_by_the_way_there(name: str) -> None:
    angle = np.deg2rad(20)
    matrices = {
        "oblique": (np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]) * 3),
        "thick slices": np.diag([2.0, 2.0, 5.0]),
        "finer": np.diag([1.5, 1.5, 1.5]),
        "larger than the network's grid": np.diag([3.0, 3.0, 3.0]),
    }
    matrix = np.eye(4)
    matrix[:3, :3] = matrices[name]
    shape = {"oblique": SHAPE, "thick slices": (18, 48, 54), "finer": (59, 63, 71)}.get(name, (38, 40, 44))
    matrix[:3, 3] = -12 if name.startswith("larger") else 0
    ct = Geometry.from_ijk_to_ras(matrix, shape)
    found, truth = taught(geometry=ct)
    rest = outside(found.case, regions_on(ct))
    inside = rest & (on(ct, np.ones(SHAPE, np.uint8)) > 0)
    assert found.offered
    assert dice(found.labels(), truth, SPLEEN, inside) > 0.8
    moved = found.labels() != found.case.labels
    assert not moved[~inside].any()
    assert set(found.case.labels[moved]) == {LIVER}
    assert set(found.labels()[moved]) == {SPLEEN}


def test_it_can_be_cancelled() -> None:
    case, truth = shifted_case()
    with pytest.raises(Cancelled):
        spread(corrected(case, truth, REGIONS), REGIONS, Progress(cancelled=lambda: True))

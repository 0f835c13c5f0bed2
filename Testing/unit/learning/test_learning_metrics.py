"""Scores against cubes that can be reckoned by hand, on voxels of unequal sides, where a person has looked."""

from __future__ import annotations

import itertools
import json

import numpy as np
import numpy.typing as npt
import pytest

from activeseg.core.errors import InputError
from activeseg.core.records import from_json, to_json
from activeseg.learning.measuring.metrics import LEAST_VOXELS, Reliability, Scores, reliability, structure_scores

SPACING = (2.5, 1.0, 0.5)
SHAPE = (12, 20, 24)
Array = npt.NDArray[np.uint8]


def cube(k: tuple[int, int], j: tuple[int, int], i: tuple[int, int], value: int = 1) -> Array:
    """A label map with one cube, given as spans."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[slice(*k), slice(*j), slice(*i)] = value
    return labels


def everywhere() -> npt.NDArray[np.bool_]:
    return np.ones(SHAPE, bool)


def scores(found: Array, truth: Array, seen: npt.NDArray[np.bool_] | None = None, value: int = 1) -> Scores:
    result = structure_scores(found, truth, everywhere() if seen is None else seen, value, SPACING)
    assert result is not None
    return result


def test_a_perfect_label_map_has_the_best_scores() -> None:
    truth = cube((3, 7), (4, 12), (5, 15))
    assert scores(truth, truth) == Scores(1.0, 1.0, 0.0, 0.0, 4 * 8 * 10)


def test_dice_and_volume_error_follow_from_the_counts() -> None:
    truth, found = cube((3, 7), (4, 12), (5, 15)), cube((3, 7), (4, 12), (5, 10))
    result = scores(found, truth)
    assert result.dice == pytest.approx(2 * 160 / (160 + 320))
    assert result.volume_error == pytest.approx(-0.5)
    assert result.voxels == 320


@pytest.mark.parametrize(
    ("axis", "steps", "near"), [(0, 1, False), (1, 1, True), (1, 2, True), (1, 3, False), (2, 4, True), (2, 5, False)]
)
def test_surfaces_are_near_by_millimetres_along_each_axis(axis: int, steps: int, near: bool) -> None:
    # A flat plate and its copy ``steps`` further along its normal, where they lie opposite each other.
    span = [(0, 1) if a == axis else (0, SHAPE[a]) for a in range(3)]
    moved = [(steps, steps + 1) if a == axis else span[a] for a in range(3)]
    result = scores(cube(*moved), cube(*span))
    assert result.hd95_mm == pytest.approx(steps * SPACING[axis])
    assert result.surface_dice == (1.0 if near else 0.0)
    assert result.dice == 0.0


def test_surface_dice_counts_voxels_of_both_surfaces() -> None:
    # One face lies two voxels of 2.5 mm further.
    truth, found = cube((3, 7), (4, 12), (5, 15)), cube((3, 9), (4, 12), (5, 15))
    surface_truth = 4 * 8 * 10 - 2 * 6 * 8
    surface_found = 6 * 8 * 10 - 4 * 6 * 8
    # Of the found surface: layer k=7 (a rim) and k=8 (a face); k=7 is 2.5 mm, k=8 5 mm from the truth's rim.
    far_found = (8 * 10 - 6 * 8) + 8 * 10
    # Of the truth's surface, the inner voxels of its last layer lie inside of the other, by their way to a rim or face.
    far_truth = sum(
        min(
            min(j + 1, 6 - j) * SPACING[1],  # to a side of the cube, j = 0..5 of the inner 6
            min(i + 1, 8 - i) * SPACING[2],
            2 * SPACING[0],
        )
        > 2.0
        for j, i in itertools.product(range(6), range(8))
    )
    result = scores(found, truth)
    total = surface_truth + surface_found
    assert result.surface_dice == pytest.approx((total - far_found - far_truth) / total)


def test_hd95_is_the_larger_of_both_directions() -> None:
    truth = cube((3, 7), (4, 12), (5, 15))
    found = truth.copy()
    found[3:7, 16:19, 5:15] = 1  # far from the truth, which itself lies near the found map
    assert scores(found, truth).hd95_mm == scores(truth, found).hd95_mm
    assert scores(found, truth).hd95_mm == pytest.approx(7.0)  # from j = 11 to 18: 40 of 328 voxels


def test_other_structures_do_not_matter() -> None:
    truth, found = cube((3, 7), (4, 12), (5, 15)), cube((3, 7), (4, 12), (5, 10))
    alone = scores(found, truth)
    found[found == 0] = 2
    truth[truth == 0] = 3
    assert scores(found, truth) == alone


def test_nothing_reviewed_is_not_measured() -> None:
    truth = cube((3, 7), (4, 12), (5, 15))
    assert structure_scores(truth, truth, np.zeros(SHAPE, bool), 1, SPACING) is None
    assert structure_scores(truth, truth, everywhere(), 2, SPACING) is None


def test_too_few_reviewed_voxels_are_not_measured() -> None:
    row = cube((3, 4), (4, 5), (2, 2 + LEAST_VOXELS))
    assert structure_scores(row, row, everywhere(), 1, SPACING) is not None
    seen = everywhere()
    seen[3, 4, 2] = False
    assert structure_scores(row, row, seen, 1, SPACING) is None


@pytest.mark.parametrize("missing", ["found", "truth"])
def test_a_structure_on_one_side_only_has_no_distance(missing: str) -> None:
    there, nothing = cube((3, 7), (4, 12), (5, 15)), np.zeros(SHAPE, np.uint8)
    result = scores(nothing, there) if missing == "found" else scores(there, nothing)
    assert (result.dice, result.surface_dice, result.hd95_mm) == (0.0, 0.0, None)
    assert result.volume_error == (-1.0 if missing == "found" else None)


def test_only_reviewed_voxels_count() -> None:
    truth, found = cube((3, 7), (4, 12), (5, 15)), cube((3, 7), (4, 12), (5, 15))
    found[:, :, 12:] = 1  # wrong, but nobody looked there
    seen = everywhere()
    seen[:, :, 12:] = False
    result = scores(found, truth, seen)
    assert result == Scores(1.0, 1.0, 0.0, 0.0, 4 * 8 * 7)


def test_where_nobody_looked_beyond_there_is_no_surface() -> None:
    # Both reach the border of what was reviewed; were that a surface, it would make up for the wrong one.
    truth, found = cube((3, 7), (4, 12), (5, 24)), cube((3, 7), (4, 12), (12, 24))
    seen = everywhere()
    seen[:, :, 14:] = False
    seen[:3], seen[7:], seen[:, :4], seen[:, 12:] = False, False, False, False
    result = scores(found, truth, seen)
    assert result.surface_dice == 0.0  # one face each, 7 voxels of 0.5 mm apart
    assert result.hd95_mm == pytest.approx(3.5)


def test_the_edge_of_the_image_is_a_surface() -> None:
    truth, found = cube((0, 12), (0, 20), (0, 24)), cube((0, 12), (0, 20), (0, 12))
    result = scores(found, truth)
    assert 0 < result.surface_dice < 1
    assert scores(truth, truth) == Scores(1.0, 1.0, 0.0, 0.0, truth.size)


def test_scores_and_calibration_come_back_from_json() -> None:
    for value in (Scores(0.5, 0.25, None, None, 30), Scores(1.0, 1.0, 0.5, -0.1, 99)):
        assert from_json(Scores, json.loads(json.dumps(to_json(value)))) == value
    for known in (Reliability(None, None, 0.0), Reliability(0.7, 0.3, 0.1)):
        assert from_json(Reliability, json.loads(json.dumps(to_json(known)))) == known


# Reliability


def by_pairs(uncertainty: npt.NDArray[np.float32], wrong: npt.NDArray[np.bool_]) -> float:
    """The share of all pairs of a wrong and a right voxel in which the wrong one is the more uncertain; ties half."""
    pairs = np.sign(uncertainty[wrong][:, None] - uncertainty[~wrong][None, :])
    return float((pairs + 1).mean() / 2)


@pytest.mark.parametrize("levels", [3, 1000])
def test_auroc_is_the_share_of_pairs_in_the_right_order(levels: int) -> None:
    random = np.random.default_rng(5)
    truth = random.integers(0, 3, (4, 6, 8)).astype(np.uint8)
    found = np.where(random.random(truth.shape) < 0.3, random.integers(0, 3, truth.shape), truth).astype(np.uint8)
    uncertainty = random.integers(0, levels, truth.shape).astype(np.float32) + 2 * (found != truth)
    result = reliability(found, truth, np.ones(truth.shape, bool), uncertainty, [])
    counts = (found > 0) | (truth > 0)
    assert result.auroc == pytest.approx(by_pairs(uncertainty[counts], (found != truth)[counts]))
    assert result.errors == pytest.approx((found != truth)[counts].mean())


def test_unreviewed_places_and_those_without_uncertainty_do_not_count() -> None:
    truth, found = cube((3, 7), (4, 12), (5, 15)), cube((3, 7), (4, 12), (6, 16))
    seen = everywhere()
    seen[:, :, 15:] = False  # the errors on that side were not seen
    uncertainty = np.where(found != truth, 1.0, 0.0).astype(np.float32)
    uncertainty[3] = np.nan
    result = reliability(found, truth, seen, uncertainty, [])
    assert result.auroc == 1.0
    assert result.errors == pytest.approx(32 / 320)


def test_covered_is_the_share_of_errors_in_any_of_the_boxes() -> None:
    truth, found = cube((3, 7), (4, 12), (5, 15)), cube((3, 7), (4, 12), (6, 16))
    left = (slice(0, 12), slice(0, 20), slice(5, 6))
    half = (slice(0, 12), slice(0, 8), slice(15, 16))
    zero = np.zeros(SHAPE, np.float32)
    assert reliability(found, truth, everywhere(), zero, []).covered == 0.0
    assert reliability(found, truth, everywhere(), zero, [left]).covered == 0.5
    assert reliability(found, truth, everywhere(), zero, [left, half, left]).covered == 0.75
    assert reliability(found, truth, everywhere(), zero, [left]).auroc == 0.5


def test_without_errors_or_foreground_nothing_is_said() -> None:
    truth, empty = cube((3, 7), (4, 12), (5, 15)), np.zeros(SHAPE, np.uint8)
    zero = np.zeros(SHAPE, np.float32)
    assert reliability(truth, truth, everywhere(), zero, []) == Reliability(None, None, 0.0)
    assert reliability(empty, empty, everywhere(), zero, []) == Reliability(None, None, 0.0)
    assert reliability(truth, truth, ~everywhere(), zero, []) == Reliability(None, None, 0.0)
    assert reliability(empty, truth, everywhere(), zero, []).auroc is None  # nothing right to compare with


def test_uncertainty_of_another_shape_is_refused() -> None:
    truth = cube((3, 7), (4, 12), (5, 15))
    with pytest.raises(InputError, match="Shapes differ"):
        reliability(truth, truth, everywhere(), np.zeros((2, 2, 2), np.float32), [])

"""Regions point at what is truly in doubt, on any grid, and survive being written."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter
from simulated_votes import SCHEMA, ball, geometry_of, segmented_from, simulated_case

from activeseg.core.correction import RegionReason, RegionState
from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from activeseg.predictions.region_files import read_regions, write_regions
from activeseg.review.regions import FoundRegion, body_volume_mm3, find_regions
from activeseg.review.uncertainty import measures_from_votes

LIVER, SPLEEN, KIDNEY, AORTA, GLAND, SPINE = (label.value for label in SCHEMA.labels)


def with_blob(
    center: Sequence[int] = (12, 15, 20), radius: float = 4, value: int = KIDNEY, shape: Sequence[int] = (40, 40, 40)
) -> list[npt.NDArray[np.uint8]]:
    """Four members that see a block of liver; half of them see a ball of something else in it."""
    base = np.zeros(shape, np.uint8)
    base[5:35, 5:35, 5:35] = LIVER
    other = base.copy()
    other[ball(shape, center, radius)] = value
    return [base, base, other, other]


def surface_glow(mask: npt.NDArray[np.bool_], level: float) -> npt.NDArray[np.float32]:
    """Uncertainty as a blurred surface has it, the same all around."""
    p = gaussian_filter(mask.astype(np.float32), 1.0)
    return np.asarray(level * 4 * p * (1 - p), np.float32)


def holds(region: FoundRegion, point_kji: Sequence[int]) -> bool:
    return all(low <= p < high for p, (low, high) in zip(point_kji, region.box_kji, strict=True))


def covered(regions: Sequence[FoundRegion], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    for region in regions:
        mask[region.slices] = True
    return mask


def test_blobs_of_error_win_over_boundaries() -> None:
    in_blobs, all_blobs, in_boxes, volume = 0, 0, [], []
    for seed in range(101, 107):
        case = simulated_case(seed)
        grid = case.segmented.grid
        found = find_regions(case.segmented, grid.geometry, count=10, body_mm3=case.body_mm3)
        wrong, boxes = case.segmented.labels != case.truth, covered(found, case.truth.shape)
        in_blobs += (wrong & case.blobs & boxes).sum()
        all_blobs += (wrong & case.blobs).sum()
        in_boxes.append((wrong & boxes).sum() / wrong.sum())
        volume.append(boxes.sum() * grid.geometry.voxel_mm3 / case.body_mm3)
    assert in_blobs >= 0.7 * all_blobs
    assert np.mean(in_boxes) >= 5 * np.mean(volume)


def test_a_structure_that_is_doubtful_all_around_comes_before_those_with_faint_surfaces() -> None:
    shape = (48, 48, 48)
    labels = np.zeros(shape, np.uint8)
    uncertainty = np.zeros(shape, np.float32)
    centers = [(12, 12, 12), (12, 36, 12), (36, 12, 12), (36, 36, 36)]
    for value, center in zip((LIVER, SPLEEN, KIDNEY, AORTA), centers, strict=True):
        labels[ball(shape, center, 7)] = value
        uncertainty += surface_glow(labels == value, 0.9 if value == AORTA else 0.2)
    segmented = segmented_from([labels] * 4, geometry_of(shape, 2.0))
    segmented = replace(segmented, grid=replace(segmented.grid, variance=uncertainty))
    found = find_regions(segmented, segmented.grid.geometry, body_mm3=3e6)
    assert found
    assert found[0].structures == ("aorta",)


def test_a_small_structure_gets_its_turn_beside_a_large_one_full_of_doubt() -> None:
    shape = (60, 60, 60)
    base = np.zeros(shape, np.uint8)
    base[2:50, 2:50, 2:50] = LIVER
    base[ball(shape, (55, 55, 55), 3)] = GLAND
    other = base.copy()
    for center in itertools.product((8, 25, 42), repeat=3):
        other[ball(shape, center, 5)] = SPLEEN
    other[ball(shape, (55, 55, 55), 3)] = 0
    segmented = segmented_from([base, base, other, other], geometry_of(shape, 3.0))
    found = find_regions(segmented, segmented.grid.geometry, body_mm3=4e6)
    assert len(found) == 10
    assert any("gland" in region.structures for region in found)


def test_boxes_stay_within_a_tenth_of_the_body_and_never_overlap() -> None:
    case = simulated_case(7)
    for count in (3, 10, 25):
        found = find_regions(case.segmented, case.segmented.grid.geometry, count=count, body_mm3=case.body_mm3)
        assert 0 < len(found) <= count
        volumes = [np.prod([high - low for low, high in region.box_kji]) for region in found]
        assert covered(found, case.truth.shape).sum() == sum(volumes)
        assert sum(volumes) * case.segmented.grid.geometry.voxel_mm3 <= 0.1 * case.body_mm3


def test_numbers_run_from_the_worst() -> None:
    case = simulated_case(8)
    found = find_regions(case.segmented, case.segmented.grid.geometry, body_mm3=case.body_mm3)
    assert [region.number for region in found] == list(range(1, len(found) + 1))
    scores = [region.score for region in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    assert all(region.state is RegionState.OPEN for region in found)


def test_a_region_says_who_votes_for_what_and_how_large_the_doubt_is() -> None:
    votes = with_blob(radius=4)
    votes[1] = votes[2]
    segmented = segmented_from(votes, geometry_of((40, 40, 40), 2.0))
    (region,) = find_regions(segmented, segmented.grid.geometry, body_mm3=3e6)
    assert region.votes == {"kidney": 3, "liver": 1}
    assert set(region.structures) == {"liver", "kidney"}
    blob = ball((40, 40, 40), (12, 15, 20), 4).sum()
    assert region.size_voxels == blob
    assert region.size_mm3 == pytest.approx(blob * 8.0)


def test_focus_keeps_to_the_structures_that_were_asked_for() -> None:
    votes = with_blob((12, 15, 20), 5, KIDNEY)
    for vote in votes[2:]:
        vote[ball(vote.shape, (28, 28, 15), 3)] = SPLEEN
    segmented = segmented_from(votes, geometry_of((40, 40, 40), 2.0))
    assert len(find_regions(segmented, segmented.grid.geometry, body_mm3=3e6)) == 2
    (region,) = find_regions(segmented, segmented.grid.geometry, ["spleen"], body_mm3=3e6)
    assert holds(region, (28, 28, 15))
    assert find_regions(segmented, segmented.grid.geometry, ["aorta"], body_mm3=3e6) == ()
    with pytest.raises(InputError, match="splen"):
        find_regions(segmented, segmented.grid.geometry, ["splen"])


def test_nothing_uncertain_gives_no_regions() -> None:
    votes = with_blob()
    for labels in (votes[0], np.zeros_like(votes[0])):
        segmented = segmented_from([labels] * 4, geometry_of(labels.shape, 2.0))
        assert find_regions(segmented, segmented.grid.geometry) == ()


def test_faint_uncertainty_is_not_blown_up_into_regions() -> None:
    segmented = segmented_from([with_blob()[0]] * 4, geometry_of((40, 40, 40), 2.0))
    faint = np.zeros((40, 40, 40), np.float32)
    faint[10:20, 10:20, 10:20] = 0.02
    segmented = replace(segmented, grid=replace(segmented.grid, variance=faint))
    assert find_regions(segmented, segmented.grid.geometry) == ()


def test_a_structure_that_only_some_members_see_in_an_empty_prediction_is_found() -> None:
    shape = (30, 30, 30)
    seen = np.where(ball(shape, (15, 15, 15), 4), KIDNEY, 0).astype(np.uint8)
    nothing = np.zeros(shape, np.uint8)
    segmented = segmented_from([nothing, nothing, nothing, seen], geometry_of(shape, 2.0))
    (region,) = find_regions(segmented, segmented.grid.geometry)
    assert region.structures == ("kidney",)
    assert region.votes == {"background": 3, "kidney": 1}


def test_a_single_member_has_entropy_only() -> None:
    labels = with_blob()[0]
    entropy = np.where(ball(labels.shape, (12, 15, 20), 4), 0.15, 0).astype(np.float32)
    segmented = segmented_from([labels], geometry_of(labels.shape, 2.0), entropy=entropy)
    (region,) = find_regions(segmented, segmented.grid.geometry, body_mm3=3e6)
    assert holds(region, (12, 15, 20))
    assert region.votes == {"liver": 1}
    assert region.alternatives == ()
    with pytest.raises(InputError, match="variance"):
        find_regions(segmented, segmented.grid.geometry, measure="variance")


def test_doubt_far_from_every_structure_is_listed_without_a_name_unless_in_focus() -> None:
    labels = with_blob()[0]
    entropy = np.zeros(labels.shape, np.float32)
    entropy[0:4, 16:24, 16:24] = 0.5
    segmented = segmented_from([labels], geometry_of(labels.shape, 4.0), entropy=entropy)
    (region,) = find_regions(segmented, segmented.grid.geometry, body_mm3=8e6)
    assert region.structures == ()
    assert find_regions(segmented, segmented.grid.geometry, ["liver"]) == ()


def test_where_uncertainty_was_not_computed_there_is_no_region() -> None:
    votes = with_blob((12, 15, 26))
    for vote in votes[2:]:
        vote[ball(vote.shape, (28, 28, 12), 4)] = SPLEEN
    segmented = segmented_from(votes, geometry_of((40, 40, 40), 2.0))
    assert len(find_regions(segmented, segmented.grid.geometry, body_mm3=3e6)) == 2
    variance = segmented.grid.variance
    assert variance is not None
    variance[:, :, :18] = np.nan
    (region,) = find_regions(segmented, segmented.grid.geometry, body_mm3=3e6)
    assert holds(region, (12, 15, 26))


def test_a_thin_volume_still_gives_a_box_inside_of_it() -> None:
    shape = (2, 30, 30)
    base = np.full(shape, LIVER, np.uint8)
    other = base.copy()
    other[:, 10:20, 10:20] = SPLEEN
    segmented = segmented_from([base, base, other, other], geometry_of(shape, 2.0))
    (region,) = find_regions(segmented, segmented.grid.geometry)
    assert region.box_kji[0] == (0, 2)
    assert holds(region, (1, 15, 15))


@pytest.mark.parametrize(
    ("axes", "spacing"),
    [
        (np.diag([1, 1, 1]), (2, 2, 2)),
        (np.diag([-1, -1, 1]), (0.8, 0.8, 3.0)),
        (np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]]), (1.1, 1.5, 0.9)),
        (np.array([[0.936, -0.352, 0], [0.352, 0.936, 0], [0, 0, 1]]), (1.5, 1.5, 2.0)),
    ],
    ids=["same axes, finer", "LPS, thick slices", "permuted and flipped", "oblique"],
)
def test_regions_lie_where_the_doubt_lies_whatever_the_grid_of_the_ct(axes: Any, spacing: Any) -> None:
    network = geometry_of((40, 40, 40), 3.0)
    segmented = segmented_from(with_blob((12, 15, 20), 4), network)
    middle = network.ras_of_ijk([20, 15, 12])
    matrix = np.eye(4)
    axes = np.asarray(axes, float)
    matrix[:3, :3] = axes / np.linalg.norm(axes, axis=0) * np.asarray(spacing)
    shape = [int(130 / s) for s in spacing[::-1]]
    matrix[:3, 3] = middle - matrix[:3, :3] @ (np.array(shape[::-1]) * 0.45)
    ct = Geometry.from_ijk_to_ras(matrix, shape)
    at = np.rint(network.ijk_of_ras(ct.ras_of_ijk(np.moveaxis(np.indices(shape)[::-1], 0, -1)))).astype(int)
    labels = segmented.labels[tuple(np.clip(at[..., ::-1], 0, 39).transpose(3, 0, 1, 2))]
    (region,) = find_regions(replace(segmented, labels=labels), ct, body_mm3=4e6)
    np.testing.assert_allclose(region.center_ras, middle, atol=3.0)
    assert holds(region, np.rint(ct.ijk_of_ras(middle)).astype(int)[::-1])
    assert holds(region, np.rint(ct.ijk_of_ras(region.center_ras)).astype(int)[::-1])
    sides = [(high - low) * mm for (low, high), mm in zip(region.box_kji, ct.spacing_xyz[::-1], strict=True)]
    assert np.prod(sides) <= 4e6 * 0.01 + 1e-6
    taken = region.alternatives[0]
    assert taken.gains["kidney"].mm3 == pytest.approx(ball((40, 40, 40), (12, 15, 20), 4).sum() * 27, rel=0.25)


def test_a_network_grid_that_is_a_crop_of_the_ct_gives_regions_inside_the_crop() -> None:
    ct = geometry_of((60, 60, 60), 2.0)
    matrix = ct.ijk_to_ras.copy()
    matrix[:3, 3] = ct.ras_of_ijk([10, 15, 18])
    crop = Geometry.from_ijk_to_ras(matrix, (40, 40, 40))
    votes = with_blob((5, 15, 20), 4)
    labels = np.zeros((60, 60, 60), np.uint8)
    labels[18:58, 15:55, 10:50] = votes[0]
    segmented = replace(segmented_from(votes, crop), labels=labels)
    (region,) = find_regions(segmented, ct, body_mm3=3e6)
    assert holds(region, (23, 30, 30))
    taken = region.alternatives[0]
    assert taken.changed.sum() == (votes[2] != votes[0]).sum()


@settings(max_examples=25, deadline=None)
@given(
    arrays(np.float32, (9, 10, 11), elements=st.floats(0, 1, width=32)),
    arrays(np.uint8, (9, 10, 11), elements=st.integers(0, len(SCHEMA))),
    st.floats(1.0, 9.0),
    st.integers(1, 12),
)
def test_whatever_the_map_boxes_lie_in_the_volume_hold_their_middle_and_do_not_overlap(
    uncertainty: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8], spacing: float, count: int
) -> None:
    geometry = geometry_of(labels.shape, spacing)
    segmented = segmented_from([labels, labels[::-1], labels, labels], geometry, variance=uncertainty)
    found = find_regions(segmented, geometry, count=count)
    assert len(found) <= count
    taken = np.zeros(labels.shape, int)
    for region in found:
        assert all(0 <= low < high <= n for (low, high), n in zip(region.box_kji, labels.shape, strict=True))
        assert holds(region, np.rint(geometry.ijk_of_ras(region.center_ras)).astype(int)[::-1])
        taken[region.slices] += 1
    assert taken.max(initial=0) <= 1


def test_the_body_is_what_is_denser_than_lung() -> None:
    hu = np.full((10, 10, 10), -1000, np.int16)
    hu[2:8, 2:8, 2:8] = 40
    hu[4:6, 4:6, 4:6] = -800
    assert body_volume_mm3(Volume(hu, geometry_of(hu.shape, 2.0))) == (216 - 8) * 8


def test_regions_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    case = simulated_case(9)
    found = find_regions(case.segmented, case.segmented.grid.geometry, body_mm3=case.body_mm3)
    found = (replace(found[0], state=RegionState.CORRECTED), *found[1:])
    assert any(region.alternatives for region in found)
    write_regions(tmp_path, found, ["liver"])
    again = read_regions(tmp_path)
    assert again == found
    for region, other in zip(found, again, strict=True):
        for a, b in zip(region.alternatives, other.alternatives, strict=True):
            np.testing.assert_array_equal(a.labels, b.labels)
            np.testing.assert_array_equal(a.changed, b.changed)
            assert b.labels.dtype == a.labels.dtype
    assert json.loads((tmp_path / "regions.json").read_text())["focus"] == ["liver"]


def test_no_regions_can_be_written_too(tmp_path: Path) -> None:
    write_regions(tmp_path, ())
    assert read_regions(tmp_path) == ()


@pytest.mark.parametrize("damage", ["missing", "cut", "no patches", "other patches"])
def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path, damage: str) -> None:
    segmented = segmented_from(with_blob(), geometry_of((40, 40, 40), 2.0))
    write_regions(tmp_path, find_regions(segmented, segmented.grid.geometry))
    text, patches = tmp_path / "regions.json", tmp_path / "alternatives.npz"
    if damage == "missing":
        text.unlink()
    elif damage == "cut":
        text.write_text(text.read_text()[:40])
    elif damage == "no patches":
        patches.write_bytes(patches.read_bytes()[:50])
    else:
        np.savez_compressed(patches, something=np.zeros(3))
    with pytest.raises(InputError, match="region"):
        read_regions(tmp_path)


def test_members_that_see_different_structures_disagree_and_a_coin_toss_between_them_is_a_doubt_of_one() -> None:
    segmented = segmented_from(with_blob(), geometry_of((40, 40, 40), 2.0))
    (region,) = find_regions(segmented, segmented.grid.geometry, body_mm3=3e6)
    assert region.reason is RegionReason.MEMBERS_DISAGREE
    assert region.reason.words == "members disagree"
    assert region.doubt == pytest.approx(1, abs=1e-6)
    assert region.doubt_text == "100 %"


@pytest.mark.parametrize("measure", ["entropy", "variance", "mutual_information"])
def test_doubt_is_the_same_whatever_the_measure_and_the_number_of_structures(measure: str) -> None:
    votes = with_blob()
    for classes in (3, len(SCHEMA) + 1, 118):
        segmented = segmented_from(votes, geometry_of((40, 40, 40), 2.0))
        entropy, variance, information = measures_from_votes(votes, classes)
        grid = replace(
            segmented.grid,
            entropy=entropy,
            variance=variance,
            mutual_information=information,
            entropy_bound=math.log(classes),
        )
        (region,) = find_regions(replace(segmented, grid=grid), grid.geometry, measure=measure, body_mm3=3e6)
        assert region.doubt == pytest.approx(1, abs=1e-5)


def test_one_member_that_is_not_sure_has_low_confidence() -> None:
    labels = with_blob()[0]
    entropy = np.where(ball(labels.shape, (12, 15, 20), 4), 0.15, 0).astype(np.float32)
    segmented = segmented_from([labels], geometry_of(labels.shape, 2.0), entropy=entropy)
    grid = replace(segmented.grid, entropy_bound=math.log(4))
    (region,) = find_regions(replace(segmented, grid=grid), grid.geometry, body_mm3=3e6)
    assert region.reason is RegionReason.LOW_CONFIDENCE
    assert region.doubt == pytest.approx(0.3, abs=1e-5)


@pytest.mark.parametrize("finer", [1, 3], ids=["the CT's grid", "a CT of finer voxels"])
def test_a_structure_that_the_last_slice_cuts_off_is_an_open_edge(finer: int) -> None:
    base = np.zeros((30, 30, 30), np.uint8)
    base[5:, 8:22, 8:22] = LIVER
    other = base.copy()
    other[26:, 12:18, 12:18] = KIDNEY
    segmented = segmented_from([base, base, other, other], geometry_of(base.shape, 3.0))
    matrix = segmented.grid.geometry.ijk_to_ras.copy()
    matrix[:3, 3] = segmented.grid.geometry.ras_of_ijk(np.full(3, 0.5 / finer - 0.5))
    matrix[:3, :3] /= finer
    ct = Geometry.from_ijk_to_ras(matrix, [30 * finer] * 3)
    labels = base.repeat(finer, 0).repeat(finer, 1).repeat(finer, 2)
    (region,) = find_regions(replace(segmented, labels=labels), ct, body_mm3=3e6)
    assert region.reason is RegionReason.OPEN_EDGE
    longer = Geometry.from_ijk_to_ras(matrix, [34 * finer, 30 * finer, 30 * finer])
    labels = np.concatenate([labels, np.zeros((4 * finer, 30 * finer, 30 * finer), np.uint8)])
    (region,) = find_regions(replace(segmented, labels=labels), longer, body_mm3=3e6)
    assert region.reason is RegionReason.MEMBERS_DISAGREE


def test_doubt_at_the_edge_where_there_is_no_structure_is_no_open_edge() -> None:
    labels = with_blob()[0]
    entropy = np.zeros(labels.shape, np.float32)
    entropy[0:4, 16:24, 16:24] = 0.5
    segmented = segmented_from([labels], geometry_of(labels.shape, 4.0), entropy=entropy)
    (region,) = find_regions(segmented, segmented.grid.geometry, body_mm3=8e6)
    assert region.reason is RegionReason.LOW_CONFIDENCE
    assert region.about == "nothing here"


def test_regions_of_version_0_1_have_no_reason_and_no_doubt() -> None:
    old = Path(__file__).parents[2] / "files_of_0_1_0" / "prediction"
    for region in read_regions(old):
        assert (region.reason, region.doubt, region.doubt_text) == (None, None, "")

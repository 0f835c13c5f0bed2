"""Which voxels of a corrected label map count as truth, and which nobody vouches for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from organ_blocks import GRID, IGNORE, KIDNEY, LIVER, SCHEMA, SHAPE, SPLEEN, blocks, region

from activeseg.core import label_map
from activeseg.core.correction import Review
from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.dataset import training_labels
from activeseg.dataset.training_labels import label_for_training


def flat(value: float = 0.0, geometry: Geometry = GRID) -> Volume:
    return Volume(np.full(geometry.shape_kji, value, np.float32), geometry)


class TestTraining:
    def test_all_takes_everything_as_truth(self) -> None:
        labels, summary = label_for_training(blocks(), blocks(), SCHEMA, Review.ALL, GRID, uncertainty=flat(1.0))
        assert np.array_equal(labels, blocks())
        assert summary.ignored_voxels == 0

    def test_regions_ignores_what_is_uncertain_and_was_not_seen(self) -> None:
        doubt = flat()
        doubt.array[0, 0, :10] = 0.9  # liver, 10 of 2,000
        doubt.array[0, 12, :4] = 0.3  # spleen, 4 of 200
        doubt.array[0, 19, :7] = 0.26  # background
        doubt.array[1, 0, :10] = 0.25  # exactly the threshold: not above it
        labels, summary = label_for_training(blocks(), blocks(), SCHEMA, Review.REGIONS, GRID, uncertainty=doubt)
        assert np.array_equal(labels == IGNORE, doubt.array > 0.25)
        assert summary.ignored == {"background": 7, "liver": 10, "spleen": 4}
        assert summary.kept_by_limit == {}

    def test_what_was_edited_or_reviewed_is_truth_however_uncertain(self) -> None:
        edited = blocks()
        edited[0, 19, 0] = SPLEEN
        edited[0, 0, 0] = 0
        doubt = flat()
        doubt.array[0, 19, 0:3] = doubt.array[0, 0, 0:3] = 1.0
        regions = [region(1, (0, 1), (0, 1), (2, 3), "accepted"), region(2, (0, 1), (19, 20), (2, 3), "skipped")]
        labels, summary = label_for_training(
            edited, blocks(), SCHEMA, Review.REGIONS, GRID, uncertainty=doubt, regions=regions
        )
        assert np.argwhere(labels == IGNORE).tolist() == [[0, 0, 1], [0, 19, 1], [0, 19, 2]]
        assert (labels[0, 19, 0], labels[0, 0, 0]) == (SPLEEN, 0)
        assert summary.regions_reviewed == 1

    def test_at_most_five_percent_of_a_structure_is_ignored_the_most_uncertain_first(self) -> None:
        doubt = flat()
        spleen = blocks() == SPLEEN
        doubt.array[spleen] = np.linspace(0.5, 0.9, 200, dtype=np.float32)
        labels, summary = label_for_training(blocks(), blocks(), SCHEMA, Review.REGIONS, GRID, uncertainty=doubt)
        assert summary.ignored == {"spleen": 10}
        assert summary.kept_by_limit == {"spleen": 190}
        assert doubt.array[labels == IGNORE].min() > np.sort(doubt.array[spleen])[-11]

    def test_background_may_give_as_many_voxels_as_all_structures_together(self) -> None:
        labels, summary = label_for_training(blocks(), blocks(), SCHEMA, Review.REGIONS, GRID, uncertainty=flat(0.8))
        assert summary.ignored == {"background": 110, "liver": 100, "spleen": 10}
        again, _ = label_for_training(blocks(), blocks(), SCHEMA, Review.REGIONS, GRID, uncertainty=flat(0.8))
        assert np.array_equal(labels, again), "equal values are cut the same way every time"

    def test_the_limit_holds_across_slabs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        doubt = Volume(np.random.default_rng(3).random(SHAPE, dtype=np.float32), GRID)
        whole, _ = label_for_training(blocks(), blocks(), SCHEMA, Review.REGIONS, GRID, uncertainty=doubt)
        monkeypatch.setattr(label_map, "SLAB_VOXELS", 300)
        sliced, summary = label_for_training(blocks(), blocks(), SCHEMA, Review.REGIONS, GRID, uncertainty=doubt)
        assert np.array_equal(whole, sliced)
        assert summary.ignored["liver"] == 100

    def test_voxels_without_uncertainty_are_truth_and_counted(self) -> None:
        doubt = flat(np.nan)
        doubt.array[0, 0, 0] = 1.0
        edited = blocks()
        edited[1, 1, 1] = 0
        labels, summary = label_for_training(edited, blocks(), SCHEMA, Review.REGIONS, GRID, uncertainty=doubt)
        assert np.argwhere(labels == IGNORE).tolist() == [[0, 0, 0]]
        assert summary.not_computed == edited.size - 2
        assert any("not computed" in sentence for sentence in summary.sentences())

    def test_none_ignores_everything_but_edits_and_reviewed_regions(self) -> None:
        edited = blocks()
        edited[9, 19, 19] = SPLEEN
        seen = [region(1, (0, 2), (0, 2), (0, 2), "corrected")]
        labels, summary = label_for_training(edited, blocks(), SCHEMA, Review.NONE, GRID, regions=seen)
        truth = labels != IGNORE
        assert truth.sum() == 9
        assert (labels[9, 19, 19], labels[0, 0, 0]) == (SPLEEN, LIVER)
        assert any("Most of this case" in sentence for sentence in summary.sentences())

    def test_what_was_ignored_before_stays_ignored_and_is_not_counted_again(self) -> None:
        edited = blocks()
        edited[0] = IGNORE
        labels, summary = label_for_training(edited, edited, SCHEMA, Review.ALL, GRID)
        assert np.array_equal(labels, edited)
        assert summary.ignored_voxels == 0

    def test_without_an_uncertainty_map_the_default_says_what_to_do(self) -> None:
        with pytest.raises(InputError, match="review 'all'"):
            label_for_training(blocks(), blocks(), SCHEMA, Review.REGIONS, GRID)

    def test_more_than_254_structures_need_sixteen_bits(self) -> None:
        schema = LabelSchema.from_names([f"s{n}" for n in range(300)])
        labels = np.zeros(SHAPE, np.uint16)
        labels[0] = 300
        result, _ = label_for_training(labels, labels, schema, Review.NONE, GRID)
        assert result.dtype == np.uint16
        assert set(np.unique(result)) == {301}


class TestSampling:
    def test_a_linear_ramp_on_a_rotated_coarser_grid_comes_back_exactly(self) -> None:
        angle = np.deg2rad(20)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        matrix = np.eye(4)
        matrix[:3, :3] = turn @ np.diag([2.5, -3.0, 4.0])
        matrix[:3, 3] = (-20, 60, -10)
        coarse = Geometry.from_ijk_to_ras(matrix, (16, 30, 30))
        k, j, i = np.indices(coarse.shape_kji)
        points = coarse.ras_of_ijk(np.stack([i, j, k], axis=-1))
        ramp = (points @ [0.01, 0.02, 0.03]).astype(np.float32)
        got = np.concatenate([v for _, v in training_labels.sampled(Volume(ramp, coarse), GRID)])
        k, j, i = np.indices(SHAPE)
        expected = GRID.ras_of_ijk(np.stack([i, j, k], axis=-1)) @ [0.01, 0.02, 0.03]
        inside = ~np.isnan(got)
        assert inside.mean() > 0.5
        assert np.abs(got - expected)[inside].max() < 0.08, "beyond the outermost centres the border value counts"
        at = coarse.ijk_of_ras(GRID.ras_of_ijk(np.stack([i, j, k], axis=-1)))
        within = np.all((at >= 0) & (at <= np.array(coarse.shape_kji)[::-1] - 1), axis=-1)
        assert np.abs(got - expected)[within].max() < 1e-5
        reached = np.all((at > -0.5) & (at < np.array(coarse.shape_kji)[::-1] - 0.5), axis=-1)
        assert np.array_equal(inside, reached)

    def test_a_map_of_a_crop_has_no_value_outside_of_it(self) -> None:
        crop = Geometry.from_ijk_to_ras(
            [[2.0, 0, 0, 4.5], [0, 2.0, 0, 10.0], [0, 0, 3.0, 6.0], [0, 0, 0, 1]], (3, 10, 4)
        )
        got = np.concatenate([v for _, v in training_labels.sampled(flat(0.5, crop), GRID)])
        known = np.argwhere(~np.isnan(got))
        assert known.min(axis=0).tolist() == [2, 5, 4]
        assert known.max(axis=0).tolist() == [4, 14, 11]
        assert np.nanmax(got) == np.nanmin(got) == np.float32(0.5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(list(Review)))
def test_training_labels_differ_from_the_edited_ones_only_by_ignore_within_the_limit(seed: int, review: Review) -> None:
    random = np.random.default_rng(seed)
    predicted = random.integers(0, 4, SHAPE).astype(np.uint8)
    edited = np.where(random.random(SHAPE) < 0.1, random.integers(0, 4, SHAPE), predicted).astype(np.uint8)
    doubt = Volume(random.random(SHAPE, dtype=np.float32), GRID)
    labels, summary = label_for_training(edited, predicted, SCHEMA, review, GRID, uncertainty=doubt, threshold=0.5)
    ignored = labels == IGNORE
    assert np.array_equal(labels[~ignored], edited[~ignored])
    assert not ignored[edited != predicted].any()
    assert summary.ignored_voxels == ignored.sum()
    if review is Review.REGIONS:
        assert np.all(doubt.array[ignored] > 0.5)
        for value in (LIVER, SPLEEN, KIDNEY):
            assert ignored[edited == value].sum() <= 0.05 * (edited == value).sum()

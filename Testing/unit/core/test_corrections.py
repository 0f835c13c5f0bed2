"""What a user's edits are worth: counts, Dice, and the places that were looked at."""

from __future__ import annotations

import json

import numpy as np
import pytest
from organ_blocks import GRID, IGNORE, KIDNEY, LIVER, SCHEMA, SHAPE, SPLEEN, blocks, region

from activeseg.core.correction import Correction
from activeseg.core.errors import InputError


class TestCorrection:
    def test_counts_volumes_and_dice_of_an_edit(self) -> None:
        predicted, edited = blocks(), blocks()
        edited[:, 10, :] = LIVER  # 200 voxels more
        edited[0, 0, :5] = 0  # 5 less
        change = Correction.between(predicted, edited, GRID, SCHEMA)
        liver = next(s for s in change.structures if s.name == "liver")
        assert (liver.voxels_added, liver.voxels_removed, liver.voxels_changed) == (200, 5, 205)
        assert liver.mm3_changed == pytest.approx(205 * 6.0)
        assert liver.dice_before == pytest.approx(2 * 1995 / (2000 + 2195))
        assert liver.dice_after == 1.0
        assert change.voxels_changed == 205
        assert change.changed == ("liver",)

    def test_a_truth_gives_dice_before_and_after(self) -> None:
        predicted, edited, truth = blocks(), blocks(), blocks()
        truth[:, 12:14, :10] = 0
        truth[:, 15:17, :10] = SPLEEN
        edited[:, 15, :10] = SPLEEN
        change = Correction.between(predicted, edited, GRID, SCHEMA, truth=truth)
        spleen = next(s for s in change.structures if s.name == "spleen")
        assert spleen.dice_before == 0.0
        assert spleen.dice_after == pytest.approx(2 * 100 / (200 + 300))

    def test_dice_is_none_where_truth_and_label_are_both_empty(self) -> None:
        predicted, edited = blocks(), blocks()
        predicted[0, 0, 0] = KIDNEY
        change = Correction.between(predicted, edited, GRID, SCHEMA, truth=edited)
        kidney = next(s for s in change.structures if s.name == "kidney")
        assert kidney.dice_before == 0.0
        assert kidney.dice_after is None
        assert all(s.name != "kidney" for s in Correction.between(edited, edited, GRID, SCHEMA).structures)

    def test_structures_that_come_and_go_are_named_and_told_first(self) -> None:
        predicted, edited = blocks(), blocks()
        edited[edited == SPLEEN] = 0
        edited[5, 18, 18] = KIDNEY
        change = Correction.between(predicted, edited, GRID, SCHEMA)
        assert change.deleted == ("spleen",)
        assert change.added == ("kidney",)
        assert "'spleen' was deleted" in change.sentences()[0]
        assert "background" in change.sentences()[0]

    def test_ignored_voxels_do_not_count_in_a_dice(self) -> None:
        predicted, edited = blocks(), blocks()
        edited[:5, :10, :] = IGNORE
        change = Correction.between(predicted, edited, GRID, SCHEMA)
        assert next(s for s in change.structures if s.name == "liver").dice_before == 1.0

    def test_an_edit_inside_an_open_region_makes_it_corrected(self) -> None:
        predicted, edited = blocks(), blocks()
        edited[2, 11, 3] = LIVER
        regions = [
            region(1, (0, 5), (8, 14), (0, 8)),
            region(2, (5, 10), (8, 14), (0, 8)),
            region(3, (0, 5), (8, 14), (0, 8), "accepted"),
            region(4, (0, 5), (8, 14), (0, 8), "skipped"),
        ]
        states = [r.state.value for r in Correction.between(predicted, edited, GRID, SCHEMA, regions=regions).regions]
        assert states == ["corrected", "open", "accepted", "corrected"]

    def test_the_record_is_plain_json_and_leaves_out_what_stayed(self) -> None:
        edited = blocks()
        edited[0, 12, 0] = 0
        record = Correction.between(
            blocks(), edited, GRID, SCHEMA, regions=[region(1, (0, 1), (0, 1), (0, 1))], seconds=12.5, notes="n"
        ).to_dict()
        assert json.loads(json.dumps(record)) == record
        assert [s["name"] for s in record["structures"]] == ["spleen"]

    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            (np.zeros((3, 3, 3), np.uint8), "(3, 3, 3)"),
            (np.full(SHAPE, 5, np.uint8), "the value 5"),
            (np.full(SHAPE, -1, np.int16), "the value -1"),
            (np.zeros(SHAPE, np.float32), "float32"),
        ],
    )
    def test_a_label_map_that_does_not_fit_is_refused_with_its_value(self, labels: np.ndarray, said: str) -> None:
        with pytest.raises(InputError) as caught:
            Correction.between(blocks(), labels, GRID, SCHEMA)
        assert said in str(caught.value)

"""Values of a label map from elsewhere are believed only where they fit what was there before."""

from __future__ import annotations

import numpy as np
import pytest

from activeseg.core.errors import InputError
from activeseg.core.label_map import label_pairs, values_in
from activeseg.core.label_values import DoubtfulValues, check_values, renamed_values
from activeseg.core.labels import LabelSchema

SCHEMA = LabelSchema.from_names(["liver", "spleen", "kidney", "aorta", "cyst"])
LIVER, SPLEEN, KIDNEY, AORTA, CYST = range(1, 6)


def organs() -> np.ndarray:
    labels = np.zeros((10, 20, 20), np.uint8)
    labels[1:9, 1:9, 1:9], labels[1:5, 12:19, 1:6] = LIVER, SPLEEN
    labels[2:6, 3:8, 12:18], labels[:, 15:17, 15:17] = KIDNEY, AORTA
    return labels


def mapped(labels: np.ndarray, *pairs: tuple[int, int]) -> np.ndarray:
    table = np.arange(10, dtype=np.uint8)
    for old, new in pairs:
        table[old] = new
    return table[labels]


@pytest.mark.parametrize(
    ("pairs", "doubtful"),
    [
        (((SPLEEN, 1), (LIVER, 2)), {"liver": 2, "spleen": 1}),  # swapped
        (((KIDNEY, 2), (AORTA, 3), (SPLEEN, 5)), {"spleen": 5, "kidney": 2, "aorta": 3}),  # in another order
        (((LIVER, 0), (SPLEEN, 1), (KIDNEY, 2), (AORTA, 3)), {"spleen": 1, "kidney": 2, "aorta": 3}),  # one is missing
    ],
)
def test_structures_that_were_numbered_anew_are_refused_by_name(
    pairs: tuple[tuple[int, int], ...], doubtful: dict[str, int]
) -> None:
    after = mapped(organs(), *pairs)
    after[3, 3, 1:9] = 0  # and edited a little
    with pytest.raises(DoubtfulValues, match=r"values of 'x.nii.gz' do not mean") as caught:
        check_values(organs(), after, SCHEMA, "x.nii.gz")
    assert caught.value.value_of == doubtful
    assert caught.value.exit_code == 2
    assert "--" not in str(caught.value), "only the command line knows options"
    check_values(organs(), after, SCHEMA, "x.nii.gz", taken_for_sure=[1, 2, 3, 4, 5])


def test_ordinary_corrections_are_believed() -> None:
    before = organs()
    check_values(before, before, SCHEMA, "x")
    check_values(before, np.zeros_like(before), SCHEMA, "x")  # all deleted
    check_values(np.zeros_like(before), before, SCHEMA, "x")  # all drawn
    check_values(before, mapped(before, (SPLEEN, LIVER)), SCHEMA, "x")  # the spleen was liver, too
    moved = np.roll(before, 4, axis=2)
    check_values(before, moved, SCHEMA, "x")
    half = before.copy()
    half[:, :5][half[:, :5] == LIVER] = SPLEEN
    check_values(before, half, SCHEMA, "x")


def test_what_is_ignored_on_one_side_says_nothing() -> None:
    before = organs()
    after = mapped(before, (SPLEEN, KIDNEY), (KIDNEY, 0))
    after[before == SPLEEN] = SCHEMA.ignore_value
    check_values(before, after, SCHEMA, "x")


def test_values_are_named_by_the_user() -> None:
    after = mapped(organs(), (LIVER, 7), (SPLEEN, 1))
    labels, said = renamed_values(after, SCHEMA, {"7": "liver", "1": "spleen", "4": None, "3": "ignore"}, "x")
    expected = mapped(organs(), (AORTA, 0), (KIDNEY, SCHEMA.ignore_value))
    assert np.array_equal(labels, expected)
    assert said == {LIVER, SPLEEN, 0, SCHEMA.ignore_value}


@pytest.mark.parametrize("key", ["liver", "0", "5", "-1", "1.5", "9" * 5000, ""])
def test_what_is_no_value_of_the_label_map_is_refused(key: str) -> None:
    with pytest.raises(InputError, match="is no value of the label map"):
        renamed_values(organs(), SCHEMA, {key: "liver"}, "x.nii.gz")


def test_pairs_of_thousands_of_values_need_no_table_of_their_square() -> None:
    schema = LabelSchema.from_names([f"s{n}" for n in range(1, 16_001)])
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 16_002, (2, 4, 60, 60)).astype(np.uint16)
    pairs = label_pairs(rows, columns, schema)
    assert np.array_equal(pairs.of_rows(), np.bincount(rows.ravel(), minlength=16_002))
    assert np.array_equal(pairs.of_columns(), np.bincount(columns.ravel(), minlength=16_002))
    assert int(pairs.in_both().sum()) == int((rows == columns).sum())
    assert len(pairs.voxels) <= rows.size


def test_pairs_do_not_depend_on_how_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(0, 7, (2, 5, 8, 9)).astype(np.uint8)
    table = label_pairs(rows, columns, SCHEMA)
    monkeypatch.setattr("activeseg.core.label_map.SLAB_VOXELS", 40)  # unique values, in several slabs
    sparse = label_pairs(rows, columns, SCHEMA)
    for one, other in ((table.rows, sparse.rows), (table.columns, sparse.columns), (table.voxels, sparse.voxels)):
        assert np.array_equal(one, other)


def test_values_that_occur_are_found_wherever_they_lie() -> None:
    labels = organs()
    assert values_in(labels).tolist() == [0, LIVER, SPLEEN, KIDNEY, AORTA]
    labels[-1, -1, -1] = CYST
    assert values_in(labels).tolist()[-1] == CYST
    assert values_in(labels.transpose(2, 0, 1)[::-1]).tolist() == list(range(6))
    assert values_in(np.full((2, 3, 4), -3, np.int16)).tolist() == [-3]
    noise = np.random.default_rng(0).integers(0, 300, (4, 20, 20)).astype(np.int32)
    assert values_in(noise).tolist() == np.unique(noise).tolist()

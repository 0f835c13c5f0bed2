"""A label schema says what values mean, and refuses what could not be stored."""

from __future__ import annotations

import json

import pytest

from activeseg.core.errors import InputError
from activeseg.core.labels import Code, Label, LabelSchema, Terminology, generated_color

LIVER = Terminology(Code("SCT", "123037004", "Anatomical Structure"), Code("SCT", "10200004", "Liver"))
LEFT_KIDNEY = Terminology(
    Code("SCT", "123037004", "Anatomical Structure"),
    Code("SCT", "64033007", "Kidney"),
    Code("SCT", "7771000", "Left"),
)


def test_values_are_consecutive_from_one_and_ignore_follows() -> None:
    schema = LabelSchema.from_names(["liver", "kidney_left"], {"liver": (221, 130, 101)}, {"liver": LIVER})
    assert [(label.value, label.name) for label in schema.labels] == [(1, "liver"), (2, "kidney_left")]
    assert schema.ignore_value == 3
    assert [schema.name_of(value) for value in range(4)] == ["background", "liver", "kidney_left", "ignore"]


def test_schema_survives_json() -> None:
    schema = LabelSchema.from_names(["liver", "kidney_left"], terminology={"liver": LIVER, "kidney_left": LEFT_KIDNEY})
    assert LabelSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_terminology_is_spelt_as_slicer_stores_it() -> None:
    fields = LEFT_KIDNEY.slicer_string().split("~")
    assert len(fields) == 7
    assert fields[1:4] == ["SCT^123037004^Anatomical Structure", "SCT^64033007^Kidney", "SCT^7771000^Left"]
    assert fields[5:] == ["^^", "^^"]


@pytest.mark.parametrize("names", [["liver", "liver"], ["background"], ["ignore"], [""]])
def test_name_that_is_empty_reserved_or_used_twice_is_refused(names: list[str]) -> None:
    with pytest.raises(InputError, match="cannot be a structure's name"):
        LabelSchema.from_names(names)


def test_gap_in_the_values_is_refused() -> None:
    with pytest.raises(InputError, match=r"1\.\.2 in order, got \[1, 3\]"):
        LabelSchema((Label(1, "a", (0, 0, 0)), Label(3, "b", (0, 0, 0))))


def test_unknown_name_is_answered_with_near_ones() -> None:
    schema = LabelSchema.from_names(["kidney_left", "kidney_right", "liver"])
    with pytest.raises(InputError, match=r"no structure 'kidney_lefft'.*kidney_left"):
        schema.named("kidney_lefft")


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"labels": [{"value": 1}]},
        {"labels": [{"value": "x", "name": "a", "color": []}]},
        {"labels": [{"value": 1, "name": "a", "color": [1, 2]}]},
        {"labels": [{"value": 1, "name": "a", "color": [float("nan"), 0, 0]}]},
        {"labels": [{"value": 1, "name": "a", "color": [float("inf"), 0, 0]}]},
        {"labels": [{"value": 1, "name": "a", "color": [300, 0, 0]}]},
        {"labels": [{"value": float("inf"), "name": "a", "color": [0, 0, 0]}]},
        {"labels": [{"value": 1, "name": "a", "color": [0, 0, 0], "terminology": ["x"]}]},
        {"labels": [{"value": 1, "name": "a", "color": [0, 0, 0], "terminology": {"x": ["y"]}}]},
        {"labels": [{"value": 1, "name": "a", "color": [0, 0, 0], "terminology": {"type": ["y"]}}]},
        {"labels": 5},
        {"labels": ["a"]},
    ],
)
def test_damaged_file_is_refused_in_one_sentence(damaged: dict[str, object]) -> None:
    with pytest.raises(InputError, match="Not a label schema"):
        LabelSchema.from_dict(damaged)


def test_generated_colors_of_neighbours_differ() -> None:
    for value in range(1, 117):
        difference = sum(abs(a - b) for a, b in zip(generated_color(value), generated_color(value + 1), strict=True))
        assert difference > 60


def test_as_many_structures_as_a_label_map_can_hold_and_no_more() -> None:
    schema = LabelSchema.from_names([f"s{n}" for n in range(1, 16_001)])
    assert schema.named("s16000").value == 16_000
    assert LabelSchema.from_dict(schema.to_dict()) == schema
    with pytest.raises(InputError, match="65535 structures"):
        LabelSchema.from_names(str(n) for n in range(65_535))

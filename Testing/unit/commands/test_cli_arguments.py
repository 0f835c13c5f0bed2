"""What the arguments of the command line mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from activeseg.commands.arguments import channel_files, mapping, names, numbers
from activeseg.commands.dataset import changed_schema
from activeseg.commands.segment import member_count
from activeseg.core.errors import InputError
from activeseg.core.labels import LabelSchema


def test_names_are_separated_by_commas_and_counted_once():
    assert names(" liver, spleen,liver", "--focus") == ("liver", "spleen")
    assert names("", "--focus") == ()


def test_nothing_between_commas_is_refused():
    with pytest.raises(InputError, match="--focus is 'liver,,spleen'"):
        names("liver,,spleen", "--focus")


def test_numbers_may_be_ranges():
    assert numbers("1,2,5-7,6", "--reviewed") == (1, 2, 5, 6, 7)


@pytest.mark.parametrize("text", ["a", "1-", "-3", "1,,2", "1.5", "9" * 5000, "1-999999999", "\u00b2"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(InputError, match="--reviewed"):
        numbers(text, "--reviewed")


def test_a_segment_is_mapped_or_left_out():
    assert mapping(["Segment_1=liver", "a=b=spleen", "table="]) == {
        "Segment_1": "liver",
        "a=b": "spleen",
        "table": None,
    }


@pytest.mark.parametrize("given", [["liver"], ["=liver"], ["a=liver", "a=spleen"]])
def test_an_unclear_mapping_is_refused(given):
    with pytest.raises(InputError, match="--map"):
        mapping(given)


def test_members_are_auto_or_a_number():
    assert member_count("auto") == "auto"
    assert member_count("4") == 4
    for wrong in ("0", "-1", "many", "2.5", "9" * 5000, "\u00b2"):
        with pytest.raises(InputError, match="--members"):
            member_count(wrong)


def test_input_is_the_channel_that_is_left():
    files = channel_files(("T1", "T2"), Path("a.nii"), ["T1=b.nii"])
    assert files == {"T1": Path("b.nii"), "T2": Path("a.nii")}
    assert list(files) == ["T1", "T2"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "Images needed: 2"),
        (["T1=b.nii", "T2=c.nii"], "Images needed: 2"),
        (["PD=b.nii"], "no channel 'PD'"),
        (["T1="], "has no file"),
        (["T1"], "--channel is 'T1'"),
    ],
)
def test_channels_that_do_not_fit_are_refused(given, told):
    with pytest.raises(InputError, match=told):
        channel_files(("T1", "T2"), Path("a.nii"), given)


def test_a_migrated_schema_keeps_colours_and_order():
    old = LabelSchema.from_names(["liver", "kidney_left", "kidney_right", "air"])
    renamed = {"kidney_left": "kidney", "kidney_right": "kidney"}
    new = changed_schema(old, ["tumor"], ["air"], renamed)
    assert new.names == ("liver", "kidney", "tumor")
    assert [label.value for label in new.labels] == [1, 2, 3]
    assert new.named("kidney").color == old.named("kidney_left").color


@pytest.mark.parametrize(
    ("added", "removed", "told"), [([], [], "Nothing"), (["liver"], [], "already"), ([], ["liver"], "No structure")]
)
def test_a_migration_that_makes_no_sense_is_refused(added, removed, told):
    with pytest.raises(InputError, match=told):
        changed_schema(LabelSchema.from_names(["liver"]), added, removed, {})

"""The gate lets a version take over when the mean rises and nothing falls by more than chance explains."""

from __future__ import annotations

import json

import pytest

from activeseg.core.records import from_json, to_json
from activeseg.learning.project.gate import (
    CASES_FOR_BOOTSTRAP,
    FORGETTING_MARGIN,
    MARGIN,
    OldSkill,
    Verdict,
    judge,
    kept_of,
)

NAMES = ("liver", "spleen", "kidney")
Dice = dict[str, dict[str, float]]


def one(**dice: float) -> Dice:
    """One held-out case."""
    return {"CT_0001": dice}


def many(name: str, values: list[float]) -> Dice:
    return {f"CT_{number:04d}": {name: value} for number, value in enumerate(values)}


def test_a_version_that_is_better_everywhere_takes_over() -> None:
    verdict = judge(one(liver=0.80, spleen=0.70), one(liver=0.85, spleen=0.75), NAMES)
    assert verdict.promoted
    assert verdict.before == pytest.approx(0.75)
    assert verdict.after == pytest.approx(0.80)
    assert verdict.unmeasured == ("kidney",)
    assert "0.750 to 0.800" in verdict.reason


def test_one_structure_that_falls_refuses_the_version_however_much_the_others_rise() -> None:
    verdict = judge(one(liver=0.50, spleen=0.90), one(liver=0.95, spleen=0.85), NAMES)
    assert not verdict.promoted
    assert verdict.after is not None
    assert verdict.before is not None
    assert verdict.after > verdict.before
    assert "spleen from 0.900 to 0.850" in verdict.reason
    assert "liver" not in verdict.reason
    assert [found.falls for found in verdict.structures] == [False, True]


def test_the_worst_falls_are_named_first_and_the_others_are_counted() -> None:
    names = [f"s{number}" for number in range(6)]
    before = dict.fromkeys(names, 0.9)
    after = {name: 0.9 - 0.1 * number for number, name in enumerate(names)}
    verdict = judge(one(**before), one(**after), names)
    assert verdict.reason.index("s5") < verdict.reason.index("s4") < verdict.reason.index("s3")
    assert "and 2 more" in verdict.reason


@pytest.mark.parametrize("margin", [0.0, MARGIN, 0.05])
def test_a_fall_by_exactly_the_margin_is_allowed_and_a_little_more_is_not(margin: float) -> None:
    before = one(liver=0.5, spleen=0.90)
    assert judge(before, one(liver=0.8, spleen=0.90 - margin), NAMES, margin).promoted
    assert not judge(before, one(liver=0.8, spleen=0.90 - margin - 1e-6), NAMES, margin).promoted


@pytest.mark.parametrize("after", [0.80, 0.795])
def test_a_mean_that_does_not_rise_is_refused(after: float) -> None:
    verdict = judge(one(liver=0.80), one(liver=after), NAMES)
    assert not verdict.promoted
    assert "did not rise" in verdict.reason
    assert not verdict.structures[0].falls


def kept(fall: float, cases: int = 2) -> OldSkill:
    """What a version keeps on replayed images of which the parent's own result is the reference."""
    parent = {f"CT_{number:04d}": {"liver": 1.0, "spleen": 1.0} for number in range(cases)}
    found = kept_of(parent, {case: {"liver": 1.0, "spleen": 1.0 - 2 * fall} for case in parent})
    assert found is not None
    return found


def test_a_version_that_is_better_but_forgets_is_refused() -> None:
    before, after = one(liver=0.80), one(liver=0.95)
    verdict = judge(before, after, NAMES, kept=kept(0.006))
    assert not verdict.promoted
    assert verdict.reason == ("Refused: the mean Dice on replayed images fell from 1.000 to 0.994, by more than 0.005.")
    assert all(not structure.falls for structure in verdict.structures)


@pytest.mark.parametrize("fall", [0.0, 0.003, FORGETTING_MARGIN])
def test_a_version_that_is_better_and_forgets_little_takes_over(fall: float) -> None:
    verdict = judge(one(liver=0.80), one(liver=0.95), NAMES, kept=kept(fall))
    assert verdict.promoted
    assert f"from 1.000 to {1 - fall:.3f}" in verdict.reason


def test_a_version_that_forgets_nothing_must_still_be_better() -> None:
    verdict = judge(one(liver=0.80), one(liver=0.80), NAMES, kept=kept(0.0))
    assert not verdict.promoted
    assert "did not rise" in verdict.reason


def test_where_no_replayed_image_is_held_out_the_gate_decides_as_before_and_says_so() -> None:
    verdict = judge(one(liver=0.80), one(liver=0.95), NAMES)
    assert verdict.promoted
    assert verdict.kept is None
    assert "What it forgot was not measured" in verdict.reason
    assert kept_of({}, {}) is None


def test_forgetting_is_a_mean_over_structures_however_many_images_show_them() -> None:
    parent = {"a": {"liver": 1.0, "spleen": 1.0}, "b": {"liver": 1.0}, "c": {"liver": 1.0}}
    child = {"a": {"liver": 1.0, "spleen": 0.9}, "b": {"liver": 1.0}, "c": {"liver": 1.0}}
    found = kept_of(parent, child)
    assert found is not None
    assert (found.before, found.after, found.cases) == (1.0, pytest.approx(0.95), 3)
    assert found.falls


def test_a_structure_that_a_version_lost_altogether_counts_as_lost() -> None:
    found = kept_of({"a": {"liver": 1.0, "spleen": 1.0}}, {"a": {"liver": 1.0, "spleen": 0.0}})
    assert found is not None
    assert found.after == 0.5


def test_a_verdict_from_before_forgetting_was_measured_is_read() -> None:
    written = to_json(judge(one(liver=0.8), one(liver=0.9), NAMES))
    del written["kept"]
    assert from_json(Verdict, written, complete=True).kept is None


def test_what_was_kept_comes_back_from_json_as_it_was() -> None:
    verdict = judge(one(liver=0.8), one(liver=0.9), NAMES, kept=kept(0.004))
    assert from_json(Verdict, json.loads(json.dumps(to_json(verdict))), complete=True) == verdict


def test_without_a_held_out_case_nothing_takes_over_by_itself() -> None:
    verdict = judge({}, {}, NAMES)
    assert not verdict.promoted
    assert (verdict.before, verdict.after, verdict.structures) == (None, None, ())
    assert verdict.unmeasured == NAMES
    assert "no held-out case" in verdict.reason


def test_held_out_cases_that_nobody_reviewed_measure_nothing() -> None:
    verdict = judge({"CT_0001": {}}, {"CT_0001": {}}, NAMES)
    assert not verdict.promoted
    assert verdict.unmeasured == NAMES
    assert "reviewed" in verdict.reason


def test_unmeasured_structures_neither_block_nor_count() -> None:
    verdict = judge(one(liver=0.8, spleen=0.9), one(liver=0.9), NAMES)
    assert verdict.promoted
    assert verdict.before == pytest.approx(0.8)
    assert verdict.unmeasured == ("spleen", "kidney")


def test_only_cases_that_both_versions_were_measured_on_count() -> None:
    parent = {"a": {"liver": 0.8}, "b": {"liver": 0.1}, "c": {"spleen": 0.7}}
    child = {"a": {"liver": 0.9}, "b": {"spleen": 0.9}}
    verdict = judge(parent, child, NAMES)
    (liver,) = verdict.structures
    assert (liver.name, liver.cases, liver.before, liver.after) == ("liver", 1, 0.8, 0.9)


def test_every_structure_counts_the_same_in_the_mean_however_many_cases_show_it() -> None:
    parent = {"a": {"liver": 0.8, "spleen": 0.4}, "b": {"liver": 0.8}, "c": {"liver": 0.8}}
    child = {"a": {"liver": 0.8, "spleen": 0.6}, "b": {"liver": 0.8}, "c": {"liver": 0.8}}
    verdict = judge(parent, child, NAMES)
    assert (verdict.before, verdict.after) == (pytest.approx(0.6), pytest.approx(0.7))


def test_with_few_cases_only_the_margin_allows_a_fall() -> None:
    count = CASES_FOR_BOOTSTRAP - 1
    before, after = [0.8] * count, [0.9, 0.5, 0.9, 0.8][:count]
    (liver,) = judge(many("liver", before), many("liver", after), NAMES).structures
    assert liver.allowed_fall == MARGIN
    assert liver.falls


def test_with_enough_cases_a_fall_within_their_scatter_is_allowed() -> None:
    before, after = [0.8] * CASES_FOR_BOOTSTRAP, [0.95, 0.60, 0.95, 0.60, 0.80]
    verdict = judge(many("liver", before), many("liver", after), NAMES)
    (liver,) = verdict.structures
    assert liver.before - liver.after == pytest.approx(0.02)
    assert 0.05 < liver.allowed_fall < 0.2
    assert not liver.falls
    assert not verdict.promoted  # the mean did not rise
    assert "did not rise" in verdict.reason


def test_a_fall_that_all_cases_agree_on_is_refused_with_many_cases_too() -> None:
    (liver,) = judge(many("liver", [0.8] * 8), many("liver", [0.77] * 8), NAMES).structures
    assert liver.allowed_fall == MARGIN
    assert liver.falls


def test_the_same_measurements_give_the_same_verdict() -> None:
    before, after = many("liver", [0.8] * 6), many("liver", [0.9, 0.7, 0.85, 0.75, 0.8, 0.9])
    assert judge(before, after, NAMES) == judge(before, after, NAMES)


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        ({}, {}),
        (one(liver=0.8), one(liver=0.9)),
        (many("liver", [0.8] * 6), many("liver", [0.9, 0.2, 0.85, 0.75, 0.8, 0.9])),
    ],
)
def test_a_verdict_comes_back_from_json_as_it_was(parent: Dice, child: Dice) -> None:
    verdict = judge(parent, child, NAMES)
    assert from_json(Verdict, json.loads(json.dumps(to_json(verdict)))) == verdict


@pytest.mark.parametrize("data", [{}, {"promoted": True}, {**to_json(judge({}, {}, NAMES)), "structures": [{}]}])
def test_what_is_no_verdict_is_told(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is missing"):
        from_json(Verdict, data)

"""Curves of a training: what is drawn of the epochs that the engine told."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ActiveSegModuleLib.logic.training_curves import Curves, ticks, trained_seconds


def epoch(member: int, loss: float | None, **dice: float | None) -> dict[str, Any]:
    return {"member": member, "loss": loss, "dice": dice, "seconds": 90.0}


def test_epochs_count_through_all_members_and_say_where_another_begins() -> None:
    curves = Curves.of([epoch(1, -0.1, liver=0.5, spleen=0.7), epoch(1, -0.2), epoch(2, -0.1, liver=0.4)])
    assert curves.loss.points == ((1, -0.1), (2, -0.2), (3, -0.1))
    assert curves.dice.points == ((1, pytest.approx(0.6)), (3, 0.4))
    assert curves.members == (3,)
    assert curves.count == 3


def test_what_is_no_number_is_left_out() -> None:
    curves = Curves.of([epoch(1, None, liver=None), epoch(1, math.nan), epoch(1, -0.3, liver=0.5)])
    assert curves.loss.points == ((3, -0.3),)
    assert curves.dice.points == ((3, 0.5),)


def test_a_flat_curve_and_an_empty_one_have_room() -> None:
    assert Curves.of([epoch(1, 0.2), epoch(1, 0.2)]).loss.span == (-0.3, 0.7)
    assert Curves.of([]).loss.span == (0.0, 1.0)
    assert Curves.of([]).dice.last is None


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, [0.0, 0.5, 1.0]), (1, 30, [10, 20, 30]), (-0.7, -0.3, [-0.7, -0.6, -0.5, -0.4, -0.3]), (2, 2, [2])],
)
def test_ticks_are_round_and_few(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_how_long_a_training_took_is_the_sum_of_its_epochs() -> None:
    assert trained_seconds([epoch(1, 0.1), {"loss": 0.1}, epoch(2, 0.1)]) == 180.0

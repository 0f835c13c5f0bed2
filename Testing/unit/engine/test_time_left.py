"""How long a job will still take."""

from __future__ import annotations

from activeseg.engine.supervisor.eta import Eta


def test_the_time_left_follows_the_stage_and_then_the_later_ones() -> None:
    eta = Eta({"preprocess": 2.0, "network": 10.0, "resample": 4.0})
    eta.report("start", 0.0, 0.0)
    assert eta.seconds_left(0.0) == 16.0
    eta.report("preprocess", 0.0, 1.0)
    assert eta.seconds_left(2.0) == 15.0
    eta.report("network", 0.0, 3.0)
    eta.report("network", 0.5, 13.0)
    assert eta.seconds_left(13.0) == 14.0, "slower than expected: 10 s more of this stage, and the next"
    eta.report("uncertainty", 0.0, 23.0)
    assert eta.seconds_left(23.0) == 4.0
    eta.report("resample", 0.5, 25.0)
    assert eta.seconds_left(99.0) == 0.0


def test_without_an_estimate_a_stage_tells_its_own_time() -> None:
    eta = Eta()
    eta.report("network", 0.0, 0.0)
    assert eta.seconds_left(1.0) is None
    eta.report("network", 0.25, 2.0)
    assert eta.seconds_left(2.0) == 6.0

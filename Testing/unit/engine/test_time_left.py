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
    eta.report("resample", 0.0, 25.0)
    assert eta.seconds_left(29.0) == 0.0


def test_a_stage_that_takes_longer_than_expected_is_late_and_nothing_is_counted_down() -> None:
    eta = Eta({"network": 10.0, "resample": 4.0})
    eta.report("network", 0.0, 0.0)
    assert (eta.seconds_left(10.0), eta.is_late(10.0)) == (4.0, False)
    assert (eta.seconds_left(40.0), eta.is_late(40.0)) == (None, True)
    eta.report("network", 0.5, 40.0)
    assert (eta.seconds_left(40.0), eta.is_late(40.0)) == (44.0, False)
    assert eta.is_late(140.0), "a part that was said long ago"
    eta.report("load", 0.0, 200.0)
    assert eta.is_late(220.0), "a stage that the estimate left out"


def test_the_part_done_never_falls_whatever_stages_come() -> None:
    eta = Eta({"preprocess": 1.0, "network": 6.0, "resample": 3.0}, {"preprocess": 1.0, "network": 2.0})
    seen, now = [], 0.0
    for stages in (("read", "preprocess", "network", "save"), ("preprocess", "network", "uncertainty", "resample")):
        for stage in stages:
            for fraction in (0.0, 0.3, 0.6, 0.9):
                eta.report(stage, fraction, now)
                seen.append(eta.part_done(now))
                now += 0.4
        eta.label_told()
    assert seen == sorted(seen)
    assert 0.2 < seen[15] < 0.6, "the label is told"
    assert 0.9 < seen[-1] < 1


def test_the_part_done_goes_on_while_a_stage_is_late() -> None:
    eta = Eta({"network": 10.0, "resample": 4.0})
    eta.report("network", 0.0, 0.0)
    seen = [eta.part_done(now) for now in (1.0, 10.0, 20.0, 40.0, 80.0)]
    assert seen == sorted(set(seen))
    assert seen[-1] < 1


def test_without_an_estimate_a_stage_tells_its_own_time() -> None:
    eta = Eta()
    eta.report("network", 0.0, 0.0)
    assert eta.seconds_left(1.0) is None
    eta.report("network", 0.25, 2.0)
    assert eta.seconds_left(2.0) == 6.0


def test_where_only_the_network_is_known_other_stages_tell_no_time_and_do_not_fill_the_bar() -> None:
    eta = Eta({"network": 0.5})
    eta.report("load", 0.0, 0.0)
    assert (eta.seconds_left(10.0), eta.part_done(10.0)) == (None, 0.03)
    eta.report("network", 0.0, 12.0)
    assert eta.seconds_left(12.0) == 0.5
    eta.report("network", 0.5, 13.0)
    assert (eta.seconds_left(13.0), eta.part_done(13.0)) == (1.0, 0.475)
    eta.report("resample", 0.0, 14.0)
    assert (eta.seconds_left(14.0), eta.part_done(14.0)) == (None, 0.85)


def test_where_only_the_network_is_known_two_passes_share_the_bar() -> None:
    eta = Eta({"network": 6.0}, {"network": 2.0})
    eta.report("network", 1.0, 1.0)
    assert eta.part_done(1.0) == 0.4
    eta.label_told()
    eta.report("load", 0.0, 2.0)
    assert eta.part_done(2.0) == 0.515

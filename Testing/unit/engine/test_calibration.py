"""What is remembered of the runs of a model: seconds and bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from activeseg.core.segmenter import Mode, Settings
from activeseg.engine.planning.calibration import Calibration
from activeseg.engine.planning.estimate import Need

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def test_a_run_is_remembered_per_tile_and_per_voxel(tmp_path: Path) -> None:
    calibration = Calibration(tmp_path / "calibration.json")
    key = calibration.key("demo", Settings(), "cpu")
    assert calibration.stages(key, 1, 1) == {}
    calibration.learn(key, {"load": 9.0, "network": 8.0, "regions": 1.0, "total": 18.0}, tiles=4, voxels=1000)
    assert calibration.stages(key, tiles=8, voxels=3000) == {"network": 16.0, "regions": 3.0}
    assert calibration.stages(calibration.key("demo", Settings(mode=Mode.EXACT), "cpu"), 1, 1) == {}


@pytest.mark.parametrize(
    "damaged", ["damaged", "[]", '{"%s": 1}', '{"%s": {"network": "x"}}', '{"%s": {"network": 1e999}}', "[" * 9999]
)
def test_a_damaged_memory_of_runs_is_learnt_again(tmp_path: Path, damaged: str) -> None:
    calibration = Calibration(tmp_path / "calibration.json")
    key = calibration.key("demo", Settings(), "cpu")
    calibration.path.write_text(damaged.replace("%s", key))
    assert calibration.stages(key, 1, 1) == {}
    calibration.learn(key, {"network": 8.0}, tiles=4, voxels=1000)
    assert calibration.stages(key, tiles=8, voxels=1000) == {"network": 16.0}


def test_what_a_run_took_bounds_the_next_ones_and_never_less_for_a_larger_image(tmp_path: Path) -> None:
    calibration = Calibration(tmp_path / "calibration.json")
    key = calibration.peak_key("demo", Settings(), "cpu", loaded=True)
    bound = Need(ram=10_000, voxels=100)
    assert calibration.peak(key, bound, 1000) == bound
    calibration.learn_peak(key, 4_000, bound, 1000)
    assert calibration.peak(key, bound, 1000).ram == 5_000
    assert calibration.peak(key, bound, 500).ram == 5_000
    assert calibration.peak(key, replace(bound, voxels=120), 1000).ram == 6_000
    assert calibration.peak(key, bound, 1500).ram == 7_500
    assert calibration.peak(key, bound, 9000) == bound, "what is only reckoned is never above what sizes alone say"
    calibration.learn_peak(key, 2 * bound.ram, bound, 1000)
    assert calibration.peak(key, bound, 1000).ram > 2 * bound.ram, "what was measured is believed"
    assert calibration.peak(key, bound, 500) == bound, "but not of a smaller image"
    calibration.learn_peak(key, 4_000, bound, 1000)
    for other in (replace(Settings(), members=1), replace(Settings(), in_pieces=True), Settings(structures=("liver",))):
        assert calibration.peak(calibration.peak_key("demo", other, "cpu", loaded=True), bound, 1000) == bound
    assert calibration.peak(calibration.peak_key("demo", Settings(), "cpu", loaded=False), bound, 1000) == bound
    calibration.path.write_text(calibration.path.read_text().replace("4000", "-4"))
    assert calibration.peak(key, bound, 1000) == bound, "damaged"

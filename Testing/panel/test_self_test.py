"""The module's own test, as ``slicer.testing.runUnitTest`` runs it, twice in one application."""

from __future__ import annotations

import unittest
from pathlib import Path
from typing import Any

import slicer
from stand_in_views import LayoutManager


def run(module: Any) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(module.ActiveSegModuleTest).run(result)
    return result


def test_a_users_day_passes_twice_and_leaves_nothing(
    panel: Any, slicer_core: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("ACTIVESEG_TEST_OUTPUT", str(tmp_path / "pictures"))
    slicer.app.layout = LayoutManager(slicer_core)
    for _ in range(2):
        result = run(panel.module)
        assert not result.errors, result.errors[0][1]
        assert not result.failures, result.failures[0][1]
        assert result.testsRun == 2
        assert not result.skipped
    assert len(list((tmp_path / "pictures").glob("*.png"))) >= 12
    drafts = panel.widget.logic.dataFolder / "drafts"
    assert not [path for path in drafts.iterdir() if path.is_dir()]

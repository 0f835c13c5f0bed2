"""What Slicer's status bar says after a start, before the module is opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer
from conftest import ENGINE_PYTHON, ROOT
from PySide6 import QtCore, QtWidgets
from slicer_stand_in import LoadedModule

MODULE = ROOT / "ActiveSegModule" / "ActiveSegModule.py"


@pytest.fixture
def window(slicer_core: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[QtWidgets.QMainWindow]:
    monkeypatch.delenv(ENGINE_PYTHON, raising=False)
    made = QtWidgets.QMainWindow()
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: made)
    yield made
    made.deleteLater()


def kept_draft(folder: Path) -> None:
    """A draft with edits, as its record says."""
    folder.mkdir(parents=True)
    hexes = "0" * 32
    geometry = {"shape_kji": [2, 2, 2], "spacing_xyz_mm": [1, 1, 1], "origin_lps_mm": [0, 0, 0]}
    record = {
        "format": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "saved": "2026-01-01T00:00:00+00:00",
        "state": {"ct_name": "Phantom", "reviewed": 1, "regions": 3},
        "has_edits": True,
        "images": {
            "CT": {
                "file": f"image0-{hexes}.npy",
                "geometry": {**geometry, "direction_lps": [1, 0, 0, 0, 1, 0, 0, 0, 1]},
                "sha256": "",
            }
        },
        "base": f"base-{hexes}",
        "edits": f"edits-{hexes}",
    }
    (folder / "draft.json").write_text(json.dumps(record), "utf-8")


def started() -> LoadedModule:
    """Slicer has started; the module was not opened."""
    import importlib.util
    import sys

    spec = importlib.util.spec_from_file_location(MODULE.stem, MODULE)
    assert spec is not None
    assert spec.loader is not None
    sys.path.append(str(MODULE.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE.stem] = module
    spec.loader.exec_module(module)
    module.register_sample_data = lambda: None
    module.ActiveSegModule(type("Parent", (), {})())
    for signal, slot in slicer.app.slots:
        if signal == "startupCompleted()" and slot is module.offer_what_was_left:
            slot()
    return module


def told(window: QtWidgets.QMainWindow) -> list[Any]:
    return [child for child in window.statusBar().children() if isinstance(child, QtWidgets.QPushButton)]


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(slicer.util, "selectModule", names.append, raising=False)
    return names


def test_corrections_that_a_crash_left_are_told_before_the_module_is_opened_and_without_an_engine(
    window: QtWidgets.QMainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_draft(tmp_path / "data" / "activeseg" / "drafts" / ("a" * 32))
    names = opened(monkeypatch)
    started()
    (button,) = told(window)
    assert "unsaved corrections" in button.text
    button.click()
    assert names == ["ActiveSegModule"]
    module = LoadedModule(MODULE)
    try:
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
        assert told(window) == []
        ui = module.widget.ui
        assert ui.draftFrame.isVisibleTo(ui.draftFrame.parent())
        assert "Phantom" in ui.draftLabel.text
    finally:
        module.close()


@pytest.mark.parametrize(("stage", "said"), [("training", True), ("done", False)])
def test_a_training_that_was_going_on_is_told(window: QtWidgets.QMainWindow, stage: str, said: bool) -> None:
    seen = json.dumps({"project": "/data/livers", "run": "1", "stage": stage})
    import qt

    qt.QSettings().setValue("ActiveSeg/training", seen)
    started()
    assert ["livers" in button.text for button in told(window)] == ([True] if said else [])


@pytest.mark.parametrize(("stage", "said"), [("stopped", "has stopped"), ("failed", "has failed"), ("done", "is done")])
def test_what_became_of_a_training_while_slicer_was_closed_is_told(
    window: QtWidgets.QMainWindow, tmp_path: Path, stage: str, said: str
) -> None:
    state = tmp_path / "livers" / "runs" / "1" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text(json.dumps({"stage": stage}), "utf-8")
    seen = json.dumps({"project": str(tmp_path / "livers"), "run": "1", "stage": "training"})
    import qt

    qt.QSettings().setValue("ActiveSeg/training", seen)
    started()
    assert [said in button.text for button in told(window)] == [True]


def test_where_nothing_is_left_nothing_is_said(window: QtWidgets.QMainWindow) -> None:
    started()
    assert told(window) == []


def test_a_module_that_opens_with_slicer_says_it_itself(window: QtWidgets.QMainWindow, tmp_path: Path) -> None:
    """Where it is the start module it is open before Slicer says that it has started."""
    kept_draft(tmp_path / "data" / "activeseg" / "drafts" / ("a" * 32))
    module = LoadedModule(MODULE)
    try:
        module.module.offer_what_was_left()
        assert told(window) == []
    finally:
        module.close()


@pytest.mark.parametrize("nonsense", ["7", "[]", '{"project": 5, "run": [], "stage": "running"}', "{", "null"])
def test_settings_of_another_version_do_not_keep_the_module_from_opening(
    window: QtWidgets.QMainWindow, nonsense: str
) -> None:
    from ActiveSegModuleLib.logic.training import LAST_TRAINING
    from ActiveSegModuleLib.panel.region_table import COLUMNS_SETTING

    for key in (LAST_TRAINING, COLUMNS_SETTING):
        QtCore.QSettings().setValue(key, nonsense)
    module = LoadedModule(MODULE)
    module.enter()
    module.close()

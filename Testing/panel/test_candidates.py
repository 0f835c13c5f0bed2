"""A candidate of ``activeseg dataset refine`` in the panel: opened with its list, decided on, and exported."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from slicer_stand_in import LoadedModule
from user import User, until

from activeseg.core.volume import Volume
from activeseg.io.images import read_label_map, write_volume
from activeseg.samples.phantom import Domain, make_phantom, phantom_geometry

BLOCK = np.s_[10:15, 12:18, 14:20]
"""Where the old labels have lungs and the CT has none."""


@pytest.fixture
def user(panel: LoadedModule, slicer_core: Any) -> User:
    return User(panel, slicer_core)


@pytest.fixture
def candidates(engine_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One case whose old labels have lungs in the middle of the abdomen; a single member proposes others."""
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))

    def activeseg(*words: object) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "ActiveSegExtension")}
        command = [str(engine_python), "-m", "activeseg.cli", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr

    ct = make_phantom(Domain.CONTRAST, 5, geometry=phantom_geometry((8.0, 8.0, 8.0))).ct
    write_volume(ct, tmp_path / "ct.nii.gz")
    activeseg(
        "segment", tmp_path / "ct.nii.gz", "-m", "hounsfield", "-o", tmp_path / "out", "--structures", "lungs,bone"
    )

    found = read_label_map(tmp_path / "out" / "labels.nii.gz")
    old = np.array([0, 0, 1, 2, 0, 0, 0], np.uint8)[found.array]  # lungs are 2 there, and bone is 3
    old[BLOCK] = 1
    write_volume(Volume(old, found.geometry), tmp_path / "old.nii.gz")
    dataset, refined = tmp_path / "Dataset501_Old", tmp_path / "Dataset502_New"
    activeseg("dataset", "add", dataset, tmp_path / "ct.nii.gz", tmp_path / "old.nii.gz", "--structures", "lungs,bone")
    activeseg("dataset", "refine", dataset, "-m", "hounsfield", "-o", refined, "--members", 1)
    return refined


def open_candidate(user: User, dataset: Path) -> Any:
    """As a user does: *Export*, *Cases...*, the case, *Open*."""
    ui = user.ui
    ui.exportStep.click()
    user.node.dataset = str(dataset)
    ui.casesButton.click()
    until(lambda: ui.datasetTable.rowCount == 1)
    ui.datasetTable.selectRow(0)
    until(lambda: ui.caseOpenButton.enabled)
    ui.caseOpenButton.click()
    until(lambda: user.case is not None and user.case.origin is not None and user.listed)
    return user.case


def record_of(dataset: Path) -> dict[str, Any]:
    (path,) = dataset.glob("provenance/CT_*.json")
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return record


def test_a_candidate_is_opened_with_its_list_and_exported_as_reviewed(user: User, candidates: Path) -> None:
    assert record_of(candidates)["current"]["provenance"]["origin"] == "machine"
    case = open_candidate(user, candidates)
    first = user.listed[0]
    assert user.row(first)["Why"] == "labels differ"
    assert "lungs" in user.row(first)["Structure"]
    assert set(user.states()) == {"open"}

    user.ui.reviewStep.click()
    user.choose_row(first)
    until(lambda: user.ui.alternativesList.count == 1)
    region = case.regions.region(first)
    before = case.labels_in(region.box_kji)
    user.ui.alternativesList.setCurrentRow(0)
    user.ui.takeAlternativeButton.click()
    until(lambda: user.states()[first - 1] == "corrected")
    changed = case.labels_in(region.box_kji) != before
    assert changed.sum() >= 90, "the model's version is there, in most of the block of 180 voxels"

    user.ui.exportStep.click()
    user.export(candidates)
    record = record_of(candidates)
    assert record["current"]["provenance"]["origin"] == "corrected"
    assert record["history"][0]["provenance"]["origin"] == "machine"
    states = {r["number"]: r["state"] for r in record["current"]["provenance"]["correction"]["regions"]}
    assert states[first] == "corrected"

    case.remove()
    until(lambda: user.case is None)
    open_candidate(user, candidates)
    assert user.states()[first - 1] == "corrected", "what was decided is remembered"


def test_the_draft_of_a_candidate_brings_its_list_back(user: User, candidates: Path) -> None:
    case = open_candidate(user, candidates)
    numbers, id = user.listed, case.id
    user.ui.reviewStep.click()
    user.choose_row(numbers[0])
    user.ui.acceptButton.click()
    until(lambda: user.states()[numbers[0] - 1] == "accepted")
    saved: list[bool] = []
    user.logic.drafts.save(case, lambda: saved.append(True), lambda error: pytest.fail(str(error)))
    until(lambda: saved)
    case.remove()
    until(lambda: user.case is None)
    opened: list[Any] = []
    user.logic.drafts.open(id, user.core.scene, opened.append, lambda error: pytest.fail(str(error)))
    until(lambda: opened)
    assert [region.number for region in opened[0].regions.regions] == sorted(numbers)
    assert str(opened[0].regions.states()[numbers[0]]) == "accepted"
    assert opened[0].origin["case"] == "CT_0001"

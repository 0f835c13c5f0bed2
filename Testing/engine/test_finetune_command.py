"""Fine-tuning from the command line, as a user calls it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from finetuned import add, piece

from activeseg.io.images import write_volume
from activeseg.learning.project.project import Project
from activeseg.learning.project.version import BASE
from activeseg.samples.phantom import PHANTOM_SCHEMA, Domain

SMALL = ("--members", 1, "--epochs", 1, "--iterations", 2, "--batch-size", 1, "--patch", "16,24,24", "--device", "cpu")


def activeseg(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "activeseg.cli", *map(str, arguments)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def document(*arguments: object) -> dict[str, Any]:
    """Of a command that works: stdout is one JSON document."""
    done = activeseg(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """One case to train on, one held out."""
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))
    project = Project.create(tmp_path / "organs", "demo")
    for seed, patient in enumerate("AB"):
        add(project, seed, patient)
    return project


def test_from_a_plan_to_a_comparison(project: Project, tmp_path: Path) -> None:
    folder = project.folder
    write_volume(piece(9, Domain.CONTRAST).ct, tmp_path / "ct.nii.gz")
    assert document("project", "replay", folder, tmp_path / "ct.nii.gz", "--device", "cpu") == {"added": ["CT_0001"]}
    planned = document("finetune", folder, "--plan", *SMALL)
    assert (planned["parent"], planned["cases"], planned["held_out"]) == (BASE, ["CT_0001"], 1)
    assert planned["replayed"] == ["CT_0001"]
    assert planned["plan"]["patch_kji"] == [16, 24, 24]
    assert not (folder / "runs").exists()
    ended = document("finetune", folder, *SMALL)
    assert (ended["stage"], ended["version"], ended["fraction"]) == ("done", "v0001", 1.0)
    assert document("training", "show", folder) == ended
    listed = document("versions", "list", folder)
    assert [version["id"] for version in listed["versions"]] == ["v0001"]
    assert listed["current"] == ("v0001" if ended["promoted"] else BASE)
    picture = tmp_path / "dice.png"
    compared = document("versions", "compare", folder, BASE, "v0001", "--picture", picture, "--device", "cpu")
    assert compared["verdict"]["reason"] == ended["verdict"]
    assert {row[0] for row in compared["rows"]} <= set(PHANTOM_SCHEMA.names)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_detached_fine_tuning_is_found_again_and_cancelled(project: Project) -> None:
    folder = project.folder
    begun = document("finetune", folder, "--detach", *SMALL, "--epochs", 50, "--iterations", 100)
    assert document("training", "show", folder)["run"] == begun["run"]
    assert activeseg("finetune", folder, *SMALL).returncode == 4
    document("training", "pause", folder)
    document("training", "resume", folder)
    assert document("training", "stop", folder)["stage"] == "stopped"
    document("training", "resume", folder)
    assert document("training", "cancel", folder)["stage"] == "cancelled"
    assert list(project.versions()) == []
    ended = activeseg("training", "resume", folder)
    assert ended.returncode == 2
    assert "has ended" in ended.stderr


def test_what_cannot_be_done_is_told_in_a_sentence(project: Project, tmp_path: Path) -> None:
    nothing = activeseg("training", "show", project.folder)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "Start a fine-tuning" in nothing.stderr
    wrong = activeseg("finetune", project.folder, "--plan", "--replay", "1.0")
    assert wrong.returncode == 2
    assert "nothing new would be learnt" in wrong.stderr
    assert "one number for each axis" in activeseg("finetune", project.folder, "--patch", "16,a,24").stderr
    assert activeseg("finetune", project.folder, "--plan", "--parent", "v0007").returncode == 3
    assert activeseg("finetune", tmp_path / "nowhere").returncode == 4

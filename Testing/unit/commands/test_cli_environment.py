"""The engine's environment by the command line."""

from __future__ import annotations

import pytest
from command_line import runner
from installable import PYTHON


@pytest.fixture
def activeseg(monkeypatch, capfd):
    return runner(monkeypatch, capfd)


def test_the_command_line_tells_that_nothing_is_installed_and_removes_nothing(activeseg, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine", "utf-8")
    check = activeseg("environment", "check", "--folder", tmp_path, "--json")
    assert check.code == 1
    assert check.document["error"]["details"]["status"]["state"] == "missing"
    remove = activeseg("environment", "remove", "--folder", tmp_path)
    assert remove.code == 2
    assert "not made by ActiveSeg" in remove.err
    assert (tmp_path / "thesis.txt").exists()


def test_the_command_line_tells_the_plan(activeseg, tmp_path):
    plan = activeseg("environment", "plan", "-f", tmp_path / "new", "--python", PYTHON, "--torch", "cpu", "--json")
    assert plan.code == 0
    assert plan.document["plan"]["accelerator"] == "cpu"
    assert plan.document["plan"]["disk_bytes"] > 1e9
    assert not (tmp_path / "new").exists()

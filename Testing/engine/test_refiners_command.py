"""``activeseg refiners``: the user's weights of nnInteractive are used once their licence was shown and confirmed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from nninteractive_standin import write_standin

from activeseg.cli import main
from activeseg.segmenters.nninteractive import weights

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout and stderr of ``activeseg refiners``."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["activeseg", "refiners", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), *capfd.readouterr()

    return command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(weights, "data_folder", lambda: tmp_path / "user")
    monkeypatch.delenv(weights.PLACE, raising=False)
    return write_standin(tmp_path / "weights", licence="CC BY-NC-SA 4.0\nNot for commercial use.\n")


def test_without_confirmation_the_licence_is_shown_and_the_weights_are_not_used(run: Run, folder: Path) -> None:
    code, _, said = run("add", "nninteractive", folder)
    assert code == 3
    assert "Not for commercial use." in said
    assert "'CC BY-NC-SA 4.0' (not for commercial use), which you have not confirmed" in said
    assert "--accept-licence" in said
    (found,) = [entry for entry in json.loads(run("list", "--json")[1])["refiners"] if entry["folder"]]
    assert (found["name"], found["state"]) == ("nninteractive", "licence")


def test_with_confirmation_they_are_and_once_is_enough(run: Run, folder: Path) -> None:
    code, printed, said = run("add", "nninteractive", folder, "--accept-licence", "--json")
    assert code == 0
    assert json.loads(printed)["refiner"]["state"] == "ready"
    assert "Not for commercial use." in said
    code, printed, _ = run("add", "nninteractive", folder)
    assert code == 0
    assert "CC BY-NC-SA 4.0" in printed


def test_the_list_says_what_is_missing_and_where_weights_are_published(run: Run, folder: Path) -> None:
    _, printed, _ = run("list")
    assert "walker" in printed
    assert "weights missing" in printed
    assert "huggingface.co/MIC-DKFZ/nnInteractive" in printed


@pytest.mark.parametrize(("name", "code"), [("walker", 2), ("nninteractive", 3)])
def test_a_refiner_without_weights_and_a_folder_without_them_are_refused(
    run: Run, folder: Path, name: str, code: int
) -> None:
    ended, printed, _ = run("add", name, folder.parent / "nothing", "--accept-licence")
    assert ended == code
    assert printed == ""

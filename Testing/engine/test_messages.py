"""The short form of ``Testing/soak/messages.py``: odd messages are answered once each, and the engine lives on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "soak"))

import messages


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    return folder


def test_two_thousand_messages_are_answered_once_each_and_the_engine_lives_on(sandbox: Path) -> None:
    counts = messages.to_the_supervisor(2000, 1, sandbox)
    assert counts["answered"] >= 2000
    assert counts["result"] > 50


@pytest.mark.parametrize("role", ["worker", "clerk"])
def test_a_process_of_the_engine_answers_or_ends(sandbox: Path, role: str) -> None:
    counts = messages.to_a_child(12, 1, sandbox, role)
    assert counts["answered"] + counts["ended instead"] == counts["sent"]


def test_the_clients_half_takes_whatever_an_engine_says(sandbox: Path) -> None:
    counts = messages.to_the_client(2000, 1, sandbox)
    assert counts["Result"] > 0
    assert counts["ProgressEvent"] > 0

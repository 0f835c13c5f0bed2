"""A program in the place of ``environment_command`` that says what a test wants, and waits where it would work."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from activeseg.client.environment.environment import default_folder
from activeseg.core.errors import ActiveSegError, Cancelled

_PROGRAM = """
import pathlib, sys
action = pathlib.Path({answers!r}) / sys.argv[5]
if action.with_suffix(".said").exists():
    print(action.with_suffix(".said").read_text("utf-8"), flush=True)
if action.with_suffix(".cancelled").exists():
    sys.stdin.read()
    print(action.with_suffix(".cancelled").read_text("utf-8"), flush=True)
"""
PLAN = {
    "folder": "",
    "accelerator": "cuda",
    "packages": 98,
    "download_bytes": 3_120_000_000,
    "disk_bytes": 7_300_000_000,
    "free_bytes": 120_400_000_000,
    "present_bytes": 0,
    "minutes": 12,
    "mbit_per_s": 50,
    "weights_bytes": {"totalsegmentator:total-fast": 135_400_000, "totalsegmentator:total": 1_170_000_000},
}


class Installer:
    """What it answers to each action from now on."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._answers = folder / "answers"
        self._answers.mkdir()
        code = folder / "scripted.py"
        code.write_text(_PROGRAM.format(answers=str(self._answers)), "utf-8")
        program = folder / "bin" / "PythonSlicer"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{code}" "$@"\n', "utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        self.plans()

    def plans(self, **other: Any) -> None:
        self._says("plan", {"result": {"plan": {**PLAN, **other}, "sentences": []}})

    def works(self, action: str, stage: str, text: str, **progress: Any) -> None:
        """It says how far it is, and goes on until it is cancelled; then 412 MB are kept."""
        self._says(action, {"progress": {"stage": stage, "text": text, **progress}})
        cancelled = Cancelled()
        cancelled.details["kept_bytes"] = 412_000_000
        self._file(action, "cancelled").write_text(json.dumps({"error": cancelled.to_dict()}), "utf-8")

    def does(self, action: str, **result: Any) -> None:
        """It is done at once."""
        self._file(action, "cancelled").unlink(missing_ok=True)
        self._says(action, {"result": {"state": "ready", **result}})

    def fails(self, action: str, error: ActiveSegError) -> None:
        self._file(action, "cancelled").unlink(missing_ok=True)
        self._says(action, {"error": error.to_dict()})

    def _says(self, action: str, *messages: dict[str, Any]) -> None:
        self._file(action, "said").write_text("".join(json.dumps(message) + "\n" for message in messages), "utf-8")

    def _file(self, action: str, kind: str) -> Path:
        return self._answers / f"{action}.{kind}"


def begun() -> None:
    """An installation was begun in the folder, and not completed."""
    folder = default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "activeseg-environment.json").write_text('{"activeseg_environment": 1, "options": {}}', "utf-8")


def completed(lock: str = "") -> Path:
    """An environment that looks complete, made for the packages of ``lock``; its Python reads and never answers."""
    from activeseg.client.environment.lock import engine_lock

    begun()
    environment = default_folder() / "environment"
    python = environment / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text("#!/bin/sh\nexec cat >/dev/null\n", "utf-8")
    python.chmod(0o755)
    said = {"lock": lock or engine_lock().digest, "versions": {}}
    (environment / "installed.json").write_text(json.dumps(said), "utf-8")
    return python

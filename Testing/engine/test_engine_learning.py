"""Projects through a real engine; a fine-tuning goes on when the engine has ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finetuned import TINY, add, ended, until_iteration
from processes import soon_gone
from running_engine import WatchedEngine

from activeseg.core.errors import DatasetError, InputError
from activeseg.learning.project.project import Project
from activeseg.learning.training.run_folder import RunFolder, Stage


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedEngine]:
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))
    with WatchedEngine(tmp_path / "home") as started:
        yield started


@pytest.fixture
def project(engine: WatchedEngine, tmp_path: Path) -> Project:
    """One case to train on, one held out."""
    folder = tmp_path / "organs"
    shown = engine.do("project.new", {"project": str(folder), "model": "demo"})
    assert [version["id"] for version in shown["versions"]] == ["base"]
    made = Project.open(folder)
    for seed, patient in enumerate("AB"):
        add(made, seed, patient)
    return made


def ask(engine: WatchedEngine, method: str, project: Project, **more: Any) -> Any:
    return engine.do(method, {"project": str(project.folder), **more})


def test_a_fine_tuning_outlives_the_engine_and_the_next_one_finds_it(
    engine: WatchedEngine, project: Project, tmp_path: Path
) -> None:
    planned = ask(engine, "finetune.plan", project, changes={**TINY, "epochs": 2})
    assert ["corrected cases", "1"] in planned["rows"]
    begun = ask(engine, "finetune.start", project, plan=planned["plan"])
    assert begun["stage"] not in ("failed", "cancelled")
    processes = engine.processes()
    engine.do("shutdown")
    assert soon_gone(processes)
    assert ended(RunFolder.last_of(project)).stage is Stage.DONE
    with WatchedEngine(tmp_path / "home2") as other:
        state = ask(other, "finetune.state", project)
        assert (state["stage"], state["version"], len(state["epochs"])) == ("done", "v0001", 2)
        assert ask(other, "finetune.state", project, after=state["after"])["epochs"] == []
        shown = ask(other, "versions.promote", project, version="v0001", reason="a test")
        assert shown["current"] == "v0001"
        assert shown["promotions"][-1]["by"] == "user"
        rows = ask(other, "versions.compare", project, first="base", second="v0001")["rows"]
        assert {row[0] for row in rows} <= set(project.dataset().schema.names)
        assert ask(other, "versions.rollback", project)["current"] == "base"


def test_a_pause_lasts_and_a_cancel_ends_it(engine: WatchedEngine, project: Project) -> None:
    planned = ask(engine, "finetune.plan", project, changes={**TINY, "epochs": 50, "iterations": 50})
    ask(engine, "finetune.start", project, plan=planned["plan"])
    run = RunFolder.last_of(project)
    until_iteration(run, 1)
    assert ask(engine, "finetune.control", project, control="pause")["paused"]
    assert run.is_alive
    ask(engine, "finetune.control", project, control="cancel")
    assert ended(run).stage is Stage.CANCELLED


def test_what_cannot_be_is_told_in_one_sentence(engine: WatchedEngine, project: Project, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no project"):
        engine.do("project.show", {"project": str(tmp_path / "nowhere")})
    with pytest.raises(InputError, match="Nothing was trained"):
        ask(engine, "finetune.state", project)
    with pytest.raises(InputError, match="has no 'speed'"):
        ask(engine, "finetune.plan", project, changes={"speed": 3})
    with pytest.raises(InputError, match="empty"):
        ask(engine, "project.admit", project, case="CT_0001", patient=" ")

"""Projects through a real engine; a fine-tuning goes on when the engine has ended."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finetuned import TINY, add, ended, piece, until_iteration
from processes import soon_gone
from running_engine import WatchedEngine

from activeseg.core.errors import ActiveSegError, DatasetError, DeviceError, InputError, ModelError
from activeseg.dataset import NewCase
from activeseg.learning.project.project import Project
from activeseg.learning.training.run_folder import RunFolder, Stage
from activeseg.segmenters.demo import demo_segmenter


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


@pytest.mark.parametrize(
    ("changes", "more", "kind", "message"),
    [
        ({"frozen_stages": 4}, {}, InputError, "4 stages cannot be frozen: the encoder has 4"),
        ({"patch_kji": [16, 20, 24]}, {}, InputError, "cannot be trained with the patch"),
        ({"patch_kji": [16, 24]}, {}, InputError, "The patch has 2 numbers; the network needs 3"),
        ({"members": 1.5}, {}, InputError, "'members' is 1.5"),
        ({"device": "abacus"}, {}, DeviceError, "There is no device 'abacus'"),
        ({}, {"part": "Dataset9"}, InputError, "no part 'Dataset9'"),
        ({}, {"parent": "v0007"}, ModelError, "no version 'v0007'"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_before_anything_begins(
    engine: WatchedEngine,
    project: Project,
    changes: dict[str, Any],
    more: dict[str, Any],
    kind: type[ActiveSegError],
    message: str,
) -> None:
    with pytest.raises(kind, match=message):
        ask(engine, "finetune.start", project, plan={**TINY, **changes}, **more)
    assert RunFolder.all_of(project) == []


def test_a_project_on_a_dataset_that_is_there_knows_whose_its_cases_are(
    engine: WatchedEngine, project: Project, tmp_path: Path
) -> None:
    dataset = project.dataset()
    for seed, patient in ((3, "A"), (4, "B")):
        phantom = piece(seed)
        dataset.add_case(replace(NewCase.of_truth(phantom.ct, phantom.labels), source={"patient": patient}))
    given = {"project": str(tmp_path / "later"), "model": "demo", "dataset": str(dataset.folder)}
    shown = engine.do("project.new", given)
    assert list(shown["cases"].values()) == [None, None, "train", "held out"]


def test_without_a_case_to_learn_from_nothing_begins(engine: WatchedEngine, tmp_path: Path) -> None:
    engine.do("project.new", {"project": str(tmp_path / "organs"), "model": "demo"})
    empty = Project.open(tmp_path / "organs")
    with pytest.raises(InputError, match="no case to learn from"):
        ask(engine, "finetune.start", empty, plan=TINY)
    assert RunFolder.all_of(empty) == []


def test_a_fine_tuning_whose_model_is_gone_is_not_resumed(
    engine: WatchedEngine, project: Project, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(demo_segmenter().folder, model)
    project.change(lambda state: replace(state, base_model=f"nnunet:{model}"))
    ask(engine, "finetune.start", project, plan={**TINY, "epochs": 50, "iterations": 50})
    run = RunFolder.last_of(project)
    until_iteration(run, 1)
    ask(engine, "finetune.control", project, control="stop")
    assert ended(run).stage is Stage.STOPPED
    model.rename(tmp_path / "away")
    with pytest.raises(ModelError, match="not a trained nnU-Net model"):
        ask(engine, "finetune.control", project, control="run")
    assert run.state.stage is Stage.STOPPED


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

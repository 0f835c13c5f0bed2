"""The engine's environment as the panel changes it: in a process of its own, watched, cancelled, never in doubt."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from PySide6 import QtCore
from settings import Settings
from watched_process import until

from activeseg.core.errors import ActiveSegError, Cancelled, EngineError, InputError
from ActiveSegModuleLib.engine.engine_process import Listeners
from ActiveSegModuleLib.engine.installed_engine import InstalledEngine
from ActiveSegModuleLib.logic.installation import FOLDER, Installation, PythonOrigin
from ActiveSegModuleLib.logic.sources import Sources


class Answers:
    """What the callbacks of one action were given."""

    def __init__(self) -> None:
        self.results: list[Mapping[str, Any]] = []
        self.errors: list[ActiveSegError] = []

    def wait(self) -> None:
        until(lambda: self.results or self.errors)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[list[Installation]]:
    made: list[Installation] = []
    yield made
    for installation in made:
        installation.shutdown()
    until(lambda: not psutil.Process().children(recursive=True))


@pytest.fixture
def installation(tmp_path: Path, made: list[Installation]) -> Installation:
    made.append(Installation(QtCore, Settings({FOLDER: str(tmp_path / "engine")}), lambda: None, environment={}))
    return made[0]


def do(installation: Installation, action: str, **more: Any) -> Answers:
    answers = Answers()
    installation.run(action, answers.results.append, answers.errors.append, **more)
    return answers


def test_at_first_nothing_is_installed_and_looking_starts_nothing(installation: Installation) -> None:
    assert installation.origin is PythonOrigin.NONE
    assert installation.python is None
    assert installation.working is None
    assert not installation.folder.exists()


def test_the_variable_wins_over_everything(tmp_path: Path, made: list[Installation]) -> None:
    made.append(Installation(QtCore, Settings(), lambda: None, environment={"ACTIVESEG_ENGINE_PYTHON": "/some/python"}))
    assert made[0].origin is PythonOrigin.VARIABLE
    assert made[0].python == Path("/some/python")


def test_a_plan_tells_size_and_place_and_writes_nothing(installation: Installation) -> None:
    answers = do(installation, "plan", sources=Sources(torch="cpu"))
    assert installation.working is not None
    answers.wait()
    assert not answers.errors
    assert any(str(installation.folder) in sentence for sentence in answers.results[0]["sentences"])
    assert not installation.folder.exists()
    assert installation.working is None


def test_an_installation_without_internet_and_wheels_fails_in_words(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    answers = do(installation, "install", sources=Sources(wheels=str(tmp_path / "wheels"), offline=True))
    answers.wait()
    assert not answers.results
    assert "uv" in str(answers.errors[0])
    assert installation.python is None


def test_cancelling_ends_everything_that_was_started(tmp_path: Path, made: list[Installation]) -> None:
    told: list[str] = []

    def changed() -> None:
        told.append(made[0].working.stage if made[0].working else "")

    made.append(Installation(QtCore, Settings({FOLDER: str(tmp_path / "engine")}), changed, environment={}))
    installation = made[0]
    answers = do(installation, "install", sources=Sources(torch="cpu"))
    until(lambda: any(told) or answers.errors)
    installation.cancel()
    answers.wait()
    assert [type(error) for error in answers.errors] == [Cancelled]
    assert installation.working is None
    assert installation.python is None


def test_one_action_at_a_time(installation: Installation) -> None:
    first = do(installation, "plan")
    with pytest.raises(InputError, match="'plan' is still going on"):
        do(installation, "check")
    first.wait()
    second = do(installation, "check")
    second.wait()
    assert second.results[0]["state"] == "missing"


def test_the_next_action_may_begin_in_the_answer_to_the_first(installation: Installation) -> None:
    second = Answers()
    installation.run(
        "plan",
        lambda _: installation.run("check", second.results.append, second.errors.append),
        second.errors.append,
    )
    second.wait()
    assert not second.errors


def test_a_program_that_cannot_be_started_is_one_error(tmp_path: Path, made: list[Installation]) -> None:
    made.append(Installation(QtCore, Settings(), lambda: None, python=str(tmp_path / "nothing"), environment={}))
    answers = do(made[0], "check")
    answers.wait()
    assert "cannot be started" in str(answers.errors[0])
    assert made[0].working is None


@pytest.mark.skipif(sys.platform == "win32", reason="a '#!' script")
def test_a_program_that_dies_is_one_error_with_what_it_said(tmp_path: Path, made: list[Installation]) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho broken pipe dream >&2\nexit 3\n", "utf-8")
    script.chmod(0o755)
    made.append(Installation(QtCore, Settings(), lambda: None, python=str(script), environment={}))
    answers = do(made[0], "check")
    answers.wait()
    (error,) = answers.errors
    assert isinstance(error, EngineError)
    assert "exit code 3" in str(error)
    assert error.details["log"] == ["broken pipe dream"]


def test_shutting_down_ends_the_process_and_tells_nobody(installation: Installation) -> None:
    answers = do(installation, "install", sources=Sources(torch="cpu"))
    until(lambda: psutil.Process().children())
    installation.shutdown()
    until(lambda: not psutil.Process().children(recursive=True))
    QtCore.QCoreApplication.processEvents()
    assert not answers.results
    assert not answers.errors


def test_another_folder_is_remembered_and_the_default_is_not(installation: Installation, tmp_path: Path) -> None:
    from activeseg.client.environment.environment import default_folder

    installation.set_folder(str(tmp_path / "elsewhere"))
    assert installation.folder == tmp_path / "elsewhere"
    installation.set_folder("")
    assert installation.folder == default_folder()


def of(tmp_path: Path, made: list[Installation], **variables: str) -> Installation:
    made.append(Installation(QtCore, Settings({FOLDER: str(tmp_path / "engine")}), lambda: None, environment=variables))
    return made[-1]


def test_a_variable_that_names_nothing_is_an_obstacle_that_names_it(tmp_path: Path, made: list[Installation]) -> None:
    wrong = of(tmp_path, made, ACTIVESEG_ENGINE_PYTHON=str(tmp_path / "gone" / "python"))
    assert wrong.variable_is_wrong
    assert wrong.obstacle is not None
    assert "ACTIVESEG_ENGINE_PYTHON" in str(wrong.obstacle)
    assert str(tmp_path / "gone" / "python") in str(wrong.obstacle)
    wrong.ignore_variable()
    assert wrong.obstacle is not None
    assert wrong.obstacle.details["cause"] == "missing"
    right = of(tmp_path, made, ACTIVESEG_ENGINE_PYTHON=sys.executable)
    assert right.obstacle is None


def test_what_was_begun_and_not_completed_is_told_from_nothing(installation: Installation) -> None:
    assert not installation.is_incomplete
    installation.folder.mkdir()
    marker = {"activeseg_environment": 1, "options": {}}
    (installation.folder / "activeseg-environment.json").write_text(json.dumps(marker), "utf-8")
    assert installation.is_incomplete
    assert installation.obstacle is not None
    assert installation.obstacle.details["cause"] == "incomplete"
    checked = do(installation, "check")
    checked.wait()
    assert checked.results[0]["state"] == "incomplete"


def test_while_the_environment_is_changed_no_engine_starts_in_it(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    looked = do(installation, "plan")
    assert installation.obstacle is not None
    assert installation.obstacle.details["cause"] == "missing", "a plan changes nothing"
    looked.wait()
    answers = do(installation, "remove")
    engine = InstalledEngine(QtCore, installation, tmp_path / "home", {}, Listeners())
    with pytest.raises(EngineError, match="is being removed"):
        engine.request("system.info")
    answers.wait()
    with pytest.raises(EngineError, match="not installed"):
        engine.request("system.info")
    engine.close()


def test_where_packages_come_from_is_remembered_but_no_password(tmp_path: Path) -> None:
    settings = Settings({FOLDER: str(tmp_path / "engine")})
    installation = Installation(QtCore, settings, lambda: None, environment={})
    sources = Sources(str(tmp_path), True, "http://reader:secret@proxy.local:3128", "cpu")
    installation.remember(sources)
    again = Installation(QtCore, settings, lambda: None, environment={})
    assert again.sources == Sources(str(tmp_path), True, "http://reader@proxy.local:3128", "cpu")
    assert "secret" not in str(settings)


def test_a_proxys_password_is_on_no_command_line(installation: Installation) -> None:
    do(installation, "install", sources=Sources(proxy="http://reader:secret@127.0.0.1:9", torch="cpu"))
    until(lambda: psutil.Process().children())
    (child,) = psutil.Process().children()
    with child.oneshot():
        assert not [part for part in child.cmdline() if "secret" in part]
    installation.shutdown()


def test_without_internet_and_without_wheels_nothing_is_started(installation: Installation) -> None:
    with pytest.raises(InputError, match="folder of wheels is needed"):
        do(installation, "plan", sources=Sources(offline=True))
    with pytest.raises(InputError, match="no folder 'nowhere'"):
        do(installation, "plan", sources=Sources(wheels="nowhere"))
    assert installation.working is None


def test_a_package_that_cannot_be_imported_is_damage_and_a_wrong_ct_is_none(
    tmp_path: Path, made: list[Installation]
) -> None:
    installation = of(tmp_path, made, ACTIVESEG_ENGINE_PYTHON=sys.executable)
    installation.suspect(InputError("This is no CT."))
    assert installation.damage == ""
    installation.suspect(EngineError("A package of the engine is missing.", "Repair it.", cause="imports"))
    assert installation.damage == "A package of the engine is missing."


def test_who_waits_for_an_engine_that_is_stopped_is_told_once(
    tmp_path: Path, made: list[Installation], engine_python: Path
) -> None:
    """Else a section of the panel would wait for ever, with its buttons off."""
    installation = of(tmp_path, made, ACTIVESEG_ENGINE_PYTHON=str(engine_python))
    engine = InstalledEngine(QtCore, installation, tmp_path / "home", dict(os.environ), Listeners())
    answers = Answers()
    engine.request("system.info", on_result=answers.results.append, on_error=answers.errors.append)
    engine.shutdown()
    answers.wait()
    assert [type(error) for error in answers.errors] == [Cancelled]
    again = Answers()
    engine.request("system.info", on_result=again.results.append, on_error=again.errors.append)
    again.wait()
    assert again.results
    engine.close()
    QtCore.QCoreApplication.processEvents()
    assert len(answers.errors) == 1
    assert not again.errors

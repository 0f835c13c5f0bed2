"""A user sets up the engine in the panel, something goes wrong, and he is told what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ENGINE_PYTHON, ROOT
from PySide6 import QtCore
from slicer_stand_in import LoadedModule
from user import User, until

sys.path.insert(0, str(ROOT / "Testing" / "unit"))
from installable import load_uv, make_wheel

from activeseg.core.errors import EngineError, ModelError

MODULE = ROOT / "ActiveSegModule" / "ActiveSegModule.py"
SMALL = """
import sys
sys.path[:0] = [{unit!r}, {package!r}]
from installable import small_lock
from activeseg.client.environment_command import main
sys.exit(main(sys.argv[5:], lock=small_lock()))
"""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genuine uv, and packages so small that an installation takes seconds."""
    folder = tmp_path_factory.mktemp("wheels")
    load_uv(folder)
    make_wheel(folder, "alveole", "1.0", needs=("bronchus", "trachea"))
    make_wheel(folder, "bronchus", "1.0")
    return folder


class Setup(User):
    """Works with the section Engine; writes down what was told and asked."""

    def __init__(self, module: LoadedModule, core: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(module, core)
        self.notices: list[str] = []
        self.questions: list[str] = []
        tell = self.widget.panel.message.notice

        def notice(text: str, *action: Any) -> None:
            self.notices.append(text)
            tell(text, *action)

        monkeypatch.setattr(self.widget.panel.message, "notice", notice)
        monkeypatch.setattr(self.widget.panel, "confirm", self.agree)

    def agree(self, question: str, _yes: str = "") -> bool:
        self.questions.append(question)
        return True

    def is_free(self) -> bool:
        return self.logic.installation.working is None

    def state(self) -> str:
        return str(self.ui.engineStateLabel.text)

    def state_is_red(self) -> bool:
        return "color" in self.ui.engineStateLabel.styleSheet

    def come_from(self, wheels: Path) -> None:
        self.ui.wheelsEdit.text = str(wheels)
        self.ui.offlineCheckBox.checked = True

    def install(self, wheels: Path) -> None:
        self.come_from(wheels)
        self.ui.installButton.click()
        until(lambda: "The engine is installed." in self.notices or self.widget.panel.message.text)
        until(self.is_free)


@pytest.fixture
def user(slicer_core: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    """No engine is installed; what is installed are the small packages."""
    monkeypatch.delenv(ENGINE_PYTHON, raising=False)
    code = tmp_path / "small.py"
    code.write_text(
        SMALL.format(unit=str(ROOT / "Testing" / "unit"), package=str(ROOT / "ActiveSegExtension")), "utf-8"
    )
    program = tmp_path / "bin" / "PythonSlicer"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{code}" "$@"\n', "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    module = LoadedModule(MODULE)
    module.enter()
    yield Setup(module, slicer_core, monkeypatch)
    module.close()


@pytest.fixture
def installed(user: Setup, wheels: Path) -> Setup:
    user.install(wheels)
    assert user.logic.installation.python is not None, user.widget.panel.message.text
    return user


def packages(user: Setup) -> Path:
    return next((user.logic.installation.folder / "environment").glob("lib/python3*/site-packages"))


def test_an_installation_tells_sizes_and_place_first_and_that_it_is_done(user: Setup, wheels: Path) -> None:
    user.install(wheels)
    (question,) = user.questions
    assert str(user.logic.installation.folder) in question
    assert "GiB" not in question
    assert "weights of a model" in question
    assert f"all comes from {wheels}" in question
    assert "The engine is installed." in user.notices
    assert user.widget.panel.steps.current.value == "segment"
    assert not user.state_is_red()


def test_while_the_engine_is_installed_nothing_starts_one_and_the_reason_is_said(user: Setup, wheels: Path) -> None:
    user.load_ct()
    user.come_from(wheels)
    user.ui.installButton.click()
    assert user.ui.engineStageLabel.text == "Looking at what an installation needs"
    assert "being" not in user.state()
    until(lambda: user.state().startswith("The engine is being installed"))
    user.widget.panel.update()
    assert not user.ui.segmentButton.enabled
    assert "being installed" in user.ui.segmentButton.toolTip
    with pytest.raises(EngineError, match="being installed"):
        user.logic.engine.request("models.list")
    assert not user.ui.removeButton.enabled
    until(lambda: "The engine is installed." in user.notices)


def test_what_a_cancelled_installation_left_is_told_can_be_removed_and_is_used_again(user: Setup, wheels: Path) -> None:
    user.come_from(wheels)
    user.ui.installButton.click()
    until(lambda: (user.logic.installation.folder / "uv").is_dir())
    user.ui.engineCancelButton.click()
    until(lambda: user.notices)
    assert "stay in" in user.notices[-1]
    assert "MB" in user.notices[-1]
    assert "not completed" in user.state()
    assert user.state_is_red()
    assert user.ui.removeButton.enabled
    assert user.ui.installButton.enabled
    user.ui.installButton.click()
    until(lambda: len(user.questions) == 2)
    assert "from an earlier attempt" in user.questions[1]
    until(lambda: "The engine is installed." in user.notices)


def test_a_cancelled_installation_can_be_removed(user: Setup, wheels: Path) -> None:
    user.come_from(wheels)
    user.ui.installButton.click()
    until(lambda: (user.logic.installation.folder / "uv").is_dir())
    user.ui.engineCancelButton.click()
    until(lambda: user.notices)
    user.ui.removeButton.click()
    assert user.ui.engineStageLabel.text == "Removing the engine"
    assert user.ui.engineProgressBar.maximum == 0, "nobody knows how far it is"
    assert not user.ui.engineCancelButton.enabled
    until(lambda: "The engine was removed." in user.notices)
    assert not user.logic.installation.folder.exists()
    assert not user.state_is_red()


def test_a_damaged_environment_is_red_until_it_is_repaired(installed: Setup) -> None:
    user = installed
    (packages(user) / "alveole" / "__init__.py").unlink()
    user.ui.checkButton.click()
    until(lambda: user.logic.installation.damage)
    until(user.is_free)
    assert "damaged" in user.state()
    assert "alveole/__init__.py" in user.state()
    assert "Press Repair" in user.state()
    assert user.state_is_red()
    assert user.ui.messageActionButton.text == "Repair..."
    user.ui.messageActionButton.click()
    until(lambda: "The engine is repaired." in user.notices)
    assert "Space: about" in user.questions[-1]
    assert "damaged" not in user.state()
    assert not user.state_is_red()


def test_a_failure_of_the_engine_finds_the_damage_behind_it(installed: Setup) -> None:
    user = installed
    (packages(user) / "bronchus" / "__init__.py").unlink()
    user.logic.installation.suspect(EngineError("The job failed for an unexpected reason (AttributeError)."))
    until(lambda: user.logic.installation.damage)
    assert "bronchus/__init__.py" in user.widget.panel.message.text
    assert user.ui.messageActionButton.text == "Repair..."


def test_a_package_that_cannot_be_imported_is_damage_whatever_its_files_look_like(installed: Setup) -> None:
    user = installed
    user.logic.installation.suspect(EngineError("A package is missing or damaged.", "Repair it.", cause="imports"))
    until(user.is_free)
    assert "A package is missing or damaged." in user.state()
    assert user.state_is_red()


def test_an_update_with_nothing_to_do_says_so_and_asks_nothing(installed: Setup) -> None:
    user = installed
    questions = len(user.questions)
    user.ui.updateButton.click()
    until(lambda: "The engine is up to date." in user.notices)
    assert len(user.questions) == questions


def test_only_a_folder_of_wheels_that_is_not_named_is_told_in_the_section(user: Setup) -> None:
    user.ui.offlineCheckBox.checked = True
    user.ui.installButton.click()
    assert "folder of wheels is needed" in user.state()
    assert user.state_is_red()
    assert user.questions == []
    user.ui.offlineCheckBox.checked = False
    user.ui.installButton.click()
    assert not user.state_is_red()
    until(lambda: user.questions)


def test_where_packages_come_from_is_there_after_a_new_start_but_no_password(
    user: Setup, slicer_core: Any, tmp_path: Path
) -> None:
    user.ui.wheelsEdit.text = str(tmp_path)
    user.ui.proxyEdit.text = "http://reader:secret@proxy.local:3128"
    user.ui.proxyEdit.editingFinished.emit()
    again = LoadedModule(MODULE)
    try:
        assert again.widget.ui.wheelsEdit.text == str(tmp_path)
        assert again.widget.ui.proxyEdit.text == "http://reader@proxy.local:3128"
    finally:
        again.close()
    assert not [path for path in tmp_path.rglob("*.ini") if "secret" in path.read_text("utf-8")]


def test_a_variable_that_names_nothing_is_no_dead_end(
    slicer_core: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = str(tmp_path / "gone" / "python")
    monkeypatch.setenv(ENGINE_PYTHON, gone)
    module = LoadedModule(MODULE)
    try:
        module.enter()
        user = Setup(module, slicer_core, monkeypatch)
        user.load_ct()
        assert ENGINE_PYTHON in user.state()
        assert gone in user.state()
        assert user.state_is_red()
        assert user.ui.installButton.enabled
        assert user.ui.ownPythonButton.enabled
        assert gone in user.ui.segmentButton.toolTip
        assert user.ui.messageActionButton.text == "Ignore the variable"
        user.ui.messageActionButton.click()
        assert "not installed" in user.state()
    finally:
        module.close()


def test_a_python_of_the_variable_that_lacks_packages_can_be_replaced(
    slicer_core: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENGINE_PYTHON, sys.executable)
    module = LoadedModule(MODULE)
    try:
        user = Setup(module, slicer_core, monkeypatch)
        user.widget.panel.installation.update()
        assert not user.ui.installButton.enabled
        user.logic.installation.suspect(EngineError("The package 'torch' is missing.", "Repair it.", cause="imports"))
        assert "The package 'torch' is missing." in user.widget.panel.message.text
        assert user.state_is_red()
        assert not user.ui.repairButton.enabled, "it is not ours to repair"
        assert user.ui.installButton.enabled
        assert user.ui.ownPythonButton.enabled
    finally:
        module.close()


def test_an_error_about_weights_or_a_licence_has_a_button_that_helps(user: Setup) -> None:
    user.widget.panel.show_error(
        ModelError("The weights could not be downloaded.", "Unzip them by hand.", url="https://x/a")
    )
    assert user.ui.messageActionButton.text == "Add weights from a file..."
    user.widget.panel.show_error(ModelError("It needs a licence.", "Get one.", licence_page="https://x"))
    assert user.ui.messageActionButton.text == "Enter the licence number"
    user.ui.messageActionButton.click()
    assert not user.ui.weightsBox.collapsed
    user.widget.panel.show_error(ModelError("It is damaged.", "Choose another."))
    assert not user.ui.messageActionButton.isVisibleTo(user.ui.messageFrame)


def test_a_question_says_what_its_buttons_do_and_return_does_nothing(slicer_core: Any) -> None:
    import qt

    from ActiveSegModuleLib.panel.question import confirmed

    seen: list[str] = []

    def press(which: str) -> None:
        box = next(w for w in qt.QApplication.topLevelWidgets() if isinstance(w, qt.QMessageBox))
        seen.extend(button.text.replace("&", "") for button in box.buttons())
        button = box.defaultButton() if which == "default" else next(b for b in box.buttons() if b.text == which)
        button.click()

    for which, answer in (("default", False), ("Install", True)):
        QtCore.QTimer.singleShot(0, lambda which=which: press(which))
        assert confirmed("Install it?", "Install") is answer
    assert set(seen) == {"Install", "Cancel"}

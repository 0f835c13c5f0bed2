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
from installable import load_uv, make_wheel, small_lock

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
    """Works with the card and the settings; writes down what was told and asked."""

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
        return str(self.ui.engineStateLabel.text).replace("\u200b", "")

    def state_is_red(self) -> bool:
        return "color" in self.ui.engineStateLabel.styleSheet

    def shows(self, widget: Any) -> bool:
        """Whether the page that a widget is on would show it."""
        return bool(widget.isVisibleTo(self.ui.pages.currentWidget()))

    def come_from(self, wheels: Path) -> None:
        self.ui.wheelsEdit.currentPath = str(wheels)
        self.ui.offlineCheckBox.checked = True

    def press_install(self, wheels: Path) -> None:
        self.come_from(wheels)
        assert self.ui.pages.currentWidget() == self.ui.setupPage
        self.ui.setupButton.click()

    def is_installed(self) -> bool:
        return any("The engine is installed." in told for told in self.notices)

    def install(self, wheels: Path) -> None:
        self.press_install(wheels)
        until(lambda: self.notices or self.widget.panel.message.text)
        until(self.is_free)

    def cancel_half_way(self, wheels: Path) -> None:
        self.press_install(wheels)
        until(lambda: (self.logic.installation.folder / "uv").is_dir())
        self.ui.setupCancelButton.click()
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
    monkeypatch.setattr("activeseg.client.environment.lock.engine_lock", small_lock)
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


def test_an_installation_asks_nothing_and_leads_to_segmenting(user: Setup, wheels: Path) -> None:
    user.install(wheels)
    assert user.questions == [], "size and place are on the card"
    assert user.is_installed()
    assert user.widget.panel.steps.current.value == "segment"
    assert user.ui.pages.currentWidget() == user.ui.segmentPage
    assert not user.state_is_red()


def test_nothing_is_downloaded_from_a_folder_of_wheels_and_the_card_says_so(user: Setup, wheels: Path) -> None:
    user.come_from(wheels)
    until(lambda: "nothing is downloaded" in user.ui.setupSizeLabel.text and not user.logic.installation.is_looking)
    assert "free" in user.ui.setupSizeLabel.text
    assert not user.logic.installation.folder.exists()


def test_what_cannot_be_installed_is_said_on_the_card_before_the_button_is_pressed(user: Setup, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").write_text("x")
    user.ui.engineFolderEdit.currentPath = str(tmp_path / "mine")
    until(lambda: user.shows(user.ui.setupErrorLabel))
    assert "thesis.docx" in user.ui.setupErrorLabel.text
    assert user.widget.panel.message.text == ""


def test_while_the_engine_is_installed_nothing_starts_one_and_the_card_says_how_far(user: Setup, wheels: Path) -> None:
    user.load_ct()
    user.press_install(wheels)
    until(lambda: user.state().startswith("The engine is being installed"))
    seen: set[str] = set()

    def look() -> bool:
        seen.add(user.ui.setupStageLabel.text)
        return any("Step 3 of 4: getting the packages" in text for text in seen)

    until(lambda: look() or user.is_free())
    assert look()
    assert user.shows(user.ui.setupProgressFrame)
    assert not user.shows(user.ui.setupButton)
    user.widget.panel.update()
    assert not user.ui.segmentButton.enabled
    assert "being installed" in user.ui.segmentButton.toolTip
    with pytest.raises(EngineError, match="being installed"):
        user.logic.engine.request("models.list")
    assert not user.ui.removeButton.enabled
    until(user.is_installed)


def test_the_sample_ct_can_be_looked_at_meanwhile(user: Setup, wheels: Path) -> None:
    user.press_install(wheels)
    assert user.shows(user.ui.setupSampleButton)
    user.ui.setupSampleButton.click()
    until(lambda: user.node.ct is not None)
    assert user.node.ct.GetName() == "ActiveSeg phantom"
    until(lambda: not user.shows(user.ui.setupSampleButton))
    until(user.is_installed)


def test_what_a_cancelled_installation_left_is_told_can_be_removed_and_is_used_again(user: Setup, wheels: Path) -> None:
    user.cancel_half_way(wheels)
    assert user.ui.setupTitleLabel.text == "The installation was not completed"
    assert "MB are kept" in user.ui.setupLabel.text
    assert user.ui.setupButton.text == "Resume"
    assert user.shows(user.ui.setupRemoveButton)
    assert "not completed" in user.state()
    assert user.state_is_red()
    assert user.widget.panel.message.text == "", "the card says it"
    until(lambda: "are there already" in user.ui.setupSizeLabel.text)
    user.ui.setupButton.click()
    until(user.is_installed)


def test_what_was_left_is_told_after_a_new_start(user: Setup, wheels: Path) -> None:
    user.cancel_half_way(wheels)
    again = LoadedModule(MODULE)
    try:
        again.enter()
        until(lambda: "MB are kept" in again.widget.ui.setupLabel.text)
        assert again.widget.ui.setupButton.text == "Resume"
    finally:
        again.close()


def test_a_cancelled_installation_can_be_removed(user: Setup, wheels: Path) -> None:
    user.cancel_half_way(wheels)
    user.ui.setupRemoveButton.click()
    (question,) = user.questions
    assert "MB" in question
    assert str(user.logic.installation.folder) in question
    assert user.ui.setupStageLabel.text == "Removing the engine"
    assert not user.ui.setupCancelButton.enabled
    until(lambda: "The engine was removed." in user.notices)
    assert not user.logic.installation.folder.exists()
    assert not user.state_is_red()
    assert user.ui.setupButton.text == "Install"


def test_who_paints_when_the_engine_is_ready_is_not_led_away(
    user: Setup, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = user.widget.panel.steps
    monkeypatch.setattr(type(steps), "is_busy", property(lambda _self: True))
    user.press_install(wheels)
    until(lambda: user.ui.setupTitleLabel.text == "Ready")
    assert user.ui.pages.currentWidget() == user.ui.setupPage
    assert user.ui.setupButton.text == "Continue"
    user.ui.setupButton.click()
    assert user.ui.pages.currentWidget() == user.ui.segmentPage


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
    assert "on disk" in user.questions[-1]
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


def test_offline_without_a_folder_of_wheels_is_an_error_beside_the_field(user: Setup) -> None:
    user.ui.setupMoreButton.click()
    assert user.shows(user.ui.wheelsEdit)
    assert not user.shows(user.ui.setupFactsFrame)
    user.ui.offlineCheckBox.click()
    assert user.shows(user.ui.wheelsErrorLabel)
    assert "folder of wheels" in user.ui.wheelsErrorLabel.text
    assert not user.ui.setupButton.enabled
    user.ui.setupMoreButton.click()
    assert "folder of wheels" in user.ui.setupErrorLabel.text, "it is said where the form is hidden, too"
    assert user.shows(user.ui.setupErrorLabel)
    user.ui.offlineCheckBox.click()
    assert not user.shows(user.ui.setupErrorLabel)
    assert user.ui.setupButton.enabled


def test_the_form_of_the_card_is_in_the_settings_when_they_are_shown(user: Setup) -> None:
    user.ui.setupMoreButton.click()
    assert user.ui.setupMoreFrame.isAncestorOf(user.ui.sourcesForm)
    user.ui.settingsButton.click()
    assert user.ui.sourcesTab.isAncestorOf(user.ui.sourcesForm)
    user.ui.segmentStep.click()
    assert user.shows(user.ui.setupFactsFrame)


def test_where_packages_come_from_is_there_after_a_new_start_but_no_password(
    user: Setup, slicer_core: Any, tmp_path: Path
) -> None:
    user.ui.wheelsEdit.currentPath = str(tmp_path)
    user.ui.proxyEdit.text = "http://reader:secret@proxy.local:3128"
    until(lambda: user.logic.installation.sources.proxy)
    again = LoadedModule(MODULE)
    try:
        assert again.widget.ui.wheelsEdit.currentPath == str(tmp_path)
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
        assert user.ui.pages.currentWidget() == user.ui.setupPage
        assert ENGINE_PYTHON in user.ui.setupLabel.text.replace("\u200b", "")
        assert user.ui.setupButton.text == user.ui.engineActionButton.text == "Ignore the variable"
        user.ui.setupButton.click()
        assert user.ui.setupButton.text == "Install"
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
        user.ui.engineActionButton.click()
        assert user.ui.pages.currentWidget() == user.ui.setupPage
        assert user.ui.setupButton.text == "Install"
        assert user.shows(user.ui.setupCloseButton)
        user.ui.setupCloseButton.click()
        assert user.ui.pages.currentWidget() == user.ui.segmentPage
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
    assert user.ui.settingsTabs.currentWidget() == user.ui.weightsTab
    assert user.ui.pages.currentWidget() == user.ui.settingsPage
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

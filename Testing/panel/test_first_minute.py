"""The card of a Slicer without an engine, and the settings' words about every state of one, with their pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ENGINE_PYTHON, ROOT
from loaded_cases import load_ct, pump
from pictures_checks import findings
from pictures_look import ROOMS, Theme, dress, grab, place
from scripted_installer import Installer, begun, completed
from slicer_stand_in import LoadedModule
from user import User, until

from activeseg.client.environment.environment import default_folder
from activeseg.client.environment.folder import LOCK_FILE, EnvironmentFolder
from activeseg.core.errors import EngineError, InputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a '#!' script")
MODULE = ROOT / "ActiveSegModule" / "ActiveSegModule.py"


@pytest.fixture
def installer(tmp_path: Path, slicer_core: Any, monkeypatch: pytest.MonkeyPatch) -> Installer:
    monkeypatch.delenv(ENGINE_PYTHON, raising=False)
    return Installer(tmp_path, monkeypatch)


@pytest.fixture
def open_module(installer: Installer, slicer_core: Any) -> Iterator[Callable[[], User]]:
    modules: list[LoadedModule] = []

    def opened() -> User:
        module = LoadedModule(MODULE)
        modules.append(module)
        module.enter()
        user = User(module, slicer_core)
        until(lambda: not user.logic.installation.is_looking)
        pump()
        return user

    yield opened
    for module in modules:
        module.close()


def wrong_in_pictures(user: User, name: str, application: Any, tmp_path: Path) -> list[str]:
    """What is wrong with the look in either theme and in every room."""
    found = []
    for theme in Theme:
        dress(application, theme)
        for room in ROOMS:
            place(user.module.parent, room)
            picture = grab(user.module.parent, tmp_path / f"{name}-{room.name}-{theme.value}.png")
            found += [f"{picture.name}: {sentence}" for sentence in findings(user.module.parent, room)]
    dress(application, Theme.LIGHT)
    return found


def shown(user: User, name: str) -> bool:
    return bool(getattr(user.ui, name).isVisibleTo(user.ui.setupPage))


def install(user: User) -> None:
    """Press the large button, and wait until the program has said how far it is."""
    user.ui.setupButton.click()
    until(lambda: user.logic.installation.working is None or user.logic.installation.working.stage)


def test_the_card_tells_real_sizes_without_being_asked(
    open_module: Callable[[], User], application: Any, tmp_path: Path
) -> None:
    user = open_module()
    assert user.ui.setupSizeLabel.text == "about 3.1 GB to download, 7.3 GB on disk (120.4 GB free)"
    assert user.ui.setupTimeLabel.text == "about 12 min at 50 Mbit/s"
    assert user.ui.setupWeightsLabel.text == "weights of models, 0.1 GB to 1.2 GB, at their first use"
    assert "NVIDIA" in user.ui.setupPackagesLabel.text
    assert wrong_in_pictures(user, "first", application, tmp_path) == []
    user.ui.setupMoreButton.click()
    assert wrong_in_pictures(user, "more", application, tmp_path) == []
    user.ui.offlineCheckBox.click()
    assert wrong_in_pictures(user, "offline", application, tmp_path) == []


def test_what_keeps_an_installation_from_working_is_on_the_card(
    open_module: Callable[[], User], installer: Installer, application: Any, tmp_path: Path
) -> None:
    full = InputError(
        f"Too little disk space at '{default_folder()}': 2.3 GB are needed, 0.8 GB are free.",
        "Free some space or choose a folder on another disk.",
        cause="disk",
    )
    installer.fails("plan", full)
    user = open_module()
    assert shown(user, "setupErrorLabel")
    assert "Too little disk space" in user.ui.setupErrorLabel.text
    assert wrong_in_pictures(user, "full", application, tmp_path) == []


def test_progress_counts_steps_and_megabytes(
    open_module: Callable[[], User], installer: Installer, application: Any, tmp_path: Path
) -> None:
    text = "41 of 98 packages, 412 MB of 7.3 GB; Downloading nvidia-cudnn-cu13 (366 MB)"
    counts = {"step": 3, "steps": 4, "done_bytes": 412_000_000, "total_bytes": 7_300_000_000}
    installer.works("install", "packages", text, fraction=0.34, **counts)
    user = open_module()
    install(user)
    assert user.ui.setupStageLabel.text == "Step 3 of 4: getting the packages"
    assert user.ui.setupProgressBar.format == "412 of 7300 MB"
    assert user.ui.setupProgressBar.value == 340
    assert user.widget.panel.steps.state(user.widget.panel.steps.current).text == "34 %"
    assert wrong_in_pictures(user, "working", application, tmp_path) == []


def test_a_cancelled_installation_says_what_is_kept_and_offers_two_ways(
    open_module: Callable[[], User], installer: Installer, application: Any, tmp_path: Path
) -> None:
    installer.works("install", "packages", "", fraction=0.3, step=3, steps=4)
    user = open_module()
    install(user)
    begun()
    installer.plans(present_bytes=412_000_000)
    user.ui.setupCancelButton.click()
    until(lambda: user.logic.installation.working is None)
    assert user.ui.setupLabel.text == "0.4 GB are kept in the folder. Resume uses them, Remove deletes them."
    assert user.ui.setupButton.text == "Resume"
    assert shown(user, "setupRemoveButton")
    until(lambda: "0.4 GB are there already" in user.ui.setupSizeLabel.text)
    assert wrong_in_pictures(user, "kept", application, tmp_path) == []


def test_ready_leads_on_and_what_a_user_is_at_is_left_alone(
    open_module: Callable[[], User],
    installer: Installer,
    application: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installer.does("install")
    user = open_module()
    busy = [True]
    monkeypatch.setattr(type(user.widget.panel.steps), "is_busy", property(lambda _self: busy[0]))
    install(user)
    completed()
    until(lambda: user.ui.setupTitleLabel.text == "Ready")
    assert wrong_in_pictures(user, "ready", application, tmp_path) == []
    user.ui.setupButton.click()
    assert user.ui.pages.currentWidget() == user.ui.segmentPage


def test_a_failure_is_told_with_details_and_can_be_tried_again(
    open_module: Callable[[], User], installer: Installer
) -> None:
    installer.fails("install", EngineError("The index cannot be reached.", "Try again later.", cause="network"))
    user = open_module()
    install(user)
    until(lambda: user.widget.panel.message.text)
    assert "cannot be reached" in user.widget.panel.message.text
    assert user.ui.setupButton.enabled
    assert user.ui.setupButton.text == "Install"


def test_a_plan_on_its_way_does_not_keep_the_button_from_working(
    open_module: Callable[[], User], installer: Installer
) -> None:
    installer.works("plan", "plan", "", fraction=0.0)
    installer.does("install")
    module = LoadedModule(MODULE)
    try:
        module.enter()
        user = User(module, None)
        assert user.logic.installation.is_looking
        user.ui.setupButton.click()
        assert user.logic.installation.working.action == "install"
        until(lambda: user.logic.installation.working is None)
    finally:
        module.close()


def test_the_sample_ct_is_loaded_once(open_module: Callable[[], User]) -> None:
    user = open_module()
    assert shown(user, "setupSampleButton")
    load_ct(user, "CT")
    until(lambda: user.node.ct is not None)
    user.widget.panel.installation.update()
    assert not shown(user, "setupSampleButton")


# The states of an engine that is there.


def test_while_another_slicer_changes_the_engine_that_is_said_and_can_be_looked_at_again(
    open_module: Callable[[], User], application: Any, tmp_path: Path
) -> None:
    completed()
    folder = EnvironmentFolder(default_folder())
    with folder.exclusive():
        (default_folder() / "environment" / "installed.json").unlink()
        user = open_module()
        assert user.ui.setupTitleLabel.text == "The engine is in use by another Slicer"
        assert user.ui.setupButton.text == "Look again"
        assert wrong_in_pictures(user, "busy", application, tmp_path) == []
    completed()
    user.ui.setupButton.click()
    assert user.ui.pages.currentWidget() == user.ui.segmentPage


def test_an_engine_that_runs_is_not_changed_by_another_slicer(open_module: Callable[[], User]) -> None:
    completed()
    folder = EnvironmentFolder(default_folder())
    with folder.exclusive():
        pass  # makes the lock's file
    user = open_module()
    until(lambda: user.logic.engine.is_starting)
    with pytest.raises(EngineError, match="used by another Slicer"), folder.exclusive():
        pass
    pump()
    user.ui.engineStopButton.click()
    with folder.exclusive():
        assert (default_folder() / LOCK_FILE).is_file()


def test_the_first_start_has_words_of_its_own(open_module: Callable[[], User]) -> None:
    python = completed()
    user = open_module()
    until(lambda: user.logic.engine.is_starting)
    user.widget.panel.installation.update()
    assert "for the first time" in user.widget.panel.engine_text
    user.logic.installation.note_started()
    assert user.widget.panel.engine_text == "The engine is starting."
    assert str(python) == str(user.logic.installation.python)


def test_an_engine_of_an_earlier_version_is_told_once_with_a_button(
    open_module: Callable[[], User], application: Any, tmp_path: Path
) -> None:
    completed(lock="another")
    user = open_module()
    assert "ActiveSeg was updated" in user.widget.panel.message.text
    assert user.ui.messageActionButton.text == "Update..."
    user.logic.engine.shutdown()
    user.widget.panel.message.clear()
    user.widget.panel.installation.update()
    assert "ActiveSeg was updated" in user.ui.engineStateLabel.text
    user.widget.exit()
    user.widget.enter()
    assert user.widget.panel.message.text == ""
    user.logic.engine.shutdown()
    user.widget.panel.steps.show_settings()
    assert wrong_in_pictures(user, "outdated", application, tmp_path) == []


def test_the_pages_of_the_settings_fit(open_module: Callable[[], User], application: Any, tmp_path: Path) -> None:
    user = open_module()
    for count in range(3):
        user.widget.panel.message.error(EngineError(f"Not enough memory ({count}).", "Choose the CPU.", needed="14 GB"))
    user.widget.panel.message.clear()
    user.widget.panel.steps.show_settings()
    for index in range(user.ui.settingsTabs.count):
        user.ui.settingsTabs.setCurrentIndex(index)
        assert wrong_in_pictures(user, f"settings{index}", application, tmp_path) == []


def test_earlier_messages_are_listed_whole_with_details(open_module: Callable[[], User]) -> None:
    user = open_module()
    user.widget.panel.message.notice("First.")
    user.widget.panel.message.error(EngineError("Second.", "Do it.", needed="14 GB"))
    texts = [user.ui.earlierList.item(row).text() for row in range(user.ui.earlierList.count)]
    assert [text[7:] for text in texts] == ["Second. Do it.", "First."]
    user.ui.earlierList.setCurrentRow(0)
    assert user.ui.earlierDetailsButton.enabled
    user.ui.earlierCopyButton.click()
    import qt

    assert "needed: 14 GB" in qt.QApplication.clipboard().text()
    user.ui.earlierList.setCurrentRow(1)
    assert not user.ui.earlierDetailsButton.enabled

"""The settings' part *nnInteractive*: the licence of the user's weights is shown, and confirmed by a button."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answering_engine import AnsweringEngine
from conftest import ENGINE_PYTHON
from loaded_cases import MODULE
from pictures_checks import findings
from pictures_look import ROOMS, grab, place
from pythonqt import FileDialog
from slicer_stand_in import LoadedModule
from user import until

from activeseg.core.errors import InputError, ModelError, Remedy

PICTURES = os.environ.get("ACTIVESEG_PICTURES", "")
LICENCE = "CC BY-NC-SA 4.0\n" + "\n".join(f"Paragraph {n}: not for commercial use." for n in range(40))
MISSING = {
    "name": "nninteractive",
    "description": "nnInteractive, on weights that you bring",
    "state": "weights missing",
    "problem": "nnInteractive's weights are not here: '/home/ana/.local/share/activeseg/nninteractive' does not exist.",
    "action": "Get them from their authors (https://huggingface.co/MIC-DKFZ/nnInteractive) if you accept them.",
    "folder": "/home/ana/.local/share/activeseg/nninteractive",
}
UNCONFIRMED = {
    **MISSING,
    "state": "licence",
    "problem": "nnInteractive's weights have the licence 'CC BY-NC-SA 4.0', which you have not confirmed.",
    "action": "Read the licence and confirm it.",
    "folder": "/data/nnInteractive_v1.0",
    "licence": "CC BY-NC-SA 4.0",
    "licence_text": LICENCE,
    "licence_sha256": "a" * 64,
}
READY = {**UNCONFIRMED, "state": "ready", "problem": "", "action": ""}


def answer(told: dict[str, str]) -> dict[str, Any]:
    walker = {"name": "walker", "description": "Random walk", "state": "ready"}
    return {"refiners": [walker, told]}


class Settings:
    """The page, and the engine behind it."""

    def __init__(self, module: LoadedModule, engine: AnsweringEngine) -> None:
        self.module, self.engine = module, engine
        self.ui, self.panel = module.widget.ui, module.widget.panel

    def open(self, told: dict[str, str]) -> None:
        self.engine.answers["refiners.list"] = answer(told)
        self.panel.refiner_weights.show()
        until(lambda: self.state)

    @property
    def state(self) -> str:
        text = str(self.ui.nninteractiveStateLabel.text)
        return "" if text.startswith("Start the engine") else text

    def shown(self, widget: Any) -> bool:
        return bool(widget.isVisibleTo(self.ui.nninteractiveFace))

    def asked(self, method: str) -> list[Any]:
        return [params for name, params in self.engine.asked if name == method]


@pytest.fixture
def settings(slicer_core: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.delenv(ENGINE_PYTHON, raising=False)
    module = LoadedModule(MODULE)
    engine = AnsweringEngine(module, monkeypatch)
    module.enter()
    yield Settings(module, engine)
    module.close()


def test_without_weights_it_says_where_they_are_published_and_asks_for_nothing(settings: Settings) -> None:
    settings.open(MISSING)
    assert "huggingface.co/MIC-DKFZ/nnInteractive" in settings.state
    assert settings.ui.nninteractiveFolderButton.enabled
    assert not settings.shown(settings.ui.nninteractiveLicenceView)
    assert not settings.shown(settings.ui.nninteractiveConfirmButton)


def test_a_chosen_folder_shows_its_licence_and_the_button_confirms_what_was_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.open(MISSING)
    settings.engine.answers |= {"refiners.add": answer(UNCONFIRMED), "refiners.confirm": answer(READY)}
    monkeypatch.setattr(FileDialog, "answer", "/data/nnInteractive_v1.0")
    settings.ui.nninteractiveFolderButton.click()
    until(lambda: settings.shown(settings.ui.nninteractiveConfirmButton))
    assert settings.asked("refiners.add") == [
        {"name": "nninteractive", "folder": str(Path("/data/nnInteractive_v1.0"))}
    ]
    assert str(settings.ui.nninteractiveLicenceView.plainText) == LICENCE
    assert settings.asked("refiners.confirm") == []
    settings.ui.nninteractiveConfirmButton.click()
    assert not settings.ui.nninteractiveConfirmButton.enabled
    until(lambda: settings.state.startswith("Ready"))
    assert settings.asked("refiners.confirm") == [{"name": "nninteractive", "licence_sha256": "a" * 64}]
    assert settings.state == "Ready, with the weights in /data/nnInteractive_v1.0 (CC BY-NC-SA 4.0)."
    assert not settings.shown(settings.ui.nninteractiveConfirmButton)


def test_a_licence_that_changed_meanwhile_is_shown_again(settings: Settings) -> None:
    settings.open(UNCONFIRMED)
    changed = {**UNCONFIRMED, "licence_text": "Another licence", "licence_sha256": "b" * 64}
    settings.engine.answers |= {
        "refiners.list": answer(changed),
        "refiners.confirm": InputError("The licence has changed since it was shown.", "Read it again."),
    }
    settings.ui.nninteractiveConfirmButton.click()
    until(lambda: str(settings.ui.nninteractiveLicenceView.plainText) == "Another licence")
    assert "has changed" in settings.panel.message.text
    assert settings.shown(settings.ui.nninteractiveConfirmButton)


def test_an_error_about_these_weights_leads_there(settings: Settings) -> None:
    settings.engine.answers["refiners.list"] = answer(UNCONFIRMED)
    settings.panel.show_error(
        ModelError("The licence is not confirmed.", "Confirm it.", remedy=Remedy.ADD_NNINTERACTIVE)
    )
    settings.ui.messageActionButton.click()
    assert settings.ui.settingsTabs.currentWidget() == settings.ui.weightsTab
    assert settings.ui.weightsFaces.currentWidget() == settings.ui.nninteractiveFace
    until(lambda: settings.shown(settings.ui.nninteractiveConfirmButton))


def test_the_other_weights_are_one_choice_away(settings: Settings) -> None:
    settings.open(MISSING)
    settings.ui.weightsOfBox.currentIndex = 0
    assert settings.ui.weightsFaces.currentWidget() == settings.ui.totalsegmentatorFace


@pytest.mark.parametrize("told", [MISSING, UNCONFIRMED, READY], ids=lambda told: told["state"])
def test_it_fits_every_room(settings: Settings, told: dict[str, str]) -> None:
    for room in ROOMS:
        place(settings.module.parent, room)
        settings.open(told)
        until(lambda: settings.shown(settings.ui.nninteractiveConfirmButton) == (told is UNCONFIRMED))
        place(settings.module.parent, room)
        assert findings(settings.module.parent, room) == []
        if PICTURES:
            grab(settings.module.parent, Path(PICTURES) / f"nninteractive_{told['state']}_{room.name}.png")

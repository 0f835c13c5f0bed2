"""Slicer in German has the panel in German, whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer
from loaded_cases import MODULE
from pictures import PICTURES, opened, remove_translation
from pictures_checks import findings
from pictures_look import ROOMS, Theme, place
from PySide6 import QtCore
from slicer_stand_in import LoadedModule
from translations import GERMAN, texts, translations


def test_every_text_is_translated() -> None:
    """``python3 Testing/contract/translations.py`` lists what is missing."""
    known = translations()
    assert [text for text in texts() if not known.get(text)] == []
    assert set(known) == set(texts())


def test_the_file_that_slicer_reads_is_up_to_date(slicer_core: Any) -> None:
    translator = QtCore.QTranslator()
    assert translator.load(str(GERMAN.with_suffix(".qm")))
    german = {text: written for text, written in translations().items() if written}
    assert {text: translator.translate(*text) for text in german} == german


@pytest.fixture
def german_module(slicer_core: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadedModule]:
    monkeypatch.delenv("ACTIVESEG_ENGINE_PYTHON", raising=False)
    slicer.app.applicationLocaleName = "de_DE"
    module = LoadedModule(MODULE)
    module.enter()
    yield module
    module.close()
    remove_translation()


def test_texts_of_the_code_and_of_the_forms_are_german(german_module: LoadedModule) -> None:
    known, ui = translations(), german_module.widget.ui
    assert german_module.about.helpText == known["ActiveSegModule", german_module_help()]
    assert ui.segmentStep.text.splitlines()[0] == known["panel.steps", "Segment"]
    assert ui.messageDetailsButton.text == known["ActiveSegModule", "Details"]


def test_a_translated_button_keeps_its_key(german_module: LoadedModule) -> None:
    ui = german_module.widget.ui
    assert ui.nextButton.text == translations()["ReviewPage", "Next"]
    assert ui.nextButton.shortcut.toString() == "N"


def german_module_help() -> str:
    return next(text for context, text in texts() if context == "ActiveSegModule" and text.startswith("Segments a CT"))


def test_another_language_leaves_the_panel_in_english(slicer_core: Any) -> None:
    slicer.app.applicationLocaleName = "xx_XX"
    module = LoadedModule(MODULE)
    assert module.widget.ui.segmentStep.text.splitlines()[0] == "Segment"
    module.close()


def test_german_texts_have_room(application: Any, tmp_path: Path) -> None:
    wanted = [picture for picture in PICTURES if picture.room is ROOMS[0] and picture.theme is Theme.LIGHT]
    found = {}
    with opened(tmp_path, "de_DE") as bench:
        for picture in wanted:
            bench.bring_into(picture.state, picture.theme)
            place(bench.root, picture.room)
            found[picture.state] = findings(bench.root, picture.room)
    assert {state: wrong for state, wrong in found.items() if wrong} == {}

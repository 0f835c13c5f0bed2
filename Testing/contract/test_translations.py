"""Translations say the same things as the English, and nothing that no longer exists is kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from translations import GERMAN, context_of, fits, in_code, in_form, translations

FORMAL = re.compile(r"\b(?:[Dd]u|[Dd]eine?[mnrs]?|[Dd]ir|[Dd]ich)\b")


def test_placeholders_are_compared():
    assert fits("{done} of {all}", "{done} von {all}")
    assert not fits("{done} of {all}", "{done} von {alle}")


def test_a_context_is_the_file_and_its_package(tmp_path: Path):
    package = tmp_path / "panel"
    package.mkdir()
    (package / "__init__.py").touch()
    assert context_of(package / "steps.py") == "panel.steps"
    assert context_of(tmp_path / "ActiveSegModule.py") == "ActiveSegModule"


def test_texts_are_found_in_code_and_forms(tmp_path: Path):
    code, form = tmp_path / "code.py", tmp_path / "form.ui"
    code.write_text('_("one " "text")\nother("no")\n_("{n} of them").format(n=1)\n', "utf-8")
    form.write_text(
        "<ui><class>Page</class><string>shown</string><string notr='true'>id</string>"
        "<stringlist notr='true'><string>vtkMRMLNode</string></stringlist><string/></ui>",
        "utf-8",
    )
    assert list(in_code(code)) == [("code", "one text"), ("code", "{n} of them")]
    assert list(in_form(form)) == [("Page", "shown")]
    code.write_text("_(name)", "utf-8")
    with pytest.raises(ValueError, match="not a plain text"):
        list(in_code(code))


def test_a_translation_has_the_placeholders_of_its_text():
    assert not [text for text, german in translations().items() if german and not fits(text[1], german)]


def test_german_is_formal():
    assert FORMAL.search("Wähle deine Daten")
    assert not [german for german in translations(GERMAN).values() if FORMAL.search(german)]

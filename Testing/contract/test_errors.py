"""Every kind of error has an exit code of its own, and users can look it up."""

from __future__ import annotations

import ast
import inspect
import re

import pytest
import typer
from repository import ACTIVESEG, MODULE, ROOT, relative

from activeseg.commands.app import EXIT_CODES, app
from activeseg.commands.conversation import COMMANDS
from activeseg.core import errors

ERRORS = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
LIBRARY = [path for path in sorted(ACTIVESEG.rglob("*.py")) if path.parent.name != "commands"]
MODULES = sorted(path for path in MODULE.rglob("*.py"))
OUTSIDE_OF_THE_PANEL = [*sorted(ACTIVESEG.rglob("*.py")), *(path for path in MODULES if path.parent.name != "panel")]
COMMAND_NAMES = typer.main.get_command(app).commands
OPTION_IN_A_SENTENCE = re.compile(
    rf"(?<!pip download)\s--[a-z]|\bactiveseg (?:{'|'.join(COMMAND_NAMES)})\b|totalseg_\w+ -"  # pip's own are not ours
)
LABELS = {
    label
    for path in MODULE.rglob("*.ui")
    for label in re.findall(r">([A-Z][^<&]{2,})</string>", path.read_text("utf-8"))
}
BUTTON_IN_A_SENTENCE = re.compile(
    rf"\b(?:[Pp]ress|[Cc]lick|[Tt]ick)\b|\bbuttons?\b|'(?:{'|'.join(map(re.escape, sorted(LABELS)))})'"
)


def test_there_are_errors():
    assert len(ERRORS) >= 6


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_error_names_its_kind_and_shares_its_exit_code_with_its_family_only(error):
    assert issubclass(error, errors.ActiveSegError)
    assert error.exit_code > 0
    others = [other for other in ERRORS if other is not error]
    assert error.code not in {other.code for other in others}
    if "exit_code" in vars(error):
        assert error.exit_code not in {vars(other).get("exit_code") for other in others}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_exit_code_is_in_the_help_and_in_the_readme(error):
    assert f"{error.exit_code} " in EXIT_CODES
    assert f"| {error.exit_code} |" in (ROOT / "README.md").read_text("utf-8")


def shown_texts(source):
    """Strings of a module but docstrings; the parts of an f-string are strings of their own."""
    tree = ast.parse(source)
    notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in notes:
            yield node.value


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (
            '"""Run x --no."""\nraise InputError(f"{name} is missing.", f"Give it with --image {name}.")',
            ["Give it with --image "],
        ),
        ("notice(\"Make one with 'activeseg project new'.\")", ["Make one with 'activeseg project new'."]),
        ('RESTORE = f"activeseg.{name} or activeseg --version"', [" or activeseg --version"]),
        ('COMMAND = ["--device", "-d"]', []),
    ],
)
def test_an_option_or_a_command_in_a_sentence_is_found(source, found):
    assert [text for text in shown_texts(source) if OPTION_IN_A_SENTENCE.search(text)] == found


@pytest.mark.parametrize("sentence", ["Press Repair.", "Choose one, or click it.", "Use 'Repair' then."])
def test_a_button_in_a_sentence_is_found(sentence):
    assert BUTTON_IN_A_SENTENCE.search(sentence)


@pytest.mark.parametrize("sentence", ["Repair it.", "The volume is compressed.", "Remove it first."])
def test_a_verb_is_no_button(sentence):
    assert not BUTTON_IN_A_SENTENCE.search(sentence)


@pytest.mark.parametrize("module", LIBRARY, ids=relative)
def test_no_message_of_the_library_names_an_option_or_a_command(module):
    named = [text for text in shown_texts(module.read_text("utf-8")) if OPTION_IN_A_SENTENCE.search(text)]
    assert not named, f"who uses the panel or Python has no such option: {named}"


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_no_message_of_the_module_names_an_option_or_a_command(module):
    named = [text for text in shown_texts(module.read_text("utf-8")) if OPTION_IN_A_SENTENCE.search(text)]
    assert not named, f"who uses the panel has no such option: {named}"


@pytest.mark.parametrize("module", OUTSIDE_OF_THE_PANEL, ids=relative)
def test_no_message_outside_of_the_panel_names_a_button(module):
    named = [text for text in shown_texts(module.read_text("utf-8")) if BUTTON_IN_A_SENTENCE.search(text)]
    assert not named, f"who uses the command line or Python has no such button: {named}"


@pytest.mark.parametrize("remedy", errors.Remedy)
def test_the_command_line_has_a_command_for_every_remedy(remedy):
    program, first, *rest = COMMANDS[remedy].split()
    if program == "activeseg":
        assert first in COMMAND_NAMES
        assert not rest or rest[0] in COMMAND_NAMES[first].commands

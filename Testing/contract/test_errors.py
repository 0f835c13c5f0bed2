"""Every kind of error has an exit code of its own, and users can look it up."""

from __future__ import annotations

import ast
import inspect
import re

import pytest
from repository import ACTIVESEG, ROOT, relative

from activeseg.commands.app import EXIT_CODES
from activeseg.core import errors

ERRORS = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
LIBRARY = [path for path in sorted(ACTIVESEG.rglob("*.py")) if path.parent.name != "commands"]
OPTION_IN_A_SENTENCE = re.compile(r"(?<!pip download)\s--[a-z]")  # pip's own are not ours


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


def test_an_option_in_a_sentence_is_found():
    texts = shown_texts('"""Run x --no."""\nraise InputError(f"{name} is missing.", f"Give it with --image {name}.")')
    assert [text for text in texts if OPTION_IN_A_SENTENCE.search(text)] == ["Give it with --image "]


@pytest.mark.parametrize("module", LIBRARY, ids=relative)
def test_no_message_of_the_library_names_an_option_of_the_command_line(module):
    named = [text for text in shown_texts(module.read_text("utf-8")) if OPTION_IN_A_SENTENCE.search(text)]
    assert not named, f"who uses the panel or Python has no such option: {named}"

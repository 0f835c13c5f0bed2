"""Every kind of error has an exit code of its own, and users can look it up."""

from __future__ import annotations

import inspect

import pytest
from repository import ROOT

from activeseg import errors
from activeseg.commands.app import EXIT_CODES

ERRORS = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]


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

"""What users read is plain clinical English: README, docs, and the help of every command."""

from __future__ import annotations

import re

import pytest
import typer
from repository import ROOT, relative

from activeseg.commands.app import app

FORBIDDEN = re.compile(
    r"\b(?:genuine|voters?|places? worth|worth a look|whoever|anew|of ours|(?:by|of) itself|nobody|processors?"
    r"|that which|goes? on\b|is none\b)",
    re.IGNORECASE,
)
VALUES = re.compile(r"`[^`]*`|'genuine'|```.*?```", re.DOTALL)
"""Names in code are what they are, such as the value of an option that is stored in files."""
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.is_file()]


def helps(command: typer.core.TyperGroup, name: str = "activeseg"):
    """Every text of a command's help and of those below it, with the name of what it describes."""
    yield name, command.help or ""
    for parameter in command.params:
        yield f"{name} {parameter.opts[0]}", getattr(parameter, "help", "") or ""
    for inner in getattr(command, "commands", {}).values():
        yield from helps(inner, f"{name} {inner.name}")


HELPS = dict(helps(typer.main.get_command(app)))


def test_a_forbidden_word_is_found_and_a_value_is_not():
    assert FORBIDDEN.search("The genuine package.")
    assert not FORBIDDEN.search(VALUES.sub("", "`--resample genuine`: as in the original package"))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_a_page_is_in_plain_english(page):
    text = VALUES.sub("", page.read_text("utf-8"))
    assert not [line for line in text.splitlines() if FORBIDDEN.search(line)]


@pytest.mark.parametrize("name", HELPS)
def test_a_help_text_is_in_plain_english_and_there(name):
    assert not FORBIDDEN.search(VALUES.sub("", HELPS[name]))
    assert HELPS[name] or name.endswith("--help"), "it says nothing"

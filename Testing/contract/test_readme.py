"""The README tells of everything that can be called."""

from __future__ import annotations

import re

import pytest
import typer
from repository import MODULE, ROOT

from activeseg.commands.app import app

README = (ROOT / "README.md").read_text("utf-8") if (ROOT / "README.md").is_file() else ""


def commands():
    """Every command as it is typed, such as ``dataset add``."""
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", {})
        yield from (f"{name} {other}" for other in inner) if inner else (name,)


def options():
    root = typer.main.get_command(app)
    for command in root.commands.values():
        for inner in getattr(command, "commands", {"": command}).values():
            for parameter in inner.params:
                yield from (option for option in parameter.opts if option.startswith("--"))


def test_the_readme_exists():
    assert len(README) > 1000


@pytest.mark.parametrize("command", sorted(commands()))
def test_the_readme_shows_the_command(command):
    assert f"activeseg {command}" in README


@pytest.mark.parametrize("option", sorted({*options()} - {"--help"}))
def test_the_readme_shows_the_option(option):
    assert option in README


def test_the_readme_names_licence_citation_and_the_two_commands():
    assert "Apache" in README
    assert "## How to cite" in README
    assert "Testing/run.py demo" in README
    assert "Testing/run.py test" in README


def test_a_button_that_the_tutorial_presses_is_in_the_panel():
    pressed = re.findall(r"[Pp]ress\s+\*([^*]+)\*", README.partition("## The same on the command line")[0])
    labels = {
        label for file in MODULE.rglob("*.ui") for label in re.findall(r">([^<]+)</string>", file.read_text("utf-8"))
    }
    samples = {"ActiveSegPhantom"}  # Slicer's own button of the module Sample Data
    assert len(pressed) >= 4
    assert not set(pressed) - labels - samples

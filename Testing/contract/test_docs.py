"""The pages under ``docs/`` say what the code has."""

from __future__ import annotations

import dataclasses
import re

import protocol_tables
import pytest
import typer
from draw_architecture import drawing
from repository import ROOT, relative
from rooms import split_page, table

from activeseg.client.kept_drafts import KeptDraft
from activeseg.commands.app import app
from activeseg.core.correction import Region
from activeseg.core.geometry import Geometry
from activeseg.core.segmenter import Settings
from activeseg.learning.project.project import ProjectState
from activeseg.learning.project.version import Version
from activeseg.learning.training.run_folder import Asked, RunState
from activeseg.predictions.prediction_folder import FILES
from activeseg.review.alternatives import Alternative

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
STORED = (Alternative, Asked, Geometry, KeptDraft, ProjectState, Region, RunState, Settings, Version)


def test_the_table_of_rooms_is_current():
    assert split_page()[1] == table(), "run: python3 Testing/contract/rooms.py"


def test_the_tables_of_messages_are_current():
    assert protocol_tables.split_page()[1] == protocol_tables.tables(), (
        "run: python3 Testing/contract/protocol_tables.py"
    )


def test_the_picture_is_current():
    text = (DOCS / "architecture.svg").read_text("utf-8")
    assert text == drawing(), "run: python3 Testing/contract/draw_architecture.py"


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=relative)
def test_a_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text("utf-8"))
    lost = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not lost


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=relative)
def test_a_command_of_activeseg_exists(page):
    known = typer.main.get_command(app).commands
    for name, inner in re.findall(r"`(?:\.venv/bin/)?activeseg ([a-z]+)(?: ([a-z]+))?", page.read_text("utf-8")):
        assert name in known, f"activeseg {name}"
        assert not inner or inner in getattr(known[name], "commands", {inner: None}), f"activeseg {name} {inner}"


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: stored.__name__)
def test_every_stored_field_is_described(stored):
    described = (DOCS / "formats.md").read_text("utf-8")
    written = [field for field in dataclasses.fields(stored) if field.metadata.get("written", True)]
    names = {field.metadata.get("alias", field.name) for field in written}
    assert not [name for name in sorted(names) if f"`{name}`" not in described]


@pytest.mark.parametrize("file", sorted(FILES))
def test_every_file_of_a_prediction_is_described(file):
    assert f"`{file}`" in (DOCS / "formats.md").read_text("utf-8")

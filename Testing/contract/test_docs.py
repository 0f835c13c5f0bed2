"""The pages under ``docs/`` say what the code has."""

from __future__ import annotations

import re

import pytest
from draw_architecture import drawing
from repository import ROOT, relative
from rooms import split_page, table

from activeseg.core.segmenter import Settings
from activeseg.learning.project.project import ProjectState
from activeseg.learning.project.version import Version
from activeseg.learning.training.run_folder import RunState
from activeseg.predictions.prediction_folder import FILES

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
STORED = (Settings, ProjectState, Version, RunState)


def test_the_table_of_rooms_is_current():
    assert split_page()[1] == table(), "run: python3 Testing/contract/rooms.py"


def test_the_picture_is_current():
    text = (DOCS / "architecture.svg").read_text("utf-8")
    assert text == drawing(), "run: python3 Testing/contract/draw_architecture.py"


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=relative)
def test_a_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text("utf-8"))
    lost = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not lost


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: stored.__name__)
def test_every_stored_field_is_described(stored):
    described = (DOCS / "formats.md").read_text("utf-8")
    assert not [name for name in stored.__dataclass_fields__ if f"`{name}`" not in described]


@pytest.mark.parametrize("file", sorted(FILES))
def test_every_file_of_a_prediction_is_described(file):
    assert f"`{file}`" in (DOCS / "formats.md").read_text("utf-8")

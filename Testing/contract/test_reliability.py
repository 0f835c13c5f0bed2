"""What ``Testing/RELIABILITY.md`` names is there."""

from __future__ import annotations

import re

from repository import ROOT

PAGE = ROOT / "Testing" / "RELIABILITY.md"
_NAME = re.compile(r"^ *def test_(\w+)\(", re.MULTILINE)


def test_every_test_and_script_that_the_page_names_is_there():
    tests = {name for path in (ROOT / "Testing").rglob("test_*.py") for name in _NAME.findall(path.read_text("utf-8"))}
    named = re.findall(r"`([^`]+)`", PAGE.read_text("utf-8").partition("## What a person at the panel")[2])
    rows = [name for name in named if re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+){2,}", name)]
    scripts = [name for name in named if name.startswith("Testing/") and name.endswith(".py")]
    assert len(rows) > 50
    assert [name for name in rows if name not in tests] == []
    assert [name for name in scripts if not (ROOT / name).is_file()] == []

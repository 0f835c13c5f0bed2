"""What the rest of the house may know of segmenters: their protocol, and no class."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from repository import ACTIVESEG, files

OUTSIDE = [path for path in files(ACTIVESEG) if path.suffix == ".py" and "segmenters" not in path.parts]


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ACTIVESEG)))
def test_only_segmenters_ask_of_what_class_a_segmenter_is(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    asked = [
        ast.unparse(call)
        for call in calls
        if isinstance(call.func, ast.Name)
        and call.func.id in ("isinstance", "issubclass", "hasattr", "getattr")
        and "segmenter" in ast.unparse(call).lower()
    ]
    assert not asked, "ask the Segmenter protocol instead"

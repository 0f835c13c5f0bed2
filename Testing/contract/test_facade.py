"""``import activeseg``: what it offers, and that it costs nothing until it is used."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from repository import ACTIVESEG

import activeseg

HEAVY = ("numpy", "scipy", "SimpleITK", "torch", "nnunetv2", "nibabel", "typer")


def for_type_checkers() -> set[str]:
    """The names that the package's face imports for type checkers."""
    tree = ast.parse((ACTIVESEG / "__init__.py").read_text("utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    return {alias.name for block in blocks for node in block.body for alias in node.names}


def test_what_is_offered_is_typed_and_listed():
    assert set(activeseg.__all__) - {"__version__"} == for_type_checkers()
    assert set(activeseg.__all__) <= set(dir(activeseg))


@pytest.mark.parametrize("name", activeseg.__all__)
def test_what_is_offered_is_there_and_documented(name):
    offered = getattr(activeseg, name)
    assert isinstance(offered, str) or (offered.__name__ == name and offered.__doc__)


def test_what_is_not_offered_is_a_plain_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'voters'"):
        _ = activeseg.voters


def test_the_import_loads_nothing_heavy():
    code = f"import activeseg, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

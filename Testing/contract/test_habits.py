"""Habits that keep the code readable: short files, private names stay private, tests stand alone and mirror rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ACTIVESEG, MODULE, ROOT, files, relative

TESTING = ROOT / "Testing"
MOST_LINES = 400
OWN_PACKAGES = ("activeseg", "ActiveSegModuleLib")

PRODUCT = [path for folder in (ACTIVESEG, MODULE) for path in files(folder) if path.suffix == ".py"]
TESTS = [path for path in files(TESTING) if path.suffix == ".py"]


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_a_file_fits_on_a_few_screens(path):
    count = len(path.read_text("utf-8").splitlines())
    assert count <= MOST_LINES, f"{count} lines: split it by its nouns"


def imported(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """What a file imports: the name that it gets there, the module, and the name in the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name.partition(".")[0], alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((alias.asname or alias.name, module, alias.name) for alias in node.names)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def private_definitions(tree: ast.AST) -> Iterator[str]:
    """Private names that a file gives: functions, classes, variables, and attributes of ``self`` or ``cls``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and is_private(node.value):
            yield node.value  # __slots__, setattr


def package_of(path: Path) -> Path:
    """The room that a file lies in; the panel's packages are rooms, and all tests are one."""
    for base in (ACTIVESEG, MODULE / "ActiveSegModuleLib"):
        if path.is_relative_to(base):
            return base / path.relative_to(base).parts[0]
    return TESTING if path.is_relative_to(TESTING) else path


TREES = {path: ast.parse(path.read_text("utf-8")) for path in [*PRODUCT, *TESTS]}
DEFINED: dict[Path, set[str]] = {}
for file, parsed in TREES.items():
    DEFINED.setdefault(package_of(file), set()).update(filter(is_private, private_definitions(parsed)))
ANYWHERE = set().union(*(DEFINED[package_of(file)] for file in PRODUCT))


def foreign_private_names(path: Path, tree: ast.AST) -> Iterator[str]:
    """Private names of other packages of this repository that a file uses."""
    others = set()
    for name, module, inner in imported(tree):
        if module.startswith(OWN_PACKAGES) or module.startswith("."):
            if is_private(inner) and inner not in DEFINED[package_of(path)]:
                yield f"{module}.{inner}"
        else:
            others.add(name)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not is_private(node.attr):
            continue
        if isinstance(node.value, ast.Name) and node.value.id in others | {"self", "cls"}:
            continue
        if node.attr in ANYWHERE - DEFINED[package_of(path)]:  # all others are of other projects
            yield f"{ast.unparse(node.value)}.{node.attr}, line {node.lineno}"


@pytest.mark.parametrize("path", [*PRODUCT, *TESTS], ids=relative)
def test_private_names_of_other_packages_are_left_alone(path):
    assert not list(foreign_private_names(path, TREES[path]))


@pytest.mark.parametrize("path", TESTS, ids=relative)
def test_no_file_imports_tests(path):
    own = {other.stem for other in TESTS if other.name.startswith("test_")}
    assert not [module for _, module, _ in imported(TREES[path]) if module in own], "move what both need to a file"


def test_unit_tests_mirror_the_packages():
    rooms = {
        path.name for path in ACTIVESEG.iterdir() if path.is_dir() and path.name not in ("resources", "__pycache__")
    }
    folders = {path.name for path in (TESTING / "unit").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= rooms, "a folder of unit tests has the name of the package that it tests"

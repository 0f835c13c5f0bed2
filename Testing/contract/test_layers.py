"""The layers of design section 3: the core runs in Slicer's Python, nothing in ``activeseg`` knows Slicer."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ACTIVESEG, MODULE, PACKAGE, files

CORE = {
    "activeseg",
    "activeseg.client",
    "activeseg.core",
    "activeseg.io",
    "activeseg.review.uncertainty",
    "activeseg.samples",
    "activeseg.system",
}
"""Modules and packages (with everything in them) that import in Slicer with nothing installed."""

SLICER_HAS = {"numpy", "scipy", "SimpleITK", "requests", "filelock", "psutil"}
SLICER_ITSELF = {
    "slicer",
    "vtk",
    "qt",
    "ctk",
    "vtkmodules",
    "PythonQt",
    "ScriptedLoadableModule",
    "SampleData",
    "ActiveSegModuleLib",
}
HEAVY = {"torch", "nnunetv2", "totalsegmentator", "matplotlib", "SimpleITK", "scipy", "cc3d", "nibabel", "pandas"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_core(module: str) -> bool:
    return module in CORE or any(module.startswith(f"{package}.") for package in CORE - {"activeseg"})


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside of functions, but not for type checkers only."""
    tree = ast.parse(path.read_text("utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                continue  # its own package
            assert node.module is not None
            yield node.module
            # ``from activeseg import nifti`` imports a module of that name, if there is one.
            for alias in node.names:
                if (PACKAGE / Path(*node.module.split("."), alias.name)).with_suffix(".py").is_file():
                    yield f"{node.module}.{alias.name}"


PYTHON_FILES = [path for path in files(ACTIVESEG) if path.suffix == ".py"]
CORE_FILES = [path for path in PYTHON_FILES if is_core(module_name(path))]


def test_every_name_in_the_list_of_core_modules_exists():
    there = {module_name(path) for path in CORE_FILES}
    assert there >= CORE - {"activeseg.client"}


@pytest.mark.parametrize("path", CORE_FILES, ids=module_name)
def test_core_imports_only_what_slicer_has_and_core(path):
    for name in imports(path):
        top = name.partition(".")[0]
        if top == "activeseg":
            assert is_core(name), f"{module_name(path)} imports {name}"
        else:
            assert top in sys.stdlib_module_names | SLICER_HAS, f"{module_name(path)} imports {name}"


@pytest.mark.parametrize("path", PYTHON_FILES, ids=module_name)
def test_nothing_in_activeseg_imports_slicer(path):
    assert not {name.partition(".")[0] for name in imports(path)} & SLICER_ITSELF


def test_the_slicer_module_uses_only_core():
    for path in files(MODULE):
        if path.suffix == ".py":
            foreign = [n for n in imports(path) if n.partition(".")[0] == "activeseg" and not is_core(n)]
            assert not foreign, f"{path.name} imports {foreign}"


@pytest.mark.parametrize("module", ["activeseg.cli", "activeseg.commands.app", "activeseg.segmenters"])
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split()) & HEAVY
    assert not loaded

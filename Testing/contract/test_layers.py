"""The house: floors without circles, what runs in Slicer's Python, where torch is, and that nothing knows Slicer."""

from __future__ import annotations

import subprocess
import sys

import pytest
from repository import ACTIVESEG, MODULE, files
from rooms import PYTHON_FILES, arrows, floors, imports, module_name, room

STOCK_SLICER = {"core", "system", "samples", "io", "client"}
"""Packages that import in Slicer's own Python, and the only ones that the Slicer module uses."""
SLICER_HAS = {"numpy", "scipy", "SimpleITK", "requests", "pydicom", "packaging"}
WHEN_CALLED = {"nibabel", "filelock", "psutil"}
"""Of the engine's environment: functions of those packages may import them, which nothing in Slicer calls."""
STOCK_FILES = [path for path in PYTHON_FILES if room(module_name(path)) in STOCK_SLICER]
MOST_FLOORS = 8
MOST_ROOMS = 20
MAY_IMPORT_TORCH = (
    "segmenters/nnunet/",
    "segmenters/nninteractive/",
    "segmenters/totalsegmentator/",
    "learning/training/",
    "engine/worker/",
)
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
HEAVY = {
    "torch",
    "nnunetv2",
    "nnInteractive",
    "totalsegmentator",
    "matplotlib",
    "SimpleITK",
    "scipy",
    "cc3d",
    "nibabel",
    "pandas",
}


def test_rooms_import_only_from_lower_floors_and_there_are_few():
    found = floors(arrows())
    assert max(found.values()) <= MOST_FLOORS
    assert len(found) <= MOST_ROOMS


@pytest.mark.parametrize("name", sorted({room(module_name(path)) for path in PYTHON_FILES} - {""}))
def test_files_of_a_room_import_each_other_in_no_circle(name):
    inside = [path for path in PYTHON_FILES if room(module_name(path)) == name]
    known = {module_name(path) for path in inside}
    graph = {module_name(path): {there for there in imports(path) if there in known} for path in inside}
    for module in graph:
        graph[module].discard(module)
    floors(graph)


def inside_arrows(name: str) -> dict[str, set[str]]:
    """Which of a room's sub-packages and own files each of them imports from."""
    found: dict[str, set[str]] = {}
    for path in PYTHON_FILES:
        module = module_name(path)
        if room(module) == name and module.count(".") > 1:
            here = module.split(".")[2]
            there = {other.split(".")[2] for other in imports(path) if room(other) == name and other.count(".") > 1}
            found.setdefault(here, set()).update(there - {here})
    return found


@pytest.mark.parametrize("name", sorted({room(module_name(path)) for path in PYTHON_FILES} - {""}))
def test_sub_packages_of_a_room_import_each_other_in_no_circle(name):
    floors(inside_arrows(name))


def test_learning_is_built_from_the_project_up():
    found = floors(inside_arrows("learning"))
    in_order = [found[inner] for inner in ("project", "measuring", "training", "bundle")]
    assert in_order == sorted(set(in_order))


def test_every_stock_room_is_there():
    assert {room(module_name(path)) for path in STOCK_FILES} == STOCK_SLICER


@pytest.mark.parametrize("path", STOCK_FILES, ids=module_name)
def test_stock_rooms_import_only_what_slicer_has(path):
    at_top = set(imports(path, whole=False))
    for name in imports(path):
        top = name.partition(".")[0]
        if top == "activeseg":
            assert room(name) in STOCK_SLICER | {""}, f"{module_name(path)} imports {name}"
        else:
            allowed = sys.stdlib_module_names | SLICER_HAS | (set() if name in at_top else WHEN_CALLED)
            assert top in allowed, f"{module_name(path)} imports {name}"


@pytest.mark.parametrize("path", PYTHON_FILES, ids=module_name)
def test_torch_is_imported_only_where_networks_run(path):
    if not path.relative_to(ACTIVESEG).as_posix().startswith(MAY_IMPORT_TORCH):
        assert "torch" not in {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", PYTHON_FILES, ids=module_name)
def test_nothing_in_activeseg_imports_slicer(path):
    assert not {name.partition(".")[0] for name in imports(path)} & SLICER_ITSELF


def test_the_slicer_module_uses_only_stock_rooms():
    for path in files(MODULE):
        if path.suffix == ".py":
            foreign = [n for n in imports(path) if n.startswith("activeseg.") and room(n) not in STOCK_SLICER]
            assert not foreign, f"{path.name} imports {foreign}"


@pytest.mark.parametrize("module", ["activeseg.cli", "activeseg.commands.app", "activeseg.segmenters"])
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split()) & HEAVY
    assert not loaded

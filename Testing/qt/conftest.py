"""Makes both packages importable from the checkout, and gives every test an engine that must leave nothing behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PySide6 import QtCore

ROOT = Path(__file__).resolve().parents[2]
for folder in ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml", "Testing/qt"):
    sys.path.insert(0, str(ROOT / folder))

from slicer_application import SlicerCore  # noqa: E402
from watched_process import WatchedProcess, until  # noqa: E402

from activeseg.core.volume import Volume  # noqa: E402
from activeseg.samples.phantom import Domain, make_phantom, phantom_geometry  # noqa: E402
from ActiveSegModuleLib.engine.listener import Listener  # noqa: E402
from ActiveSegModuleLib.logic.drafts import Drafts  # noqa: E402
from ActiveSegModuleLib.logic.run import Choice  # noqa: E402
from ActiveSegModuleLib.logic.segmenting import Segmenting  # noqa: E402
from ActiveSegModuleLib.scene.case import Case  # noqa: E402

ENGINE_PYTHON = "ACTIVESEG_ENGINE_PYTHON"


@pytest.fixture(scope="session", autouse=True)
def application() -> QtCore.QCoreApplication:
    return QtCore.QCoreApplication.instance() or QtCore.QCoreApplication(sys.argv[:1])


@pytest.fixture(scope="session")
def engine_python() -> Path:
    folder = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    python = Path(os.environ.get(ENGINE_PYTHON) or ROOT / ".venv" / folder)
    if not python.is_file():
        pytest.fail(f"The engine's Python '{python}' is not there; {ENGINE_PYTHON} names another one.")
    return python


@pytest.fixture
def make_process(tmp_path: Path, engine_python: Path) -> Iterator[Callable[..., WatchedProcess]]:
    """Engines that are not started yet; after the test they are shut down, and nothing below this process is left."""
    made: list[WatchedProcess] = []

    def make(python: Path = engine_python, **more: Any) -> WatchedProcess:
        made.append(WatchedProcess(python, tmp_path / f"home{len(made)}", **more))
        return made[-1]

    yield make
    for process in made:
        process.shutdown()
    until(lambda: not psutil.Process().children(recursive=True))


@pytest.fixture
def process(make_process: Callable[..., WatchedProcess]) -> WatchedProcess:
    return make_process()


STRUCTURES = ("bone", "fat", "lungs")


@pytest.fixture(scope="session")
def image() -> Volume:
    return make_phantom(Domain.NATIVE, seed=1, geometry=phantom_geometry(spacing_xyz=(8.0, 8.0, 8.0))).ct


@pytest.fixture
def core() -> SlicerCore:
    return SlicerCore.start()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "drafts"


@pytest.fixture
def drafts(process: WatchedProcess, folder: Path) -> Drafts:
    return Drafts(process, folder)


@pytest.fixture
def case(core: SlicerCore, process: WatchedProcess, folder: Path, image: Volume) -> Case:
    """As one click makes it."""
    segmenting = Segmenting(core.scene, process, folder, Listener())
    ct_node = core.add_volume(image.array, image.geometry, "Phantom")
    segmenting.start(ct_node, Choice("hounsfield", structures=STRUCTURES, regions=3))
    until(lambda: segmenting.running is None)
    assert segmenting.last_case is not None, segmenting.last_error
    return segmenting.last_case

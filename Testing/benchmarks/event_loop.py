"""How long the panel holds up Slicer's event loop while a CT of hospital size is segmented, edited, kept and exported.

    .venv-slicer/bin/python Testing/benchmarks/event_loop.py [--shape 400 512 512] [--structures 117] [--json FILE]

Each event that Qt delivers is timed (slots, timers, painting of the offscreen panel), by what was going on then; views
are not drawn. Beside it, in the same process: Slicer's own import of the label map with that many structures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml", "Testing/panel", "Testing/benchmarks")
sys.path[:0] = [str(ROOT / folder) for folder in FOLDERS]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("ACTIVESEG_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))

from asked import SLICER, at_least_one, file_to_write, started_in  # noqa: E402

started_in(SLICER, __file__, __doc__)

import numpy as np  # noqa: E402
from PySide6 import QtCore, QtWidgets  # noqa: E402
from scene_roundtrip import ellipsoids, slicer_import  # noqa: E402
from slicer_stand_in import LoadedModule, installed  # noqa: E402
from user import User, until  # noqa: E402

from activeseg.core.geometry import Geometry  # noqa: E402
from activeseg.core.labels import LabelSchema  # noqa: E402
from activeseg.core.volume import Volume  # noqa: E402
from ActiveSegModuleLib.scene.case import Case  # noqa: E402


class TimedApplication(QtWidgets.QApplication):
    """Writes down the longest event of each phase; events within events count as part of the outermost one."""

    def __init__(self) -> None:
        super().__init__(sys.argv[:1])
        self.phase: Callable[[], str] = str
        self.longest: dict[str, float] = {}
        self.depth = 0

    def notify(self, receiver: QtCore.QObject, event: QtCore.QEvent) -> bool:
        self.depth += 1
        before = self.phase() if self.depth == 1 else ""
        started = time.perf_counter()
        try:
            return super().notify(receiver, event)
        finally:
            self.depth -= 1
            if self.depth == 0:
                took = time.perf_counter() - started
                phase = before if self.phase() == before else f"{before} -> {self.phase()}"
                self.longest[phase] = max(took, self.longest.get(phase, 0.0))


def body(shape: tuple[int, int, int]) -> np.ndarray:
    """HU (k, j, i) of an ellipse of soft tissue with bone, fat and air in it; noise with a fixed seed."""
    k, j, i = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    hu = np.full(shape, -1000, np.int16)
    hu[np.broadcast_to(j**2 + (i / 0.9) ** 2 < 0.8, shape)] = 40
    hu[np.broadcast_to((j - 0.55) ** 2 + i**2 < 0.02, shape)] = 500
    hu[(j**2 + (abs(i) - 0.4) ** 2 + (k - 0.3) ** 2 / 2) < 0.08] = -850
    return hu + np.random.default_rng(1).integers(-20, 21, shape, np.int16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=at_least_one, nargs=3, default=(400, 512, 512), metavar=("K", "J", "I"))
    parser.add_argument("--structures", type=at_least_one, default=117)
    parser.add_argument("--json", type=file_to_write, help="write the figures there, too")
    options = parser.parse_args()
    application = TimedApplication()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"XDG_DATA_HOME": f"{folder}/data", "XDG_CACHE_HOME": f"{folder}/cache"}
        with installed(Path(folder)) as (core, _):
            module = LoadedModule(ROOT / "ActiveSegModule" / "ActiveSegModule.py")
            module.enter()
            try:
                figures = measure(application, User(module, core), tuple(options.shape), options.structures, folder)
            finally:
                module.close()
    for name, seconds in figures.items():
        print(f"{name:70s} {1000 * seconds:8.0f} ms")
    if options.json:
        options.json.write_text(json.dumps({"shape_kji": options.shape, "seconds": figures}, indent=1))


def measure(
    application: TimedApplication, user: User, shape: tuple[int, int, int], structures: int, folder: str
) -> dict[str, float]:
    """Seconds of the longest event of each phase."""
    geometry = Geometry(shape, (0.8, 0.8, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    ct = user.core.add_volume(body(shape), geometry, "CT")
    until(lambda: user.logic.models.named("hounsfield") is not None and user.node.ct is ct)
    user.node.model, user.node.members = "hounsfield", "4"
    until(lambda: user.ui.segmentButton.enabled)

    def stage() -> str:
        running = user.logic.segmenting.running
        return "no job" if running is None else "label and uncertainty" if running.label_shown else "job runs"

    application.phase = stage
    user.press_segment()
    until(lambda: user.logic.segmenting.running is None)
    case = user.logic.segmenting.last_case
    assert case is not None, user.logic.segmenting.last_error

    application.phase = lambda: "an edit"
    until(lambda: user.listed)
    user.paint(case, case.schema.names[0], ((10, 30), (100, 160), (100, 160)))
    until(lambda: case.touched)
    application.phase = lambda: "a draft"
    saved: list[bool] = []
    QtCore.QTimer.singleShot(0, lambda: user.logic.drafts.save(case, lambda: saved.append(True), saved.append))
    until(lambda: saved)
    assert saved == [True]
    application.phase = lambda: "export, with another draft"
    user.node.dataset = str(Path(folder) / "Dataset801_Large")
    until(lambda: user.ui.exportButton.enabled)
    QtCore.QTimer.singleShot(0, user.ui.exportButton.click)
    until(lambda: not user.ui.exportButton.enabled)
    until(lambda: user.ui.exportButton.enabled)
    application.phase = lambda: f"{structures} structures shown by the panel"
    schema = LabelSchema.from_names(f"structure_{n:03d}" for n in range(1, structures + 1))
    labels = ellipsoids(shape, structures)
    record: dict[str, Any] = {"schema": schema.to_dict(), "decided": list(schema.names), "model": "ellipsoids"}
    started = time.perf_counter()
    large = Case.create(user.core.scene, ct, Volume(labels, geometry), record, "Large")
    into_scene = time.perf_counter() - started
    user.widget.panel.choose(large)
    until(lambda: user.case == large)
    started = time.perf_counter()
    slicer_import(user.core, ct, labels)
    return {
        **{f"longest event: {phase}": seconds for phase, seconds in application.longest.items() if phase},
        f"{structures} structures into the scene": into_scene,
        "the same by Slicer's own import": time.perf_counter() - started,
    }


if __name__ == "__main__":
    main()

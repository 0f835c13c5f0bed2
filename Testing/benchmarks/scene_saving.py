"""How long a scene with a segmented CT takes to save, beside Slicer's own time for a CT, a segmentation and the maps.

    .venv-slicer/bin/python Testing/benchmarks/scene_saving.py [--shape 200 256 256] [--structures 117] [--present 12]
        [--repeat 3] [--json FILE]

Each scene is written as .mrb, by slicer-core. Figures are the best of ``--repeat`` runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml")]

from asked import SLICER, at_least_one, file_to_write, started_in  # noqa: E402

started_in(SLICER, __file__, __doc__)

import numpy as np  # noqa: E402
from scene_roundtrip import best, ellipsoids, slicer_import  # noqa: E402
from slicer_application import SlicerCore  # noqa: E402

from activeseg.core.geometry import Geometry  # noqa: E402
from activeseg.core.labels import LabelSchema  # noqa: E402
from activeseg.core.volume import Volume  # noqa: E402
from ActiveSegModuleLib.scene.case import Case  # noqa: E402

AXES = (1, 0, 0, 0, 1, 0, 0, 0, 1)
MEASURES = ("variance", "entropy", "mutual_information")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=at_least_one, nargs=3, default=(200, 256, 256), metavar=("K", "J", "I"))
    parser.add_argument("--structures", type=at_least_one, default=117)
    parser.add_argument("--present", type=at_least_one, default=12)
    parser.add_argument("--repeat", type=at_least_one, default=3)
    parser.add_argument("--json", type=file_to_write, help="write the figures there, too")
    options = parser.parse_args()

    figures = {}
    labels = ellipsoids(tuple(options.shape), min(options.present, options.structures))
    labels = labels.astype(np.uint8 if options.structures < 255 else np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        for name, fill in (("Slicer's own nodes", by_slicer), ("ours", ours), ("ours, all shown", ours_with_all)):
            core = SlicerCore.start()
            fill(core, labels, options.structures)
            path = Path(folder) / "scene.mrb"
            figures[name], _ = best(lambda core=core, path=path: core.save(path), options.repeat)
            figures[name]["mib"] = round(path.stat().st_size / 2**20, 1)
    for name, figure in figures.items():
        print(f"{name:20s} {figure['wall_s']:7.2f} s   ({figure['cpu_s']:.2f} s of CPU time, {figure['mib']:.1f} MiB)")
    ratio = figures["ours"]["cpu_s"] / figures["Slicer's own nodes"]["cpu_s"]
    print(f"Ours takes {ratio:.2f} times as long as Slicer's own nodes (target: 2).")
    if options.json:
        options.json.write_text(json.dumps({"shape_kji": options.shape, "figures": figures, "ratio": ratio}, indent=1))


def ct_in(core: SlicerCore, shape: tuple[int, ...]) -> Any:
    noise = np.random.default_rng(0).normal(40, 12, shape).astype(np.int16)
    return core.add_volume(noise, Geometry(shape, (1.5, 1.5, 1.5), (0.0, 0.0, 0.0), AXES))


def uncertainty(labels: np.ndarray) -> Volume:
    """A map on a grid half as fine, that is 0 but for the structures' borders."""
    coarse = np.ascontiguousarray(labels[::2, ::2, ::2])
    border = np.zeros(coarse.shape, bool)
    for axis in range(3):
        border |= coarse != np.roll(coarse, 1, axis)
    values = np.where(border, np.random.default_rng(1).random(coarse.shape), 0).astype(np.float32)
    return Volume(values, Geometry(coarse.shape, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), AXES))


def by_slicer(core: SlicerCore, labels: np.ndarray, _structures: int) -> None:
    """CT, segmentation of what is there, and the maps: nothing of ActiveSeg's."""
    slicer_import(core, ct_in(core, labels.shape), labels)
    core.scene.RemoveNode(core.node("vtkMRMLLabelMapVolumeNode", "labels"))
    values = uncertainty(labels)
    for measure in MEASURES:
        core.add_volume(values.array, values.geometry, measure)


def ours(core: SlicerCore, labels: np.ndarray, structures: int) -> Case:
    """The same as ActiveSeg makes it, with what was predicted."""
    ct = ct_in(core, labels.shape)
    geometry = Geometry(labels.shape, (1.5, 1.5, 1.5), (0.0, 0.0, 0.0), AXES)
    schema = LabelSchema.from_names(f"structure_{n:03d}" for n in range(1, structures + 1))
    record = {"schema": schema.to_dict(), "decided": list(schema.names), "measure": MEASURES[0], "threshold": 0.25}
    case = Case.create(core.scene, ct, Volume(labels, geometry), record, "CT segmentation")
    for measure in MEASURES:
        case.add_uncertainty(measure, uncertainty(labels), shown=measure == MEASURES[0])
    return case


def ours_with_all(core: SlicerCore, labels: np.ndarray, structures: int) -> None:
    """With an empty segment for each structure that is not there, as in scenes of earlier versions."""
    ours(core, labels, structures).segmentation.add_absent_structures()


if __name__ == "__main__":
    main()

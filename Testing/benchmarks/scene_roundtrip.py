"""How long 117 structures take into Slicer's scene and back, beside Slicer's own import and export in the same run.

    .venv-slicer/bin/python Testing/benchmarks/scene_roundtrip.py [--shape 400 512 512] [--structures 117] [--json FILE]

Each figure is the best of ``--repeat`` runs: wall-clock time, and processor time, which other work on the machine
disturbs less.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml")]

from asked import SLICER, at_least_one, file_to_write, started_in  # noqa: E402

started_in(SLICER, __file__, __doc__)

import numpy as np  # noqa: E402
import slicer  # noqa: E402
from slicer_application import SlicerCore  # noqa: E402

from activeseg.core.geometry import Geometry  # noqa: E402
from activeseg.core.labels import LabelSchema  # noqa: E402
from activeseg.core.volume import Volume  # noqa: E402
from ActiveSegModuleLib.scene.labelmap import image_of  # noqa: E402
from ActiveSegModuleLib.scene.layers import put, same_voxels, take  # noqa: E402
from ActiveSegModuleLib.scene.placement import ijk_to_ras  # noqa: E402
from ActiveSegModuleLib.scene.segmentation import SegmentationNode  # noqa: E402


def ellipsoids(shape: tuple[int, int, int], count: int) -> np.ndarray:
    """A label map (k, j, i) with ``count`` ellipsoids, each about 1/400 of the volume, later ones over earlier ones."""
    rng = np.random.default_rng(2)
    labels = np.zeros(shape, np.uint8 if count < 255 else np.uint16)
    for value in range(1, count + 1):
        radius = np.array(shape) * rng.uniform(0.05, 0.11, 3)
        centre = rng.uniform(radius, np.array(shape) - radius)
        low, high = np.floor(centre - radius).astype(int), np.ceil(centre + radius).astype(int)
        axes = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        inside = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radius, strict=True)) <= 1
        labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))][inside] = value
    return labels


def best(work: Callable[[], Any], repeat: int) -> tuple[dict[str, float], Any]:
    """Seconds of the fastest run, and what the last one returned."""
    runs = []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    return {"wall_s": round(min(w for w, _ in runs), 3), "cpu_s": round(min(c for _, c in runs), 3)}, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=at_least_one, nargs=3, default=(400, 512, 512), metavar=("K", "J", "I"))
    parser.add_argument("--structures", type=at_least_one, default=117)
    parser.add_argument("--repeat", type=at_least_one, default=3)
    parser.add_argument("--json", type=file_to_write, help="write the figures there, too")
    options = parser.parse_args()

    shape = tuple(options.shape)
    schema = LabelSchema.from_names(f"structure_{n:03d}" for n in range(1, options.structures + 1))
    labels = ellipsoids(shape, options.structures)
    core = SlicerCore.start()
    geometry = Geometry(shape, (0.8, 0.8, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    ct = core.add_volume(np.zeros(shape, np.int16), geometry)
    original = Volume(labels, geometry)
    figures: dict[str, dict[str, float]] = {}

    def create() -> SegmentationNode:
        return SegmentationNode.create(core.scene, ct, original, schema, schema.names, "Ours")

    figures["ours: label map to segmentation"], ours = best(create, options.repeat)
    figures["ours: segmentation to label map"], back = best(lambda: ours.read_back(original), options.repeat)
    assert np.array_equal(back.labels, labels)

    figures["ours: snapshot for a draft"], snapshot = best(lambda: take(ours.node), options.repeat)
    restored = core.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Restored")
    figures["ours: snapshot back into the scene"], _ = best(lambda: put(restored, snapshot), options.repeat)
    assert same_voxels(take(restored), labels)

    edit(core, ct, ours, schema)
    figures["ours: the same after an edit with overlap"], back = best(lambda: ours.read_back(original), options.repeat)
    assert (back.labels[:4, :40, :40] == 1).all()

    figures["Slicer: ImportLabelmapToSegmentationNode"], theirs = best(lambda: slicer_import(core, ct, labels), 1)
    figures["Slicer: ExportSegmentsToLabelmapNode"], exported = best(lambda: slicer_export(core, ct, theirs), 1)
    assert np.count_nonzero(exported) == np.count_nonzero(labels)

    for name, seconds in figures.items():
        print(f"{name:45s} {seconds['wall_s']:8.2f} s   ({seconds['cpu_s']:.2f} s of processor time)")
    there = ratio(figures, "Slicer: ImportLabelmapToSegmentationNode", "ours: label map to segmentation")
    back_again = ratio(figures, "Slicer: ExportSegmentsToLabelmapNode", "ours: segmentation to label map")
    print(f"Slicer's own way takes {there:.1f} times as long in and {back_again:.1f} times as long back.")
    if options.json:
        options.json.write_text(json.dumps({"shape_kji": shape, "figures": figures}, indent=1))


def ratio(figures: dict[str, dict[str, float]], slow: str, fast: str) -> float:
    return figures[slow]["cpu_s"] / figures[fast]["cpu_s"]


def edit(core: SlicerCore, ct: Any, segmentation: SegmentationNode, schema: LabelSchema) -> None:
    """A stroke in a corner that leaves other segments as they are, so that there are two layers."""
    logic = core.editor(segmentation.node, ct)
    logic.GetSegmentEditorNode().SetOverwriteMode(logic.GetSegmentEditorNode().OverwriteNone)
    segment_id = segmentation.segment_id(schema.labels[0])
    stroke = image_of(np.ones((4, 40, 40), np.uint8), ijk_to_ras(ct))
    logic.ModifySegmentByLabelmap(segmentation.node, segment_id, stroke, logic.ModificationModeAdd, False, False)


def slicer_import(core: SlicerCore, ct: Any, labels: np.ndarray) -> Any:
    labelmap = core.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    image = image_of(labels, np.eye(4))
    labelmap.SetAndObserveImageData(image)
    labelmap.CopyOrientation(ct)
    labelmap.CreateDefaultDisplayNodes()
    node = core.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Slicer's")
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(labelmap, node)
    return node


def slicer_export(core: SlicerCore, ct: Any, node: Any) -> np.ndarray:
    labelmap = core.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "exported")
    extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    ids = list(node.GetSegmentation().GetSegmentIDs())
    slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(node, ids, labelmap, ct, extent)
    return slicer.util.arrayFromVolume(labelmap)


if __name__ == "__main__":
    main()

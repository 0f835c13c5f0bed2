"""What a stroke of the Segment Editor costs in a large CT, free and confined to the current region.

    .venv-slicer/bin/python Testing/benchmarks/confined_stroke.py [--shape 400 512 512] [--repeat 3] [--json FILE]

By Slicer's own editor logic, in slicer-core. Figures are the best of ``--repeat`` runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml")]

from asked import SLICER, at_least_one, file_to_write, started_in  # noqa: E402

started_in(SLICER, __file__, __doc__)

import numpy as np  # noqa: E402
from scene_roundtrip import best, ellipsoids  # noqa: E402
from scene_saving import ours  # noqa: E402
from slicer_application import SlicerCore  # noqa: E402

from ActiveSegModuleLib.scene.labelmap import array_of  # noqa: E402
from ActiveSegModuleLib.scene.region_mask import RegionMask  # noqa: E402

REGION_VOXELS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=at_least_one, nargs=3, default=(400, 512, 512), metavar=("K", "J", "I"))
    parser.add_argument("--repeat", type=at_least_one, default=3)
    parser.add_argument("--json", type=file_to_write, help="write the figures there, too")
    options = parser.parse_args()

    core, figures = SlicerCore.start(), {}
    case = ours(core, ellipsoids(tuple(options.shape), 12), 12)
    editor, mask = core.editor(case.node, case.ct_node), RegionMask(core.scene)
    editor.SetCurrentSegmentID(case.segmentation.segment_id(case.schema.labels[0]))
    middle = [size // 2 for size in options.shape]
    boxes = [
        tuple(
            (max(0, at + by), min(size, at + by + REGION_VOXELS))
            for at, size in zip(middle, options.shape, strict=True)
        )
        for by in (0, -REGION_VOXELS)
    ]

    def stroke() -> None:
        editor.ResetModifierLabelmapToDefault()
        array_of(editor.GetModifierLabelmap())[tuple(slice(low, low + 3) for low, _ in boxes[0])] = 1
        segment_id, modifier = editor.GetCurrentSegmentID(), editor.GetModifierLabelmap()
        editor.ModifySegmentByLabelmap(case.node, segment_id, modifier, editor.ModificationModeAdd, False, False)

    def confine(box: tuple) -> None:
        node = editor.GetSegmentEditorNode()
        editor.SetSourceVolumeNode(mask.confine(node, case.ct_node, box))
        mask.switch_on(node)

    figures["a free stroke"], _ = best(stroke, options.repeat)
    case.ct_node.GetImageData().GetScalarRange()  # which Slicer knows already
    figures["confining to a region"], _ = best(lambda: confine(boxes[0]), 1)
    figures["confining to the next region"], _ = best(lambda: confine(boxes[1]), 1)
    confine(boxes[0])
    figures["the first confined stroke"], _ = best(stroke, 1)
    figures["a confined stroke"], _ = best(stroke, options.repeat)
    assert np.all(array_of(mask.node.GetImageData())[tuple(slice(*span) for span in boxes[0])] > -32768)
    for name, seconds in figures.items():
        print(f"{name:30s} {seconds['wall_s']:7.3f} s   ({seconds['cpu_s']:.3f} s of CPU time)")
    if options.json:
        options.json.write_text(json.dumps({"shape_kji": options.shape, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()

"""A prediction folder as a Slicer scene, with pictures that Slicer's own views draw of it.

    .venv-slicer/bin/python Testing/demo_scene.py PREDICTION CT [--corrected LABELS] [--out FOLDER]

Writes ``scene.mrb`` and pictures into the folder (default: the prediction's) and prints one line of JSON,
``{"files": [...]}``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [
    str(ROOT / folder) for folder in ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml", "Testing/render")
]

import numpy as np  # noqa: E402
from slicer_application import SlicerCore  # noqa: E402
from slicer_views import Pixels, SliceView, ThreeDView, four_up, side_by_side, write_png  # noqa: E402

from activeseg.core.correction import Region  # noqa: E402
from activeseg.core.labels import LabelSchema  # noqa: E402
from activeseg.core.volume import Volume  # noqa: E402
from activeseg.io.images import read_label_map, read_volume  # noqa: E402
from activeseg.io.seg_nrrd import SegmentationFile, is_segmentation_file  # noqa: E402
from ActiveSegModuleLib.scene.regions import RegionBox, RegionTable  # noqa: E402
from ActiveSegModuleLib.scene.segmentation import SegmentationNode  # noqa: E402
from ActiveSegModuleLib.scene.uncertainty import UncertaintyVolume  # noqa: E402

VIEW_SIZE = (560, 440)
SURFACE_WORK = 3_000_000_000
"""Voxels times structures; Slicer needs about 4 s for 1e9 to make surfaces, and again whenever the scene is opened."""


@dataclass(frozen=True)
class DemoScene:
    """The nodes of one prediction in one scene, and four views of them."""

    core: SlicerCore
    ct: Any
    prediction: SegmentationNode
    corrected: SegmentationNode | None
    uncertainty: UncertaintyVolume
    regions: RegionTable
    box: RegionBox
    views: dict[str, SliceView]
    three_d: ThreeDView


def build(folder: Path, ct_path: Path, corrected_path: Path | None) -> DemoScene:
    """The scene, looking at the worst region."""
    record = json.loads((folder / "prediction.json").read_text(encoding="utf-8"))
    schema, decided = LabelSchema.from_dict(record["schema"]), record["decided"]
    labels = read_label_map(folder / "labels.nii.gz")
    core = SlicerCore.start()
    views = {name: SliceView(core, name, VIEW_SIZE) for name in ("Red", "Green", "Yellow")}
    three_d = ThreeDView(core, size=VIEW_SIZE)

    volume = read_volume(ct_path)
    ct = core.add_volume(volume.array, volume.geometry, "CT")
    provenance = {"Model": record["model"], "Created": record.get("created", "")}
    prediction = SegmentationNode.create(core.scene, ct, labels, schema, decided, "Prediction", provenance)
    corrected = None
    if corrected_path:
        edited = corrected_labels(corrected_path, labels, schema)
        corrected = SegmentationNode.create(core.scene, ct, edited, schema, decided, "Corrected", provenance)
        corrected.node.SetDisplayVisibility(False)
    measure, threshold = record["measure"], float(record["threshold"])
    uncertainty = UncertaintyVolume.create(
        core.scene,
        ct,
        read_volume(folder / "uncertainty.nii.gz", allow_nan=True),
        measure,
        threshold,
        f"Uncertainty ({measure.replace('_', ' ')})",
    )
    entries = json.loads((folder / "regions.json").read_text(encoding="utf-8"))["regions"]
    regions = RegionTable.create(core.scene, ct, entries, labels.geometry, "Regions to review")
    box = RegionBox.create(core.scene, ct, "Current region", saved=True)
    return DemoScene(core, ct, prediction, corrected, uncertainty, regions, box, views, three_d)


def corrected_labels(path: Path, predicted: Volume, schema: LabelSchema) -> Volume:
    """The corrected label map, from a label map or a .seg.nrrd."""
    if not is_segmentation_file(path):
        return read_label_map(path)
    edited = SegmentationFile.read(path).label_map(predicted.geometry, schema, predicted=predicted.array)
    return Volume(edited.labels, predicted.geometry)


def arrange(demo: DemoScene) -> None:
    """What the scene shows when it is opened: the CT, the glow, the structures, and the worst region framed."""
    demo.core.app.GetSelectionNode().SetActiveVolumeID(demo.ct.GetID())
    demo.uncertainty.show(demo.ct)
    demo.uncertainty.add_legend(demo.views["Red"].node)
    for view in demo.views.values():
        view.fit()
    show_surfaces(demo.prediction)
    if demo.regions.regions:
        demo.box.move_to(demo.regions, demo.regions.regions[0].number)
        demo.regions.jump_to(demo.regions.regions[0].number)
    demo.three_d.look_from_the_front()  # at all structures, not at the region


def show_surfaces(segmentation: SegmentationNode) -> None:
    voxels = int(np.prod(segmentation.ct_node.GetImageData().GetDimensions()))
    if voxels * len(segmentation.decided) > SURFACE_WORK:
        print("The CT is large: structures are not shown in 3D. Slicer's button 'Show 3D' does it.", file=sys.stderr)
        return
    segmentation.node.CreateClosedSurfaceRepresentation()


def draw(demo: DemoScene) -> Iterator[tuple[str, Pixels]]:
    """Pictures with their file names; changes what the views show."""
    red, green, yellow = (demo.views[name] for name in ("Red", "Green", "Yellow"))
    yield "views.png", four_up(red, demo.three_d, green, yellow)

    display = demo.prediction.node.GetDisplayNode()
    display.SetVisibility2DFill(False)
    yield from draw_regions(demo, red)
    for view in (red, green, yellow):
        demo.uncertainty.show(demo.ct, 0.85)
        view.fit()
    if demo.regions.regions:
        demo.regions.jump_to(demo.regions.regions[0].number, frame=False)
    yield "uncertainty.png", side_by_side(red, green, yellow)
    if demo.corrected:
        yield "corrected.png", draw_correction(demo, red)


def draw_regions(demo: DemoScene, red: SliceView) -> Iterator[tuple[str, Pixels]]:
    """The worst six regions, and all of them among the transparent structures."""
    regions = demo.regions.regions
    if not regions:
        return
    demo.box.hide()
    boxes = [RegionBox.create(demo.core.scene, demo.ct, f"Region {region.number}") for region in regions]
    demo.uncertainty.show_legend(False)
    tiles = []
    for region, box in list(zip(regions, boxes, strict=True))[:6]:
        box.move_to(demo.regions, region.number)
        demo.regions.jump_to(region.number)
        red.caption(f"{region.number}   {', '.join(region.structures[:2])}   score {region.score:.2f}")
        tiles.append(side_by_side(red))
        box.hide()
    red.caption("")
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 3)
    yield "regions.png", np.vstack([np.hstack(tiles[row : row + 3]) for row in range(0, len(tiles), 3)])

    for region, box in zip(regions, boxes, strict=True):
        box.move_to(demo.regions, region.number)
    demo.prediction.node.GetDisplayNode().SetOpacity3D(0.35)
    demo.three_d.look_from_the_front()
    yield "regions_3d.png", side_by_side(demo.three_d)
    for box in boxes:
        box.hide()
    demo.box.move_to(demo.regions, regions[0].number)


def draw_correction(demo: DemoScene, red: SliceView) -> Pixels:
    """The region in which most was corrected, as it was predicted and as it is now."""
    predicted, corrected = (node.read_back().labels for node in (demo.prediction, demo.corrected))

    def corrected_voxels(region: Region) -> int:
        box = tuple(slice(*span) for span in region.box_kji)
        return int(np.count_nonzero(predicted[box] != corrected[box]))

    if demo.regions.regions:
        most = max(demo.regions.regions, key=corrected_voxels)
        demo.box.move_to(demo.regions, most.number)
        demo.regions.jump_to(most.number)
    demo.uncertainty.hide()
    pictures = []
    for text, shown, other in (
        ("predicted", demo.prediction, demo.corrected),
        ("corrected", demo.corrected, demo.prediction),
    ):
        shown.node.SetDisplayVisibility(True)
        other.node.SetDisplayVisibility(False)
        shown.node.GetDisplayNode().SetVisibility2DFill(True)
        red.caption(text)
        pictures.append(side_by_side(red))
    return np.hstack(pictures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prediction", type=Path)
    parser.add_argument("ct", type=Path)
    parser.add_argument("--corrected", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    out = (options.out or options.prediction).resolve()
    out.mkdir(parents=True, exist_ok=True)

    demo = build(options.prediction, options.ct, options.corrected)
    arrange(demo)
    demo.core.save(out / "scene.mrb")
    files = [out / "scene.mrb"]
    for name, pixels in draw(demo):
        write_png(out / name, pixels)
        files.append(out / name)
    print(json.dumps({"files": [str(path) for path in files]}))


if __name__ == "__main__":
    main()

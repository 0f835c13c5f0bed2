"""The scene and the pictures that the demo writes of a prediction folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import demo_scene
import numpy as np
import pytest
import vtk
from scene_cases import PLAIN, SCHEMA, boxes, from_scene, oblique
from slicer_application import SlicerCore
from vtk.util.numpy_support import vtk_to_numpy

from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from activeseg.io.images import write_volume
from activeseg.io.seg_nrrd import write_segmentation
from ActiveSegModuleLib.scene.regions import RegionTable
from ActiveSegModuleLib.scene.uncertainty import UncertaintyVolume


def write_prediction(folder: Path, geometry: Geometry, regions: int) -> None:
    """A prediction folder as ``activeseg segment`` writes it, as far as a scene needs it."""
    folder.mkdir()
    write_volume(Volume(np.where(boxes() > 0, 60, -80).astype(np.int16), geometry), folder / "ct.nii.gz")
    write_volume(Volume(boxes(), geometry), folder / "labels.nii.gz")
    values = np.random.default_rng(0).random(geometry.shape_kji).astype(np.float32)
    values[0] = np.nan
    write_volume(Volume(values, geometry), folder / "uncertainty.nii.gz")
    record = {
        "schema": SCHEMA.to_dict(),
        "decided": list(SCHEMA.names),
        "model": "hounsfield",
        "created": "2026-01-02T03:04:05",
        "measure": "entropy",
        "threshold": 0.25,
    }
    (folder / "prediction.json").write_text(json.dumps(record))
    entries = [
        {
            "number": number,
            "box_kji": [[4 + number, 12], [8, 16], [4, 16]],
            "center_ras_mm": geometry.ras_of_ijk([10, 12, 8 + number / 2]).tolist(),
            "score": 0.9 / number,
            "size_voxels": 100,
            "votes": {},
            "structures": ["liver"],
            "size_mm3": 700.0,
            "state": "open",
        }
        for number in range(1, regions + 1)
    ]
    (folder / "regions.json").write_text(json.dumps({"regions": entries}))
    edited = boxes()
    edited[6:10, 15:19, 3:14] = 1
    write_segmentation(folder / "corrected.seg.nrrd", edited, geometry, SCHEMA, SCHEMA.names)


def run(monkeypatch, capsys, *arguments: object) -> list[Path]:
    monkeypatch.setattr(sys, "argv", ["demo_scene.py", *(str(argument) for argument in arguments)])
    demo_scene.main()
    return [Path(name) for name in json.loads(capsys.readouterr().out)["files"]]


def pixels_of(path: Path) -> np.ndarray:
    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    width, height, _ = reader.GetOutput().GetDimensions()
    return vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars()).reshape(height, width, -1)


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_scene_opens_with_everything_at_the_worst_region(tmp_path, monkeypatch, capsys, geometry):
    folder, out = tmp_path / "prediction", tmp_path / "slicer"
    write_prediction(folder, geometry, regions=2)
    corrected = folder / "corrected.seg.nrrd"
    files = run(monkeypatch, capsys, folder, folder / "ct.nii.gz", "--corrected", corrected, "--out", out)
    assert {path.name for path in files} == {
        "scene.mrb",
        "views.png",
        "regions.png",
        "regions_3d.png",
        "uncertainty.png",
        "corrected.png",
    }
    for path in files[1:]:
        pixels = pixels_of(path).astype(int)
        assert pixels.std() > 20, f"{path.name} is nearly blank"
        assert (np.ptp(pixels, axis=2) > 60).mean() > 0.005, f"{path.name} has no colours"

    core = SlicerCore.start()
    core.load(out / "scene.mrb")
    ct = core.node("vtkMRMLScalarVolumeNode", "CT")
    predicted = from_scene(core.node("vtkMRMLSegmentationNode", "Prediction"))
    edited = from_scene(core.node("vtkMRMLSegmentationNode", "Corrected"))
    original = Volume(boxes(), geometry)
    assert predicted.provenance("Model") == "hounsfield"
    assert predicted.read_back(original).sentences() == ()
    assert {s.structure for s in edited.read_back(original).segments if s.edited} == {"liver", "kidney_left"}
    assert predicted.node.GetDisplayVisibility()
    assert not edited.node.GetDisplayVisibility()
    uncertainty = UncertaintyVolume(core.node("vtkMRMLScalarVolumeNode", "Uncertainty (entropy)"))
    assert uncertainty.measure == "entropy"
    table = RegionTable(core.node("vtkMRMLTableNode", "Regions to review"))
    assert len(table.regions) == 2
    assert core.node("vtkMRMLMarkupsROINode", "Current region").GetDisplayNode().GetVisibility()
    layout = core.logics["Layouts"].GetLayoutNode()
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView
    for name, letter in (("Red", "R"), ("Green", "G"), ("Yellow", "Y")):
        composite = core.scene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode")
        assert composite.GetBackgroundVolumeID() == ct.GetID()
        assert composite.GetForegroundVolumeID() == uncertainty.node.GetID()
        node = core.scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        assert node.GetLayoutLabel() == letter
        width, height, _ = node.GetDimensions()
        middle = node.GetXYToRAS().MultiplyPoint([width / 2, height / 2, 0, 1])[:3]
        assert np.allclose(middle, table.center_world(1), atol=0.5)


def test_prediction_without_regions_or_correction_is_drawn_as_well(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "prediction"
    write_prediction(folder, PLAIN, regions=0)
    files = run(monkeypatch, capsys, folder, folder / "ct.nii.gz")
    assert [path.name for path in files] == ["scene.mrb", "views.png", "uncertainty.png"]
    assert all(path.parent == folder for path in files)

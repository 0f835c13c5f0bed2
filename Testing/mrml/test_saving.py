"""Scenes and segmentation files written by Slicer keep what is needed to read the segmentation back."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from scene_cases import PLAIN, SCHEMA, from_scene, oblique

from activeseg.core.labels import LabelSchema
from activeseg.core.segments.matching import MatchedBy
from activeseg.core.volume import Volume
from ActiveSegModuleLib.scene.segmentation import SegmentationNode

AWKWARD = LabelSchema.from_names(["left | right", "a:b;c", 'Größe <1 & "x"', "tab\tand  spaces", "100%"])


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_scene_bundle_brings_everything_back(core, make_case, tmp_path, geometry):
    turned = np.array([[0.0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
    case = make_case(geometry, core.add_transform(turned))
    case.segment("liver").SetName("renamed")
    core.save(tmp_path / "scene.mrb")
    core.load(tmp_path / "scene.mrb")
    wrapped = from_scene(core.node("vtkMRMLSegmentationNode", "Prediction"))
    assert wrapped.ct_node is core.node("vtkMRMLScalarVolumeNode", "CT")
    assert wrapped.schema == SCHEMA
    assert wrapped.provenance("PredictionId") == "p-1"
    back = wrapped.read_back(case.original)
    assert np.array_equal(Volume(back.labels, back.geometry).resample_labels_to(geometry).array, case.labels)
    assert {segment.by for segment in back.segments} == {MatchedBy.TAG}
    assert not back.resampled
    assert not any(segment.edited for segment in back.segments)
    assert [segment.name for segment in back.segments if segment.renamed] == ["renamed"]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(core.scene)
    item = hierarchy.GetItemByDataNode(wrapped.node)
    assert hierarchy.GetItemParent(item) == hierarchy.GetItemByDataNode(wrapped.ct_node)


def test_segmentation_file_keeps_values_names_codes_and_empty_segments(core, case, tmp_path):
    path = tmp_path / "edited.seg.nrrd"
    node = write_and_read(core, case.segmentation.node, path)
    back = SegmentationNode(node, case.ct, SCHEMA, SCHEMA.names).read_back(case.original)
    assert np.array_equal(back.labels, case.labels)
    assert {segment.by for segment in back.segments} == {MatchedBy.TAG}
    assert back.present == SCHEMA.names
    liver = node.GetSegmentation().GetSegment(case.id("liver"))
    assert liver.GetTerminology() == SCHEMA.named("liver").terminology.slicer_string()
    assert np.allclose(np.array(liver.GetColor()) * 255, SCHEMA.named("liver").color, atol=0.01)


def test_names_with_special_characters_survive_files_and_scenes(core, case, tmp_path):
    made = SegmentationNode.create(core.scene, case.ct, case.original, AWKWARD, AWKWARD.names, "Awkward")
    node = write_and_read(core, made.node, tmp_path / "awkward.seg.nrrd")
    back = SegmentationNode(node, case.ct, AWKWARD, AWKWARD.names).read_back(case.original)
    assert {segment.by for segment in back.segments} == {MatchedBy.TAG}
    assert np.array_equal(back.labels, case.labels)
    core.save(tmp_path / "awkward.mrb")
    core.load(tmp_path / "awkward.mrb")
    wrapped = from_scene(core.node("vtkMRMLSegmentationNode", "Awkward"))
    assert wrapped.schema == AWKWARD
    back = wrapped.read_back(case.original)
    assert {segment.by for segment in back.segments} == {MatchedBy.TAG}
    assert np.array_equal(back.labels, case.labels)


def write_and_read(core, node, path):
    """A second node, read from the file that Slicer wrote of the first."""
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    assert storage.WriteData(node)
    again = core.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Read again")
    assert storage.ReadData(again)
    return again

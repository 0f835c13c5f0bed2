"""A label map becomes a segmentation node."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import slicer
import vtk
from scene_cases import PLAIN, SCHEMA, SHAPE, Case, boxes, from_scene, oblique, whole_case
from strokes import paint

from activeseg.core.errors import InputError
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from ActiveSegModuleLib.scene.labelmap import BINARY_LABELMAP, array_of, ijk_to_ras_of
from ActiveSegModuleLib.scene.segmentation import SegmentationNode


def test_structures_share_one_image_and_keep_names_colours_codes_and_values(case):
    segments = case.segments
    assert segments.GetNumberOfLayers(BINARY_LABELMAP) == 1
    assert [segments.GetNthSegment(n).GetName() for n in range(segments.GetNumberOfSegments())] == list(SCHEMA.names)
    for label in SCHEMA.labels:
        segment = case.segment(label.name)
        assert np.allclose(np.array(segment.GetColor()) * 255, label.color)
        value = vtk.reference("")
        assert segment.GetTag("ActiveSeg.LabelValue", value)
        assert int(value.get()) == label.value
        if label.terminology:
            assert segment.GetTerminology() == label.terminology.slicer_string()


def test_slicer_itself_finds_each_structure_where_the_label_map_has_it(make_case):
    case = make_case(oblique())
    for label in SCHEMA.labels[:4]:
        centre_ras = case.segmentation.node.GetSegmentCenterRAS(case.id(label.name))
        voxels = np.argwhere(case.labels == label.value)[:, ::-1]
        middle = (voxels.min(axis=0) + voxels.max(axis=0)) / 2
        expected = oblique().ras_of_ijk(middle)
        assert np.allclose(centre_ras, expected, atol=2.5)


def test_reference_geometry_is_the_cts(case):
    node = case.segmentation.node
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is case.ct
    image = case.segments.GetLayerDataObject(0, BINARY_LABELMAP)
    assert np.allclose(ijk_to_ras_of(image), PLAIN.ijk_to_ras)
    assert array_of(image).shape == SHAPE


def test_later_changes_of_the_callers_array_do_not_reach_the_scene(case):
    case.labels[:] = 0
    assert array_of(case.segments.GetLayerDataObject(0, BINARY_LABELMAP)).any()


def test_only_what_was_found_becomes_a_segment(core):
    case = whole_case(core)
    assert case.node.GetSegmentation().GetNumberOfSegments() == 4
    assert case.segmentation.segment_id(SCHEMA.named("aorta")) is None
    assert case.segmentation.empty_segments() == ()
    assert case.decided == SCHEMA.names


def test_a_structure_that_was_missed_gets_a_segment_in_the_same_image(core):
    case = whole_case(core)
    aorta = case.segmentation.add_structure(SCHEMA.named("aorta"))
    segments = case.node.GetSegmentation()
    assert segments.GetNumberOfLayers(BINARY_LABELMAP) == 1
    assert segments.GetSegment(aorta).GetName() == "aorta"
    assert np.allclose(np.array(segments.GetSegment(aorta).GetColor()) * 255, SCHEMA.named("aorta").color)
    assert case.segmentation.add_structure(SCHEMA.named("aorta")) == aorta
    assert case.segmentation.empty_segments() == (aorta,)
    assert case.segmentation.add_absent_structures() == ()
    assert (case.read_back().labels == boxes()).all()
    segments.RemoveSegment(aorta)
    (again,) = case.segmentation.add_absent_structures()
    assert again == aorta


def test_slicer_is_told_which_segment_was_added(core):
    """The Data tree makes its item from that; an event without the segment's id makes none."""
    case, told = whole_case(core), []

    @vtk.calldata_type(vtk.VTK_STRING)
    def note(_caller, _event, segment_id=None):
        told.append(segment_id)

    case.node.AddObserver(slicer.vtkSegmentation.SegmentAdded, note)
    aorta = case.segmentation.add_structure(SCHEMA.named("aorta"))
    assert told == [aorta]


def test_a_label_map_without_any_structure_is_a_segmentation_that_can_be_painted(core, tmp_path):
    ct = core.add_volume(np.zeros(SHAPE, np.int16), PLAIN)
    nothing = Volume(np.zeros(SHAPE, np.uint8), PLAIN)
    made = SegmentationNode.create(core.scene, ct, nothing, SCHEMA, SCHEMA.names, "Nothing")
    assert made.node.GetSegmentation().GetNumberOfSegments() == 0
    core.save(tmp_path / "scene.mrb")
    core.load(tmp_path / "scene.mrb")
    again = from_scene(core.node("vtkMRMLSegmentationNode", "Nothing"))
    assert again.read_back(nothing).deleted == ()
    liver = again.add_structure(SCHEMA.named("liver"))
    paint(Case(core, again.ct_node, nothing, again), liver, np.s_[2:4, 3:6, 5:9])
    back = again.read_back(nothing)
    assert (back.labels[2:4, 3:6, 5:9] == 1).all()
    assert (back.labels == 1).sum() == 24


def test_structure_that_was_not_decided_has_no_segment(core):
    ct = core.add_volume(np.zeros(SHAPE, np.int16), PLAIN)
    labels = np.where(boxes() == 1, 1, 0).astype(np.uint8)
    made = SegmentationNode.create(core.scene, ct, Volume(labels, PLAIN), SCHEMA, ["liver", "spleen"], "Subset")
    assert made.add_absent_structures() == (made.segment_id(SCHEMA.named("spleen")),)
    assert made.node.GetSegmentation().GetNumberOfSegments() == 2
    assert made.segment_id(SCHEMA.named("aorta")) is None


def test_segmentation_lies_under_the_cts_transform_and_its_item(core, make_case):
    moved = core.add_transform(np.diag([1.0, 1.0, -1.0, 1.0]))
    case = make_case(PLAIN, moved)
    assert case.segmentation.node.GetParentTransformNode() is moved
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(core.scene)
    item = hierarchy.GetItemByDataNode(case.segmentation.node)
    assert hierarchy.GetItemParent(item) == hierarchy.GetItemByDataNode(case.ct)


def test_node_tells_where_it_came_from(case):
    assert case.segmentation.provenance("Model") == "test"
    assert case.segmentation.provenance("Nothing") is None
    assert LabelSchema.from_dict(json.loads(case.segmentation.node.GetAttribute("ActiveSeg.Schema"))) == SCHEMA


@pytest.mark.parametrize(
    ("labels", "decided", "message"),
    [
        (Volume(boxes(), oblique()), SCHEMA.names, "does not lie on the voxels of the CT"),
        (Volume(boxes()[1:], replace(PLAIN, shape_kji=(23, 30, 36))), SCHEMA.names, "does not lie on the voxels"),
        (Volume(np.zeros(SHAPE, np.float32), PLAIN), SCHEMA.names, "whole numbers"),
        (Volume(np.full(SHAPE, 7, np.uint8), PLAIN), SCHEMA.names, "1 to 5"),
        (Volume(np.full(SHAPE, -1, np.int16), PLAIN), SCHEMA.names, "-1"),
        (Volume(np.full(SHAPE, 2, np.uint8), PLAIN), ["liver"], "kidney_left"),
        (Volume(np.zeros(SHAPE, np.uint8), PLAIN), ["livr"], "livr"),
    ],
)
def test_label_map_that_does_not_fit_is_refused(core, labels, decided, message):
    ct = core.add_volume(np.zeros(SHAPE, np.int16), PLAIN)
    with pytest.raises(InputError, match=message):
        SegmentationNode.create(core.scene, ct, labels, SCHEMA, decided, "Wrong")
    assert core.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_label_map_of_the_same_ct_stored_from_another_corner_is_shown_where_it_lies(core):
    ct = core.add_volume(np.zeros(SHAPE, np.int16), PLAIN)
    turned = Volume(boxes(), PLAIN).canonical()
    assert not np.array_equal(turned.array, boxes())
    made = SegmentationNode.create(core.scene, ct, turned, SCHEMA, SCHEMA.names, "Turned")
    back = made.read_back(turned)
    assert np.array_equal(back.labels, boxes())
    assert back.sentences() == ()


def test_ignored_voxels_are_shown_and_come_back(core):
    ct = core.add_volume(np.zeros(SHAPE, np.int16), PLAIN)
    labels = boxes()
    labels[0] = SCHEMA.ignore_value
    made = SegmentationNode.create(core.scene, ct, Volume(labels, PLAIN), SCHEMA, SCHEMA.names, "Case from a dataset")
    segments = made.node.GetSegmentation()
    assert segments.GetNthSegment(4).GetName() == "ignore"
    back = made.read_back(Volume(labels, PLAIN))
    assert np.array_equal(back.labels, labels)
    assert back.unmatched == back.deleted == back.added == ()


def test_volume_without_voxels_is_refused(core):
    empty = core.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    with pytest.raises(InputError, match="'Nothing' has no voxels"):
        SegmentationNode.create(core.scene, empty, Volume(boxes(), PLAIN), SCHEMA, SCHEMA.names, "Wrong")


def test_more_than_255_structures_fit(core):
    geometry = replace(PLAIN, shape_kji=(1, 20, 20))
    ct = core.add_volume(np.zeros((1, 20, 20), np.int16), geometry)
    schema = LabelSchema.from_names(f"structure {n}" for n in range(1, 301))
    labels = np.arange(400).reshape(1, 20, 20).astype(np.int32)
    labels[labels > 300] = 0
    original = Volume(labels, geometry)
    made = SegmentationNode.create(core.scene, ct, original, schema, schema.names, "Many")
    back = made.read_back(original)
    assert np.array_equal(back.labels, labels)
    assert back.labels.dtype == np.uint16
    assert back.sentences() == ()

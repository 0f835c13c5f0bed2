"""What is taken out of a segmentation node comes back into another one exactly, whatever the user did before."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
import vtk
from scene_cases import LIVER, PLAIN, SCHEMA, boxes, oblique, whole_case
from seen_segments import seen
from strokes import LOGIC, add_segment, cube, paint

from activeseg.core.errors import InputError
from ActiveSegModuleLib.scene.labelmap import BINARY_LABELMAP, CLOSED_SURFACE, array_of
from ActiveSegModuleLib.scene.layers import Snapshot, put, same_voxels, take


def through_files(snapshot: Snapshot) -> Snapshot:
    """As it comes back from a draft."""
    return Snapshot(json.loads(json.dumps(snapshot.json)), [array.copy() for array in snapshot.arrays])


def restored(case, snapshot):
    """A fresh node with the snapshot in it."""
    node = case.core.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "restored")
    put(node, through_files(snapshot))
    return node


def assert_comes_back(case):
    node = case.segmentation.node
    before = seen(node)
    times = node.GetMTime(), case.segments.GetMTime()
    snapshot = take(node)
    assert (node.GetMTime(), case.segments.GetMTime()) == times, "taking changes nothing"
    assert seen(restored(case, snapshot)) == before
    put(node, through_files(snapshot))
    assert seen(node) == before, "also in place of itself"
    back = case.segmentation.read_back(case.original)
    return snapshot, back


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_an_untouched_segmentation(make_case, geometry):
    case = make_case(geometry)
    snapshot, back = assert_comes_back(case)
    assert len(snapshot.arrays) == 1
    assert snapshot.told == ()
    assert np.array_equal(back.labels, case.labels)
    assert same_voxels(snapshot, case.labels)


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_edits_of_the_segment_editor(make_case, geometry):
    case = make_case(geometry)
    paint(case, case.id("liver"), np.s_[2:8, 10:20, 8:20])
    paint(case, case.id("spleen"), np.s_[0:4, 0:4, 0:4])
    paint(case, case.id("kidney_right"), np.s_[13:16, 5:15, 20:36], LOGIC.ModificationModeRemove)
    expected = case.segmentation.read_back(case.original).labels
    snapshot, back = assert_comes_back(case)
    assert not same_voxels(snapshot, case.labels)
    assert np.array_equal(back.labels, expected)
    assert {segment.structure for segment in back.segments if segment.edited} >= {"liver", "spleen", "kidney_right"}


def test_overlapping_segments_stay_in_their_layers(case):
    paint(case, case.id("liver"), np.s_[4:12, 15:22, 3:14], overwrite=2)
    paint(case, case.id("aorta"), np.s_[5:10, 8:18, 0:36], overwrite=2)
    assert case.segments.GetNumberOfLayers(BINARY_LABELMAP) > 1
    expected = case.segmentation.read_back(case.original)
    assert expected.overlapping_voxels
    snapshot, back = assert_comes_back(case)
    assert len(snapshot.arrays) == case.segments.GetNumberOfLayers(BINARY_LABELMAP)
    assert (back.overlapping_voxels, back.labels.tobytes()) == (expected.overlapping_voxels, expected.labels.tobytes())


def test_shared_layers_stay_shared(case):
    node = restored(case, take(case.segmentation.node))
    images = {
        node.GetSegmentation().GetSegment(segment_id).GetRepresentation(BINARY_LABELMAP)
        for segment_id in node.GetSegmentation().GetSegmentIDs()
    }
    assert len(images) == 1


def test_added_deleted_renamed_moved_and_hidden_segments(case):
    add_segment(case, "my tumour", cube(np.s_[1:3, 1:3, 1:3]), terminology=LIVER.slicer_string())
    add_segment(case, "small", np.ones((2, 2, 2)), first_ijk=(3, 4, 5), segment_id="small id")
    add_segment(case, "nothing yet")
    case.segments.RemoveSegment(case.id("spleen"))
    liver = case.segment("liver")
    liver.SetName("Leber, bitte: prüfen")
    liver.SetColor(0.1, 0.25, 1 / 3)
    case.segments.SetSegmentIndex(case.id("liver"), 3)
    case.segmentation.node.GetDisplayNode().SetSegmentVisibility(case.id("kidney_left"), False)
    assert_comes_back(case)


def test_all_tags_of_segments(case):
    liver = case.segment("liver")
    tags = {
        "Plain": "text",
        "with:colon": "a:b: c",
        "with: colon and blank": "x",
        "empty": "",
        "lines": "one\n      Plain: not this\nthree",
        "päper": "größe | ~ ^",
    }
    for key, value in tags.items():
        liver.SetTag(key, value)
    slicer.vtkSlicerSegmentationsModuleLogic.SetSegmentStatus(liver, 2)
    liver_id = case.id("liver")
    snapshot, _ = assert_comes_back(case)
    (entry,) = [entry for entry in snapshot.json["segments"] if entry["id"] == liver_id]
    assert tags.items() <= entry["tags"].items()
    found = restored(case, snapshot).GetSegmentation().GetSegment(liver_id)
    for key, text in tags.items():
        value = vtk.reference("")
        assert found.GetTag(key, value)
        assert value.get() == text
    assert slicer.vtkSlicerSegmentationsModuleLogic.GetSegmentStatus(found) == 2


def test_a_tag_that_was_removed_stays_away(case):
    case.segment("aorta").RemoveTag(case.segment("aorta").GetTerminologyEntryTagName())
    assert_comes_back(case)


def test_emptied_segments_and_no_segments(case):
    for segment_id in case.segments.GetSegmentIDs():
        paint(case, segment_id, np.s_[0:24, 0:30, 0:36], LOGIC.ModificationModeRemoveAll)
    assert_comes_back(case)
    case.segments.RemoveAllSegments()
    snapshot, _ = assert_comes_back(case)
    assert snapshot.json["segments"] == []


def test_the_snapshot_is_a_copy(case):
    snapshot = take(case.segmentation.node)
    paint(case, case.id("liver"), np.s_[0:24, 0:30, 0:36])
    assert same_voxels(snapshot, case.labels)


def test_a_restored_segmentation_is_edited_further(case):
    node = restored(case, take(case.segmentation.node))
    liver = case.id("liver")
    editor = case.core.editor(node, case.ct)
    from ActiveSegModuleLib.scene.labelmap import image_of
    from ActiveSegModuleLib.scene.placement import ijk_to_ras

    stroke = image_of(np.ones((2, 2, 2), np.uint8), ijk_to_ras(case.ct), (30, 0, 0))
    editor.SaveStateForUndo()
    editor.ModifySegmentByLabelmap(node, liver, stroke, LOGIC.ModificationModeAdd, False, False)
    array = array_of(node.GetSegmentation().GetLayerDataObject(0, BINARY_LABELMAP))
    assert np.count_nonzero(array) == np.count_nonzero(case.labels) + 8
    editor.Undo()
    array = array_of(node.GetSegmentation().GetLayerDataObject(0, BINARY_LABELMAP))
    assert np.count_nonzero(array) == np.count_nonzero(case.labels)


def test_surfaces_are_saved_as_voxels_and_that_is_said(case):
    node = case.segmentation.node
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName(CLOSED_SURFACE)
    snapshot = take(node)
    (sentence,) = snapshot.told
    assert "saved as voxels" in sentence
    assert node.GetSegmentation().GetSourceRepresentationName() == CLOSED_SURFACE
    found = restored(case, snapshot).GetSegmentation()
    assert found.GetSegmentIDs() == case.segments.GetSegmentIDs()
    image = found.GetSegment(case.id("liver")).GetRepresentation(BINARY_LABELMAP)
    voxels = np.count_nonzero(array_of(image) == found.GetSegment(case.id("liver")).GetLabelValue())
    assert voxels == pytest.approx(np.count_nonzero(case.labels == 1), rel=0.3)


def test_a_damaged_snapshot_changes_nothing(case):
    snapshot = take(case.segmentation.node)
    before = seen(case.segmentation.node)
    damaged = [
        Snapshot({**snapshot.json, "format": 2}, snapshot.arrays),
        Snapshot(snapshot.json, []),
        Snapshot(snapshot.json, [snapshot.arrays[0][1:]]),
        Snapshot({**snapshot.json, "segments": [{"id": "a"}]}, snapshot.arrays),
    ]
    for each in damaged:
        with pytest.raises(InputError):
            put(case.segmentation.node, each)
        assert seen(case.segmentation.node) == before


def test_an_empty_segment_that_was_asked_for_leaves_the_voxels_as_they_were_made(core):
    case = whole_case(core)
    assert same_voxels(take(case.node), boxes())
    case.segmentation.add_absent_structures()
    assert same_voxels(take(case.node), boxes())
    case.node.GetSegmentation().RemoveSegment(case.segmentation.segment_id(SCHEMA.named("spleen")))
    assert not same_voxels(take(case.node), boxes())
    case.node.GetSegmentation().RemoveAllSegments()
    assert not same_voxels(take(case.node), boxes())
    assert same_voxels(take(case.node), np.zeros_like(boxes()))

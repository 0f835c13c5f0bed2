"""An edited segmentation node becomes one label map on the CT's grid, whatever the user did to it."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from scene_cases import LIVER, PLAIN, SCHEMA, SHAPE, Case, oblique, whole_case
from strokes import LOGIC, add_segment, cube, paint

from activeseg.core.errors import InputError
from activeseg.core.labels import LabelSchema
from activeseg.core.segments.matching import MatchedBy
from activeseg.core.volume import Volume
from ActiveSegModuleLib.scene.labelmap import BINARY_LABELMAP, CLOSED_SURFACE, array_of, first_voxel, image_of
from ActiveSegModuleLib.scene.placement import ijk_to_ras
from ActiveSegModuleLib.scene.segmentation import SegmentationNode


def by_id(back):
    return {segment.segment_id: segment for segment in back.segments}


# --- nothing, names, colours, visibility -------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_untouched_segmentation_comes_back_as_it_was(make_case, geometry):
    case = make_case(geometry)
    back = case.segmentation.read_back(case.original)
    assert np.array_equal(back.labels, case.labels)
    assert back.labels.dtype == np.uint8
    assert back.geometry.same_grid(geometry)
    assert back.present == back.decided == SCHEMA.names
    assert not any(segment.edited for segment in back.segments)
    assert back.sentences() == ()


def test_reading_back_leaves_the_node_as_it_is(case):
    before = case.segmentation.node.GetMTime(), case.segments.GetMTime()
    case.segmentation.read_back(case.original)
    assert (case.segmentation.node.GetMTime(), case.segments.GetMTime()) == before


def test_renamed_and_recoloured_segment_is_still_its_structure(case):
    segment = case.segment("liver")
    segment.SetName("Leber, bitte prüfen")
    segment.SetColor(0.1, 0.9, 0.3)
    back = case.segmentation.read_back(case.original)
    assert np.array_equal(back.labels, case.labels)
    assert back.sentences() == ("'Leber, bitte prüfen' is read as 'liver'.",)
    assert not any(segment.edited for segment in back.segments)


def test_names_swapped_by_the_user_do_not_swap_the_structures(case):
    case.segment("liver").SetName("spleen")
    case.segment("spleen").SetName("liver")
    assert np.array_equal(case.segmentation.read_back().labels, case.labels)


def test_hidden_segment_is_not_deleted(case):
    case.segmentation.node.GetDisplayNode().SetSegmentVisibility(case.id("spleen"), False)
    back = case.segmentation.read_back(case.original)
    assert np.array_equal(back.labels, case.labels)
    assert back.deleted == ()
    assert back.sentences() == ("'spleen' is hidden, but counts.",)


def test_reordered_segments_keep_their_values(case):
    case.segments.ReorderSegments([case.id(name) for name in reversed(SCHEMA.names)])
    assert np.array_equal(case.segmentation.read_back(case.original).labels, case.labels)


# --- deleted, emptied, added -------------------------------------------------------------------------------------


def test_deleted_segment_is_reported_and_is_background(case):
    case.segments.RemoveSegment(case.id("spleen"))
    back = case.segmentation.read_back(case.original)
    assert back.deleted == ("spleen",)
    assert "spleen" not in back.present
    assert np.array_equal(back.labels, np.where(case.labels == 4, 0, case.labels))
    assert back.sentences() == ("'spleen' was deleted and will be treated as absent.",)


def test_segment_emptied_in_the_editor_is_present_without_voxels(case):
    paint(case, case.id("spleen"), np.s_[18:24, 18:30, 18:32], LOGIC.ModificationModeRemove)
    back = case.segmentation.read_back(case.original)
    assert back.deleted == ()
    assert "spleen" in back.present
    assert not (back.labels == 4).any()
    assert by_id(back)[case.id("spleen")].edited


def test_all_segments_deleted_gives_background(case):
    for name in SCHEMA.names:
        case.segments.RemoveSegment(case.id(name))
    back = case.segmentation.read_back(case.original)
    assert not back.labels.any()
    assert back.deleted == SCHEMA.names[:4], "the aorta had no voxels that could be deleted"


def test_structure_without_a_segment_is_deleted_only_if_it_had_voxels(core):
    case = whole_case(core)
    assert case.segmentation.segment_id(SCHEMA.named("aorta")) is None
    assert case.read_back().sentences() == ()
    assert not case.touched
    segments = case.node.GetSegmentation()
    segments.RemoveSegment(case.segmentation.segment_id(SCHEMA.named("spleen")))
    assert case.read_back().deleted == ("spleen",)
    assert case.read_back().sentences() == ("'spleen' was deleted and will be treated as absent.",)
    aorta = case.segmentation.add_structure(SCHEMA.named("aorta"))
    assert case.read_back().added == case.read_back().unmatched == ()
    segments.RemoveSegment(aorta)
    assert case.read_back().deleted == ("spleen",)


def test_deleted_structure_that_is_painted_anew_is_recognised_by_its_terminology(case):
    case.segments.RemoveSegment(case.id("liver"))
    context = "Segmentation category and type - 3D Slicer General Anatomy list"
    words = LIVER.slicer_string().replace("Segmentation category and type - DICOM master list", context)
    added = add_segment(case, "Segment_1", cube(np.s_[0:3, 0:3, 0:3]), terminology=words)
    back = case.segmentation.read_back(case.original)
    assert by_id(back)[added].structure == "liver"
    assert by_id(back)[added].by is MatchedBy.TERMINOLOGY
    assert np.array_equal(back.labels == 1, cube(np.s_[0:3, 0:3, 0:3]))


def test_added_segment_is_recognised_by_its_name(case):
    case.segments.RemoveSegment(case.id("kidney_left"))
    added = add_segment(case, "Kidney Left", cube(np.s_[0:3, 0:3, 0:3]))
    back = case.segmentation.read_back(case.original)
    assert by_id(back)[added].by is MatchedBy.NAME
    assert (back.labels == 2).sum() == 27


def test_added_structure_that_was_not_decided_is_told(core, make_case):
    case = make_case()
    partial = type(case.segmentation)(case.segmentation.node, case.ct, SCHEMA, ["liver", "spleen"])
    back = partial.read_back(case.original)
    assert back.added == ("kidney_left", "kidney_right", "aorta")


def test_unknown_segment_is_listed_and_never_guessed(case):
    added = add_segment(case, "Segment_1", cube(np.s_[0:3, 0:3, 0:3]))
    back = case.segmentation.read_back(case.original)
    assert [segment.segment_id for segment in back.unmatched] == [added]
    assert np.array_equal(back.labels, case.labels)
    assert "'Segment_1' is left out" in back.sentences()[0]


def test_second_segment_of_a_structure_is_not_merged_silently(case):
    added = add_segment(case, "Segment_1", cube(np.s_[0:3, 0:3, 0:3]), terminology=LIVER.slicer_string())
    back = case.segmentation.read_back(case.original)
    assert by_id(back)[added].structure is None
    assert "'liver', which another segment is already" in by_id(back)[added].reason


def test_copy_of_our_own_segment_is_told_from_the_segment(case):
    copy = slicer.vtkSegment()
    copy.DeepCopy(case.segment("liver"))
    copy.SetName("liver lesion")
    case.segments.AddSegment(copy, "copied")
    back = case.segmentation.read_back(case.original)
    assert by_id(back)[case.id("liver")].structure == "liver"
    assert [(s.segment_id, s.reason) for s in back.unmatched] == [("copied", "it is a copy of 'liver'")]
    assert np.array_equal(back.labels, case.labels)


def test_two_new_segments_with_one_terminology_both_stay_unmatched(case):
    case.segments.RemoveSegment(case.id("liver"))
    for number in (1, 2):
        add_segment(
            case, f"Part {number}", cube(np.s_[number : number + 1, 0:3, 0:3]), (0, 0, 0), LIVER.slicer_string()
        )
    back = case.segmentation.read_back(case.original)
    assert len(back.unmatched) == 2
    assert not (back.labels == 1).any()


def test_segment_of_another_model_is_read_by_name_and_not_by_its_foreign_value(case):
    case.segments.RemoveSegment(case.id("spleen"))
    added = add_segment(case, "anything", cube(np.s_[0:3, 0:3, 0:3]))
    foreign = case.segments.GetSegment(added)
    foreign.SetTag("ActiveSeg.LabelValue", 1)
    foreign.SetTag("ActiveSeg.LabelName", "spleen")
    assert by_id(case.segmentation.read_back())[added].structure == "spleen"
    foreign.SetTag("ActiveSeg.LabelName", "gallbladder")
    assert by_id(case.segmentation.read_back())[added].structure is None


def test_value_tag_alone_is_enough(case):
    case.segments.RemoveSegment(case.id("spleen"))
    added = add_segment(case, "anything", cube(np.s_[0:3, 0:3, 0:3]))
    case.segments.GetSegment(added).SetTag("ActiveSeg.LabelValue", 4)
    assert by_id(case.segmentation.read_back())[added].by is MatchedBy.TAG


def test_caller_can_map_a_segment_or_leave_it_out(case):
    more = add_segment(case, "more liver", cube(np.s_[0:3, 0:3, 0:3]))
    back = case.segmentation.read_back(case.original, {more: 1, case.id("spleen"): None})
    expected = np.where(case.labels == 4, 0, case.labels)
    expected[0:3, 0:3, 0:3] = 1
    assert np.array_equal(back.labels, expected)
    assert back.unmatched == ()
    assert by_id(back)[case.id("spleen")].by is MatchedBy.LEFT_OUT


@pytest.mark.parametrize(("mapping", "message"), [({"nobody": 1}, "nobody"), ({"liver_1": 9}, "label value 9")])
def test_mapping_of_what_does_not_exist_is_refused(case, mapping, message):
    with pytest.raises(InputError, match=message):
        case.segmentation.read_back(mapping=mapping)


# --- edits -------------------------------------------------------------------------------------------------------


def test_stroke_of_the_segment_editor_comes_back(case):
    stroke = np.s_[10:14, 8:18, 10:22]
    paint(case, case.id("aorta"), stroke)
    back = case.segmentation.read_back(case.original)
    expected = case.labels.copy()
    expected[stroke] = 5
    assert np.array_equal(back.labels, expected)
    edited = {segment.structure for segment in back.segments if segment.edited}
    assert edited == {"liver", "kidney_left", "kidney_right", "aorta"}


def test_slicers_own_mark_tells_the_edited_segment_when_there_is_no_original(case):
    paint(case, case.id("aorta"), np.s_[10:14, 8:18, 10:22])
    assert [s.structure for s in case.segmentation.read_back().segments if s.edited] == ["aorta"]


def test_117_structures_come_back_after_an_edit(core):
    schema = LabelSchema.from_names(f"structure {n}" for n in range(1, 118))
    labels = np.random.default_rng(0).integers(0, 118, SHAPE).astype(np.uint8)
    ct = core.add_volume(np.zeros(SHAPE, np.int16), PLAIN)
    original = Volume(labels, PLAIN)
    made = SegmentationNode.create(core.scene, ct, original, schema, schema.names, "Many")
    assert np.array_equal(made.read_back(original).labels, labels)
    case = Case(core, ct, original, made)
    stroke = np.s_[3:9, 4:20, 5:30]
    paint(case, made.segment_id(schema.named("structure 117")), stroke)
    expected = labels.copy()
    expected[stroke] = 117
    assert np.array_equal(made.read_back(original).labels, expected)


def test_slicers_cropping_of_an_edited_image_loses_nothing(case):
    paint(case, case.id("liver"), np.s_[6:7, 6:7, 6:7], LOGIC.ModificationModeRemove)
    image = case.segments.GetLayerDataObject(0, BINARY_LABELMAP)
    assert array_of(image).shape != SHAPE, "Slicer no longer crops: this test has lost its point"
    expected = case.labels.copy()
    expected[6, 6, 6] = 0
    assert np.array_equal(case.segmentation.read_back(case.original).labels, expected)


def test_segment_grown_beyond_the_ct_is_cut_at_its_border_and_told(case):
    add = add_segment(case, "aorta 2", np.ones((6, 4, 4), np.uint8), (-2, 3, -1))
    back = case.segmentation.read_back(case.original, {add: 5})
    assert np.array_equal(back.labels == 5, cube(np.s_[0:5, 3:7, 0:2]))
    assert by_id(back)[add].outside_voxels == 6 * 4 * 4 - 5 * 4 * 2
    assert any("has 56 voxels outside of the CT" in line for line in back.sentences())


def test_segment_that_lies_beside_the_ct_has_all_its_voxels_outside(case):
    add = add_segment(case, "aorta 2", np.ones((2, 2, 2), np.uint8), (100, 100, 100))
    back = case.segmentation.read_back(case.original, {add: 5})
    assert np.array_equal(back.labels, case.labels)
    assert by_id(back)[add].outside_voxels == 8


def test_whole_numbers_in_floating_point_are_read(case):
    image = case.segments.GetLayerDataObject(0, BINARY_LABELMAP)
    as_float = image_of(array_of(image), ijk_to_ras(case.ct), dtype=np.float32)
    for name in SCHEMA.names:
        case.segment(name).AddRepresentation(BINARY_LABELMAP, as_float)
    assert np.array_equal(case.segmentation.read_back(case.original).labels, case.labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_two_segments_with_the_same_voxels_are_refused_by_name(case, dtype):
    image = image_of(array_of(case.segments.GetLayerDataObject(0, BINARY_LABELMAP)), ijk_to_ras(case.ct), dtype=dtype)
    for name in SCHEMA.names:
        case.segment(name).AddRepresentation(BINARY_LABELMAP, image)
    case.segment("spleen").SetLabelValue(1)
    with pytest.raises(InputError, match="'liver' and 'spleen' are the same voxels"):
        case.segmentation.read_back(case.original)
    case.segment("spleen").SetLabelValue(77)
    back = case.segmentation.read_back(case.original)
    assert np.array_equal(back.labels, np.where(case.labels == 4, 0, case.labels))


@pytest.mark.parametrize("value", [0, -3])
def test_a_segment_with_the_value_of_background_has_no_voxels(case, value):
    case.segment("spleen").SetLabelValue(value)
    assert np.array_equal(case.segmentation.read_back().labels, np.where(case.labels == 4, 0, case.labels))


def test_values_beyond_sixteen_bits_are_read(case):
    far = case.labels.astype(np.uint32)
    far[case.labels == 4] = 614_454_277
    image = image_of(far, ijk_to_ras(case.ct))
    for name in SCHEMA.names:
        case.segment(name).AddRepresentation(BINARY_LABELMAP, image)
    case.segment("spleen").SetLabelValue(614_454_277)
    assert np.array_equal(case.segmentation.read_back(case.original).labels, case.labels)


def test_tissue_of_another_slicer_is_no_terminology(case):
    case.segments.RemoveSegment(case.id("spleen"))
    wordings = (
        "3D Slicer General Anatomy list~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~Anatomic codes~^^~^^",
        "~^^~^^~^^~~^^~^^",
        "no~thing",
    )
    for wording in wordings:
        added = add_segment(case, "spleen", cube(np.s_[0:3, 0:3, 0:3]), terminology=wording)
        assert by_id(case.segmentation.read_back())[added].by is MatchedBy.NAME
        case.segments.RemoveSegment(added)


def test_segments_that_were_all_emptied_are_told(case):
    for name in SCHEMA.names:
        paint(case, case.id(name), np.s_[0:24, 0:30, 0:36], LOGIC.ModificationModeRemove)
    back = case.segmentation.read_back(case.original)
    assert not back.labels.any()
    assert back.sentences() == ("No segment has voxels in the CT: all structures will be treated as absent.",)
    assert not back.is_beside_the_ct


# --- overlaps ----------------------------------------------------------------------------------------------------


def test_edited_segment_beats_an_unedited_one_that_comes_later(case):
    stroke = np.s_[13:16, 5:15, 20:26]
    paint(case, case.id("liver"), stroke, overwrite=2)
    back = case.segmentation.read_back(case.original)
    expected = case.labels.copy()
    expected[stroke] = 1
    assert case.segments.GetNumberOfLayers(BINARY_LABELMAP) > 1
    assert np.array_equal(back.labels, expected)
    assert back.overlapping_voxels == 3 * 10 * 6
    assert [s.structure for s in back.segments if s.edited] == ["liver"]


def test_edit_by_a_script_is_seen_by_comparison_with_the_original(case):
    wider = cube(np.s_[13:16, 5:15, 20:26]) | (case.labels == 1)
    case.segment("liver").AddRepresentation(BINARY_LABELMAP, image_of(wider.astype(np.uint8), ijk_to_ras(case.ct)))
    case.segment("liver").SetLabelValue(1)
    with_original = case.segmentation.read_back(case.original).labels
    without = case.segmentation.read_back().labels
    assert (with_original[13:16, 5:15, 20:26] == 1).all()
    assert (without[13:16, 5:15, 20:26] == 3).all(), "the later segment wins when nobody is known to be edited"


def test_later_segment_wins_among_edited_ones_as_in_slicers_export(case):
    stroke = np.s_[0:3, 0:8, 0:8]
    paint(case, case.id("liver"), stroke, overwrite=2)
    paint(case, case.id("kidney_right"), stroke, overwrite=2)
    back = case.segmentation.read_back(case.original)
    assert (back.labels[stroke] == 3).all()
    case.segments.SetSegmentIndex(case.id("liver"), 4)
    assert (case.segmentation.read_back(case.original).labels[stroke] == 1).all()


def test_unmatched_segment_hides_nothing(case):
    add_segment(case, "note", cube(np.s_[:, :, :]))
    assert np.array_equal(case.segmentation.read_back(case.original).labels, case.labels)


# --- transforms and other grids ----------------------------------------------------------------------------------


def rotation(degrees, shift=(0.0, 0.0, 0.0)):
    a = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    matrix[:3, 3] = shift
    return matrix


def nearest(labels, geometry, back_ras):
    """Each voxel takes the nearest voxel at ``back_ras`` (its RAS points, (n, 3)): written out, to compare with VTK."""
    k, j, i = np.indices(labels.shape).reshape(3, -1)
    source = np.rint(geometry.ijk_of_ras(back_ras(geometry.ras_of_ijk(np.stack([i, j, k], axis=1))))).astype(int)[
        :, ::-1
    ]
    inside = np.all((source >= 0) & (source < labels.shape), axis=1)
    found = np.zeros(labels.size, labels.dtype)
    found[inside] = labels[tuple(source[inside].T)]
    return found.reshape(labels.shape)


def moved(labels, geometry, matrix):
    """What stood at p stands at ``matrix`` p (4 x 4, RAS mm)."""
    back = np.linalg.inv(matrix)
    return nearest(labels, geometry, lambda points: points @ back[:3, :3].T + back[:3, 3])


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_common_transform_changes_nothing(core, make_case, geometry):
    parent = core.add_transform(rotation(30, (5, 6, 7)))
    nested = core.add_transform(rotation(-80, (50, 0, 7)), parent)
    case = make_case(geometry, nested)
    back = case.segmentation.read_back(case.original)
    assert np.array_equal(back.labels, case.labels)
    assert not back.resampled


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_segmentation_moved_by_nested_transforms_is_read_where_it_is_shown(core, make_case, geometry):
    outer = rotation(4, (3.1, -2.2, 1.3))
    inner = rotation(-9, (0.4, 4.1, -3.0))
    case = make_case(geometry, core.add_transform(outer))
    case.segmentation.node.SetAndObserveTransformNodeID(
        core.add_transform(inner, case.ct.GetParentTransformNode()).GetID()
    )
    back = case.segmentation.read_back(case.original)
    expected = moved(case.labels, geometry, inner)
    assert back.resampled
    assert np.mean(back.labels != expected) < 2e-4, "only ties of the nearest neighbour may differ"
    assert {segment.structure for segment in back.segments if segment.edited} == set(SCHEMA.names[:4])
    assert "nearest neighbour" in back.sentences()[-1]


def test_ct_moved_away_from_its_segmentation_counts_as_well(core, make_case):
    case = make_case()
    matrix = rotation(0, (3.0, 0.0, 6.0))
    case.ct.SetAndObserveTransformNodeID(core.add_transform(matrix).GetID())
    back = case.segmentation.read_back(case.original)
    assert np.array_equal(back.labels, moved(case.labels, PLAIN, np.linalg.inv(matrix)))
    assert not back.resampled, "a shift by whole voxels needs no resampling"


def test_hardened_transform_is_read_where_it_is_shown(core, make_case):
    case = make_case(oblique())
    matrix = rotation(12, (2, 3, 4))
    case.segmentation.node.SetAndObserveTransformNodeID(core.add_transform(matrix).GetID())
    case.segmentation.node.HardenTransform()
    assert case.segmentation.node.GetParentTransformNode() is None
    back = case.segmentation.read_back(case.original)
    assert np.mean(back.labels != moved(case.labels, oblique(), matrix)) < 2e-4


def test_segmentation_moved_out_of_the_ct_gives_background(core, case):
    case.segmentation.node.SetAndObserveTransformNodeID(core.add_transform(rotation(5, (1000, 0, 0))).GetID())
    back = case.segmentation.read_back(case.original)
    assert not back.labels.any()
    assert back.is_beside_the_ct
    assert {s.structure: s.outside_voxels for s in back.segments} == {
        label.name: int((case.labels == label.value).sum()) for label in SCHEMA.labels
    }


def test_segmentation_warped_by_a_non_linear_transform_is_read_where_it_is_shown(core, case):
    corners = [(i, j, k) for i in (0, SHAPE[2] - 1) for j in (0, SHAPE[1] - 1) for k in (0, SHAPE[0] - 1)]
    fixed = [tuple(PLAIN.ras_of_ijk(corner)) for corner in corners]
    centre = PLAIN.ras_of_ijk(np.argwhere(case.labels == 1).mean(axis=0)[::-1])
    warp = vtk.vtkThinPlateSplineTransform()
    warp.SetBasisToR()
    for points, last in (("Source", centre), ("Target", centre + np.array([3.0, -3.0, 6.0]))):
        landmarks = vtk.vtkPoints()
        for point in [*fixed, tuple(last)]:
            landmarks.InsertNextPoint(point)
        getattr(warp, f"Set{points}Landmarks")(landmarks)
    node = core.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    node.SetAndObserveTransformToParent(warp)
    case.segmentation.node.SetAndObserveTransformNodeID(node.GetID())
    back = case.segmentation.read_back(case.original)
    unwarp = warp.GetInverse()
    expected = nearest(case.labels, PLAIN, lambda points: np.array([unwarp.TransformPoint(p) for p in points]))
    assert back.resampled
    assert np.mean(back.labels != case.labels) > 0.02
    assert np.mean(back.labels != expected) < 2e-4, "only ties of the nearest neighbour may differ"


def thirds(case, array, first_ijk=(0, 0, 0)):
    """An image of voxels of a third of the CT's edge; ``first_ijk`` counts these."""
    third = np.diag([1 / 3, 1 / 3, 1 / 3, 1.0])
    third[:3, 3] = -1 / 3
    return image_of(array.astype(np.uint8), ijk_to_ras(case.ct) @ third, first_ijk)


def test_voxels_beyond_the_ct_on_a_finer_grid_are_counted_before_they_are_resampled(case):
    added = add_segment(case, "aorta 2")
    case.segments.GetSegment(added).AddRepresentation(BINARY_LABELMAP, thirds(case, np.ones((9, 6, 3)), (30, -4, 69)))
    back = case.segmentation.read_back(case.original, {added: 5})
    assert by_id(back)[added].outside_voxels == 9 * 6 * 3 - 3 * 2 * 3
    assert np.array_equal(back.labels == 5, cube(np.s_[23:24, 0:1, 10:11]))
    assert any("'aorta 2' has 144 voxels outside of the CT" in line for line in back.sentences())


def test_voxels_that_a_rotation_takes_beyond_the_ct_are_counted(core, make_case):
    case = make_case(oblique())
    matrix = rotation(20, (6.0, -4.0, 1.0))
    case.segmentation.node.SetAndObserveTransformNodeID(core.add_transform(matrix).GetID())
    back = case.segmentation.read_back(case.original)
    for segment in back.segments:
        at = np.argwhere(case.labels == SCHEMA.named(segment.structure).value)[:, ::-1]
        points = oblique().ras_of_ijk(at) @ matrix[:3, :3].T + matrix[:3, 3]
        there = oblique().ijk_of_ras(points)
        beyond = ((there < -0.5) | (there > np.array(SHAPE[::-1]) - 0.5)).any(axis=1)
        assert segment.outside_voxels == int(beyond.sum())
    assert any(segment.outside_voxels for segment in back.segments)


def test_voxels_that_a_warp_takes_beyond_the_ct_are_counted(core, case):
    warp = vtk.vtkThinPlateSplineTransform()
    warp.SetBasisToR()
    fixed = [PLAIN.ras_of_ijk((i, j, k)) for i in (0, 35) for j in (0, 29) for k in (0, 23)]
    for points, last in (("Source", (3, 10, 8)), ("Target", (-4, 10, 8))):
        landmarks = vtk.vtkPoints()
        for point in [*fixed, PLAIN.ras_of_ijk(last)]:
            landmarks.InsertNextPoint(tuple(point))
        getattr(warp, f"Set{points}Landmarks")(landmarks)
    node = core.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    node.SetAndObserveTransformToParent(warp)
    case.segmentation.node.SetAndObserveTransformNodeID(node.GetID())
    back = case.segmentation.read_back(case.original)
    lost = {segment.structure: segment.outside_voxels for segment in back.segments}
    for name in SCHEMA.names:
        at = np.argwhere(case.labels == SCHEMA.named(name).value)[:, ::-1]
        there = [PLAIN.ijk_of_ras(warp.TransformPoint(point)) for point in PLAIN.ras_of_ijk(at)]
        assert lost[name] == sum(bool(((p < -0.5) | (p > np.array(SHAPE[::-1]) - 0.5)).any()) for p in there)
    assert lost["liver"] > 50


def test_a_segment_that_falls_between_the_cts_voxels_is_told(case):
    added = add_segment(case, "dot")
    case.segments.GetSegment(added).AddRepresentation(BINARY_LABELMAP, thirds(case, np.ones((1, 1, 1)), (0, 0, 0)))
    back = case.segmentation.read_back(case.original, {added: 5})
    assert "'dot' is too small for the CT's voxels: nothing of it is left." in back.sentences()


def test_oversampled_segmentation_comes_back_on_the_cts_grid(case):
    fine = np.repeat(np.repeat(np.repeat(case.labels, 3, axis=0), 3, axis=1), 3, axis=2)
    image = thirds(case, fine)
    for label in SCHEMA.labels:
        case.segment(label.name).AddRepresentation(BINARY_LABELMAP, image)
    back = case.segmentation.read_back(case.original)
    assert np.array_equal(back.labels, case.labels)
    assert back.resampled
    assert not any(segment.edited for segment in back.segments)


def test_grid_with_other_axes_comes_back_on_the_cts_grid(case):
    """The same voxels, stored from the other corner and with the axes in another order."""
    turned = np.ascontiguousarray(case.labels[::-1].transpose(2, 0, 1))
    to_ct_ijk = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, -1, 0, SHAPE[0] - 1], [0, 0, 0, 1.0]])
    image = image_of(turned, ijk_to_ras(case.ct) @ to_ct_ijk)
    for label in SCHEMA.labels:
        case.segment(label.name).AddRepresentation(BINARY_LABELMAP, image)
    back = case.segmentation.read_back(case.original)
    assert np.array_equal(back.labels, case.labels)
    assert not back.resampled
    assert not any(segment.edited for segment in back.segments)


def test_rounded_geometry_is_the_same_grid(case):
    image = case.segments.GetLayerDataObject(0, BINARY_LABELMAP)
    rounded = image_of(array_of(image), ijk_to_ras(case.ct).astype(np.float32) + 1e-5)
    for label in SCHEMA.labels:
        case.segment(label.name).AddRepresentation(BINARY_LABELMAP, rounded)
    back = case.segmentation.read_back(case.original)
    assert np.array_equal(back.labels, case.labels)
    assert not back.resampled


def test_surfaces_without_voxels_are_turned_into_voxels(case):
    node = case.segmentation.node
    assert node.CreateClosedSurfaceRepresentation()
    case.segments.SetSourceRepresentationName(CLOSED_SURFACE)
    case.segments.RemoveRepresentation(BINARY_LABELMAP)
    assert not case.segments.ContainsRepresentation(BINARY_LABELMAP)
    back = case.segmentation.read_back(case.original)
    assert not case.segments.ContainsRepresentation(BINARY_LABELMAP), "the user's node stays as it is"
    for value in (1, 2, 3, 4):
        found, truth = back.labels == value, case.labels == value
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9


def test_original_of_another_ct_is_refused(case):
    with pytest.raises(InputError, match="does not lie on the voxels"):
        case.segmentation.read_back(Volume(case.labels, oblique()))


def test_first_voxel_counts_the_cropped_extent(case):
    assert first_voxel(image_of(np.ones((2, 3, 4), np.uint8), np.eye(4), (5, 6, 7))) == (7, 6, 5)

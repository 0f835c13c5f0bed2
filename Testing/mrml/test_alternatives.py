"""An alternative labelling of a region is taken as one step of the Segment Editor."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from scene_cases import PLAIN, SCHEMA, SHAPE, oblique

from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from ActiveSegModuleLib.scene.alternatives import LabelPatch, apply_alternative
from ActiveSegModuleLib.scene.labelmap import BINARY_LABELMAP, array_of, ijk_to_ras_of, image_of
from ActiveSegModuleLib.scene.placement import ijk_to_ras

BOX = ((8, 18), (10, 22), (8, 26))


def patch_of(labels: np.ndarray, geometry: Geometry = PLAIN, seed: int = 3) -> tuple[LabelPatch, np.ndarray]:
    """Random labels, background too, in half of the box's voxels; and the label map after taking it."""
    rng = np.random.default_rng(seed)
    size = tuple(stop - start for start, stop in BOX)
    patch = LabelPatch(geometry, BOX, rng.integers(0, 6, size).astype(np.uint8), rng.random(size) < 0.5)
    after = labels.copy()
    inside = after[tuple(slice(*span) for span in BOX)]
    inside[patch.changed] = patch.labels[patch.changed]
    return patch, after


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_exactly_the_patchs_voxels_change_and_labels_stay_exclusive(make_case, geometry):
    case = make_case(geometry)
    patch, after = patch_of(case.labels, geometry)
    apply_alternative(case.core.editor(case.segmentation.node, case.ct), case.segmentation, patch)
    back = case.segmentation.read_back(case.original)
    assert np.array_equal(back.labels, after)
    assert back.overlapping_voxels == 0
    assert case.segments.GetNumberOfLayers(BINARY_LABELMAP) == 1


def test_one_undo_takes_it_back_and_redo_puts_it_in_again(case):
    patch, after = patch_of(case.labels)
    editor = case.core.editor(case.segmentation.node, case.ct)
    apply_alternative(editor, case.segmentation, patch)
    editor.Undo()
    assert np.array_equal(case.segmentation.read_back(case.original).labels, case.labels)
    assert not editor.CanUndo()
    editor.Redo()
    assert np.array_equal(case.segmentation.read_back(case.original).labels, after)


def test_two_alternatives_are_undone_one_by_one(case):
    editor = case.core.editor(case.segmentation.node, case.ct)
    first, after_first = patch_of(case.labels, seed=1)
    second, after_second = patch_of(after_first, seed=2)
    apply_alternative(editor, case.segmentation, first)
    apply_alternative(editor, case.segmentation, second)
    assert np.array_equal(case.segmentation.read_back().labels, after_second)
    editor.Undo()
    assert np.array_equal(case.segmentation.read_back().labels, after_first)


def test_touched_structures_are_marked_as_worked_on(case):
    patch = LabelPatch(PLAIN, ((5, 6), (5, 6), (0, 1)), np.full((1, 1, 1), 5, np.uint8), np.ones((1, 1, 1), bool))
    apply_alternative(case.core.editor(case.segmentation.node, case.ct), case.segmentation, patch)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.GetSegmentStatus(case.segment("aorta")) == logic.InProgress
    assert logic.GetSegmentStatus(case.segment("spleen")) == logic.NotStarted


def test_users_masks_and_overwrite_mode_neither_hinder_nor_change(case):
    editor = case.core.editor(case.segmentation.node, case.ct)
    node = editor.GetSegmentEditorNode()
    node.SetOverwriteMode(node.OverwriteNone)
    node.SetMaskSegmentID(case.id("spleen"))
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    node.SetSourceVolumeIntensityMask(True)
    node.SetSourceVolumeIntensityMaskRange(1000, 2000)
    patch, after = patch_of(case.labels)
    apply_alternative(editor, case.segmentation, patch)
    assert np.array_equal(case.segmentation.read_back().labels, after)
    assert node.GetOverwriteMode() == node.OverwriteNone
    assert node.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment
    assert node.GetMaskSegmentID() == case.id("spleen")
    assert node.GetSourceVolumeIntensityMask()
    assert tuple(node.GetSourceVolumeIntensityMaskRange()) == (1000, 2000)


def test_hidden_structures_give_way_too(case):
    case.segmentation.node.GetDisplayNode().SetSegmentVisibility(case.id("liver"), False)
    patch, after = patch_of(case.labels)
    apply_alternative(case.core.editor(case.segmentation.node, case.ct), case.segmentation, patch)
    assert np.array_equal(case.segmentation.read_back().labels, after)


def test_structure_that_has_no_segment_gets_one_and_undo_takes_it_away(case):
    case.segments.RemoveSegment(case.id("aorta"))
    editor = case.core.editor(case.segmentation.node, case.ct)
    patch, after = patch_of(case.labels)
    apply_alternative(editor, case.segmentation, patch)
    back = case.segmentation.read_back()
    assert np.array_equal(back.labels, after)
    assert back.deleted == ()
    editor.Undo()
    assert case.segmentation.read_back().deleted == ("aorta",)


def test_patch_with_nothing_to_change_leaves_no_step_to_undo(case):
    editor = case.core.editor(case.segmentation.node, case.ct)
    apply_alternative(
        editor, case.segmentation, LabelPatch(PLAIN, BOX, np.ones((10, 12, 18), int), np.zeros((10, 12, 18), bool))
    )
    assert not editor.CanUndo()


def test_widgets_own_undo_is_used_when_given(case):
    saved = []
    patch, _ = patch_of(case.labels)
    editor = case.core.editor(case.segmentation.node, case.ct)
    apply_alternative(editor, case.segmentation, patch, lambda: saved.append(case.segmentation.read_back().labels))
    assert len(saved) == 1
    assert np.array_equal(saved[0], case.labels)
    assert not editor.CanUndo()


def test_segments_on_a_finer_grid_take_the_patch_where_it_lies(case):
    fine = np.repeat(np.repeat(np.repeat(case.labels, 3, axis=0), 3, axis=1), 3, axis=2)
    third = np.diag([1 / 3, 1 / 3, 1 / 3, 1.0])
    third[:3, 3] = -1 / 3
    image = image_of(fine, ijk_to_ras(case.ct) @ third)
    for label in SCHEMA.labels:
        case.segment(label.name).AddRepresentation(BINARY_LABELMAP, image)
    converter = slicer.vtkSegmentationConverter
    case.segments.SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(), converter.SerializeImageGeometry(image)
    )
    patch, after = patch_of(case.labels)
    apply_alternative(case.core.editor(case.segmentation.node, case.ct), case.segmentation, patch)
    layer = case.segments.GetLayerDataObject(0, BINARY_LABELMAP)
    assert np.allclose(np.linalg.norm(ijk_to_ras_of(layer)[:3, 0]), 0.5)
    assert array_of(layer).size > np.prod(SHAPE)
    assert np.array_equal(case.segmentation.read_back().labels, after)


def test_segmentation_that_was_moved_away_from_its_ct_is_refused(case):
    shift = np.eye(4)
    shift[0, 3] = 5
    case.segmentation.node.SetAndObserveTransformNodeID(case.core.add_transform(shift).GetID())
    editor = case.core.editor(case.segmentation.node, case.ct)
    with pytest.raises(InputError, match="was moved by a transform"):
        apply_alternative(editor, case.segmentation, patch_of(case.labels)[0])
    assert not editor.CanUndo()


def test_patch_with_unknown_values_or_shape_is_refused(case):
    editor = case.core.editor(case.segmentation.node, case.ct)
    with pytest.raises(InputError, match="label value 9"):
        apply_alternative(
            editor, case.segmentation, LabelPatch(PLAIN, ((0, 1),) * 3, np.full((1, 1, 1), 9), np.ones((1, 1, 1), bool))
        )
    with pytest.raises(InputError, match="box"):
        LabelPatch(PLAIN, BOX, np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool))

"""Edits confined to a region's box, through the Segment Editor's own logic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from scene_cases import BOX, PLAIN, SHAPE, boxes, oblique, whole_case
from slicer_application import SlicerCore

from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from ActiveSegModuleLib.scene.case import Case
from ActiveSegModuleLib.scene.labelmap import array_of, empty_grid, first_voxel
from ActiveSegModuleLib.scene.placement import ijk_to_ras
from ActiveSegModuleLib.scene.region_mask import RegionMask

OTHER = ((13, 20), (5, 15), (20, 36))


def slices(box: Any) -> tuple[slice, ...]:
    return tuple(slice(*span) for span in box)


def editor_of(core: SlicerCore, case: Case, name: str = "spleen") -> Any:
    editor = core.editor(case.node, case.ct_node)
    editor.SetCurrentSegmentID(case.segmentation.segment_id(case.schema.named(name)))
    return editor


def edit_everywhere(editor: Any, case: Case, mode: Any) -> None:
    """A stroke over the whole image."""
    editor.ResetModifierLabelmapToDefault()
    array_of(editor.GetModifierLabelmap())[...] = 1
    segment_id = editor.GetCurrentSegmentID()
    editor.ModifySegmentByLabelmap(case.node, segment_id, editor.GetModifierLabelmap(), mode, False, False)


def confine(mask: RegionMask, editor: Any, case: Case, box: Any) -> None:
    editor.SetSourceVolumeNode(mask.confine(editor.GetSegmentEditorNode(), case.ct_node, box))
    mask.switch_on(editor.GetSegmentEditorNode())


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique"])
def test_painting_everywhere_changes_only_the_box(core: SlicerCore, geometry: Geometry) -> None:
    case = whole_case(core, geometry)
    mask, editor = RegionMask(core.scene), editor_of(core, case)
    confine(mask, editor, case, BOX)
    edit_everywhere(editor, case, editor.ModificationModeAdd)
    expected = boxes()
    expected[slices(BOX)] = case.schema.named("spleen").value
    assert (case.read_back().labels == expected).all()


def test_erasing_everywhere_changes_only_the_box(core: SlicerCore) -> None:
    case = whole_case(core)
    mask, editor = RegionMask(core.scene), editor_of(core, case, "liver")
    confine(mask, editor, case, ((4, 8), (5, 15), (0, 14)))
    edit_everywhere(editor, case, editor.ModificationModeRemove)
    expected = boxes()
    expected[4:8, 5:15, 0:14] = 0
    assert (case.read_back().labels == expected).all()


def test_the_mask_moves_to_the_next_region(core: SlicerCore) -> None:
    case = whole_case(core)
    mask, editor = RegionMask(core.scene), editor_of(core, case)
    confine(mask, editor, case, BOX)
    first = mask.node
    confine(mask, editor, case, OTHER)
    assert mask.node is first
    edit_everywhere(editor, case, editor.ModificationModeAdd)
    expected = boxes()
    expected[slices(OTHER)] = case.schema.named("spleen").value
    assert (case.read_back().labels == expected).all()


def test_a_stroke_after_next_lands_in_the_new_region_although_there_was_one_in_the_last(core: SlicerCore) -> None:
    """The editor keeps a copy of its source, which it makes again only when the *node* has changed since."""
    case = whole_case(core)
    mask, editor = RegionMask(core.scene), editor_of(core, case)
    confine(mask, editor, case, BOX)
    edit_everywhere(editor, case, editor.ModificationModeAdd)
    before = mask.node.GetMTime()
    confine(mask, editor, case, OTHER)
    assert mask.node.GetMTime() > before
    editor.SetCurrentSegmentID(case.segmentation.add_structure(case.schema.named("aorta")))
    edit_everywhere(editor, case, editor.ModificationModeAdd)
    expected = boxes()
    expected[slices(BOX)] = case.schema.named("spleen").value
    expected[slices(OTHER)] = case.schema.named("aorta").value
    assert (case.read_back().labels == expected).all()


@pytest.mark.parametrize("finer", [2, 3])
@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique"])
def test_at_a_finer_geometry_not_one_voxel_beside_the_box_changes(
    core: SlicerCore, geometry: Geometry, finer: int
) -> None:
    case = whole_case(core, geometry)
    voxels = np.random.default_rng(3).integers(-1000, 3000, SHAPE)
    array_of(case.ct_node.GetImageData())[...] = voxels
    case.ct_node.GetImageData().Modified()
    use_finer_geometry(case, finer)
    mask, editor = RegionMask(core.scene), editor_of(core, case)
    box = ((5, 9), (6, 13), (3, 11))
    confine(mask, editor, case, box)
    edit_everywhere(editor, case, editor.ModificationModeAdd)
    segment = case.node.GetSegmentation().GetSegment(editor.GetCurrentSegmentID())
    image = segment.GetRepresentation("Binary labelmap")
    painted = np.argwhere(array_of(image) == segment.GetLabelValue()) + first_voxel(image)
    in_ct = np.floor((painted + 0.5) / finer).astype(int)  # the CT's voxel that each finer one lies in
    inside = np.all([(in_ct[:, axis] >= box[axis][0]) & (in_ct[:, axis] < box[axis][1]) for axis in range(3)], axis=0)
    old = boxes().repeat(finer, 0).repeat(finer, 1).repeat(finer, 2) == segment_value(case, "spleen")
    outside = painted[~inside]
    assert old[tuple(outside.T)].all(), "only what was spleen before lies beside the box"
    assert inside.sum() == np.prod([stop - start for start, stop in box]) * finer**3


def segment_value(case: Case, name: str) -> int:
    return int(case.schema.named(name).value)


def use_finer_geometry(case: Case, finer: int) -> None:
    """As the Segment Editor's *Specify geometry* with oversampling does."""
    to_ras = ijk_to_ras(case.ct_node)
    shape = np.array(SHAPE) * finer
    to_coarse = np.diag([1 / finer] * 3 + [1.0])
    to_coarse[:3, 3] = (1 / finer - 1) / 2
    grid = empty_grid(to_ras @ to_coarse, (0, 0, 0), shape.tolist())
    converter = slicer.vtkSegmentationConverter
    text = converter.SerializeImageGeometry(grid)
    segmentation = case.node.GetSegmentation()
    segmentation.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), text)


def test_the_copy_follows_a_segmentation_that_was_moved_with_its_ct(core: SlicerCore) -> None:
    case = whole_case(core)
    mask, editor = RegionMask(core.scene), editor_of(core, case)
    confine(mask, editor, case, BOX)
    turn = core.add_transform(np.diag([-1.0, -1.0, 1.0, 1.0]))
    for node in (case.ct_node, case.node):
        node.SetAndObserveTransformNodeID(turn.GetID())
    confine(mask, editor, case, OTHER)
    edit_everywhere(editor, case, editor.ModificationModeAdd)
    expected = boxes()
    expected[slices(OTHER)] = case.schema.named("spleen").value
    assert (case.read_back().labels == expected).all()


def test_the_editor_finds_the_copy_in_the_tree_and_leaves_the_segmentation_under_its_ct(core: SlicerCore) -> None:
    case = whole_case(core)
    mask, editor = RegionMask(core.scene), editor_of(core, case)
    confine(mask, editor, case, BOX)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(core.scene)
    assert hierarchy.GetItemByDataNode(mask.node)
    edit_everywhere(editor, case, editor.ModificationModeAdd)
    parent = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(case.node))
    assert parent == hierarchy.GetItemByDataNode(case.ct_node)


def test_lifting_it_lets_edits_happen_everywhere_and_removes_the_copy(core: SlicerCore) -> None:
    case = whole_case(core)
    mask, editor = RegionMask(core.scene), editor_of(core, case)
    volumes = core.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    confine(mask, editor, case, BOX)
    mask.lift(editor.GetSegmentEditorNode())
    editor.SetSourceVolumeNode(case.ct_node)
    assert mask.node is None
    assert core.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == volumes
    edit_everywhere(editor, case, editor.ModificationModeAdd)
    assert (case.read_back().labels == case.schema.named("spleen").value).all()


def test_the_ct_itself_is_not_changed_and_the_copy_is_not_saved(core: SlicerCore) -> None:
    case = whole_case(core)
    mask, editor = RegionMask(core.scene), editor_of(core, case)
    confine(mask, editor, case, BOX)
    assert not mask.node.GetSaveWithScene()
    assert mask.node.GetHideFromEditors()
    assert case.ct_node.GetImageData().GetScalarRange() == (0.0, 0.0)


def test_a_ct_without_a_free_value_is_refused(core: SlicerCore) -> None:
    case = whole_case(core)
    ct = core.add_volume(np.full(PLAIN.shape_kji, 40000, np.int32), PLAIN, "bright")
    with pytest.raises(InputError, match="values from 40000 to 40000"):
        RegionMask(core.scene).confine(None, ct, BOX)
    assert case.node is not None

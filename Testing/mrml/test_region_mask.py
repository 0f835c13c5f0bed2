"""Edits confined to a region's box, through the Segment Editor's own logic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scene_cases import BOX, PLAIN, boxes, oblique, whole_case
from slicer_application import SlicerCore

from activeseg.errors import InputError
from activeseg.volume import Geometry
from ActiveSegModuleLib.scene.case import Case
from ActiveSegModuleLib.scene.labelmap import array_of
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

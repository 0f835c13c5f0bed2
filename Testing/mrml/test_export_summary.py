"""What would be stored of a case, as the scene knows it."""

from __future__ import annotations

import numpy as np
import pytest
from scene_cases import BOX, boxes, whole_case
from slicer_application import SlicerCore

from activeseg.core.correction import RegionState
from ActiveSegModuleLib.logic import export_summary
from ActiveSegModuleLib.logic.export_summary import ExportSummary, Summing
from ActiveSegModuleLib.scene.case import Case
from ActiveSegModuleLib.scene.labelmap import array_of
from ActiveSegModuleLib.scene.stored import Stored, note_changed, note_stored, stored_of


@pytest.fixture
def case(core: SlicerCore) -> Case:
    return whole_case(core)


def summed(case: Case) -> ExportSummary:
    summing = Summing(case)
    for _ in summing.steps():
        assert summing.summary is None
    assert summing.summary is not None
    return summing.summary


def paint(core: SlicerCore, case: Case, name: str, place: tuple[slice, ...]) -> None:
    editor = core.editor(case.node, case.ct_node)
    editor.SetCurrentSegmentID(case.segmentation.add_structure(case.schema.named(name)))
    editor.ResetModifierLabelmapToDefault()
    array_of(editor.GetModifierLabelmap())[place] = 1
    editor.ModifySegmentByLabelmap(
        case.node, editor.GetCurrentSegmentID(), editor.GetModifierLabelmap(), editor.ModificationModeAdd, False, False
    )


@pytest.mark.parametrize("slab_voxels", [1, 3000, 10**9])
def test_millilitres_are_those_of_the_label_map_however_it_is_cut(
    core: SlicerCore, case: Case, slab_voxels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_summary, "SLAB_VOXELS", slab_voxels)
    place = (slice(2, 9), slice(12, 20), slice(0, 6))
    paint(core, case, "aorta", place)
    before, after = boxes(), case.read_back().labels
    ml = case.original.geometry.voxel_mm3 / 1000
    expected = {}
    for label in case.schema.labels:
        added = int(np.count_nonzero((after == label.value) & (before != label.value)))
        removed = int(np.count_nonzero((before == label.value) & (after != label.value)))
        if added or removed:
            expected[label.name] = pytest.approx((added * ml, removed * ml))
    found = summed(case)
    assert {change.name: (change.added, change.removed) for change in found.changes} == expected
    assert found.changes[0].name == "aorta", "most is changed in it"


def test_what_is_as_it_was_predicted_has_no_changes(case: Case) -> None:
    found = summed(case)
    assert (found.changes, found.deleted, found.unknown) == ((), (), ())
    assert (found.reviewed, found.regions, found.skipped) == (0, 2, 0)


def test_regions_are_counted_by_what_became_of_them(case: Case) -> None:
    assert case.regions is not None
    case.regions.set_state(1, RegionState.ACCEPTED)
    case.regions.set_state(2, RegionState.SKIPPED)
    found = summed(case)
    assert (found.reviewed, found.regions, found.skipped) == (1, 2, 1)


def test_deleted_and_unknown_segments_are_named(case: Case) -> None:
    case.node.GetSegmentation().RemoveSegment(case.segmentation.segment_id(case.schema.named("spleen")))
    case.node.GetSegmentation().AddEmptySegment("", "tumour")
    found = summed(case)
    assert found.deleted == ("spleen",), "the aorta was never found: nothing of it was deleted"
    assert found.unknown == ("tumour",)


def test_another_image_in_the_cts_place_is_told(case: Case) -> None:
    array_of(case.ct_node.GetImageData())[tuple(slice(*span) for span in BOX)] += 100
    case.ct_node.GetImageData().Modified()
    assert summed(case).image_has_changed


def test_where_a_case_was_stored_stays_with_its_segmentation(core: SlicerCore, case: Case, tmp_path) -> None:
    assert stored_of(case.node) is None
    note_changed(case.node)
    assert stored_of(case.node) is None, "nothing was stored that could differ"
    note_stored(case.node, tmp_path, "CT_0003")
    note_changed(case.node)
    core.save(tmp_path / "scene.mrb")
    core.load(tmp_path / "scene.mrb")
    (again,) = Case.all_in(core.scene)
    assert stored_of(again.node) == Stored(tmp_path, "CT_0003", changed=True)
    note_stored(again.node, tmp_path, "CT_0003")
    assert stored_of(again.node) == Stored(tmp_path, "CT_0003")
    again.node.SetAttribute("ActiveSeg.Stored", "{")
    assert stored_of(again.node) is None

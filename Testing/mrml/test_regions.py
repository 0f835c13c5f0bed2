"""The places worth a look: their table, jumping there, and the box around one."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from scene_cases import PLAIN, oblique

from activeseg.core.correction import RegionState
from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from ActiveSegModuleLib.scene.regions import COLUMNS, RegionBox, RegionTable

TURN = np.array([[0.0, -1, 0, 40], [1, 0, 0, -7], [0, 0, 1, 12], [0, 0, 0, 1]])


def entries(geometry: Geometry = PLAIN) -> list[dict]:
    boxes = {1: ((8, 14), (10, 20), (4, 18)), 2: ((0, 5), (0, 6), (0, 7))}
    structures = {1: ["liver", "kidney_left"], 2: []}
    return [
        {
            "number": number,
            "box_kji": [list(span) for span in box],
            "center_ras_mm": geometry.ras_of_ijk([(a + b - 1) / 2 for a, b in box[::-1]]).tolist(),
            "score": 0.75 / number,
            "structures": structures[number],
            "size_voxels": 100,
            "size_mm3": 1500.0 * number,
            "votes": {"liver": 3, "kidney_left": 1},
            "alternatives": [],
            "state": "open",
        }
        for number, box in boxes.items()
    ]


def table_of(case, geometry=PLAIN):
    return RegionTable.create(case.core.scene, case.ct, entries(geometry), geometry, "Regions to review")


def slice_node(case, name="Red"):
    return case.core.scene.GetSingletonNode(name, "vtkMRMLSliceNode")


def cells(table, row):
    return [table.node.GetCellText(row, column) for column in range(len(COLUMNS))]


def test_each_region_has_a_row(case):
    table = table_of(case)
    assert table.node.GetNumberOfRows() == 2
    assert cells(table, 0)[:5] == ["1", "liver, kidney_left", "0.75", "1.5", "open"]
    assert cells(table, 1)[:5] == ["2", "", "0.375", "3", "open"]
    assert np.allclose([float(text) for text in cells(table, 0)[5:]], entries()[0]["center_ras_mm"])


def test_no_regions_give_an_empty_table(case):
    table = RegionTable.create(case.core.scene, case.ct, [], PLAIN, "None")
    assert table.regions == ()
    assert table.states() == {}


def test_centres_are_in_the_world_after_the_cts_transforms(core, make_case):
    case = make_case(PLAIN, core.add_transform(TURN, core.add_transform(TURN)))
    table = table_of(case)
    expected = (TURN @ TURN @ [*entries()[0]["center_ras_mm"], 1.0])[:3]
    assert np.allclose(table.center_world(1), expected)
    assert np.allclose([float(text) for text in cells(table, 0)[5:]], expected)


def test_centres_follow_a_ct_that_is_moved_later(core, case):
    table = table_of(case)
    case.ct.SetAndObserveTransformNodeID(core.add_transform(TURN).GetID())
    table.update_centers()
    expected = (TURN @ [*entries()[1]["center_ras_mm"], 1.0])[:3]
    assert np.allclose([float(text) for text in cells(table, 1)[5:]], expected, atol=0.01)


def test_states_are_written_and_read_back(case):
    table = table_of(case)
    table.set_state(2, RegionState.CORRECTED)
    assert table.states() == {1: RegionState.OPEN, 2: RegionState.CORRECTED}
    table.node.SetCellText(0, COLUMNS.index("State"), " Accepted ")
    assert table.states()[1] is RegionState.ACCEPTED


def test_states_belong_to_numbers_whatever_rows_the_user_removes(case):
    table = table_of(case)
    table.set_state(2, RegionState.SKIPPED)
    table.node.RemoveRow(0)
    assert table.states() == {1: RegionState.OPEN, 2: RegionState.SKIPPED}
    with pytest.raises(InputError, match="Region 1 has no row"):
        table.set_state(1, RegionState.ACCEPTED)


def test_a_word_that_is_no_state_decides_nothing(case):
    table = table_of(case)
    table.set_state(2, RegionState.ACCEPTED)
    table.node.SetCellText(1, COLUMNS.index("State"), "looks fine")
    assert table.states() == {1: RegionState.OPEN, 2: RegionState.OPEN}


def test_rows_of_no_region_are_passed_over(case):
    table = table_of(case)
    column = table.node.GetTable().GetColumn(0)
    column.SetVariantValue(0, vtk.vtkVariant("nothing"))
    column.SetVariantValue(1, vtk.vtkVariant(7))
    assert table.states() == {1: RegionState.OPEN, 2: RegionState.OPEN}


def test_a_table_that_lost_its_columns_has_the_states_that_it_came_with(case):
    table = table_of(case)
    for _ in range(4):
        table.node.RemoveColumn(0)
    assert table.states() == {1: RegionState.OPEN, 2: RegionState.OPEN}


def test_a_million_rows_of_no_region_are_passed_over(case):
    table = table_of(case)
    table.node.GetTable().SetNumberOfRows(1_000_000)
    assert set(table.states()) == {1, 2}


def test_entries_that_are_no_regions_are_refused(case):
    with pytest.raises(InputError, match="center_ras_mm"):
        RegionTable.create(case.core.scene, case.ct, [{"number": 1, "box_kji": [[0, 1]] * 3}], PLAIN, "Wrong")
    assert case.core.scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    with pytest.raises(InputError, match="no region 7"):
        table_of(case).center_world(7)


def test_everything_survives_a_saved_scene(case, tmp_path):
    table_of(case).set_state(1, RegionState.ACCEPTED)
    case.core.save(tmp_path / "scene.mrb")
    case.core.load(tmp_path / "scene.mrb")
    again = RegionTable(case.core.node("vtkMRMLTableNode", "Regions to review"))
    assert again.states() == {1: RegionState.ACCEPTED, 2: RegionState.OPEN}
    assert again.regions[0].structures == ("liver", "kidney_left")
    assert again.regions[1].structures == ()
    assert again.geometry == PLAIN
    assert again.ct_node.GetName() == "CT"
    assert np.allclose(again.center_world(1), entries()[0]["center_ras_mm"])


def test_ct_that_was_removed_is_named(case):
    table = table_of(case)
    case.core.scene.RemoveNode(case.ct)
    with pytest.raises(InputError, match="no longer in the scene"):
        table.center_world(1)


@pytest.mark.parametrize(("width", "height"), [(300.0, 200.0), (200.0, 300.0)])
@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_jumping_centres_all_slices_and_zooms_to_the_box(core, make_case, geometry, width, height):
    case = make_case(geometry, core.add_transform(TURN))
    table = table_of(case, geometry)
    for name in ("Red", "Green", "Yellow"):
        slice_node(case, name).SetDimensions(int(width), int(height), 1)
        slice_node(case, name).SetFieldOfView(width, height, 1)
    table.jump_to(1)
    spans = np.array([stop - start for start, stop in table.region(1).box_kji[::-1]]) * geometry.spacing_xyz
    for name in ("Red", "Green", "Yellow"):
        node = slice_node(case, name)
        middle = node.GetXYToRAS().MultiplyPoint([width / 2, height / 2, 0, 1])[:3]
        assert np.allclose(middle, table.center_world(1), atol=0.5)
        shown = node.GetFieldOfView()
        assert shown[0] / shown[1] == pytest.approx(width / height)
        assert min(shown[:2]) == pytest.approx(max(60, 1.6 * spans.max()))


def test_a_large_region_is_seen_whole(core, make_case):
    case = make_case()
    large = {**entries()[0], "box_kji": [[0, 24], [0, 30], [0, 36]]}
    table = RegionTable.create(core.scene, case.ct, [large], PLAIN, "Large")
    table.jump_to(1)
    assert min(slice_node(case).GetFieldOfView()[:2]) == pytest.approx(1.6 * 24 * 3.0)


def test_the_crosshair_goes_along_and_stays_hidden_where_it_was(core, case):
    crosshair = core.scene.AddNode(slicer.vtkMRMLCrosshairNode())
    before = crosshair.GetCrosshairMode()
    table = table_of(case)
    table.jump_to(1)
    assert np.allclose(crosshair.GetCrosshairRAS(), table.center_world(1))
    assert crosshair.GetCrosshairMode() == before


def test_jumping_without_framing_only_moves_the_slices(case):
    table = table_of(case)
    node = slice_node(case)
    node.SetDimensions(300, 200, 1)
    before, position = node.GetFieldOfView(), node.GetSliceToRAS().GetElement(0, 3)
    table.jump_to(1, frame=False)
    assert node.GetFieldOfView() == before
    assert node.GetSliceToRAS().GetElement(0, 3) == position
    assert node.GetSliceOffset() == pytest.approx(table.center_world(1)[2])


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_box_encloses_the_regions_voxels(core, make_case, geometry):
    case = make_case(geometry, core.add_transform(TURN))
    table = table_of(case, geometry)
    box = RegionBox.create(core.scene, case.ct)
    box.move_to(table, 1)
    (k0, k1), (j0, j1), (i0, i1) = table.region(1).box_kji
    assert np.allclose(box.node.GetSize(), np.array([i1 - i0, j1 - j0, k1 - k0]) * geometry.spacing_xyz)
    just_inside = [[i, j, k] for i in (i0, i1 - 1) for j in (j0, j1 - 1) for k in (k0, k1 - 1)]
    just_outside = [[i0 - 1, j0, k0], [i0, j1, k0], [i1 - 1, j0, k1]]
    for inside, points in ((True, just_inside), (False, just_outside)):
        for point in geometry.ras_of_ijk(points):
            assert bool(box.node.IsPointInROIWorld((TURN @ [*point, 1.0])[:3])) is inside
    assert box.node.GetDisplayNode().GetVisibility()
    box.hide()
    assert not box.node.GetDisplayNode().GetVisibility()


def test_box_cannot_be_dragged_and_is_saved_only_on_request(case):
    box = RegionBox.create(case.core.scene, case.ct)
    assert box.node.GetLocked()
    assert not box.node.GetSelectable()
    assert not box.node.GetDisplayNode().GetHandlesInteractive()
    assert not box.node.GetSaveWithScene()
    assert RegionBox.create(case.core.scene, case.ct, "Kept", saved=True).node.GetSaveWithScene()


def test_items_of_the_data_tree_name_their_owners(case):
    """Slicer shows items without an owner as broken when it opens the scene."""
    table, box = table_of(case), RegionBox.create(case.core.scene, case.ct)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(case.core.scene)
    owners = {
        node.GetName(): hierarchy.GetItemOwnerPluginName(hierarchy.GetItemByDataNode(node))
        for node in (case.ct, case.segmentation.node, table.node, box.node)
    }
    assert owners == {
        "CT": "Volumes",
        "Prediction": "Segmentations",
        "Regions to review": "Tables",
        "Region": "Markups",
    }
    segment_item = hierarchy.GetItemByPositionUnderParent(hierarchy.GetItemByDataNode(case.segmentation.node), 0)
    assert hierarchy.GetItemName(segment_item) == "liver"
    assert hierarchy.GetItemAttribute(segment_item, "segmentID") == case.id("liver")

"""The uncertainty map in the scene."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from scene_cases import PLAIN, oblique

from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from ActiveSegModuleLib.scene.placement import geometry_of
from ActiveSegModuleLib.scene.uncertainty import COLORS_NAME, UncertaintyVolume

COARSE = Geometry((12, 15, 18), (3.1, 2.9, 6.2), (11.0, -19.0, 31.0), oblique().direction_lps)


def some_map() -> Volume:
    values = np.random.default_rng(0).random(COARSE.shape_kji).astype(np.float32)
    values[:2] = np.nan
    values[5, 5, 5] = 1.0
    return Volume(values, COARSE)


@pytest.fixture
def shown(case):
    return UncertaintyVolume.create(case.core.scene, case.ct, some_map(), "variance", 0.25, "Uncertainty")


def test_map_lies_on_its_own_grid_under_the_cts_transform(core, make_case):
    case = make_case(PLAIN, core.add_transform(np.diag([-1.0, 1.0, 1.0, 1.0])))
    made = UncertaintyVolume.create(core.scene, case.ct, some_map(), "variance", 0.25, "Uncertainty")
    assert geometry_of(made.node).same_grid(COARSE)
    assert made.node.GetParentTransformNode() is case.ct.GetParentTransformNode()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(core.scene)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(made.node)) == hierarchy.GetItemByDataNode(case.ct)


def test_values_come_back_with_nan_where_nothing_was_computed(shown):
    assert shown.array().dtype == np.float32
    assert np.array_equal(shown.array(), some_map().array, equal_nan=True)


def test_what_was_not_computed_is_below_any_threshold(shown):
    shown.set_threshold(0.0)
    raw = slicer.util.arrayFromVolume(shown.node)
    assert np.isfinite(raw).all()
    assert (raw[:2] < shown.node.GetDisplayNode().GetLowerThreshold()).all()


def test_display_goes_from_0_to_1_in_our_colours(shown):
    display = shown.node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)
    assert display.GetColorNode().GetName() == COLORS_NAME
    assert display.GetApplyThreshold()
    assert display.GetUpperThreshold() > 1.0


def test_two_maps_share_one_colour_scale(case, shown):
    UncertaintyVolume.create(case.core.scene, case.ct, some_map(), "entropy", 0.25, "Another")
    colors = case.core.scene.GetNodesByClass("vtkMRMLProceduralColorNode")
    colors.UnRegister(None)
    names = [colors.GetItemAsObject(n).GetName() for n in range(colors.GetNumberOfItems())]
    assert names.count(COLORS_NAME) == 1


def test_threshold_and_measure_can_be_changed(shown):
    shown.set_threshold(0.5)
    assert shown.threshold == 0.5
    legend = shown.add_legend()
    other = np.full(COARSE.shape_kji, 0.125, np.float32)
    shown.set_measure(other, "mutual_information")
    assert shown.measure == "mutual_information"
    assert np.array_equal(shown.array(), other)
    assert legend.GetTitleText() == "Mutual information"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda shown: shown.set_threshold(1.5), "threshold is 1.5"),
        (lambda shown: shown.set_measure(np.zeros((2, 2, 2)), "entropy"), "shape"),
        (lambda shown: shown.set_measure(np.full(COARSE.shape_kji, 1.7), "entropy"), "1.7"),
        (lambda shown: shown.set_measure(np.full(COARSE.shape_kji, -0.2), "entropy"), "-0.2"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(shown, change, message):
    with pytest.raises(InputError, match=message):
        change(shown)
    assert np.array_equal(shown.array(), some_map().array, equal_nan=True)
    assert shown.threshold == 0.25
    assert shown.measure == "variance"


def test_it_is_shown_before_the_ct_in_all_slice_views_and_hidden_again(case, shown):
    composites = []
    for name in ("Red", "Green"):
        composite = slicer.vtkMRMLSliceCompositeNode()
        composite.SetLayoutName(name)
        composites.append(case.core.scene.AddNode(composite))
    legend = shown.add_legend()
    shown.show(case.ct, 0.6)
    for composite in composites:
        assert composite.GetBackgroundVolumeID() == case.ct.GetID()
        assert composite.GetForegroundVolumeID() == shown.node.GetID()
        assert composite.GetForegroundOpacity() == 0.6
    shown.hide()
    assert all(not composite.GetForegroundVolumeID() for composite in composites)
    assert not legend.GetVisibility()
    assert all(composite.GetBackgroundVolumeID() == case.ct.GetID() for composite in composites)


def test_it_is_found_again_in_a_loaded_scene(case, shown, tmp_path):
    shown.set_threshold(0.4)
    case.core.save(tmp_path / "scene.mrb")
    case.core.load(tmp_path / "scene.mrb")
    again = UncertaintyVolume(case.core.node("vtkMRMLScalarVolumeNode", "Uncertainty"))
    assert again.measure == "variance"
    assert again.threshold == pytest.approx(0.4)
    stored = Volume(again.array(), geometry_of(again.node)).canonical()
    assert np.array_equal(stored.array, some_map().canonical().array, equal_nan=True)
    color = again.node.GetDisplayNode().GetColorNode()
    assert color.GetName() == COLORS_NAME
    assert color.GetColorTransferFunction().GetSize() == 5

"""What Slicer's own views draw of a prediction: the right colours at the right places."""

from __future__ import annotations

import numpy as np
import pytest
from scene_cases import PLAIN, SCHEMA, make_case, oblique, whole_case
from slicer_views import SliceView, ThreeDView

from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from ActiveSegModuleLib.scene.labelmap import image_of
from ActiveSegModuleLib.scene.placement import ijk_to_ras
from ActiveSegModuleLib.scene.regions import RegionBox, RegionTable
from ActiveSegModuleLib.scene.surfaces import Surfaces
from ActiveSegModuleLib.scene.uncertainty import UncertaintyVolume

GREY = 102
"""The CT of the case is 0 HU everywhere: (0 + 160) / 400 of white with window 400 and level 40."""

FILL = 0.3
BOX = ((8, 14), (10, 20), (4, 18))
TURN = np.array([[0.8, -0.6, 0, 40], [0.6, 0.8, 0, -7], [0, 0, 1, 12], [0, 0, 0, 1]])


def world(case, ijk) -> np.ndarray:
    point = [0.0, 0.0, 0.0]
    case.ct.TransformPointToWorld(list(case.original.geometry.ras_of_ijk(ijk)), point)
    return np.array(point)


def colour_at(view: SliceView, point_ras) -> np.ndarray:
    """The pixel that shows a point, after moving the slice there."""
    view.node.JumpSliceByOffsetting(*point_ras)
    return view.pixels()[view.pixel_of(point_ras)].astype(int)


def middle_of(case, value: int) -> np.ndarray:
    """A voxel well inside of a structure, as a point of the world."""
    voxels = np.argwhere(case.labels == value)
    return world(case, ((voxels.min(axis=0) + voxels.max(axis=0)) // 2)[::-1])


def show_ct(case, view: SliceView) -> None:
    view.composite.SetBackgroundVolumeID(case.ct.GetID())
    view.fit()


def bump(geometry: Geometry) -> Volume:
    """Uncertainty 0.9 in a box, 0.1 around it, not computed in the first five planes."""
    values = np.full(geometry.shape_kji, 0.1, np.float32)
    values[10:14, 10:20, 4:14] = 0.9
    values[:5] = np.nan
    return Volume(values, geometry)


@pytest.mark.parametrize("transform", [False, True], ids=["still", "transformed"])
@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_each_structure_has_its_colour_where_it_lies(core, geometry, transform):
    view = SliceView(core)
    case = make_case(core, geometry, core.add_transform(TURN) if transform else None)
    case.segmentation.node.GetDisplayNode().SetVisibility2DOutline(False)
    show_ct(case, view)
    for label in SCHEMA.labels[:4]:
        expected = (1 - FILL) * GREY + FILL * np.array(label.color)
        assert np.allclose(colour_at(view, middle_of(case, label.value)), expected, atol=4), label.name
    assert np.allclose(colour_at(view, world(case, [30, 25, 8])), GREY, atol=2)


@pytest.mark.parametrize("name", ["Red", "Green", "Yellow"])
def test_all_three_views_show_it(core, name):
    view = SliceView(core, name)
    case = make_case(core)
    show_ct(case, view)
    assert np.ptp(colour_at(view, middle_of(case, 1))) > 10, "in colour"
    case.segmentation.node.SetDisplayVisibility(False)
    assert np.allclose(colour_at(view, middle_of(case, 1)), GREY, atol=2)


def test_edit_is_seen_at_once(core):
    view = SliceView(core)
    case = make_case(core)
    case.segmentation.node.GetDisplayNode().SetVisibility2DOutline(False)
    show_ct(case, view)
    place = world(case, [30, 4, 8])
    assert np.allclose(colour_at(view, place), GREY, atol=2)
    stroke = image_of(np.ones((5, 5, 5), np.uint8), ijk_to_ras(case.ct), (28, 2, 6))
    editor = core.editor(case.segmentation.node, case.ct)
    editor.ModifySegmentByLabelmap(
        case.segmentation.node, case.id("aorta"), stroke, editor.ModificationModeAdd, False, False
    )
    expected = (1 - FILL) * GREY + FILL * np.array(SCHEMA.named("aorta").color)
    assert np.allclose(colour_at(view, place), expected, atol=4)


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_uncertainty_glows_above_the_threshold_only(core, geometry):
    view = SliceView(core)
    case = make_case(core, geometry, core.add_transform(TURN))
    case.segmentation.node.SetDisplayVisibility(False)
    shown = UncertaintyVolume.create(core.scene, case.ct, bump(geometry), "variance", 0.25, "Uncertainty")
    shown.show(case.ct, 1.0)
    view.fit()
    unsure, sure, unknown = (world(case, ijk) for ijk in ([9, 15, 12], [25, 15, 12], [9, 15, 2]))
    color = [0.0, 0.0, 0.0]
    shown.node.GetDisplayNode().GetColorNode().GetColorTransferFunction().GetColor(0.9, color)
    assert np.allclose(colour_at(view, unsure), np.array(color) * 255, atol=6)
    assert np.allclose(colour_at(view, sure), GREY, atol=2)
    assert np.allclose(colour_at(view, unknown), GREY, atol=2)
    shown.set_threshold(0.05)
    assert np.ptp(colour_at(view, sure)) > 20, "now it glows as well"
    assert np.allclose(colour_at(view, unknown), GREY, atol=2), "what was not computed never glows"
    shown.set_threshold(0.95)
    assert np.allclose(colour_at(view, unsure), GREY, atol=2)


def test_most_certain_doubt_stays_visible(core):
    """1.0, the upper end of the scale, is the place to look at first."""
    view = SliceView(core)
    case = make_case(core)
    case.segmentation.node.SetDisplayVisibility(False)
    values = np.ones(PLAIN.shape_kji, np.float32)
    shown = UncertaintyVolume.create(core.scene, case.ct, Volume(values, PLAIN), "entropy", 0.25, "Uncertainty")
    shown.show(case.ct, 1.0)
    view.fit()
    assert colour_at(view, world(case, [18, 15, 12])).min() > 140


def test_uncertainty_and_structures_are_seen_together(core):
    view = SliceView(core)
    case = make_case(core)
    case.segmentation.node.GetDisplayNode().SetVisibility2DOutline(False)
    shown = UncertaintyVolume.create(core.scene, case.ct, bump(PLAIN), "variance", 0.25, "Uncertainty")
    show_ct(case, view)
    place = world(case, [9, 12, 11])
    alone = colour_at(view, place)
    shown.show(case.ct, 0.7)
    both = colour_at(view, place)
    case.segmentation.node.SetDisplayVisibility(False)
    glow = colour_at(view, place)
    assert np.abs(both - alone).max() > 30
    assert np.abs(both - glow).max() > 10


def test_legend_appears_in_its_view_and_goes_with_the_map(core):
    red, green = SliceView(core, "Red"), SliceView(core, "Green")
    case = make_case(core)
    shown = UncertaintyVolume.create(core.scene, case.ct, bump(PLAIN), "variance", 0.25, "Uncertainty")
    shown.show(case.ct)
    for view in (red, green):
        view.fit()
    before = red.pixels(), green.pixels()
    shown.add_legend(red.node)
    in_red, in_green = red.pixels(), green.pixels()
    changed = np.abs(in_red.astype(int) - before[0]).max(axis=2) > 60
    assert changed[:, 360:].sum() > 500, "numbers and colours at the right edge"
    assert not changed[:, :240].any()
    assert np.array_equal(in_green, before[1])
    shown.hide()
    assert not red.pixels()[:, 360:].reshape(-1, 3).max() > 200, "no numbers are left"


@pytest.mark.parametrize("geometry", [PLAIN, oblique()], ids=["plain", "oblique and flipped"])
def test_box_is_drawn_around_the_region(core, geometry):
    view = SliceView(core)
    case = make_case(core, geometry, core.add_transform(TURN))
    case.segmentation.node.SetDisplayVisibility(False)
    entry = {
        "number": 1,
        "size_voxels": 100,
        "votes": {},
        "box_kji": [list(span) for span in BOX],
        "center_ras_mm": geometry.ras_of_ijk([(a + b - 1) / 2 for a, b in BOX[::-1]]).tolist(),
        "score": 0.5,
        "structures": ["liver"],
        "size_mm3": 10.0,
        "state": "open",
    }
    table = RegionTable.create(core.scene, case.ct, [entry], geometry, "Places")
    show_ct(case, view)
    view.node.RotateToVolumePlane(case.ct)
    box = RegionBox.create(core.scene, case.ct)
    box.move_to(table, 1)
    table.jump_to(1)
    pixels = view.pixels().astype(int)
    yellow = (pixels[..., 0] > 180) & (pixels[..., 1] > 140) & (pixels[..., 2] < 120)
    rows, columns = np.nonzero(yellow)
    corners = np.array([view.pixel_of(corner) for corner in table.corners_world(1)])
    assert np.allclose([rows.min(), rows.max()], [corners[:, 0].min(), corners[:, 0].max()], atol=5)
    assert np.allclose([columns.min(), columns.max()], [corners[:, 1].min(), corners[:, 1].max()], atol=5)
    middle = view.pixel_of(table.center_world(1))
    assert np.allclose(middle, [view.size[1] / 2, view.size[0] / 2], atol=2)
    assert np.allclose(pixels[middle], GREY, atol=2), "the box is not filled"
    box.hide()
    pixels = view.pixels().astype(int)
    assert not ((pixels[..., 0] > 180) & (pixels[..., 2] < 120)).any()


def test_surfaces_appear_in_3d_in_their_colours(core):
    view = ThreeDView(core)
    case = make_case(core)
    view.look_from_the_front()
    empty = view.pixels()
    assert case.segmentation.node.CreateClosedSurfaceRepresentation()
    view.look_from_the_front()
    pixels = view.pixels().astype(float)
    drawn = np.abs(pixels - empty).max(axis=2) > 40
    assert drawn.mean() > 0.1
    seen = pixels[drawn] / np.maximum(pixels[drawn].max(axis=1, keepdims=True), 1)
    for label in SCHEMA.labels[:4]:
        hue = np.array(label.color) / max(label.color)
        assert (np.abs(seen - hue).max(axis=1) < 0.08).mean() > 0.005, label.name


def test_surfaces_of_their_own_look_like_the_structures_and_leave_the_slices_alone(core):
    view, red = ThreeDView(core), SliceView(core)
    case = whole_case(core)
    red.node.RotateToVolumePlane(case.ct_node)
    red.fit()
    view.look_from_the_front()
    empty, slice_before = view.pixels(), red.pixels()
    turns = []
    surfaces = Surfaces(core.scene, turns.append)
    surfaces.show_all(case, lambda _done, _of: None, lambda: None)
    while turns:
        turns.pop(0)()
    view.look_from_the_front()
    pixels = view.pixels().astype(float)
    drawn = np.abs(pixels - empty).max(axis=2) > 40
    assert drawn.mean() > 0.1
    seen = pixels[drawn] / np.maximum(pixels[drawn].max(axis=1, keepdims=True), 1)
    for label in SCHEMA.labels[:4]:
        hue = np.array(label.color) / max(label.color)
        assert (np.abs(seen - hue).max(axis=1) < 0.08).mean() > 0.005, label.name
    assert np.array_equal(red.pixels(), slice_before)
    surfaces.remove()
    view.look_from_the_front()
    assert not (np.abs(view.pixels().astype(float) - empty).max(axis=2) > 40).any()

"""The small pictures of alternatives, as arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene_cases import BOX, PLAIN, RECORD, REGION, boxes, oblique, patches, whole_case
from slicer_application import SlicerCore

from activeseg.core.geometry import Geometry
from ActiveSegModuleLib.scene.alternatives import LabelPatch, OfferedAlternative, apply_alternative
from ActiveSegModuleLib.scene.case import Case
from ActiveSegModuleLib.scene.labelmap import array_of
from ActiveSegModuleLib.scene.slice_picture import AlternativePicture, VoxelsMoved, pictures

TURNED = Geometry(PLAIN.shape_kji, (1.5, 1.5, 3.0), (0.0, 0.0, 0.0), (0, 0, 1, 1, 0, 0, 0, 1, 0))
"""Columns run up the body, rows to the left, slices to the back: as a sagittal scan is stored."""


def with_gradient(case: Case) -> Case:
    """A CT that is brighter towards the patient's back and the left."""
    image = case.ct_node.GetImageData()
    shape = array_of(image).shape
    points = np.indices(shape).reshape(3, -1)[::-1].T
    ras = PLAIN.ras_of_ijk(points) if case.original.geometry == PLAIN else case.original.geometry.ras_of_ijk(points)
    array_of(image)[...] = np.rint(-ras[:, 1] * 4 - ras[:, 0]).reshape(shape)
    return case


def one(case: Case) -> AlternativePicture:
    (picture,) = pictures(case, case.alternatives(1))
    return picture


@pytest.mark.parametrize("geometry", [PLAIN, oblique(), TURNED], ids=["plain", "oblique", "sagittal"])
def test_back_is_below_and_the_patients_left_is_on_the_right(core: SlicerCore, geometry: Geometry) -> None:
    picture = one(with_gradient(whole_case(core, geometry)))
    along_rows, along_columns = picture.ct.astype(float).mean(axis=1), picture.ct.astype(float).mean(axis=0)
    assert along_rows[-1] > along_rows[0]
    assert along_columns[-1] > along_columns[0]
    assert picture.now.shape == picture.then.shape == picture.ct.shape
    rows, columns = picture.ct.shape
    assert max(picture.spacing_mm) < 3.1
    assert min(rows * picture.spacing_mm[0], columns * picture.spacing_mm[1]) > 15


def test_the_slice_is_the_one_that_changes_most_and_shows_both_contours(core: SlicerCore) -> None:
    case = whole_case(core)
    picture = one(case)
    (offered,) = case.alternatives(1)
    assert picture.structure == "kidney_left"
    assert picture.then.sum() - picture.now.sum() == offered.patch.changed[0].sum()
    assert (picture.labels_now == 1).sum() == (boxes()[4] == 1).sum()
    assert (picture.labels_then != picture.labels_now).sum() == offered.patch.changed[0].sum()
    ml = PLAIN.voxel_mm3 / 1000
    moved = int(offered.patch.changed.sum())
    assert picture.moved == (
        VoxelsMoved("kidney_left", moved, 0, pytest.approx(moved * ml), 0),
        VoxelsMoved("liver", 0, moved, 0, pytest.approx(moved * ml)),
    )


def test_what_was_edited_meanwhile_counts(core: SlicerCore) -> None:
    case = whole_case(core)
    apply_alternative(core.editor(case.node, case.ct_node), case.segmentation, case.alternatives(1)[0].patch)
    picture = one(case)
    assert picture.moved == ()
    assert (picture.labels_now == picture.labels_then).all()
    assert picture.structure == ""


def test_alternatives_of_a_region_show_the_same_slice_where_that_shows_something(core: SlicerCore) -> None:
    case = whole_case(core)
    (first,) = case.alternatives(1)
    changed = np.zeros_like(first.patch.changed)
    changed[0, 0:3], changed[5, 0:9] = True, True
    second = _alternative(first, changed)
    together = pictures(case, (first, second))
    assert len({picture.ct.shape for picture in together}) == 1
    assert all((picture.labels_now != picture.labels_then).any() for picture in together)
    assert together[1].then.sum() + (together[1].now & ~together[1].then).sum() == together[1].now.sum()
    elsewhere = np.zeros_like(changed)
    elsewhere[6, 2:9] = True
    apart = pictures(case, (first, _alternative(first, elsewhere)))
    assert all((picture.labels_now != picture.labels_then).any() for picture in apart)


def _alternative(like: OfferedAlternative, changed: np.ndarray) -> OfferedAlternative:
    """One that erases."""
    patch = LabelPatch(like.patch.geometry, like.patch.box_kji, np.zeros_like(like.patch.labels), changed)
    return replace(like, patch=patch)


def test_the_window_is_the_cts(core: SlicerCore) -> None:
    case = whole_case(core)
    assert one(case).window == (-160.0, 240.0)
    case.ct_node.GetScalarVolumeDisplayNode().SetWindowLevel(1500, -500)
    assert one(case).window == (-1250.0, 250.0)


def test_a_region_without_alternatives_has_no_pictures(core: SlicerCore) -> None:
    case = whole_case(core)
    assert pictures(case, case.alternatives(2)) == ()


def test_an_alternative_says_who_would_draw_it(core: SlicerCore) -> None:
    case = whole_case(core)
    case.update_record({**RECORD, "members": [{"name": str(n)} for n in range(4)]})
    told = {
        "summary": "3 members: + 0.1 ml kidney_left",
        "votes": 3,
        "members": ["fold 1", "fold 2", "rotated"],
        "gains": {"kidney_left": {"voxels": 90, "mm3": 600.0}, "spleen": {"voxels": 2, "mm3": 13.0}},
        "loses": {"liver": {"voxels": 92, "mm3": 613.0}},
    }
    case.set_regions([{**REGION, "alternatives": [told]}], patches(), PLAIN)
    (offered,) = case.alternatives(1)
    assert (offered.structure, offered.erases) == ("kidney_left", False)
    assert (offered.votes, offered.of, offered.members) == (3, 4, ("fold 1", "fold 2", "rotated"))
    case.set_regions([{**REGION, "alternatives": [{**told, "gains": {}}]}], patches(), PLAIN)
    assert (case.alternatives(1)[0].structure, case.alternatives(1)[0].erases) == ("liver", True)
    assert [stop - start for start, stop in BOX] == list(offered.patch.labels.shape)

"""The picture shows the same patient whatever the grid, the right way round, and whatever is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.image import imread
from simulated_votes import SCHEMA, ball, geometry_of, segmented_from

from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.core.votes import Segmented
from activeseg.predictions.overview import write_overview
from activeseg.review.regions import FoundRegion, find_regions

SHAPE = (36, 40, 44)
LIVER, SPLEEN, KIDNEY = 1, 2, 3


def patient() -> tuple[Volume, Segmented]:
    """A body with a liver at the patient's right front, upper half, and a doubtful ball in it."""
    geometry = geometry_of(SHAPE, 6.0)
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 4:36, 4:40] = 30
    labels = np.zeros(SHAPE, np.uint8)
    labels[20:34, 24:34, 26:38] = LIVER
    other = labels.copy()
    other[ball(SHAPE, (27, 29, 32), 4)] = KIDNEY
    return Volume(hu, geometry, "patient"), segmented_from([labels, labels, other, other], geometry)


def turned(
    geometry: Geometry, array: npt.NDArray[Any], axes: tuple[int, int, int], flips: tuple[bool, ...]
) -> tuple[Geometry, npt.NDArray[Any]]:
    """The same image stored along other axes: permuted as numpy does, then flipped."""
    matrix = geometry.ijk_to_ras
    columns = [matrix[:3, 2 - axis] for axis in axes]  # of the new k, j, i
    origin = matrix[:3, 3].copy()
    array = array.transpose(axes)
    for axis, flip in enumerate(flips):
        if flip:
            origin = origin + columns[axis] * (array.shape[axis] - 1)
            columns[axis] = -columns[axis]
            array = np.flip(array, axis)
    new = np.eye(4)
    new[:3, :3] = np.stack(columns[::-1], axis=1)
    new[:3, 3] = origin
    return Geometry.from_ijk_to_ras(new, array.shape), array


def turned_region(region: FoundRegion, axes: tuple[int, int, int], flips: tuple[bool, ...]) -> FoundRegion:
    """A region of the patient's grid in the grid that ``turned`` makes."""
    spans = [region.box_kji[axis] for axis in axes]
    k, j, i = (
        (SHAPE[axis] - b, SHAPE[axis] - a) if flip else (a, b)
        for axis, flip, (a, b) in zip(axes, flips, spans, strict=True)
    )
    flipped = [n for n, flip in enumerate(flips) if flip]
    alternatives = tuple(
        replace(
            a, labels=np.flip(a.labels.transpose(axes), flipped), changed=np.flip(a.changed.transpose(axes), flipped)
        )
        for a in region.alternatives
    )
    return replace(region, box_kji=(k, j, i), alternatives=alternatives)


def picture(
    folder: Path, ct: Volume, segmented: Segmented, regions: tuple[FoundRegion, ...] = (), **more: Any
) -> npt.NDArray[Any]:
    uncertainty = Volume(segmented.grid.variance, segmented.grid.geometry)
    path = folder / "overview.png"
    write_overview(path, ct, segmented.labels, SCHEMA, uncertainty, regions, "variance", **more)
    image = imread(path)
    assert image.shape == (1180, 1920, 4)
    return image[..., :3]


def test_the_patients_right_is_on_the_left_and_front_and_head_are_up(tmp_path: Path) -> None:
    ct, segmented = patient()
    certain = replace(segmented, grid=replace(segmented.grid, variance=np.zeros(SHAPE, np.float32)))
    image = picture(tmp_path, ct, certain)
    liver = np.array(SCHEMA.labels[0].color) / 255
    near_liver = np.linalg.norm(image - liver, axis=-1) < 0.12
    gray = (np.ptp(image, axis=-1) < 0.02) & (image[..., 0] > 0.3)
    views = {"axial": (25, 500), "coronal": (525, 1005), "sagittal": (1030, 1480)}
    for name, (left, right) in views.items():
        rows, columns = np.nonzero(near_liver[110:640, left:right])
        body_rows, body_columns = np.nonzero(gray[110:640, left:right])
        assert columns.mean() < np.median(body_columns), name  # right, or front, is on the left
        assert rows.mean() < np.median(body_rows), name  # front, or head, is up


@pytest.mark.parametrize(
    ("axes", "flips"),
    [((0, 1, 2), (False, True, True)), ((2, 0, 1), (False, False, True)), ((1, 2, 0), (True, True, False))],
    ids=["LPS", "permuted", "permuted and flipped"],
)
def test_the_same_patient_gives_the_same_picture_however_it_is_stored(tmp_path: Path, axes: Any, flips: Any) -> None:
    ct, segmented = patient()
    regions = find_regions(segmented, ct.geometry, body_mm3=2e7)
    expected = picture(tmp_path, ct, segmented, regions)
    geometry, hu = turned(ct.geometry, ct.array, axes, flips)
    _, labels = turned(ct.geometry, segmented.labels, axes, flips)
    other = tuple(turned_region(region, axes, flips) for region in regions)
    image = picture(tmp_path, Volume(hu, geometry, ct.name), replace(segmented, labels=labels), other)
    assert np.abs(image - expected).max() < 0.02


def test_what_lies_below_the_threshold_does_not_glow_even_where_nothing_lies_higher(tmp_path: Path) -> None:
    """One range for all pictures, as in the views: a faint map must not look like a bright one."""
    ct, segmented = patient()
    faint = np.where(segmented.labels > 0, 0.2, 0).astype(np.float32)
    pictures = [
        picture(tmp_path, ct, replace(segmented, grid=replace(segmented.grid, variance=variance)))
        for variance in (faint, np.zeros(SHAPE, np.float32))
    ]
    assert np.array_equal(*pictures)
    bright = replace(segmented, grid=replace(segmented.grid, variance=faint))
    assert not np.array_equal(picture(tmp_path, ct, bright, threshold=0.1), pictures[0])


def test_an_oblique_ct_with_another_grid_for_uncertainty_is_drawn(tmp_path: Path) -> None:
    ct, segmented = patient()
    matrix = ct.geometry.ijk_to_ras.copy()
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix[:3, :3] = turn @ matrix[:3, :3] / 2
    oblique = Geometry.from_ijk_to_ras(matrix, (72, 80, 88))
    hu = np.zeros(oblique.shape_kji, np.int16)
    image = picture(tmp_path, Volume(hu, oblique), replace(segmented, labels=np.zeros(oblique.shape_kji, np.uint8)))
    assert image.std() > 0.05


def test_regions_are_marked_and_the_rest_is_not(tmp_path: Path) -> None:
    ct, segmented = patient()
    mark = np.array([0, 229, 255]) / 255

    def marked(image: npt.NDArray[Any]) -> int:
        return int((np.linalg.norm(image - mark, axis=-1) < 0.05).sum())

    regions = find_regions(segmented, ct.geometry, body_mm3=2e7)
    assert marked(picture(tmp_path, ct, segmented, regions)) > 1000
    assert marked(picture(tmp_path, ct, segmented)) == 0


@pytest.mark.parametrize("case", ["no uncertainty", "nothing computed", "117 structures", "nothing found", "one slice"])
def test_what_is_missing_or_too_much_does_not_stop_the_picture(tmp_path: Path, case: str) -> None:
    ct, segmented = patient()
    schema, labels, uncertainty = SCHEMA, segmented.labels, Volume(np.zeros(SHAPE, np.float32), ct.geometry)
    if case == "no uncertainty":
        uncertainty = None
    elif case == "nothing computed":
        uncertainty = Volume(np.full(SHAPE, np.nan, np.float32), ct.geometry)
    elif case == "117 structures":
        schema = LabelSchema.from_names([f"structure_with_a_long_name_{n}" for n in range(117)])
        labels = (np.arange(labels.size).reshape(SHAPE) // 180 % 118).astype(np.uint8)
    elif case == "nothing found":
        labels = np.zeros_like(labels)
    else:
        ct = Volume(ct.array[:1], geometry_of((1, *SHAPE[1:]), 6.0))
        labels = labels[:1]
    write_overview(tmp_path / "overview.png", ct, labels, schema, uncertainty)
    assert imread(tmp_path / "overview.png").shape == (1180, 1920, 4)


def test_the_name_of_a_structure_of_unusual_shape_has_a_colour_of_its_own(tmp_path: Path) -> None:
    ct, segmented = patient()
    usual, unusual = (picture(tmp_path, ct, segmented, unusual=names) for names in ((), ("liver",)))
    amber = np.array([0xFF, 0xB7, 0x4D]) / 255
    colored = [np.linalg.norm(image[530:, 1512:] - amber, axis=-1) < 0.02 for image in (usual, unusual)]
    assert colored[0].sum() == 0
    assert colored[1].sum() > 50

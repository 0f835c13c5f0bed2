"""What is unusual about a structure's shape is said in words, with a place to look at, and only where it is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from simulated_votes import SCHEMA, ball, geometry_of

from activeseg.core.geometry import Geometry
from activeseg.core.json_values import WrongField
from activeseg.core.label_map import LabelMap
from activeseg.core.records import from_json, to_json
from activeseg.core.shapes import ShapeFeature, ShapeReference, ShapeWarning, UsualShape
from activeseg.review.shapes import Shape, shape_warnings, shapes_of, usual_range, usual_shapes
from activeseg.samples.phantom import phantom_geometry

SHAPE, MIDDLE = (40, 44, 48), (20, 22, 24)
GRID = geometry_of(SHAPE, 2.0)
LIVER, SPLEEN = (SCHEMA.named(name).value for name in ("liver", "spleen"))


def liver(radius: float = 10, center: Sequence[int] = MIDDLE) -> LabelMap:
    labels = np.zeros(SHAPE, np.uint8)
    labels[ball(SHAPE, center, radius)] = LIVER
    return labels


def usual(radii: Sequence[float] = (9, 9.5, 10, 10, 10, 10.5, 10.5, 11)) -> dict[str, UsualShape]:
    return usual_shapes({"liver": [shapes_of(liver(radius), GRID, SCHEMA)["liver"] for radius in radii]})


def warnings(labels: LabelMap, reference: ShapeReference | None = None, grid: Geometry = GRID) -> list[ShapeWarning]:
    return list(shape_warnings(labels, grid, SCHEMA, usual() if reference is None else reference))


def voxel_at(warning: ShapeWarning, grid: Geometry = GRID) -> tuple[int, ...]:
    return tuple(np.rint(grid.ijk_of_ras(warning.center_ras)).astype(int)[::-1].tolist())


def test_a_ball_of_the_usual_size_is_not_unusual() -> None:
    assert warnings(liver(9.7)) == []


def test_a_second_piece_is_told_and_can_be_looked_at() -> None:
    labels = liver()
    labels[ball(SHAPE, (6, 6, 7), 3)] = LIVER
    found = warnings(labels)
    assert found[0].words == "two pieces"
    assert voxel_at(found[0]) == (6, 6, 7)
    assert {warning.structure for warning in found} == {"liver"}


def test_the_place_is_in_the_piece_even_where_its_middle_is_empty() -> None:
    labels = liver()
    labels[3:8, 3:12, 4] = LIVER
    labels[4:7, 4:11, 4] = 0
    (found,) = (warning for warning in warnings(labels) if warning.feature is ShapeFeature.PIECES)
    assert labels[voxel_at(found)] == LIVER
    assert voxel_at(found)[2] == 4


def test_dust_is_no_piece_and_does_not_change_the_shape() -> None:
    labels = liver()
    labels[2, 2, 2:5] = LIVER
    with_dust, without = (shapes_of(each, GRID, SCHEMA)["liver"] for each in (labels, liver()))
    assert replace(with_dust, solidity=without.solidity) == without
    assert with_dust.solidity == pytest.approx(without.solidity)
    labels[1:4, 1:4, 1:4] = LIVER
    assert shapes_of(labels, GRID, SCHEMA)["liver"].pieces == 2


def test_a_structure_that_is_nothing_but_dust_has_no_shape() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[4, 4, 4] = LIVER
    assert shapes_of(labels, GRID, SCHEMA) == {}
    assert warnings(labels) == []


def test_a_hole_lowers_solidity_and_is_shown() -> None:
    labels = liver()
    labels[ball(SHAPE, (21, 20, 24), 6)] = 0
    (found,) = warnings(labels)
    assert found.feature is ShapeFeature.SOLIDITY
    assert found.words.startswith("solidity 0.7")
    assert np.abs(np.subtract(voxel_at(found), (21, 20, 24))).max() <= 2


def test_a_bite_lowers_solidity_and_is_shown() -> None:
    labels = liver()
    labels[ball(SHAPE, (20, 22, 33), 7)] = 0
    found = next(warning for warning in warnings(labels) if warning.feature is ShapeFeature.SOLIDITY)
    assert labels[voxel_at(found)] == 0
    assert voxel_at(found)[2] > 26


def test_an_unusual_volume_is_told_beside_the_usual_ones() -> None:
    (found,) = warnings(liver(6))
    low, high = found.usual
    assert found.words == f"{found.value:.1f} mL instead of {low:.0f} to {high:.0f} mL"
    assert found.value < low < 33.5 < high
    assert voxel_at(found) == MIDDLE


def test_nothing_is_said_of_what_the_images_edge_cuts() -> None:
    labels = liver(10, (5, 22, 24))
    assert shapes_of(labels, GRID, SCHEMA)["liver"].is_cut
    assert warnings(labels) == []
    assert warnings(np.moveaxis(labels, 0, 2), grid=geometry_of((44, 48, 40), 2.0)) == []


def test_a_structure_among_ignored_voxels_is_no_example() -> None:
    labels = liver()
    labels[20, 22, 34] = SCHEMA.ignore_value
    assert not shapes_of(labels, GRID, SCHEMA)["liver"].is_cut
    labels[ball(SHAPE, MIDDLE, 11) & (labels == 0)] = SCHEMA.ignore_value
    assert shapes_of(labels, GRID, SCHEMA)["liver"].is_cut


def test_seven_labels_do_not_say_what_is_usual_and_cut_ones_do_not_count() -> None:
    whole = Shape(30.0, 1, 0.9, False)
    assert usual_shapes({"liver": [whole] * 7}) == {}
    assert usual_shapes({"liver": [whole] * 7 + [replace(whole, is_cut=True)] * 5}) == {}
    assert usual_shapes({"liver": [whole] * 8, "spleen": [whole]})["liver"].labels == 8


def test_nothing_is_said_of_a_structure_without_a_reference() -> None:
    labels = np.where(liver() == LIVER, SPLEEN, 0).astype(np.uint8)
    labels[ball(SHAPE, (6, 6, 7), 3)] = SPLEEN
    assert warnings(labels) == []


def test_what_often_has_several_pieces_may_have_them() -> None:
    shapes = [Shape(30.0, pieces, 0.9, False) for pieces in (2, 3, 4, 2, 3, 4, 3, 3)]
    (reference,) = usual_shapes({"liver": shapes}).values()
    assert reference.pieces == (0, 2, 4, 2)
    low, high = usual_range(reference, ShapeFeature.PIECES)
    assert low <= 2 < 4 <= high < 8
    told = ShapeWarning("liver", ShapeFeature.PIECES, 9.0, (low, high), (0, 0, 0))
    assert told.words == f"nine pieces instead of {low:.0f} to {high:.0f}"


def test_more_labels_narrow_what_is_usual() -> None:
    few = [Shape(30.0 * factor, 1, 0.9, False) for factor in (0.8, 0.9, 1, 1.1) * 2]
    wide, narrow = (
        usual_range(usual_shapes({"liver": shapes})["liver"], ShapeFeature.VOLUME) for shapes in (few, few * 10)
    )
    assert wide[0] < narrow[0] < 30 < narrow[1] < wide[1]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (3.0, 1.5, 2.0)])
def test_volume_and_place_are_in_millimetres_on_any_grid(spacing: tuple[float, float, float]) -> None:
    grid = phantom_geometry(spacing, shape_kji=(30, 40, 50), direction_ras=[[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    labels = np.zeros(grid.shape_kji, np.uint8)
    labels[5:25, 5:25, 5:25] = LIVER
    labels[10:20, 30:36, 35:45] = LIVER
    (shape,) = shapes_of(labels, grid, SCHEMA).values()
    assert shape.ml == pytest.approx((8000 + 600) * np.prod(spacing) / 1000)
    found = next(w for w in warnings(labels, grid=grid) if w.feature is ShapeFeature.PIECES)
    assert np.abs(np.subtract(voxel_at(found, grid), (14.5, 32.5, 39.5))).max() <= 0.5


def test_flat_and_thin_structures_have_a_solidity() -> None:
    for part in (np.s_[10, 10:20, 10:20], np.s_[10, 10, 10:20], np.s_[10:12, 10, 10:13]):
        labels = np.zeros(SHAPE, np.uint8)
        labels[part] = LIVER
        grid = geometry_of(SHAPE, 5.0)
        assert 0.5 < shapes_of(labels, grid, SCHEMA)["liver"].solidity <= 1
        assert warnings(labels, grid=grid)


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (6, 7, 8), elements=st.integers(0, len(SCHEMA) + 1)))
def test_any_label_map_has_shapes(labels: LabelMap) -> None:
    grid = geometry_of((6, 7, 8), 6.0)
    for name, shape in shapes_of(labels, grid, SCHEMA).items():
        assert 0 < shape.solidity <= 1
        assert shape.ml <= (labels == SCHEMA.named(name).value).sum() * 0.216 + 1e-9
    reference = dict.fromkeys(SCHEMA.names, usual()["liver"])
    inner = np.zeros((8, 9, 10), np.uint8)
    inner[1:-1, 1:-1, 1:-1] = labels
    for warning in warnings(inner, reference, geometry_of(inner.shape, 6.0)):
        assert not warning.usual[0] <= warning.value <= warning.usual[1]


def test_reference_and_warnings_come_back_from_json() -> None:
    reference = usual()
    assert from_json(dict[str, UsualShape], json.loads(json.dumps(to_json(reference))), complete=True) == reference
    found = warnings(liver(6))
    assert from_json(tuple[ShapeWarning, ...], json.loads(json.dumps(to_json(found))), complete=True) == tuple(found)


@pytest.mark.parametrize(
    ("key", "value"),
    [("labels", 7), ("log_ml", [1e9, 1]), ("log_ml", [3, -1]), ("solidity", [2, 0]), ("pieces", [3]), ("pieces", [])],
)
def test_a_reference_that_cannot_be_is_refused(key: str, value: object) -> None:
    with pytest.raises(WrongField):
        from_json(dict[str, UsualShape], {"liver": {**to_json(usual()["liver"]), key: value}}, complete=True)

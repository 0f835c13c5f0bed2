"""The features behind an answer: which part of an image a network looks at for a box, and when they are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finetuned import piece
from nnunet_models import make_model
from standin import piece_of_ct, volume_of, write_standin

from activeseg.core.errors import ModelError
from activeseg.core.geometry import Geometry, box_on, index_map
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.volume import Volume
from activeseg.models import open_model
from activeseg.segmenters.nnunet import ensemble
from activeseg.segmenters.nnunet.case import READERS
from activeseg.segmenters.nnunet.features import around, patch_around
from activeseg.segmenters.nnunet.network import Network
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.segmenter import TotalSegmentatorSegmenter

QUICK = Settings(device="cpu", threads=1)


def numbered(shape_kji: tuple[int, int, int]) -> Volume:
    """An oblique image with unequal voxels, in each of which is its own number."""
    turn = np.array([[0.0, -0.8, 0.6], [1.0, 0.0, 0.0], [0.0, 0.6, 0.8]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array([0.7, -0.9, 4.0])
    matrix[:3, 3] = (12.0, -40.0, 7.0)
    return Volume(np.arange(np.prod(shape_kji)).reshape(shape_kji), Geometry.from_ijk_to_ras(matrix, shape_kji))


@pytest.mark.parametrize("transpose", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("reader", sorted(READERS))
def test_what_lies_around_a_box_stays_where_it_is(tmp_path: Path, reader: str, transpose: tuple[int, ...]):
    folder = make_model(tmp_path / "model", {"background": 0, "one": 1}, (4, 2, 2), (8, 16, 16), transpose=transpose)
    network = Network.load(folder)
    image, box = numbered((30, 70, 60)), ((10, 14), (30, 36), (20, 25))
    part = around(READERS[reader](image), image.geometry, box, network)
    inside = box_on(box, image.geometry, part.geometry)
    assert all(low > 0 and high < n for (low, high), n in zip(inside, part.array.shape, strict=True))
    assert part.array.size < image.array.size / 4
    matrix, shift = index_map(part.geometry, image.geometry)
    at = np.rint(matrix @ np.indices(part.array.shape).reshape(3, -1) + shift[:, None]).astype(int)
    assert np.array_equal(image.array[tuple(at)], part.array.ravel())


def test_a_patch_at_the_edge_of_the_image_is_moved_into_it():
    geometry = Geometry((40, 50, 60), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert patch_around(((0, 4), (46, 50), (20, 24)), geometry, (32, 32, 32)) == ((0, 16), (34, 50), (14, 30))


def test_a_box_larger_than_a_patch_gets_a_margin_and_an_image_smaller_than_one_is_taken_whole():
    geometry = Geometry((40, 50, 60), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert patch_around(((10, 30), (20, 24), (20, 24)), geometry, (32, 200, 32)) == ((8, 32), (0, 50), (14, 30))


def test_features_are_kept_only_when_they_are_asked_for_and_without_them_the_answer_is_the_same():
    demo, ct = open_model("demo"), piece(0).ct
    plain = demo.segment({"CT": ct}, QUICK, Progress())
    kept = demo.segment({"CT": ct}, replace(QUICK, keep_features=True), Progress())
    assert not plain.grid.features
    (part,) = kept.grid.features
    assert len(part.features) == len(kept.grid.members) == 4
    assert part.geometry.same_grid(kept.grid.geometry)
    assert np.array_equal(part.values, np.arange(len(demo.schema) + 1))
    assert np.array_equal(plain.labels, kept.labels)
    assert np.array_equal(plain.grid.entropy, kept.grid.entropy)


def test_structures_that_were_not_asked_for_are_background_among_the_features_too():
    demo = open_model("demo")
    chosen = demo.schema.names[3]
    votes = demo.evidence({"CT": piece(0).ct}, None, replace(QUICK, members=1, structures=(chosen,)), Progress())
    assert votes.features[0].values.tolist() == [0, 0, 0, 0, 4, *[0] * (len(demo.schema) - 4)]


def test_views_do_not_count_among_the_features():
    votes = open_model("demo").evidence({"CT": piece(0).ct}, None, replace(QUICK, members=6), Progress())
    assert len(votes.members) == len(votes.features[0].features) == 4


def test_a_run_that_would_take_more_memory_keeps_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ensemble, "KEPT_FEATURES", 1000)
    kept = open_model("demo").segment({"CT": piece(0).ct}, replace(QUICK, keep_features=True), Progress())
    assert not kept.grid.features


def test_an_exact_run_keeps_none_but_a_box_of_it_has_them():
    demo, settings = open_model("demo"), replace(QUICK, mode=Mode.EXACT, members=1, keep_features=True)
    assert not demo.segment({"CT": piece(0).ct}, settings, Progress()).grid.features
    assert demo.evidence({"CT": piece(0).ct}, ((4, 8), (4, 8), (4, 8)), settings, Progress()).features


def test_a_model_of_regions_has_votes_and_no_features(tmp_path: Path):
    labels = {"background": 0, "whole": [1, 2], "part": 2}
    folder = make_model(tmp_path / "model", labels, regions_class_order=(1, 2))
    votes = open_model(f"nnunet:{folder}").evidence({"CT": piece(0).ct}, None, QUICK, Progress())
    assert not votes.features
    assert votes.votes


@pytest.fixture(scope="module")
def five_parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[TotalSegmentatorSegmenter, Volume]:
    """The task 'total' with a stand-in for each of its part models, and a piece of a CT."""
    folder = tmp_path_factory.mktemp("home")
    segmenter = TotalSegmentatorSegmenter("total", UserHome(folder, folder / "weights"))
    image = piece_of_ct((slice(38, 62), slice(36, 60), slice(2, 26)), smooth=1.5)
    for part in segmenter.task.parts():
        windows = {name: (0.0, 60.0) for name in ("spleen", "heart") if name in part.classes.values()}
        write_standin(segmenter.user, part, windows or {next(iter(part.classes.values())): (180.0, 3000.0)}, image)
    return segmenter, volume_of(image)


def test_only_the_part_models_that_know_a_structure_are_asked(
    five_parts: tuple[TotalSegmentatorSegmenter, Volume],
) -> None:
    segmenter, ct = five_parts
    box = ((8, 14), (8, 14), (8, 14))
    votes = segmenter.evidence({"CT": ct}, box, QUICK, Progress(), structures=("spleen",))
    (part,) = votes.features
    spleen = segmenter.schema.named("spleen").value
    assert spleen in part.values
    assert segmenter.schema.named("heart").value not in part.values
    everything = segmenter.evidence({"CT": ct}, box, QUICK, Progress())
    known = np.concatenate([features.values for features in everything.features])
    assert len(everything.features) == 5
    assert sorted(known[known > 0].tolist()) == [label.value for label in segmenter.schema.labels]


def test_a_task_of_several_part_models_keeps_no_features_of_a_run(
    five_parts: tuple[TotalSegmentatorSegmenter, Volume],
) -> None:
    segmenter, ct = five_parts
    assert not segmenter.segment({"CT": ct}, replace(QUICK, keep_features=True), Progress()).grid.features


def test_weights_that_are_not_here_are_not_fetched_for_a_click(tmp_path: Path) -> None:
    segmenter = TotalSegmentatorSegmenter("total-fast", UserHome(tmp_path, tmp_path / "weights"))
    with pytest.raises(ModelError, match="not on this computer"):
        segmenter.evidence({"CT": volume_of(piece_of_ct((slice(0, 24),) * 3))}, None, QUICK, Progress())

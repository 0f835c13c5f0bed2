"""What every segmenter must do, whatever is behind it: a class for each of them inherits these tests."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from activeseg.core.errors import Cancelled, InputError
from activeseg.core.geometry import index_map
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Segmenter, Settings
from activeseg.core.volume import Volume
from activeseg.core.votes import MemberKind, Segmented
from activeseg.models import open_model

QUICK = Settings(device="cpu", members=1, threads=1)


class SegmenterTests:
    """A subclass has the class-scoped fixtures ``segmenter`` and ``ct``, and says whether it has a network."""

    HAS_NETWORK = True
    SAME_IN_A_BOX = 0.9
    """Part of the labels that a network gives alike when it sees only what is around a box."""

    @pytest.fixture(scope="class")
    @classmethod
    def segmenter(cls) -> Segmenter:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def ct(cls) -> Volume:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def result(cls, segmenter: Segmenter, ct: Volume) -> Segmented:
        return cls.run(segmenter, ct, QUICK)

    @classmethod
    def run(cls, segmenter: Segmenter, ct: Volume, settings: Settings, progress: Progress | None = None) -> Segmented:
        return segmenter.segment({segmenter.channels[0]: ct}, settings, progress or Progress())

    def test_its_structures_are_numbered_from_1(self, segmenter: Segmenter) -> None:
        assert segmenter.name
        assert [label.value for label in segmenter.schema.labels] == list(range(1, len(segmenter.schema) + 1))

    def test_labels_lie_on_the_image_and_are_those_of_the_schema(self, result: Segmented, ct: Volume) -> None:
        assert result.labels.shape == ct.geometry.shape_kji
        assert result.labels.dtype in (np.uint8, np.uint16)
        assert set(np.unique(result.labels)) <= {0, *(label.value for label in result.schema.labels)}
        assert result.labels.any()

    def test_every_member_votes_on_one_grid_and_trained_ones_come_first(self, result: Segmented) -> None:
        grid = result.grid
        assert len(grid.members) == len(grid.votes) >= 1
        assert grid.members[0].kind is MemberKind.TRAINED
        assert {vote.shape for vote in grid.votes} == {grid.geometry.shape_kji} == {grid.labels.shape}
        measured = grid.entropy[~np.isnan(grid.entropy)]
        assert measured.min() >= 0
        assert measured.max() <= 1

    def test_a_chosen_structure_is_the_only_one_that_is_decided(self, segmenter: Segmenter, ct: Volume) -> None:
        chosen = segmenter.schema.names[0]
        result = self.run(segmenter, ct, replace(QUICK, structures=(chosen,)))
        assert result.decided == (chosen,)
        assert set(np.unique(result.labels)) <= {0, segmenter.schema.named(chosen).value}

    def test_the_same_again_gives_the_same(self, segmenter: Segmenter, ct: Volume, result: Segmented) -> None:
        before = ct.array.copy()
        assert np.array_equal(self.run(segmenter, ct, QUICK).labels, result.labels)
        assert np.array_equal(ct.array, before)

    def test_settings_of_one_run_are_not_those_of_the_next(self, segmenter: Segmenter, ct: Volume) -> None:
        import torch

        before = torch.get_num_threads()
        self.run(segmenter, ct, replace(QUICK, threads=before + 1))
        assert torch.get_num_threads() == before

    def test_an_unknown_structure_is_refused_before_any_work(self, segmenter: Segmenter) -> None:
        with pytest.raises(InputError, match="no such"):
            segmenter.check(replace(QUICK, structures=("no such",)))

    def test_a_missing_image_is_named(self, segmenter: Segmenter, ct: Volume) -> None:
        with pytest.raises(InputError, match=segmenter.channels[0]):
            segmenter.segment({"other": ct}, QUICK, Progress())

    def test_it_stops_when_it_is_cancelled_and_leaves_nothing(
        self, segmenter: Segmenter, ct: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with pytest.raises(Cancelled):
            self.run(segmenter, ct, QUICK, Progress(cancelled=lambda: True))
        assert not list(tmp_path.iterdir())

    def test_what_it_says_of_its_networks_goes_together(self, segmenter: Segmenter, result: Segmented) -> None:
        sizes = segmenter.networks(QUICK)
        assert bool(sizes) == self.HAS_NETWORK == (segmenter.trainable is not None) == (segmenter.warm_bytes > 0)
        assert all(size.folds > 0 and size.weight_bytes > 0 and size.heads > 1 for size in sizes)
        assert all(path.is_file() for path in segmenter.files)
        for network in segmenter.trainable.networks if segmenter.trainable else ():
            assert (network.folder / "plans.json").is_file()
            assert set(network.values) <= set(segmenter.schema.names)
        assert segmenter.overhead(QUICK).held > 0

    def test_what_it_says_in_a_box_is_about_what_it_says_of_the_whole_image(
        self, segmenter: Segmenter, ct: Volume, result: Segmented
    ) -> None:
        k, j, i = ((length // 4, length - length // 4) for length in ct.geometry.shape_kji)
        votes = segmenter.evidence({segmenter.channels[0]: ct}, (k, j, i), QUICK, Progress())
        matrix, shift = index_map(ct.geometry, votes.geometry)
        inside = np.indices((k[1] - k[0], j[1] - j[0], i[1] - i[0])).reshape(3, -1) + np.array([[k[0]], [j[0]], [i[0]]])
        at = np.rint(matrix @ inside + shift[:, None]).astype(int)
        assert (at >= 0).all()
        assert (at < np.array(votes.geometry.shape_kji)[:, None]).all()
        there = result.labels[tuple(inside)]
        assert (votes.labels[tuple(at)] == there).mean() > self.SAME_IN_A_BOX

    def test_its_features_and_heads_give_its_labels(self, segmenter: Segmenter, ct: Volume) -> None:
        votes = segmenter.evidence({segmenter.channels[0]: ct}, None, QUICK, Progress())
        assert bool(votes.features) == self.HAS_NETWORK
        if not votes.features:
            return
        merged = np.zeros(votes.labels.shape, votes.labels.dtype)
        for part in votes.features:
            assert len(part.features) == len(part.weights) == len(part.biases) == 1
            logits = np.einsum("cf,fkji->ckji", part.weights[0], part.features[0].astype(np.float32))
            labels = part.values[(logits + part.biases[0][:, None, None, None]).argmax(0)]
            matrix, shift = index_map(part.geometry, votes.geometry)
            assert np.allclose(matrix, np.eye(3), atol=1e-6)
            where = tuple(slice(a, a + n) for a, n in zip(np.rint(shift).astype(int), labels.shape, strict=True))
            np.copyto(merged[where], labels.astype(merged.dtype), where=labels != 0)
        assert (merged == votes.labels).mean() > 0.999

    def test_the_coarser_model_knows_the_same_structures(self, segmenter: Segmenter) -> None:
        if segmenter.coarser is not None:
            assert open_model(segmenter.coarser).schema == segmenter.schema

"""Members vote: the measures are those of their definition, whatever way the sums were kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nnunet_models import make_model

from activeseg.core.errors import Cancelled
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.votes import Member, MemberKind
from activeseg.segmenters.nnunet import ensemble
from activeseg.segmenters.nnunet.augmented_views import standard_views
from activeseg.segmenters.nnunet.decision import Decision
from activeseg.segmenters.nnunet.network import Network
from activeseg.segmenters.nnunet.sweep import sweep_exact, sweep_fast

LABELS = {"background": 0, "liver": 1, "spleen": 2, "aorta": 3}
MANY = {"background": 0, **{f"rib {n}": n for n in range(1, 40)}}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3}
SHAPE = (1, 21, 30, 27)


def image() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn((1, 1, 6, 6, 6), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, SHAPE[1:], mode="trilinear")[0]
    return smooth + 0.1 * torch.randn(SHAPE, generator=generator)


def loaded(folder: Path, labels: dict[str, object], folds: int, **more: object) -> Network:
    model = make_model(folder / "model", labels, folds=tuple(range(folds)), **more)  # type: ignore[arg-type]
    return Network.load(model)


def member_logits(network: Network, data: torch.Tensor) -> list[np.ndarray]:
    """Each fold's logits (C, z, y, x), blended as nnU-Net does, in float32."""
    found = []
    for fold in range(len(network.folds)):
        network.use_fold(fold)
        slabs = [slab.values for slab in sweep_fast(network, data, False, False, Progress())]
        found.append(torch.cat(slabs, 1).double().numpy())
    return found


def softmax_measures(logits: list[np.ndarray]) -> dict[str, np.ndarray]:
    exps = [np.exp(x - x.max(axis=0)) for x in logits]
    p = np.stack([e / e.sum(axis=0) for e in exps])
    mean, members, classes = p.mean(axis=0), len(p), p.shape[1]
    entropy = -(mean * np.log(mean)).sum(axis=0)
    most = min(members, classes)
    each = -(p * np.log(p)).sum(axis=1).mean(axis=0)
    return {
        "entropy": entropy / np.log(classes),
        "variance": ((p - mean) ** 2).sum(axis=1).mean(axis=0) / (1 - 1 / most),
        "mutual_information": (entropy - each) / np.log(most),
    }


def sigmoid_measures(logits: list[np.ndarray]) -> dict[str, np.ndarray]:
    p = 1 / (1 + np.exp(-np.stack(logits)))
    mean = p.mean(axis=0)

    def bits(q: np.ndarray) -> np.ndarray:
        return -(q * np.log(q) + (1 - q) * np.log(1 - q))

    return {
        "entropy": bits(mean).mean(axis=0) / np.log(2),
        "variance": ((p - mean) ** 2).mean(axis=0).mean(axis=0) / 0.25,
        "mutual_information": (bits(mean) - bits(p).mean(axis=0)).mean(axis=0) / np.log(2),
    }


@pytest.mark.parametrize(
    ("labels", "order", "kept"),
    [(LABELS, None, "logits"), (MANY, None, "features"), (REGIONS, (1, 2, 3), "logits")],
    ids=["few classes", "many classes", "regions"],
)
def test_measures_are_those_of_the_definition(
    labels: dict[str, object], order: tuple[int, ...] | None, kept: str, tmp_path: Path
) -> None:
    network = loaded(tmp_path, labels, 4, regions_class_order=order)
    network.bf16_pays = False  # float32, to compare closely
    result = ensemble.run(network, image(), Settings(device="cpu"), Progress())
    assert kept in result.arithmetic
    logits = member_logits(network, image())
    expected = softmax_measures(logits) if order is None else sigmoid_measures(logits)
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(result, name), values, atol=2e-3)
        assert getattr(result, name).max() <= 1
    mean = np.mean(logits, axis=0)
    if order is None:
        assert np.mean(result.labels == mean.argmax(axis=0)) > 0.999
        for vote, own in zip(result.votes, logits, strict=True):
            assert np.mean(vote == own.argmax(axis=0)) > 0.999
    assert result.logits is not None
    for index in range(result.logits.classes):
        np.testing.assert_allclose(result.logits.class_logits(index), mean[index], atol=0.02)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(
    ("labels", "order"),
    [(LABELS, None), (MANY, None), (REGIONS, (1, 2, 3))],
    ids=["few classes", "many classes", "regions"],
)
def test_one_member_gives_entropy_and_no_variance(
    mode: Mode, labels: dict[str, object], order: tuple[int, ...] | None, tmp_path: Path
) -> None:
    network = loaded(tmp_path, labels, 1, regions_class_order=order)
    network.bf16_pays = False
    result = ensemble.run(network, image(), Settings(device="cpu", mode=mode), Progress(), keep_logits=False)
    if mode is Mode.EXACT:  # its float16 sums differ from float32 ones where tiles' weights are tiny
        logits = sweep_exact(network, image(), False, Progress()).double().numpy()
    else:
        (logits,) = member_logits(network, image())
    measures = softmax_measures if order is None else sigmoid_measures
    np.testing.assert_allclose(result.entropy, measures([logits, logits])["entropy"], atol=2e-3)
    assert result.entropy_bound == pytest.approx(np.log(2 if order else len(labels)))
    assert np.array_equal(result.votes[0], result.labels)
    if order is None:
        assert np.mean(result.labels == logits.argmax(axis=0)) > 0.999
    assert result.variance is None
    assert result.mutual_information is None
    assert result.members == (Member("fold 0", MemberKind.TRAINED),)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_of_equal_logits_the_first_class_wins(dtype: torch.dtype) -> None:
    logits = torch.zeros((5, 2, 3), dtype=dtype)
    logits[[2, 4]] = 1
    assert (Decision(5, None, np.uint8).labels(logits) == 2).all()


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("labels", [LABELS, MANY], ids=["few classes", "many classes"])
def test_view_does_not_vote_where_it_does_not_reach(mode: Mode, labels: dict[str, object], tmp_path: Path) -> None:
    network = loaded(tmp_path, labels, 1)
    network.bf16_pays = False
    result = ensemble.run(network, image(), Settings(device="cpu", mode=mode, members=2), Progress())
    assert [m.name for m in result.members] == ["fold 0", "shift"]
    assert result.voting is not None
    assert result.variance is not None
    alone = result.voting == 1
    assert 0 < alone.mean() < 0.5
    assert np.array_equal(np.isnan(result.variance), alone)
    assert np.isfinite(result.entropy).all()


@pytest.mark.parametrize("mode", list(Mode))
def test_label_does_not_depend_on_the_views(mode: Mode, tmp_path: Path) -> None:
    network = loaded(tmp_path, MANY, 2)
    network.bf16_pays = False
    alone = ensemble.run(network, image(), Settings(device="cpu", mode=mode), Progress())
    seen = ensemble.run(network, image(), Settings(device="cpu", mode=mode, members=8), Progress())
    assert np.array_equal(alone.labels, seen.labels)
    assert len(seen.votes) == 8


def test_fewer_members_than_folds_uses_the_first_ones(tmp_path: Path) -> None:
    network = loaded(tmp_path, LABELS, 3)
    result = ensemble.run(network, image(), Settings(device="cpu", members=2), Progress())
    assert [m.name for m in result.members] == ["fold 0", "fold 1"]


@pytest.mark.parametrize("view", [v for v in standard_views(8) if v.moves], ids=lambda v: v.name)
def test_what_a_view_moved_comes_back_to_its_place(view: object) -> None:
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in (24, 26, 28)), indexing="ij")
    field = torch.from_numpy(np.stack([np.sin(z / 5), np.cos(y / 6), np.sin(x / 7 + y / 9)]))
    returned = view.bring_back(view.look(field))  # type: ignore[attr-defined]
    reach = view.reach((24, 26, 28))  # type: ignore[attr-defined]
    assert reach.float().mean() > 0.5
    assert (returned - field)[:, reach].abs().max() < 0.05


def test_cancel_is_asked_before_every_layer_and_leaves_the_network_usable(tmp_path: Path) -> None:
    network = loaded(tmp_path, LABELS, 2)
    settings = Settings(device="cpu")
    expected = ensemble.run(network, image(), settings, Progress()).labels
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked == 40

    with pytest.raises(Cancelled):
        ensemble.run(network, image(), settings, Progress(cancelled=cancelled))
    layers = sum(1 for m in network.predictor.network.modules() if not list(m.children()))
    assert layers > 5
    assert not any(m._forward_pre_hooks for m in network.predictor.network.modules())
    assert np.array_equal(ensemble.run(network, image(), settings, Progress()).labels, expected)


def test_progress_never_goes_back(tmp_path: Path) -> None:
    network = loaded(tmp_path, LABELS, 3)
    seen: list[float] = []
    progress = Progress(lambda stage, fraction, text: seen.append(fraction) if stage == "network" else None)
    ensemble.run(network, image(), Settings(device="cpu"), progress)
    assert len(seen) > 6
    assert seen == sorted(seen)

"""Many members, one answer: the label, the votes and the uncertainty on the network's grid.

Trained members decide the label (argmax of their mean logits, as nnU-Net does); views only vote for uncertainty and
alternatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.votes import Member, MemberKind
from activeseg.segmenters.nnunet.accumulators import (
    SLAB,
    Accumulator,
    Features,
    FloatMap,
    Guest,
    Lone,
    Maps,
    Moments,
    Opinion,
    Sums,
)
from activeseg.segmenters.nnunet.augmented_views import View, standard_views
from activeseg.segmenters.nnunet.decision import Decision, DenseLogits, FeatureLogits, MeanLogits
from activeseg.segmenters.nnunet.network import Network
from activeseg.segmenters.nnunet.sweep import out_of_memory_is_an_error, sweep_exact, sweep_fast

KEPT_FEATURES = 192 << 20
"""Bytes up to which the trained members' features are kept after a run: about a tenth of what a segmentation takes
(0.9 GiB for a small CT, 3.1 GiB for 512 x 512 x 400 by a network of 3 mm, ``Testing/benchmarks/memory.py``). More is
computed again where it is needed."""


@dataclass(frozen=True)
class EnsembleResult:
    """What the members said on the network's grid, arrays (z, y, x) in nnU-Net's axis order.

    ``labels`` and ``votes`` hold the model's own label values; the measures are divided by their maximum, which of the
    entropy is ``entropy_bound`` nats. ``features`` are those of the trained members, where they were to be kept.
    """

    labels: npt.NDArray[Any]
    members: tuple[Member, ...]
    votes: tuple[npt.NDArray[Any], ...]
    entropy: FloatMap
    variance: FloatMap | None
    mutual_information: FloatMap | None
    voting: npt.NDArray[np.uint8] | None
    logits: MeanLogits | None
    arithmetic: str
    entropy_bound: float
    features: FeatureLogits | None = None


def plan_members(network: Network, settings: Settings) -> tuple[tuple[int, ...], tuple[View, ...]]:
    """Which trained members (indices of folds) and views vote."""
    trained = len(network.folds)
    count = settings.member_count(trained, network.device.type != "cpu")
    views = standard_views(max(count - trained, 0), flat=len(network.patch) == 2)
    return tuple(range(min(count, trained))), views


def run(
    network: Network,
    data: torch.Tensor,
    settings: Settings,
    progress: Progress,
    keep_logits: bool = True,
    guests: Sequence[Guest] = (),
    all_features: bool = False,
) -> EnsembleResult:
    """Let all members vote on one preprocessed image.

    Parameters
    ----------
    data
        (c, z, y, x) float32, as nnU-Net's preprocessor gives it.
    keep_logits
        Keep the mean logits for resampling (not needed when the label is taken on this grid).
    guests
        Further members, which like views do not decide the label.
    all_features
        Keep the trained members' features whatever they take, in fast mode; ``Settings.keep_features`` keeps them where
        that is little more than the run takes anyway.

    Raises
    ------
    DeviceError
        Out of memory.
    Cancelled
        The user's wish.
    """
    folds, views = plan_members(network, settings)
    members = (*(Member(f"fold {network.folds[i]}", MemberKind.TRAINED) for i in folds), *(v.member for v in views))
    shape = tuple(data.shape[1:])
    maps = Maps(Decision.of(network), shape, len(members) + len(guests), any(view.moves for view in views))
    call = _Call(
        network, data, settings, progress, keep_logits, tuple(guests), all_features, folds, views, members, maps
    )
    with out_of_memory_is_an_error(network), torch.inference_mode():
        return _run_exact(call) if settings.mode is Mode.EXACT else _run_fast(call)


@dataclass(frozen=True)
class _Call:
    """One run: what was asked for, who votes, and the maps that are filled."""

    network: Network
    data: torch.Tensor
    settings: Settings
    progress: Progress
    keep_logits: bool
    guests: tuple[Guest, ...]
    all_features: bool
    folds: tuple[int, ...]
    views: tuple[View, ...]
    members: tuple[Member, ...]
    maps: Maps

    def passes(self) -> Iterator[tuple[int, View | None, Progress]]:
        """Fold, view and progress of each member; views use the trained members in turn."""
        folds = [*self.folds, *(self.folds[number % len(self.folds)] for number in range(len(self.views)))]
        views = [*(None for _ in self.folds), *self.views]
        for number, (fold, view) in enumerate(zip(folds, views, strict=True)):
            yield fold, view, self.progress.part(number / len(folds), (number + 1) / len(folds))

    def result(
        self,
        votes: Sequence[npt.NDArray[Any]],
        logits: MeanLogits | None,
        arithmetic: str,
        mirror: bool,
        features: FeatureLogits | None = None,
    ) -> EnsembleResult:
        maps = self.maps
        return EnsembleResult(
            maps.labels,
            self.members + tuple(guest.member for guest in self.guests),
            (*votes, *(guest.labels.astype(maps.labels.dtype) for guest in self.guests)),
            maps.entropy,
            maps.variance,
            maps.information,
            maps.voting,
            logits,
            arithmetic + (", mirrored" if mirror else ""),
            maps.decision.maxima(np.ones(1))[0],
            features,
        )


def _run_exact(call: _Call) -> EnsembleResult:
    """nnU-Net's arithmetic for the trained members: float16 logits of each, float16 sum and mean."""
    network, maps, decision = call.network, call.maps, call.maps.decision
    mirror = network.mirror_axes is not None and call.settings.mirroring is not False
    votes: list[npt.NDArray[Any]] = []
    sums: dict[int, Moments] = {}
    mean, trained = torch.empty(0), 0
    for fold, view, progress in call.passes():
        network.use_fold(fold)
        seen = call.data if view is None else view.look(call.data)
        logits = sweep_exact(network, seen, mirror, progress, call.settings.offload).cpu()
        reach = None if view is None else view.reach(maps.shape)
        if view is not None:
            logits = view.bring_back(logits)
        if maps.members == 1:
            for z in range(maps.shape[0]):
                maps.fill_lone(z, logits[:, z])
            votes.append(maps.labels.copy())
        else:
            votes.append(_vote(decision, logits))
            for z in range(0, maps.shape[0], SLAB):
                heard = Moments.of(decision, logits[:, z : z + SLAB], None if reach is None else reach[z : z + SLAB])
                if z in sums:
                    sums[z].add(heard)
                else:
                    sums[z] = heard
        if view is None:
            mean = mean.add_(logits) if trained else logits
            trained += 1
    if trained > 1:
        mean /= trained
    for z in list(sums):
        moments, planes = sums.pop(z), slice(z, z + SLAB)
        for guest in call.guests:
            moments.add(Moments.of(decision, guest.logits(planes, decision.classes)))
        maps.fill(planes, moments, decision.labels(mean[:, planes]))
    halves = network.device.type == "cuda" and network.autocast
    arithmetic = f"exact: float16 sums, {'autocast' if halves else 'float32'} network"
    return call.result(votes, DenseLogits(mean) if call.keep_logits else None, arithmetic, mirror)


def _vote(decision: Decision, logits: torch.Tensor) -> npt.NDArray[Any]:
    return np.concatenate([decision.labels(logits[:, z : z + SLAB]) for z in range(0, logits.shape[1], SLAB)])


def _run_fast(call: _Call) -> EnsembleResult:
    """The same within a tolerance: half precision where it is quicker, float32 sums, the head applied once."""
    network, decision = call.network, call.maps.decision
    mirror = bool(call.settings.mirroring) and network.mirror_axes is not None
    wide = int(network.head_weights()[0].shape[1]) if network.head is not None else 0
    softmax = wide > 0 and decision.regions_class_order is None
    trained = len(call.folds)
    keep = softmax and call.settings.keep_features and wide * 2 * trained * call.maps.voxels <= KEPT_FEATURES
    as_features = False
    accumulator: Accumulator
    if call.all_features and softmax:
        accumulator, as_features = Features(call.maps, call.keep_logits, True), True
    elif call.maps.members == 1 and not call.keep_logits:
        accumulator = Lone(call.maps, keep and wide < decision.classes)  # only those that are swept anyway
    elif network.head is not None and wide * 2 * len(call.members) < decision.classes * 8:
        accumulator, as_features = Features(call.maps, call.keep_logits, keep), True
    else:
        accumulator = Sums(call.maps, call.keep_logits)
    sweep_features = as_features or (network.head is not None and wide < decision.classes)
    for fold, view, progress in call.passes():
        network.use_fold(fold)
        seen = call.data if view is None else view.look(call.data)
        head = network.head_weights() if sweep_features else None
        slabs = sweep_fast(network, seen, sweep_features, mirror, progress, call.settings.offload)
        accumulator.add(Opinion(slabs, head, view))
    logits = accumulator.finish(call.guests, call.progress)
    precision = "float16" if network.device.type == "cuda" else "bfloat16" if network.bf16_pays else "float32"
    arithmetic = f"fast: {precision} network, blended {'features' if as_features else 'logits'}"
    return call.result(accumulator.votes, logits, arithmetic, mirror, accumulator.kept)

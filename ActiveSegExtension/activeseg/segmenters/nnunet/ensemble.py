"""Many members, one answer: the label, the votes and the uncertainty on the network's grid.

Trained members decide the label (argmax of their mean logits, as nnU-Net does); views only vote for uncertainty and
alternatives. No array of members x classes x voxels ever exists: each member is either kept as its blended decoder
features (F x 2 bytes a voxel, the heads are applied slab by slab at the end) or added to sums (C x 8 bytes a voxel),
whichever is less; a lone member is reduced slab by slab as the network's sweep delivers it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.votes import Member, MemberKind
from activeseg.segmenters.nnunet.augmented_views import View, standard_views
from activeseg.segmenters.nnunet.network import Network, Slab, out_of_memory_is_an_error, sweep_exact, sweep_fast

FloatMap = npt.NDArray[np.float32]
SLAB = 8
"""Planes that are turned into probabilities at a time: C x SLAB x Y x X floats, 60 MB for 118 classes at 256 x 256."""


class MeanLogits(Protocol):
    """The mean logits of the trained members, one class at a time."""

    @property
    def classes(self) -> int: ...

    def class_logits(self, index: int) -> npt.NDArray[Any]:
        """(z, y, x); float16 in exact mode (nnU-Net's own), float32 otherwise."""
        ...


@dataclass(frozen=True)
class DenseLogits:
    """Mean logits as one array (C, z, y, x)."""

    array: torch.Tensor

    @property
    def classes(self) -> int:
        return int(self.array.shape[0])

    def class_logits(self, index: int) -> npt.NDArray[Any]:
        return np.asarray(self.array[index].cpu().numpy())


@dataclass(frozen=True)
class FeatureLogits:
    """Mean logits as blended features (F, z, y, x) and heads, of each trained member."""

    features: Sequence[torch.Tensor]
    heads: Sequence[tuple[torch.Tensor, torch.Tensor]]

    @property
    def classes(self) -> int:
        return int(self.heads[0][0].shape[0])

    def class_logits(self, index: int) -> npt.NDArray[Any]:
        total: torch.Tensor | None = None
        for features, (weight, bias) in zip(self.features, self.heads, strict=True):
            out = torch.empty(features.shape[1:], dtype=torch.float32)
            for z in range(0, features.shape[1], 32):
                part = features[:, z : z + 32].float()
                row = weight[index : index + 1] @ part.flatten(1) + bias[index]
                out[z : z + 32] = row.reshape(part.shape[1:]).cpu()
            total = out if total is None else total + out
        assert total is not None
        return np.asarray((total / len(self.features)).numpy())


@dataclass(frozen=True)
class Guest:
    """An ensemble member from outside of this network, such as a model of another resolution: one label for each voxel.

    ``labels`` (z, y, x) holds the network's own label values on its grid. For softmax models only.
    """

    member: Member
    labels: npt.NDArray[Any]

    def logits(self, planes: slice, classes: int) -> torch.Tensor:
        """(C, z, y, x) whose softmax is the vote."""
        values = torch.from_numpy(self.labels[planes].astype(np.int64))
        return torch.nn.functional.one_hot(values, classes).movedim(-1, 0).float() * 100.0


@dataclass(frozen=True)
class EnsembleResult:
    """What the members said on the network's grid, arrays (z, y, x) in nnU-Net's axis order.

    ``labels`` and ``votes`` hold the model's own label values; the measures are divided by their maximum, which of the
    entropy is ``entropy_bound`` nats.
    """

    labels: npt.NDArray[Any]
    members: tuple[Member, ...]
    votes: tuple[npt.NDArray[Any], ...]
    entropy: FloatMap
    variance: FloatMap | None
    mutual_information: FloatMap | None
    voters: npt.NDArray[np.uint8] | None
    logits: MeanLogits | None
    arithmetic: str
    entropy_bound: float


@dataclass(frozen=True)
class Decision:
    """How logits become labels, as nnU-Net's LabelManager does it.

    ``regions_class_order`` is None for softmax models; otherwise the value that each sigmoid region writes, in order.
    """

    classes: int
    regions_class_order: tuple[int, ...] | None
    dtype: Any

    @classmethod
    def of(cls, network: Network) -> Decision:
        manager = network.predictor.label_manager
        order = tuple(int(v) for v in manager.regions_class_order) if manager.has_regions else None
        return cls(network.heads, order, np.uint8 if len(manager.all_labels) < 256 else np.uint16)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.softmax(logits, 0) if self.regions_class_order is None else torch.sigmoid(logits)

    def labels(self, logits: torch.Tensor) -> npt.NDArray[Any]:
        """Label values (z, y, x) of logits (C, z, y, x)."""
        if self.regions_class_order is None:
            return np.asarray(_first_maximum(logits).cpu().numpy().astype(self.dtype))
        above = torch.sigmoid(logits.float()) > 0.5
        found = torch.zeros(logits.shape[1:], dtype=torch.int32, device=logits.device)
        for index, value in enumerate(self.regions_class_order):
            found[above[index]] = value
        return np.asarray(found.cpu().numpy().astype(self.dtype))

    def entropy(self, p: torch.Tensor) -> torch.Tensor:
        """In nats; for regions the mean of the binary entropies."""
        if self.regions_class_order is None:
            terms: torch.Tensor = torch.special.entr(p)
            return terms.sum(0)
        both: torch.Tensor = torch.special.entr(p) + torch.special.entr(1 - p)
        return both.mean(0)

    def entropy_of_one(self, logits: torch.Tensor) -> torch.Tensor:
        """``entropy(probabilities(logits))`` of C logits of one plane (C, y, x), quicker and in less memory."""
        if self.regions_class_order is not None:
            return self.entropy(self.probabilities(logits))
        log_p = torch.log_softmax(logits, 0)
        return -log_p.exp().mul_(log_p).sum(0)

    def squares(self, p: torch.Tensor) -> torch.Tensor:
        """sum_c p^2; for regions the mean over regions, so that differences are mean variances."""
        return (p * p).sum(0) if self.regions_class_order is None else (p * p).mean(0)

    def maxima(self, voters: npt.NDArray[Any]) -> tuple[float, npt.NDArray[Any], npt.NDArray[Any]]:
        """Largest entropy, variance and mutual information for so many members."""
        if self.regions_class_order is not None:
            return float(np.log(2)), np.full(voters.shape, 0.25), np.full(voters.shape, np.log(2))
        most = np.minimum(np.maximum(voters, 2), self.classes)
        return float(np.log(self.classes)), 1.0 - 1.0 / most, np.log(most)


def _first_maximum(logits: torch.Tensor) -> torch.Tensor:
    """``logits.argmax(0)`` with the first class of equal ones, as torch has it on a CPU, in half the time.

    Where any is NaN, which equals nothing, it is the last class.
    """
    classes = len(logits)
    ranks = torch.arange(classes, 0, -1, dtype=torch.uint8 if classes < 256 else torch.int16, device=logits.device)
    best = (logits == logits.amax(0)) * ranks.reshape(-1, *[1] * (logits.ndim - 1))
    return classes - best.amax(0).clamp_min_(1)


@dataclass
class Moments:
    """Running sums over the members for some planes; all float32, (C, z, y, x) or (z, y, x)."""

    decision: Decision
    logits: torch.Tensor | None = None
    trained: int = 0
    p: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    squares: torch.Tensor | None = None
    voters: torch.Tensor | None = None

    def add(self, logits: torch.Tensor, trained: bool, reach: torch.Tensor | None) -> None:
        """Add one member's logits; ``reach`` (z, y, x) is where it votes (None: everywhere)."""
        logits = logits.float()
        p = self.decision.probabilities(logits)
        entropy, squares = self.decision.entropy(p), self.decision.squares(p)
        votes = torch.ones_like(entropy)
        if reach is not None:
            votes = reach.to(p)
            p, entropy, squares = p * votes, entropy * votes, squares * votes
        if trained:
            self.logits = logits.clone() if self.logits is None else self.logits.add_(logits)
            self.trained += 1
        if self.p is None:
            self.p, self.entropy, self.squares, self.voters = p, entropy, squares, votes
        else:
            assert self.entropy is not None
            assert self.squares is not None
            assert self.voters is not None
            self.p += p
            self.entropy += entropy
            self.squares += squares
            self.voters += votes


@dataclass
class _Maps:
    """The result's arrays, filled slab by slab."""

    decision: Decision
    shape: tuple[int, ...]
    members: int
    views_move: bool
    labels: npt.NDArray[Any] = field(init=False)
    entropy: FloatMap = field(init=False)
    variance: FloatMap | None = field(init=False)
    information: FloatMap | None = field(init=False)
    voters: npt.NDArray[np.uint8] | None = field(init=False)

    def __post_init__(self) -> None:
        several = self.members > 1
        self.labels = np.zeros(self.shape, self.decision.dtype)
        self.entropy = np.zeros(self.shape, np.float32)
        self.variance = np.zeros(self.shape, np.float32) if several else None
        self.information = np.zeros(self.shape, np.float32) if several else None
        self.voters = np.full(self.shape, self.members, np.uint8) if self.views_move else None

    def fill_lone(self, plane: int, logits: torch.Tensor) -> None:
        """One plane of a lone member's logits (C, y, x), few enough for the CPU's cache."""
        logits = logits.float()
        self.labels[plane] = self.decision.labels(logits)
        largest = self.decision.maxima(np.ones(1))[0]
        self.entropy[plane] = (self.decision.entropy_of_one(logits) / largest).clamp(0, 1).numpy()

    def fill(self, planes: slice, moments: Moments, labels: npt.NDArray[Any] | None = None) -> None:
        """Turn sums into measures for these planes; ``labels`` when they were decided elsewhere (exact mode)."""
        assert moments.p is not None
        assert moments.voters is not None
        assert moments.entropy is not None
        assert moments.squares is not None
        if labels is None:
            assert moments.logits is not None
            labels = self.decision.labels(moments.logits)
        self.labels[planes] = labels
        n = moments.voters
        mean = moments.p / n
        entropy = self.decision.entropy(mean)
        voters = n.cpu().numpy()
        most_entropy, most_variance, most_information = self.decision.maxima(voters)
        self.entropy[planes] = (entropy / most_entropy).clamp(0, 1).cpu().numpy()
        if self.variance is None or self.information is None:
            return
        variance = (moments.squares / n - self.decision.squares(mean)).clamp_min(0).cpu().numpy()
        information = (entropy - moments.entropy / n).clamp_min(0).cpu().numpy()
        alone = voters < 2  # no other member to disagree with: not computed
        self.variance[planes] = np.where(alone, np.nan, np.minimum(variance / most_variance, 1))
        self.information[planes] = np.where(alone, np.nan, np.minimum(information / most_information, 1))
        if self.voters is not None:
            self.voters[planes] = voters


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
) -> EnsembleResult:
    """Let all members vote on one preprocessed image.

    Parameters
    ----------
    data : (c, z, y, x) float32, as nnU-Net's preprocessor gives it
    keep_logits : keep the mean logits for resampling (not needed when the label is taken on this grid)
    guests : further members, which like views do not decide the label

    Raises
    ------
    DeviceError : out of memory. Cancelled.
    """
    folds, views = plan_members(network, settings)
    with out_of_memory_is_an_error(network), torch.inference_mode():
        if settings.mode is Mode.EXACT:
            return _run_exact(network, data, folds, views, settings, progress, keep_logits, guests)
        return _run_fast(network, data, folds, views, settings, progress, keep_logits, guests)


def _members(network: Network, folds: Sequence[int], views: Sequence[View]) -> tuple[Member, ...]:
    trained = tuple(Member(f"fold {network.folds[i]}", MemberKind.TRAINED) for i in folds)
    return trained + tuple(view.member for view in views)


def _run_exact(
    network: Network,
    data: torch.Tensor,
    folds: Sequence[int],
    views: Sequence[View],
    settings: Settings,
    progress: Progress,
    keep_logits: bool,
    guests: Sequence[Guest],
) -> EnsembleResult:
    """nnU-Net's arithmetic for the trained members: float16 logits of each, float16 sum and mean."""
    decision = Decision.of(network)
    axes = network.mirror_axes
    mirror = axes is not None and settings.mirroring is not False
    members = _members(network, folds, views)
    shape = tuple(data.shape[1:])
    several = len(members) + len(guests) > 1
    votes: list[npt.NDArray[Any]] = []
    mean: torch.Tensor | None = None
    maps = _Maps(decision, shape, len(members) + len(guests), any(v.moves for v in views))
    sums: list[Moments] = [Moments(decision) for _ in range(0, shape[0], SLAB)]
    for number, (fold, view) in enumerate(_passes(folds, views)):
        part = progress.part(number / len(members), (number + 1) / len(members))
        network.use_fold(fold)
        seen = data if view is None else view.look(data)
        logits = sweep_exact(network, seen, mirror, part, settings.offload).cpu()
        reach = None if view is None else view.reach(shape)
        if view is not None:
            logits = view.bring_back(logits)
        if not several:
            for z in range(shape[0]):
                maps.fill_lone(z, logits[:, z])
            votes.append(maps.labels.copy())
        else:
            votes.append(_vote(decision, logits))
            for index, moments in enumerate(sums):
                planes = slice(index * SLAB, (index + 1) * SLAB)
                moments.add(logits[:, planes], False, None if reach is None else reach[planes])
        if view is None:
            mean = logits if mean is None else mean.add_(logits)
    assert mean is not None
    if len(folds) > 1:
        mean /= len(folds)
    for index, moments in enumerate(sums if several else ()):
        planes = slice(index * SLAB, (index + 1) * SLAB)
        for guest in guests:
            moments.add(guest.logits(planes, decision.classes), False, None)
        maps.fill(planes, moments, decision.labels(mean[:, planes]))
        moments.logits = moments.p = None
    halves = network.device.type == "cuda" and network.autocast
    arithmetic = f"exact: float16 sums, {'autocast' if halves else 'float32'} network"
    return _result(maps, members, votes, guests, DenseLogits(mean) if keep_logits else None, arithmetic, mirror)


def _passes(folds: Sequence[int], views: Sequence[View]) -> Iterator[tuple[int, View | None]]:
    """(fold, view) of each member; views use the trained members in turn."""
    for fold in folds:
        yield fold, None
    for number, view in enumerate(views):
        yield folds[number % len(folds)], view


def _vote(decision: Decision, logits: torch.Tensor) -> npt.NDArray[Any]:
    return np.concatenate([decision.labels(logits[:, z : z + SLAB]) for z in range(0, logits.shape[1], SLAB)])


def _run_fast(
    network: Network,
    data: torch.Tensor,
    folds: Sequence[int],
    views: Sequence[View],
    settings: Settings,
    progress: Progress,
    keep_logits: bool,
    guests: Sequence[Guest],
) -> EnsembleResult:
    decision = Decision.of(network)
    members = _members(network, folds, views)
    shape = tuple(data.shape[1:])
    mirror = bool(settings.mirroring) and network.mirror_axes is not None
    head = network.head
    wide = int(network.head_weights()[0].shape[1]) if head is not None else 0
    sweep_features = head is not None and wide < decision.classes
    lone = len(members) + len(guests) == 1 and not keep_logits
    as_features = head is not None and not lone and wide * 2 * len(members) < decision.classes * 8
    maps = _Maps(decision, shape, len(members) + len(guests), any(v.moves for v in views))
    votes = [np.zeros(shape, decision.dtype) for _ in members]
    store: list[torch.Tensor] = []
    heads: list[tuple[torch.Tensor, torch.Tensor]] = []
    reaches = [None if view is None else view.reach(shape) for _, view in _passes(folds, views)]
    sums: dict[int, Moments] = {}
    dense: torch.Tensor | None = None
    for number, (fold, view) in enumerate(_passes(folds, views)):
        part = progress.part(number / len(members), (number + 1) / len(members))
        network.use_fold(fold)
        seen = data if view is None else view.look(data)
        weights = network.head_weights() if as_features or sweep_features else None
        slabs = sweep_fast(network, seen, weights is not None, mirror, part, settings.offload)
        if as_features:
            assert weights is not None
            heads.append(weights)
            store.append(_stored(slabs, wide, shape, view))
            continue
        if lone:
            for slab in slabs:
                for z in range(slab.start, slab.stop):
                    values = slab.values[:, z - slab.start].cpu()
                    maps.fill_lone(z, values if weights is None else _headed(values, weights))
            votes = [maps.labels.copy()]
            continue
        if view is not None and view.moves:
            channels = decision.classes if weights is None else wide
            slabs = iter([Slab(0, shape[0], view.bring_back(_whole(slabs, channels, shape)))])
        for a, b, values in _split(slabs):
            logits = values if weights is None else _headed(values, weights)
            votes[number][a:b] = decision.labels(logits)
            reach = reaches[number]
            moments = sums.setdefault(a, Moments(decision))
            moments.add(logits, view is None, None if reach is None else reach[a:b])
    if as_features:
        for z in range(0, shape[0], SLAB):
            progress("uncertainty", z / shape[0])
            moments = Moments(decision)
            for number, (features, weights) in enumerate(zip(store, heads, strict=True)):
                logits = _headed(features[:, z : z + SLAB].float(), weights)
                votes[number][z : z + SLAB] = decision.labels(logits)
                reach = reaches[number]
                moments.add(logits, number < len(folds), None if reach is None else reach[z : z + SLAB])
            for guest in guests:
                moments.add(guest.logits(slice(z, z + SLAB), decision.classes), False, None)
            maps.fill(slice(z, z + SLAB), moments)
    elif not lone:
        if keep_logits:
            dense = torch.empty((decision.classes, *shape))
        for a, moments in sums.items():
            assert moments.logits is not None
            b = a + moments.logits.shape[1]
            for guest in guests:
                moments.add(guest.logits(slice(a, b), decision.classes), False, None)
            maps.fill(slice(a, b), moments)
            if dense is not None:
                dense[:, a:b] = moments.logits / moments.trained
            moments.logits = moments.p = None
    logits_kept: MeanLogits | None = None
    if keep_logits and as_features:
        trained = len(folds)
        logits_kept = FeatureLogits(store[:trained], [(w.cpu(), b.cpu()) for w, b in heads[:trained]])
    elif dense is not None:
        logits_kept = DenseLogits(dense)
    precision = "float16" if network.device.type == "cuda" else "bfloat16" if network.bf16_pays else "float32"
    kept = "features" if as_features else "logits"
    return _result(maps, members, votes, guests, logits_kept, f"fast: {precision} network, blended {kept}", mirror)


def _headed(features: torch.Tensor, head: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Logits (C, ...) of blended features (F, ...): the network's last 1x1x1 convolution."""
    weight, bias = (part.cpu() for part in head)
    return torch.addmm(bias[:, None], weight, features.flatten(1)).reshape(-1, *features.shape[1:])


def _split(slabs: Iterator[Slab]) -> Iterator[tuple[int, int, torch.Tensor]]:
    """The same planes in pieces that start at multiples of SLAB, so that every member is cut alike."""
    pending: list[torch.Tensor] = []
    at = 0
    for slab in slabs:
        values = slab.values.cpu()
        for z in range(values.shape[1]):
            pending.append(values[:, z : z + 1])
            if len(pending) == SLAB:
                yield at, at + SLAB, torch.cat(pending, 1)
                at += SLAB
                pending = []
    if pending:
        yield at, at + len(pending), torch.cat(pending, 1)


def _whole(slabs: Iterator[Slab], channels: int, shape: tuple[int, ...]) -> torch.Tensor:
    whole = torch.empty((channels, *shape))
    for slab in slabs:
        whole[:, slab.start : slab.stop] = slab.values.cpu()
    return whole


def _stored(slabs: Iterator[Slab], wide: int, shape: tuple[int, ...], view: View | None) -> torch.Tensor:
    """One member's features (F, z, y, x) in float16, brought back from the view."""
    store = torch.empty((wide, *shape), dtype=torch.float16)
    for slab in slabs:
        store[:, slab.start : slab.stop] = slab.values.to("cpu", torch.float16)
    return store if view is None else view.bring_back(store)


def _result(
    maps: _Maps,
    members: tuple[Member, ...],
    votes: Sequence[npt.NDArray[Any]],
    guests: Sequence[Guest],
    logits: MeanLogits | None,
    arithmetic: str,
    mirror: bool,
) -> EnsembleResult:
    return EnsembleResult(
        maps.labels,
        members + tuple(guest.member for guest in guests),
        (*votes, *(guest.labels.astype(maps.labels.dtype) for guest in guests)),
        maps.entropy,
        maps.variance,
        maps.information,
        maps.voters,
        logits,
        arithmetic + (", mirrored" if mirror else ""),
        maps.decision.maxima(np.ones(1))[0],
    )

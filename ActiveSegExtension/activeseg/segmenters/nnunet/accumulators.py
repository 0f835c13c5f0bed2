"""What the members of an ensemble add up to, in fast mode: one way for each amount of memory that it takes.

No array of members x classes x voxels ever exists: each member is either kept as its blended decoder features (F x 2
bytes a voxel, the heads are applied slab by slab at the end) or added to sums (C x 8 bytes a voxel), whichever is
less; a lone member is reduced slab by slab as the network's sweep delivers it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from activeseg.core.progress import Progress
from activeseg.core.votes import Member
from activeseg.segmenters.nnunet.augmented_views import View
from activeseg.segmenters.nnunet.decision import Decision, DenseLogits, FeatureLogits, Head, MeanLogits, headed
from activeseg.segmenters.nnunet.sweep import Slab

FloatMap = npt.NDArray[np.float32]
SLAB = 8
"""Planes that are turned into probabilities at a time: C x SLAB x Y x X floats, 60 MB for 118 classes at 256 x 256."""


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


@dataclass
class Moments:
    """Sums over members for some planes, float32: ``p`` (C, z, y, x), the others (z, y, x)."""

    p: torch.Tensor
    entropy: torch.Tensor
    squares: torch.Tensor
    voting: torch.Tensor

    @classmethod
    def of(cls, decision: Decision, logits: torch.Tensor, reach: torch.Tensor | None = None) -> Moments:
        """Of one member's logits; ``reach`` (z, y, x) is where it votes (None: everywhere)."""
        p = decision.probabilities(logits.float())
        entropy, squares = decision.entropy(p), decision.squares(p)
        votes = torch.ones_like(entropy)
        if reach is not None:
            votes = reach.to(p)
            p, entropy, squares = p * votes, entropy * votes, squares * votes
        return cls(p, entropy, squares, votes)

    def add(self, other: Moments) -> None:
        self.p += other.p
        self.entropy += other.entropy
        self.squares += other.squares
        self.voting += other.voting


@dataclass
class Planes:
    """Some planes of all members: their moments, and the sum of the trained ones' logits (C, z, y, x)."""

    moments: Moments
    logits: torch.Tensor
    trained: int = 1


class RunningSums:
    """Sums for groups of planes, each known by its first plane. The first member of a group is a trained one."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision
        self._planes: dict[int, Planes] = {}

    @property
    def starts(self) -> list[int]:
        return list(self._planes)

    def add(self, start: int, logits: torch.Tensor, trained: bool, reach: torch.Tensor | None) -> None:
        """Add one member; ``reach`` (z, y, x) of the whole image is where it votes (None: everywhere)."""
        if reach is not None:
            reach = reach[start : start + logits.shape[1]]
        moments = Moments.of(self._decision, logits, reach)
        if start not in self._planes:
            self._planes[start] = Planes(moments, logits.float().clone())
            return
        planes = self._planes[start]
        planes.moments.add(moments)
        if trained:
            planes.logits.add_(logits.float())
            planes.trained += 1

    def finish(self, start: int, maps: Maps, guests: Sequence[Guest]) -> Planes:
        """Let the guests vote, fill the maps, and let go of these planes."""
        planes = self._planes.pop(start)
        where = slice(start, start + planes.logits.shape[1])
        for guest in guests:
            planes.moments.add(Moments.of(self._decision, guest.logits(where, self._decision.classes)))
        maps.fill(where, planes.moments, self._decision.labels(planes.logits))
        return planes


@dataclass
class Maps:
    """The result's arrays, filled slab by slab."""

    decision: Decision
    shape: tuple[int, ...]
    members: int
    views_move: bool
    labels: npt.NDArray[Any] = field(init=False)
    entropy: FloatMap = field(init=False)
    variance: FloatMap | None = field(init=False)
    information: FloatMap | None = field(init=False)
    voting: npt.NDArray[np.uint8] | None = field(init=False)

    def __post_init__(self) -> None:
        several = self.members > 1
        self.labels = np.zeros(self.shape, self.decision.dtype)
        self.entropy = np.zeros(self.shape, np.float32)
        self.variance = np.zeros(self.shape, np.float32) if several else None
        self.information = np.zeros(self.shape, np.float32) if several else None
        self.voting = np.full(self.shape, self.members, np.uint8) if self.views_move else None

    @property
    def voxels(self) -> int:
        """Of the network's grid."""
        return math.prod(self.shape)

    def fill_lone(self, plane: int, logits: torch.Tensor) -> None:
        """One plane of a lone member's logits (C, y, x), few enough for the CPU's cache."""
        logits = logits.float()
        self.labels[plane] = self.decision.labels(logits)
        largest = self.decision.maxima(np.ones(1))[0]
        self.entropy[plane] = (self.decision.entropy_of_one(logits) / largest).clamp(0, 1).numpy()

    def fill(self, planes: slice, moments: Moments, labels: npt.NDArray[Any]) -> None:
        """Turn sums into measures for these planes, whose labels are decided."""
        self.labels[planes] = labels
        n = moments.voting
        mean = moments.p / n
        entropy = self.decision.entropy(mean)
        voting = n.cpu().numpy()
        most_entropy, most_variance, most_information = self.decision.maxima(voting)
        self.entropy[planes] = (entropy / most_entropy).clamp(0, 1).cpu().numpy()
        if self.variance is None or self.information is None:
            return
        variance = (moments.squares / n - self.decision.squares(mean)).clamp_min(0).cpu().numpy()
        information = (entropy - moments.entropy / n).clamp_min(0).cpu().numpy()
        alone = voting < 2  # no other member to disagree with: not computed
        self.variance[planes] = np.where(alone, np.nan, np.minimum(variance / most_variance, 1))
        self.information[planes] = np.where(alone, np.nan, np.minimum(information / most_information, 1))
        if self.voting is not None:
            self.voting[planes] = voting


@dataclass(frozen=True)
class Opinion:
    """What one member says.

    Attributes
    ----------
    slabs
        Its blended output, logits or features.
    head
        What makes logits of features; None where the slabs are logits.
    view
        How it saw the image; None for a trained member.
    """

    slabs: Iterator[Slab]
    head: Head | None
    view: View | None

    def logits(self, values: torch.Tensor) -> torch.Tensor:
        """(C, z, y, x) of a part of the output."""
        return values if self.head is None else headed(values, self.head)

    def whole(self, shape: tuple[int, ...], kind: torch.dtype = torch.float32) -> torch.Tensor:
        """All of the output, on the CPU, brought back from the view."""
        found = torch.empty(0)
        for slab in self.slabs:
            if not found.numel():
                found = torch.empty((len(slab.values), *shape), dtype=kind)
            found[:, slab.start : slab.stop] = slab.values.to("cpu", kind)
        return found if self.view is None else self.view.bring_back(found)


class Accumulator(Protocol):
    """Takes one member after the other, and fills the maps.

    ``kept`` are the features of the trained members with their heads, after ``finish``; None where they are not kept.
    """

    votes: list[npt.NDArray[Any]]
    kept: FeatureLogits | None

    def add(self, heard: Opinion) -> None:
        """Take one member; the trained ones come first."""
        ...

    def finish(self, guests: Sequence[Guest], progress: Progress) -> MeanLogits | None:
        """Fill what is left of the maps; the mean logits, where they are to be kept."""
        ...


class Lone:
    """One member whose label is decided on this grid: nothing of it is kept, unless its features are small."""

    def __init__(self, maps: Maps, keep_features: bool = False) -> None:
        self._maps = maps
        self._keep = keep_features
        self.votes: list[npt.NDArray[Any]] = []
        self.kept: FeatureLogits | None = None

    def add(self, heard: Opinion) -> None:
        features: torch.Tensor | None = None
        for slab in heard.slabs:
            values = slab.values.cpu()
            if self._keep and heard.head is not None:
                if features is None:
                    features = torch.empty((len(values), *self._maps.shape), dtype=torch.float16)
                features[:, slab.start : slab.stop] = values
            for z in range(slab.start, slab.stop):
                self._maps.fill_lone(z, heard.logits(values[:, z - slab.start]))
        self.votes.append(self._maps.labels.copy())
        if features is not None and heard.head is not None:
            self.kept = FeatureLogits([features], [_on_cpu(heard.head)])

    def finish(self, guests: Sequence[Guest], progress: Progress) -> None:
        return None


class Features:
    """The features of all members, which take less than sums over many classes."""

    def __init__(self, maps: Maps, keep_logits: bool, keep_features: bool = False) -> None:
        self._maps, self._keep_logits, self._keep = maps, keep_logits, keep_features
        self._members: list[tuple[Opinion, torch.Tensor]] = []
        self.votes: list[npt.NDArray[Any]] = []
        self.kept: FeatureLogits | None = None

    def add(self, heard: Opinion) -> None:
        self._members.append((heard, heard.whole(self._maps.shape, torch.float16)))
        self.votes.append(np.zeros(self._maps.shape, self._maps.decision.dtype))

    def finish(self, guests: Sequence[Guest], progress: Progress) -> MeanLogits | None:
        decision, depth = self._maps.decision, self._maps.shape[0]
        sums = RunningSums(decision)
        reaches = [None if heard.view is None else heard.view.reach(self._maps.shape) for heard, _ in self._members]
        for z in range(0, depth, SLAB):
            progress("uncertainty", z / depth)
            for vote, reach, (heard, features) in zip(self.votes, reaches, self._members, strict=True):
                logits = heard.logits(features[:, z : z + SLAB].float())
                vote[z : z + SLAB] = decision.labels(logits)
                sums.add(z, logits, heard.view is None, reach)
            sums.finish(z, self._maps, guests)
        trained = [(features, heard.head) for heard, features in self._members if heard.view is None]
        found = FeatureLogits([features for features, _ in trained], [_on_cpu(head) for _, head in trained if head])
        self._members.clear()
        self.kept = found if self._keep else None
        return found if self._keep_logits else None


class Sums:
    """Sums of logits and probabilities, to which each member is added."""

    def __init__(self, maps: Maps, keep_logits: bool) -> None:
        self._maps, self._keep_logits = maps, keep_logits
        self._sums = RunningSums(maps.decision)
        self.votes: list[npt.NDArray[Any]] = []
        self.kept: FeatureLogits | None = None

    def add(self, heard: Opinion) -> None:
        decision, shape, view = self._maps.decision, self._maps.shape, heard.view
        reach = None if view is None else view.reach(shape)
        slabs = heard.slabs
        if view is not None and view.moves:
            slabs = iter([Slab(0, shape[0], heard.whole(shape))])
        vote = np.zeros(shape, decision.dtype)
        for start, values in _split(slabs):
            logits = heard.logits(values)
            vote[start : start + logits.shape[1]] = decision.labels(logits)
            self._sums.add(start, logits, view is None, reach)
        self.votes.append(vote)

    def finish(self, guests: Sequence[Guest], progress: Progress) -> MeanLogits | None:
        dense = torch.empty((self._maps.decision.classes, *self._maps.shape)) if self._keep_logits else None
        for start in self._sums.starts:
            planes = self._sums.finish(start, self._maps, guests)
            if dense is not None:
                dense[:, start : start + planes.logits.shape[1]] = planes.logits / planes.trained
        return None if dense is None else DenseLogits(dense)


def _on_cpu(head: Head) -> Head:
    weight, bias = head
    return weight.cpu(), bias.cpu()


def _split(slabs: Iterator[Slab]) -> Iterator[tuple[int, torch.Tensor]]:
    """First plane and values of pieces that start at multiples of SLAB, so that every member is cut alike."""
    pending: list[torch.Tensor] = []
    at = 0
    for slab in slabs:
        values = slab.values.cpu()
        for z in range(values.shape[1]):
            pending.append(values[:, z : z + 1])
            if len(pending) == SLAB:
                yield at, torch.cat(pending, 1)
                at += SLAB
                pending = []
    if pending:
        yield at, torch.cat(pending, 1)

"""How logits become labels and uncertainty, as nnU-Net's LabelManager has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from activeseg.segmenters.nnunet.network import Network

Head = tuple[torch.Tensor, torch.Tensor]
"""(C, F) weights and (C,) bias of a network's last 1x1x1 convolution."""


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
    heads: Sequence[Head]

    @property
    def classes(self) -> int:
        return int(self.heads[0][0].shape[0])

    def class_logits(self, index: int) -> npt.NDArray[Any]:
        total = torch.zeros(())
        for number, (features, (weight, bias)) in enumerate(zip(self.features, self.heads, strict=True)):
            out = torch.empty(features.shape[1:], dtype=torch.float32)
            for z in range(0, features.shape[1], 32):
                part = features[:, z : z + 32].float()
                row = weight[index : index + 1] @ part.flatten(1) + bias[index]
                out[z : z + 32] = row.reshape(part.shape[1:]).cpu()
            total = total + out if number else out
        return np.asarray((total / len(self.features)).numpy())


def headed(features: torch.Tensor, head: Head) -> torch.Tensor:
    """Logits (C, ...) of blended features (F, ...): the network's last 1x1x1 convolution."""
    weight, bias = (part.cpu() for part in head)
    return torch.addmm(bias[:, None], weight, features.flatten(1)).reshape(-1, *features.shape[1:])


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

    def maxima(self, voting: npt.NDArray[Any]) -> tuple[float, npt.NDArray[Any], npt.NDArray[Any]]:
        """Largest entropy, variance and mutual information for so many members."""
        if self.regions_class_order is not None:
            return float(np.log(2)), np.full(voting.shape, 0.25), np.full(voting.shape, np.log(2))
        most = np.minimum(np.maximum(voting, 2), self.classes)
        return float(np.log(self.classes)), 1.0 - 1.0 / most, np.log(most)


def _first_maximum(logits: torch.Tensor) -> torch.Tensor:
    """``logits.argmax(0)`` with the first class of equal ones, as torch has it on a CPU, in half the time.

    Where any is NaN, which equals nothing, it is the last class.
    """
    classes = len(logits)
    ranks = torch.arange(classes, 0, -1, dtype=torch.uint8 if classes < 256 else torch.int16, device=logits.device)
    best = (logits == logits.amax(0)) * ranks.reshape(-1, *[1] * (logits.ndim - 1))
    return classes - best.amax(0).clamp_min_(1)

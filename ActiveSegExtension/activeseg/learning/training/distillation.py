"""On replayed images the network is held near its parent: near its probabilities, not only near its label map.

A label map says nothing about how sure the parent is, and what a network forgets first is exactly that (Li and Hoiem,
"Learning without forgetting", 2018).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Loss = Callable[[Any, Any], torch.Tensor]


class DistillingLoss:
    """nnU-Net's loss, and beside it how far the network is from its parent on the replayed images of a batch.

    Parameters
    ----------
    loss : nnU-Net's
    network : with the parent's weights, before it learns; a copy of it stays as it is
    known : rows of the heads that the parent has, too; a new structure is free to appear
    regions : whether the heads are regions (sigmoid), not classes (softmax)
    weight : of the distance, 0 for none
    """

    def __init__(
        self, loss: Loss, network: torch.nn.Module, known: Sequence[int], regions: bool, weight: float
    ) -> None:
        self._loss = loss
        self._parent = copy.deepcopy(network).eval().requires_grad_(False)
        self._known = list(known)
        self._regions = regions
        self._weight = weight
        self._images: torch.Tensor | None = None
        self._rows: list[int] = []

    def of_batch(self, batch: Mapping[str, Any], replayed: Callable[[str], bool]) -> None:
        """The batch of the step that follows; its ``keys`` name the cases."""
        self._images = batch["data"]
        self._rows = [row for row, name in enumerate(batch["keys"]) if replayed(str(name))]

    def __call__(self, outputs: Any, target: Any) -> torch.Tensor:
        """The step's loss; where no batch was named (nnU-Net's own validation), nnU-Net's alone."""
        loss = self._loss(outputs, target)
        images, self._images = self._images, None
        if images is None or not self._rows:
            return loss
        finest = outputs[0]
        with torch.no_grad():
            expected = self._parent(images[self._rows].to(finest.device, non_blocking=True))[0]
        # Of all voxels of the batch, as nnU-Net's own mean is, so that a replayed patch weighs the same in both.
        share = len(self._rows) / len(finest)
        return loss + self._weight * share * self._distance(finest[self._rows], expected)

    def _distance(self, found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """Kullback-Leibler divergence from the parent's probabilities, mean over voxels; 0 for the parent itself."""
        found, expected = found[:, self._known].float(), expected[:, self._known].float()
        if self._regions:
            here, there = (torch.stack([x, -x]) for x in (found, expected))
            logs, parents = torch.nn.functional.logsigmoid(here), torch.nn.functional.logsigmoid(there)
            return (parents.exp() * (parents - logs)).sum(0).mean(1).mean()
        logs, parents = found.log_softmax(1), expected.log_softmax(1)
        return (parents.exp() * (parents - logs)).sum(1).mean()

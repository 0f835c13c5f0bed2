"""What a version keeps of what its parent can do, on held-out replayed images.

A replayed image has no ground truth, as a rule: its label map is a version's own result. Compared with that, every
change would count as a loss in full, corrected errors included; and most changes are at surfaces, where the parent
itself is unsure. So the parent segments the image again, and a voxel at which the child differs counts by what is
expected to be lost there: by how sure the parent is. A replayed case that holds a ground truth is compared with that,
and so is its parent. What this measure is worth: docs/decisions/forgetting.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.progress import Progress
from activeseg.core.segmenter import Segmenter, Settings
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset
from activeseg.learning.measuring.evaluation import in_dataset_values, on_grid
from activeseg.learning.measuring.metrics import LEAST_VOXELS
from activeseg.learning.project.gate import CaseDice
from activeseg.learning.project.project import Project
from activeseg.predictions.make_prediction import segment
from activeseg.predictions.prediction import Prediction

AT_A_COIN_TOSS = 0.3
"""Where the parent is undecided between two structures and the child differs, the parent is right in two of three
voxels (measured)."""


@dataclass(frozen=True)
class _Reference:
    """What a case is compared with: a label map in the dataset's values, weights of voxels, and the parent's Dice."""

    labels: npt.NDArray[Any]
    weights: npt.NDArray[np.float32]
    parent: Mapping[str, float]


class EarlierImages:
    """Held-out replayed images of a project, as the parent segments them; children are compared with that."""

    def __init__(
        self, project: Project, parent: Segmenter, cases: Sequence[str], device: str, progress: Progress
    ) -> None:
        """Segments each of them once. Raises DatasetError, ModelError, DeviceError, Cancelled."""
        self._project = project
        self._device = device
        self._references: dict[str, _Reference] = {}
        dataset = project.replay_dataset()
        for done, case in enumerate(cases):
            assert dataset is not None
            part = progress.part(done / len(cases), (done + 1) / len(cases))
            self._references[case] = self._reference(dataset, case, parent, part)

    @property
    def parent(self) -> CaseDice:
        """The parent's own Dice."""
        return {case: reference.parent for case, reference in self._references.items()}

    def dice_of(self, child: Segmenter, progress: Progress) -> CaseDice:
        """A child's Dice by case and structure. Raises as making this does."""
        dataset, found = self._project.replay_dataset(), {}
        for done, (case, reference) in enumerate(self._references.items()):
            assert dataset is not None
            part = progress.part(done / len(self._references), (done + 1) / len(self._references))
            labels = self._labels(dataset, self._segmented(dataset, case, child, part))
            found[case] = _dice(labels, reference.labels, reference.weights, dataset)
        return found

    def _reference(self, dataset: Dataset, case: str, parent: Segmenter, progress: Progress) -> _Reference:
        prediction = self._segmented(dataset, case, parent, progress)
        labels = self._labels(dataset, prediction)
        if dataset.record(case).current.provenance.vouches_for_all:
            truth = dataset.open_case(case).labels.array
            weights = (truth != dataset.schema.ignore_value).astype(np.float32)
        else:
            truth, grid = labels, prediction.grid
            assert grid is not None
            entropy = grid.measure("entropy")
            assert entropy is not None
            weights = sureness(on_grid(Volume(entropy, grid.geometry), Volume(labels, prediction.labels.geometry)))
        return _Reference(truth, weights, _dice(labels, truth, weights, dataset))

    def _segmented(self, dataset: Dataset, case: str, segmenter: Segmenter, progress: Progress) -> Prediction:
        images = dict(zip(segmenter.channels, dataset.open_case(case).images.values(), strict=True))
        return segment(images, segmenter, Settings(device=self._device), regions=0, progress=progress)

    def _labels(self, dataset: Dataset, prediction: Prediction) -> npt.NDArray[Any]:
        return in_dataset_values(prediction, dataset, self._project.state.matching)


def sureness(entropy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a voxel counts at which a child differs from its parent.

    By how much the probability of the first of two structures exceeds that of the other, from their entropy (0..1); at
    least ``AT_A_COIN_TOSS``. 1 where there is no entropy: nothing was computed where no structure can be.
    """
    first = np.linspace(0.5, 1.0, 1001)[:-1]
    bits = -first * np.log2(first) - (1 - first) * np.log2(1 - first)
    lead = np.interp(np.nan_to_num(entropy, nan=0.0), [0.0, *bits[::-1]], [1.0, *(2 * first - 1)[::-1]])
    weights: npt.NDArray[np.float32] = (AT_A_COIN_TOSS + (1 - AT_A_COIN_TOSS) * lead).astype(np.float32)
    return weights


def _dice(
    found: npt.NDArray[Any], truth: npt.NDArray[Any], weights: npt.NDArray[np.float32], dataset: Dataset
) -> dict[str, float]:
    """Dice of every structure of which the two together show enough, each voxel by its weight."""
    measured: dict[str, float] = {}
    for label in dataset.schema.labels:
        a, b = found == label.value, truth == label.value
        if np.count_nonzero((a | b) & (weights > 0)) >= LEAST_VOXELS:
            both = float(weights[a].sum(dtype=float) + weights[b].sum(dtype=float))
            measured[label.name] = 2 * float(weights[a & b].sum(dtype=float)) / both
    return measured

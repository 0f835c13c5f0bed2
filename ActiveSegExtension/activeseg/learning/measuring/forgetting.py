"""What a version keeps of what its parent can do, on held-out replayed images.

A replayed image has no ground truth, as a rule: its label map is a version's own result. Compared with all of that,
every change would count as a loss, corrected errors included. So the parent segments the image again, and the child is
compared with it where the parent is certain: there the parent is seldom wrong, and a difference is something forgotten.
A replayed case that holds a ground truth is compared with that, and so is its parent.
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
from activeseg.learning.measuring.metrics import dice
from activeseg.learning.project.gate import CaseDice
from activeseg.learning.project.project import Project
from activeseg.predictions.make_prediction import segment
from activeseg.predictions.prediction import Prediction


@dataclass(frozen=True)
class _Reference:
    """What a case is compared with: a label map in the dataset's values, voxels that count, and the parent's Dice."""

    labels: npt.NDArray[Any]
    seen: npt.NDArray[np.bool_]
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
            found[case] = _dice(labels, reference.labels, reference.seen, dataset)
        return found

    def _reference(self, dataset: Dataset, case: str, parent: Segmenter, progress: Progress) -> _Reference:
        prediction = self._segmented(dataset, case, parent, progress)
        labels = self._labels(dataset, prediction)
        if dataset.record(case).current.provenance.vouches_for_all:
            truth = dataset.open_case(case).labels.array
            seen = truth != dataset.schema.ignore_value
        else:
            truth = labels
            uncertain = (
                on_grid(prediction.uncertainty, Volume(labels, prediction.labels.geometry)) > prediction.threshold
            )
            seen = ~uncertain  # nothing was computed where no structure can be: that is certain
        return _Reference(truth, seen, _dice(labels, truth, seen, dataset))

    def _segmented(self, dataset: Dataset, case: str, segmenter: Segmenter, progress: Progress) -> Prediction:
        images = dict(zip(segmenter.channels, dataset.open_case(case).images.values(), strict=True))
        return segment(images, segmenter, Settings(device=self._device), regions=0, progress=progress)

    def _labels(self, dataset: Dataset, prediction: Prediction) -> npt.NDArray[Any]:
        return in_dataset_values(prediction, dataset, self._project.state.matching)


def _dice(
    found: npt.NDArray[Any], truth: npt.NDArray[Any], seen: npt.NDArray[np.bool_], dataset: Dataset
) -> dict[str, float]:
    measured = {label.name: dice(found, truth, seen, label.value) for label in dataset.schema.labels}
    return {name: value for name, value in measured.items() if value is not None}

"""A version on the held-out cases: where a person has looked, structure by structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import RegionState
from activeseg.core.errors import DatasetError, InputError
from activeseg.core.json_values import WrongField
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.records import from_json, to_json, written_as
from activeseg.core.segmenter import Segmenter, Settings
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset
from activeseg.dataset.record import CaseRecord
from activeseg.learning.measuring.metrics import Reliability, Scores, reliability, structure_scores
from activeseg.learning.project.gate import CaseDice
from activeseg.learning.project.holdout import Side
from activeseg.learning.project.opening import open_version
from activeseg.learning.project.project import MEASUREMENTS, Project
from activeseg.learning.project.readiness import unreviewed_candidates
from activeseg.learning.project.version import check_version_id
from activeseg.predictions.make_prediction import segment
from activeseg.predictions.prediction import Prediction
from activeseg.system.files import write_json
from activeseg.system.regular_files import own_path, read_json

REGIONS = 10


@dataclass(frozen=True)
class CaseResult:
    """One version on one held-out case.

    Attributes
    ----------
    scores : structure of the dataset -> scores, measured ones only
    reliability : of the uncertainty
    seen : share of the case's voxels that a person has reviewed
    """

    scores: Mapping[str, Scores]
    reliability: Reliability = field(metadata=written_as("calibration"))
    seen: float


Results = Mapping[str, CaseResult]
"""Held-out case -> result."""


def dice_of(results: Results) -> CaseDice:
    """For the gate."""
    return {case: {name: s.dice for name, s in result.scores.items()} for case, result in results.items()}


def reviewed_voxels(
    record: CaseRecord, labels: npt.NDArray[Any], ignore: int, whole: bool = False
) -> npt.NDArray[np.bool_]:
    """Voxels (k, j, i) of a case that a person vouches for.

    All but ``ignore`` of a truth, and of a case that was reviewed as a whole (``whole``: marked so later); else
    the boxes of the reviewed regions, of this revision and of earlier ones. What was edited outside of them is not
    known any more, and does not count.
    """
    known: npt.NDArray[np.bool_] = labels != ignore
    if whole:
        return known
    boxes = np.zeros(labels.shape, bool)
    for revision in (*record.history, record.current):
        provenance = revision.provenance
        if provenance.vouches_for_all:
            return known
        for region in provenance.correction.get("regions", []):
            if RegionState(region["state"]).reviewed:
                boxes[tuple(slice(*span) for span in region["box_kji"])] = True
    return known & boxes


def measure(project: Project, version: str, device: str, progress: Progress) -> dict[str, CaseResult]:
    """Segment every held-out case with a version and compare; what was measured before is not done again.

    Candidates that no person has reviewed are left out.

    Raises ModelError, DeviceError, DatasetError, Cancelled.
    """
    dataset = project.dataset()
    left_out = unreviewed_candidates(project)
    there = [case for case in dataset.cases() if case not in left_out]
    cases = [case for case in project.state.hold_out.on(Side.HELD_OUT) if case in there]
    results: dict[str, CaseResult] = {}
    segmenter: Segmenter | None = None
    for done, case in enumerate(cases):
        record = dataset.record(case)
        whole = case in project.state.reviewed
        name = f"{check_version_id(version)}-{record.current.label.sha256[:16]}{'-whole' * whole}.json"
        kept = own_path(project.folder, f"{MEASUREMENTS}/{name}", DatasetError)
        part = progress.part(done / len(cases), (done + 1) / len(cases))
        known = _kept(kept)
        if known is not None:
            results[case] = known
            continue
        segmenter = segmenter or open_version(project, version)
        opened = dataset.open_case(case)
        truth = opened.labels.array
        seen = reviewed_voxels(record, truth, dataset.schema.ignore_value, whole)
        images = dict(zip(segmenter.channels, opened.images.values(), strict=True))
        prediction = segment(images, segmenter, Settings(device=device), regions=REGIONS, progress=part)
        found = in_dataset_values(prediction, dataset, project.state.matching)
        results[case] = compare(found, opened.labels, seen, prediction, dataset.schema)
        kept.parent.mkdir(exist_ok=True)
        write_json(kept, to_json(results[case]), indent=None)
    return results


def _kept(path: Path) -> CaseResult | None:
    """What was measured before; None when it was not, or cannot be read, and is to be measured again."""
    if not path.exists():
        return None
    try:
        return from_json(CaseResult, read_json(path), complete=True)
    except (InputError, WrongField):
        return None


def compare(
    found: npt.NDArray[Any],
    truth: Volume,
    seen: npt.NDArray[np.bool_],
    prediction: Prediction,
    schema: LabelSchema,
) -> CaseResult:
    """``found`` is the prediction's label map in the values of ``schema``; only voxels in ``seen`` count."""
    scores = {}
    for label in schema.labels:
        scored = structure_scores(found, truth.array, seen, label.value, truth.geometry.spacing_xyz[::-1])
        if scored is not None:
            scores[label.name] = scored
    uncertainty = on_grid(prediction.uncertainty, truth)
    boxes = [region.slices for region in prediction.regions]
    return CaseResult(scores, reliability(found, truth.array, seen, uncertainty, boxes), float(seen.mean()))


def in_dataset_values(prediction: Prediction, dataset: Dataset, matching: Mapping[str, str | None]) -> npt.NDArray[Any]:
    """The prediction's label map with the values of the dataset's structures; others become background."""
    table = np.zeros(prediction.schema.ignore_value + 1, np.uint16)
    known = set(prediction.schema.names)
    for label in dataset.schema.labels:
        name = matching.get(label.name) or label.name
        if name in known:
            table[prediction.schema.named(name).value] = label.value
    result: npt.NDArray[Any] = table[prediction.labels.array]
    return result


def on_grid(uncertainty: Volume, labels: Volume) -> npt.NDArray[np.float32]:
    """A map of uncertainty on a label map's grid."""
    from activeseg.core.resample import sampled

    return np.concatenate([values for _start, values in sampled(uncertainty, labels.geometry)])


def means(results: Results) -> dict[str, float]:
    """Structure -> mean Dice over the cases in which it was measured."""
    collected: dict[str, list[float]] = {}
    for result in results.values():
        for name, scores in result.scores.items():
            collected.setdefault(name, []).append(scores.dice)
    return {name: float(np.mean(values)) for name, values in collected.items()}

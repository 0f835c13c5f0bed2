"""Where a label map comes from: what is written down about it, and what never is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from activeseg.core.correction import Correction, RegionState, Review
from activeseg.core.errors import DatasetError
from activeseg.core.records import Count, VoxelCount, from_json, if_missing, to_json
from activeseg.dataset.layout import RevisionNumber
from activeseg.dataset.training_labels import TrainingSummary

# PS3.5: components of digits with dots between. Version numbers and spacings have fewer.
_UID = re.compile(r"\b\d+(\.\d+){4,}\b")
_PATH = re.compile(r"^(/|~|\\\\|[A-Za-z]:[\\/]|file:)")
_OWN_WORDS = ("notes", "annotator")


class Origin(StrEnum):
    """How the label map came about.

    A merely predicted one is only ever replayed, never held out. ``MACHINE`` is one that existed before and that a
    model changed: it is neither trained on nor held out before a person has gone through it.
    """

    CORRECTED = "corrected"
    TRUTH = "truth"
    PREDICTED = "predicted"
    MACHINE = "machine"


@dataclass(frozen=True)
class _Changed:
    name: str
    voxels_added: VoxelCount
    voxels_removed: VoxelCount


@dataclass(frozen=True)
class _Reviewed:
    state: RegionState
    box_kji: tuple[tuple[Count, Count], tuple[Count, Count], tuple[Count, Count]]


@dataclass(frozen=True)
class _WhatIsReadLater:
    """What fine-tuning reads of a correction: counts of voxels, and the boxes of regions."""

    structures: tuple[_Changed, ...] = ()
    regions: tuple[_Reviewed, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """What is known about one revision of a label map. Nothing in it may tell who the patient is.

    Attributes
    ----------
    origin : a corrected prediction, truth that existed before, a prediction as it is, or truth that a model changed
    model, version, settings : what made the prediction; folders are cut off, they belong into the private file
    prediction_sha256 : fingerprint of the predicted label map
    decided : names of the structures that were looked for; None means all of the dataset
    correction : ``Correction.to_dict()``: changes, regions, seconds, annotator, notes. Notes and annotator are the
        user's own words and are stored as they are: tell the user that they must not name the patient
    training : ``TrainingSummary.to_dict()``: the review and what became ignore
    replaces : the revision of the case whose label map this one took the place of; None for a case's first
    """

    origin: Origin
    model: str = ""
    version: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    prediction_sha256: str = ""
    decided: tuple[str, ...] | None = None
    correction: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    replaces: RevisionNumber | None = field(default=None, metadata=if_missing(None))

    @property
    def vouches_for_all(self) -> bool:
        """Whether somebody knows the whole label map: a truth, or a prediction that was gone through as a whole.

        A case that was opened again says 'all', too, but nothing was predicted there: the rest stayed as it was.
        """
        whole = bool(self.model) and self.training.get("review") == Review.ALL
        return self.origin is Origin.TRUTH or whole

    @classmethod
    def of_correction(
        cls,
        correction: Correction,
        training: TrainingSummary,
        *,
        decided: Sequence[str] | None,
        model: str = "",
        version: str = "",
        settings: Mapping[str, Any] | None = None,
        prediction_sha256: str = "",
    ) -> Provenance:
        """Of a prediction, or a case of a dataset, that a person went through."""
        return cls(
            Origin.CORRECTED,
            model,
            version,
            dict(settings or {}),
            prediction_sha256,
            None if decided is None else tuple(decided),
            correction.to_dict(),
            training.to_dict(),
        )

    def __post_init__(self) -> None:
        from_json(_WhatIsReadLater, self.correction, "correction")

    def neutral(self) -> Provenance:
        """As it is written. Raises DatasetError when a value looks like a path or a DICOM UID."""
        neutral = replace(self, model=_without_folders(self.model))
        for key, text in _texts(to_json(neutral)):
            if _PATH.match(text) or _UID.search(text):
                raise DatasetError(
                    f"The provenance's '{key}' looks like a path or a DICOM identifier; that could name a patient.",
                    "Give it as 'source', which is kept in the private file.",
                    key=key,
                )
        return neutral


def _without_folders(model: str) -> str:
    """``nnunet:/home/x/Dataset1_A/Trainer__Plans__3d`` without the folders that say nothing about the model."""
    kind, colon, rest = model.partition(":")
    parts = re.split(r"[\\/]+", rest if colon else model)
    kept = [part for part in parts[-2:-1] if re.fullmatch(r"Dataset\d{3}_\w+", part)] + parts[-1:]
    return f"{kind}:{'/'.join(kept)}" if colon else "/".join(kept)


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All strings inside, with their keys; the user's own words are left out."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in _OWN_WORDS:
                yield from _texts(inner, str(name))
                yield from _texts(str(name), str(name))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner, key)

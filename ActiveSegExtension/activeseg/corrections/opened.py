"""What a correction starts from: a prediction, or a case of a dataset that was opened to be corrected further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from activeseg.core.errors import InputError
from activeseg.core.labels import LabelSchema
from activeseg.core.records import NOT_WRITTEN, damaged, from_json, to_json
from activeseg.core.volume import Volume
from activeseg.predictions.prediction import Prediction
from activeseg.review.regions import FoundRegion


@dataclass(frozen=True)
class CaseOfDataset:
    """Where an opened case came from."""

    dataset: str
    case: str


@dataclass(frozen=True, eq=False)
class OpenedLabels:
    """A case of a dataset that was opened to be corrected further: no model predicted it.

    Attributes
    ----------
    labels
        As it was opened, ``ignore`` included.
    schema
        Of ``labels``.
    decided
        Names of the structures that have been annotated in it.
    origin
        Where it came from.
    regions
        Of a candidate that a model made: where the model still differs from it.
    """

    labels: Volume = field(metadata=NOT_WRITTEN)
    schema: LabelSchema
    decided: tuple[str, ...]
    origin: CaseOfDataset
    regions: tuple[FoundRegion, ...] = field(default=(), metadata=NOT_WRITTEN)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the label map and the regions."""
        return dict(to_json(self))

    @classmethod
    def from_record(
        cls, record: Mapping[str, Any], labels: Volume, regions: tuple[FoundRegion, ...] = ()
    ) -> OpenedLabels:
        """Raises InputError when the record is incomplete."""
        with damaged(InputError, "The record of the opened case", "Open the case again."):
            return from_json(cls, record, given={"labels": labels, "regions": regions})


Base = Prediction | OpenedLabels

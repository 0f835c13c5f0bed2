"""The structures of a project in the label values of the network that learns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import ModelError
from activeseg.core.label_map import smallest_dtype
from activeseg.core.labels import IGNORE, LabelSchema
from activeseg.learning.training.parent_network import ParentNetwork


@dataclass(frozen=True)
class Target:
    """The label values that the network will be trained with.

    Attributes
    ----------
    labels : nnU-Net's ``labels`` with ``ignore``
    value_of : structure of the dataset -> value; what belongs to another network of the model is left out
    new : structures that the network did not know
    schema : structures of the whole result
    kept : values of the network's own structures that the dataset does not have; the parent's result fills them in
    """

    labels: Mapping[str, Any]
    value_of: Mapping[str, int]
    new: tuple[str, ...]
    schema: LabelSchema
    kept: frozenset[int]

    @property
    def ignore(self) -> int:
        return int(self.labels[IGNORE])

    @classmethod
    def of(cls, parent: ParentNetwork, dataset: LabelSchema, matching: Mapping[str, str | None]) -> Target:
        """Raises ModelError when the network cannot get a new structure."""
        own = {name: value for name, value in parent.dataset["labels"].items() if name != IGNORE}
        value_of, new = {}, []
        for name in dataset.names:
            structure = matching.get(name)
            if structure is not None and structure not in parent.schema.names:
                raise ModelError(
                    f"The dataset's structure '{name}' is matched with '{structure}', which the model does not have.",
                    f"Begin another project, where it is matched with one of: {', '.join(parent.schema.names[:20])}.",
                )
            known = parent.values.get(structure if structure is not None else name)
            if known is not None:
                value_of[name] = known
            elif structure is None:
                new.append(name)
        if new and (parent.has_regions or parent.part):
            raise ModelError(
                f"'{new[0]}' cannot be added to this model: "
                + ("its structures overlap (regions)." if parent.has_regions else "TotalSegmentator's list is fixed."),
                "Leave it out of the dataset, or begin from another nnU-Net model.",
            )
        highest = max(_highest(value) for value in own.values())
        for number, name in enumerate(new, start=highest + 1):
            own[name] = value_of[name] = number
        schema = parent.schema
        if new:
            colors = {label.name: label.color for label in (*dataset.labels, *schema.labels)}
            terms = {label.name: label.terminology for label in (*dataset.labels, *schema.labels) if label.terminology}
            schema = LabelSchema.from_names([*schema.names, *new], colors, terms)
        kept = frozenset(range(1, highest + 1)) - set(value_of.values())
        return cls({**own, IGNORE: highest + len(new) + 1}, value_of, tuple(new), schema, kept)

    def values(self, labels: npt.NDArray[Any], dataset: LabelSchema) -> npt.NDArray[Any]:
        """A label map of the dataset in the network's values."""
        table = np.zeros(dataset.ignore_value + 1, smallest_dtype(self.ignore))
        for label in dataset.labels:
            table[label.value] = self.value_of.get(label.name, 0)
        table[dataset.ignore_value] = self.ignore
        result: npt.NDArray[Any] = table[labels]
        return result

    @property
    def published(self) -> dict[str, Any]:
        """``labels`` of the version's dataset.json: without ``ignore``, which only training needs."""
        return {name: value for name, value in self.labels.items() if name != IGNORE}


def _highest(value: Any) -> int:
    return max(value) if isinstance(value, list) else int(value)

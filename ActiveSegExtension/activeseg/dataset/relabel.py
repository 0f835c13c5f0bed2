"""Label maps from one schema to another: values follow the structures' names, ``ignore`` moves along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import DatasetError
from activeseg.core.label_map import label_counts, smallest_dtype
from activeseg.core.labels import LabelSchema

Names = Mapping[str, str | None]


def new_names(source: LabelSchema, target: LabelSchema, rename: Names) -> dict[str, str | None]:
    """For each structure of ``source`` its name in ``target``, or None where it has none there.

    ``rename`` (old name -> new name, None = background) comes first; two structures may become one.
    Raises InputError for a name that a schema does not have.
    """
    for old, new in rename.items():
        source.named(old)
        if new is not None:
            target.named(new)
    return {name: rename.get(name, name if name in target.names else None) for name in source.names}


def relabelled(labels: npt.NDArray[Any], source: LabelSchema, target: LabelSchema, rename: Names) -> npt.NDArray[Any]:
    """The label map (k, j, i) in the values of ``target``; structures that ``target`` lacks become background."""
    names = new_names(source, target, rename)
    table = np.zeros(source.ignore_value + 1, smallest_dtype(target.ignore_value))
    for label in source.labels:
        name = names[label.name]
        table[label.value] = target.named(name).value if name else 0
    table[source.ignore_value] = target.ignore_value
    return np.take(table, labels)


def check_nothing_is_lost(labels: npt.NDArray[Any], source: LabelSchema, target: LabelSchema, rename: Names) -> None:
    """Raise DatasetError when voxels of a structure would become background without ``rename`` saying so."""
    names = new_names(source, target, rename)
    counts = label_counts(labels, source)
    lost = [s.name for s in source.labels if names[s.name] is None and s.name not in rename and counts[s.value]]
    if lost:
        raise DatasetError(
            f"The dataset has no structure called {', '.join(lost)}, but the label map has voxels of it.",
            "Map it to a structure of the dataset, leave it out, or migrate the dataset to a schema that has it.",
            structures=lost,
        )

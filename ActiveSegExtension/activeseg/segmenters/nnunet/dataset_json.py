"""What a model's checked ``dataset.json`` says of its images and structures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from activeseg.core.channel_names import different_names
from activeseg.core.errors import InputError, ModelError
from activeseg.core.labels import IGNORE, LabelSchema


def channels_of_dataset(dataset: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the images that a checked dataset.json says a case has, in their order.

    nnU-Net's names say how an image is normalized, so that several may be equal: they are made different.
    """
    names = dataset.get("channel_names") or dataset.get("modality") or {}
    return different_names(str(names[key]) for key in sorted(names, key=int))


def schema_of_dataset(dataset: Mapping[str, Any], folder: Path) -> LabelSchema:
    """The structures of a checked dataset.json.

    Of a region-based model each value is named after what it stands for in the label map: the region that writes it
    (``regions_class_order``) without those that are written over it. Raises ModelError when the values are not 0..N.
    """
    labels = {name: value for name, value in dataset["labels"].items() if name != IGNORE}
    regions = {n: v for n, v in labels.items() if isinstance(v, list) and len(v) > 1}
    names = _region_parts(dataset, labels) if regions else {}
    if not regions:
        for name, value in labels.items():
            number = int(value[0] if isinstance(value, list) else value)
            if number > 0:
                names[number] = name
    if not names or sorted(names) != list(range(1, len(names) + 1)):
        raise ModelError(f"The labels of {folder}/dataset.json are {sorted(names)}; they must be 1, 2, 3, ...")
    try:
        return LabelSchema.from_names(names[value] for value in sorted(names))
    except InputError as error:
        raise ModelError(f"The labels of {folder}/dataset.json cannot be used: {error.message}") from error


def _region_parts(dataset: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[int, str]:
    """Value -> its name in a region-based model's label map: ``tumour without core``."""
    foreground = {n: set(v if isinstance(v, list) else [v]) for n, v in labels.items() if v not in (0, [0])}
    order = [int(v) for v in dataset["regions_class_order"]]
    written = list(zip(order, foreground, strict=True))
    names: dict[int, str] = {}
    for place, (value, name) in enumerate(written):
        over = [later for other, later in written[place + 1 :] if other != value]
        inside = [later for later in over if foreground[later] & foreground[name]]
        inside = [one for one in inside if not any(foreground[one] < foreground[other] for other in inside)]
        names[value] = f"{name} without {' and '.join(inside)}" if inside else name
    for value in sorted({v for values in foreground.values() for v in values} - {0}):
        names.setdefault(value, f"label {value}")
    return names

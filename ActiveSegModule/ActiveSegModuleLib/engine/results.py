"""What the engine answers about a prediction, whether it was made just now or is a draft."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from activeseg.io.npy import read_array


def labels_of(result: Mapping[str, Any]) -> Volume:
    """The label map. Raises InputError."""
    return Volume(read_array(result["labels"]), Geometry.from_dict(result["geometry"]), "labels")


def patches_of(result: Mapping[str, Any]) -> bytes:
    """The regions' alternatives, as ``alternatives.npz`` has them. Raises OSError."""
    return (Path(result["regions_folder"]) / "alternatives.npz").read_bytes()

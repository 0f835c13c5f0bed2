"""The regions of a prediction on disk: a JSON file, and the patches of their alternatives beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import patch_names
from activeseg.core.errors import InputError, shown
from activeseg.io.npz import read_npz
from activeseg.review.regions import Region
from activeseg.system.regular_files import read_json

_REGIONS_FILE = "regions.json"
_PATCHES_FILE = "alternatives.npz"
_MOST_PATCH_BYTES = 1 << 30


def write_regions(folder: Path, regions: Sequence[Region], focus: Sequence[str] = ()) -> None:
    """``regions.json`` (with the focus structures) and ``alternatives.npz`` (the patches) in ``folder``."""
    patches: dict[str, npt.NDArray[Any]] = {}
    for region in regions:
        for n, alternative in enumerate(region.alternatives, start=1):
            labels, changed = patch_names(region.number, n)
            patches[labels], patches[changed] = alternative.labels, alternative.changed
    np.savez_compressed(folder / _PATCHES_FILE, allow_pickle=False, **patches)
    record = {"focus": list(focus), "regions": [region.to_dict() for region in regions]}
    (folder / _REGIONS_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_regions(folder: Path) -> tuple[Region, ...]:
    """What ``write_regions`` wrote. Raises InputError when the files are missing or damaged."""
    action = "Segment the CT again to write them."
    try:
        entries = read_json(folder / _REGIONS_FILE)["regions"]
        most = min(_MOST_PATCH_BYTES, sum(_patch_bytes(entry) for entry in entries))
        patches = read_npz(folder / _PATCHES_FILE, most, f"The file '{_PATCHES_FILE}'")
        return tuple(Region.from_dict(entry, patches) for entry in entries)
    except InputError as error:
        raise InputError(f"The regions in {folder} cannot be read: {error.message}", action) from error
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"The regions in {folder} cannot be read: {shown(error)}.", action) from error


def _patch_bytes(entry: Mapping[str, Any]) -> int:
    """What the patches of a region take at most: label values of up to two bytes, and a mask."""
    return 3 * len(entry["alternatives"]) * math.prod(int(high) - int(low) for low, high in entry["box_kji"])

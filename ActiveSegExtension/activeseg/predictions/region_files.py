"""The regions of a prediction on disk: a JSON file, and the patches of their alternatives beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import Region, patch_names
from activeseg.core.errors import InputError
from activeseg.core.json_values import WrongField
from activeseg.core.records import from_json, shortly, to_json
from activeseg.io.npz import read_npz
from activeseg.review.alternatives import Alternative
from activeseg.review.regions import FoundRegion
from activeseg.system.regular_files import read_json

_REGIONS_FILE = "regions.json"
_PATCHES_FILE = "alternatives.npz"
_MOST_PATCH_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class _ListedRegion(Region):
    """A region in ``regions.json``, whose alternatives have their patches in the other file."""

    alternatives: tuple[Mapping[str, Any], ...]

    @property
    def patch_bytes(self) -> int:
        """What its patches take at most: label values of up to two bytes, and a mask."""
        return 3 * len(self.alternatives) * math.prod(high - low for low, high in self.box_kji)


def write_regions(folder: Path, regions: Sequence[FoundRegion], focus: Sequence[str] = ()) -> None:
    """``regions.json`` (with the focus structures) and ``alternatives.npz`` (the patches) in ``folder``."""
    patches: dict[str, npt.NDArray[Any]] = {}
    for region in regions:
        for n, alternative in enumerate(region.alternatives, start=1):
            labels, changed = patch_names(region.number, n)
            patches[labels], patches[changed] = alternative.labels, alternative.changed
    np.savez_compressed(folder / _PATCHES_FILE, allow_pickle=False, **patches)
    record = {"focus": list(focus), "regions": to_json(regions)}
    (folder / _REGIONS_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_regions(folder: Path) -> tuple[FoundRegion, ...]:
    """What ``write_regions`` wrote. Raises InputError when the files are missing or damaged."""
    action = "Segment the CT again to write them."
    try:
        entries = from_json(list[Mapping[str, Any]], read_json(folder / _REGIONS_FILE).get("regions"), "regions")
        listed = [from_json(_ListedRegion, entry, f"regions[{n}]") for n, entry in enumerate(entries)]
        most = min(_MOST_PATCH_BYTES, sum(region.patch_bytes for region in listed))
        patches = read_npz(folder / _PATCHES_FILE, most, f"The file '{_PATCHES_FILE}'")
        return tuple(
            from_json(FoundRegion, entry, given={"alternatives": _alternatives(region, patches)})
            for entry, region in zip(entries, listed, strict=True)
        )
    except (InputError, WrongField) as error:
        raise InputError(f"The regions in {folder} cannot be read: {shortly(error)}.", action) from error


def _alternatives(region: _ListedRegion, patches: Mapping[str, npt.NDArray[Any]]) -> tuple[Alternative, ...]:
    found = []
    for n, values in enumerate(region.alternatives, start=1):
        labels, changed = patch_names(region.number, n)
        if labels not in patches or changed not in patches:
            raise WrongField(f"'{labels}' is missing in '{_PATCHES_FILE}'")
        given = {"labels": patches[labels], "changed": patches[changed]}
        found.append(from_json(Alternative, values, f"regions[{region.number - 1}].alternatives", given=given))
    return tuple(found)

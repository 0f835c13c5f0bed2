"""What earlier runs of a model took: how long and how much memory the next one will."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from activeseg.core.errors import ActiveSegError, EngineError
from activeseg.core.segmenter import Settings
from activeseg.engine.planning.estimate import Need
from activeseg.system.files import write_json
from activeseg.system.regular_files import read_json

_BY_TILES = ("network", "uncertainty")  # grow with tiles; every other stage with the image's voxels
_ONCE = ("load", "download")  # paid by the first run only
_SLOWEST = 1e6  # seconds per tile or voxel
_LARGEST = 4 << 20  # bytes
_MOST_ENTRIES = 400
_MOST_BYTES = 1 << 50
_PEAK = "peak|"
_PEAK_FIELDS = ("bytes", "image_voxels", "network_voxels")
PEAK_MARGIN = 1.25
"""Runs on the same image differ by a few per cent; the patient's body decides the rest."""


@dataclass(frozen=True)
class Calibration:
    """Seconds per unit of each stage and model, and bytes at the peak, in one small file."""

    path: Path

    def key(self, model: str, settings: Settings, device: str) -> str:
        return "|".join((model, settings.mode, settings.resample, device, str(settings.threads)))

    def peak_key(self, model: str, settings: Settings, device: str, loaded: bool) -> str:
        """Of runs that take the same memory on the same image."""
        chosen = (settings.members, settings.mirroring, settings.offload, settings.in_pieces, *settings.structures)
        state = "loaded" if loaded else "not loaded"
        return "|".join((self.key(model, settings, device), state, *map(str, chosen)))

    def stages(self, key: str, tiles: int, voxels: int) -> dict[str, float]:
        """Expected seconds for each stage in order; empty when this model has not run yet."""
        units = {True: float(max(tiles, 1)), False: float(voxels)}
        known = self._read().get(key)
        rates = known if isinstance(known, dict) else {}
        if not all(isinstance(rate, int | float) and 0 <= rate < _SLOWEST for rate in rates.values()):
            return {}  # damaged: learnt again from the next run
        return {stage: round(float(rate) * units[stage in _BY_TILES], 3) for stage, rate in rates.items()}

    def learn(self, key: str, timings: Mapping[str, float], tiles: int, voxels: int) -> None:
        """Remember how long a run's stages took."""
        units = {True: float(max(tiles, 1)), False: float(voxels)}
        renamed = {"network" if stage == "segment" else stage: seconds for stage, seconds in timings.items()}
        rates = {
            stage: seconds / units[stage in _BY_TILES]
            for stage, seconds in renamed.items()
            if stage not in _ONCE and stage != "total"
        }
        self._keep(key, rates)

    def peak(self, key: str, need: Need, voxels: int) -> Need:
        """What is needed by the last run like this one, with a margin; ``need`` where nothing is known.

        A larger image takes at most as much more as it has more voxels, for a part of the memory is the same for all.
        What was measured counts even above ``need``, which follows from sizes alone, unless this image is smaller.
        """
        known = self._read().get(_PEAK + key)
        values = [known.get(name) for name in _PEAK_FIELDS] if isinstance(known, dict) else [None]
        if not all(isinstance(value, int) and 0 < value < _MOST_BYTES for value in values):
            return need  # nothing known, or damaged: learnt again from the next run
        taken, on_image, on_network = (int(value) for value in values if value)
        larger = max(voxels / on_image, need.voxels / on_network, 1.0)
        at_least = taken if voxels >= on_image and need.voxels >= on_network else 0
        ram = max(at_least * PEAK_MARGIN, min(need.ram, taken * larger * PEAK_MARGIN))
        return replace(need, ram=int(ram))

    def learn_peak(self, key: str, taken: int, need: Need, voxels: int) -> None:
        """Remember the most bytes that a run took at one time, beyond what its process had."""
        sizes = (max(taken, 1), max(voxels, 1), max(need.voxels, 1))
        self._keep(_PEAK + key, dict(zip(_PEAK_FIELDS, sizes, strict=True)))

    def _keep(self, key: str, entry: Mapping[str, float]) -> None:
        """Failing to write costs a later estimate, not this result."""
        known = self._read()
        known.pop(key, None)  # the latest stand last
        known[key] = dict(entry)
        with contextlib.suppress(OSError):
            write_json(self.path, dict(list(known.items())[-_MOST_ENTRIES:]), indent=None)

    def _read(self) -> dict[str, Any]:
        try:
            return read_json(self.path, EngineError, limit=_LARGEST)
        except ActiveSegError:  # missing or damaged
            return {}

"""What earlier runs of a model took, so that the next one knows how long it will take."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.core.errors import ActiveSegError, EngineError
from activeseg.core.segmenter import Settings
from activeseg.system.files import replacing
from activeseg.system.regular_files import read_json

_BY_TILES = ("network", "uncertainty")  # grow with tiles; every other stage with the image's voxels
_ONCE = ("load", "download")  # paid by the first run only
_SLOWEST = 1e6  # seconds per tile or voxel
_LARGEST = 4 << 20  # bytes


@dataclass(frozen=True)
class Calibration:
    """Seconds per unit of each stage and model, in one small file."""

    path: Path

    def key(self, model: str, settings: Settings, device: str) -> str:
        return "|".join((model, settings.mode, settings.resample, device, str(settings.threads)))

    def stages(self, key: str, tiles: int, voxels: int) -> dict[str, float]:
        """Expected seconds for each stage in order; empty when this model has not run yet."""
        units = {True: float(max(tiles, 1)), False: float(voxels)}
        known = self._read().get(key)
        rates = known if isinstance(known, dict) else {}
        if not all(isinstance(rate, int | float) and 0 <= rate < _SLOWEST for rate in rates.values()):
            return {}  # damaged: learnt again from the next run
        return {stage: round(float(rate) * units[stage in _BY_TILES], 3) for stage, rate in rates.items()}

    def learn(self, key: str, timings: Mapping[str, float], tiles: int, voxels: int) -> None:
        """Remember a run; failing to write costs a later estimate, not this result."""
        units = {True: float(max(tiles, 1)), False: float(voxels)}
        renamed = {"network" if stage == "segment" else stage: seconds for stage, seconds in timings.items()}
        rates = {
            stage: seconds / units[stage in _BY_TILES]
            for stage, seconds in renamed.items()
            if stage not in _ONCE and stage != "total"
        }
        known = {**self._read(), key: rates}
        with contextlib.suppress(OSError), replacing(self.path, ".json") as fresh:
            fresh.write_text(json.dumps(dict(list(known.items())[-200:])), encoding="utf-8")

    def _read(self) -> dict[str, Any]:
        try:
            return read_json(self.path, EngineError, limit=_LARGEST)
        except ActiveSegError:  # missing or damaged
            return {}

"""How long the user took for each region that was decided on: kept with the segmentation, for the time that is left."""

from __future__ import annotations

import json
import math
import statistics

from ..slicer_types import Node

_ATTRIBUTE = "ActiveSeg.RegionSeconds"
_MOST = 50


def note_seconds(node: Node, seconds: float) -> None:
    """One more region was decided on; ``node`` is the case's vtkMRMLSegmentationNode."""
    kept = [*region_seconds(node), round(seconds, 1)]
    node.SetAttribute(_ATTRIBUTE, json.dumps(kept[-_MOST:]))


def region_seconds(node: Node) -> list[float]:
    """The last fifty, latest last; what cannot be read is left out."""
    try:
        kept = json.loads(node.GetAttribute(_ATTRIBUTE) or "[]")
        return [float(seconds) for seconds in kept if 0 <= float(seconds) < math.inf]
    except (TypeError, ValueError, OverflowError, RecursionError):
        return []


def minutes_for(node: Node, regions: int) -> float | None:
    """How long so many regions will take at the pace so far, the median; None before the first was decided on."""
    kept = region_seconds(node)
    return statistics.median(kept) * regions / 60 if kept else None

"""Where a case was stored, and whether it was changed since: kept with its segmentation, in the scene."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..slicer_types import Node

_ATTRIBUTE = "ActiveSeg.Stored"


@dataclass(frozen=True)
class Stored:
    """``case``: its neutral name in ``dataset``; ``changed``: the user went on with it."""

    dataset: Path
    case: str
    changed: bool = False


def stored_of(segmentation_node: Node) -> Stored | None:
    """None for what was never stored, or was marked by something else."""
    try:
        said = json.loads(segmentation_node.GetAttribute(_ATTRIBUTE) or "null")
        return (
            Stored(Path(str(said["dataset"]).replace("\0", "")), str(said["case"]), bool(said["changed"]))
            if said
            else None
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def note_stored(segmentation_node: Node, dataset: Path, case: str) -> None:
    """It lies in a dataset as it is now."""
    _write(segmentation_node, Stored(dataset, case))


def note_changed(segmentation_node: Node) -> None:
    """What lies in a dataset is not what is here any more."""
    stored = stored_of(segmentation_node)
    if stored is not None and not stored.changed:
        _write(segmentation_node, Stored(stored.dataset, stored.case, True))


def _write(segmentation_node: Node, stored: Stored) -> None:
    said = {"dataset": str(stored.dataset), "case": stored.case, "changed": stored.changed}
    segmentation_node.SetAttribute(_ATTRIBUTE, json.dumps(said))

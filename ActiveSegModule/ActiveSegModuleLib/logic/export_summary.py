"""What would be stored of a case, from what the scene knows: quickly, and before anything is asked of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import RegionState
from activeseg.core.label_map import values_in
from activeseg.core.segments.matching import MatchedBy
from activeseg.core.segments.read_back import structures_of

from ..scene.case import Case
from ..scene.edited import identities

Counts = npt.NDArray[np.int64]

SLAB_VOXELS = 4_000_000
"""Compared in one turn of the event loop."""


@dataclass(frozen=True)
class StructureMl:
    """What became of a structure, in mL."""

    name: str
    added: float
    removed: float


@dataclass(frozen=True)
class ExportSummary:
    """What the user should know before a case is stored.

    Attributes
    ----------
    states : how many regions are in each state
    changes : structures that were changed, most first
    deleted : structures that the model found and whose segment is gone
    unknown : names of segments that are no structure of the model
    image_has_changed : the CT's voxels are not those that were segmented
    """

    states: Mapping[RegionState, int]
    changes: tuple[StructureMl, ...]
    deleted: tuple[str, ...]
    unknown: tuple[str, ...]
    image_has_changed: bool

    @property
    def regions(self) -> int:
        return sum(self.states.values())

    @property
    def reviewed(self) -> int:
        """Regions that a person vouches for."""
        return sum(count for state, count in self.states.items() if state.reviewed)

    @property
    def skipped(self) -> int:
        return self.states.get(RegionState.SKIPPED, 0)


class Summing:
    """Counts what a case's edits changed, slab by slab, so that the window never waits for it."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.summary: ExportSummary | None = None

    def steps(self) -> Iterator[None]:
        """Go on with ``next`` until it ends; then ``summary`` is there. Raises InputError when the CT was removed."""
        case, schema = self.case, self.case.schema
        before = case.original_on_ct()
        length = schema.ignore_value + 1
        added, removed = np.zeros(length, np.int64), np.zeros(length, np.int64)
        present: set[int] = set()
        depth, height, width = before.shape
        thickness = max(1, SLAB_VOXELS // (height * width))
        for start in range(0, depth, thickness):
            slab = (start, min(start + thickness, depth))
            was, now = before[slice(*slab)], case.labels_in((slab, (0, height), (0, width)))
            differs = was != now
            added += np.bincount(now[differs], minlength=length)[:length]
            removed += np.bincount(was[differs], minlength=length)[:length]
            present.update(values_in(was).tolist())
            yield
        self.summary = self._made(added, removed, present)

    def _made(self, added: Counts, removed: Counts, present: set[int]) -> ExportSummary:
        case, schema = self.case, self.case.schema
        ml = case.original.geometry.voxel_mm3 / 1000
        changes = [
            StructureMl(label.name, int(added[label.value]) * ml, int(removed[label.value]) * ml)
            for label in schema.labels
            if added[label.value] or removed[label.value]
        ]
        found = identities(case.node)
        matched = structures_of(found, schema, {})
        there = {match.label.name for match in matched if match.label is not None}
        table = case.regions
        states = list(table.states().values()) if table is not None else []
        return ExportSummary(
            {state: states.count(state) for state in RegionState if state in states},
            tuple(sorted(changes, key=lambda change: -(change.added + change.removed))),
            tuple(
                label.name
                for label in schema.labels
                if label.name in case.decided and label.value in present and label.name not in there
            ),
            tuple(
                identity.name for identity, match in zip(found, matched, strict=True) if match.by is MatchedBy.NOTHING
            ),
            case.image_has_changed,
        )

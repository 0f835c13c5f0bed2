"""Two versions side by side: before and after for each structure. No widgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from activeseg.client.messages.learning import CompareResult, VersionEntry

FIRST_MEASURE = 2
"""Columns of a comparison: the structure, its cases, then two for each measure."""


@dataclass(frozen=True)
class Score:
    """One structure, as texts.

    Attributes
    ----------
    before, after
        Mean over the cases
    voxels
        Reviewed ones that were measured, of all cases; 0 when that is not told
    falls
        Whether Dice fell by more than is allowed
    """

    structure: str
    before: str
    after: str
    voxels: int
    cases: str
    falls: bool


def decided(entry: VersionEntry, replayed: str) -> tuple[Score, ...]:
    """What the decision about a version is made of: Dice of its parent and of the version itself.

    Last, under the name ``replayed``, the mean on held-out replayed images, where it was measured.
    """
    found = [
        Score(found.name, f"{found.before:.3f}", f"{found.after:.3f}", found.voxels, str(found.cases), found.falls)
        for found in entry.structures
    ]
    kept = entry.kept
    if kept is not None:
        found.append(Score(replayed, f"{kept.before:.3f}", f"{kept.after:.3f}", 0, str(kept.cases), kept.falls))
    return tuple(found)


def measures(result: CompareResult) -> tuple[str, ...]:
    """Names of what was measured, in the order of ``scores``."""
    return tuple(result.headings[FIRST_MEASURE::2])


def scores(result: CompareResult, measure: int = 0) -> tuple[Score, ...]:
    """Every measured structure, by one of ``measures``."""
    fallen = {entry["name"] for entry in result.verdict.get("structures", ()) if entry.get("falls")}
    column = FIRST_MEASURE + 2 * measure
    return tuple(
        Score(row[0], row[column], row[column + 1], _voxels(result, row[0]), row[1], row[0] in fallen)
        for row in result.rows
    )


def _voxels(result: CompareResult, structure: str) -> int:
    cases: Mapping[str, Any] = result.cases.get(result.second, {})
    return sum(int(case["scores"][structure]["voxels"]) for case in cases.values() if structure in case["scores"])

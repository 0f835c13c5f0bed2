"""A project as its commands and its panel show it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from activeseg.core.errors import DatasetError
from activeseg.core.json_values import WrongField
from activeseg.core.records import VoxelCount, from_json, to_json
from activeseg.learning.project.project import Project
from activeseg.learning.project.readiness import to_review, waiting_cases, worth_it
from activeseg.learning.project.version import BASE
from activeseg.learning.training.run_folder import RunFolder


def project_summary(project: Project) -> dict[str, Any]:
    """JSON-ready: structures, cases with their side, versions oldest first, the last fine-tuning, and what waits."""
    state, dataset = project.state, project.dataset()
    replayed, runs = project.replay_dataset(), RunFolder.all_of(project)
    waiting, partly = waiting_cases(project), to_review(project)
    run, problem = _last_run(runs)
    damaged = project.damaged_versions()
    sides = {case: state.hold_out.side(case) for case in dataset.cases()}
    return {
        "project": str(project.folder),
        "name": state.name,
        "base_model": state.base_model,
        "dataset": str(dataset.folder),
        "matching": dict(state.matching),
        "cases": {case: None if side is None else side.value for case, side in sides.items()},
        "replay": sorted(replayed.cases()) if replayed else [],
        "current": state.current,
        "versions": [_version(id, project) for id in (BASE, *project.versions())],
        "damaged": damaged,
        "problems": [*damaged.values(), *([problem] if problem else [])],
        "run": run,
        "waiting": list(waiting),
        "to_review": list(partly),
        "worth_it": worth_it(project, waiting, partly),
        "promotions": to_json(state.promotions),
    }


def _last_run(runs: Sequence[RunFolder]) -> tuple[dict[str, Any] | None, str]:
    """The last fine-tuning, and what is wrong with its files."""
    if not runs:
        return None, ""
    try:
        return {"id": runs[-1].id, **to_json(runs[-1].state)}, ""
    except DatasetError as error:
        return None, str(error)


def _version(id: str, project: Project) -> dict[str, Any]:
    if id == BASE:
        return {"id": BASE, "parent": "", "created": "", "cases": None, "before": None, "after": None, "reason": ""}
    version = project.version(id)
    verdict = version.verdict
    if verdict is None:
        measured: dict[str, Any] = {}
    else:
        voxels = _voxels(version.metrics)
        structures = [to_json(found) | {"voxels": voxels.get(found.name, 0)} for found in verdict.structures]
        measured = {
            "promoted": verdict.promoted,
            "structures": structures,
            "unmeasured": list(verdict.unmeasured),
            "kept": to_json(verdict.kept),
        }
    return {
        "id": id,
        "parent": version.imported or version.parent,
        "created": version.created,
        "cases": len(version.data),
        "before": verdict.before if verdict else None,
        "after": verdict.after if verdict else None,
        "reason": verdict.reason if verdict else "It was not measured.",
        "share": version.share,
        **measured,
    }


@dataclass(frozen=True)
class _Seen:
    """Of the scores of a structure in one case, how many voxels they are about."""

    voxels: VoxelCount


@dataclass(frozen=True)
class _SeenInCase:
    scores: Mapping[str, _Seen]


@dataclass(frozen=True)
class _SeenByChild:
    child: Mapping[str, _SeenInCase]


def _voxels(metrics: Mapping[str, Any]) -> dict[str, int]:
    """Structure -> reviewed voxels in all held-out cases; empty where a version's metrics do not say."""
    found: dict[str, int] = {}
    with contextlib.suppress(WrongField):
        for case in from_json(_SeenByChild, metrics).child.values():
            for name, seen in case.scores.items():
                found[name] = found.get(name, 0) + seen.voxels
    return found

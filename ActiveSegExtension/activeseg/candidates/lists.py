"""The list of differences of a candidate, beside the dataset's own folders::

    differences/CT_0001-<16 digits of its label map's SHA-256>/
        refinement.json     the members' agreement, what may change, what is not listed
        regions.json, alternatives.npz      as in a prediction folder

A list belongs to one label map: that of the revision whose provenance names it. It is there, whole, before the
candidate is listed; one that belongs to none is waste.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from activeseg.candidates.refining import Candidate
from activeseg.core.correction import RegionState
from activeseg.core.errors import DatasetError
from activeseg.core.records import to_json
from activeseg.dataset.provenance import Origin
from activeseg.dataset.record import CaseRecord, Revision
from activeseg.predictions.region_files import read_regions, write_regions
from activeseg.review.regions import FoundRegion
from activeseg.system.files import make_folder, new_folder, remove_abandoned, sync_to_disk
from activeseg.system.regular_files import own_path

FOLDER = "differences"
RECORD = "refinement.json"
FORMAT = 1


def write_list(dataset: Path, case: str, candidate: Candidate, sha256: str) -> None:
    """Write the list of a case, in place of one for the same label map. Raises DatasetError, OSError."""
    make_folder(own_path(dataset, FOLDER, DatasetError))
    target = _folder(dataset, case, sha256)
    remove_abandoned(target.parent, staging=True)
    if target.exists():
        shutil.rmtree(target)
    with new_folder(target) as fresh:
        write_candidate_files(fresh, candidate)


def write_candidate_files(folder: Path, candidate: Candidate) -> None:
    """The files of a list, on disk."""
    write_regions(folder, candidate.regions)
    record = {"format": FORMAT, **to_json(candidate)}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        sync_to_disk(path)


def remove_other_lists(dataset: Path, case: str, kept_sha256: Sequence[str]) -> None:
    """Remove the lists of a case that belong to none of its revisions. Raises DatasetError."""
    folder = own_path(dataset, FOLDER, DatasetError)
    kept = {_folder(dataset, case, sha256).name for sha256 in kept_sha256}
    for path in sorted(folder.glob(f"{case}-*")):
        if path.name.removeprefix(f"{case}-").isalnum() and path.name not in kept and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def listed_regions(dataset: Path, record: CaseRecord) -> tuple[FoundRegion, ...]:
    """The differences of a candidate, with what a person decided on them before; empty without such a list.

    Raises
    ------
    DatasetError
        Something of the list is a link.
    InputError
        The list is damaged.
    """
    made = made_by_machine(record)
    if made is None or not has_list(dataset, record):
        return ()
    folder = _folder(dataset, record.name, made.provenance.prediction_sha256)
    for name in ("regions.json", "alternatives.npz"):
        own_path(folder, name, DatasetError)
    reviewed = record.current.provenance.correction.get("regions", []) if record.current is not made else []
    states = {entry["number"]: RegionState(entry["state"]) for entry in reviewed if "number" in entry}
    return tuple(replace(region, state=states.get(region.number, region.state)) for region in read_regions(folder))


def has_list(dataset: Path, record: CaseRecord) -> bool:
    """Whether there is a list for a case. Raises DatasetError when it is a link."""
    made = made_by_machine(record)
    return made is not None and _folder(dataset, record.name, made.provenance.prediction_sha256).is_dir()


def made_by_machine(record: CaseRecord) -> Revision | None:
    """The latest revision that a model made of an earlier label map; None for a case of another kind."""
    revisions = (record.current, *reversed(record.history))
    return next((revision for revision in revisions if revision.provenance.origin is Origin.MACHINE), None)


def _folder(dataset: Path, case: str, sha256: str) -> Path:
    return own_path(dataset, f"{FOLDER}/{case}-{sha256[:16]}", DatasetError)

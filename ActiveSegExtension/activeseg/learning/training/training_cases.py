"""Which cases of a project are trained on. Nothing of the held-out ones is ever read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from activeseg.core.errors import InputError, Remedy
from activeseg.core.records import Sha256, if_missing
from activeseg.dataset import Dataset
from activeseg.learning.project.holdout import CaseName, Side
from activeseg.learning.project.project import Project
from activeseg.learning.project.readiness import unreviewed_candidates
from activeseg.learning.project.replayed import Replayed
from activeseg.learning.project.version import BASE


@dataclass(frozen=True)
class TrainingCases:
    """Which cases are trained on, by name, with the SHA-256 of their label files; no held-out one is among them.

    ``without_side``, ``waiting`` and the ``candidates``, which a machine made and no person has reviewed, are left out,
    and told. ``replay_held_out`` are replayed images that only measure what is forgotten.
    """

    corrected: Mapping[CaseName, Sha256]
    replayed: Mapping[CaseName, Sha256]
    without_side: tuple[CaseName, ...]
    waiting: tuple[CaseName, ...]
    candidates: tuple[CaseName, ...] = field(default=(), metadata=if_missing(()))
    replay_held_out: Mapping[CaseName, Sha256] = field(default_factory=dict, metadata=if_missing({}))

    @classmethod
    def of(cls, project: Project) -> TrainingCases:
        """As the project stands. Raises DatasetError, InputError when there is nothing to learn from."""
        without_side = project.admit_known()
        hold_out, dataset = project.state.hold_out, project.dataset()
        entries = dataset.cases()
        candidates = unreviewed_candidates(project)
        mine = [case for case in entries if hold_out.side(case) is Side.TRAIN and case not in candidates]
        waiting = tuple(case for case in mine if entries[case].waiting)
        corrected = {case: _sha256(dataset, case) for case in mine if case not in waiting}
        replayed = Replayed.of(project)
        if not corrected:
            raise InputError(
                f"There is no case to learn from: {len(hold_out.on(Side.HELD_OUT))} are held out, {len(waiting)} wait "
                f"for structures, {len(candidates)} were made by a machine and not reviewed, and {len(without_side)} "
                "have no patient ID.",
                "Export corrections, or assign a patient ID to the cases without one.",
                remedy=Remedy.ASSIGN_PATIENT,
            )
        return cls(corrected, replayed.trained, without_side, waiting, candidates, replayed.held_out)

    def check_there(self, project: Project) -> None:
        """Raise InputError when one of them is not in the project any more."""
        replay = project.replay_dataset()
        there = {*project.dataset().cases(), *(replay.cases() if replay else ())}
        for case in (*self.corrected, *self.replayed, *self.replay_held_out):
            if case not in there:
                raise InputError(f"The case '{case}' is not in the project any more.", "Start a new fine-tuning.")

    def earlier(self, project: Project, parent: str) -> tuple[str, ...]:
        """Corrected cases that the parent was trained on as they are: they are replayed, too. None of them where all
        are such."""
        learnt = {} if parent == BASE else project.version(parent).data
        found = tuple(case for case, sha256 in self.corrected.items() if learnt.get(case) == sha256)
        return found if len(found) < len(self.corrected) else ()


def _sha256(dataset: Dataset, case: str) -> str:
    return dataset.record(case).current.label.sha256


def changed_voxels(project: Project, cases: Mapping[str, str]) -> dict[str, int]:
    """Structure of the base model -> voxels that were corrected in these cases; a truth counts all of a structure's."""
    dataset, matching = project.dataset(), project.state.matching
    found: dict[str, int] = {}
    for case in cases:
        provenance = dataset.record(case).current.provenance
        changes = provenance.correction.get("structures", [])
        for change in changes:
            name = matching.get(change["name"])
            if name is not None:
                found[name] = found.get(name, 0) + int(change["voxels_added"]) + int(change["voxels_removed"])
        if not changes:
            for name in matching.values():
                if name is not None:
                    found[name] = found.get(name, 0) + 1
    return found

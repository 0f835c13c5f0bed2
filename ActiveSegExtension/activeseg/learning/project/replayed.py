"""The replayed images of a project: most are trained on, some are held out to measure what is forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field

from activeseg.core.records import Sha256
from activeseg.learning.project.holdout import CaseName, held_out_of_replayed
from activeseg.learning.project.project import Project


@dataclass(frozen=True)
class Replayed:
    """Names with the SHA-256 of their label files."""

    trained: dict[CaseName, Sha256] = field(default_factory=dict)
    held_out: dict[CaseName, Sha256] = field(default_factory=dict)

    @classmethod
    def of(cls, project: Project) -> Replayed:
        """Without images that became cases meanwhile: those were corrected, or are held out. Raises DatasetError."""
        replay = project.replay_dataset()
        if replay is None:
            return cls()
        learnt = {case for version in project.versions().values() for case in version.replay}
        entries, images = replay.cases(), {entry.voxels_sha256 for entry in project.dataset().cases().values()}
        held_out = held_out_of_replayed(tuple(entries), learnt)
        labels = {
            case: replay.record(case).current.label.sha256
            for case, entry in entries.items()
            if entry.voxels_sha256 not in images
        }
        return cls(
            {case: sha256 for case, sha256 in labels.items() if case not in held_out},
            {case: sha256 for case, sha256 in labels.items() if case in held_out},
        )

"""One trained model of a project, and what is known about it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from activeseg.errors import ModelError
from activeseg.learning.gate import Verdict
from activeseg.volume import sync_to_disk

FORMAT = 1
RECORD, MODEL, MEASURED = "version.json", "model", "measured.json"
BASE = "base"
"""The version that a project begins with: the base model itself."""
VERSION_ID = re.compile(r"v\d{4,}")


class ModelKind(StrEnum):
    """What the version's ``model`` folder is: a model folder of nnU-Net, or a root of TotalSegmentator's weights."""

    NNUNET = "nnunet"
    TOTALSEGMENTATOR = "totalsegmentator"


@dataclass(frozen=True)
class Version:
    """What ``version.json`` says.

    Attributes
    ----------
    id : ``v0001`` and so on
    parent : id of the version that it was trained from, or ``base``
    created : UTC, ISO 8601
    kind : how its ``model`` folder is opened
    task : TotalSegmentator's task, empty for nnU-Net
    data : case -> SHA-256 of its label file, of all cases that were trained on
    replay : case -> SHA-256, of the unlabelled images with the parent's result
    held_out : case -> SHA-256, of the cases that it was measured on
    schema : of its result, ``LabelSchema.to_dict()``
    plan : the training plan, ``TrainingPlan.to_dict()``
    seeds : of its members
    libraries : versions
    seconds : of training and measuring
    imported : where it comes from, for example ``livers v0003``; empty when it was trained here
    metrics : measured on the hold-out: ``parent`` and ``child``, see ``evaluation``
    verdict : the gate's decision
    """

    id: str
    parent: str
    created: str
    kind: ModelKind
    task: str
    data: Mapping[str, str]
    replay: Mapping[str, str]
    held_out: Mapping[str, str]
    schema: Mapping[str, Any]
    plan: Mapping[str, Any]
    seeds: tuple[int, ...]
    libraries: Mapping[str, str]
    seconds: float
    imported: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict | None = None

    def to_dict(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            "format": FORMAT,
            **plain,
            "kind": self.kind.value,
            "seeds": list(self.seeds),
            "verdict": self.verdict.to_dict() if self.verdict else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Version:
        """Raises KeyError, TypeError or ValueError for something else."""
        fields = {name: data[name] for name in cls.__dataclass_fields__}
        if not VERSION_ID.fullmatch(str(fields["id"])) or not (
            fields["parent"] == BASE or VERSION_ID.fullmatch(fields["parent"])
        ):
            raise ValueError(f"'{fields['id']}' from '{fields['parent']}' is no version")
        fields["kind"] = ModelKind(fields["kind"])
        fields["seeds"] = tuple(int(seed) for seed in fields["seeds"])
        fields["verdict"] = Verdict.from_dict(fields["verdict"]) if fields["verdict"] else None
        return cls(**fields)

    @classmethod
    def read(cls, folder: Path) -> Version:
        """The version whose folder that is. Raises ModelError when its record is missing or damaged."""
        try:
            data = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise ModelError(f"The version in '{folder}' has format {data['format']}.", "Update ActiveSeg.")
            measured = folder / MEASURED  # comes later than the rest, which never changes
            if measured.exists():
                later = json.loads(measured.read_text(encoding="utf-8"))
                data |= {name: later[name] for name in ("metrics", "verdict")}
            return cls.from_dict(data)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"'{folder / RECORD}' is missing or damaged: {error!r}.", "Restore it.") from error


def next_id(taken: set[str]) -> str:
    """The id after the highest one."""
    numbers = [int(id[1:]) for id in taken if VERSION_ID.fullmatch(id)]
    return f"v{max(numbers, default=0) + 1:04d}"


def add_version(versions: Path, staging: Path, make: Callable[[str], Version]) -> Version:
    """Give a folder with a ``model`` its record and the next free id; it appears whole. Returns the version."""
    while True:
        version = make(next_id({path.name for path in versions.glob("v*")}))
        (staging / RECORD).write_text(json.dumps(version.to_dict(), indent=1) + "\n", encoding="utf-8")
        sync_to_disk(staging / RECORD)
        try:
            os.rename(staging, versions / version.id)
        except OSError:
            if not (versions / version.id).exists():
                raise  # else somebody else was quicker
        else:
            sync_to_disk(versions)
            return version

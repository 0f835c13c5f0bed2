"""One trained model of a project, and what is known about it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from activeseg.core.errors import InputError, ModelError, Remedy, shown
from activeseg.core.json_values import WrongField
from activeseg.core.labels import LabelSchema
from activeseg.core.records import Matches, Within, from_json, if_missing, shortly, to_json
from activeseg.core.shapes import ShapeReference
from activeseg.learning.project.gate import Verdict
from activeseg.system.files import sync_to_disk, write_json
from activeseg.system.regular_files import is_link, own_path, read_json

FORMAT = 1
RECORD, MODEL, MEASURED = "version.json", "model", "measured.json"
BASE = "base"
"""The version that a project begins with: the base model itself."""
VERSION_ID = re.compile(r"v\d{4,9}", re.ASCII)
CURRENT = re.compile(rf"{BASE}|{VERSION_ID.pattern}", re.ASCII)
VersionOrBase = Annotated[str, Matches(CURRENT)]
DAMAGED = "damaged-"
_TASK = re.compile(r"[\w.-]*", re.ASCII)


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
    replay_held_out : case -> SHA-256, of the replayed images that only measured what was forgotten
    share : of what was learnt: 1 as it was trained; less where its weights were averaged with the parent's, so that
        less is forgotten
    schema : of its result, ``LabelSchema.to_dict()``
    plan : the training plan, ``TrainingPlan.to_dict()``
    seeds : of its members
    libraries : versions
    seconds : of training and measuring
    shapes : what shape its structures have in its training labels; those with too few labels, and all versions of
        before, have none
    imported : where it comes from, for example ``livers v0003``; empty when it was trained here
    metrics : measured on the hold-out: ``parent`` and ``child``, see ``evaluation``
    verdict : the gate's decision
    """

    id: Annotated[str, Matches(VERSION_ID)]
    parent: VersionOrBase
    created: str
    kind: ModelKind
    task: Annotated[str, Matches(_TASK)]
    data: Mapping[str, str]
    replay: Mapping[str, str]
    held_out: Mapping[str, str]
    schema: Mapping[str, Any]
    plan: Mapping[str, Any]
    seeds: tuple[int, ...]
    libraries: Mapping[str, str]
    seconds: float
    shapes: ShapeReference = field(default_factory=dict, metadata=if_missing({}))
    imported: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict | None = None
    replay_held_out: Mapping[str, str] = field(default_factory=dict, metadata=if_missing({}))
    share: Annotated[float, Within(0, 1)] = field(default=1.0, metadata=if_missing(1.0))

    def to_dict(self) -> dict[str, Any]:
        return {"format": FORMAT, **to_json(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Version:
        """Raises WrongField or InputError for something else."""
        version = from_json(cls, content, complete=True)
        LabelSchema.from_dict(version.schema)
        return version

    @classmethod
    def read(cls, folder: Path, id: str | None = None) -> Version:
        """The version whose folder that is; ``id`` must be that of its record.

        The one place that checks a version's record. Raises ModelError when it is missing or damaged.
        """
        action = "Restore it from a backup, or let the project be checked."
        remedy = Remedy.CHECK_PROJECT
        try:
            content = read_json(own_path(folder, RECORD, ModelError), ModelError, action, remedy=remedy)
            if "format" not in content:
                raise WrongField("'format' is missing")
            if content["format"] != FORMAT:
                raise ModelError(f"The version in '{folder}' has another format than {FORMAT}.", "Update ActiveSeg.")
            measured = own_path(folder, MEASURED, ModelError)  # comes later than the rest, which never changes
            if measured.exists():
                later = read_json(measured, ModelError, action, remedy=remedy)
                if not {"metrics", "verdict"} <= later.keys():
                    raise WrongField(f"'{MEASURED}' has no metrics, or no verdict")
                content |= {name: later[name] for name in ("metrics", "verdict")}
            version = cls.from_dict(content)
            if id not in (None, version.id):
                raise WrongField(f"'id' is '{version.id}', and the folder's name is '{id}'")
        except (InputError, WrongField) as error:
            raise ModelError(
                f"The version in '{folder.name}' is damaged: '{RECORD}': {shortly(error)}.", action, remedy=remedy
            ) from error
        return version


def check_version_id(id: str) -> str:
    """``base`` or ``v0001`` and so on. Raises ModelError for whatever else could lead to another folder."""
    if id != BASE and not VERSION_ID.fullmatch(id):
        raise ModelError(f"There is no version {shown(id)}.", "A version is called v0001, v0002 and so on, or base.")
    return id


def next_id(taken: set[str]) -> str:
    """The id after the highest one, those included that were set aside (``damaged-v0003``)."""
    numbers = [int(id.removeprefix(DAMAGED)[1:]) for id in taken if VERSION_ID.fullmatch(id.removeprefix(DAMAGED))]
    return f"v{max(numbers, default=0) + 1:04d}"


def add_version(versions: Path, staging: Path, make: Callable[[str], Version]) -> Version:
    """Give a folder with a ``model`` its record and the next free id; it appears whole, and all of it is on disk then.

    Returns the version.
    """
    for path in sorted(staging.rglob("*")):
        if not is_link(path):
            sync_to_disk(path)
    while True:
        version = make(next_id({path.name for path in versions.iterdir()}))
        write_json(staging / RECORD, version.to_dict())
        try:
            os.rename(staging, versions / version.id)
        except OSError:
            if not (versions / version.id).exists():
                raise  # else another process was quicker
        else:
            sync_to_disk(versions)
            sync_to_disk(versions.parent)
            return version

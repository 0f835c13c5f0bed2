"""What ``project.json`` says, and the one place that reads and writes it."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from activeseg.core.errors import DatasetError, Remedy, shown
from activeseg.core.json_values import WrongField
from activeseg.core.records import HEX_32, Matches, damaged, from_json, to_json
from activeseg.learning.project.gate import MARGIN
from activeseg.learning.project.holdout import CaseName, HoldOut
from activeseg.learning.project.version import BASE
from activeseg.system.files import write_json
from activeseg.system.regular_files import own_path, read_json

FORMAT = 1
FILE = "project.json"
_RESTORE = "Restore it from a backup, or let the project be checked: some damage can be repaired."


@dataclass(frozen=True)
class Promotion:
    """When which version became current, by whose decision, and why."""

    time: str
    version: str
    by: str
    reason: str


@dataclass(frozen=True)
class ProjectState:
    """What ``project.json`` says.

    Attributes
    ----------
    base_model : name of the model that it began with (``demo``, ``totalsegmentator:total``, ``nnunet:<folder>``)
    dataset : folder, relative to the project's where it lies inside
    matching : structure of the dataset -> structure of the base model; None makes it a new one
    margin : Dice that a structure may fall before the gate refuses
    reviewed : held-out cases that were reviewed as a whole
    current : id of the version that segments now, or ``base``; what opens it checks that it is one
    promotions : oldest first
    """

    id: Annotated[str, Matches(HEX_32)]
    name: str
    base_model: str
    dataset: str
    matching: Mapping[str, str | None]
    hold_out: HoldOut = field(default_factory=HoldOut)
    margin: float = MARGIN
    reviewed: tuple[CaseName, ...] = ()
    current: str = BASE
    promotions: tuple[Promotion, ...] = ()

    def __post_init__(self) -> None:
        """Raises WrongField for a dataset whose path leads out of the project."""
        dataset = self.dataset
        if not Path(dataset).is_absolute() and (".." in re.split(r"[\\/]", dataset) or not dataset.strip("./\\")):
            raise WrongField(f"'dataset' is {shown(dataset)}, which leads out of the project")

    def write(self, path: Path) -> None:
        """Replace the file. Raises OSError; then it is as it was."""
        write_json(path, {"format": FORMAT, **to_json(self)})

    @classmethod
    def read(cls, path: Path) -> ProjectState:
        """The one place that checks a project's file.

        Raises DatasetError when it is missing, damaged or of a later version.
        """
        if not os.path.lexists(path):
            raise DatasetError(f"There is no project in '{path.parent}'.", "Make one first.", remedy=Remedy.NEW_PROJECT)
        content = read_json(
            own_path(path.parent, path.name, DatasetError), DatasetError, _RESTORE, remedy=Remedy.CHECK_PROJECT
        )
        what = f"'{path.name}' of '{path.parent.name}'"
        with damaged(DatasetError, what, _RESTORE, remedy=Remedy.CHECK_PROJECT):
            return cls.from_dict(content)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ProjectState:
        """Raises DatasetError for a later version, WrongField for something else."""
        if "format" not in content:
            raise WrongField("'format' is missing")
        if content["format"] != FORMAT:
            raise DatasetError(
                f"The project has format {shown(content['format'])}, this ActiveSeg knows {FORMAT}.", "Update."
            )
        return from_json(cls, content, complete=True)

    def promoted(self, version: str, by: str, reason: str) -> ProjectState:
        """That version is current from now on."""
        entry = Promotion(now(), version, by, reason)
        return replace(self, current=version, promotions=(*self.promotions, entry))


def now() -> str:
    """UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

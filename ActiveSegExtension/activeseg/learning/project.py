"""One labelling task on disk: base model, dataset, hold-out, versions; described by ``project.json``.

project.json            replaced whole, one writer at a time
DatasetNNN_<name>/      the corrections, unless the project uses a dataset that lies elsewhere
replay/DatasetNNN_...   images without corrections, with the result of the version that was current
versions/v0001/         version.json, model/, comparison.png; never changed once they are there
runs/<time>/            one fine-tuning each, see ``run.py``
"""

from __future__ import annotations

import datetime
import json
import os
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from activeseg.dataset import Dataset
from activeseg.dataset.private_map import private_folder
from activeseg.errors import DatasetError, InputError, ModelError
from activeseg.labels import LabelSchema
from activeseg.learning.gate import MARGIN
from activeseg.learning.holdout import HoldOut, Side, patient_key
from activeseg.learning.version import BASE, Version
from activeseg.volume import replacing

FORMAT = 1
FILE, VERSIONS, RUNS, REPLAY = "project.json", "versions", "runs", "replay"
LOCK_WAIT_S = 10.0


@dataclass(frozen=True)
class Promotion:
    """When which version became current, by whose decision, and why."""

    time: str
    version: str
    by: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        return {"time": self.time, "version": self.version, "by": self.by, "reason": self.reason}


@dataclass(frozen=True)
class ProjectState:
    """What ``project.json`` says.

    Attributes
    ----------
    base_model : name of the model that it began with (``demo``, ``totalsegmentator:total``, ``nnunet:<folder>``)
    dataset : folder, relative to the project's where it lies inside
    matching : structure of the dataset -> structure of the base model; None makes it a new one
    margin : Dice that a structure may fall before the gate refuses
    reviewed : held-out cases that somebody went through as a whole
    current : id of the version that segments now, or ``base``
    promotions : oldest first
    """

    id: str
    name: str
    base_model: str
    dataset: str
    matching: Mapping[str, str | None]
    hold_out: HoldOut = field(default_factory=HoldOut)
    margin: float = MARGIN
    reviewed: tuple[str, ...] = ()
    current: str = BASE
    promotions: tuple[Promotion, ...] = ()

    def to_json(self) -> str:
        content = {
            "format": FORMAT,
            "id": self.id,
            "name": self.name,
            "base_model": self.base_model,
            "dataset": self.dataset,
            "matching": dict(self.matching),
            "hold_out": self.hold_out.to_dict(),
            "margin": self.margin,
            "reviewed": list(self.reviewed),
            "current": self.current,
            "promotions": [promotion.to_dict() for promotion in self.promotions],
        }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> ProjectState:
        """Raises DatasetError when the file is missing, damaged or of a later version."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise DatasetError(
                    f"The project has format {data['format']}, this ActiveSeg knows {FORMAT}.", "Update."
                )
            return cls(
                str(data["id"]),
                str(data["name"]),
                str(data["base_model"]),
                str(data["dataset"]),
                dict(data["matching"]),
                HoldOut.from_dict(data["hold_out"]),
                float(data["margin"]),
                tuple(data["reviewed"]),
                str(data["current"]),
                tuple(Promotion(**promotion) for promotion in data["promotions"]),
            )
        except FileNotFoundError as error:
            raise DatasetError(
                f"There is no project in '{path.parent}'.", "Make one with 'activeseg project new'."
            ) from error
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"'{path}' is damaged: {error!r}.", "Restore it from a backup.") from error

    def promoted(self, version: str, by: str, reason: str) -> ProjectState:
        """That version is current from now on."""
        entry = Promotion(now(), version, by, reason)
        return replace(self, current=version, promotions=(*self.promotions, entry))


def now() -> str:
    """UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Project:
    """A project's folder. Its state is read from disk for each call: several processes may work on one project."""

    def __init__(self, folder: Path, private_dir: Path | None = None) -> None:
        """Use ``create`` or ``open``."""
        self.folder = folder
        self._private = private_folder(private_dir)

    @classmethod
    def create(
        cls,
        folder: Path,
        base_model: str,
        *,
        dataset: Path | None = None,
        new_structures: Sequence[str] = (),
        matching: Mapping[str, str | None] | None = None,
        private_dir: Path | None = None,
    ) -> Project:
        """Begin a project. Without ``dataset`` an empty one is made inside, with the base model's structures.

        Parameters
        ----------
        base_model : any model that can be fine-tuned
        dataset : an existing dataset of ActiveSeg
        new_structures : structures that the base model does not know, for a dataset that is made
        matching : what structures of the dataset are in the base model, where names differ; None makes one new

        Raises DatasetError, InputError (a structure that neither side has), ModelError.
        """
        from activeseg.segmenters import open_segmenter

        folder = Path(folder).expanduser().absolute()
        if (folder / FILE).exists():
            raise DatasetError(f"There is a project in '{folder}' already.", "Open it, or choose another folder.")
        schema, channels = _fine_tunable(open_segmenter(base_model))
        if dataset is None:
            wanted = _with_new(schema, new_structures)
            matched = _matched(wanted, schema, matching or {})  # before anything is written
            made = Dataset.create(folder / folder.name, wanted, channels, private_dir=private_dir)
        else:
            made = Dataset.open(dataset, private_dir=private_dir)
            if new_structures:
                raise InputError("The dataset's structures are fixed.", "Add some with 'activeseg dataset migrate'.")
            matched = _matched(made.schema, schema, matching or {})
        if made.channel_names != channels:
            raise InputError(f"The dataset has images of {list(made.channel_names)}, the model needs {list(channels)}.")
        state = ProjectState(
            uuid.uuid4().hex,
            folder.name,
            base_model,
            _relative(made.folder, folder),
            matched,
        )
        project = cls(folder, private_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / FILE, ".json") as fresh:
            fresh.write_text(state.to_json(), encoding="utf-8")
        return project

    @classmethod
    def open(cls, folder: Path, private_dir: Path | None = None) -> Project:
        """Raises DatasetError when there is none, or it is damaged."""
        folder = Path(folder).expanduser().absolute()
        ProjectState.read(folder / FILE)
        return cls(folder, private_dir)

    @property
    def state(self) -> ProjectState:
        """As it is on disk now."""
        return ProjectState.read(self.folder / FILE)

    def change(self, how: Callable[[ProjectState], ProjectState]) -> ProjectState:
        """Replace the state, as the only writer. Raises DatasetError when another one takes too long."""
        lock = FileLock(str(self.folder / ".lock"))
        try:
            with lock.acquire(timeout=LOCK_WAIT_S):
                changed = how(self.state)
                with replacing(self.folder / FILE, ".json") as fresh:
                    fresh.write_text(changed.to_json(), encoding="utf-8")
                return changed
        except Timeout as error:
            raise DatasetError(
                f"Another program is changing the project '{self.folder.name}'.", "Try again."
            ) from error

    def dataset(self) -> Dataset:
        """The corrections. Raises DatasetError."""
        return Dataset.open(self.folder / self.state.dataset, private_dir=self._private)

    def replay_dataset(self) -> Dataset | None:
        """Images without corrections, with the then current version's result; None when there are none."""
        found = sorted((self.folder / REPLAY).glob("Dataset*"))
        return Dataset.open(found[0], private_dir=self._private) if found else None

    def match(self, given: Mapping[str, str | None]) -> ProjectState:
        """Say what structures of the dataset are in the base model (None: new ones). Raises InputError for a structure
        that neither has, DatasetError when a version was trained by the matching that is there."""
        from activeseg.segmenters import open_segmenter

        if self.versions():
            raise DatasetError("Versions were trained with these structures already.", "Begin another project.")
        state, dataset = self.state, self.dataset().schema
        schema = open_segmenter(state.base_model).schema
        matching = _matched(dataset, schema, {**state.matching, **given})
        return self.change(lambda state: replace(state, matching=matching))

    # Hold-out.

    def admit(self, case: str, patient_id: str) -> Side:
        """Say whose case it is; gives the side on which it is for good. Raises DatasetError, InputError."""
        if not patient_id.strip():
            raise InputError(f"The patient of '{case}' is empty.", "Any name that is the same for all his CTs will do.")
        self.dataset().listing().entry(case)

        def admitted(state: ProjectState) -> ProjectState:
            key = patient_key(self._secret(), patient_id)  # made here, where nobody else makes one
            return replace(state, hold_out=state.hold_out.with_case(case, key))

        side = self.change(admitted).hold_out.side(case)
        assert side is not None
        return side

    def admit_known(self) -> tuple[str, ...]:
        """Give every case a side whose patient was told when it was exported. Returns the cases that have none yet."""
        dataset, known = self.dataset(), self.state.hold_out
        sources = dataset.private.sources()
        for case in dataset.cases():
            patient = str(sources.get(case, {}).get("patient", ""))
            if known.side(case) is None and patient:
                self.admit(case, patient)
        known = self.state.hold_out
        return tuple(case for case in dataset.cases() if known.side(case) is None)

    def _secret(self) -> str:
        path = self._private / f"{self.state.id}.key"
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(secrets.token_hex(32))
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise DatasetError(f"The private file '{path}' cannot be used: {error}.", "Check its folder.") from error

    def mark_reviewed(self, case: str) -> ProjectState:
        """Say that somebody went through all of a held-out case, so that all of it measures versions.

        Raises InputError for a case that is not held out.
        """
        held_out = self.state.hold_out.on(Side.HELD_OUT)
        if case not in held_out:
            raise InputError(f"'{case}' is not held out.", f"Held out: {', '.join(held_out) or 'none'}.")
        return self.change(lambda state: replace(state, reviewed=tuple(dict.fromkeys([*state.reviewed, case]))))

    # Versions.

    def version_folder(self, id: str) -> Path:
        return self.folder / VERSIONS / id

    def versions(self) -> dict[str, Version]:
        """All that were trained or imported, oldest first. Raises ModelError for a damaged one."""
        folders = sorted((self.folder / VERSIONS).glob("v*"))
        return {folder.name: Version.read(folder) for folder in folders if folder.is_dir()}

    def version(self, id: str) -> Version:
        """Raises ModelError when there is none."""
        if not self.version_folder(id).is_dir():
            names = ", ".join([BASE, *self.versions()])
            raise ModelError(f"There is no version '{id}' in the project '{self.folder.name}'.", f"There are: {names}.")
        return Version.read(self.version_folder(id))

    def promote(self, id: str, reason: str, by: str = "user") -> ProjectState:
        """Make a version current; what was current stays. Raises ModelError when there is none."""
        if id != BASE:
            self.version(id)
        return self.change(lambda state: state.promoted(id, by, reason))

    def rollback(self, reason: str = "", by: str = "user") -> ProjectState:
        """Make current what was current before. Raises ModelError when nothing was."""
        state = self.state
        before = _before(state)
        if before is None:
            raise ModelError(f"Nothing was current before '{state.current}'.", "Choose a version and promote it.")
        return self.promote(before, reason or f"back from {state.current}", by)


def _before(state: ProjectState) -> str | None:
    """What rolling back leads to: the parent of the promotion that made the current version current."""
    order = [BASE]
    for promotion in state.promotions:
        if promotion.version in order:
            order = order[: order.index(promotion.version) + 1]
        else:
            order.append(promotion.version)
    return order[-2] if len(order) > 1 else None


def _fine_tunable(segmenter: Any) -> tuple[LabelSchema, tuple[str, ...]]:
    from activeseg.segmenters.nnunet import NnUNetSegmenter
    from activeseg.segmenters.totalsegmentator import TotalSegmentatorSegmenter

    if not isinstance(segmenter, NnUNetSegmenter | TotalSegmentatorSegmenter):
        raise ModelError(
            f"'{segmenter.name}' cannot learn: it has no network.",
            "Choose demo, totalsegmentator:<task> or nnunet:<folder>.",
        )
    return segmenter.schema, segmenter.channels


def _with_new(schema: LabelSchema, new: Sequence[str]) -> LabelSchema:
    for name in new:
        if name in schema.names:
            raise InputError(f"The base model knows '{name}' already.", "Leave it out.")
    added = LabelSchema.from_names([*schema.names, *new])
    return LabelSchema((*schema.labels, *added.labels[len(schema) :]))


def _matched(dataset: LabelSchema, model: LabelSchema, given: Mapping[str, str | None]) -> dict[str, str | None]:
    """Structure of the dataset -> of the model: as given, else by name, whatever case, spaces and hyphens it has."""
    for name, structure in given.items():
        dataset.named(name)
        if structure is not None:
            model.named(structure)
        elif name in model.names:
            raise InputError(f"The base model knows '{name}', so it cannot be new.", "Give it another name.")
    plain = {_plain(name): name for name in model.names}
    found = {name: given[name] if name in given else plain.get(_plain(name)) for name in dataset.names}
    taken = [structure for structure in found.values() if structure is not None]
    for structure in taken:
        if taken.count(structure) > 1:
            raise InputError(
                f"Two structures of the dataset are '{structure}' in the model.", "Match only one of them."
            )
    return found


def _plain(name: str) -> str:
    return name.casefold().replace(" ", "_").replace("-", "_")


def _relative(folder: Path, project: Path) -> str:
    return str(folder.relative_to(project)) if folder.is_relative_to(project) else str(folder)

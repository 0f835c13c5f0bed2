"""One labelling task on disk: base model, dataset, hold-out, versions; described by ``project.json``.

project.json            replaced whole, one writer at a time
DatasetNNN_<name>/      the corrections, unless the project uses a dataset that lies elsewhere
replay/DatasetNNN_...   images without corrections, with the result of the version that was current
versions/v0001/         version.json, model/, comparison.png; never changed once they are there
runs/<time>/            one fine-tuning each, see ``run.py``
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from activeseg.core.errors import DatasetError, InputError, ModelError, Remedy
from activeseg.core.records import HEX_64
from activeseg.core.segmenter import Segmenter, Trainable
from activeseg.dataset import Dataset
from activeseg.dataset.layout import check_windows_name
from activeseg.dataset.private_map import make_private_folder
from activeseg.learning.project.holdout import Side, patient_key
from activeseg.learning.project.matching import matched, with_new
from activeseg.learning.project.state import FILE, ProjectState
from activeseg.learning.project.version import BASE, VERSION_ID, Version, check_version_id
from activeseg.system import file_lock
from activeseg.system.files import a_new_file, check_replacing, make_folder, remove_abandoned
from activeseg.system.folders import private_folder
from activeseg.system.regular_files import is_link, own_path, read_bytes

VERSIONS, RUNS, REPLAY, MEASUREMENTS = "versions", "runs", "replay", "measured"
LOCK_WAIT_S = 10.0


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
        check_windows_name(folder.name, "a project")
        _check_new(folder)
        base_model = absolute_name(base_model)
        segmenter = open_segmenter(base_model)
        trainable_of(segmenter)
        schema, channels = segmenter.schema, segmenter.channels
        made = None if dataset is None else Dataset.open(dataset, private_dir=private_dir)
        if made is None:
            wanted = with_new(schema, new_structures)
        else:
            wanted = made.schema
            if new_structures:
                raise InputError(
                    "The dataset's structures are fixed.",
                    "Add some by a migration of the dataset.",
                    remedy=Remedy.MIGRATE_DATASET,
                )
            if made.channel_names != channels:
                has = list(made.channel_names)
                raise InputError(f"The dataset has images of {has}, the model needs {list(channels)}.")
        matches = matched(wanted, schema, matching or {})  # before anything is written
        project = cls(folder, private_dir)
        try:
            make_folder(folder)
            with project.locked():
                _check_new(folder)
                check_replacing(folder)
                made = made or Dataset.create(folder / folder.name, wanted, channels, private_dir=private_dir)
                state = ProjectState(uuid.uuid4().hex, folder.name, base_model, _relative(made.folder, folder), matches)
                state.write(folder / FILE)
        except OSError as error:
            raise DatasetError(
                f"The project '{folder.name}' could not be made: {error.strerror or error}.",
                "Check the disk's free space and the folder's permissions.",
            ) from error
        return project

    @classmethod
    def open(cls, folder: Path, private_dir: Path | None = None) -> Project:
        """Raises DatasetError when there is none, or it is damaged."""
        folder = Path(folder).expanduser().absolute()
        ProjectState.read(folder / FILE)
        for name in (VERSIONS, RUNS, REPLAY, MEASUREMENTS):
            own_path(folder, name, DatasetError)
        project = cls(folder, private_dir)
        project._sweep()
        return project

    def _sweep(self) -> None:
        """Remove the temporary files of processes that were killed."""
        remove_abandoned(self.folder)
        remove_abandoned(self.folder / VERSIONS, staging=True)
        remove_abandoned(self.folder / MEASUREMENTS)
        for parent in (VERSIONS, RUNS):
            with contextlib.suppress(OSError):
                for path in (self.folder / parent).iterdir():
                    if not is_link(path):
                        remove_abandoned(path)

    @property
    def state(self) -> ProjectState:
        """As it is on disk now."""
        return ProjectState.read(self.folder / FILE)

    def change(self, how: Callable[[ProjectState], ProjectState]) -> ProjectState:
        """Replace the state, as the only writer. Raises DatasetError when another one takes too long."""
        with self.locked():
            changed = how(self.state)
            try:
                changed.write(self.folder / FILE)
            except OSError as error:
                raise self._unchanged(error) from error
            return changed

    def locked(self) -> AbstractContextManager[None]:
        """Be the only writer. Raises DatasetError."""

        def busy() -> DatasetError:
            return DatasetError(f"Another program is changing the project '{self.folder.name}'.", "Try again.")

        return file_lock.held(self.folder / ".lock", LOCK_WAIT_S, busy=busy, failed=self._unchanged)

    def _unchanged(self, error: OSError) -> DatasetError:
        return DatasetError(
            f"The project '{self.folder.name}' could not be changed: {error.strerror or error}.",
            "Check the disk's free space and the folder's permissions.",
        )

    def dataset(self) -> Dataset:
        """The corrections. Raises DatasetError."""
        place = Path(self.state.dataset)
        folder = place if place.is_absolute() else own_path(self.folder, place.as_posix(), DatasetError)
        return Dataset.open(folder, private_dir=self._private, only_look=True)

    def replay_dataset(self) -> Dataset | None:
        """Images without corrections, with the then current version's result; None when there are none."""
        found = sorted((self.folder / REPLAY).glob("Dataset*"))
        if not found:
            return None
        folder = own_path(self.folder, f"{REPLAY}/{found[0].name}", DatasetError)
        return Dataset.open(folder, private_dir=self._private, only_look=True)

    def match(self, given: Mapping[str, str | None]) -> ProjectState:
        """Say what structures of the dataset are in the base model (None: new ones). Raises InputError for a structure
        that neither has, DatasetError when a version was trained by the matching that is there."""
        from activeseg.segmenters import open_segmenter

        if self.versions():
            raise DatasetError("Versions were trained with these structures already.", "Begin another project.")
        state, dataset = self.state, self.dataset().schema
        schema = open_segmenter(state.base_model).schema
        matching = matched(dataset, schema, {**state.matching, **given})
        return self.change(lambda state: replace(state, matching=matching))

    # Hold-out.

    def admit(self, case: str, patient_id: str) -> Side:
        """Say whose case it is; gives the side on which it is for good. Raises DatasetError, InputError."""
        if not patient_id.strip():
            raise InputError(f"The patient of '{case}' is empty.", "Any name that is the same for all his CTs will do.")
        self.dataset().listing().entry(case)

        def admitted(state: ProjectState) -> ProjectState:
            key = patient_key(self._secret(), patient_id)  # made here, under the lock
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

    @property
    def key_file(self) -> Path:
        """Where the key lies by which patients are told apart."""
        return self._private / f"{self.state.id}.key"

    def _secret(self) -> str:
        """The key by which patients are told apart, made when there is none; the project is locked.

        It appears whole, and one that is there is never replaced: with another key a patient would be a new one, and
        could be trained on although he is held out. Raises DatasetError.
        """
        path = self.key_file
        try:
            if not path.exists():
                make_private_folder(path.parent)
                remove_abandoned(path.parent)
                with a_new_file(path) as fresh:
                    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    with os.fdopen(handle, "w", encoding="utf-8") as file:
                        file.write(secrets.token_hex(32))
            secret = read_bytes(path, 1000).decode("ascii", "replace").strip()
        except (OSError, InputError) as error:
            raise DatasetError(f"The private file '{path}' cannot be used: {error}.", "Check its folder.") from error
        if not HEX_64.fullmatch(secret):
            raise DatasetError(
                f"The private file '{path}' is damaged: it must hold 64 hex digits, by which patients are told apart.",
                "Restore it from a backup. If there is none, and no case of the project has a side yet, remove it.",
            )
        return secret

    def signature(self, data: bytes) -> str:
        """By this installation's private key, which no copy of the project has. Raises DatasetError."""
        return hmac.new(self._secret().encode(), data, "sha256").hexdigest()

    def mark_reviewed(self, case: str) -> ProjectState:
        """Mark a held-out case as reviewed as a whole, so that all of it measures versions.

        Raises InputError for a case that is not held out.
        """
        if self.state.hold_out.side(case) is None:
            self.admit_known()
        held_out = self.state.hold_out.on(Side.HELD_OUT)
        if case not in held_out:
            raise InputError(f"'{case}' is not held out.", f"Held out: {', '.join(held_out) or 'none'}.")
        return self.change(lambda state: replace(state, reviewed=tuple(dict.fromkeys([*state.reviewed, case]))))

    # Versions.

    def version_folder(self, id: str) -> Path:
        """Raises ModelError for what is no version's id, or a link."""
        return own_path(self.folder, f"{VERSIONS}/{check_version_id(id)}", ModelError)

    def versions(self) -> dict[str, Version]:
        """All that were trained or imported and can be read, oldest first; ``damaged_versions`` are the others."""
        return {id: found for id, found in self._all_versions().items() if isinstance(found, Version)}

    def damaged_versions(self) -> dict[str, str]:
        """Those that cannot be read, and why."""
        return {id: found.message for id, found in self._all_versions().items() if isinstance(found, ModelError)}

    def _all_versions(self) -> dict[str, Version | ModelError]:
        folder = self.folder / VERSIONS
        ids = [path.name for path in folder.iterdir() if VERSION_ID.fullmatch(path.name)] if folder.is_dir() else []
        found: dict[str, Version | ModelError] = {}
        for id in sorted(ids, key=lambda id: int(id[1:])):
            try:
                found[id] = Version.read(self.version_folder(id), id)
            except ModelError as error:
                found[id] = error
        return found

    def version(self, id: str) -> Version:
        """Raises ModelError when there is none, or it is damaged."""
        folder = self.version_folder(id)
        if not folder.is_dir():
            names = ", ".join([BASE, *self.versions()])
            raise ModelError(f"There is no version '{id}' in the project '{self.folder.name}'.", f"There are: {names}.")
        return Version.read(folder, id)

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


def _relative(folder: Path, project: Path) -> str:
    return folder.relative_to(project).as_posix() if folder.is_relative_to(project) else str(folder)


def absolute_name(model: str) -> str:
    """A model's name that means the same from every folder: a path in it is made absolute."""
    family, colon, rest = model.partition(":")
    if family not in ("nnunet", "project") or not rest:
        return model
    return f"{family}{colon}{Path(os.path.abspath(Path(rest).expanduser()))}"


def _check_new(folder: Path) -> None:
    if os.path.lexists(folder / FILE):
        raise DatasetError(f"There is a project in '{folder}' already.", "Open it, or choose another folder.")


def trainable_of(segmenter: Segmenter) -> Trainable:
    """What a model's fine-tuning needs. Raises ModelError for one that cannot learn."""
    if segmenter.trainable is None:
        raise ModelError(
            f"'{segmenter.name}' cannot learn: it has no network.",
            "Choose demo, totalsegmentator:<task> or nnunet:<folder>.",
        )
    return segmenter.trainable

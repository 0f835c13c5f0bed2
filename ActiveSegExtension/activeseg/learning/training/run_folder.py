"""A fine-tuning on disk: what was asked for, how far it is, and what it is told to do.

The folder is all that the training's process and everybody who watches it have in common, so a training goes on
without the program that began it, and shows up again in the next one. Nothing here imports torch.

    run.json       what was asked for
    state.json     how far it is; replaced whole
    events.jsonl   one line for each iteration, epoch and stage
    control        what it is told: run, pause, stop, cancel
    log.txt        what nnU-Net prints
    tensorboard/   loss and Dice
    members/       weights of members that are done
    share.json     how much of what was learnt the version keeps, and what was measured for that
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

from activeseg.core.errors import DatasetError, EngineError, InputError, Remedy
from activeseg.core.records import ANY_NUMBER, Count, Matches, damaged, from_json, shortly, to_json
from activeseg.learning.project.project import RUNS, Project
from activeseg.learning.project.share import Chosen
from activeseg.learning.project.state import now
from activeseg.learning.project.version import VERSION_ID, VersionOrBase, check_version_id
from activeseg.learning.training.training_cases import TrainingCases
from activeseg.learning.training.training_plan import TrainingPlan
from activeseg.system import file_lock
from activeseg.system.files import make_folder, remove_abandoned, replacing, write_json
from activeseg.system.processes import start_detached
from activeseg.system.regular_files import JSON_LIMIT, is_link, open_regular, own_path, read_bytes, read_json
from activeseg.system.switches import without_switches

RUN, STATE, EVENTS, CONTROL, LOG = "run.json", "state.json", "events.jsonl", "control", "log.txt"
CHOSEN = "share.json"
RUN_ID = re.compile(r"\d{8}-\d{6}(-\d{1,6})?", re.ASCII)
_PART = re.compile(r"[\w.-]*", re.ASCII)
_VERSION_OR_NONE = re.compile(rf"(?:{VERSION_ID.pattern})?", re.ASCII)
_EVENTS_LIMIT = 256 * 2**20
_ALIVE = ".alive"
_NEW_TRAINING = "Start a new fine-tuning; a check of the project sets this one aside."
_START_S = 60.0
_AnyNumber = Annotated[float, ANY_NUMBER]
T = TypeVar("T")


class Stage(StrEnum):
    """How far a fine-tuning is; the last four are its ends, of which ``stopped`` can be resumed."""

    WAITING = "waiting"
    PREPARING = "preparing"
    TRAINING = "training"
    MEASURING = "measuring"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"

    @property
    def ended(self) -> bool:
        return self in (Stage.DONE, Stage.FAILED, Stage.CANCELLED, Stage.STOPPED)


class Control(StrEnum):
    """What a training is told: ``stop`` ends its process so that it can be resumed, ``cancel`` for good."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"
    CANCEL = "cancel"

    @property
    def ends(self) -> bool:
        return self in (Control.STOP, Control.CANCEL)


@dataclass(frozen=True)
class RunState:
    """What ``state.json`` says.

    Attributes
    ----------
    fraction : of everything, 0..1
    eta_s : seconds left, None while unknown
    member, epoch : that are trained now, counted from 1; 0 in other stages
    loss, dice : of the last epoch, the Dice by structure on patches of the training cases
    version : id, once it is written
    verdict : the gate's decision in words, once it is made
    error : what went wrong, as ``ActiveSegError.to_dict``
    """

    stage: Stage = Stage.WAITING
    fraction: float = 0.0
    eta_s: _AnyNumber | None = None
    member: Count = 0
    epoch: Count = 0
    loss: _AnyNumber | None = None
    dice: Mapping[str, _AnyNumber] | None = None
    version: Annotated[str, Matches(_VERSION_OR_NONE)] = ""
    promoted: bool = False
    verdict: str = ""
    error: Mapping[str, Any] | None = None

    @property
    def where(self) -> str:
        return f"{self.stage}, member {self.member}, epoch {self.epoch}" if self.epoch else str(self.stage)


@dataclass(frozen=True)
class Asked:
    """What ``run.json`` says.

    Attributes
    ----------
    project
        its folder when the training began
    parent
        id of the version that it begins with
    part
        of a model of several networks the dataset folder of the one that learns
    plan
        its numbers
    cases
        that are trained on
    created
        UTC, ISO 8601
    """

    project: str
    parent: VersionOrBase
    part: Annotated[str, Matches(_PART)]
    plan: TrainingPlan
    cases: TrainingCases
    created: str


class RunFolder:
    """One fine-tuning of a project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(
        cls, project: Project, parent: str, plan: TrainingPlan, cases: TrainingCases, part: str = ""
    ) -> RunFolder:
        """A new one, not started yet. Raises DatasetError while another one of the project runs."""
        for other in cls.all_of(project):
            if other.is_alive:
                raise DatasetError(
                    f"The project '{project.folder.name}' is being trained already ({other.id}).",
                    "Wait for it, or cancel it.",
                )
        check_version_id(parent)
        folder = own_path(project.folder, RUNS, DatasetError) / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
        make_folder(folder)
        asked = Asked(str(project.folder), parent, part, plan, cases, now())
        write_json(folder / RUN, to_json(asked))
        run = cls(folder)
        run.write_state(RunState())
        return run

    @classmethod
    def all_of(cls, project: Project) -> list[RunFolder]:
        """Oldest first. Raises DatasetError when ``runs`` is a link."""
        folder = own_path(project.folder, RUNS, DatasetError)
        found = sorted(path for path in folder.iterdir() if RUN_ID.fullmatch(path.name)) if folder.is_dir() else []
        return [cls(path) for path in found if not is_link(path) and (path / RUN).exists()]

    @classmethod
    def last_of(cls, project: Project) -> RunFolder:
        """Raises InputError when there was none."""
        runs = cls.all_of(project)
        if not runs:
            raise InputError(f"Nothing was trained in the project '{project.folder.name}' yet.", "Start a fine-tuning.")
        return runs[-1]

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def project(self) -> Project:
        """The project that it lies in, which is not the one that ``run.json`` names when it was moved.

        Raises DatasetError when there is none any more, or it is damaged.
        """
        return Project.open(self.folder.parents[1])

    @property
    def asked(self) -> Asked:
        """What ``create`` wrote. Raises DatasetError when the file is damaged."""
        remedy = Remedy.CHECK_PROJECT
        content = read_json(own_path(self.folder, RUN, DatasetError), DatasetError, _NEW_TRAINING, remedy=remedy)
        with damaged(DatasetError, f"'{RUN}' of the fine-tuning {self.id}", _NEW_TRAINING, remedy=remedy):
            return from_json(Asked, content)

    def check(self) -> None:
        """Raise DatasetError when anything in the folder is a link: a training writes and removes files in it."""
        for place, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                own_path(self.folder, (Path(place) / name).relative_to(self.folder).as_posix(), DatasetError)

    @property
    def state(self) -> RunState:
        """As its process wrote it last; a process that vanished in the middle leaves ``stopped``.

        Raises DatasetError when the file is damaged.
        """
        path = own_path(self.folder, STATE, DatasetError)
        try:
            state = from_json(RunState, _patiently(lambda: _json_object(path)), complete=True)
        except (OSError, InputError, ValueError, RecursionError) as error:
            raise DatasetError(
                f"'{STATE}' of the fine-tuning {self.id} is missing or damaged: {shortly(error)}.",
                _NEW_TRAINING,
                remedy=Remedy.CHECK_PROJECT,
            ) from error
        if not state.stage.ended and state.stage is not Stage.WAITING and not self.is_alive:
            return replace(state, stage=Stage.STOPPED, eta_s=None)
        return state

    def write_state(self, state: RunState) -> None:
        _patiently(lambda: write_json(self.folder / STATE, to_json(state), indent=None))

    @property
    def chosen(self) -> Chosen | None:
        """How much of what was learnt the version keeps; None before that is known.

        Raises DatasetError when the file is damaged.
        """
        path = own_path(self.folder, CHOSEN, DatasetError)
        if not path.exists():
            return None
        remedy = Remedy.CHECK_PROJECT
        content = read_json(path, DatasetError, _NEW_TRAINING, remedy=remedy)
        with damaged(DatasetError, f"'{CHOSEN}' of the fine-tuning {self.id}", _NEW_TRAINING, remedy=remedy):
            return from_json(Chosen, content, complete=True)

    def write_chosen(self, chosen: Chosen) -> None:
        write_json(self.folder / CHOSEN, to_json(chosen))

    @property
    def is_alive(self) -> bool:
        """Whether its process runs. Raises DatasetError when that cannot be known."""
        try:
            return file_lock.is_held(self.folder / _ALIVE)
        except OSError as error:
            raise self._unknown(error) from error

    def alive(self) -> AbstractContextManager[None]:
        """Held by its process. Raises EngineError when there is one already."""

        def busy() -> EngineError:
            return EngineError(f"The fine-tuning {self.id} runs already.")

        wait_s = 2.0  # another process may just be looking whether it is alive
        return file_lock.held(self.folder / _ALIVE, wait_s, busy=busy, failed=self._unknown)

    def _unknown(self, error: OSError) -> DatasetError:
        return DatasetError(
            f"Whether the fine-tuning {self.id} runs cannot be known: {error.strerror or error}.",
            "Check the folder's permissions, or move the project to a drive that can lock files.",
        )

    @property
    def control(self) -> Control:
        try:
            return Control(read_bytes(self.folder / CONTROL, 100).decode("utf-8").strip())
        except (OSError, ValueError, InputError):
            return Control.RUN

    def tell(self, control: Control) -> None:
        """Pause, go on, stop or cancel; a process notices within a fifth of a second."""
        with replacing(self.folder / CONTROL, "") as fresh:
            fresh.write_text(control.value, encoding="utf-8")
        if control is Control.CANCEL and not self.is_alive and self.state.stage in (Stage.WAITING, Stage.STOPPED):
            self.write_state(replace(self.state, stage=Stage.CANCELLED, eta_s=None))
            self.remove_scratch()

    def remove_scratch(self) -> None:
        """What only a training that goes on needs."""
        for name in ("preprocessed", "results", "members"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def add_event(self, event: Mapping[str, Any]) -> None:
        with (self.folder / EVENTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 3), **event}) + "\n")

    def events(self, after: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Events from that byte on, and where to go on reading; a line that is being written waits."""
        path = own_path(self.folder, EVENTS, DatasetError)
        try:
            with open_regular(path) as file:
                file.seek(after)
                data = file.read(_EVENTS_LIMIT)
        except FileNotFoundError:
            return [], after
        except (OSError, InputError) as error:
            raise DatasetError(f"'{EVENTS}' of the fine-tuning {self.id} cannot be read: {error}.") from error
        whole = data[: data.rfind(b"\n") + 1]
        events = []
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, RecursionError):  # a line that a crash tore
                event = json.loads(line)
                if isinstance(event, dict) and isinstance(event.get("event"), str):
                    events.append(event)
        return events, after + len(whole)

    def start(self) -> None:
        """Start its process, or start it again where it was; it does not end with this one.

        Raises EngineError when it does not come up, or runs already.
        """
        self.check()
        if self.is_alive:
            raise EngineError(f"The fine-tuning {self.id} runs already.")
        remove_abandoned(self.folder)
        self.tell(Control.RUN)
        self.write_state(replace(self.state, stage=Stage.WAITING, error=None))
        package = Path(__file__).resolve().parents[3]
        main = (
            f"import sys; sys.path.insert(0, {str(package)!r}); "
            "from activeseg.learning.training.run import main; main()"
        )
        command = [sys.executable, "-I", "-X", "utf8", "-X", "faulthandler", "-u", "-c", main, str(self.folder)]
        environment = {**without_switches(os.environ), "OMP_WAIT_POLICY": "PASSIVE", "nnUNet_n_proc_DA": "0"}
        with (self.folder / LOG).open("ab") as log:
            start_detached(command, environment, log)
        end = time.monotonic() + _START_S
        while not self.is_alive and self.state.stage is Stage.WAITING:
            if time.monotonic() > end:
                raise EngineError(f"The fine-tuning did not start; see '{self.folder / LOG}'.")
            time.sleep(0.05)


def _json_object(path: Path) -> Any:
    """Raises FileNotFoundError, which ``read_json`` does not, PermissionError, InputError, ValueError."""
    return json.loads(read_bytes(path, JSON_LIMIT).decode("utf-8"))


def _patiently(work: Callable[[], T]) -> T:
    """Again after a moment when another process is just replacing or reading the file: on Windows, and on some network
    and overlay file systems, the one gets in the other's way."""
    for _ in range(20):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            return work()
        time.sleep(0.02)
    return work()

"""Messages about projects: begin and show one, plan, start, watch and steer a fine-tuning, and its versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from activeseg.client.messages.request import TypedRequest
from activeseg.core.errors import InputError
from activeseg.core.records import ANY_NUMBER


@dataclass(frozen=True, kw_only=True)
class MeasuredStructure:
    """A structure on the held-out cases, before and after a fine-tuning.

    Attributes
    ----------
    before, after
        Mean Dice of the parent and of the version.
    cases, voxels
        In how many cases it was measured, and how many reviewed voxels show it there.
    allowed_fall, falls
        By how much its Dice may fall, and whether it falls by more.
    """

    name: str
    before: float
    after: float
    cases: int
    voxels: int
    allowed_fall: float
    falls: bool


@dataclass(frozen=True, kw_only=True)
class MeasuredForgetting:
    """What a version keeps of what its parent can do, on held-out replayed images.

    Attributes
    ----------
    before, after
        Mean Dice of the parent and of the version; ``before`` is 1 where the parent's own result is the reference.
    cases
        In how many images it was measured.
    allowed_fall, falls
        By how much the mean may fall, and whether it falls by more.
    """

    before: float
    after: float
    cases: int
    allowed_fall: float
    falls: bool


@dataclass(frozen=True, kw_only=True)
class VersionEntry:
    """A version of a project's model.

    Attributes
    ----------
    cases
        How many it learned from; None for the base model.
    before, after
        Mean Dice on the held-out cases, of the parent and of this version; None when nothing was measured.
    reason
        Why it became the current version, or why not.
    promoted
        Whether the comparison with its parent let it become the current version.
    structures, unmeasured
        What was measured, and names of structures that were not.
    kept
        Of what the parent can do; None where no replayed image was held out.
    share
        Of what was learned: 1 as trained, less where the weights were averaged with the parent's.
    """

    id: str
    parent: str
    created: str
    cases: int | None
    before: float | None
    after: float | None
    reason: str
    promoted: bool = False
    structures: tuple[MeasuredStructure, ...] = ()
    unmeasured: tuple[str, ...] = ()
    kept: MeasuredForgetting | None = None
    share: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PromotionEntry:
    """When a version became the current one, and why."""

    time: str
    version: str
    by: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ProjectResult:
    """How a project stands.

    Attributes
    ----------
    matching
        Structure of the dataset -> structure of the base model; None makes it a new one.
    cases
        Case -> its side, None where its patient is not known.
    replay
        Names of the replayed images.
    damaged, problems
        Version -> what is wrong with its files; the same and more in sentences.
    run
        The last fine-tuning: its ``id`` and the fields of ``FinetuneState``; None without one.
    waiting, to_review
        Corrected cases that no version has learned from; held-out cases that were not reviewed as a whole.
    worth_it
        Whether a fine-tuning is worth its time, in a sentence.
    """

    project: Path
    name: str
    base_model: str
    dataset: Path
    matching: Mapping[str, str | None]
    cases: Mapping[str, str | None]
    replay: tuple[str, ...]
    current: str
    versions: tuple[VersionEntry, ...]
    damaged: Mapping[str, str]
    problems: tuple[str, ...]
    run: Mapping[str, Any] | None
    waiting: tuple[str, ...]
    to_review: tuple[str, ...]
    worth_it: str
    promotions: tuple[PromotionEntry, ...]


@dataclass(frozen=True, kw_only=True)
class ProjectNewRequest(TypedRequest[ProjectResult], method="project.new"):
    """Begin a project; ``add`` names new structures, ``matching`` is as in ``ProjectResult``."""

    project: Path
    model: str
    dataset: Path | None = None
    add: tuple[str, ...] = ()
    matching: Mapping[str, str | None] = field(default_factory=dict)
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ProjectShowRequest(TypedRequest[ProjectResult], method="project.show"):
    """How a project stands; cases whose patient is known get their side."""

    project: Path
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ProjectMatchRequest(TypedRequest[ProjectResult], method="project.match"):
    """Say which structures of the dataset the base model has; refused when there are versions."""

    project: Path
    matching: Mapping[str, str | None] = field(default_factory=dict)
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ProjectAdmitResult:
    """A case and its side."""

    case: str
    side: str


@dataclass(frozen=True, kw_only=True)
class ProjectAdmitRequest(TypedRequest[ProjectAdmitResult], method="project.admit"):
    """Assign a patient ID to a case."""

    project: Path
    case: str
    patient: str
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ProjectReviewedRequest(TypedRequest[ProjectResult], method="project.reviewed"):
    """Mark a held-out case as reviewed as a whole."""

    project: Path
    case: str
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class FinetunePlanResult:
    """What a fine-tuning would do, and what it takes.

    Attributes
    ----------
    plan
        Its numbers, for ``FinetuneStartRequest``.
    parent, part
        The version that it begins with, and the network that learns where the model has several.
    cases, replayed
        Corrected cases, and replayed images.
    held_out
        How many cases are held out.
    replay_held_out
        Replayed images that only measure what is forgotten.
    new
        Structures that the network did not know.
    rows, sentences
        Name and value of each line to show, and what the user should read.
    estimate
        ``seconds`` in all, ``iteration_s``, ``peak_bytes`` (of a GPU's memory where one is used), ``parameters`` and
        how many of them are ``learning``.
    disk_bytes
        What it writes into the project's folder at most.
    """

    plan: Mapping[str, Any]
    parent: str
    part: str
    cases: tuple[str, ...]
    replayed: tuple[str, ...]
    held_out: int
    estimate: Mapping[str, Any]
    new: tuple[str, ...]
    sentences: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]
    disk_bytes: int = 0
    replay_held_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FinetunePlanRequest(TypedRequest[FinetunePlanResult], method="finetune.plan"):
    """Plan a fine-tuning; ``changes`` names numbers of the plan that shall be others."""

    project: Path
    changes: Mapping[str, Any] = field(default_factory=dict)
    parent: str = ""
    part: str = ""
    device: str = "auto"
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class FinetuneState:
    """How far the last fine-tuning is.

    Attributes
    ----------
    stage
        ``waiting``, ``preparing``, ``training``, ``measuring``, ``done``, ``failed``, ``cancelled`` or ``stopped``.
    fraction, eta_s
        Of everything, 0..1, and seconds left; None where they are not known.
    member, epoch
        That are trained now, counted from 1; 0 in other stages.
    loss, dice
        Of the last epoch; Dice by structure on patches of the training cases.
    version, promoted, verdict
        The new version's id, whether it became the current one, and why; empty until then.
    error
        What went wrong, as ``ActiveSegError.to_dict``.
    epochs, after
        What was told of each epoch since ``after`` of the request, and ``after`` for the next one.
    """

    run: str
    stage: str
    fraction: float
    eta_s: float | None
    member: int
    epoch: int
    loss: Annotated[float, ANY_NUMBER] | None
    dice: Mapping[str, Annotated[float, ANY_NUMBER] | None] | None
    version: str
    promoted: bool
    verdict: str
    error: Mapping[str, Any] | None
    paused: bool
    epochs: tuple[Mapping[str, Any], ...]
    after: int


@dataclass(frozen=True, kw_only=True)
class FinetuneStartRequest(TypedRequest[FinetuneState], method="finetune.start"):
    """Start a fine-tuning as it was planned; the end of the engine does not end it."""

    project: Path
    plan: Mapping[str, Any]
    parent: str = ""
    part: str = ""
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class FinetuneStateRequest(TypedRequest[FinetuneState], method="finetune.state"):
    """How far the last fine-tuning is; ``after`` of the last answer asks for the epochs since."""

    project: Path
    after: int = 0
    private_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.after < 0:
            raise InputError(f"'after' is {self.after}; it must be a whole number from 0.")


@dataclass(frozen=True, kw_only=True)
class FinetuneControlRequest(TypedRequest[FinetuneState], method="finetune.control"):
    """Pause, resume, stop or cancel the last fine-tuning; ``run`` also starts a stopped one again."""

    project: Path
    control: Literal["run", "pause", "stop", "cancel"] = "run"
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class CompareResult:
    """Two versions on the held-out cases: ``rows`` under ``headings``, and what the gate says."""

    first: str
    second: str
    verdict: Mapping[str, Any]
    cases: Mapping[str, Any]
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CompareRequest(TypedRequest[CompareResult], method="versions.compare"):
    """Compare two versions; what was not measured yet is measured."""

    project: Path
    first: str
    second: str
    device: str = "auto"
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class PromoteRequest(TypedRequest[ProjectResult], method="versions.promote"):
    """Make a version the current one."""

    project: Path
    version: str
    reason: str = "by hand"
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class RollbackRequest(TypedRequest[ProjectResult], method="versions.rollback"):
    """Make the version current that was current before."""

    project: Path
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class VersionExportResult:
    """The written file and its size."""

    file: Path
    bytes: int


@dataclass(frozen=True, kw_only=True)
class VersionExportRequest(TypedRequest[VersionExportResult], method="versions.export"):
    """Write a version as one file."""

    project: Path
    version: str
    file: Path
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class VersionImportResult:
    """The version that the file became."""

    version: str


@dataclass(frozen=True, kw_only=True)
class VersionImportRequest(TypedRequest[VersionImportResult], method="versions.import"):
    """Take a version from a file."""

    project: Path
    file: Path
    private_dir: Path | None = None

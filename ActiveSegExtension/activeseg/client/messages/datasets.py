"""Messages about datasets: export a correction, add ground truth, show, verify, open, remove, migrate, create."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activeseg.client.messages.images import ArrayFile, Image
from activeseg.client.messages.request import TypedRequest
from activeseg.client.messages.segmenting import check_images
from activeseg.core.correction import RegionState, Review
from activeseg.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was stored, or what would be; ``case``, ``revision`` and ``added`` are then None.

    Attributes
    ----------
    correction, training
        What the user changed, and what counts as ground truth of it.
    sentences
        What the user should read about it.
    """

    dataset: Path
    case: str | None
    revision: int | None
    added: bool | None
    correction: Mapping[str, Any]
    training: Mapping[str, Any]
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExportRequest(TypedRequest[ExportResult], method="export"):
    """Store a correction in a dataset.

    Attributes
    ----------
    prediction, draft
        One of them: what was corrected. A draft has its image and regions with it.
    edited
        The label map or ``.seg.nrrd`` as it was corrected.
    images
        Channel -> image, where the images are no longer where they were.
    states
        Number of a region -> its state.
    mapping
        Name or id of an unclear segment -> structure; None leaves it out.
    case
        An anonymous name; None takes the next free one.
    seconds
        How long the user worked.
    patient
        Patient ID; kept in the private file only.
    private_dir
        Folder of the private file.
    store
        False only tells what would be stored.
    """

    edited: Path | ArrayFile
    dataset: Path
    prediction: Path | None = None
    draft: Path | None = None
    images: Mapping[str, Image] | None = None
    review: Review = Review.REGIONS
    states: Mapping[int, RegionState] = field(default_factory=dict)
    mapping: Mapping[str, str | None] = field(default_factory=dict)
    case: str | None = None
    annotator: str = ""
    notes: str = ""
    seconds: float | None = None
    patient: str = ""
    private_dir: Path | None = None
    store: bool = True

    def __post_init__(self) -> None:
        if (self.prediction is None) == (self.draft is None):
            raise InputError("Give either 'prediction' or 'draft'.")
        if self.seconds is not None and not math.isfinite(self.seconds):
            raise InputError(f"'seconds' is {self.seconds}; it must be a number.")


@dataclass(frozen=True, kw_only=True)
class DatasetCreateResult:
    """The dataset's folder, whose name may have got a number."""

    dataset: Path


@dataclass(frozen=True, kw_only=True)
class DatasetCreateRequest(TypedRequest[DatasetCreateResult], method="dataset.create"):
    """Make an empty dataset."""

    dataset: Path
    schema: Mapping[str, Any]
    channels: tuple[str, ...] = ()
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetAddResult:
    """The stored case; ``added`` is false when it was there, and got another revision."""

    dataset: Path
    case: str
    revision: int
    added: bool


@dataclass(frozen=True, kw_only=True)
class DatasetAddRequest(TypedRequest[DatasetAddResult], method="dataset.add"):
    """Store an image with a label map that is known to be right.

    Attributes
    ----------
    schema
        Structures of the label map; None means the dataset's.
    mapping
        Name or value in the label map -> structure; None leaves it out.
    decided
        Structures that are annotated wherever they are; empty means all of the schema.
    same_image_again
        Store an image a second time.
    """

    dataset: Path
    images: Mapping[str, Image]
    labels: Path | ArrayFile
    schema: Mapping[str, Any] | None = None
    mapping: Mapping[str, str | None] = field(default_factory=dict)
    decided: tuple[str, ...] = ()
    case: str | None = None
    same_image_again: bool = False
    private_dir: Path | None = None

    def __post_init__(self) -> None:
        check_images(self.images)


@dataclass(frozen=True, kw_only=True)
class DatasetOpenResult:
    """A case as it is stored: arrays as files, and the structures not annotated in it yet (``waiting``).

    Attributes
    ----------
    regions, regions_folder
        Of a candidate that a model made where it still differs, as in ``SegmentResult``; else empty, and None.
    """

    case: str
    images: Mapping[str, ArrayFile]
    labels: ArrayFile
    schema: Mapping[str, Any]
    waiting: tuple[str, ...]
    revision: int
    regions: tuple[Mapping[str, Any], ...] = ()
    regions_folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetOpenRequest(TypedRequest[DatasetOpenResult], method="dataset.open"):
    """Read a case of a dataset."""

    dataset: Path
    case: str
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetFinding:
    """What does not fit; ``case`` is empty for the dataset itself."""

    case: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class DatasetVerifyResult:
    """No findings when all is well."""

    dataset: Path
    findings: tuple[DatasetFinding, ...]


@dataclass(frozen=True, kw_only=True)
class DatasetVerifyRequest(TypedRequest[DatasetVerifyResult], method="dataset.verify"):
    """Read everything in a dataset and tell what does not fit."""

    dataset: Path
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetRecoverResult:
    """What was found in a dataset.

    Attributes
    ----------
    listed, lost
        Case -> revision that is listed now; case -> why it cannot be.
    set_aside
        Files that were moved out of the way.
    rebuilt
        Whether the listing was damaged and was written again.
    """

    dataset: Path
    listed: Mapping[str, int]
    lost: Mapping[str, str]
    set_aside: tuple[str, ...]
    rebuilt: bool
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DatasetRecoverRequest(TypedRequest[DatasetRecoverResult], method="dataset.recover"):
    """List what a dataset no longer lists, and mend a damaged listing."""

    dataset: Path
    channels: tuple[str, ...] = ()
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetRemoveResult:
    """The case that was removed."""

    dataset: Path
    case: str


@dataclass(frozen=True, kw_only=True)
class DatasetRemoveRequest(TypedRequest[DatasetRemoveResult], method="dataset.remove"):
    """Remove a case with its history."""

    dataset: Path
    case: str
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetMigrateResult:
    """The new dataset, and how many cases it has."""

    dataset: Path
    cases: int


@dataclass(frozen=True, kw_only=True)
class DatasetMigrateRequest(TypedRequest[DatasetMigrateResult], method="dataset.migrate"):
    """Make a new dataset with another schema; ``rename`` says old name -> new name, None drops the structure."""

    dataset: Path
    target: Path
    schema: Mapping[str, Any]
    rename: Mapping[str, str | None] = field(default_factory=dict)
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ListedCase:
    """A case in a dataset's listing; ``waiting``: structures not annotated in it yet."""

    revision: int
    waiting: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DatasetShowResult:
    """What a dataset lists.

    Attributes
    ----------
    unlisted
        Case -> revision that the listing does not know.
    notice
        What lies in the folder besides, in a sentence; empty when nothing does.
    """

    dataset: Path
    schema: Mapping[str, Any]
    channels: tuple[str, ...]
    cases: Mapping[str, ListedCase]
    unlisted: Mapping[str, int]
    notice: str


@dataclass(frozen=True, kw_only=True)
class DatasetShowRequest(TypedRequest[DatasetShowResult], method="dataset.show"):
    """Show a dataset from its listing; nothing is changed."""

    dataset: Path
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetSweepResult:
    """The files that were removed."""

    dataset: Path
    swept: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DatasetSweepRequest(TypedRequest[DatasetSweepResult], method="dataset.sweep"):
    """Remove what writers that were killed are known to have left."""

    dataset: Path
    private_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetFolderResult:
    """The folder that is meant, as nnU-Net allows it."""

    dataset: Path
    exists: bool


@dataclass(frozen=True, kw_only=True)
class DatasetFolderRequest(TypedRequest[DatasetFolderResult], method="dataset.folder"):
    """Which folder is meant by a typed one."""

    dataset: Path

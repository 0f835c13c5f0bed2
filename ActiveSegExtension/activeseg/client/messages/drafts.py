"""Messages about drafts: save, list, open, discard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activeseg.client.messages.images import ArrayFile
from activeseg.client.messages.request import TypedRequest
from activeseg.client.messages.segmenting import SegmentResult


@dataclass(frozen=True, kw_only=True)
class DraftLayers:
    """The layers of a scene's segmentation: what the client says about them, and their ``.npy`` files."""

    json: Mapping[str, Any]
    arrays: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DraftRegions:
    """The regions with their states of now, and the ``.npz`` file of their alternatives."""

    entries: tuple[Mapping[str, Any], ...]
    alternatives: Path


@dataclass(frozen=True, kw_only=True)
class DraftBase:
    """What the edits started from.

    Attributes
    ----------
    record
        Of ``prediction.json``, or ``schema``, ``decided``, ``origin`` of a dataset's case.
    """

    record: Mapping[str, Any]
    labels: ArrayFile
    image: ArrayFile
    uncertainty: ArrayFile | None = None
    regions: DraftRegions | None = None


@dataclass(frozen=True, kw_only=True)
class DraftEntry:
    """One draft; times in ISO 8601, ``state`` as it was saved."""

    id: str
    draft: Path
    created: str
    saved: str
    bytes: int
    has_edits: bool
    state: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class DraftSaveRequest(TypedRequest[DraftEntry], method="draft.save"):
    """Replace what a draft says that the user did.

    Attributes
    ----------
    state
        Anything that the client wants back.
    base
        Only where the folder holds none, else the error's details say ``missing: "base"``.
    """

    draft: Path
    layers: DraftLayers
    state: Mapping[str, Any] = field(default_factory=dict)
    has_edits: bool = True
    regions: DraftRegions | None = None
    base: DraftBase | None = None


@dataclass(frozen=True, kw_only=True)
class DraftListResult:
    """The drafts of a folder, the one saved last first."""

    drafts: tuple[DraftEntry, ...]


@dataclass(frozen=True, kw_only=True)
class DraftListRequest(TypedRequest[DraftListResult], method="draft.list"):
    """List the drafts of a folder."""

    folder: Path


@dataclass(frozen=True, kw_only=True)
class DraftOpenResult(SegmentResult):
    """What is needed to go on: as ``SegmentResult``, and the image of the first channel, the layers and the state."""

    id: str
    image: ArrayFile
    layers: DraftLayers | None
    state: Mapping[str, Any]
    has_edits: bool


@dataclass(frozen=True, kw_only=True)
class DraftOpenRequest(TypedRequest[DraftOpenResult], method="draft.open"):
    """Read a draft."""

    draft: Path


@dataclass(frozen=True, kw_only=True)
class DraftDiscardResult:
    """Whether there was a draft."""

    draft: Path
    discarded: bool


@dataclass(frozen=True, kw_only=True)
class DraftDiscardRequest(TypedRequest[DraftDiscardResult], method="draft.discard"):
    """Remove a draft for good."""

    draft: Path

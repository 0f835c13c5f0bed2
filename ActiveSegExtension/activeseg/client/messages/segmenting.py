"""Messages about models: segment, search again, check, prepare, and the list of what there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activeseg.client.messages.images import Image
from activeseg.client.messages.request import TypedRequest
from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.segmenter import ModelInfo, Settings


def check_regions(count: int) -> None:
    """Raise InputError for a number of regions that cannot be listed."""
    if count < 0:
        raise InputError(f"'regions' is {count}; it must be a whole number from 0.")


@dataclass(frozen=True)
class JobEstimate:
    """What a segmentation needs, beside what is free. Bytes; seconds are None where nothing is known.

    Attributes
    ----------
    ram_bytes, ram_free_bytes, vram_bytes, vram_free_bytes
        Needed and free, in the computer and on the GPU; ``vram_free_bytes`` is None without a GPU.
    stages_s
        Seconds of the stages that are known, in their order.
    basis
        Where the seconds come from: ``last run``, ``timed`` or ``unknown``.
    fits
        Whether what is needed is free.
    label_stages_s
        With ``label_first``, the seconds of the stages before the label is told; they are part of ``seconds``.
    network_voxels, tiles, members, classes
        The size of the work: voxels on the network's grid, tiles in all, ensemble members, output channels.
    """

    ram_bytes: int
    ram_free_bytes: int
    vram_bytes: int = 0
    vram_free_bytes: int | None = None
    seconds: float | None = None
    stages_s: Mapping[str, float] = field(default_factory=dict)
    basis: str = "unknown"
    label_stages_s: Mapping[str, float] = field(default_factory=dict)
    fits: bool = True
    network_voxels: int = 0
    tiles: int = 0
    members: int = 1
    classes: int = 0


@dataclass(frozen=True, kw_only=True)
class SegmentResult:
    """A prediction: its record, and its arrays as files.

    Attributes
    ----------
    record
        As ``prediction.json``.
    labels, geometry
        ``.npy`` file of the label map (k, j, i) in the values of the record's schema, and its grid.
    measures, measures_geometry
        Measure of uncertainty -> ``.npy`` file, and the grid of these files, which may be coarser.
    regions
        The regions to review, as ``regions.json`` lists them.
    regions_folder
        Holds ``alternatives.npz`` and ``regions.json``; None where there are no regions.
    prediction
        The prediction folder, if one was asked for.
    fallbacks
        What was changed because memory was short, in sentences.
    peak_bytes
        Memory that the process has used at most, None where the system does not tell.
    """

    record: Mapping[str, Any]
    labels: Path
    geometry: Geometry
    measures: Mapping[str, Path] = field(default_factory=dict)
    measures_geometry: Geometry | None = None
    regions: tuple[Mapping[str, Any], ...] = ()
    regions_folder: Path | None = None
    prediction: Path | None = None
    fallbacks: tuple[str, ...] = ()
    estimate: JobEstimate | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class SegmentRequest(TypedRequest[SegmentResult], method="segment"):
    """Segment an image.

    Attributes
    ----------
    image, images
        One of them: the image of a model with one channel, or channel -> image.
    focus
        Structures in which regions are searched; empty means all.
    regions
        How many regions to review are listed at most.
    output, overwrite
        A prediction folder to write, and whether one that is there is replaced.
    allow_coarser
        Whether a coarser model may be used when memory is short.
    label_first
        Tell the label map before the views of the ensemble vote.
    draft
        A draft's folder in which image and prediction are stored.
    """

    model: str
    image: Image | None = None
    images: Mapping[str, Image] | None = None
    settings: Settings = field(default_factory=Settings)
    focus: tuple[str, ...] = ()
    regions: int = 10
    output: Path | None = None
    overwrite: bool = False
    allow_coarser: bool = False
    label_first: bool = False
    draft: Path | None = None

    def __post_init__(self) -> None:
        if (self.image is None) == (self.images is None):
            raise InputError("Give either 'image' or 'images'.", "'images' is an object: channel -> image.")
        check_images(self.images)
        check_regions(self.regions)
        check_settings(self.settings)


def check_images(images: Mapping[str, Image] | None) -> None:
    """Raise InputError for an empty choice of images."""
    if images is not None and not images:
        raise InputError("'images' names no image.", "Give one for each channel.")


def check_settings(settings: Settings) -> None:
    """Raise InputError for numbers that no run can have."""
    members = settings.members
    if members != "auto" and (isinstance(members, str) or members < 1):
        raise InputError(f"The setting 'members' is {members!r:.100}.", "Give 'auto' or a number from 1.")
    if settings.threads < 0:
        raise InputError(f"The setting 'threads' is {settings.threads}; it must be a whole number from 0.")


@dataclass(frozen=True, kw_only=True)
class RegionsResult:
    """Regions to review, as in ``SegmentResult``."""

    regions: tuple[Mapping[str, Any], ...]
    regions_folder: Path
    geometry: Geometry


@dataclass(frozen=True, kw_only=True)
class RegionsRequest(TypedRequest[RegionsResult], method="regions.find"):
    """List other regions for the case that was segmented last into that draft."""

    draft: Path
    focus: tuple[str, ...] = ()
    regions: int = 10

    def __post_init__(self) -> None:
        check_regions(self.regions)


@dataclass(frozen=True, kw_only=True)
class WarmResult:
    """The version of torch, and the device that ``auto`` means."""

    torch: str | None
    device: str


@dataclass(frozen=True, kw_only=True)
class WarmRequest(TypedRequest[WarmResult], method="engine.warm"):
    """Import what a network needs before it is asked for, and open ``model`` if one is named."""

    model: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelCheckResult:
    """What a model takes and knows: its channels, and its structures as a label schema."""

    model: str
    channels: tuple[str, ...]
    schema: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ModelCheckRequest(TypedRequest[ModelCheckResult], method="models.check"):
    """Whether a model can run with these settings; an error says why it cannot."""

    model: str
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        check_settings(self.settings)


@dataclass(frozen=True, kw_only=True)
class ModelListResult:
    """Every model that has a name of its own."""

    models: tuple[ModelInfo, ...]


@dataclass(frozen=True, kw_only=True)
class ModelListRequest(TypedRequest[ModelListResult], method="models.list"):
    """List the models that can be named without a folder."""

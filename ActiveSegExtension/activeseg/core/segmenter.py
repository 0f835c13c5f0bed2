"""What every segmenter is: the protocol, its settings, and what others may ask of it before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from activeseg.core.geometry import Box
from activeseg.core.labels import LabelSchema
from activeseg.core.network_size import NetworkSize, Overhead
from activeseg.core.progress import Progress
from activeseg.core.records import NOT_WRITTEN
from activeseg.core.shapes import ShapeReference
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes, Segmented

VIEWS_OF_ONE = 5
"""Augmented views that vote beside a network with a single trained member, where they cost little."""


class Mode(StrEnum):
    """``exact``: the original package's result, voxel for voxel; ``fast``: the same within a small tolerance."""

    FAST = "fast"
    EXACT = "exact"


class Resample(StrEnum):
    """How the result comes back to the CT's grid: as the original package does, or class-wise linear."""

    GENUINE = "genuine"
    SMOOTH = "smooth"


@dataclass(frozen=True)
class Settings:
    """What the user chose for one run, and how the engine runs it.

    Attributes
    ----------
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    members
        ``auto``, or how many members vote in all (trained ones first, then views).
    structures
        Names to segment; empty means all that the model knows.
    mirroring
        None is the original package's own habit in exact mode, and off in fast mode.
    threads
        CPU threads of the network; 0 is torch's default.
    usage_statistics
        Let TotalSegmentator send its usage statistics to its makers.
    offload
        On a GPU, keep its sums in the computer's memory: slower, but large images fit.
    in_pieces
        Segment a long image in three pieces, to save memory; not part of a prediction's record.
    keep_features
        Keep the networks' decoder features with the votes, where the run has them in memory anyway or they are small
        (``GridVotes.features``); not part of a prediction's record.
    """

    device: str = "auto"
    members: str | int = "auto"
    mode: Mode = Mode.FAST
    resample: Resample = Resample.GENUINE
    structures: tuple[str, ...] = ()
    mirroring: bool | None = None
    threads: int = 0
    usage_statistics: bool = False
    offload: bool = False
    in_pieces: bool = field(default=False, metadata=NOT_WRITTEN)
    keep_features: bool = field(default=False, metadata=NOT_WRITTEN)

    def members_of(self, size: NetworkSize, accelerated: bool) -> int:
        """How many members of a network a run asks: all of one that only helps another, else ``member_count``."""
        return size.folds if size.helps else self.member_count(size.folds, accelerated)

    def member_count(self, trained: int, accelerated: bool) -> int:
        """How many members of a network vote.

        ``auto`` is all trained members; a single one gets views where the network does not run on a CPU.
        """
        if self.members != "auto":
            return int(self.members)
        return trained if trained > 1 or not accelerated else 1 + VIEWS_OF_ONE


@dataclass(frozen=True)
class TrainableNetwork:
    """A model folder of nnU-Net that fine-tuning can begin with.

    Attributes
    ----------
    folder
        With plans.json, dataset.json and fold_*.
    folds
        Names of its members; None for all that are there.
    values
        Structure -> its value in this network's label maps.
    part
        Of a model of several networks, the dataset folder of this one (``Dataset291_...``) and its number; else empty.
    """

    folder: Path
    folds: tuple[str, ...] | None
    values: Mapping[str, int]
    part: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trainable:
    """What fine-tuning needs of a model.

    Attributes
    ----------
    family
        ``nnunet`` or ``totalsegmentator``.
    task
        TotalSegmentator's task; empty for nnU-Net.
    networks
        One or several; the one that owns most of what was corrected learns.
    """

    family: str
    task: str
    networks: tuple[TrainableNetwork, ...]


class Segmenter(Protocol):
    """Something that can segment, chosen by a name (``totalsegmentator:total``, ``nnunet:/folder``, ``hounsfield``).

    A class that names this one as its base inherits what a segmenter without a network answers. Nothing outside of
    ``segmenters`` asks for a segmenter's class: what others need to know is asked here.
    """

    @property
    def name(self) -> str: ...

    @property
    def schema(self) -> LabelSchema:
        """All structures that it knows; also the values of its label maps, whatever subset is asked for."""
        ...

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the images it needs, in its own order; a CT model has one."""
        ...

    def check(self, settings: Settings) -> None:
        """Look whether it can run, before any work.

        Raises
        ------
        ModelError, DeviceError
            It cannot run here.
        InputError
            A structure is unknown.
        """
        ...

    def segment(self, images: Mapping[str, Volume], settings: Settings, progress: Progress) -> Segmented:
        """Segment; ``images`` holds one Volume for each of ``channels``, all on one grid.

        Leaves nothing behind on disk.

        Raises
        ------
        InputError, ModelError, DeviceError, Cancelled
        """
        ...

    def evidence(
        self,
        images: Mapping[str, Volume],
        box_kji: Box | None,
        settings: Settings,
        progress: Progress,
        structures: Sequence[str] = (),
    ) -> GridVotes:
        """What the members say, with the networks' decoder features where they have them, whatever the settings' mode.

        Parameters
        ----------
        box_kji
            On the images' grid; the votes need not cover more than it. None: the whole image.
        structures
            Only the networks that know one of these need to be asked; empty means all.

        Raises
        ------
        InputError, ModelError, DeviceError, Cancelled
        """
        return self.segment(images, settings, progress).grid

    def networks(self, settings: Settings) -> tuple[NetworkSize, ...]:
        """The networks that a run will load, those that help first; empty without any, or when nothing is known."""
        return ()

    def overhead(self, settings: Settings) -> Overhead:
        """What the package around the networks takes."""
        return Overhead(48, 48, 48)

    @property
    def splits(self) -> bool:
        """Whether it can segment a long image in pieces (``Settings.in_pieces``)."""
        return False

    @property
    def coarser(self) -> str | None:
        """Name of the model that segments the same structures on a coarser grid."""
        return None

    @property
    def trainable(self) -> Trainable | None:
        """What fine-tuning needs; None for what cannot learn."""
        return None

    @property
    def shapes(self) -> ShapeReference | None:
        """What shape its structures usually have; None where that is not known."""
        return None

    @property
    def warm_bytes(self) -> int:
        """Memory of the weights that it has loaded."""
        return 0

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it is made of, where they may change while it is kept in memory."""
        return ()


class ModelGroup(StrEnum):
    """Under what a list of models offers one."""

    WHOLE_BODY = "whole body"
    ORGANS = "organs"
    YOUR_MODELS = "your models"
    YOUR_PROJECTS = "your projects"
    DEMONSTRATION = "demonstration"


@dataclass(frozen=True)
class ModelInfo:
    """One line of ``activeseg models``.

    Attributes
    ----------
    state
        ``ready``, ``missing`` (weights are downloaded at the first use), ``damaged``, ``other version`` (of the
        weights) or ``licence`` (one has to be entered first).
    folder
        Of its weights, where it has some.
    coarser
        Name of the model that segments the same structures on a coarser grid; empty without one.
    group
        Where a list offers it.
    download_bytes
        What its first use downloads: 0 where its weights are here, None where that is not known.
    licence_page
        Where the licence that it needs is got, whether or not one was entered; empty where it needs none.
    spacing_mm
        Spacing (x, y, z) of the grid that it segments on; None where the image or the weights decide that.
    """

    name: str
    family: str
    description: str
    modality: str
    structures: tuple[str, ...]
    state: str
    folder: str = ""
    coarser: str = ""
    group: ModelGroup = ModelGroup.ORGANS
    download_bytes: int | None = 0
    licence_page: str = ""
    spacing_mm: tuple[float, float, float] | None = None

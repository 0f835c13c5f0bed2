"""What every segmenter is: the protocol, its settings, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.volume import Volume
from activeseg.core.votes import Segmented


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
    """What the user chose for one run.

    Attributes
    ----------
    device : ``auto``, ``cpu``, ``cuda``, ``mps``
    members : ``auto``, or how many members vote in all (trained ones first, then views)
    structures : names to segment; empty means all that the model knows
    mirroring : None = as the original package in exact mode, off in fast mode
    threads : CPU threads of the network; 0 = torch's default
    usage_statistics : let TotalSegmentator send its usage statistics to its makers
    offload : on a GPU, keep its sums in the computer's memory: slower, but large images fit
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


class Segmenter(Protocol):
    """Something that can segment, chosen by a name (``totalsegmentator:total``, ``nnunet:/folder``, ``hounsfield``)."""

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
        """Raise before any work when it cannot run: ModelError, DeviceError, InputError (unknown structure)."""
        ...

    def segment(self, images: Mapping[str, Volume], settings: Settings, progress: Progress) -> Segmented:
        """Segment; ``images`` holds one Volume for each of ``channels``, all on one grid.

        Raises InputError, ModelError, DeviceError, Cancelled. Leaves nothing behind on disk.
        """
        ...


@dataclass(frozen=True)
class ModelInfo:
    """One line of ``activeseg models``.

    ``state`` is ``ready``, ``missing`` (weights are downloaded at the first use), ``damaged``, ``other version``
    (of the weights) or ``licence`` (one has to be entered first).
    """

    name: str
    family: str
    description: str
    modality: str
    structures: tuple[str, ...]
    state: str
    folder: str = ""

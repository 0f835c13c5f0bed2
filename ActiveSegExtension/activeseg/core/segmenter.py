"""What every segmenter is: the protocol, its settings, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.volume import Geometry, Volume
from activeseg.review.uncertainty import ENTROPY_UNIT


class Mode(StrEnum):
    """``exact``: the genuine arithmetic, voxel by voxel; ``fast``: the same within design section 5's tolerance."""

    FAST = "fast"
    EXACT = "exact"


class Resample(StrEnum):
    """How the result comes back to the CT's grid: as the genuine package does, or class-wise linear."""

    GENUINE = "genuine"
    SMOOTH = "smooth"


class MemberKind(StrEnum):
    """Trained members decide the label; views only vote for uncertainty and alternatives."""

    TRAINED = "trained"
    VIEW = "view"


@dataclass(frozen=True)
class Member:
    """One voter of the ensemble; ``name`` is shown to users (``fold 0``, ``noise``, ``thresholds +20 HU``)."""

    name: str
    kind: MemberKind


@dataclass(frozen=True)
class Settings:
    """What the user chose for one run.

    Attributes
    ----------
    device : ``auto``, ``cpu``, ``cuda``, ``mps``
    members : ``auto``, or how many members vote in all (trained ones first, then views)
    structures : names to segment; empty means all that the model knows
    mirroring : None = the genuine package's own habit in exact mode, off in fast mode
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


@dataclass(frozen=True)
class GridVotes:
    """What the members said, on the network's grid, in array axes (k, j, i) of ``geometry``.

    Attributes
    ----------
    geometry : the network's grid in the patient; it may cover only a crop of the CT
    labels : the ensemble's label map there (final schema values)
    votes : one label map for each member, in the order of ``members``
    entropy, variance, mutual_information : float32, divided by their maximum (0..1), NaN where not computed;
        variance and mutual information are None for a single member
    entropy_bound : the maximum of the entropy, in nats: log C for C classes, log 2 for regions
    voters : how many members vote at each voxel (uint8), or None where all do
    """

    geometry: Geometry
    labels: npt.NDArray[Any]
    members: tuple[Member, ...]
    votes: tuple[npt.NDArray[Any], ...]
    entropy: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32] | None = None
    mutual_information: npt.NDArray[np.float32] | None = None
    voters: npt.NDArray[np.uint8] | None = None
    entropy_bound: float = ENTROPY_UNIT

    @property
    def default_measure(self) -> str:
        """Variance from four members on, entropy below (measured, design section 5)."""
        return "variance" if self.variance is not None and len(self.members) >= 4 else "entropy"

    def measure(self, name: str) -> npt.NDArray[np.float32] | None:
        """``entropy``, ``variance`` or ``mutual_information`` as it is shown and stored; None when there is none.

        The scale (0..1) is one for all models: an entropy of 1 is a coin toss between two structures, however many
        there are, and what is more is 1, too.
        """
        value = self.ranking(name)
        if value is None or name != "entropy" or self.entropy_bound == ENTROPY_UNIT:
            return value
        shown: npt.NDArray[np.float32] = np.minimum(
            value * np.float32(self.entropy_bound / ENTROPY_UNIT), np.float32(1)
        )
        return shown

    def ranking(self, name: str) -> npt.NDArray[np.float32] | None:
        """As ``measure``, but not clipped (0..1 of its bound): by this the search for regions tells bad from worse."""
        value: npt.NDArray[np.float32] | None = getattr(self, name)
        return value


@dataclass(frozen=True)
class Segmented:
    """A segmenter's answer for one CT.

    Attributes
    ----------
    labels : (k, j, i) on the CT's grid, uint8 or uint16, values of ``schema``
    decided : names of the structures that this run decided (all, or the chosen subset)
    grid : the members' votes and uncertainty
    timings : seconds for each stage
    details : what else belongs into the record (weights' folder, folds, device, arithmetic, library versions)
    """

    labels: npt.NDArray[Any]
    schema: LabelSchema
    decided: tuple[str, ...]
    grid: GridVotes
    timings: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


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

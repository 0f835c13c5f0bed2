"""What the members of an ensemble say: who they are, their votes on a grid, and the segmentation that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.uncertainty_scale import ENTROPY_UNIT


class MemberKind(StrEnum):
    """Trained members decide the label; views only vote for uncertainty and alternatives."""

    TRAINED = "trained"
    VIEW = "view"


@dataclass(frozen=True)
class Member:
    """One ensemble member; ``name`` is shown to users (``fold 0``, ``noise``, ``thresholds +20 HU``)."""

    name: str
    kind: MemberKind


@dataclass(frozen=True, eq=False)
class DecoderFeatures:
    """What one network computed before its last layer, a convolution of 1 x 1 x 1, on its own grid.

    A trained member's logits are ``weights @ features + biases``, class by class.

    Attributes
    ----------
    geometry
        The network's grid, array axes (k, j, i); it may cover only a part of the CT.
    features
        For each trained member (F, k, j, i), float16.
    weights, biases
        For each trained member (C, F) and (C,), float32.
    values
        (C,): the value of each of the network's classes in the schema of the model; 0 for background and for classes
        that are no structures.
    """

    geometry: Geometry
    features: tuple[npt.NDArray[np.float16], ...]
    weights: tuple[npt.NDArray[np.float32], ...]
    biases: tuple[npt.NDArray[np.float32], ...]
    values: npt.NDArray[Any]

    @property
    def nbytes(self) -> int:
        """Memory that the features take."""
        return sum(member.nbytes for member in self.features)


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
    voting : how many members vote at each voxel (uint8), or None where all do
    features : what the networks computed before their last layers, where that was kept (``Settings.keep_features``);
        one entry for each part model, in the order in which their labels are merged (a later one wins)
    """

    geometry: Geometry
    labels: npt.NDArray[Any]
    members: tuple[Member, ...]
    votes: tuple[npt.NDArray[Any], ...]
    entropy: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32] | None = None
    mutual_information: npt.NDArray[np.float32] | None = None
    voting: npt.NDArray[np.uint8] | None = None
    entropy_bound: float = ENTROPY_UNIT
    features: tuple[DecoderFeatures, ...] = ()

    @property
    def default_measure(self) -> str:
        """Variance from four members on, entropy below (measured)."""
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

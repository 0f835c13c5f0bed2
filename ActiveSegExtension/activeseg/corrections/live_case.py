"""A case while a person corrects it: its images, its model, and what the model says about them.

Prompts and the spread of corrections stand on what the model computed. A run keeps it where that is little; otherwise
it is computed again, for one box or for the whole image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import RegionReview
from activeseg.core.errors import InputError
from activeseg.core.geometry import Box, Geometry, grown, holds, slices_of
from activeseg.core.label_map import LabelMap, check_label_map
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.prompt import Prompt
from activeseg.core.segmenter import Segmenter, Settings
from activeseg.core.shapes import ShapeReference
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes, Member, MemberKind, Segmented
from activeseg.refiners.adapted_votes import adapted_votes
from activeseg.refiners.base import RefinableCase, Refiner
from activeseg.refiners.choosing import AUTO, available, refiner_named
from activeseg.refiners.spreading import Spread, SpreadCase, reviewed_of, spread
from activeseg.review.alternatives import Alternative
from activeseg.review.regions import FoundRegion, body_volume_mm3, find_regions, without

ANYWHERE_MM = 48.0
"""Half of the edge of a box around prompts that lie in no region: a box of 96 mm holds most of what a click repairs."""


@dataclass
class LiveCase:
    """What is known of a case; what was computed for a box is kept for the next prompt in it.

    Attributes
    ----------
    images
        By channel, on one grid; the first is what refiners look at.
    predicted
        The label map (k, j, i) that the corrections started from, in the values of ``schema``.
    segmenter
        The model that made it; None for a case that no model predicted, such as one of a dataset.
    whole
        What the run kept; None where nothing was.
    """

    images: Mapping[str, Volume]
    schema: LabelSchema
    predicted: LabelMap
    segmenter: Segmenter | None
    settings: Settings = field(default_factory=Settings)
    whole: GridVotes | None = None
    _near: tuple[Box, GridVotes] | None = field(default=None, repr=False)
    _answering: dict[str, Refiner] = field(default_factory=dict, repr=False)
    """By their names; one with a network of its own keeps it for the next prompt."""

    def __post_init__(self) -> None:
        if self.segmenter is not None and self.segmenter.schema.names != self.schema.names:
            raise InputError(
                f"The case has other structures than the model {self.segmenter.name} has now.",
                "Segment the CT again with this model.",
            )
        check_label_map(self.predicted, self.schema, self.geometry.shape_kji, "The case's label map")

    @property
    def ct(self) -> Volume:
        return next(iter(self.images.values()))

    @property
    def geometry(self) -> Geometry:
        return self.ct.geometry

    @property
    def shapes(self) -> ShapeReference | None:
        """What the model knows of usual shapes."""
        return None if self.segmenter is None else self.segmenter.shapes

    @property
    def keeps(self) -> bool:
        """Whether what the model says need not be computed again for a box."""
        return self.whole is not None and (bool(self.whole.features) or not self._has_network)

    @property
    def _has_network(self) -> bool:
        return self.segmenter is not None and bool(self.segmenter.networks(self.settings))

    def votes_in(self, box_kji: Box, progress: Progress) -> GridVotes:
        """What the model says in a box of the CT; where there is no model, what the label map does.

        Raises
        ------
        InputError, ModelError, DeviceError, Cancelled
        """
        check_box(box_kji, self.geometry)
        if self.whole is not None and self.keeps:
            return self.whole
        if self._near is not None and holds(self._near[0], box_kji):
            return self._near[1]
        if self.segmenter is None:
            return _undecided(self.predicted[slices_of(box_kji)], self.geometry.cropped(box_kji), 1)
        votes = self.segmenter.evidence(self.images, box_kji, self.settings, progress)
        if not votes.features and self.whole is not None:
            votes = self.whole  # a model of regions has none, and the run's own votes are better than a patch's
        self._near = (_all_of(self.geometry) if votes is self.whole or not self._has_network else box_kji, votes)
        return votes

    def refiners(self, box_kji: Box, progress: Progress) -> tuple[str, ...]:
        """Which refiners can answer in a box, the one that ``auto`` takes first. Raises as ``votes_in``."""
        return available(RefinableCase(self.ct, self.schema, self.votes_in(box_kji, progress)))

    def refine(
        self,
        labels: npt.NDArray[Any],
        box_kji: Box,
        prompts: Sequence[Prompt],
        progress: Progress,
        refiner: str = AUTO,
    ) -> Alternative:
        """Answer prompts in a box, whose labels (k, j, i) are these now.

        Raises
        ------
        InputError
            A prompt lies outside of the box, its structure is unknown, or there is no such refiner.
        ModelError, DeviceError, Cancelled
        """
        check_box(box_kji, self.geometry)
        shape = tuple(high - low for low, high in box_kji)
        check_label_map(labels, self.schema, shape, "The box's label map")
        for prompt in prompts:
            self.schema.named(prompt.structure)
        if self.segmenter is None:
            meant = self.schema.named(prompts[-1].structure).value
            votes = _undecided(labels, self.geometry.cropped(box_kji), meant)
        else:
            votes = self.votes_in(box_kji, progress)
        case = RefinableCase(self.ct, self.schema, votes, self.settings)
        progress("refine", 0.5)
        made = refiner_named(refiner, case)
        return self._answering.setdefault(made.name, made).refine(case, labels, box_kji, prompts)

    def spread(self, labels: LabelMap, regions: Sequence[RegionReview], progress: Progress) -> Spread:
        """Learn from the reviewed regions, and propose labels for the rest; ``labels`` (k, j, i) are those of now.

        Raises
        ------
        InputError
            It cannot be done in this case, and why.
        ModelError, DeviceError, Cancelled
        """
        self._check_state(labels, regions)
        votes = self.whole
        if votes is None or not votes.features:
            if not self._has_network or self.segmenter is None:
                raise InputError(
                    "Corrections can be spread only where a network predicted the case.",
                    "Correct the other regions one by one.",
                )
            reviewed_of(regions)  # before what takes long
            moved = labels != self.predicted
            changed = np.unique([*np.unique(labels[moved]), *np.unique(self.predicted[moved])])
            names = [self.schema.name_of(int(value)) for value in changed if 0 < value <= len(self.schema)]
            votes = self.segmenter.evidence(self.images, None, self.settings, progress.part(0.0, 0.8), names)
            progress = progress.part(0.8, 1.0)
        return spread(SpreadCase(self.geometry, self.schema, votes, self.predicted, labels), regions, progress)

    def take(
        self,
        proposal: Spread,
        labels: LabelMap,
        reviewed: Sequence[RegionReview],
        focus: Sequence[str],
        count: int,
        progress: Progress,
    ) -> tuple[FoundRegion, ...]:
        """Go on from a proposal that was taken, in whole or in part: find the regions to review on the new state.

        Parameters
        ----------
        labels
            (k, j, i), after it was taken.
        reviewed
            The regions that were there. Those that were reviewed hold no doubt any more; new ones are numbered after
            all of them.

        Raises
        ------
        InputError
            The label map, a region's box or a structure in ``focus`` is none of this case.
        Cancelled
        """
        self._check_state(labels, reviewed)
        for name in focus:
            self.schema.named(name)
        votes = adapted_votes(proposal, labels, progress.part(0.0, 0.7))
        progress("regions", 0.7)
        done = [region for region in reviewed if region.state.reviewed]
        segmented = Segmented(labels, self.schema, self.schema.names, without(votes, self.geometry, done))
        found = find_regions(segmented, self.geometry, focus, count, body_mm3=body_volume_mm3(self.ct))
        first = max((region.number for region in reviewed), default=0)
        self.whole, self.predicted = votes, labels  # what follows is learned from here
        return tuple(replace(region, number=first + region.number) for region in found)

    def _check_state(self, labels: LabelMap, regions: Sequence[RegionReview]) -> None:
        """Raise InputError for a label map or regions that cannot be those of this case now."""
        check_label_map(labels, self.schema, self.geometry.shape_kji, "The edited label map")
        numbers = [region.number for region in regions]
        for number, region in zip(numbers, regions, strict=True):
            check_box(region.box_kji, self.geometry)
            if numbers.count(number) > 1:
                raise InputError(f"Region {number} is listed twice.", "List each region once.")


def box_around(prompts: Sequence[Prompt], geometry: Geometry, margin_mm: float = ANYWHERE_MM) -> Box:
    """A box around prompts that lie in no region, as far as the image reaches. Raises InputError outside of it."""
    k, j, i = (
        (min(low for low, _ in spans), max(high for _, high in spans))
        for spans in zip(*(prompt.box_kji for prompt in prompts), strict=True)
    )
    if not holds(_all_of(geometry), (k, j, i)):
        raise InputError("A prompt lies outside of the image.", "Point at a voxel of the image.")
    return grown((k, j, i), geometry, margin_mm)


def check_box(box_kji: Box, geometry: Geometry) -> None:
    """Raise InputError for a box that holds no voxel, or others than the image's."""
    for (low, high), length in zip(box_kji, geometry.shape_kji, strict=True):
        if not 0 <= low < high <= length:
            raise InputError(
                f"The box {box_kji} does not lie in the image of {geometry.shape_kji} voxels.", "Choose another box."
            )


def _all_of(geometry: Geometry) -> Box:
    k, j, i = geometry.shape_kji
    return (0, k), (0, j), (0, i)


def _undecided(labels: LabelMap, geometry: Geometry, value: int) -> GridVotes:
    """What is known without a model: every structure is where the label map has it, and background may be this one."""
    filled = np.where(labels == 0, np.asarray(value, labels.dtype), labels)
    members = (Member("label map", MemberKind.TRAINED), Member("undecided", MemberKind.VIEW))
    return GridVotes(geometry, labels, members, (labels, filled), np.zeros(labels.shape, np.float32))

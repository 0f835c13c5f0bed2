"""One case: a proposal is made, the rule is applied, and what still differs becomes a list of regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from activeseg.candidates.proposers import Proposer
from activeseg.candidates.rule import DEFAULT_RULE, Proposal, Rule, refined
from activeseg.core.correction import Correction
from activeseg.core.errors import InputError
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.records import NOT_WRITTEN
from activeseg.core.volume import Volume
from activeseg.review.label_differences import find_differences
from activeseg.review.regions import FoundRegion

MACHINE = "machine"
"""The annotator of a candidate."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """What became of a case.

    Attributes
    ----------
    labels
        The old label map with what the rule changed, on the grid of the old one.
    regions
        Where the proposal differs from it, largest first; taking an alternative takes the proposal there.
    correction
        What changed, structure by structure.
    agreement
        For each structure that was looked for the mean pairwise Dice of the members, where it is known.
    agreeing
        The structures whose voxels may change.
    members
        How many voted.
    not_listed_mm3
        What differs in no region.
    """

    labels: Volume = field(metadata=NOT_WRITTEN)
    regions: tuple[FoundRegion, ...] = field(metadata=NOT_WRITTEN)
    correction: Correction = field(metadata=NOT_WRITTEN)
    agreement: Mapping[str, float | None]
    agreeing: tuple[str, ...]
    members: int
    not_listed_mm3: float

    def sentence(self) -> str:
        """What a person reads of it."""
        count = len(self.regions)
        told = f"{self.correction.voxels_changed} voxels changed, {count} region{'' if count == 1 else 's'} to review"
        if self.members < 2:
            return f"{told}. There is no second member to agree with, so nothing changes without a person."
        undecided = [name for name in self.agreement if name not in self.agreeing]
        if not undecided:
            return f"{told}."
        shown = ", ".join(undecided[:5]) + (", ..." if len(undecided) > 5 else "")
        return f"{told}. The members do not agree on {shown}: listed only."


def candidate_of(
    proposer: Proposer,
    images: Mapping[str, Volume],
    old: Volume,
    schema: LabelSchema,
    rule: Rule = DEFAULT_RULE,
    progress: Progress | None = None,
) -> Candidate:
    """Refine one label map.

    Parameters
    ----------
    images
        For each of the proposer's channels its image.
    old
        Label map of ``schema`` on the images' grid; it stays as it is.

    Raises
    ------
    InputError, ModelError, DeviceError, Cancelled
    """
    progress = progress or Progress()
    proposal = proposer.propose(images, old, schema, progress.part(0.0, 0.9))
    progress("compare", 0.9)
    return judged(proposal, proposer.name, old, schema, rule)


def judged(proposal: Proposal, name: str, old: Volume, schema: LabelSchema, rule: Rule) -> Candidate:
    """What the rule makes of the proposal that ``name`` has for an old label map."""
    after = refined(old.array, proposal, schema, rule)
    found = find_differences(
        after.labels, proposal.labels, after.differs, old.geometry, schema, name, proposal.resolution_mm
    )
    correction = Correction.between(old.array, after.labels, old.geometry, schema, annotator=MACHINE)
    return Candidate(
        Volume(after.labels, old.geometry, "labels"),
        found.regions,
        correction,
        proposal.agreement,
        after.agreeing,
        proposal.members,
        round(found.not_listed * old.geometry.voxel_mm3, 3),
    )


def images_for(proposer: Proposer, images: Mapping[str, Volume]) -> dict[str, Volume]:
    """The images of a case by the proposer's channels. Raises InputError when one is missing."""
    if len(images) == len(proposer.channels) == 1:
        return dict(zip(proposer.channels, images.values(), strict=True))
    check_channels(proposer, tuple(images))
    return {channel: images[channel] for channel in proposer.channels}


def check_channels(proposer: Proposer, channels: Sequence[str]) -> None:
    """Raise InputError unless the cases have the images that the proposer needs."""
    if len(channels) == len(proposer.channels) == 1:
        return
    missing = [channel for channel in proposer.channels if channel not in channels]
    if missing:
        raise InputError(
            f"'{proposer.name}' needs the images {', '.join(proposer.channels)}; the cases have {', '.join(channels)}.",
            "Choose a model for these images.",
            setting="model",
        )

"""Messages about prompts in a region, and about corrections that are spread over the rest of a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activeseg.client.messages.images import Image
from activeseg.client.messages.request import TypedRequest
from activeseg.client.messages.segmenting import RegionsResult, check_images, check_regions, check_settings
from activeseg.core.correction import RegionReview
from activeseg.core.errors import InputError
from activeseg.core.geometry import Box
from activeseg.core.prompt import Prompt
from activeseg.core.segmenter import Settings


@dataclass(frozen=True, kw_only=True)
class OpenCaseResult:
    """A case that is ready for prompts.

    Attributes
    ----------
    session
        Names it in ``refine`` and ``spread`` while the engine's worker keeps it: until another case is opened or
        segmented, or the worker ends.
    refiners
        Which can answer, the one that ``auto`` takes first.
    kept
        Whether the engine still had what the model says; otherwise it is computed again for each box.
    spreads
        Whether corrections can be spread in this case.
    why_not
        A sentence, where they cannot.
    """

    session: str
    refiners: tuple[str, ...]
    kept: bool
    spreads: bool
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class OpenCaseRequest(TypedRequest[OpenCaseResult], method="refine.open"):
    """Get a case ready for prompts: read it, load its model, and look at a box of it.

    Attributes
    ----------
    draft
        The draft of the case; without one, ``model`` and an image are needed.
    image, images
        The image of a model with one channel, or channel -> image; not read with a draft.
    model, settings
        What the case was segmented with; with a draft, that of its prediction.
    predicted
        ``.npy`` file with the label map (k, j, i) that the corrections started from; needed without a draft.
    box_kji
        The box that will be prompted first (half-open index ranges on the image's grid).
    """

    draft: Path | None = None
    image: Image | None = None
    images: Mapping[str, Image] | None = None
    model: str = ""
    settings: Settings = field(default_factory=Settings)
    predicted: Path | None = None
    box_kji: Box | None = None

    def __post_init__(self) -> None:
        if self.draft is None and (
            not self.model or self.predicted is None or (self.image is None) == (self.images is None)
        ):
            raise InputError("Give a 'draft', or a 'model', 'predicted', and 'image' or 'images'.")
        check_images(self.images)
        check_settings(self.settings)


@dataclass(frozen=True, kw_only=True)
class RefineResult:
    """An alternative labelling of the box.

    Attributes
    ----------
    alternative
        As an entry of ``alternatives`` in ``regions.json``; its gains and losses are empty where nothing would change.
    patch
        ``.npz`` file with ``labels`` and ``changed`` (k, j, i) over the box.
    box_kji
        The box that was refined.
    refiner
        Which one answered.
    """

    alternative: Mapping[str, Any]
    patch: Path
    box_kji: Box
    refiner: str


@dataclass(frozen=True, kw_only=True)
class RefineRequest(TypedRequest[RefineResult], method="refine"):
    """Answer prompts in a box.

    Attributes
    ----------
    labels
        ``.npy`` file with the labels of the box (k, j, i) as they are now, in the values of the model's schema.
    box_kji
        Nothing outside of it changes (half-open index ranges).
    prompts
        All that were given for this box, in their order.
    refiner
        ``auto``, or one that ``refine.open`` named.
    """

    session: str
    labels: Path
    box_kji: Box
    prompts: tuple[Prompt, ...]
    refiner: str = "auto"

    def __post_init__(self) -> None:
        if not self.prompts:
            raise InputError("'prompts' is empty.", "Give at least one.")


@dataclass(frozen=True, kw_only=True)
class SpreadChange:
    """What spreading would do to one structure, in voxels of the CT and in mm3."""

    name: str
    voxels_gained: int
    voxels_lost: int
    mm3_gained: float
    mm3_lost: float


@dataclass(frozen=True, kw_only=True)
class SpreadResult:
    """A proposal for the rest of the case.

    Attributes
    ----------
    offered
        Whether leaving corrected regions out says that it improves what was not looked at.
    why
        A sentence: why it is offered or not.
    expected_gain
        Mean rise of the Dice in regions that were left out, 0..1; None where nothing could be left out.
    regions_used
        Numbers of the regions that it learned from.
    changes
        By structure, the largest change first; empty where it is not offered.
    labels
        ``.npy`` file of the label map of the whole CT after it; None where it is not offered.
    """

    offered: bool
    why: str
    expected_gain: float | None = None
    regions_used: tuple[int, ...] = ()
    changes: tuple[SpreadChange, ...] = ()
    labels: Path | None = None


@dataclass(frozen=True, kw_only=True)
class SpreadRequest(TypedRequest[SpreadResult], method="spread"):
    """Learn from a case's reviewed regions, and propose labels for the rest of it.

    Attributes
    ----------
    labels
        ``.npy`` file of the whole label map as it is now (k, j, i), in the values of the model's schema.
    regions
        The case's regions with their states; accepted and corrected ones are what is learned from, and do not change.
    """

    session: str
    labels: Path
    regions: tuple[RegionReview, ...]


@dataclass(frozen=True, kw_only=True)
class SpreadTakenRequest(TypedRequest[RegionsResult], method="spread.taken"):
    """The last proposal was taken: find the regions to review again, by what the adapted model says now.

    Attributes
    ----------
    labels
        ``.npy`` file of the whole label map as it is now.
    reviewed
        The regions that were there, with their states: in those that were reviewed none is found, and new ones are
        numbered after all of them.
    focus, regions
        As in ``segment``.
    """

    session: str
    labels: Path
    reviewed: tuple[RegionReview, ...] = ()
    focus: tuple[str, ...] = ()
    regions: int = 10

    def __post_init__(self) -> None:
        check_regions(self.regions)

"""One run of a segmentation: what the user chose for it, how far it is, and what it holds until its end."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Any

from activeseg.core.segmenter import Mode, Settings

from ..engine.inbox import Inbox
from ..scene.case import Case
from ..scene.placement import geometry_of
from ..scene.volume_node import fingerprint
from ..slicer_types import Node


@dataclass(frozen=True)
class Choice:
    """What the user chose for a run.

    Attributes
    ----------
    model, device, members, mode
        As the engine names them, see ``activeseg.core.segmenter.Settings``
    structures
        Names to segment; empty means all that the model knows
    focus
        Structures that the regions may be about; empty means all
    regions
        How many regions to review to list
    preview
        A coarser model, whose result is shown first; empty: none
    allow_coarser
        Take a coarser model when memory runs out
    usage_statistics
        Let TotalSegmentator tell its developers that it was used
    """

    model: str
    device: str = "auto"
    members: str | int = "auto"
    mode: str = "fast"
    structures: tuple[str, ...] = ()
    focus: tuple[str, ...] = ()
    regions: int = 10
    preview: str = ""
    allow_coarser: bool = False
    usage_statistics: bool = False

    def settings(self) -> Settings:
        """What the engine needs to know of it."""
        return Settings(
            device=self.device,
            members=self.members,
            mode=Mode(self.mode),
            structures=self.structures,
            usage_statistics=self.usage_statistics,
        )


@dataclass(frozen=True)
class Running:
    """How far the run is.

    Attributes
    ----------
    fraction
        Of the whole run; it never falls
    label_shown
        Only the uncertainty is still being refined, and may be stopped
    is_late
        The stage takes longer than the engine expected
    is_first
        The engine has not segmented since its start: its packages and the model are loaded first
    has_ct
        Whether the CT is still in the scene
    """

    ct_name: str
    model: str
    stage: str = "start"
    fraction: float = 0.0
    eta_s: float | None = None
    text: str = ""
    label_shown: bool = False
    is_late: bool = False
    is_first: bool = False
    has_ct: bool = True


class Run:
    """One run, from the click to its end."""

    def __init__(self, ct_node: Node, choice: Choice, state: Running) -> None:
        self.ct_node = ct_node
        self.choice = choice
        self.state = state
        self.id = uuid.uuid4().hex
        self.geometry, self.image = geometry_of(ct_node), fingerprint(ct_node)
        self.jobs: list[str] = []
        self.inbox: Inbox | None = None
        self.case: Case | None = None
        self.previewed = False
        self.shown_members = 0

    def tell(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)

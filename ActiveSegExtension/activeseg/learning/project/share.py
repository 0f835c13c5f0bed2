"""How much of what was learnt a version keeps, chosen on held-out replayed images.

Between a parent and what it became, gain and forgetting do not fall in step: half of the way gives most of the gain
(Wortsman et al., "Robust fine-tuning of zero-shot models", 2022). How far to go is chosen on replayed images alone: the
held-out cases judge the version afterwards, and must not have chosen it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from activeseg.core.records import Within
from activeseg.learning.project.gate import CaseDice, OldSkill, kept_of

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Of what was learnt, tried in this order; 1 is the version as it was trained."""


@dataclass(frozen=True)
class Chosen:
    """The share of a version, and what was measured on held-out replayed images.

    Attributes
    ----------
    share : of what was learnt
    parent, child : Dice by case and structure; empty where nothing was measured
    tried : share, as text -> mean Dice of the version with it
    """

    share: Annotated[float, Within(0, 1)] = 1.0
    parent: CaseDice = field(default_factory=dict)
    child: CaseDice = field(default_factory=dict)
    tried: Mapping[str, float] = field(default_factory=dict)

    def kept(self, margin: float) -> OldSkill | None:
        """For the gate."""
        return kept_of(self.parent, self.child, margin)


def choose(parent: CaseDice, child: Callable[[float], CaseDice], margin: float) -> Chosen:
    """The largest share with which no more than ``margin`` is forgotten; the smallest when there is none.

    Parameters
    ----------
    parent : Dice on held-out replayed images
    child : measures the version with that share there
    """
    tried: dict[str, float] = {}
    for share in SHARES:
        found = child(share)
        kept = kept_of(parent, found, margin)
        if kept is None:
            return Chosen()
        tried[f"{share:g}"] = kept.after
        if not kept.falls:
            break
    return Chosen(share, parent, found, tried)

"""Whether a new version may become current: no structure falls by more than a margin, the mean rises, and on held-out
replayed images it does not forget more than a margin either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from activeseg.core.records import ANY_NUMBER, Count, if_missing

MARGIN = 0.01
"""Dice; one point."""
FORGETTING_MARGIN = 0.005
"""Mean Dice on held-out replayed images; half a point."""
CASES_FOR_BOOTSTRAP = 5
_DRAWS, _SEED = 2000, 0

CaseDice = Mapping[str, Mapping[str, float]]
"""Case -> structure -> Dice, measured structures only."""


@dataclass(frozen=True)
class StructureVerdict:
    """One structure: mean Dice of parent and child over the cases in which both were measured.

    ``allowed_fall`` is the margin, or half the width of the bootstrap's 95 % interval of the mean difference where that
    is wider: a fall within it may be chance.
    """

    name: str
    before: float
    after: float
    cases: Count
    allowed_fall: float

    @property
    def falls(self) -> bool:
        return _falls(self.before, self.after, self.allowed_fall)

    ALSO_WRITTEN: ClassVar = ("falls",)


@dataclass(frozen=True)
class OldSkill:
    """What a version kept of what its parent can do: mean Dice of both on held-out replayed images.

    See ``measuring/forgetting.py`` for what it is compared with. ``before`` is 1 where that is the parent's own result.
    """

    before: float
    after: float
    cases: Count
    allowed_fall: float

    @property
    def falls(self) -> bool:
        return _falls(self.before, self.after, self.allowed_fall)

    ALSO_WRITTEN: ClassVar = ("falls",)


@dataclass(frozen=True)
class Verdict:
    """The gate's decision.

    Attributes
    ----------
    promoted : the child becomes current
    reason : in one sentence
    before, after : mean over the measured structures; None when nothing was measured
    structures : the measured ones
    unmeasured : names of the others; they neither block nor count
    kept : on held-out replayed images; None where none was measured, which does not block
    """

    promoted: bool
    reason: str
    before: Annotated[float, ANY_NUMBER] | None
    after: Annotated[float, ANY_NUMBER] | None
    structures: tuple[StructureVerdict, ...]
    unmeasured: tuple[str, ...]
    kept: OldSkill | None = field(default=None, metadata=if_missing(None))


def judge(
    parent: CaseDice, child: CaseDice, names: Sequence[str], margin: float = MARGIN, kept: OldSkill | None = None
) -> Verdict:
    """Compare two versions on the same held-out cases.

    Parameters
    ----------
    names : all structures, in the order in which they are told
    margin : Dice that a structure may fall
    kept : of what the parent can do, where that was measured
    """
    measured = [found for name in names if (found := _structure(name, parent, child, margin)) is not None]
    unmeasured = tuple(name for name in names if name not in {found.name for found in measured})
    if not measured:
        cases = "no held-out case" if not parent else "none of the held-out cases' reviewed regions shows a structure"
        reason = f"Nothing was measured ({cases}), so the version is kept but does not become current automatically."
        return Verdict(False, reason, None, None, (), unmeasured, kept)
    before = float(np.mean([found.before for found in measured]))
    after = float(np.mean([found.after for found in measured]))
    fallen = sorted((found for found in measured if found.falls), key=lambda found: found.after - found.before)
    if fallen:
        worst = ", ".join(f"{found.name} from {found.before:.3f} to {found.after:.3f}" for found in fallen[:3])
        more = f" and {len(fallen) - 3} more" if len(fallen) > 3 else ""
        reason = f"Refused: {worst}{more} fell by more than allowed."
    elif after <= before:
        reason = f"Refused: the mean Dice did not rise ({before:.3f} to {after:.3f})."
    elif kept is not None and kept.falls:
        reason = (
            f"Refused: the mean Dice on replayed images fell from {kept.before:.3f} to {kept.after:.3f}, "
            f"by more than {kept.allowed_fall:g}."
        )
    else:
        reason = f"The mean Dice rises from {before:.3f} to {after:.3f}, and no structure falls by more than allowed."
        reason += f" {_told(kept)}"
    forgets = kept is not None and kept.falls
    return Verdict(
        not fallen and after > before and not forgets, reason, before, after, tuple(measured), unmeasured, kept
    )


def kept_of(parent: CaseDice, child: CaseDice, margin: float = FORGETTING_MARGIN) -> OldSkill | None:
    """Means over the structures, each of them over the cases that show it; None when nothing was measured.

    Parameters
    ----------
    parent, child : on held-out replayed images
    margin : mean Dice that may be lost
    """
    names = dict.fromkeys(name for dice in parent.values() for name in dice)
    found = [one for name in names if (one := _structure(name, parent, child, margin)) is not None]
    if not found:
        return None
    before, after = (float(np.mean([getattr(one, side) for one in found])) for side in ("before", "after"))
    return OldSkill(before, after, len(parent), margin)


def _falls(before: float, after: float, allowed: float) -> bool:
    return before - after > allowed + 1e-9


def _told(kept: OldSkill | None) -> str:
    if kept is None:
        return "What it forgot was not measured: no replayed image is held out."
    return f"On replayed images it goes from {kept.before:.3f} to {kept.after:.3f}, which is allowed."


def _structure(name: str, parent: CaseDice, child: CaseDice, margin: float) -> StructureVerdict | None:
    cases = [case for case in parent if name in parent[case] and name in child.get(case, {})]
    if not cases:
        return None
    before = np.array([parent[case][name] for case in cases])
    after = np.array([child[case][name] for case in cases])
    allowed = margin
    if len(cases) >= CASES_FOR_BOOTSTRAP:
        draws = np.random.default_rng(_SEED).integers(0, len(cases), (_DRAWS, len(cases)))
        low, high = np.percentile((after - before)[draws].mean(axis=1), [2.5, 97.5])
        allowed = max(margin, float(high - low) / 2)
    return StructureVerdict(name, float(before.mean()), float(after.mean()), len(cases), allowed)

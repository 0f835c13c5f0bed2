"""What became of each case of a run, and of the run as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from activeseg.core.errors import ActiveSegError, Cancelled
from activeseg.core.progress import Progress


class CaseState(StrEnum):
    """``MADE`` now or ``KEPT`` from an earlier run; a candidate that a person has ``REVIEWED`` stays as it is."""

    MADE = "made"
    KEPT = "kept"
    REVIEWED = "reviewed"
    FAILED = "failed"


@dataclass(frozen=True)
class CaseOutcome:
    """One case.

    Attributes
    ----------
    changed_voxels, regions
        What the rule changed, and how many regions are listed; of a case that was made now.
    sentence
        What a person reads of it.
    """

    case: str
    state: CaseState
    sentence: str = ""
    changed_voxels: int | None = None
    regions: int | None = None


@dataclass(frozen=True)
class Outcome:
    """One run over many cases; ``folder`` holds the candidates."""

    folder: Path
    cases: tuple[CaseOutcome, ...]

    def of(self, state: CaseState) -> tuple[CaseOutcome, ...]:
        return tuple(case for case in self.cases if case.state is state)

    def sentence(self) -> str:
        counts = [(state, len(self.of(state))) for state in CaseState]
        return f"Candidates: {', '.join(f'{count} {state}' for state, count in counts if count) or 'none'}."


@dataclass
class CaseByCase:
    """Does one case after the other. One that fails is told and left out; the others are done all the same.

    ``told`` gets each outcome as soon as it is known.
    """

    progress: Progress
    told: Callable[[CaseOutcome], None]
    outcomes: list[CaseOutcome] = field(default_factory=list)

    def run(self, cases: list[tuple[str, Callable[[Progress], CaseOutcome]]]) -> tuple[CaseOutcome, ...]:
        """Raises Cancelled; what was finished before stays."""
        for number, (name, work) in enumerate(cases):
            part = self._part(name, number, len(cases))
            try:
                outcome = work(part)
            except Cancelled:
                raise
            except ActiveSegError as error:
                outcome = CaseOutcome(name, CaseState.FAILED, str(error))
            except OSError as error:
                outcome = CaseOutcome(name, CaseState.FAILED, _in_words(error))
            self.outcomes.append(outcome)
            self.told(outcome)
        return tuple(self.outcomes)

    def _part(self, name: str, number: int, of: int) -> Progress:
        whole = self.progress.part(number / of, (number + 1) / of)
        return Progress(
            lambda stage, fraction, _: whole.report(stage, fraction, f"{name} ({number + 1} of {of})"), whole.cancelled
        )


def _in_words(error: OSError) -> str:
    """What the system refused, and for which file."""
    why = error.strerror or type(error).__name__
    return f"'{Path(os.fsdecode(error.filename)).name}' cannot be used: {why}." if error.filename else f"{why}."

"""When is it worth fine-tuning again: what was corrected since, and what the last corrections gained."""

from __future__ import annotations

from collections.abc import Sequence

from activeseg.dataset import Origin
from activeseg.dataset.record import CaseRecord
from activeseg.learning.project.holdout import Side
from activeseg.learning.project.project import Project


def waiting_cases(project: Project) -> tuple[str, ...]:
    """Cases to train on that the current version has not seen, or not with their latest label map."""
    dataset, state = project.dataset(), project.state
    current = project.versions().get(state.current)
    seen = {} if current is None else current.data
    entries = dataset.cases()
    return tuple(
        case
        for case in state.hold_out.on(Side.TRAIN)
        if case in entries and not entries[case].waiting and _is_new(dataset.record(case), seen.get(case))
    )


def _is_new(record: CaseRecord, seen: str | None) -> bool:
    return record.current.provenance.origin is not Origin.MACHINE and record.current.label.sha256 != seen


def unreviewed_candidates(project: Project) -> tuple[str, ...]:
    """Cases whose labels a model changed and that no person has gone through: they neither train nor measure."""
    dataset, reviewed = project.dataset(), project.state.reviewed
    return tuple(
        case
        for case in dataset.cases()
        if case not in reviewed and dataset.record(case).current.provenance.origin is Origin.MACHINE
    )


def to_review(project: Project) -> tuple[str, ...]:
    """Held-out cases of which only some regions count, because they were not fully reviewed."""
    dataset, state = project.dataset(), project.state
    there = dataset.cases()
    partly = [case for case in state.hold_out.on(Side.HELD_OUT) if case in there and case not in state.reviewed]
    return tuple(case for case in partly if not dataset.record(case).current.provenance.vouches_for_all)


def worth_it(project: Project, waiting: Sequence[str], partly: Sequence[str]) -> str:
    """In a sentence or two; ``waiting`` and ``partly`` are what ``waiting_cases`` and ``to_review`` found."""
    count = len(waiting)
    held_out = len(project.state.hold_out.on(Side.HELD_OUT))
    cases = f"{count} corrected case{'' if count == 1 else 's'}"
    told = (
        f"{cases} {'is' if count == 1 else 'are'} waiting to be learnt from." if count else "Nothing new to learn from."
    )
    measured = [version for version in project.versions().values() if version.verdict and version.verdict.after]
    if measured:
        last = measured[-1]
        assert last.verdict is not None
        before, after = last.verdict.before or 0.0, last.verdict.after or 0.0
        told += f" The last fine-tuning ({last.id}, {len(last.data)} cases) took"
        told += f" the mean Dice from {before:.3f} to {after:.3f}."
    elif not held_out:
        told += " No case is held out yet, so a version could not be measured: the second patient's cases will be."
    if partly:
        told += f" Held-out cases not fully reviewed yet: {', '.join(partly[:5])}. Only their reviewed voxels count."
    if candidates := unreviewed_candidates(project):
        told += f" Labels made by a machine and not reviewed yet, so not used: {', '.join(candidates[:5])}."
    return told

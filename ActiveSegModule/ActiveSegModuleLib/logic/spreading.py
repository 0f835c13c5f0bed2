"""Corrections of some regions applied to the rest of a case: a proposal first, then what the user takes of it.

No widgets; nothing here waits.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.client.messages.refining import OpenCaseResult, SpreadRequest, SpreadResult, SpreadTakenRequest
from activeseg.client.messages.segmenting import RegionsResult
from activeseg.core.correction import RegionReview, RegionState, patch_names
from activeseg.core.errors import ActiveSegError, EngineError, InputError
from activeseg.core.geometry import Box, Geometry, slices_of
from activeseg.io.npy import read_array
from activeseg.io.npz import read_npz

from ..engine.engine import OnError
from ..engine.inbox import Inbox
from ..engine.results import patches_in
from ..scene.alternatives import LabelPatch, apply_alternative
from ..scene.case import Case
from ..scene.placement import geometry_of
from ..slicer_types import VtkObject
from .case_session import CaseSession, Question

LEAST_REVIEWED = 3
"""Regions that must be reviewed: one is left out to see whether the others help it."""
_MOST_PATCH_BYTES = 1 << 30


@dataclass(frozen=True)
class Changed:
    """What would happen to one structure, in mL."""

    structure: str
    gained_ml: float
    lost_ml: float


@dataclass(frozen=True, eq=False)
class Proposal:
    """What would change in the rest of a case.

    Attributes
    ----------
    case, geometry
        Whose, and the grid of its CT
    box_kji
        Around all that would change
    before, after
        (k, j, i) over the box: the labels that were sent, and those that are proposed; outside of the reviewed regions
    expected_gain
        Mean rise of the Dice in regions that were left out, 0..1; None where that is not known
    why
        The engine's own sentence
    changes
        By structure, the largest change first
    """

    case: Case
    geometry: Geometry
    box_kji: Box
    before: npt.NDArray[Any]
    after: npt.NDArray[Any]
    expected_gain: float | None
    why: str
    changes: tuple[Changed, ...]

    def patch(self, ticked: Collection[str]) -> LabelPatch:
        """What is written when only these structures may change.

        Left out is what would change another one as well, what was edited since, and what lies in a region that was
        reviewed by now.
        """
        schema = self.case.schema
        may = np.zeros(max(int(self.before.max(initial=0)), len(schema)) + 1, bool)
        may[0] = True
        for label in schema.labels:
            may[label.value] = label.name in ticked
        changed = (self.before != self.after) & may[self.before] & may[self.after]
        changed &= self.case.labels_in(self.box_kji) == self.before
        _leave_out(changed, self.box_kji, self.case)
        return LabelPatch(self.geometry, self.box_kji, self.after, changed)

    def middle_of(self, structure: str) -> tuple[float, float, float] | None:
        """A place where a structure changes most, RAS mm before the CT's transforms; None where it does not change."""
        value = self.case.schema.named(structure).value
        where = (self.before != self.after) & ((self.before == value) | (self.after == value))
        counts = where.sum(axis=(1, 2))
        if not counts.any():
            return None
        k = int(counts.argmax())
        places = np.argwhere(where[k])
        j, i = places[np.abs(places - places.mean(axis=0)).sum(axis=1).argmin()]
        first = [start for start, _ in self.box_kji]
        at = np.array([i + first[2], j + first[1], k + first[0]], float)
        x, y, z = self.geometry.ras_of_ijk(at).tolist()
        return x, y, z


class Spreading:
    """One question at a time."""

    def __init__(self, session: CaseSession) -> None:
        self._session = session
        self._question: Question | None = None

    @property
    def is_asking(self) -> bool:
        return self._question is not None

    def find_out(self, case: Case, on_possible: Callable[[], None], on_error: OnError) -> None:
        """Call ``on_possible`` where corrections can be spread in a case."""
        self._session.open(case, None, lambda opened: on_possible() if opened.spreads else None, on_error)

    def propose(
        self,
        case: Case,
        on_proposal: Callable[[Proposal], None],
        on_refusal: Callable[[str], None],
        on_error: OnError,
        on_progress: Callable[[float], None],
    ) -> None:
        """Ask what would change; ``on_refusal`` gets a sentence where nothing is offered."""
        self.cancel()
        sent: list[npt.NDArray[Any]] = []

        def request(inbox: Inbox, opened: OpenCaseResult) -> SpreadRequest:
            if not opened.spreads:
                raise _NotOffered(opened.why_not)
            sent[:] = [np.ascontiguousarray(case.read_back().labels)]
            return SpreadRequest(session=opened.session, labels=inbox.array(sent[0]), regions=regions_of(case))

        def answered(result: SpreadResult) -> None:
            proposal = _proposal(case, sent[0], result) if result.offered else None
            self._question = None
            if proposal is None:
                on_refusal(result.why)
            else:
                on_proposal(proposal)

        def failed(error: ActiveSegError) -> None:
            self._question = None
            if isinstance(error, _NotOffered):
                on_refusal(error.message)
            else:
                on_error(error)

        self._question = self._session.ask(
            case, None, request, answered, failed, lambda event: on_progress(event.fraction)
        )

    def take(
        self,
        proposal: Proposal,
        ticked: Collection[str],
        editor_logic: VtkObject,
        save_state: Callable[[], None] | None = None,
    ) -> None:
        """Write what was ticked into the segmentation, as one undoable edit."""
        apply_alternative(editor_logic, proposal.case.segmentation, proposal.patch(ticked), save_state)

    def find_regions(
        self, case: Case, focus: tuple[str, ...], count: int, on_done: Callable[[int], None], on_error: OnError
    ) -> None:
        """After a proposal was taken: new regions in place of those that are open; ``on_done`` gets how many.

        Those that were decided on keep their numbers and states.
        """
        self.cancel()

        def request(inbox: Inbox, opened: OpenCaseResult) -> SpreadTakenRequest:
            labels = np.ascontiguousarray(case.read_back().labels)
            return SpreadTakenRequest(
                session=opened.session,
                labels=inbox.array(labels),
                reviewed=regions_of(case),
                focus=focus,
                regions=count,
            )

        def answered(result: RegionsResult) -> None:
            entries, patches = _merged(case, result)
            self._question = None
            case.set_regions(entries, patches, geometry_of(case.ct_node))
            on_done(len(result.regions))

        def failed(error: ActiveSegError) -> None:
            self._question = None
            on_error(error)

        self._question = self._session.ask(case, None, request, answered, failed)

    def cancel(self) -> None:
        """Leave what is being computed."""
        question, self._question = self._question, None
        if question is not None:
            question.end()


class _NotOffered(InputError):
    """Corrections cannot be spread in this case; its message says why."""


def can_spread(states: Sequence[RegionState]) -> bool:
    """Whether enough regions were reviewed, of these, to learn from."""
    reviewed = [state for state in states if state.reviewed]
    return len(reviewed) >= LEAST_REVIEWED and RegionState.CORRECTED in reviewed


def regions_of(case: Case) -> tuple[RegionReview, ...]:
    """All regions with their states as they are now."""
    table = case.regions
    if table is None:
        return ()
    states = table.states()
    return tuple(RegionReview(region.number, region.box_kji, states[region.number]) for region in table.regions)


def _leave_out(changed: npt.NDArray[np.bool_], box_kji: Box, case: Case) -> None:
    """What a person vouches for stays as it is."""
    for region in regions_of(case):
        if region.state.reviewed:
            spans = [
                (max(low, start) - start, max(low, min(high, stop)) - start)
                for (low, high), (start, stop) in zip(region.box_kji, box_kji, strict=True)
            ]
            if all(low < high for low, high in spans):
                changed[tuple(slice(*span) for span in spans)] = False


def _proposal(case: Case, before: npt.NDArray[Any], result: SpreadResult) -> Proposal | None:
    """What the engine proposes, no larger than it is; None where nothing would change. Raises EngineError."""
    if result.labels is None:
        raise EngineError("The engine's proposal is damaged: it has no label map.", "Try again.")
    after, schema, geometry = read_array(result.labels), case.schema, geometry_of(case.ct_node)
    if after.shape != before.shape or after.dtype.kind not in "iu":
        raise EngineError("The engine's proposal is damaged: it is not of this CT.", "Try again.")
    changed = after != before
    whole: Box = (*((0, length) for length in before.shape),)  # type: ignore[assignment]
    _leave_out(changed, whole, case)
    if not changed.any():
        return None
    if not 0 <= int(after[changed].min()) <= int(after[changed].max()) <= len(schema):
        raise EngineError("The engine's proposal has structures that the model does not know.", "Try again.")
    there = [np.flatnonzero(changed.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    k, j, i = ((int(found[0]), int(found[-1]) + 1) for found in there)
    inside = slices_of((k, j, i))
    now = before[inside].copy()
    then = np.where(changed[inside], after[inside], now).astype(now.dtype)
    return Proposal(case, geometry, (k, j, i), now, then, result.expected_gain, result.why, _changes(case, now, then))


def _changes(case: Case, now: npt.NDArray[Any], then: npt.NDArray[Any]) -> tuple[Changed, ...]:
    moved = now != then
    ml = geometry_of(case.ct_node).voxel_mm3 / 1000
    gained = np.bincount(then[moved].astype(np.intp), minlength=len(case.schema) + 1)
    lost = np.bincount(now[moved].astype(np.intp), minlength=len(case.schema) + 1)
    found = [
        Changed(label.name, float(gained[label.value] * ml), float(lost[label.value] * ml))
        for label in case.schema.labels
        if gained[label.value] or lost[label.value]
    ]
    return tuple(sorted(found, key=lambda change: -(change.gained_ml + change.lost_ml)))


def _merged(case: Case, result: RegionsResult) -> tuple[list[Mapping[str, Any]], bytes]:
    """Entries and alternatives of the regions that were decided on, and of new ones."""
    table, kept = case.regions, list[Mapping[str, Any]]()
    names: set[str] = set()
    if table is not None:
        for number, state in table.states().items():
            if state is not RegionState.OPEN:
                entry = table.entry(number)
                kept.append({**entry, "state": str(state)})
                names |= {name for n in range(len(entry["alternatives"])) for name in patch_names(number, n + 1)}
    arrays: dict[str, npt.NDArray[Any]] = {}
    if names and case.patches:
        arrays = read_npz(case.patches, _MOST_PATCH_BYTES, f"The list of alternatives of '{case.name}'", only=names)
    else:
        kept = [{**entry, "alternatives": []} for entry in kept]
    found = patches_in(result.regions_folder)
    if found:
        arrays |= read_npz(found, _MOST_PATCH_BYTES, "The engine's list of alternatives")
    patches = io.BytesIO()
    np.savez_compressed(patches, allow_pickle=False, **arrays)
    return [*kept, *result.regions], patches.getvalue()

"""From one region to review to the next: what the user looks at, takes over, accepts or skips. No widgets."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from activeseg.core.correction import Region, RegionState
from activeseg.core.errors import InputError

from ..scene.alternatives import OfferedAlternative, apply_alternative
from ..scene.case import Case
from ..scene.hierarchy import place_under
from ..scene.pace import minutes_for, note_seconds
from ..scene.preview import AlternativePreview
from ..scene.regions import RegionBox, RegionTable
from ..scene.slice_picture import AlternativePicture, pictures
from ..slicer_types import Node, Scene, VtkObject
from .decisions import Decision, Decisions

_LONGEST_PAUSE_S = 120.0


class CaseReview:
    """The review of one case at a time; all that it decides is written into the scene at once."""

    def __init__(self, scene: Scene, clock: Callable[[], float] = time.monotonic) -> None:
        self._scene = scene
        self._clock = clock
        self._case: Case | None = None
        self._current: int | None = None
        self._box: RegionBox | None = None
        self._preview = AlternativePreview(scene)
        self._worked_at = clock()
        self._listed: Node = None  # the table whose regions these are
        self._content: dict[int, bytes] = {}
        self._states: dict[int, dict[bytes, RegionState]] = {}
        self._decisions = Decisions()
        self._answer: OfferedAlternative | None = None  # to prompts
        self._seconds: dict[int, float] = {}  # spent on regions since each was decided on last

    @property
    def case(self) -> Case | None:
        """None when none is chosen, or it was removed from the scene."""
        if self._case is not None and not self._scene.IsNodePresent(self._case.node):
            self.leave()
        return self._case

    @property
    def current(self) -> int | None:
        """The number of the region that is looked at."""
        return self._current if self.case is not None else None

    def open(self, case: Case | None) -> None:
        """Turn to a case; the region that was looked at is left."""
        if case == self._case:
            return
        self.leave()
        self._case = case
        self._worked_at = self._clock()
        if case is not None and case.has_ct:
            case.follow_ct()
            with contextlib.suppress(InputError):  # what was predicted is gone: told when it is needed
                self._look_at_all()

    def leave(self) -> None:
        """Take the frame and the preview out of the scene."""
        self._preview.remove()
        if self._box is not None and self._scene.IsNodePresent(self._box.node):
            self._scene.RemoveNode(self._box.node)
        self._box, self._case, self._current, self._answer = None, None, None, None
        self._listed, self._content, self._states, self._seconds = None, {}, {}, {}
        self._decisions.clear()

    def follow_ct(self) -> None:
        """The CT may have been put under another transform: frame, maps and segmentation go along."""
        case = self.case
        if case is not None and case.has_ct:
            case.follow_ct()
            if self._box is not None and self._scene.IsNodePresent(self._box.node):
                self._box.follow(case.ct_node)

    def forget_region(self) -> None:
        """The list is another one: no region of it is looked at."""
        self._preview.hide()
        if self._box is not None and self._scene.IsNodePresent(self._box.node):
            self._box.hide()
        self._current = None

    def rows(self) -> list[Region]:
        """All regions with their states as they are now, worst first; empty while there are none."""
        table = self._table
        if table is None:
            return []
        states = table.states()
        return [replace(region, state=states[region.number]) for region in table.regions]

    @property
    def reviewed(self) -> tuple[int, int]:
        """How many regions were decided on (skipped ones too), of how many."""
        rows = self.rows()
        return sum(row.state is not RegionState.OPEN for row in rows), len(rows)

    def go_to(self, number: int, show: bool = True) -> None:
        """Make a region the current one, with a frame around it, and show it in all views.

        Without ``show`` the views stay where they are: the user may have moved them, see ``scene.views.Viewpoint``.
        Raises InputError when there is none of that number.
        """
        table = self._table
        if table is None or self.case is None:
            raise InputError("There are no regions to go to.", "Segment a CT first.")
        table.region(number)
        with contextlib.suppress(InputError):  # the same as in ``open``; one can look all the same
            self.note_edits()  # what was edited just now was edited in the region before
        self._turn_to(table, number, show)

    def _turn_to(self, table: RegionTable, number: int, show: bool = True) -> None:
        self._work()  # until now it was another region
        self._preview.hide()
        self._current = number
        if self._box is None or not self._scene.IsNodePresent(self._box.node):
            self._box = RegionBox.create(self._scene, table.ct_node)
        self._box.follow(table.ct_node)
        self._box.move_to(table, number)
        if show:
            table.jump_to(number)

    def first(self, show: bool = True) -> int | None:
        """Go to the worst open region, or the worst of all; None when there are none. ``show`` as in ``go_to``."""
        rows = self.rows()
        number = next((row.number for row in rows if row.state is RegionState.OPEN), rows[0].number if rows else None)
        if number is not None:
            self.go_to(number, show)
        return number

    def next(self, among: Sequence[int] | None = None) -> int | None:
        """Go to the region after the current one, after the last to the first; None when there are none.

        ``among``: only these numbers, in this order, such as those that a list shows.
        """
        return self._step(1, among)

    def previous(self, among: Sequence[int] | None = None) -> int | None:
        """Go to the region before the current one, before the first to the last; None when there are none."""
        return self._step(-1, among)

    def next_open(self, among: Sequence[int] | None = None) -> int | None:
        """After a decision: go to the next open region; None, and nothing moves, when there is none."""
        table, rows = self._table, self.rows()
        numbers = [row.number for row in rows] if among is None else list(among)
        at = numbers.index(self._current) + 1 if self._current in numbers else 0
        is_open = {row.number for row in self._open_ones(rows)}
        for number in numbers[at:] + numbers[:at]:
            if table is not None and number in is_open:
                self._turn_to(table, number)
                return number
        return None

    def accept(self) -> None:
        """The current region is right as it is now; what was edited in it counts as corrected."""
        case, number = self._at_region()
        self.note_edits()
        ((_, differs),) = self._look(case, [number])
        self._decide(number, RegionState.CORRECTED if differs else RegionState.ACCEPTED)

    def skip(self) -> None:
        """Leave the current region undecided: it is not used as ground truth."""
        _, number = self._at_region()
        self.note_edits()
        self._decide(number, RegionState.SKIPPED)

    def reopen(self) -> None:
        """The current region is to be decided on again; what was edited in it stays."""
        _, number = self._at_region()
        self.note_edits()
        self._decide(number, RegionState.OPEN)

    @property
    def decision_to_undo(self) -> Decision | None:
        """What ``undo_decision`` would take back."""
        table = self._table
        return self._decisions.to_undo(table.states()) if table is not None else None

    @property
    def decision_to_redo(self) -> Decision | None:
        """What ``redo_decision`` would make again."""
        table = self._table
        return self._decisions.to_redo(table.states()) if table is not None else None

    def undo_decision(self) -> int | None:
        """Take the last decision back and go to its region; gives its number, None when there is none.

        Edits stay: they are undone in the editor.
        """
        decision = self.decision_to_undo
        if decision is None:
            return None
        self._set(decision.number, decision.before)
        self._decisions.note_undone(decision)
        self.go_to(decision.number)
        return decision.number

    def redo_decision(self) -> int | None:
        """Make the decision again that was taken back last, and go to its region; None when there is none."""
        decision = self.decision_to_redo
        if decision is None:
            return None
        self._set(decision.number, decision.after)
        self._decisions.note_redone(decision)
        self.go_to(decision.number)
        return decision.number

    @property
    def minutes_left(self) -> float | None:
        """For the regions that are open, at the pace of those that were decided on; None before the first."""
        case = self.case
        done, total = self.reviewed
        return minutes_for(case.node, total - done) if case is not None else None

    def alternatives(self) -> tuple[OfferedAlternative, ...]:
        """What members would draw in the current region instead; before them the answer to the user's prompts."""
        case = self.case
        if case is None:
            return ()
        answer = (self._answer,) if self._answer is not None else ()
        return answer + (case.alternatives(self._current) if self._current is not None else ())

    def offer(self, answer: OfferedAlternative | None) -> None:
        """Offer the answer to prompts as the first alternative; None: no longer."""
        self._answer = answer

    def pictures(self) -> tuple[AlternativePicture, ...]:
        """A picture of each of them; a few milliseconds."""
        case = self.case
        return pictures(case, self.alternatives()) if case is not None else ()

    def preview(self, index: int | None) -> None:
        """Outline an alternative of the current region (counted from 0); None takes the outline away."""
        case = self.case
        if case is None or index is None:
            self._preview.hide()
        else:
            self._preview.show(case, self.alternatives()[index].patch)

    def take(self, index: int, editor_logic: VtkObject, save_state: Callable[[], None] | None = None) -> None:
        """Write an alternative (counted from 0) into the segmentation, undoable.

        ``editor_logic`` and ``save_state`` as in ``apply_alternative``. The current region counts as corrected.
        """
        case = self.case
        if case is None or self._answer is None:
            case, _ = self._at_region()
        self._preview.hide()
        apply_alternative(editor_logic, case.segmentation, self.alternatives()[index].patch, save_state)
        self.note_edits()
        self._work()

    def note_edits(self) -> set[int]:
        """Bring states up to date with the segmentation; gives the numbers of regions that changed their state.

        An edit in the current region makes it corrected. One elsewhere leaves states as they are.
        What a region held is remembered with the state that it had then, so an undo or a redo, from wherever, brings
        that back. Takes a few milliseconds, so it can follow every stroke. Raises InputError when the CT was removed.
        """
        case, table = self.case, self._table
        changed: set[int] = set()
        if case is None:
            return changed
        place_under(self._scene, case.ct_node, case.node)  # the Segment Editor moves what it edits beside its source
        if table is None:
            return changed
        self._look_at_all()
        states = table.states()
        for (number, state), (content, differs) in zip(states.items(), self._look(case, states), strict=True):
            if content == self._content.get(number):
                continue
            self._content[number] = content
            known = self._states.setdefault(number, {})
            if content not in known:
                known[content] = self._state_after_edit(number, state, differs)
            if known[content] is not state:
                table.set_state(number, known[content])
                changed.add(number)
        if changed:
            self._work()
        return changed

    def _state_after_edit(self, number: int, state: RegionState, differs: bool) -> RegionState:
        """Of a region that holds now what it never held while it was reviewed."""
        if number == self._current and differs:
            return RegionState.CORRECTED
        return RegionState.OPEN if state is RegionState.CORRECTED and not differs else state

    def _look_at_all(self) -> None:
        """Remember what the regions hold, when they are others than before."""
        case, table = self._case, self._table
        listed = table.node if table is not None else None
        if listed is self._listed or case is None:
            return
        states = table.states() if table is not None else {}
        looks = self._look(case, states)
        self._content = {number: content for number, (content, _differs) in zip(states, looks, strict=True)}
        self._states = {number: {self._content[number]: state} for number, state in states.items()}
        self._listed = listed
        self._seconds = {}
        self._decisions.clear()

    @property
    def _table(self) -> RegionTable | None:
        case = self.case
        return case.regions if case is not None else None

    def _at_region(self) -> tuple[Case, int]:
        if self.case is None or self._current is None:
            raise InputError("No region is chosen.", "Choose one in the list, or go to the next one.")
        return self.case, self._current

    @staticmethod
    def _open_ones(rows: Sequence[Region]) -> list[Region]:
        return [row for row in rows if row.state is RegionState.OPEN]

    def _step(self, by: int, among: Sequence[int] | None) -> int | None:
        known = [row.number for row in self.rows()]
        numbers = known if among is None else [number for number in among if number in known]
        if not numbers:
            return None
        if self._current in numbers:
            number = numbers[(numbers.index(self._current) + by) % len(numbers)]
        else:
            number = numbers[0 if by > 0 else -1]
        self.go_to(number)
        return number

    def _decide(self, number: int, state: RegionState) -> None:
        case, table = self._case, self._table
        assert case is not None
        assert table is not None
        before = table.states()[number]
        self._set(number, state)
        if state is before:
            return
        self._decisions.record(Decision(number, before, state, self._clock()))
        if before is RegionState.OPEN:
            note_seconds(case.node, self._seconds.pop(number, 0.0))

    def _set(self, number: int, state: RegionState) -> None:
        case, table = self._case, self._table
        assert case is not None
        assert table is not None
        table.set_state(number, state)
        ((self._content[number], _),) = self._look(case, [number])
        self._states.setdefault(number, {})[self._content[number]] = state
        self._work()

    def _look(self, case: Case, numbers: Iterable[int]) -> Iterator[tuple[bytes, bool]]:
        """Fingerprints of what regions hold, and whether that is something else than was predicted."""
        table, original = case.regions, case.original_on_ct()
        assert table is not None
        boxes = [table.region(number).box_kji for number in numbers]
        for box, now in zip(boxes, case.labels_in_each(boxes), strict=True):
            before = original[tuple(slice(*span) for span in box)]
            yield hashlib.sha256(now.tobytes()).digest(), not np.array_equal(now, before)

    def _work(self) -> None:
        """Count the time since the last thing that the user did, unless it was a pause."""
        now = self._clock()
        if self._case is not None:
            seconds = min(now - self._worked_at, _LONGEST_PAUSE_S)
            self._case.seconds += seconds
            if self._current is not None:
                self._seconds[self._current] = self._seconds.get(self._current, 0.0) + seconds
        self._worked_at = now

"""What the user clicks goes to the engine, and comes back as one more alternative. No widgets; nothing here waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.client.messages.refining import OpenCaseResult, RefineRequest, RefineResult
from activeseg.core.errors import ActiveSegError, Cancelled, EngineError, InputError
from activeseg.core.geometry import Box, Geometry
from activeseg.core.prompt import Prompt, PromptKind
from activeseg.io.npz import read_npz

from ..engine.engine import OnError
from ..engine.inbox import Inbox
from ..scene.alternatives import LabelPatch, OfferedAlternative
from ..scene.case import Case
from ..scene.placement import geometry_of
from .case_session import CaseSession, Question

AROUND_MM = 48.0
"""How far around a prompt its answer may reach, where no region says so: most of what one click repairs is nearer."""
AUTO = "auto"
_MOST_PATCH_BYTES = 1 << 30


@dataclass(frozen=True)
class Place:
    """Where prompts are answered: a box of the CT's grid, of a region or, where ``region`` is None, anywhere."""

    case: Case
    box_kji: Box
    region: int | None


class Refining:
    """The prompts of one place and the answer to all of them; another place begins with none.

    Attributes
    ----------
    refiner
        Which one is asked, ``auto`` or one of ``refiners``
    """

    def __init__(self, session: CaseSession) -> None:
        self._session = session
        self._place: Place | None = None
        self._prompts: tuple[Prompt, ...] = ()
        self._answer: OfferedAlternative | None = None
        self._answered_prompts: tuple[Prompt, ...] = ()
        self._question: Question | None = None
        self._again = False  # there are other prompts than those that are being answered
        self._changed: Callable[[], None] = lambda: None
        self._on_error: OnError = lambda _error: None
        self.refiner = AUTO

    def follow(self, changed: Callable[[], None], on_error: OnError) -> None:
        """``changed``: there are other prompts, there is another answer, or it is being computed."""
        self._changed, self._on_error = changed, on_error

    @property
    def place(self) -> Place | None:
        """Where the prompts are; None while there are none."""
        return self._place

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        return self._prompts

    @property
    def answer(self) -> OfferedAlternative | None:
        """To all prompts; None while it is computed for the first time."""
        return self._answer

    @property
    def is_asking(self) -> bool:
        return self._question is not None

    def refiners(self, case: Case) -> tuple[str, ...]:
        """Which can answer, as far as the engine has said."""
        known = self._session.known(case)
        return known.refiners if known is not None else ()

    def warm(self, case: Case, box_kji: Box | None) -> None:
        """A prompt will come: let the engine get ready for it. What goes wrong is told."""
        self._session.warm(case, box_kji, self._changed, self._told)

    def add(self, place: Place, prompt: Prompt) -> None:
        """One more prompt. It refines the answer while the place is in the same region, or of the same structure."""
        if not self.goes_on(place, prompt):
            if self._prompts:
                self.forget()
            self._place = place
        elif self._place is not None:
            self._place = replace(self._place, box_kji=hull(self._place.box_kji, place.box_kji))
        self._prompts = (*self._prompts, prompt)
        self._ask()

    def goes_on(self, place: Place, prompt: Prompt) -> bool:
        """Whether a prompt refines the present answer, and begins no other one."""
        before = self._place
        if before is None or (before.case, before.region) != (place.case, place.region):
            return False
        return place.region is not None or self._prompts[-1].structure == prompt.structure

    def remove_last(self) -> None:
        """Answer without the last prompt; without any there is no answer."""
        if len(self._prompts) > 1:
            self._prompts = self._prompts[:-1]
            self._ask()
        else:
            self.forget()

    def forget(self) -> None:
        """No prompts any more."""
        if self._question is not None:
            self._question.leave()
        self._question = None
        self._place, self._prompts, self._answer, self._answered_prompts = None, (), None, ()
        self._changed()

    def cancel(self) -> None:
        """End what is computed; what was answered before stays."""
        question = self._question
        if question is not None:
            self._step_back()
            question.end()

    def _ask(self) -> None:
        """What is being computed is not stopped, for that would cost the engine's process; the next answer counts."""
        if self._question is not None:
            self._again = True
            self._changed()
            return
        place, prompts = self._place, self._prompts
        assert place is not None
        self._again = False
        sent: list[npt.NDArray[Any]] = []

        def request(inbox: Inbox, opened: OpenCaseResult) -> RefineRequest:
            sent[:] = [np.ascontiguousarray(place.case.labels_in(place.box_kji))]
            return RefineRequest(
                session=opened.session,
                labels=inbox.array(sent[0]),
                box_kji=place.box_kji,
                prompts=prompts,
                refiner=self.refiner if self.refiner in opened.refiners else AUTO,
            )

        self._question = self._session.ask(
            place.case,
            place.box_kji,
            request,
            lambda result: self._answered(place, prompts, sent[0], result),
            self._failed,
        )
        self._changed()

    def _answered(
        self, place: Place, prompts: tuple[Prompt, ...], labels: npt.NDArray[Any], result: RefineResult
    ) -> None:
        if self._again:
            self._question = None
            self._ask()
            return
        structure = prompts[-1].structure
        patch = _patch_of(result, geometry_of(place.case.ct_node), place.box_kji)
        _check(patch, labels, place.case.schema.named(structure).value, len(place.case.schema))
        self._question = None
        self._answered_prompts = prompts
        self._answer = OfferedAlternative(
            summary=str(result.alternative.get("summary", "")),
            patch=patch,
            structure=structure,
            members=(result.refiner,),
            prompts=len(prompts),
        )
        self._changed()

    def _failed(self, error: ActiveSegError) -> None:
        self._step_back()
        self._told(error)

    def _step_back(self) -> None:
        """To the prompts that there is an answer to."""
        self._question = None
        if self._answer is None or len(self._prompts) < len(self._answered_prompts):
            self.forget()
        else:
            self._prompts = self._answered_prompts
            self._changed()

    def _told(self, error: ActiveSegError) -> None:
        if not isinstance(error, Cancelled):
            self._on_error(error)


def place_of(case: Case, current: int | None, prompt: Prompt, beyond: bool) -> tuple[Place, Prompt]:
    """Where a prompt is answered, and what of it lies there.

    In the current region; or in the one in whose box it lies; around it, where no region is looked at. ``beyond``: the
    user lets the current region's box grow. Raises InputError, with ``outside`` in its details, for a prompt outside of
    all boxes.
    """
    geometry = geometry_of(case.ct_node)
    around = _around(prompt.box_kji, geometry)
    table = case.regions
    if current is None or table is None:
        return Place(case, around, None), prompt
    box = table.region(current).box_kji
    kept = _within(prompt, box)
    if kept is not None:
        return Place(case, box, current), kept
    if beyond:
        return Place(case, hull(box, around), current), prompt
    for region in table.regions:
        kept = _within(prompt, region.box_kji)
        if kept is not None:
            return Place(case, region.box_kji, region.number), kept
    raise InputError(f"That lies outside of region {current} and of all others.", outside=True)


def hull(one: Box, other: Box) -> Box:
    """The smallest box around two."""
    k, j, i = ((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(one, other, strict=True))
    return k, j, i


def _around(box_kji: Box, geometry: Geometry) -> Box:
    """A box with ``AROUND_MM`` on all sides, as far as the CT reaches."""
    steps = [int(np.ceil(AROUND_MM / spacing)) for spacing in geometry.spacing_xyz[::-1]]
    k, j, i = (
        (max(0, low - step), min(length, high + step))
        for (low, high), step, length in zip(box_kji, steps, geometry.shape_kji, strict=True)
    )
    return k, j, i


def _within(prompt: Prompt, box: Box) -> Prompt | None:
    """What of a prompt lies in a box; None when nothing does."""
    points = np.array(prompt.points_kji)
    low, high = np.array([span[0] for span in box]), np.array([span[1] - 1 for span in box])
    if prompt.kind is PromptKind.SCRIBBLE or prompt.kind is PromptKind.POINT:
        points = points[((points >= low) & (points <= high)).all(axis=1)]
    elif (points.max(axis=0) < low).any() or (points.min(axis=0) > high).any():
        return None
    else:
        points = np.clip(points, low, high)
    if not len(points):
        return None
    return replace(prompt, points_kji=tuple((int(k), int(j), int(i)) for k, j, i in points.tolist()))


def _patch_of(result: RefineResult, geometry: Geometry, box_kji: Box) -> LabelPatch:
    """What the engine has written. Raises InputError."""
    arrays = read_npz(result.patch, _MOST_PATCH_BYTES, "The engine's answer", only={"labels", "changed"})
    if (
        set(arrays) != {"labels", "changed"}
        or arrays["changed"].dtype != bool
        or arrays["labels"].dtype.kind not in "iu"
    ):
        raise EngineError("The engine's answer to the prompt is damaged.", "Try again.")
    return LabelPatch(geometry, box_kji, arrays["labels"], arrays["changed"])


def _check(patch: LabelPatch, labels: npt.NDArray[Any], value: int, structures: int) -> None:
    """Nothing changes but the structure that was asked about. Raises EngineError."""
    now, then = labels[patch.changed], patch.labels[patch.changed]
    gains = (then == value) & (now <= structures)
    loses = (then == 0) & (now == value)
    if not (gains | loses).all():
        raise EngineError(
            "The engine's answer changes other structures than the one that was asked about.", "Try again."
        )

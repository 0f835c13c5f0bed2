"""What the engine keeps of one case for prompts and for spreading corrections: opened once, and again when it is gone.

No widgets; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TypeVar

from activeseg.client.messages.refining import OpenCaseRequest, OpenCaseResult
from activeseg.client.messages.request import TypedRequest
from activeseg.core.errors import ActiveSegError, InputError
from activeseg.core.geometry import Box
from activeseg.core.records import damaged, from_json
from activeseg.core.segmenter import Settings

from ..engine.asking import ask, exchange, tried, when_ready
from ..engine.engine import Engine, OnError, OnProgress, ignore
from ..engine.inbox import Inbox
from ..scene.case import Case
from ..scene.volume_node import volume_of
from .drafts import Drafts

R = TypeVar("R")

OnOpen = Callable[[OpenCaseResult], None]


class CannotAsk(Enum):
    """Why the engine cannot be asked about a case; the values are sentences for scripts."""

    NO_CASE = "There is no segmentation that ActiveSeg made."
    NO_CT = "The CT is no longer in the scene."
    PREVIEW = "This is a quick preview; its result will take its place."
    NO_MODEL = "It is not known which model has made this segmentation."


def cannot_ask(case: Case | None) -> CannotAsk | None:
    """None where it can be asked."""
    if case is None:
        return CannotAsk.NO_CASE
    if not case.has_ct:
        return CannotAsk.NO_CT
    if case.is_preview:
        return CannotAsk.PREVIEW
    if case.origin is None and not case.record.get("model"):
        return CannotAsk.NO_MODEL
    return None


class CaseSession:
    """One case at a time: the engine keeps no more."""

    def __init__(self, engine: Engine, drafts: Drafts) -> None:
        self._engine = engine
        self._drafts = drafts
        self._opened: tuple[str, object, OpenCaseResult] | None = None  # case, process
        self._opening: _Opening | None = None
        self._warmed: tuple[str, Box | None] | None = None  # what the engine has looked at last

    def known(self, case: Case) -> OpenCaseResult | None:
        """What the running engine said about a case when it was opened; None when it was not, or may be gone."""
        if self._opened is None:
            return None
        id, process, result = self._opened
        return result if (id, process) == (case.id, self._process) else None

    def open(self, case: Case, box_kji: Box | None, on_open: OnOpen, on_error: OnError) -> None:
        """Call ``on_open`` when the engine has the case, never from within this call.

        ``box_kji`` will be asked about first.
        """
        known = self.known(case)
        if known is not None:
            self._engine.later(lambda: tried(lambda: on_open(known), on_error))
            return
        opening = self._opening
        if opening is not None and opening.id == case.id:
            opening.waiting.append((on_open, on_error))
            return
        opening = self._opening = _Opening(case.id, [(on_open, on_error)])
        tried(
            lambda: self._ask_to_open(opening, case, box_kji),
            lambda error: self._engine.later(lambda: self._gave_up(opening, error)),
        )

    def warm(self, case: Case, box_kji: Box | None, on_ready: Callable[[], None], on_error: OnError) -> None:
        """A question about a box will come: open the case, or let the engine look at this box of it."""
        known, key = self.known(case), (case.id, box_kji)
        draft = self._drafts.folder_of(case.id)
        if known is None or known.kept or key == self._warmed or not (draft / "draft.json").is_file():
            self.open(case, box_kji, lambda _opened: on_ready(), on_error)
        else:  # it is the same session
            request = OpenCaseRequest(draft=draft, box_kji=box_kji)
            tried(lambda: ask(self._engine, request, lambda _opened: on_ready(), ignore), ignore)
        self._warmed = key

    def ask(
        self,
        case: Case,
        box_kji: Box | None,
        request_with: Callable[[Inbox, OpenCaseResult], TypedRequest[R]],
        on_result: Callable[[R], None],
        on_error: OnError,
        on_progress: OnProgress = ignore,
    ) -> Question:
        """Ask about a case, which is opened where that is needed; once more, where the engine has let go of it.

        ``request_with`` gets what was said at the opening. What it and ``on_result`` raise goes to ``on_error``. What
        is returned can be left: then nothing is told of it any more.
        """
        question = Question(self.cancel_opening)
        again: list[bool] = []

        def opened(session: OpenCaseResult) -> None:
            when_ready(self._engine, lambda: send(session), failed)  # it may have ended since

        def send(session: OpenCaseResult) -> None:
            if not question.is_left:
                question.stop = exchange(
                    self._engine, lambda inbox: request_with(inbox, session), done, failed, on_progress
                )

        def done(result: R) -> None:
            if not question.is_left:
                on_result(result)

        def failed(error: ActiveSegError) -> None:
            if question.is_left:
                return
            if "session" in error.details and not again:  # another case was opened, or the engine's worker has ended
                again.append(True)
                self._opened = None
                question.stop = self.cancel_opening
                self.open(case, box_kji, opened, failed)
            else:
                on_error(error)

        self.open(case, box_kji, opened, failed)
        return question

    def cancel_opening(self) -> None:
        """End what prepares a case; whoever waits for it gets a Cancelled."""
        if self._opening is not None:
            self._opening.stop()

    def _gave_up(self, opening: _Opening, error: ActiveSegError) -> None:
        """Before the engine was asked."""
        if self._opening is opening:
            self._opening = None
        opening.failed(error)

    @property
    def _process(self) -> object:
        return self._engine.engine.get("pid")

    def _ask_to_open(self, opening: _Opening, case: Case, box_kji: Box | None) -> None:
        reason = cannot_ask(case)
        if reason is not None:
            raise InputError(reason.value)
        if case.image_has_changed:
            raise InputError(
                f"The voxels of '{case.ct_node.GetName()}' are not those that were segmented.",
                "Show the frame of the sequence that was segmented, or segment this image.",
            )
        draft = self._drafts.folder_of(case.id)

        def answered(result: OpenCaseResult) -> None:
            if self._opening is opening:
                self._opening = None
                self._opened = (case.id, self._process, result)
            opening.done(result)

        def failed(error: ActiveSegError) -> None:
            self._gave_up(opening, error)

        def send() -> None:
            if (draft / "draft.json").is_file():
                from_draft()
            elif case.origin is None:
                opening.stop = exchange(self._engine, lambda inbox: _from_scene(inbox, case, box_kji), answered, failed)
            else:  # no model has made it: the engine needs to know what the case began with
                self._drafts.save(case, from_draft, failed)

        def from_draft() -> None:
            tried(ask_with_draft, failed)

        def ask_with_draft() -> None:
            job = ask(self._engine, OpenCaseRequest(draft=draft, box_kji=box_kji), answered, failed)
            opening.stop = lambda: self._engine.cancel(job)

        when_ready(self._engine, lambda: tried(send, failed), failed)


class Question:
    """One on its way to the engine."""

    def __init__(self, stop: Callable[[], None]) -> None:
        """``stop`` ends what the engine does for it now."""
        self.stop = stop
        self.is_left = False

    def leave(self) -> None:
        """Its answer is passed over; the engine is not disturbed."""
        self.is_left = True

    def end(self) -> None:
        """Leave it, and let the engine stop."""
        self.is_left = True
        self.stop()


@dataclass(eq=False)
class _Opening:
    """Who waits for a case to be opened."""

    id: str
    waiting: list[tuple[OnOpen, OnError]] = field(default_factory=list)
    stop: Callable[[], None] = ignore

    def done(self, result: OpenCaseResult) -> None:
        for on_open, on_error in self.waiting:
            tried(partial(on_open, result), on_error)

    def failed(self, error: ActiveSegError) -> None:
        for _on_open, on_error in self.waiting:
            on_error(error)


def _from_scene(inbox: Inbox, case: Case, box_kji: Box | None) -> OpenCaseRequest:
    """Of a case without a draft, as after a saved scene was opened elsewhere: by its CT and its record."""
    record = case.record
    with damaged(InputError, "What is written about the prediction", "Segment the CT again."):
        settings = from_json(Settings, record.get("settings", {}))
    image = inbox.volume(volume_of(case.ct_node))
    return OpenCaseRequest(
        image=image,
        model=str(record["model"]),
        settings=settings,
        predicted=inbox.array(case.original_on_ct()),
        box_kji=box_kji,
    )

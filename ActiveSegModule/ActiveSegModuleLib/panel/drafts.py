"""When a draft is kept, and the bar that offers what a crash of Slicer left behind."""

from __future__ import annotations

import time
from collections import Counter

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError

from ..engine.signals import connect, timer
from ..logic.drafts import OfferedDraft
from ..scene.case import Case
from .elided import show_elided
from .section import Panel, Section

AFTER_EDIT_MS = 3_000
LOOK_MS = 10_000
RETRY_MS = 120_000
LONGEST_WAIT_S = 10.0
"""For what is due when Slicer is closed."""
_WIDEST_PX = 150


class DraftKeeping:
    """Keeps a draft of what the user edits: a few seconds after the last stroke, and with each step of the review.

    A crash then costs seconds of work.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._drafts = panel.logic.drafts
        self.due: dict[str, Case] = {}  # by id, in the order in which they were edited
        self._edits: Counter[str] = Counter()  # of each case, to tell whether it was edited in between
        self.saving: Case | None = None
        self._kept_at: dict[str, str] = {}  # by id, the time of day
        self._failures: dict[str, ActiveSegError] = {}  # by id, until it works
        self._stopped = False
        self._kept: set[str] = set()  # cases of this scene whose draft holds what the scene holds, or held
        self._timers = [
            timer(qt, AFTER_EDIT_MS, self.save_soon, once=True),
            timer(qt, LOOK_MS, self.look_for_saved_scene),
            timer(qt, RETRY_MS, self.save),
        ]
        self.after_edit = self._timers[0]
        for due in self._timers[1:]:
            due.start()

    def touched(self, case: Case | None) -> None:
        """Something in the case is being edited; ``edited`` follows, unless Slicer is closed before."""
        if case is not None and not case.is_preview:
            self.due.setdefault(case.id, case)

    def edited(self, case: Case) -> None:
        """Something in the case is not in its draft."""
        if self.due.keys() - {case.id}:
            self.save()
        self._edits[case.id] += 1
        self.due[case.id] = case
        self.after_edit.start()
        self.tell()

    def edits_of(self, case: Case) -> int:
        """How often a case was edited; to be given to ``exported``."""
        return self._edits[case.id]

    def exported(self, case: Case, edits: int) -> None:
        """What a case held after so many edits lies in a dataset, and its draft is gone."""
        self._kept_at.pop(case.id, None)
        if self._edits[case.id] == edits:
            self.due.pop(case.id, None)
        else:
            self.due[case.id] = case
            self.after_edit.start()
        self.tell()

    def save_soon(self) -> None:
        """Save, unless the user is in the middle of a stroke: it would stutter."""
        if _mouse_is_pressed():
            self.after_edit.start()
        else:
            self.save()

    def save(self) -> None:
        """Save what was edited since the last draft. One at a time: what is edited meanwhile is saved after it."""
        if self.saving is None and self._panel.logic.installation.obstacle is None:
            self.due = {id: case for id, case in self.due.items() if self._panel.scene.IsNodePresent(case.node)}
            if self.due:
                case = self.saving = self.due.pop(next(iter(self.due)))
                self._drafts.save(case, lambda: self._saved(case), lambda error: self._failed(case, error))
        self.tell()

    def finish(self) -> None:
        """Save what is due and wait for it, for Slicer is being closed; ``unsaved`` says whether that worked."""
        self._failures.clear()
        self.save()
        end = time.monotonic() + LONGEST_WAIT_S
        while self.saving is not None and not self._failures and time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.01)

    @property
    def unsaved(self) -> str:
        """Names of the cases whose latest corrections are neither in a draft nor in a saved scene."""
        left = [*self.due.values(), *([self.saving] if self.saving is not None else [])]
        there = [case for case in left if self._panel.scene.IsNodePresent(case.node) and case.is_modified]
        return ", ".join(dict.fromkeys(case.name for case in there))

    def tell(self) -> None:
        """Say in the panel how the reviewed case is kept."""
        if not self._stopped:
            show_elided(self._panel.ui.keptLabel, self._said(self._panel.logic.review.case), _WIDEST_PX)

    def _said(self, case: Case | None) -> str:
        if case is None:
            return ""
        waits, obstacle = case.id in self.due, self._panel.logic.installation.obstacle
        failure = self._failures.get(case.id) or (obstacle if waits else None)
        if failure is not None:
            return _("Not kept: {reason}").format(reason=failure.message)
        if waits or case == self.saving:
            return _("Keeping...")
        kept_at = self._kept_at.get(case.id)
        return _("Kept {time}").format(time=kept_at) if kept_at else ""

    def restored(self, case: Case) -> None:
        """The case was made from its draft."""
        self._kept.add(case.id)

    def look_for_saved_scene(self) -> None:
        """What lies in a saved scene need not be offered as unsaved after a crash."""
        for case in Case.all_in(self._panel.scene):
            if case.id in self._kept:  # a scene that was loaded may be older than a draft that it knows nothing of
                self._drafts.note_saved(case)

    def scene_closes(self) -> None:
        """Another scene's cases are other ones, even under the same id."""
        self.due = {id: case for id, case in self.due.items() if case.is_modified}  # not what was saved just now
        self.save()
        self.look_for_saved_scene()
        for told in (self._kept, self._kept_at, self._failures):
            told.clear()

    def stop(self) -> None:
        """Slicer is closed, or the module reloaded: keep what is due, and say nothing, for widgets may be gone."""
        self._stopped = True
        for due in self._timers:
            due.stop()
        self.finish()
        self.look_for_saved_scene()
        self.due.clear()

    def _saved(self, case: Case) -> None:
        self.saving = None
        self._failures.pop(case.id, None)
        if self._panel.scene.IsNodePresent(case.node):
            self._kept.add(case.id)
            self._kept_at[case.id] = str(qt.QTime.currentTime().toString("HH:mm:ss"))
        self.save()

    def _failed(self, case: Case, error: ActiveSegError) -> None:
        self.saving = None
        if self._panel.scene.IsNodePresent(case.node):  # else nothing can be done about it
            self.due[case.id] = case  # tried again in two minutes, and with the next edit
            self._failures[case.id] = error
            if not self._stopped:
                self._panel.show_error(error)
        self.tell()


class DraftsSection(Section):
    """One draft after the other, the newest first; once for each start of Slicer."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._drafts = panel.logic.drafts
        self.left: list[OfferedDraft] = []
        connect(ui.draftOpenButton, "clicked()", self._on_open)
        connect(ui.draftDiscardButton, "clicked()", self._on_discard)
        connect(ui.draftLaterButton, "clicked()", self._next)
        self.offer()

    def offer(self) -> None:
        """Offer what there is; no engine is needed for that."""
        here = {case.id for case in Case.all_in(self._panel.scene)}
        self.left = [draft for draft in self._drafts.offered() if draft.id not in here]
        self.update()

    def update(self) -> None:
        """Show the next draft, if there is one."""
        self._ui.draftFrame.setVisible(bool(self.left))
        for button in (self._ui.draftOpenButton, self._ui.draftDiscardButton):
            button.enabled = True
        if self.left:
            draft = self.left[0]
            text = _("Unsaved corrections of {ct}, from {time}: {done} of {total} regions reviewed. Restore them?")
            if not draft.regions:
                text = _("Unsaved corrections of {ct}, from {time}. Restore them?")
            when = draft.saved.astimezone().strftime("%Y-%m-%d %H:%M")
            self._ui.draftLabel.text = text.format(
                ct=draft.ct_name, time=when, done=draft.reviewed, total=draft.regions
            )

    def _next(self) -> None:
        del self.left[:1]
        self.update()

    def _drop(self, id: str) -> None:
        """It was restored or deleted; the user may have gone on to another one meanwhile."""
        self.left = [draft for draft in self.left if draft.id != id]
        self.update()

    def _on_open(self) -> None:
        for button in (self._ui.draftOpenButton, self._ui.draftDiscardButton):
            button.enabled = False
        self._panel.message.clear()
        self._drafts.open(self.left[0].id, self._panel.scene, self.opened, self._failed)

    def opened(self, case: Case) -> None:
        self._drop(case.id)
        self._panel.case_restored(case)
        self._panel.choose(case)

    def _failed(self, error: ActiveSegError) -> None:
        self.update()
        self._panel.show_error(error)

    def _on_discard(self) -> None:
        draft = self.left[0]
        question = _("Delete the unsaved corrections of {name} for good?").format(name=draft.name)
        if self._panel.confirm(question, _("Delete")):
            self._drafts.discard(draft.id, lambda: self._drop(draft.id), self._failed)


def _mouse_is_pressed() -> bool:
    buttons = qt.QApplication.mouseButtons()
    return int(getattr(buttons, "value", buttons)) != 0  # a number in PythonQt

"""One undo for what was done last: a decision on a region, or an edit in the panel's Segment Editor."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum

import qt
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError

from ..engine.signals import connect
from ..logic.decisions import Decision
from ..slicer_types import Widget
from .region_table import state_text
from .section import Panel

ONE_EDIT_S = 0.2
"""Events of one stroke come together."""

_ICONS = ":/Icons/Medium/Slicer{name}.png"


class Undoable(Enum):
    """What can be undone and redone."""

    DECISION = "decision"
    EDIT = "edit"


class Undoing:
    """The two buttons; each says in its tip what it would do, and is enabled only when it can."""

    def __init__(self, panel: Panel, changed: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        """``changed`` is called after a decision was taken back or made again; ``clock`` is that of the review."""
        self._panel = panel
        self._review = panel.logic.review
        self._changed = changed
        self._clock = clock
        self._edits: list[float] = []  # when
        self._undone: list[Undoable] = []
        self._stepping = False
        ui = panel.ui
        for button, name in ((ui.undoButton, "Undo"), (ui.redoButton, "Redo")):
            _give_icon(button, _ICONS.format(name=name))
        connect(ui.undoButton, "clicked()", self.undo)
        connect(ui.redoButton, "clicked()", self.redo)
        panel.follow_editor(self.update)

    def note_edit(self) -> None:
        """Voxels were edited, in this editor or elsewhere."""
        if self._stepping:
            return
        now = self._clock()
        if self._edits and now - self._edits[-1] < ONE_EDIT_S:
            self._edits.pop()
        self._edits.append(now)
        self._undone.clear()

    def note_decision(self) -> None:
        """A region was decided on."""
        self._undone.clear()

    def forget(self) -> None:
        """Another case is reviewed."""
        self._edits.clear()
        self._undone.clear()

    def undo(self) -> None:
        """Take back what was done last."""
        match self._to_undo():
            case Undoable.DECISION:
                self._decide(Undoable.DECISION, self._review.undo_decision)
            case Undoable.EDIT:
                if self._edits:
                    self._edits.pop()
                self._undone.append(Undoable.EDIT)
                self._edit("undo")

    def redo(self) -> None:
        """Do again what was taken back last."""
        step = self._to_redo()
        if step is not None and step in self._undone:
            self._undone.remove(step)
        match step:
            case Undoable.DECISION:
                self._decide(None, self._review.redo_decision)
            case Undoable.EDIT:
                self._edits.append(self._clock())
                self._edit("redo")

    def update(self) -> None:
        """Enable the buttons and name what they would do."""
        ui = self._panel.ui
        for button, step, decision, verb, key in (
            (ui.undoButton, self._to_undo(), self._review.decision_to_undo, _("Undo"), "U"),
            (ui.redoButton, self._to_redo(), self._review.decision_to_redo, _("Redo"), "Shift+U"),
        ):
            button.enabled = step is not None
            what = {Undoable.DECISION: decision_text(decision), Undoable.EDIT: _("the last edit"), None: _("nothing")}[
                step
            ]
            button.setToolTip(_("{verb}: {what} ({key})").format(verb=verb, what=what, key=key))

    def _to_undo(self) -> Undoable | None:
        decision, can_edit = self._review.decision_to_undo, self._panel.editor_can("undo")
        if decision is None:
            return Undoable.EDIT if can_edit else None
        edited_later = bool(self._edits) and self._edits[-1] > decision.at
        return Undoable.EDIT if can_edit and edited_later else Undoable.DECISION

    def _to_redo(self) -> Undoable | None:
        possible = {
            Undoable.DECISION: self._review.decision_to_redo is not None,
            Undoable.EDIT: self._panel.editor_can("redo"),
        }
        last = reversed([*possible, *self._undone])
        return next((step for step in last if possible[step]), None)

    def _decide(self, undone: Undoable | None, act: Callable[[], int | None]) -> None:
        try:
            act()
        except ActiveSegError as error:
            self._panel.show_error(error)
        if undone is not None:
            self._undone.append(undone)
        self._changed()

    def _edit(self, what: str) -> None:
        self._stepping = True
        try:
            self._panel.editor_step(what)
        finally:
            self._stepping = False
        self.update()


def decision_text(decision: Decision | None) -> str:
    """A decision in a few words."""
    if decision is None:
        return ""
    return _("region {number} {state}").format(number=decision.number, state=state_text(decision.after))


def _give_icon(button: Widget, path: str) -> None:
    """An icon in place of the text, where Slicer has it."""
    icon = qt.QIcon(path)
    if not icon.pixmap(16, 16).isNull():
        button.setIcon(icon)
        button.setToolButtonStyle(qt.Qt.ToolButtonIconOnly)

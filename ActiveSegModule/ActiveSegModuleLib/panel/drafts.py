"""The bar that offers what a crash of Slicer left behind."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..drafts import OfferedDraft
from ..scene.case import Case
from ..signals import connect


class DraftsSection:
    """``panel`` is the module's widget. One draft after the other, the newest first; once for each start of Slicer."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._ui = ui = panel.ui
        self._drafts = panel.logic.drafts
        self._left: list[OfferedDraft] = []
        self._asked = False
        connect(ui.draftOpenButton, "clicked()", self._on_open)
        connect(ui.draftDiscardButton, "clicked()", self._on_discard)
        connect(ui.draftLaterButton, "clicked()", self._next)

    def offer(self) -> None:
        """Ask the engine what there is, if there may be something and an engine."""
        if self._asked or self._panel.logic.installation.python is None:
            return
        self._asked = True
        self._drafts.offered(self._offered, self._panel.show_error)

    def _offered(self, drafts: list[OfferedDraft]) -> None:
        here = {case.id for case in Case.all_in(self._panel.scene)}
        self._left = [draft for draft in drafts if draft.id not in here]
        self._show()

    def _show(self) -> None:
        self._ui.draftFrame.setVisible(bool(self._left))
        if self._left:
            draft = self._left[0]
            text = _("Unsaved corrections of {ct}, from {time}: {done} of {total} regions reviewed. Restore them?")
            when = draft.saved.astimezone().strftime("%Y-%m-%d %H:%M")
            self._ui.draftLabel.text = text.format(
                ct=draft.ct_name, time=when, done=draft.reviewed, total=draft.regions
            )

    def _next(self) -> None:
        del self._left[:1]
        self._show()

    def _on_open(self) -> None:
        draft = self._left[0]
        self._drafts.open(draft.id, self._panel.scene, self._opened, self._panel.show_error)

    def _opened(self, case: Case) -> None:
        self._next()
        self._panel.choose(case)

    def _on_discard(self) -> None:
        draft = self._left[0]
        question = _("Delete the unsaved corrections of {name} for good?").format(name=draft.name)
        if self._panel.confirm(question):
            self._drafts.discard(draft.id, self._next, self._panel.show_error)

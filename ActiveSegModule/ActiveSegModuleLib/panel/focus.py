"""The face *Find regions in...*: structures to tick, in which the regions to review are found again."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError

from ..engine.signals import connect
from ..scene.case import Case
from ..slicer_types import Widgets
from .check_list import CheckList
from .section import Panel
from .steps import turn_to


class FocusFace:
    """In front of the list of regions while structures are chosen."""

    def __init__(self, panel: Panel, relisted: Callable[[], None]) -> None:
        """``relisted``: the case that is reviewed has another list of regions."""
        self._panel = panel
        self._ui: Widgets = panel.ui
        self._review = panel.logic.review
        self._relisted = relisted
        self._finding = False
        ui = self._ui
        self._list = CheckList(ui.focusSearch, ui.focusList, self._on_ticked)
        connect(ui.focusSearch, "textChanged(QString)", lambda _text: self._say())
        connect(ui.focusButton, "clicked()", self.open)
        connect(ui.focusBackButton, "clicked()", self.close)
        connect(ui.focusNoneButton, "clicked()", self._on_none)
        connect(ui.focusApplyButton, "clicked()", self.find)

    @property
    def is_open(self) -> bool:
        """Whether it is in front of the list."""
        return bool(self._ui.reviewFaces.currentWidget() == self._ui.focusFace)

    def open(self) -> None:
        """Bring it forward, ready for typing."""
        turn_to(self._ui.reviewFaces, self._ui.focusFace)
        self._ui.focusSearch.setFocus()

    def close(self) -> None:
        """Back to the list of regions."""
        if self.is_open:
            turn_to(self._ui.reviewFaces, self._ui.listFace)
            self._ui.regionTable.setFocus()

    def update(self) -> None:
        """Show the structures of the case, and which are ticked."""
        case, node = self._review.case, self._panel.parameter_node
        self._list.fill(case.decided if case is not None else (), node.focus.split("\n"))
        self._ui.focusButton.enabled = self._can_find(case)
        self._ui.focusApplyButton.enabled = self._can_find(case) and not self._finding
        self._say()

    def find(self) -> None:
        """Ask for the regions in the ticked structures; decisions of the present list are lost, so that is asked."""
        case = self._review.case
        if case is None:
            return
        reviewed, _total = self._review.reviewed
        question = _("{count} regions were reviewed. Replace the list? Your edits stay.").format(count=reviewed)
        if reviewed and not self._panel.confirm(question, _("Replace")):
            return
        self._finding = True
        self._ui.focusApplyButton.enabled = False
        self._say()
        ticked = tuple(self._list.ticked)
        try:
            self._panel.logic.segmenting.list_regions(
                case, ticked, self._panel.parameter_node.regionCount, lambda: self._found(case, ticked), self._failed
            )
        except ActiveSegError as error:
            self._failed(error)

    def _found(self, case: Case, ticked: tuple[str, ...]) -> None:
        self._end()
        if case != self._review.case:
            return
        count = len(case.regions.regions) if case.regions is not None else 0
        where = _named(ticked)
        if count:
            self._relisted()
            self.close()
            self._panel.message.notice(_("{count} regions to review in {where}.").format(count=count, where=where))
        else:
            self._relisted()
            self._ui.focusCountLabel.setText(
                _("No region to review was found in {where}: the model is confident there.").format(where=where)
            )

    def _failed(self, error: ActiveSegError) -> None:
        self._end()
        self._panel.show_error(error)

    def _end(self) -> None:
        self._finding = False
        self._ui.focusApplyButton.enabled = self._can_find(self._review.case)
        self._say()

    @staticmethod
    def _can_find(case: Case | None) -> bool:
        return case is not None and case.has_ct and case.origin is None and not case.is_preview

    def _say(self) -> None:
        """How many are ticked; that nothing is found by the search; that the engine is at work."""
        ticked = len(self._list.ticked)
        if self._finding:
            text = _("Finding regions...")
        elif not self._list.shown and str(self._ui.focusSearch.text):
            text = _("No structure of this segmentation is called '{text}'.").format(text=self._ui.focusSearch.text)
        else:
            text = _("{count} ticked").format(count=ticked) if ticked else _("none ticked: all structures")
        self._ui.focusCountLabel.setText(text)
        self._ui.focusNoneButton.enabled = bool(ticked)

    def _on_ticked(self) -> None:
        self._panel.parameter_node.focus = "\n".join(self._list.ticked)

    def _on_none(self) -> None:
        self._panel.parameter_node.focus = ""


def _named(structures: tuple[str, ...]) -> str:
    """A few structures by name, many by their number."""
    if not structures:
        return _("all structures")
    if len(structures) > 3:
        return _("{count} structures").format(count=len(structures))
    return ", ".join(name.replace("_", " ") for name in structures)

"""The structure that a prompt is about: chosen from a long list, or found from the region and from the click."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from activeseg.core.errors import InputError

from ..engine.signals import connect
from ..logic.review import CaseReview
from ..scene.case import Case
from ..slicer_types import Widgets


class PromptStructure:
    """A combo box in which one may type; its first entry finds the structure."""

    def __init__(self, ui: Widgets, review: CaseReview) -> None:
        self._combo = combo = ui.promptStructure
        self._review = review
        self._names: tuple[str, ...] = ()
        combo.setInsertPolicy(qt.QComboBox.NoInsert)
        combo.completer().setCompletionMode(qt.QCompleter.PopupCompletion)
        combo.completer().setFilterMode(qt.Qt.MatchContains)
        connect(combo, "activated(int)", lambda _index: ui.regionTable.setFocus())  # the keys are the buttons' again

    def update(self, case: Case | None) -> None:
        """Offer those of the case's model; what was chosen stays where there is the same one."""
        combo, names = self._combo, case.schema.names if case is not None else ()
        if names != self._names:
            self._names = names
            combo.clear()
            combo.addItem("", "")
            for name in names:
                combo.addItem(name.replace("_", " "), name)
            combo.setCurrentIndex(0)
        region = self._of_region().replace("_", " ")
        text = _("automatic: {structure}").format(structure=region) if region else _("automatic: where you click")
        if str(combo.itemText(0)) != text:
            combo.setItemText(0, text)
            if int(combo.currentIndex) == 0:
                combo.setEditText(text)

    def named(self, case: Case, points_kji: tuple[tuple[int, int, int], ...], include: bool) -> str:
        """What was chosen; else the region's first one, or the one under the click, which a *not this* means first.

        Raises InputError.
        """
        combo = self._combo
        index = int(combo.findText(combo.currentText))
        if index < 0:
            raise InputError(f"This model has no structure '{combo.currentText}'.", "Choose one of the list.")
        if index > 0:
            return str(combo.itemData(index))
        k, j, i = points_kji[len(points_kji) // 2]
        value = int(case.labels_in(((k, k + 1), (j, j + 1), (i, i + 1)))[0, 0, 0])
        under = case.schema.labels[value - 1].name if 0 < value <= len(case.schema) else ""
        region = self._of_region()
        structure = (region or under) if include else (under or region)
        if not structure:
            raise InputError("No structure is there.", "Choose the structure that the click is about.")
        return structure

    def _of_region(self) -> str:
        number = self._review.current
        row = next((row for row in self._review.rows() if row.number == number), None)
        return row.structures[0] if row is not None and row.structures else ""

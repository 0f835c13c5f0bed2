"""A button that says which structures have an unusual shape; its menu says what is unusual, and goes there."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError
from activeseg.core.shapes import ShapeFeature, ShapeWarning

from ..engine.signals import connect
from ..scene.case import Case
from ..scene.shape_warnings import jump_to, warnings_of
from .section import Panel


class ShapeWarnings:
    """Beside the line above the list of regions, where there is something to say."""

    def __init__(self, panel: Panel, moved: Callable[[], None]) -> None:
        """``moved`` is called when the views were moved."""
        self._panel = panel
        self._moved = moved
        self._case: Case | None = None
        self._button = panel.ui.shapesButton
        self.menu = qt.QMenu(self._button)
        connect(self._button, "clicked()", self._show_menu)

    def update(self, case: Case | None) -> None:
        """Show what the case says."""
        self._case = case
        warnings = warnings_of(case) if case is not None and case.has_ct and not case.is_preview else ()
        structures = list(dict.fromkeys(warning.structure for warning in warnings))
        self._button.setVisible(bool(structures))
        if len(structures) == 1:
            self._button.setText(_("Unusual: {structure}").format(structure=_readable(structures[0])))
        else:
            self._button.setText(_("Unusual: {count} structures").format(count=len(structures)))
        self.menu.clear()
        for warning in warnings:
            entry = self.menu.addAction(f"{_readable(warning.structure)}: {warning_text(warning)}")
            connect(entry, "triggered()", lambda warning=warning: self._go_to(warning))

    def _show_menu(self) -> None:
        self.menu.popup(self._button.mapToGlobal(qt.QPoint(0, self._button.height)))

    def _go_to(self, warning: ShapeWarning) -> None:
        if self._case is None:
            return
        try:
            jump_to(self._case, warning)
        except ActiveSegError as error:
            self._panel.show_error(error)
        self._moved()


def warning_text(warning: ShapeWarning) -> str:
    """What is unusual, in a few words."""
    value, low, high = warning.numbers
    if warning.feature is ShapeFeature.VOLUME:
        return _("{value} mL instead of {low} to {high} mL").format(value=value, low=low, high=high)
    if warning.feature is ShapeFeature.SOLIDITY:
        return _("solidity {value} instead of {low} to {high}").format(value=value, low=low, high=high)
    pieces = {"1": _("one piece"), "2": _("two pieces")}.get(value, _("{count} pieces").format(count=value))
    if warning.usual == (1, 1):
        return pieces
    usual = low if low == high else _("{low} to {high}").format(low=low, high=high)
    return _("{pieces} instead of {usual}").format(pieces=pieces, usual=usual)


def _readable(name: str) -> str:
    return name.replace("_", " ")

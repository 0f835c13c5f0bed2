"""The button *3D*: surfaces of the whole segmentation, or of the current region and what lies around it."""

from __future__ import annotations

from enum import Enum

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError

from ..engine.later import Later
from ..engine.signals import connect, timer
from ..scene.surfaces import Surfaces
from ..slicer_types import Widget
from .section import Panel

RENEW_AFTER_MS = 500
"""After the last edit."""


class Shown3D(Enum):
    """What is shown in 3D."""

    REGION = "region"
    ALL = "all"

    def label(self) -> str:
        """Its entry in the menu."""
        return {
            Shown3D.REGION: _("3D: the region and what lies around it"),
            Shown3D.ALL: _("3D: the whole segmentation"),
        }[self]


class View3D:
    """Surfaces are made one in each turn of the event loop; they follow edits and the current region."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._review = panel.logic.review
        self._button = panel.ui.surfacesButton
        self._title = str(self._button.text)
        self._later = Later(qt)
        self._surfaces = Surfaces(panel.scene, self._later)
        self._kind = Shown3D.REGION
        self._number: int | None = None  # the region that is shown
        self._renewal = timer(qt, RENEW_AFTER_MS, self._surfaces.renew, once=True)
        connect(self._button, "clicked()", self._on_button)

    @property
    def is_shown(self) -> bool:
        """Whether surfaces are there, or being made."""
        return self._surfaces.case is not None

    def show(self, kind: Shown3D) -> None:
        """Show surfaces of the case that is reviewed, in place of others."""
        case, number = self._review.case, self._review.current
        self._kind = kind
        if case is None or not case.has_ct:
            return
        try:
            if kind is Shown3D.REGION and number is not None:
                self._number = number
                self._surfaces.show_region(case, number, self._on_progress, self._on_done)
            else:
                self._number = None
                self._surfaces.show_all(case, self._on_progress, self._on_done)
        except ActiveSegError as error:
            self._panel.show_error(error)
        self._button.setChecked(self.is_shown)

    def add_entries(self, menu: Widget) -> None:
        """What can be shown in 3D."""
        for kind in Shown3D:
            entry = menu.addAction(kind.label())
            entry.setCheckable(True)
            entry.setChecked(kind is self._kind)
            entry.setEnabled(bool(self._button.enabled))
            connect(entry, "triggered(bool)", lambda _checked, kind=kind: self.show(kind))

    def update(self) -> None:
        """Follow the case and the current region."""
        case = self._review.case
        self._button.enabled = case is not None and case.has_ct
        if self.is_shown and self._surfaces.case != case:
            self.hide()
        elif self.is_shown and self._number is not None and self._review.current not in (None, self._number):
            self.show(Shown3D.REGION)
        self._button.setChecked(self.is_shown)

    def edited(self) -> None:
        """The segmentation was edited."""
        if self.is_shown:
            self._renewal.start()

    def hide(self) -> None:
        """Take the surfaces away."""
        self._renewal.stop()
        self._surfaces.remove()
        self._number = None
        self._button.setText(self._title)
        self._button.setChecked(False)

    def close(self) -> None:
        """The panel goes away."""
        self.hide()
        self._later.close()

    def _on_button(self) -> None:
        if self.is_shown:
            self.hide()
        else:
            self.show(self._kind)

    def _on_progress(self, done: int, total: int) -> None:
        self._button.setText(_("{percent} %").format(percent=100 * done // max(total, 1)))

    def _on_done(self) -> None:
        self._button.setText(self._title)
        layout = slicer.app.layoutManager()
        for number in range(layout.threeDViewCount if layout is not None and self._number is None else 0):
            layout.threeDWidget(number).threeDView().resetFocalPoint()

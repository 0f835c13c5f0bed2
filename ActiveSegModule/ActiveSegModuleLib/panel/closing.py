"""Slicer is closed: what is due is kept before, and what would be lost is asked about."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from ..engine.signals import connect
from ..logic.training import goes_on
from ..slicer_types import Widget
from .drafts import DraftKeeping
from .section import Panel


class Closing:
    """Ends what the panel began, when Slicer quits or the module goes; and asks before Slicer's window is closed."""

    def __init__(self, panel: Panel, keeping: DraftKeeping, leave: Callable[[], None]) -> None:
        """``leave`` is called at the end, before the engine goes."""
        self._panel = panel
        self._keeping = keeping
        self._leave = leave
        self._asks = False
        self._window = slicer.util.mainWindow()
        self._guard = _Guard(self.may_close)
        if self._window is not None:
            self._window.installEventFilter(self._guard)
        connect(slicer.app, "aboutToQuit()", self._end)

    def cleanup(self) -> None:
        """The module goes, with or without Slicer."""
        if self._window is not None:
            self._window.removeEventFilter(self._guard)
        slicer.app.disconnect("aboutToQuit()", self._end)
        self._end()

    def may_close(self) -> bool:
        """Keep what is due; the user decides about what would be lost all the same."""
        if self._asks:  # the window was closed once more while this waits
            return False
        self._asks = True
        try:
            self._panel.case_left()  # what was edited just now
            self._keeping.finish()
            lost = self._lost()
            question = "{lost}\n\n{question}".format(lost="\n".join(lost), question=_("Close Slicer all the same?"))
            return not lost or self._panel.confirm(question, _("Close Slicer"))
        finally:
            self._asks = False

    def _lost(self) -> list[str]:
        """What ends unfinished with Slicer, a sentence each."""
        logic, lost = self._panel.logic, []
        if self._keeping.unsaved:
            lost.append(_("The latest corrections of {names} could not be kept.").format(names=self._keeping.unsaved))
        if logic.segmenting.running is not None:
            lost.append(_("The segmentation is not finished and will be lost."))
        if logic.training.runs and not goes_on(self._panel.settings):
            lost.append(_("The training will stop; it can be resumed later."))
        obstacle = logic.installation.obstacle
        if obstacle is not None and obstacle.details.get("cause") == "changing":
            lost.append(_("{what} That will be cancelled.").format(what=obstacle.message))
        return lost

    def _end(self) -> None:
        self._keeping.stop()
        self._leave()
        self._panel.logic.shutdown()


class _Guard(qt.QObject):
    """Sees that a window is about to be closed."""

    def __init__(self, may_close: Callable[[], bool]) -> None:
        qt.QObject.__init__(self)
        self._may_close = may_close

    def eventFilter(self, _window: Widget, event: Widget) -> bool:  # noqa: N802 - Qt's name
        if event.type() == qt.QEvent.Close and not self._may_close():
            event.ignore()
            return True
        return False

"""What Slicer's status bar says after a start, before the module is opened: that something is left from last time."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ..engine.signals import connect
from ..logic.drafts import offered_drafts
from ..logic.training import ENDED, stage_on_disk, training_seen
from ..slicer_types import Settings

_NAME = "ActiveSegLeftFromLastTime"
_OPENED = "ActiveSegOpened"


def offer(folder: Path, settings: Settings) -> None:
    """Show a button that opens the module, if there is a reason to. Files of a folder are looked at, nothing starts.

    ``folder`` holds the drafts.
    """
    window = slicer.util.mainWindow()
    if window is None or window.property(_OPENED):  # the module is the one that Slicer starts with
        return
    text = _text(folder, settings)
    if not text:
        return
    button = qt.QPushButton(text)
    button.objectName = _NAME
    button.flat = True
    button.toolTip = _("Open ActiveSeg")
    connect(button, "clicked()", lambda: slicer.util.selectModule("ActiveSegModule"))
    window.statusBar().addPermanentWidget(button)


def withdraw() -> None:
    """Take the button away: the module is open, and says it itself."""
    window = slicer.util.mainWindow()
    if window is None:
        return
    window.setProperty(_OPENED, True)
    bar = window.statusBar()
    for child in list(bar.children()):
        if child.objectName == _NAME:
            bar.removeWidget(child)
            child.deleteLater()


def _text(folder: Path, settings: Settings) -> str:
    drafts = offered_drafts(folder, settings)
    if drafts:
        return _("ActiveSeg: unsaved corrections of {count} case(s)").format(count=len(drafts))
    seen = training_seen(settings)
    if not seen or seen.get("stage") in ENDED:
        return ""
    told = {
        "stopped": _("ActiveSeg: the training of {name} has stopped"),
        "failed": _("ActiveSeg: the training of {name} has failed"),
        "done": _("ActiveSeg: the training of {name} is done"),
    }.get(stage_on_disk(seen), _("ActiveSeg: training of {name}"))
    return told.format(name=Path(seen.get("project", "")).name)

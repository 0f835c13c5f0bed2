"""How far a segmentation is: bar, stage and time left, told on the page *Segment* and on its step."""

from __future__ import annotations

import math

import qt
from slicer.i18n import tr as _

from ..engine.signals import connect, timer
from ..logic.countdown import Countdown
from ..logic.run import Running
from .section import Panel, Section

TICK_MS = 1_000
TOLD_STAGES = ("download", "network")
"""Stages whose own words say more than how they are called."""


class RunProgress(Section):
    """Counts down by itself between what the engine tells."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.countdown = Countdown()
        self._ticks = timer(qt, TICK_MS, self.update)
        connect(self._ui.cancelButton, "clicked()", panel.logic.segmenting.cancel)

    def update(self) -> None:
        """Show what runs, if something does."""
        ui, running = self._ui, self._panel.logic.segmenting.running
        for widget in (ui.stageLabel, ui.progressFrame):
            widget.setVisible(running is not None)
        ui.segmentButton.setVisible(running is None)
        if running is None:
            self._ticks.stop()
            self.countdown.tell(None)
            return
        if not self._ticks.isActive():
            self._ticks.start()
        self.countdown.tell(running.eta_s, (running.stage, running.fraction))
        what = stage_text(running, self._panel.logic.warming.is_going_on)
        node = self._panel.parameter_node
        if running.has_ct and node is not None and node.ct is not None and node.ct.GetName() != running.ct_name:
            what = f"{running.ct_name}: {what}"  # another one is chosen meanwhile
        ui.stageLabel.setText(f"{what}{left_text(0 if running.is_late else self.countdown.left)}")
        ui.progressBar.value = round(1000 * running.fraction)
        ui.cancelButton.setText(_("Stop") if running.label_shown else _("Cancel"))
        ui.cancelButton.setToolTip(
            _("Keep the segmentation as it is") if running.label_shown else _("End it at once; nothing is left behind")
        )


def stage_text(running: Running, loading: bool = False) -> str:
    """What happens now, in plain words; ``loading``: what is waited for is loaded already."""
    stage = "load" if loading and running.stage == "queued" else running.stage
    if running.label_shown:
        what = _("Segmentation shown, refining uncertainty")
    elif stage in ("load", "import", "start") and running.is_first:
        what = _("First run after the start: loading the model")
    else:
        stages = {
            "start": _("Starting"),
            "queued": _("Waiting for another job"),
            "check": _("Checking the model"),
            "import": _("Loading the model"),
            "load": _("Loading the model"),
            "download": _("Downloading weights"),
            "read": _("Reading the image"),
            "preprocess": _("Preparing the image"),
            "network": _("Segmenting"),
            "segment": _("Segmenting"),
            "uncertainty": _("Estimating uncertainty"),
            "resample": _("Resampling to the CT"),
            "regions": _("Finding regions to review"),
            "save": _("Saving"),
        }
        what = stages.get(stage, _("Segmenting"))
    if running.text and stage in TOLD_STAGES:
        what = f"{what}: {running.text}"
    if not running.has_ct:
        what = _("{ct} is not in the scene any more; its result will be kept. {what}").format(
            ct=running.ct_name, what=what
        )
    return what


def left_text(seconds: float | None) -> str:
    """The end of a sentence: how long it still takes, empty when that is not known."""
    if seconds is None:
        return ""
    if seconds == 0:
        return _(", longer than expected")
    seconds = math.ceil(seconds)
    if seconds < 60:
        return _(", {seconds} s left").format(seconds=seconds)
    if seconds < 600:
        return _(", {minutes} min {seconds} s left").format(minutes=seconds // 60, seconds=seconds % 60)
    return _(", {minutes} min left").format(minutes=math.ceil(seconds / 60))

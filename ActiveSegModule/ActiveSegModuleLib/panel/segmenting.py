"""The section *Segment*: structures, options, one large button, and how far it is."""

from __future__ import annotations

import math

from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError, Crashed

from ..engine.signals import connect
from ..logic.models import Model
from ..logic.segmenting import Choice, Running
from .check_list import CheckList
from .section import Panel, Section

NONE_TICKED = "-"
"""The parameter node's ``structures`` when there is nothing to segment; empty there means all."""


class SegmentingSection(Section):
    """What is segmented with the chosen model, and how."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._structures = CheckList(ui.structureSearch, ui.structureList, self._on_structures)
        for text, members in (
            (_("Automatic"), "auto"),
            (_("1 (fastest, segmentation only)"), "1"),
            (_("4 members"), "4"),
            (_("8 members"), "8"),
        ):
            ui.membersSelector.addItem(text, members)
        connect(ui.membersSelector, "activated(int)", lambda _index: self._on_members())
        connect(ui.structureAllButton, "clicked()", lambda: self._tick_all(True))
        connect(ui.structureNoneButton, "clicked()", lambda: self._tick_all(False))
        connect(ui.segmentButton, "clicked()", self.on_segment)
        connect(ui.cancelButton, "clicked()", panel.logic.segmenting.cancel)

    @property
    def model(self) -> Model | None:
        """What is chosen; None before the engine has told which models there are."""
        node = self._panel.parameter_node
        return self._panel.logic.models.named(node.model) if node is not None else None

    def update(self) -> None:
        """Show what the parameter node says."""
        node = self._panel.parameter_node
        if node is None:
            return
        index = self._ui.membersSelector.findData(node.members)
        if index != self._ui.membersSelector.currentIndex:
            self._ui.membersSelector.setCurrentIndex(index)
        model = self.model
        names = model.structures if model else ()
        wanted = node.structures.split("\n") if node.structures else list(names)
        self._structures.fill(names, wanted)
        ticked = len(self._structures.ticked)
        self._ui.structureCountLabel.text = _("{ticked} of {all}").format(ticked=ticked, all=len(names))
        self._ui.previewCheckBox.enabled = model is not None and bool(self._panel.logic.models.preview_of(model))
        self.show_progress()

    def show_progress(self) -> None:
        """Bar, stage and time left of what runs."""
        ui, node, running = self._ui, self._panel.parameter_node, self._panel.logic.segmenting.running
        ui.progressFrame.setVisible(running is not None)
        obstacle, missing = self._panel.logic.installation.obstacle, ""
        if obstacle is not None:
            missing = str(obstacle)
        elif node is None or node.ct is None:
            missing = _("Load a CT.")
        elif self.model is None:
            missing = _("Set up the engine, and choose a model.")
        elif node.structures == NONE_TICKED:
            missing = _("Tick at least one structure.")
        ui.segmentButton.enabled = running is None and not missing
        ui.segmentButton.toolTip = missing
        if running is not None:
            ui.stageLabel.text = stage_text(running, self._panel.logic.warming.is_going_on)
            ui.progressBar.value = round(1000 * running.fraction)
            ui.cancelButton.text = _("Stop") if running.label_shown else _("Cancel")

    def on_segment(self) -> None:
        """The large button."""
        node, model = self._panel.parameter_node, self.model
        if model is None:
            return
        self._panel.message.clear()
        wanted = node.structures.split("\n")
        structures = tuple(name for name in model.structures if name in wanted)
        focus = [name for name in node.focus.split("\n") if name in (structures or model.structures)]
        choice = Choice(
            model.name,
            device=node.device,
            members=node.members if node.members == "auto" else int(node.members),
            mode="exact" if node.exact else "fast",
            structures=structures,
            focus=tuple(focus),
            regions=node.regionCount,
            preview=self._panel.logic.models.preview_of(model) if node.preview else "",
            allow_coarser=node.allowCoarser,
            usage_statistics=bool(self._ui.statisticsCheckBox.checked),
        )
        try:
            self._panel.logic.warming.make_way()
            self._panel.logic.segmenting.start(node.ct, choice)
            self._panel.remember_model(model.name)
        except ActiveSegError as error:
            self._panel.show_error(error)

    def failed(self, error: ActiveSegError) -> None:
        """A run failed: say so, with a button that tries again where that may help."""
        if isinstance(error, Crashed):
            self._panel.message.error(error, _("Try again"), self.on_segment)
        else:
            self._panel.show_error(error)

    def _on_structures(self) -> None:
        ticked, model = self._structures.ticked, self.model
        everything = model is not None and len(ticked) == len(model.structures)
        self._panel.parameter_node.structures = "" if everything else "\n".join(ticked) or NONE_TICKED

    def _tick_all(self, tick: bool) -> None:
        """All that the search field shows, besides what is ticked; or nothing at all."""
        model = self.model
        if model is not None:
            wanted = {*self._structures.ticked, *self._structures.shown} if tick else ()
            self._structures.fill(model.structures, wanted)
            self._on_structures()

    def _on_members(self) -> None:
        self._panel.parameter_node.members = self._ui.membersSelector.currentData


def stage_text(running: Running, loading: bool = False) -> str:
    """What happens now, and how long it will still take; ``loading``: what is waited for is loaded already."""
    if running.label_shown:
        what = _("Segmentation shown, refining uncertainty")
    elif loading and running.stage == "queued":
        what = _("Loading the model")
    else:
        stages = {
            "start": _("Starting"),
            "queued": _("Waiting for another job"),
            "load": _("Loading the model"),
            "download": _("Downloading weights"),
            "read": _("Reading the image"),
            "preprocess": _("Preparing the image"),
            "network": _("Segmenting"),
            "resample": _("Resampling to the CT"),
            "regions": _("Finding regions to review"),
            "save": _("Saving"),
        }
        what = stages.get(running.stage, running.stage)
    if running.text:
        what = f"{what}: {running.text}"
    if running.eta_s is None:
        return what
    return _("{what}, {left} left").format(what=what, left=time_text(running.eta_s))


def time_text(seconds: float) -> str:
    """A time as an approximation."""
    if seconds < 60:
        return _("{seconds} s").format(seconds=max(1, math.ceil(seconds)))
    return _("{minutes} min").format(minutes=math.ceil(seconds / 60))

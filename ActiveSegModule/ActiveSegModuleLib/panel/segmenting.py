"""The page *Segment*: structures, options and one large button; and what to do when a run fails."""

from __future__ import annotations

import math
from collections.abc import Callable

from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError, Crashed, DeviceError

from ..engine.signals import connect
from ..logic.models import Model
from ..logic.run import Choice
from ..scene.case import Case
from ..slicer_types import ParameterNode
from .check_list import CheckList
from .run_progress import RunProgress
from .section import Panel, Section
from .steps import Mark, Step, StepState

NONE_TICKED = "-"
"""The parameter node's ``structures`` when there is nothing to segment; empty there means all."""


class SegmentingSection(Section):
    """What is segmented with the chosen model, and how."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._structures = CheckList(
            ui.structureSearch, ui.structureList, self._on_structures, ui.structureNothingLabel
        )
        self.progress = RunProgress(panel)
        for text, members in (
            (_("Automatic"), "auto"),
            (_("1 (fastest, segmentation only)"), "1"),
            (_("4 members"), "4"),
            (_("8 members"), "8"),
        ):
            ui.membersSelector.addItem(text, members)
        connect(ui.membersSelector, "activated(int)", lambda _index: self._on_members())
        connect(ui.structureAllButton, "clicked()", lambda: self._tick_shown(True))
        connect(ui.structureNoneButton, "clicked()", lambda: self._tick_shown(False))
        connect(ui.segmentButton, "clicked()", self.on_segment)

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
        ui = self._ui
        index = ui.membersSelector.findData(node.members)
        if index != ui.membersSelector.currentIndex:
            ui.membersSelector.setCurrentIndex(index)
        model = self.model
        names = model.structures if model else ()
        wanted = node.structures.split("\n") if node.structures else list(names)
        self._structures.fill(names, wanted)
        ticked = len(self._structures.ticked)
        ui.structureCountLabel.setText(_("{ticked} of {all}").format(ticked=ticked, all=len(names)))
        some = _("Structures: {ticked} of {all}").format(ticked=ticked, all=len(names))
        ui.segmentTabs.setTabText(1, some if ticked < len(names) else _("Structures"))
        changed = _changed(node)
        other = _("Options: {count} changed").format(count=changed)
        ui.segmentTabs.setTabText(2, other if changed else _("Options"))
        ui.previewCheckBox.enabled = model is not None and bool(self._panel.logic.models.preview_of(model))
        self.show_progress()

    def show_progress(self) -> None:
        """What is missing, or how far the run is."""
        ui, running = self._ui, self._panel.logic.segmenting.running
        missing, short = self._missing()
        ui.segmentButton.enabled = running is None and not missing
        ui.segmentButton.toolTip = missing or _("Segment the chosen CT; Slicer stays usable meanwhile")
        ui.segmentHintLabel.setText(missing)
        listed = bool(self._panel.logic.models.all)  # else the list says already why it is empty
        ui.segmentHintLabel.setVisible(bool(missing) and running is None and listed)
        self.progress.update()
        self._tell_state(short)

    def _missing(self) -> tuple[str, str]:
        """What has to be done before the button can be pressed, in a sentence and in a word; empty when nothing is."""
        node, obstacle = self._panel.parameter_node, self._panel.logic.installation.obstacle
        if obstacle is not None:
            changing = obstacle.details.get("cause") == "changing"
            return str(obstacle), _("installing") if changing else _("set up")
        if node is None or node.ct is None:
            return _("Load a CT to begin."), _("load a CT")
        if not self._panel.logic.models.all:
            return self._panel.engine_text, _("starting")
        if self.model is None:
            return _("Choose a model."), _("choose a model")
        if node.structures == NONE_TICKED:
            return _("Tick at least one structure."), _("no structure")
        return "", ""

    def _tell_state(self, missing: str) -> None:
        logic, node = self._panel.logic, self._panel.parameter_node
        if logic.installation.obstacle is not None:
            return  # the card that installs the engine says how that stands
        running = logic.segmenting.running
        state = StepState(missing)
        if running is not None:
            text = _("refining {part} %") if running.label_shown else _("running {part} %")
            state = StepState(text.format(part=math.floor(100 * running.fraction)), Mark.RUNNING)
        elif node is not None and node.ct is not None:
            newest = Case.newest_of(self._panel.scene, node.ct)
            if newest is not None and newest.is_preview:
                state = StepState(_("preview"))
            elif newest is not None:
                state = StepState(_("done"), Mark.DONE)
        self._panel.steps.tell(Step.SEGMENT, state)

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
        """A run failed: say so, with the one button that helps."""
        if "draft" in error.details:
            id, name = str(error.details["draft"]), str(error.details["ct_name"])
            self._panel.message.error(error, _("Open the result"), lambda: self._open_kept(id, name))
        elif isinstance(error, Crashed) or error.details.get("cause") == "disk":
            self._panel.message.error(error, _("Try again"), self.on_segment)
        elif isinstance(error, DeviceError):
            self._panel.message.error(error, *self._other_way(error))
        else:
            self._panel.show_error(error)

    def _other_way(self, error: DeviceError) -> tuple[str, Callable[[], None]]:
        """What needs less memory, or another device."""
        node, model = self._panel.parameter_node, self.model
        if node is not None and model is not None and error.details.get("setting") != "device":
            if model.coarser and not node.allowCoarser:
                return _("Use a lower-resolution model"), lambda: self._again(allowCoarser=True)
            if node.members != "1":
                return _("Use 1 member"), lambda: self._again(members="1")
        if node is not None and node.device != "cpu":
            return _("Use the CPU"), lambda: self._again(device="cpu")
        return _("Try again"), self.on_segment

    def _again(self, **changes: object) -> None:
        node = self._panel.parameter_node
        if node is not None:
            for name, value in changes.items():
                setattr(node, name, value)
            self.on_segment()

    def _open_kept(self, id: str, ct_name: str) -> None:
        """Bring a result back whose CT was removed while it was made."""

        def opened(case: Case) -> None:
            case.ct_node.SetName(self._panel.scene.GenerateUniqueName(ct_name))
            case.node.SetName(self._panel.scene.GenerateUniqueName(f"{ct_name} segmentation"))
            self._panel.case_restored(case)
            self._panel.choose(case)

        self._panel.logic.drafts.open(id, self._panel.scene, opened, self._panel.show_error)

    def _on_structures(self) -> None:
        ticked, model = self._structures.ticked, self.model
        everything = model is not None and len(ticked) == len(model.structures)
        self._panel.parameter_node.structures = "" if everything else "\n".join(ticked) or NONE_TICKED

    def _tick_shown(self, tick: bool) -> None:
        """All that the search field shows; the rest stays as it is."""
        model = self.model
        if model is not None:
            shown, ticked = set(self._structures.shown), set(self._structures.ticked)
            self._structures.fill(model.structures, ticked | shown if tick else ticked - shown)
            self._on_structures()

    def _on_members(self) -> None:
        self._panel.parameter_node.members = self._ui.membersSelector.currentData


def _changed(node: ParameterNode) -> int:
    """How many options are not what they are in a new scene."""
    usual = {"device": "auto", "members": "auto", "regionCount": 10}
    switches = ("exact", "preview", "allowCoarser")
    return sum(getattr(node, name) != value for name, value in usual.items()) + sum(getattr(node, s) for s in switches)


def time_text(seconds: float) -> str:
    """A time as an approximation."""
    if seconds < 60:
        return _("{seconds} s").format(seconds=max(1, math.ceil(seconds)))
    return _("{minutes} min").format(minutes=math.ceil(seconds / 60))

"""The section *Segment*: CT, model, structures, one large button, and how far it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError, Crashed

from ..engine.signals import connect
from ..logic.models import FAMILIES, Model
from ..logic.segmenting import Choice, Running
from .check_list import CheckList

LAST_MODEL = "ActiveSeg/model"
NONE_TICKED = "-"
"""The parameter node's ``structures`` when there is nothing to segment; empty there means all."""


class SegmentingSection:
    """``panel`` is the module's widget."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._ui = ui = panel.ui
        self._structures = CheckList(ui.structureSearch, ui.structureList, self._on_structures)
        self._gpus: list[Mapping[str, Any]] = []
        self._default = ""  # what was chosen without the user
        for text, members in (
            (_("Automatic"), "auto"),
            (_("One: the label, quickest"), "1"),
            (_("4 voters"), "4"),
            (_("8 voters"), "8"),
        ):
            ui.membersSelector.addItem(text, members)
        connect(ui.modelSelector, "activated(int)", lambda _index: self._on_model())
        connect(ui.modelAddButton, "clicked()", self._on_add_model)
        connect(ui.deviceSelector, "activated(int)", lambda _index: self._store("device", ui.deviceSelector))
        connect(ui.membersSelector, "activated(int)", lambda _index: self._store("members", ui.membersSelector))
        connect(ui.structureAllButton, "clicked()", lambda: self._tick_all(True))
        connect(ui.structureNoneButton, "clicked()", lambda: self._tick_all(False))
        connect(ui.segmentButton, "clicked()", self.on_segment)
        connect(ui.cancelButton, "clicked()", panel.logic.segmenting.cancel)
        self._fill_devices()

    @property
    def model(self) -> Model | None:
        """What is chosen; None before the engine has told which models there are."""
        node = self._panel.parameterNode
        return self._panel.logic.models.named(node.model) if node is not None else None

    def refresh(self) -> None:
        """Ask the engine for models and devices; needs an engine."""
        if self._panel.logic.installation.obstacle is not None:
            return
        logic = self._panel.logic
        logic.engine.request("system.info", on_result=self._on_system, on_error=lambda _error: None)
        logic.models.refresh(self.list_models, self._panel.show_error)  # after it: the default depends on the device

    def update(self) -> None:
        """Show what the parameter node says."""
        node = self._panel.parameterNode
        if node is None:
            return
        self._choose_default()  # a closed scene took the choice along
        for selector, value in (
            (self._ui.modelSelector, node.model),
            (self._ui.deviceSelector, node.device),
            (self._ui.membersSelector, node.members),
        ):
            index = selector.findData(value)
            if index != selector.currentIndex:
                selector.setCurrentIndex(index)
        model = self.model
        names = model.structures if model else ()
        wanted = node.structures.split("\n") if node.structures else list(names)
        self._structures.fill(names, wanted)
        ticked = len(self._structures.ticked)
        self._ui.structureCountLabel.text = _("{ticked} of {all}").format(ticked=ticked, all=len(names))
        self._ui.modelHelpLabel.text = model.help if model else _("Set up the engine to see the models.")
        self._ui.previewCheckBox.enabled = model is not None and bool(self._panel.logic.models.preview_of(model))
        self.show_progress()

    def show_progress(self) -> None:
        """Bar, stage and time left of what runs."""
        ui, node, running = self._ui, self._panel.parameterNode, self._panel.logic.segmenting.running
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
            ui.stageLabel.text = stage_text(running)
            ui.progressBar.value = round(1000 * running.fraction)
            ui.cancelButton.text = _("Stop") if running.label_shown else _("Cancel")

    def on_segment(self) -> None:
        """The large button."""
        node, model = self._panel.parameterNode, self.model
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
            usage_statistics=self._panel.usage_statistics,
        )
        try:
            self._panel.logic.segmenting.start(node.ct, choice)
            self.remember(model.name)
        except ActiveSegError as error:
            self._panel.show_error(error)

    def failed(self, error: ActiveSegError) -> None:
        """A run failed: say so, with a button that tries again where that may help."""
        if isinstance(error, Crashed):
            self._panel.message.error(error, _("Try again"), self.on_segment)
        else:
            self._panel.show_error(error)

    def list_models(self) -> None:
        """Show which models there are to choose from."""
        selector, family = self._ui.modelSelector, None
        selector.clear()
        for model in self._panel.logic.models.all:
            if model.family != family:
                family = model.family
                selector.addItem(FAMILIES[family])
                header = selector.model().item(selector.count - 1)
                header.setFlags(header.flags() & ~(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled))
                font = qt.QFont(header.font())
                font.setBold(True)
                header.setFont(font)
            selector.addItem("   " + model.title, model.name)
        selector.setCurrentIndex(-1)
        self.update()

    def _choose_default(self) -> None:
        """The model that the user had last, once it is listed; until then, and else, one that suits the device."""
        node, models = self._panel.parameterNode, self._panel.logic.models
        if not models.all or (models.named(node.model) is not None and node.model != self._default):
            return
        last = str(self._panel.settings.value(LAST_MODEL) or "")
        usual = "totalsegmentator:total" if self._gpus else "totalsegmentator:total-fast"
        self._default = next((name for name in (last, usual, "demo") if models.named(name) is not None), "")
        node.model = self._default

    def remember(self, model: str) -> None:
        """Offer a model first from now on, in other scenes and after a restart, too."""
        self._default = ""
        self._panel.settings.setValue(LAST_MODEL, model)

    def _on_system(self, info: Mapping[str, Any]) -> None:
        self._gpus = list(info["gpus"])
        self._fill_devices(int(info["ram_free_bytes"]))
        self.update()

    def _fill_devices(self, ram_free: int = 0) -> None:
        selector = self._ui.deviceSelector
        selector.clear()
        selector.addItem(_("Automatic"), "auto")
        for gpu in self._gpus[:1]:
            free = _("{free:.1f} GB free").format(free=gpu["free_bytes"] / 2**30)
            selector.addItem(f"{gpu['name']}, {free}", "cuda")
        free = _("{free:.1f} GB free").format(free=ram_free / 2**30) if ram_free else ""
        selector.addItem(", ".join(filter(None, (_("Processor"), free))), "cpu")

    def _on_model(self) -> None:
        name = self._ui.modelSelector.currentData
        if name:
            self.remember(name)
            self._panel.parameterNode.structures = ""
            self._panel.parameterNode.model = name

    def _on_add_model(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("A folder that nnU-Net trained (with plans.json, dataset.json and fold_...)")
        )
        if folder:
            self._panel.logic.models.add_folder(Path(folder), self._on_added, self._panel.show_error)

    def _on_added(self, model: Model) -> None:
        self.remember(model.name)
        self.list_models()
        self._panel.parameterNode.model = model.name

    def _on_structures(self) -> None:
        ticked, model = self._structures.ticked, self.model
        everything = model is not None and len(ticked) == len(model.structures)
        self._panel.parameterNode.structures = "" if everything else "\n".join(ticked) or NONE_TICKED

    def _tick_all(self, tick: bool) -> None:
        """All that the search field shows, besides what is ticked; or nothing at all."""
        model = self.model
        if model is not None:
            wanted = {*self._structures.ticked, *self._structures.shown} if tick else ()
            self._structures.fill(model.structures, wanted)
            self._on_structures()

    def _store(self, name: str, selector: Any) -> None:
        setattr(self._panel.parameterNode, name, selector.currentData)


def stage_text(running: Running) -> str:
    """What happens now, and how long it will still take."""
    if running.label_shown:
        what = _("The label is shown; the uncertainty is being refined")
    else:
        stages = {
            "start": _("Starting"),
            "queued": _("Waiting for another job"),
            "load": _("Loading the model"),
            "download": _("Downloading weights"),
            "read": _("Reading the image"),
            "preprocess": _("Preparing the image"),
            "network": _("Segmenting"),
            "resample": _("Back to the CT's voxels"),
            "regions": _("Looking for uncertain places"),
            "save": _("Saving"),
        }
        what = stages.get(running.stage, running.stage)
    if running.text:
        what = f"{what}: {running.text}"
    if running.eta_s is None:
        return what
    return _("{what}, {left} left").format(what=what, left=time_text(running.eta_s))


def time_text(seconds: float) -> str:
    """A time that nobody takes for exact."""
    if seconds < 60:
        return _("{seconds} s").format(seconds=max(1, math.ceil(seconds)))
    return _("{minutes} min").format(minutes=math.ceil(seconds / 60))

"""The model selector of the section *Segment*: what there is, what is chosen, and what the engine loads ahead."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.client.messages.learning import ProjectResult
from activeseg.client.messages.system import Gpu, SystemRequest, SystemResult

from ..engine.asking import ask
from ..engine.engine import ignore
from ..engine.signals import connect
from ..logic.models import FAMILIES, Model
from .section import Panel, Section

LAST_MODEL = "ActiveSeg/model"


class ModelsSection(Section):
    """Models by family, and the devices that they can run on."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._models = panel.logic.models
        self._gpus: tuple[Gpu, ...] = ()
        self._default = ""  # what was chosen without the user
        self._took_over: set[tuple[str, str]] = set()  # projects and their versions that became the model once
        connect(self._ui.modelSelector, "activated(int)", lambda _index: self._on_model())
        connect(self._ui.modelAddButton, "clicked()", self._on_add_model)
        connect(self._ui.deviceSelector, "activated(int)", lambda _index: self._on_device())
        self._fill_devices()

    def refresh(self) -> None:
        """Ask the engine for models and devices; needs an engine."""
        logic = self._panel.logic
        if logic.installation.obstacle is not None:
            return
        ask(logic.engine, SystemRequest(), self._on_system, ignore)
        self._models.refresh(self._listed, self._panel.show_error)  # after it: the default depends on the device

    def update(self) -> None:
        """Show what the parameter node says."""
        node = self._panel.parameter_node
        if node is None:
            return
        self._choose_default()  # a closed scene took the choice along
        for selector, value in ((self._ui.modelSelector, node.model), (self._ui.deviceSelector, node.device)):
            index = selector.findData(value)
            if index != selector.currentIndex:
                selector.setCurrentIndex(index)
        model = self._models.named(node.model)
        self._ui.modelHelpLabel.text = model.help if model else _("Set up the engine to see the models.")

    def show_list(self) -> None:
        """Show which models there are to choose from."""
        selector, family = self._ui.modelSelector, None
        selector.clear()
        for model in self._models.all:
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
        self._panel.update()

    def remember(self, name: str) -> None:
        """Offer a model first from now on, in other scenes and after a restart, too."""
        self._default = ""
        self._panel.settings.setValue(LAST_MODEL, name)

    def offer_project(self, summary: ProjectResult) -> None:
        """Offer a project's current version; a version that is new takes the place of the model it was made from."""
        self._models.offer_project(summary, lambda: self._project_offered(summary), self._panel.show_error)

    def _listed(self) -> None:
        self.show_list()
        self._warm()

    def _warm(self) -> None:
        """Load ahead what will be segmented with. The last model may be listed only after a look into its folder."""
        node, logic = self._panel.parameter_node, self._panel.logic
        if node is None or logic.segmenting.running is not None:
            return
        last = str(self._panel.settings.value(LAST_MODEL) or "")
        model = last if last and node.model == self._default else node.model
        if model:
            logic.warming.start(model)

    def _project_offered(self, summary: ProjectResult) -> None:
        self.show_list()
        node, current = self._panel.parameter_node, summary.current
        once = (str(summary.project), current)  # if the user chooses the base model again later, it stays
        replaces = node is not None and node.model == summary.base_model
        if replaces and current != "base" and once not in self._took_over:
            self._took_over.add(once)
            name = f"project:{summary.project}"
            self.remember(name)
            node.model = name
            self._panel.message.notice(
                _("Version {version} of the project is used for segmentation from now on.").format(version=current)
            )

    def _choose_default(self) -> None:
        """The model that the user had last, once it is listed; until then, and else, one that suits the device."""
        node, models = self._panel.parameter_node, self._models
        if not models.all or (models.named(node.model) is not None and node.model != self._default):
            return
        last = str(self._panel.settings.value(LAST_MODEL) or "")
        usual = "totalsegmentator:total" if self._gpus else "totalsegmentator:total-fast"
        self._default = next((name for name in (last, usual, "demo") if models.named(name) is not None), "")
        node.model = self._default

    def _on_system(self, info: SystemResult) -> None:
        self._gpus = info.gpus
        self._fill_devices(info.ram_free_bytes)
        self._panel.update()

    def _fill_devices(self, ram_free: int = 0) -> None:
        selector = self._ui.deviceSelector
        selector.clear()
        selector.addItem(_("Automatic"), "auto")
        for gpu in self._gpus[:1]:
            free = _("{free:.1f} GB free").format(free=gpu.free_bytes / 2**30)
            selector.addItem(f"{gpu.name}, {free}", "cuda")
        free = _("{free:.1f} GB free").format(free=ram_free / 2**30) if ram_free else ""
        selector.addItem(", ".join(filter(None, (_("CPU"), free))), "cpu")

    def _on_model(self) -> None:
        name = self._ui.modelSelector.currentData
        if name:
            self.remember(name)
            self._panel.parameter_node.structures = ""
            self._panel.parameter_node.model = name

    def _on_device(self) -> None:
        self._panel.parameter_node.device = self._ui.deviceSelector.currentData

    def _on_add_model(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(),
            _("Folder of an nnU-Net model (with plans.json, dataset.json and fold_...)"),
        )
        if folder:
            self._models.add_folder(Path(folder), self._on_added, self._panel.show_error)

    def _on_added(self, model: Model) -> None:
        self.remember(model.name)
        self.show_list()
        self._panel.parameter_node.model = model.name

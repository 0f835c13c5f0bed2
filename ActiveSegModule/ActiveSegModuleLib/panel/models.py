"""The models on the page *Segment*: what there is, what is chosen, and what the engine loads ahead."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.client.messages.learning import ProjectResult
from activeseg.client.messages.system import Gpu, SystemRequest, SystemResult
from activeseg.core.errors import ActiveSegError

from ..engine.asking import ask
from ..engine.engine import ignore
from ..engine.signals import connect
from ..logic.models import Model, WeightsState
from .elided import show_elided
from .model_tree import ModelTree, weights_help
from .section import Panel, Section

LAST_MODEL = "ActiveSeg/model"
TAKEN_VERSION = "ActiveSeg/takenVersion"
"""The project and its version that became the model last: if the user chooses another one, that stays."""


class ModelsSection(Section):
    """Models in groups, and the devices that they can run on."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._models = panel.logic.models
        self._gpus: tuple[Gpu, ...] = ()
        self._default = ""  # what was chosen without the user
        ui = self._ui
        self.tree = ModelTree(ui.modelSearch, ui.modelTree, ui.modelNothingLabel, self._on_model)
        self._failed = False  # the models could not be listed
        connect(ui.modelSearch, "textChanged(QString)", lambda _text: self._describe(self._chosen))
        connect(ui.modelAddButton, "clicked()", self._on_add_model)
        connect(ui.modelStateButton, "clicked()", self._on_weights)
        connect(ui.deviceSelector, "activated(int)", lambda _index: self._on_device())
        self._fill_devices()

    def refresh(self) -> None:
        """Ask the engine for models and devices; needs an engine."""
        logic = self._panel.logic
        if logic.installation.obstacle is not None:
            return
        self._failed = False
        ask(logic.engine, SystemRequest(), self._on_system, ignore)
        self._models.refresh(self._listed, self._not_listed)  # after it: the default depends on the device

    def update(self) -> None:
        """Show what the parameter node says."""
        node = self._panel.parameter_node
        if node is None:
            return
        self._choose_default()  # a closed scene took the choice along
        self.tree.say_when_empty(self._why_empty())
        self.tree.choose(node.model)
        index = self._ui.deviceSelector.findData(node.device)
        if index != self._ui.deviceSelector.currentIndex:
            self._ui.deviceSelector.setCurrentIndex(index)
        self._describe(self._chosen)

    def show_list(self) -> None:
        """Show which models there are to choose from."""
        self.tree.fill(self._models.all)
        self._panel.update()

    def _why_empty(self) -> str:
        obstacle = self._panel.logic.installation.obstacle
        if obstacle is not None:
            return str(obstacle)
        if self._failed:
            return _("The models could not be listed.")
        return _("{engine} Its models are listed here in a moment.").format(engine=self._panel.engine_text)

    @property
    def _chosen(self) -> Model | None:
        node = self._panel.parameter_node
        return self._models.named(node.model) if node is not None else None

    def _describe(self, model: Model | None) -> None:
        """A line about the chosen model, its name where a search hides it; and a button for what its weights need."""
        label, button = self._ui.modelHelpLabel, self._ui.modelStateButton
        needs = model.weights if model is not None else WeightsState.BUILT_IN
        label.setText("")
        if model is not None:
            count = _("1 structure") if len(model.structures) == 1 else _("{count} structures")
            if model.name in self.tree.names:
                label.setText(f"{count.format(count=len(model.structures))}, {model.modality}")
            else:
                show_elided(label, _("Chosen: {model}").format(model=model.title), int(label.width))
            label.setToolTip(f"{model.description}. {weights_help(model)}")
        licence = needs is WeightsState.LICENCE
        button.setText(_("Enter licence...") if licence else _("Add weights..."))
        button.setToolTip(
            _("Enter the licence number of TotalSegmentator")
            if licence
            else _("Install the weights from a file that you have")
        )
        button.setVisible(needs in (WeightsState.LICENCE, WeightsState.DOWNLOAD, WeightsState.DOWNLOAD_AGAIN))

    def _on_weights(self) -> None:
        model = self._chosen
        if model is not None and model.weights is WeightsState.LICENCE:
            self._panel.enter_licence()
        else:
            self._panel.add_weights()

    def remember(self, name: str) -> None:
        """Offer a model first from now on, in other scenes and after a restart, too."""
        self._default = ""
        self._panel.settings.setValue(LAST_MODEL, name)

    def offer_project(self, summary: ProjectResult) -> None:
        """Offer a project's current version; a version that is new takes the place of the model it was made from."""
        self._models.offer_project(summary, lambda: self.project_offered(summary), self._panel.show_error)

    def _not_listed(self, error: ActiveSegError) -> None:
        self._failed = True
        self._panel.show_error(error)
        self._panel.update()

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

    def project_offered(self, summary: ProjectResult) -> None:
        """A project's current version is listed: it becomes the model, once, unless the user chose another one."""
        self.show_list()
        node, current = self._panel.parameter_node, summary.current
        once = f"{summary.project}, {current}"
        name = f"project:{summary.project}"
        replaces = node is not None and node.model in (summary.base_model, self._default)
        if replaces and current != "base" and once != str(self._panel.settings.value(TAKEN_VERSION) or ""):
            self._panel.settings.setValue(TAKEN_VERSION, once)
            self.remember(name)
            node.model = name
            told = _("Version {version} of the project is used for segmentation from now on.")
            if not self._panel.message.text:  # how it became the current one has just been told, and says more
                self._panel.message.notice(told.format(version=current))

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
            free = _("{free:.1f} GB free").format(free=gpu.free_bytes / 1e9)
            selector.addItem(f"{gpu.name}, {free}", "cuda")
        free = _("{free:.1f} GB free").format(free=ram_free / 1e9) if ram_free else ""
        selector.addItem(", ".join(filter(None, (_("CPU"), free))), "cpu")

    def _on_model(self, name: str) -> None:
        node = self._panel.parameter_node
        if node is not None and name != node.model:
            self.remember(name)
            modifying = node.StartModify()
            node.structures = ""
            node.model = name
            node.EndModify(modifying)

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

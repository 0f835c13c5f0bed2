"""The project of the step *Learn*: its folder, and the card that begins one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.client.messages.learning import ProjectResult
from activeseg.core.errors import ActiveSegError

from ..engine.signals import connect
from ..slicer_types import Node
from .section import Panel, Section

R = TypeVar("R")

LAST_PROJECT = "ActiveSeg/project"


class ProjectPart(Section):
    """What the parts of the step *Learn* have in common: they ask one thing at a time."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._project = panel.logic.project
        self._project.follow(self.show)

    @property
    def _is_free(self) -> bool:
        """Whether something may be asked."""
        return self._panel.logic.installation.obstacle is None and not self._project.busy

    def show(self) -> None:
        """Show the project as it is."""
        raise NotImplementedError

    def ask(self, request: Callable[..., None], on_result: Callable[[R], None], *args: object) -> None:
        """Call a function of the logic with ``args`` and two callbacks; buttons follow."""

        def done(result: R) -> None:
            on_result(result)
            self._panel.update_project()

        def failed(error: ActiveSegError) -> None:
            self.show()  # as it is, not as it was asked for
            self._panel.update_project()
            self._panel.show_error(error)

        request(*args, done, failed)
        self._panel.update_project()


class ProjectSection(ProjectPart):
    """Opens a project by its folder, or begins one there."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._filled: Node = None
        self._models: list[str] = []
        self._suggested = ""  # the model that was chosen in the card without the user
        connect(ui.projectEdit, "editingFinished()", self._on_project)
        connect(ui.projectBrowseButton, "clicked()", self._on_browse)
        connect(ui.projectNewButton, "clicked()", self.pressed(self._on_begin))
        introduction = _(
            "<b>Let the model learn from your corrections</b><br>A project trains new versions of a model on the "
            "cases that you export. Each version is measured on cases that it has never seen, and is used only if it "
            "is better. The model itself is never changed."
        )
        ui.beginLabel.setText(introduction)

    def update(self) -> None:
        """Show what the parameter node says; another project is asked for."""
        node = self._panel.parameter_node
        if node is None:
            return
        if node is not self._filled:  # once for a scene, so that the field can be emptied
            self._filled = node
            node.project = node.project or str(self._panel.settings.value(LAST_PROJECT) or "")
        wanted = Path(node.project) if node.project else None
        if wanted != self._project.folder:
            self._project.turn_to(wanted)
            self.refresh()
        if self._project.summary is None:
            self._update_card()

    def refresh(self) -> None:
        """Ask how the project stands, if there is one and an engine."""
        has_engine = self._panel.logic.installation.obstacle is None
        if has_engine and _is_project(self._project.folder):
            self.ask(self._project.refresh, self._panel.project_changed)

    def remember(self, summary: ProjectResult) -> None:
        """Offer the project first from now on, and its dataset where none is chosen."""
        self._panel.settings.setValue(LAST_PROJECT, str(self._project.folder))
        node = self._panel.parameter_node
        if node is not None and not node.dataset:
            self._panel.remember_dataset(summary.dataset)

    def show(self) -> None:
        """The card, until a project is open."""
        if self._project.summary is None:
            self._update_card()

    def turn_to(self, folder: Path) -> None:
        """Open another project."""
        node = self._panel.parameter_node
        if node is not None:
            node.project = str(folder)

    def _update_card(self) -> None:
        ui, folder = self._ui, self._project.folder
        self._offer_models()
        dataset = self._dataset
        text = str(dataset) if dataset is not None else _("made inside the project")
        ui.projectDatasetLabel.setText(dataset.name if dataset is not None else text)
        ui.projectDatasetLabel.setToolTip(text)
        ui.projectHintLabel.setText(self._hint(folder))
        is_possible = folder is not None and not _is_project(folder) and bool(self._chosen_model)
        ui.projectNewButton.enabled = self._is_free and is_possible

    def _hint(self, folder: Path | None) -> str:
        """What happens next, or what is missing."""
        if self._panel.logic.installation.obstacle is not None:
            return _("The engine is needed to open or begin a project: set it up in the step Segment.")
        if folder is None:
            return _("Choose a folder above: an empty one for a new project, or that of a project to go on with.")
        if _is_project(folder):
            return _("Opening {name}...").format(name=folder.name) if self._project.busy else _("It cannot be opened.")
        return _(
            "Afterwards export corrected cases of at least two patients into its dataset: some train the model, the "
            "others measure whether it got better."
        )

    @property
    def _dataset(self) -> Path | None:
        """The one that is chosen, where it is there already."""
        node = self._panel.parameter_node
        dataset = Path(node.dataset) if node is not None and node.dataset else None
        return dataset if dataset is not None and (dataset / "dataset.json").is_file() else None

    def _offer_models(self) -> None:
        """All that can learn; first the one that is segmented with, until the user chooses another."""
        selector, node = self._ui.projectModelSelector, self._panel.parameter_node
        models = [model for model in self._panel.logic.models.all if not model.name.startswith("project:")]
        chosen = self._chosen_model
        if [model.name for model in models] != self._models:
            self._models = [model.name for model in models]
            selector.clear()
            for model in models:
                selector.addItem(model.title, model.name)
            selector.setCurrentIndex(selector.findData(chosen))
        wanted = node.model if node is not None else ""
        if wanted != self._suggested and wanted in self._models:
            self._suggested = wanted
            selector.setCurrentIndex(selector.findData(wanted))

    @property
    def _chosen_model(self) -> str:
        return str(self._ui.projectModelSelector.currentData or "")

    def _on_project(self) -> None:
        self._panel.parameter_node.project = str(self._ui.projectEdit.text).strip()

    def _on_browse(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of the project"))
        if folder:
            self._panel.parameter_node.project = str(folder)

    def _on_begin(self) -> None:
        self.ask(self._project.begin, self._begun, self._chosen_model, self._dataset)

    def _begun(self, summary: ProjectResult) -> None:
        self._panel.remember_dataset(summary.dataset)
        self._panel.project_changed(summary)
        told = _("The project {name} is ready. What you export from now on goes into its dataset.")
        self._panel.message.notice(told.format(name=summary.name))


def _is_project(folder: Path | None) -> bool:
    return folder is not None and (folder / "project.json").is_file()

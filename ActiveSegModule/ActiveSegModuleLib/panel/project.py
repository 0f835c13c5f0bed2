"""The project in the section *Learn*: its folder, what its dataset's structures are in the model, and its cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.client.messages.learning import ProjectAdmitResult, ProjectResult
from activeseg.core.errors import ActiveSegError, InputError

from ..engine.signals import connect
from ..slicer_types import Node, Widget
from .section import Panel, Section
from .tables import choose_structure, fill

R = TypeVar("R")

LAST_PROJECT = "ActiveSeg/project"


class ProjectPart(Section):
    """What the sections about a project have in common: they ask one thing at a time."""

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
    """Begins a project, and says of its cases what is not known yet."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._filled: Node = None
        connect(ui.projectEdit, "editingFinished()", self._on_project)
        connect(ui.projectBrowseButton, "clicked()", self._on_browse)
        connect(ui.projectNewButton, "clicked()", self.pressed(self._on_begin))
        connect(ui.admitButton, "clicked()", self.pressed(self._on_admit))
        connect(ui.reviewedButton, "clicked()", self.pressed(self._on_reviewed))
        ui.matchTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        ui.projectLabel.text = project_text(None)

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
        ui, summary = self._ui, self._project.summary
        known = summary is not None
        ui.projectNewButton.enabled = self._is_free and self._project.folder is not None and not known
        ui.admitButton.enabled = self._is_free and known
        ui.reviewedButton.enabled = self._is_free and summary is not None and bool(summary.to_review)

    def refresh(self) -> None:
        """Ask how the project stands, if there is one and an engine."""
        folder = self._project.folder
        has_engine = self._panel.logic.installation.obstacle is None
        if folder is not None and (folder / "project.json").is_file() and has_engine:
            self.ask(self._project.refresh, self._panel.project_changed)

    def remember(self, summary: ProjectResult) -> None:
        """Offer the project first from now on, and its dataset where none is chosen."""
        self._panel.settings.setValue(LAST_PROJECT, str(self._project.folder))
        node = self._panel.parameter_node
        if node is not None and not node.dataset:
            self._panel.remember_dataset(summary.dataset)

    def show(self) -> None:
        """What the dataset's structures are in the model; it can be changed until a version was trained by it."""
        table, summary = self._ui.matchTable, self._project.summary
        self._ui.projectLabel.text = project_text(summary)
        matching = summary.matching if summary is not None else {}
        model = self._panel.logic.models.named(summary.base_model) if summary is not None else None
        fill(table, [(name, found or _("new")) for name, found in matching.items()])
        table.setVisible(bool(matching))
        if summary is None or model is None or len(summary.versions) > 1:
            return
        for row, (name, found) in enumerate(matching.items()):
            selector = choose_structure([(_("new"), "")], model.structures)
            selector.setCurrentIndex(max(selector.findData(found or ""), 0))
            connect(selector, "activated(int)", lambda _index, name=name, s=selector: self._on_match(name, s))
            table.setCellWidget(row, 1, selector)

    def _on_match(self, name: str, selector: Widget) -> None:
        self.ask(self._project.match, self._panel.project_changed, {name: str(selector.currentData or "") or None})

    def _on_project(self) -> None:
        self._panel.parameter_node.project = str(self._ui.projectEdit.text).strip()

    def _on_browse(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of the project"))
        if folder:
            self._panel.parameter_node.project = str(folder)

    def _on_begin(self) -> None:
        node = self._panel.parameter_node
        dataset = Path(node.dataset) if node.dataset else None
        there = dataset is not None and (dataset / "dataset.json").is_file()
        self.ask(self._project.begin, self._begun, node.model, dataset if there else None)

    def _begun(self, summary: ProjectResult) -> None:
        self._panel.remember_dataset(summary.dataset)
        self._panel.project_changed(summary)

    def _on_admit(self) -> None:
        case, patient = self._panel.chosen_dataset_case, str(self._ui.patientEdit.text).strip()
        if not case or not patient:
            self._panel.show_error(InputError("Choose a case in the table, and enter the patient ID above."))
            return
        self.ask(self._project.admit, self._admitted, case, patient)

    def _admitted(self, result: ProjectAdmitResult) -> None:
        self._panel.message.notice(_("{case}: {side}").format(case=result.case, side=result.side))
        self.refresh()

    def _on_reviewed(self) -> None:
        case = self._panel.chosen_dataset_case
        if not case:
            self._panel.show_error(InputError("Choose a case in the table."))
            return
        self.ask(self._project.reviewed, self._panel.project_changed, case)


def project_text(summary: ProjectResult | None) -> str:
    """How a project stands; what one is for, while there is none."""
    if summary is None:
        return _("A project contains the dataset, the held-out cases and all versions of the fine-tuned model.")
    sides = list(summary.cases.values())
    told = _("Based on {model}. {train} training cases, {held_out} held out, {replay} replayed images.").format(
        model=summary.base_model,
        train=sides.count("train"),
        held_out=sides.count("held out"),
        replay=len(summary.replay),
    )
    unknown = [case for case, side in summary.cases.items() if side is None]
    if unknown:
        told += " " + _("No patient ID yet: {cases}.").format(cases=", ".join(unknown[:5]))
    return f"{told} {summary.worth_it}"

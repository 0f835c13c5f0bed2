"""The section *Learn*: corrections into a dataset, and its cases."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from html import escape
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.correction import Review
from activeseg.core.errors import ActiveSegError, InputError

from ..engine.signals import connect
from ..logic.exporting import DatasetCase, Export, ExportChoice, nnunet_folder
from ..scene.case import Case
from ..scene.hierarchy import patient_of
from ..slicer_types import Node
from .section import Panel, Section
from .tables import choose_structure, fill, selected

ANNOTATOR = "ActiveSeg/annotator"
LAST_DATASET = "ActiveSeg/dataset"


class WhatCounts(Enum):
    """How voxels that were not reviewed are treated (the engine's ``review``)."""

    REGIONS = "regions"
    ALL = "all"
    NONE = "none"

    def label(self) -> str:
        """The text of the choice."""
        return {
            WhatCounts.REGIONS: _("Use where the model is confident"),
            WhatCounts.ALL: _("Use all: I reviewed the whole case"),
            WhatCounts.NONE: _("Ignore all outside of reviewed regions"),
        }[self]


class ExportingSection(Section):
    """What is exported, where to, and what lies there."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._exporting = panel.logic.exporting
        self._case: Case | None = None
        self._filled: Node = None
        self._listed_dataset = ""
        self._shown_dataset = ""
        self.busy = False
        ui.annotatorEdit.text = str(panel.settings.value(ANNOTATOR) or "")
        connect(ui.annotatorEdit, "editingFinished()", self._on_annotator)
        connect(ui.notesEdit, "textChanged()", self._on_notes)
        connect(ui.patientEdit, "editingFinished()", self._on_patient)
        connect(ui.datasetBrowseButton, "clicked()", self._on_browse)
        connect(ui.datasetEdit, "editingFinished()", self._on_dataset)
        connect(ui.summaryButton, "clicked()", lambda: self.start(False))
        connect(ui.exportButton, "clicked()", lambda: self.start(True))
        connect(ui.casesRefreshButton, "clicked()", self.list_cases)
        connect(ui.caseOpenButton, "clicked()", self._on_open)
        connect(ui.caseRemoveButton, "clicked()", self._on_remove)
        connect(ui.datasetTable, "itemSelectionChanged()", self._update_buttons)
        for table in (ui.datasetTable, ui.unclearTable):
            table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)

    def update(self) -> None:
        """Show what the parameter node and the case say."""
        node, case = self._panel.parameter_node, self._panel.logic.review.case
        if node is None:
            return
        if node is not self._filled:  # once for a scene, so that the field can be emptied
            self._filled = node
            node.dataset = node.dataset or str(self._panel.settings.value(LAST_DATASET) or "")
        if node.dataset != self._shown_dataset:
            self._shown_dataset = node.dataset
            self.forget_summary()
        if case != self._case:
            self._on_patient()  # what was typed there, and not finished, is about the case before
            self._case = case
            blocked = self._ui.notesEdit.blockSignals(True)
            self._ui.notesEdit.setPlainText(case.notes if case is not None else "")
            self._ui.notesEdit.blockSignals(blocked)
            self._ui.patientEdit.text = _patient(case)
            self.forget_summary()
            self._ui.unclearFrame.setVisible(False)
            self._ui.unclearTable.setRowCount(0)  # another case's segments may have the same ids
        self._update_buttons()

    def forget_summary(self) -> None:
        """What it was about has changed: it would be read as if it were about what is there now."""
        self._ui.summaryBrowser.setVisible(False)

    def list_cases(self) -> None:
        """Ask for the dataset's cases, if there is such a dataset."""
        dataset = self._panel.stored.dataset
        if not (Path(dataset) / "dataset.json").is_file() or not dataset:
            self._fill_cases([])
            return
        self._listed_dataset = dataset
        self._ask(lambda: self._exporting.cases(Path(dataset), self._fill_cases, self.failed))

    def _update_buttons(self) -> None:
        obstacle, case, missing = self._panel.logic.installation.obstacle, self._panel.logic.review.case, ""
        if obstacle is not None:
            missing = str(obstacle)
        elif case is not None and case.is_preview:
            missing = _("A preview cannot be exported.")
        elif case is None or not self._panel.stored.dataset:
            missing = _("Choose a segmentation and a dataset.")
        for button in (self._ui.summaryButton, self._ui.exportButton):
            button.enabled = not missing and not self.busy
            button.toolTip = missing
        for button in (self._ui.caseOpenButton, self._ui.caseRemoveButton):
            button.enabled = self.chosen_case is not None and obstacle is None and not self.busy
        self._ui.casesRefreshButton.enabled = obstacle is None and not self.busy
        if not self.busy:
            self._ui.exportProgressFrame.setVisible(False)

    def start(self, store: bool) -> None:
        case, node = self._panel.logic.review.case, self._panel.parameter_node
        if case is None:
            return
        self._panel.message.clear()
        self.forget_summary()
        try:
            if not self._named_as_nnunet_wants():
                return
        except ActiveSegError as error:
            self.failed(error)
            return
        self._on_patient()
        annotator, patient = str(self._ui.annotatorEdit.text), str(self._ui.patientEdit.text).strip()
        choice = ExportChoice(Path(node.dataset), Review(node.review.value), annotator, self._mapping(), patient)
        run = self._exporting.export if store else self._exporting.summarise
        self._panel.case_left()  # a stroke of just now is exported, too
        edits = self._panel.edits_of(case)
        self.busy = True
        self._update_buttons()
        self.show_progress("start", 0.0)

        def done(export: Export) -> None:
            still = case == self._panel.logic.review.case and edits == self._panel.edits_of(case)
            self.done(export, case if still else None)
            if export.case:
                if not still:
                    self._panel.message.notice(f"{case.name}: {_title(export)}")
                self._panel.case_exported(case, edits)
                self.list_cases()

        def failed(error: ActiveSegError) -> None:
            self.failed(error, case)

        def start() -> None:
            try:
                run(case, choice, done, failed, self.show_progress)
            except ActiveSegError as error:
                failed(error)

        self._panel.logic.engine.later(start)  # so that it is seen: reading a large case back takes seconds

    def _named_as_nnunet_wants(self) -> bool:
        """Whether the field names a dataset as it will be called; where it does not, the user is asked first."""
        node = self._panel.parameter_node
        typed = Path(node.dataset).expanduser()
        folder = nnunet_folder(typed)
        if folder != typed and not (folder / "dataset.json").is_file():
            question = _("nnU-Net cannot have a dataset with the name '{typed}'. Shall it be called '{name}'?")
            if not self._panel.confirm(question.format(typed=typed.name, name=folder.name), _("Use this name")):
                return False
        node.dataset = str(folder)
        return True

    def show_progress(self, stage: str, fraction: float) -> None:
        if not self.busy:
            return
        stages = {
            "draft": _("Keeping a copy of the case"),
            "hand over": _("Handing the case over"),
            "queued": _("Waiting for another job"),
            "start": _("Starting"),
            "read": _("Reading the case"),
            "compare": _("Comparing it with the prediction"),
            "store": _("Storing it in the dataset"),
        }
        ui = self._ui
        ui.exportStageLabel.text = stages.get(stage) or _("Working on the case")
        ui.exportProgressBar.setMaximum(1000 if fraction else 0)  # 0: busy, it is not known how far
        ui.exportProgressBar.value = round(1000 * fraction)
        ui.exportProgressFrame.setVisible(True)

    def _ask(self, request: Callable[[], None]) -> None:
        self.busy = True
        self._update_buttons()
        try:
            request()
        except ActiveSegError as error:
            self.failed(error)

    def done(self, export: Export, case: Case | None) -> None:
        """``case`` is None where the user has turned to another one meanwhile."""
        self.busy = False
        if case is not None:
            lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in export.sentences)
            self._ui.summaryBrowser.setHtml(f"<b>{escape(_title(export))}</b><ul>{lines}</ul>")
            self._ui.summaryBrowser.setVisible(True)
            self._ui.unclearFrame.setVisible(bool(self._mapping()))
        self.remember(export.dataset)
        self._update_buttons()

    def remember(self, dataset: Path) -> None:
        """The dataset is the one that is worked with: it is in the field, and again in the next scene."""
        # Not the panel's parameter node, which it has not while another module is shown.
        self._shown_dataset = self._panel.stored.dataset = str(dataset)
        self._panel.settings.setValue(LAST_DATASET, str(dataset))

    def failed(self, error: ActiveSegError, case: Case | None = None) -> None:
        """``case``: what was being exported."""
        self.busy = False
        self._update_buttons()
        if error.details.get("cause") == "unclear":
            if case is not None and case == self._case:
                self._show_unclear(case)
            error = InputError(error.message, error.action)
        self._panel.show_error(error)

    def _show_unclear(self, case: Case) -> None:
        """Segments that were not recognised, each with a choice of what it is."""
        unclear = self._exporting.unclear(case)
        table = self._ui.unclearTable
        shown = [str(table.item(row, 0).data(qt.Qt.UserRole)) for row in range(table.rowCount)]
        self._ui.unclearFrame.setVisible(bool(unclear))
        if [segment.segment_id for segment in unclear] == shown:
            return
        table.setRowCount(len(unclear))
        for row, segment in enumerate(unclear):
            name = qt.QTableWidgetItem(segment.name)
            name.setData(qt.Qt.UserRole, segment.segment_id)
            table.setItem(row, 0, name)
            first = [(_("choose..."), ""), (_("leave it out"), "-")]
            table.setCellWidget(row, 1, choose_structure(first, case.schema.names))

    def _mapping(self) -> dict[str, str | None]:
        """What the user said about unclear segments."""
        table, found = self._ui.unclearTable, {}
        if not self._ui.unclearFrame.isVisibleTo(self._ui.exportPage):
            return {}
        for row in range(table.rowCount):
            said = table.cellWidget(row, 1).currentData
            if said:
                found[str(table.item(row, 0).data(qt.Qt.UserRole))] = None if said == "-" else str(said)
        return found

    def _fill_cases(self, cases: list[DatasetCase]) -> None:
        self.busy = False
        fill(self._ui.datasetTable, [(case.name, str(case.revision), ", ".join(case.waiting)) for case in cases])
        self._update_buttons()

    @property
    def chosen_case(self) -> str | None:
        """Name of the case that is selected in the dataset's table."""
        item = selected(self._ui.datasetTable)
        return str(item.text()) if item else None

    def _on_open(self) -> None:
        name, dataset = self.chosen_case, Path(self._listed_dataset)
        if name is not None:
            self._ask(lambda: self._exporting.open_case(dataset, name, self.opened, self.failed))

    def opened(self, case: Case) -> None:
        self.busy = False
        self._panel.choose(case)

    def _on_remove(self) -> None:
        name, dataset = self.chosen_case, Path(self._listed_dataset)
        if name is None:
            return
        question = _("Remove {case} with its history from {dataset}? This cannot be undone.")
        if self._panel.confirm(question.format(case=name, dataset=dataset.name)):
            self._ask(lambda: self._exporting.remove_case(dataset, name, self.list_cases, self.failed))

    def _on_patient(self) -> None:
        if self._case is not None and self._panel.scene.IsNodePresent(self._case.node):
            patient = str(self._ui.patientEdit.text).strip()
            if patient != _patient(self._case):
                self._case.patient = patient
                self._panel.case_changed_by_user()

    def _on_annotator(self) -> None:
        self._panel.settings.setValue(ANNOTATOR, str(self._ui.annotatorEdit.text))

    def _on_notes(self) -> None:
        if self._case is not None and self._panel.scene.IsNodePresent(self._case.node):
            self._case.notes = str(self._ui.notesEdit.plainText)
            self._panel.case_changed_by_user()

    def _on_browse(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("The dataset's folder"), self._panel.parameter_node.dataset
        )
        if folder:
            self._panel.parameter_node.dataset = folder
            self.list_cases()

    def _on_dataset(self) -> None:
        if self._panel.parameter_node.dataset != self._listed_dataset:
            self.list_cases()


def _title(export: Export) -> str:
    """What became of an export."""
    if export.case:
        return _("Stored as {case} in {dataset}").format(case=export.case, dataset=export.dataset.name)
    return _("This would be written to {dataset}").format(dataset=export.dataset.name)


def _patient(case: Case | None) -> str:
    """What the user said about a case, else what its CT says."""
    if case is None:
        return ""
    return case.patient or (patient_of(case.ct_node) if case.has_ct else "")

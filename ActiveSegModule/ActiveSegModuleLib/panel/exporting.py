"""The page *Export*: what would be stored, where to, and the one button that does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.correction import Review
from activeseg.core.errors import ActiveSegError, InputError

from ..engine.later import Later
from ..engine.signals import connect
from ..logic.dataset_folder import FolderState, folder_state, nnunet_folder
from ..logic.export_summary import ExportSummary, Summing
from ..logic.exporting import Export, ExportChoice
from ..scene.case import Case
from ..scene.hierarchy import patient_of
from ..scene.stored import note_changed, note_stored, stored_of
from ..slicer_types import Node
from .dataset_cases import DatasetCases
from .export_texts import Sentence, as_page, folder_text, summary_sentences, who_sentences
from .section import Panel, Section
from .steps import Mark, Step, StepState
from .unclear_segments import UnclearSegments

ANNOTATOR = "ActiveSeg/annotator"
LAST_DATASET = "ActiveSeg/dataset"
_RED = "color: #d9363e"  # readable on light and on dark
_ROOM = 1.2
"""Times the size of the CT: what a case takes at most."""


class ExportingSection(Section):
    """Tells what is unusual before anything is written, and stores the case that is reviewed."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._exporting = panel.logic.exporting
        self._case: Case | None = None
        self._filled: Node = None
        self._shown_dataset = ""
        self._folder: FolderState = folder_state("", 0)
        self._report: tuple[str, list[Sentence]] | None = None  # what the engine said about what is here now
        self._summed: tuple[object, ...] | None = None  # what was summed up, or is being
        self._summary: ExportSummary | None = None
        self._later = Later(qt)
        self.busy = False
        self.cases = DatasetCases(panel)
        self._unclear = UnclearSegments(ui)
        ui.annotatorEdit.text = str(panel.settings.value(ANNOTATOR) or "")
        connect(ui.annotatorEdit, "editingFinished()", self._on_annotator)
        connect(ui.notesEdit, "textChanged()", self._on_notes)
        connect(ui.patientEdit, "editingFinished()", self._on_patient)
        for edit in (ui.annotatorEdit, ui.patientEdit):
            connect(edit, "textChanged(QString)", lambda _text: self._show_summary())
        connect(ui.datasetBrowseButton, "clicked()", self._on_browse)
        connect(ui.datasetEdit, "editingFinished()", self._on_dataset)
        connect(ui.summaryButton, "clicked()", lambda: self.start(False))
        connect(ui.exportButton, "clicked()", lambda: self.start(True))
        panel.steps.follow(self._on_page)

    def update(self) -> None:
        """Show what the parameter node and the case say."""
        node, case = self._panel.parameter_node, self._panel.logic.review.case
        if node is None:
            return
        if node is not self._filled:  # once for a scene, so that the field can be emptied
            self._filled = node
            node.dataset = node.dataset or str(self._panel.settings.value(LAST_DATASET) or "")
        if case != self._case:
            self._on_patient()  # what was typed there, and not finished, is about the case before
            self._case = case
            blocked = self._ui.notesEdit.blockSignals(True)
            self._ui.notesEdit.setPlainText(case.notes if case is not None else "")
            self._ui.notesEdit.blockSignals(blocked)
            self._ui.patientEdit.text = _patient(case)
            self._report = None
            self._unclear.clear()
            self._look_at_folder()
        if node.dataset != self._shown_dataset:
            self._shown_dataset = node.dataset
            self._report = None
            self._look_at_folder()
        self._update_buttons()
        self._sum_up()
        self._show_summary()

    def forget_summary(self) -> None:
        """What it was about has changed: it would be read as if it were about what is there now."""
        self._report = None
        if self._case is not None and self._panel.scene.IsNodePresent(self._case.node):
            note_changed(self._case.node)
        self._panel.update_soon()

    def close(self) -> None:
        """The panel goes away."""
        self._later.close()

    # The summary.

    def _sum_up(self) -> None:
        """Count what was changed, in turns of the event loop, while the page is shown."""
        case = self._case
        if case is None or not case.has_ct or self._panel.steps.current is not Step.EXPORT:
            return
        states = tuple(case.regions.states().items()) if case.regions is not None else ()
        wanted = (case.id, self._panel.edits_of(case), states, case.node.GetSegmentation().GetNumberOfSegments())
        if wanted != self._summed:
            self._summed, self._summary = wanted, None
            summing = Summing(case)
            self._go_on(wanted, summing, summing.steps())

    def _go_on(self, wanted: tuple[object, ...], summing: Summing, steps: Iterator[None]) -> None:
        if wanted != self._summed or not self._panel.scene.IsNodePresent(summing.case.node):
            return
        try:
            next(steps)
        except StopIteration:
            self._summary = summing.summary
            self._show_summary()
        except ActiveSegError:  # the CT was removed: told where the case is shown
            self._summed = None
        else:
            self._later(lambda: self._go_on(wanted, summing, steps))

    def _show_summary(self) -> None:
        title, sentences = self._report or (self._where(), self._sentences())
        self._ui.summaryBrowser.setHtml(as_page(title, sentences))

    def _sentences(self) -> list[Sentence]:
        case, node = self._case, self._panel.parameter_node
        if case is None or node is None:
            return [Sentence(_("Segment a CT and review it, or open a case of a dataset."))]
        if case.is_preview:
            return [Sentence(_("A preview cannot be exported: wait for the final result."), True)]
        if not case.has_ct:
            return [Sentence(_("The CT is no longer in the scene: load it again."), True)]
        if self._summary is None:
            return [Sentence(_("Counting what was changed..."))]
        who = who_sentences(str(self._ui.patientEdit.text).strip(), str(self._ui.annotatorEdit.text).strip())
        obstacle = self._panel.logic.installation.obstacle
        first = [Sentence(str(obstacle), True)] if obstacle is not None else []  # why the buttons are off
        return first + summary_sentences(self._summary, Review(node.review.value), who)

    def _where(self) -> str:
        """What would become of the case."""
        case = self._case
        if case is None:
            return _("There is nothing to export yet.")
        stored, name = stored_of(case.node), self._folder.folder.name
        before = case.origin["case"] if case.origin is not None else ""
        if not before and stored is not None and stored.dataset == self._folder.folder:
            before = stored.case
        if before and name:
            return _("{case} of {dataset} would get a new revision").format(case=before, dataset=name)
        if name:
            return _("A new case would be stored in {dataset}").format(dataset=name)
        return _("A new case would be stored")

    # The fields.

    def _look_at_folder(self) -> None:
        case, node = self._case, self._panel.parameter_node
        image = case.ct_node.GetImageData() if case is not None and case.has_ct else None
        size = image.GetActualMemorySize() * 1024 if image is not None else 0
        self._folder = folder_state(node.dataset if node is not None else "", round(_ROOM * size))
        label = self._ui.datasetStateLabel
        label.text = folder_text(self._folder)
        label.setVisible(bool(label.text))
        label.setStyleSheet(_RED if self._folder.problem is not None and node is not None and node.dataset else "")

    def _update_buttons(self) -> None:
        obstacle, case, missing = self._panel.logic.installation.obstacle, self._case, ""
        if obstacle is not None:
            missing = str(obstacle)
        elif case is None:
            missing = _("Choose a segmentation.")
        elif case.is_preview:
            missing = _("A preview cannot be exported.")
        elif self._folder.problem is not None:
            missing = folder_text(self._folder)
        for button in (self._ui.summaryButton, self._ui.exportButton):
            button.enabled = not missing and not self.busy
            button.toolTip = missing or _("Store the case in the dataset")
        self.cases.update()
        if not self.busy:
            self._ui.exportProgressFrame.setVisible(False)
        self._panel.steps.tell(Step.EXPORT, self._state())

    def _state(self) -> StepState:
        case = self._case
        if self.busy:
            return StepState(_("working"), Mark.RUNNING)
        if case is None or case.is_preview:
            return StepState()
        stored = stored_of(case.node)
        if stored is None:
            return StepState(_("not stored"))
        return StepState(_("changed")) if stored.changed else StepState(_("stored"), Mark.DONE)

    # The export.

    def start(self, store: bool) -> None:
        case, node = self._case, self._panel.parameter_node
        if case is None or node is None:
            return
        self._panel.message.clear()
        self._report = None
        try:
            if not self._named_as_nnunet_wants():
                return
        except ActiveSegError as error:
            self.failed(error)
            return
        self._on_patient()
        annotator, patient = str(self._ui.annotatorEdit.text), str(self._ui.patientEdit.text).strip()
        mapping = self._unclear.mapping
        choice = ExportChoice(Path(node.dataset), Review(node.review.value), annotator, mapping, patient)
        run = self._exporting.export if store else self._exporting.summarise
        self._panel.case_left()  # a stroke of just now is exported, too
        edits = self._panel.edits_of(case)
        self.busy = True
        self._update_buttons()
        self.show_progress("start", 0.0)

        def done(export: Export) -> None:
            unchanged = edits == self._panel.edits_of(case)
            if export.case and self._panel.scene.IsNodePresent(case.node):
                note_stored(case.node, export.dataset, export.case)
                if not unchanged:
                    note_changed(case.node)
            self.done(export, case if unchanged and case == self._panel.logic.review.case else None)
            if export.case:
                self._panel.case_exported(case, edits)
                self.cases.list_cases()
                self._offer_what_is_next(export, case)

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
            "start": _("Reading the segmentation"),
            "read": _("Reading the case"),
            "compare": _("Comparing it with the prediction"),
            "store": _("Storing it in the dataset"),
        }
        ui = self._ui
        ui.exportStageLabel.text = stages.get(stage) or _("Working on the case")
        ui.exportProgressBar.setMaximum(1000 if fraction else 0)  # 0: busy, it is not known how far
        ui.exportProgressBar.value = round(1000 * fraction)
        ui.exportProgressFrame.setVisible(True)

    def done(self, export: Export, case: Case | None) -> None:
        """``case`` is None where the user has turned to another one, or gone on with this one, meanwhile."""
        self.busy = False
        if case is not None:
            self._report = _title(export), [Sentence(sentence) for sentence in export.sentences]
            if not self._unclear.mapping:
                self._unclear.clear()
        self.remember(export.dataset)
        self._look_at_folder()
        self._update_buttons()
        self._show_summary()

    def _offer_what_is_next(self, export: Export, case: Case) -> None:
        told = _title(export) if case == self._panel.logic.review.case else f"{case.name}: {_title(export)}"
        next_case = (_("Next case"), self._panel.next_case)
        self._panel.message.notice(told, _("Learn"), lambda: self._panel.steps.show(Step.LEARN), next_case)

    def remember(self, dataset: Path) -> None:
        """The dataset is the one that is worked with: it is in the field, and again in the next scene."""
        # Not the panel's parameter node, which it has not while another module is shown.
        self._shown_dataset = self._panel.stored.dataset = str(dataset)
        self._panel.settings.setValue(LAST_DATASET, str(dataset))

    def failed(self, error: ActiveSegError, case: Case | None = None) -> None:
        """``case``: what was being exported."""
        self.busy = False
        self._look_at_folder()
        self._update_buttons()
        if error.details.get("cause") == "unclear":
            if case is not None and case == self._case:
                self._unclear.ask(self._exporting.unclear(case), case.schema.names)
            error = InputError(error.message, error.action)
        self._panel.show_error(error)

    def _on_page(self) -> None:
        if self._panel.steps.current is Step.EXPORT:
            self._look_at_folder()
            self._panel.update_soon()
            if self.cases.listed != self._panel.stored.dataset:
                self.cases.list_cases()

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
            self.cases.list_cases()

    def _on_dataset(self) -> None:
        if self._panel.parameter_node.dataset != self.cases.listed:
            self.cases.list_cases()


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

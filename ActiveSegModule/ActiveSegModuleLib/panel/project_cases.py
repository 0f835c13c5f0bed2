"""The cases of a project: which of them train the model and which measure it, and what their structures are in it."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from activeseg.client.messages.learning import ProjectAdmitResult, ProjectResult
from activeseg.core.errors import InputError

from ..engine.signals import connect
from ..slicer_types import Widget
from .project import ProjectPart
from .section import Panel
from .tables import choose_structure, dense, fill, selected


class ProjectCasesSection(ProjectPart):
    """Says of cases what is not known yet."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._matching: object = None
        connect(ui.admitButton, "clicked()", self.pressed(self._on_admit))
        connect(ui.reviewedButton, "clicked()", self.pressed(self._on_reviewed))
        connect(ui.projectCasesTable, "itemSelectionChanged()", self.update)
        dense(ui.projectCasesTable)
        dense(ui.matchTable)
        ui.matchTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)

    def update(self) -> None:
        """Enable the buttons that can be used with the selected case."""
        ui, summary, case = self._ui, self._project.summary, self._chosen
        sides = summary.cases if summary is not None else {}
        ui.admitButton.enabled = self._is_free and case in sides
        ui.reviewedButton.enabled = self._is_free and summary is not None and case in summary.to_review

    def show(self) -> None:
        """Both tables; what a structure is can be changed until a version was trained by it."""
        ui, summary = self._ui, self._project.summary
        ui.projectLabel.setText(project_text(summary) if summary is not None else "")
        cases = list(summary.cases.items()) if summary is not None else []
        fill(ui.projectCasesTable, [(case, _use(side), self._state(case)) for case, side in cases])
        unknown = any(side is None for _case, side in cases)
        ui.patientFrame.setVisible(unknown)
        ui.reviewedButton.setVisible(summary is not None and bool(summary.to_review))
        self._show_matching()
        self.update()

    def _state(self, case: str) -> str:
        summary = self._project.summary
        if summary is None:
            return ""
        if case in summary.waiting:
            return _("not learned yet")
        if case in summary.to_review:
            return _("reviewed in part")
        return ""

    def _show_matching(self) -> None:
        table, summary = self._ui.matchTable, self._project.summary
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

    @property
    def _chosen(self) -> str:
        item = selected(self._ui.projectCasesTable)
        return str(item.text()) if item else ""

    def _on_admit(self) -> None:
        case, patient = self._chosen, str(self._ui.casePatientEdit.text).strip()
        if not patient:
            self._panel.show_error(InputError("Enter the patient ID of the selected case first."))
            return
        self.ask(self._project.admit, self._admitted, case, patient)

    def _admitted(self, result: ProjectAdmitResult) -> None:
        self._panel.message.notice(_("{case}: {side}").format(case=result.case, side=_use(result.side)))
        self._ui.casePatientEdit.setText("")
        self._panel.refresh_project()

    def _on_reviewed(self) -> None:
        case = self._chosen
        question = _("Was all of {case} reviewed? Every voxel of it measures versions from now on.")
        if self._panel.confirm(question.format(case=case), _("Mark as reviewed")):
            self.ask(self._project.reviewed, self._panel.project_changed, case)


def _use(side: str | None) -> str:
    """What a case is used for."""
    return {"train": _("training"), "held out": _("held out, measures")}.get(side or "", _("no patient ID"))


def project_text(summary: ProjectResult) -> str:
    """How a project stands, in a sentence or two."""
    sides = list(summary.cases.values())
    told = _("Based on {model}. Training cases: {train}, held out: {held_out}, replayed images: {replay}.").format(
        model=summary.base_model,
        train=sides.count("train"),
        held_out=sides.count("held out"),
        replay=len(summary.replay),
    )
    unknown = sides.count(None)
    if unknown:
        told += " " + _("Left out for want of a patient ID: {count}.").format(count=unknown)
    return told

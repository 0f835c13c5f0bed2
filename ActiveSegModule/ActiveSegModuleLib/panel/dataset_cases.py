"""The cases of the dataset: a table in front of the export, to open one again or to remove it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError

from ..engine.signals import connect
from ..logic.exporting import DatasetCase
from ..scene.case import Case
from .section import Panel, Section
from .steps import turn_to
from .tables import fill, selected


class DatasetCases(Section):
    """Lists what lies in the dataset of the page *Export*."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._exporting = panel.logic.exporting
        self._listed = ""  # the folder of the dataset
        self.busy = False
        ui.datasetTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        connect(ui.casesButton, "clicked()", self.open)
        connect(ui.casesBackButton, "clicked()", self.close)
        connect(ui.casesRefreshButton, "clicked()", self.list_cases)
        connect(ui.caseOpenButton, "clicked()", self._on_open)
        connect(ui.caseRemoveButton, "clicked()", self._on_remove)
        connect(ui.datasetTable, "itemSelectionChanged()", self.update)
        connect(ui.datasetTable, "cellDoubleClicked(int,int)", lambda _row, _column: self._on_open())
        self.close()

    @property
    def chosen(self) -> str | None:
        """Name of the case that is selected in the table."""
        item = selected(self._ui.datasetTable)
        return str(item.text()) if item else None

    @property
    def listed(self) -> str:
        """The folder whose cases are in the table."""
        return self._listed

    def open(self) -> None:
        """Bring the table forward."""
        turn_to(self._ui.exportFaces, self._ui.casesFace)
        self.list_cases()

    def close(self) -> None:
        """Back to the export."""
        turn_to(self._ui.exportFaces, self._ui.exportFace)

    def update(self) -> None:
        """Show what can be done now."""
        free = self._panel.logic.installation.obstacle is None and not self.busy
        for button in (self._ui.caseOpenButton, self._ui.caseRemoveButton):
            button.enabled = free and self.chosen is not None
        self._ui.casesRefreshButton.enabled = free

    def list_cases(self) -> None:
        """Ask for the dataset's cases, if there is such a dataset."""
        dataset = self._panel.stored.dataset
        if not dataset or not (Path(dataset) / "dataset.json").is_file():
            self._listed = dataset
            self._fill([])
        elif self._panel.logic.installation.obstacle is None:
            self._listed = dataset
            self._ask(lambda: self._exporting.cases(Path(dataset), self._fill, self._failed))

    def _fill(self, cases: list[DatasetCase]) -> None:
        self.busy = False
        rows = [(case.name, str(case.revision), ", ".join(case.waiting).replace("_", " ")) for case in cases]
        fill(self._ui.datasetTable, rows)
        name = Path(self._listed).name
        told = _("{count} cases in {dataset}:") if cases else _("No case is stored in {dataset} yet.")
        told = _("1 case in {dataset}:") if len(cases) == 1 else told
        self._ui.casesLabel.text = told.format(count=len(cases), dataset=name)
        self._ui.casesButton.text = _("Cases ({count})...").format(count=len(cases))
        self.update()

    def _ask(self, request: Callable[[], None]) -> None:
        self.busy = True
        self.update()
        try:
            request()
        except ActiveSegError as error:
            self._failed(error)

    def _failed(self, error: ActiveSegError) -> None:
        self.busy = False
        self.update()
        self._panel.show_error(error)

    def _on_open(self) -> None:
        name, dataset = self.chosen, Path(self._listed)
        if name is not None and self._ui.caseOpenButton.enabled:
            self._ask(lambda: self._exporting.open_case(dataset, name, self.opened, self._failed))

    def opened(self, case: Case) -> None:
        """A case of the dataset is in the scene."""
        self.busy = False
        self.update()
        self.close()
        self._panel.choose(case)

    def _on_remove(self) -> None:
        name, dataset = self.chosen, Path(self._listed)
        if name is None:
            return
        question = _(
            "Remove {case} with its image, its label map and their history from {dataset}? They are lost for good."
        )
        if self._panel.confirm(question.format(case=name, dataset=dataset.name), _("Remove")):
            self._ask(lambda: self._exporting.remove_case(dataset, name, self.list_cases, self._failed))

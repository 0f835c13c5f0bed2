"""The versions of the model in the section *Learn*: compared, made current, exported and imported."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.client.messages.learning import CompareResult, VersionExportResult

from ..engine.signals import connect
from .project import ProjectPart
from .section import Panel
from .tables import fill, page, selected


class VersionsSection(ProjectPart):
    """The table of versions, and what can be done with the selected one."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._versions = panel.logic.versions
        self._shown_folder: Path | None = None
        connect(ui.versionsTable, "itemSelectionChanged()", self.update)
        connect(ui.versionCompareButton, "clicked()", self.pressed(self._on_compare))
        connect(ui.versionPromoteButton, "clicked()", self.pressed(self._on_promote))
        connect(ui.versionRollbackButton, "clicked()", self.pressed(self._on_rollback))
        connect(ui.versionExportButton, "clicked()", self.pressed(self._on_export))
        connect(ui.versionImportButton, "clicked()", self.pressed(self._on_import))
        ui.versionsTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)

    def update(self) -> None:
        """Enable the buttons that can be used."""
        ui, summary, free, chosen = self._ui, self._project.summary, self._is_free, self._chosen
        other = free and summary is not None and bool(chosen) and chosen != summary.current
        ui.versionCompareButton.enabled = ui.versionPromoteButton.enabled = other
        ui.versionRollbackButton.enabled = free and summary is not None and bool(summary.promotions)
        ui.versionExportButton.enabled = free and chosen not in ("", "base")
        ui.versionImportButton.enabled = free and summary is not None

    def show(self) -> None:
        """The table; a comparison goes with its project."""
        summary = self._project.summary
        if self._project.folder != self._shown_folder:
            self._shown_folder = self._project.folder
            self._ui.versionBrowser.setVisible(False)
        rows = []
        for version in summary.versions if summary is not None else ():
            mark = " *" if summary is not None and version.id == summary.current else ""
            dice = "" if version.after is None else f"{version.before:.3f} > {version.after:.3f}"
            cases = "" if version.cases is None else str(version.cases)
            rows.append((version.id + mark, version.parent, cases, dice, version.reason))
        fill(self._ui.versionsTable, rows)
        self.update()

    @property
    def _chosen(self) -> str:
        item = selected(self._ui.versionsTable)
        return str(item.text()).removesuffix(" *") if item else ""

    def _on_compare(self) -> None:
        summary = self._project.summary
        if summary is not None:
            self.ask(self._versions.compare, self._compared, summary.current, self._chosen)

    def _compared(self, result: CompareResult) -> None:
        self._ui.versionBrowser.setHtml(page(result.rows, result.sentences, result.headings))
        self._ui.versionBrowser.setVisible(True)

    def _on_promote(self) -> None:
        chosen = self._chosen
        question = _("Make {version} the current version, whatever the comparison says?").format(version=chosen)
        if self._panel.confirm(question, _("Make current")):
            self.ask(self._versions.promote, self._panel.project_changed, chosen)

    def _on_rollback(self) -> None:
        self.ask(self._versions.rollback, self._panel.project_changed)

    def _on_export(self) -> None:
        file = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Export the version"), f"{self._chosen}.zip", "*.zip"
        )
        if file:
            self.ask(self._versions.export, self._exported, self._chosen, Path(str(file)))

    def _exported(self, result: VersionExportResult) -> None:
        self._panel.message.notice(_("Written to {file}").format(file=result.file))

    def _on_import(self) -> None:
        file = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Import an exported version"), "", "*.zip")
        if file:
            self.ask(self._versions.import_file, lambda _result: self._panel.refresh_project(), Path(str(file)))

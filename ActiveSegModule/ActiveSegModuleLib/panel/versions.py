"""The versions of the model in the step *Learn*: compared, made current, exported and imported."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.client.messages.learning import CompareResult, ProjectResult, VersionExportResult

from ..engine.signals import connect
from ..logic.decision import measures, scores
from ..logic.learning import version_of
from .decision import show_scores
from .project import ProjectPart
from .section import Panel
from .tables import dense, selected


class VersionsSection(ProjectPart):
    """The table of versions, and what can be done with the selected one."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._versions = panel.logic.versions
        self._shown_folder: Path | None = None
        self._comparison: CompareResult | None = None
        connect(ui.versionsTable, "itemSelectionChanged()", self.update)
        connect(ui.versionCompareButton, "clicked()", self.pressed(self._on_compare))
        connect(ui.versionPromoteButton, "clicked()", self.pressed(self._on_promote))
        connect(ui.versionRollbackButton, "clicked()", self.pressed(self._on_rollback))
        connect(ui.versionExportButton, "clicked()", self.pressed(self._on_export))
        connect(ui.versionImportButton, "clicked()", self.pressed(self._on_import))
        connect(ui.comparisonSelector, "activated(int)", lambda _index: self._show_comparison())
        connect(ui.comparisonCloseButton, "clicked()", self._on_close)
        dense(ui.versionsTable)
        dense(ui.comparisonTable)

    def update(self) -> None:
        """Enable the buttons that can be used, and say of the selected version why it is used or not."""
        ui, summary, free, chosen = self._ui, self._project.summary, self._is_free, self._chosen
        other = free and summary is not None and bool(chosen) and chosen != summary.current
        ui.versionCompareButton.enabled = ui.versionPromoteButton.enabled = other
        ui.versionRollbackButton.enabled = free and summary is not None and bool(summary.promotions)
        ui.versionExportButton.enabled = free and chosen not in ("", "base")
        ui.versionImportButton.enabled = free and summary is not None
        ui.versionLabel.setText(_version_text(summary, chosen))

    def show(self) -> None:
        """The table; a comparison goes with its project."""
        table, summary, chosen = self._ui.versionsTable, self._project.summary, self._chosen
        if self._project.folder != self._shown_folder:
            self._shown_folder = self._project.folder
            self._on_close()
        versions = summary.versions if summary is not None else ()
        blocked = table.blockSignals(True)
        table.setRowCount(len(versions))
        for row, version in enumerate(versions):
            is_current = summary is not None and version.id == summary.current
            dice = "" if version.after is None else f"{version.before:.3f} → {version.after:.3f}"
            cases = "" if version.cases is None else str(version.cases)
            name = _("{version} (current)").format(version=version.id) if is_current else version.id
            for column, text in enumerate((name, version.parent, cases, dice)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(version.reason or text)
                item.setData(qt.Qt.UserRole, version.id)
                if is_current:
                    font = qt.QFont(item.font())
                    font.setBold(True)
                    item.setFont(font)
                table.setItem(row, column, item)
        wanted = chosen or (summary.current if summary is not None else "")
        row = next((row for row, version in enumerate(versions) if version.id == wanted), -1)
        if row >= 0:
            table.selectRow(row)
        table.blockSignals(blocked)
        self.update()

    @property
    def _chosen(self) -> str:
        item = selected(self._ui.versionsTable)
        return str(item.data(qt.Qt.UserRole)) if item else ""

    def _on_compare(self) -> None:
        summary = self._project.summary
        if summary is not None:
            self.ask(self._versions.compare, self._compared, summary.current, self._chosen)

    def _compared(self, result: CompareResult) -> None:
        selector = self._ui.comparisonSelector
        before = str(selector.currentText)
        self._comparison = result
        selector.clear()
        for name in measures(result):
            selector.addItem(_measure(name), name)
        selector.setCurrentIndex(max(selector.findText(before), 0))
        self._show_comparison()
        self._turn(is_compared=True)

    def _show_comparison(self) -> None:
        ui, result = self._ui, self._comparison
        if result is not None:
            told = _("{second} compared with {first}").format(second=result.second, first=result.first)
            ui.comparisonLabel.setText(told)
            ui.comparisonLabel.setToolTip("\n".join(result.sentences))
            show_scores(ui.comparisonTable, scores(result, max(int(ui.comparisonSelector.currentIndex), 0)))
            ui.versionLabel.setText(" ".join(result.sentences[-1:]))

    def _on_close(self) -> None:
        self._comparison = None
        self._turn(is_compared=False)
        self.update()

    def _turn(self, is_compared: bool) -> None:
        self._ui.comparisonFrame.setVisible(is_compared)
        self._ui.versionsTable.setVisible(not is_compared)

    def _on_promote(self) -> None:
        chosen = self._chosen
        question = _("Make {version} the current version, whatever the comparison says?").format(version=chosen)
        if self._panel.confirm(question, _("Make current")):
            self.ask(self._versions.promote, self._made_current, chosen)

    def _on_rollback(self) -> None:
        summary = self._project.summary
        current = summary.current if summary is not None else ""
        question = _("Return to the version before {version}? {version} is kept, and can be made current again.")
        if self._panel.confirm(question.format(version=current), _("Roll back")):
            self.ask(self._versions.rollback, self._made_current)

    def _made_current(self, summary: ProjectResult) -> None:
        self._panel.project_changed(summary)
        self._panel.message.notice(_("{version} is the current version now.").format(version=summary.current))

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


def _measure(heading: str) -> str:
    """A heading of the engine in words; one that is not known stays as it is."""
    return {
        "DICE": _("Dice"),
        "SURFACE DICE": _("Surface Dice"),
        "HD95 MM": _("HD95 (mm)"),
        "VOLUME": _("Volume error"),
    }.get(heading, heading)


def _version_text(summary: ProjectResult | None, version: str) -> str:
    """Why a version is used, or not."""
    if summary is None or not version:
        return ""
    damaged = summary.damaged.get(version)
    if damaged:
        return damaged
    entry = version_of(summary, version)
    if version == "base":
        return _("base: the model that the project began with, {model}.").format(model=summary.base_model)
    return f"{version}: {entry.reason}" if entry is not None else ""

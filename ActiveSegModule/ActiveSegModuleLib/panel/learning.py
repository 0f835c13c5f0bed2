"""The part *Fine-tuning* of the section Learn: a project, what a training will do and does, and its versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError, InputError

from ..engine.signals import connect
from ..logic.learning import ENDED, Learning
from ..scene.training_chart import TrainingChart
from .segmenting import time_text

LAST_PROJECT = "ActiveSeg/project"
LAST_TRAINING = "ActiveSeg/training"
"""The training that was seen last: ``project``, ``run`` and ``stage``, as JSON."""
_LOOK_MS = 1000


class LearningSection:
    """``panel`` is the module's widget."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._ui = ui = panel.ui
        self._learning: Learning = panel.logic.learning
        self._chart = TrainingChart(panel.scene)
        self._plot: Any = None
        self._filled: Any = None
        self._busy = False
        self._looking = False
        self._shown_project: Path | None = None
        self._caught_up: set[Path] = set()  # projects whose training was looked at since Slicer was started
        self._timer = qt.QTimer()
        self._timer.setInterval(_LOOK_MS)
        connect(self._timer, "timeout()", self._look)
        connect(ui.projectEdit, "editingFinished()", self._on_project)
        connect(ui.projectBrowseButton, "clicked()", self._on_browse)
        connect(ui.projectNewButton, "clicked()", self._on_begin)
        connect(ui.admitButton, "clicked()", self._pressed(self._on_admit))
        connect(ui.reviewedButton, "clicked()", self._pressed(self._on_reviewed))
        connect(ui.planButton, "clicked()", lambda: self._plan(None))
        connect(ui.finetuneButton, "clicked()", self._pressed(self._on_finetune))
        connect(ui.trainingPauseButton, "clicked()", self._pressed(self._on_pause))
        connect(ui.trainingCancelButton, "clicked()", self._pressed(self._on_cancel))
        connect(ui.versionsTable, "itemSelectionChanged()", self._update_buttons)
        connect(ui.versionCompareButton, "clicked()", self._pressed(self._on_compare))
        connect(ui.versionPromoteButton, "clicked()", self._pressed(self._on_promote))
        connect(ui.versionRollbackButton, "clicked()", self._pressed(self._on_rollback))
        connect(ui.versionExportButton, "clicked()", self._pressed(self._on_export))
        connect(ui.versionImportButton, "clicked()", self._pressed(self._on_import))
        for table in (ui.matchTable, ui.versionsTable):
            table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        ui.projectLabel.text = _project_text({})

    def update(self) -> None:
        """Show what the parameter node says; another project is asked for."""
        node = self._panel.parameterNode
        if node is None:
            return
        if node is not self._filled:  # once for a scene, so that the field can be emptied
            self._filled = node
            node.project = node.project or str(self._panel.settings.value(LAST_PROJECT) or "")
        wanted = Path(node.project) if node.project else None
        if wanted != self._learning.project:
            self._learning.turn_to(wanted)
            self._show()
            self.refresh()
        self._update_buttons()

    def refresh(self) -> None:
        """Ask how the project stands, if there is one and an engine."""
        project = self._learning.project
        if project is not None and (project / "project.json").is_file() and self._has_engine:
            self._ask(self._learning.refresh, self._changed)

    def leave(self) -> None:
        """Slicer is closed, or the module reloaded."""
        self._timer.stop()
        self._learning.leave(go_on=self._panel.logic.getParameterNode().goOn)

    # What is shown.

    def _changed(self, summary: Mapping[str, Any]) -> None:
        """The project was read, begun or changed."""
        self._panel.settings.setValue(LAST_PROJECT, str(self._learning.project))
        node = self._panel.parameterNode
        if node is not None and not node.dataset and summary.get("dataset"):
            self._panel.exporting.remember(Path(summary["dataset"]))
        self._panel.project_changed(summary)
        self._show()
        self._catch_up()
        if self._learning.runs:
            self._timer.start()
            self._look()
        elif self._learning.run and not self._learning.epochs:
            self._look()

    def _show(self) -> None:
        ui, summary = self._ui, self._learning.summary
        if self._learning.project != self._shown_project:  # what was told is about another one
            self._shown_project = self._learning.project
            ui.planBrowser.setVisible(False)
            ui.versionBrowser.setVisible(False)
        ui.projectLabel.text = _project_text(summary)
        self._show_matching()
        rows = []
        for version in summary.get("versions", ()):
            mark = " *" if version["id"] == summary["current"] else ""
            dice = "" if version["after"] is None else f"{version['before']:.3f} > {version['after']:.3f}"
            cases = "" if version["cases"] is None else str(version["cases"])
            rows.append((version["id"] + mark, version["parent"], cases, dice, version["reason"]))
        _fill(ui.versionsTable, rows)
        self._show_run()
        self._update_buttons()

    def _show_matching(self) -> None:
        """What the dataset's structures are in the model; it can be changed until a version was trained by it."""
        table, summary = self._ui.matchTable, self._learning.summary
        matching = summary.get("matching", {})
        model = self._panel.logic.models.named(str(summary.get("base_model", "")))
        _fill(table, [(name, found or _("new")) for name, found in matching.items()])
        table.setVisible(bool(matching))
        if model is None or len(summary["versions"]) > 1:
            return
        for row, (name, found) in enumerate(matching.items()):
            selector = qt.QComboBox()
            selector.addItem(_("new"), "")
            for structure in model.structures:
                selector.addItem(structure.replace("_", " "), structure)
            selector.setCurrentIndex(max(selector.findData(found or ""), 0))
            connect(selector, "activated(int)", lambda _index, name=name, s=selector: self._on_match(name, s))
            table.setCellWidget(row, 1, selector)

    def _on_match(self, name: str, selector: Any) -> None:
        self._ask(self._learning.match, self._changed, {name: str(selector.currentData or "") or None})

    def _show_run(self) -> None:
        ui, run = self._ui, self._learning.run
        going = self._learning.runs or run.get("stage") == "stopped"
        ui.trainingFrame.setVisible(going)
        ui.trainingLabel.text = _run_text(run)
        ui.trainingBar.value = round(1000 * run.get("fraction", 0.0))
        waits = run.get("paused") or run.get("stage") == "stopped"
        ui.trainingPauseButton.text = _("Go on") if waits else _("Pause")
        self._show_chart()

    def _show_chart(self) -> None:
        epochs = self._learning.epochs
        if len(epochs) < 2:
            self._ui.chartFrame.setVisible(False)
            return
        self._chart.show(epochs)
        if self._plot is None:
            self._plot = self._made_plot()
        self._view_node().SetPlotChartNodeID(self._chart.node.GetID())
        self._ui.chartFrame.setVisible(True)
        self._plot.plotView().fitToContent()

    def _made_plot(self) -> Any:
        plot = slicer.qMRMLPlotWidget()
        plot.setMRMLScene(self._panel.scene)
        plot.setMRMLPlotViewNode(self._view_node())
        plot.setMinimumHeight(220)
        plot.plotController().setVisible(False)
        self._ui.chartFrame.layout().addWidget(plot)
        return plot

    def _view_node(self) -> Any:
        node = self._panel.scene.GetSingletonNode("ActiveSeg", "vtkMRMLPlotViewNode")
        if node is None:
            node = slicer.vtkMRMLPlotViewNode()
            node.SetSingletonTag("ActiveSeg")
            node.SetLayoutName("ActiveSeg")
            node = self._panel.scene.AddNode(node)
            if self._plot is not None:  # a closed scene took the one before along
                self._plot.setMRMLPlotViewNode(node)
        return node

    def _update_buttons(self) -> None:
        ui, learning = self._ui, self._learning
        free = self._has_engine and not self._busy
        known, going = bool(learning.summary), learning.runs
        ui.projectNewButton.enabled = free and learning.project is not None and not known
        for button in (ui.planButton, ui.finetuneButton):
            button.enabled = free and known and not going
        ui.admitButton.enabled = free and known
        ui.reviewedButton.enabled = free and bool(learning.summary.get("to_review"))
        chosen = self._chosen_version()
        current = learning.summary.get("current")
        ui.versionCompareButton.enabled = free and bool(chosen) and chosen != current
        ui.versionPromoteButton.enabled = free and bool(chosen) and chosen != current
        ui.versionRollbackButton.enabled = free and bool(learning.summary.get("promotions"))
        ui.versionExportButton.enabled = free and chosen not in ("", "base")
        ui.versionImportButton.enabled = free and known

    @property
    def _has_engine(self) -> bool:
        return self._panel.logic.installation.obstacle is None

    def _chosen_version(self) -> str:
        table = self._ui.versionsTable
        item = table.item(table.currentRow(), 0) if table.currentRow() >= 0 else None
        return str(item.text()).removesuffix(" *") if item else ""

    # What the user asks for.

    def _pressed(self, act: Callable[[], None]) -> Callable[[], None]:
        """What was told about an earlier step goes when the user takes the next one."""

        def pressed() -> None:
            self._panel.message.clear()
            act()

        return pressed

    def _ask(self, request: Callable[..., None], on_result: Callable[[Mapping[str, Any]], None], *args: Any) -> None:
        """One question at a time; what asks for the progress goes on beside it."""

        def done(result: Mapping[str, Any]) -> None:
            self._busy = False
            on_result(result)
            self._update_buttons()

        def failed(error: ActiveSegError) -> None:
            self._busy = False
            self._show()  # as it is, not as it was asked for
            self._panel.show_error(error)

        self._busy = True
        self._update_buttons()
        request(*args, done, failed)

    def _on_project(self) -> None:
        self._panel.parameterNode.project = str(self._ui.projectEdit.text).strip()

    def _on_browse(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("The folder of a project"))
        if folder:
            self._panel.parameterNode.project = str(folder)

    def _on_begin(self) -> None:
        node = self._panel.parameterNode
        dataset = Path(node.dataset) if node.dataset else None
        there = dataset is not None and (dataset / "dataset.json").is_file()
        self._panel.message.clear()
        self._ask(self._learning.begin, self._begun, node.model, dataset if there else None)

    def _begun(self, summary: Mapping[str, Any]) -> None:
        self._panel.exporting.remember(Path(summary["dataset"]))
        self._changed(summary)

    def _on_admit(self) -> None:
        case, patient = self._panel.exporting.chosen_case, str(self._ui.patientEdit.text).strip()
        if not case or not patient:
            self._panel.show_error(InputError("Choose a case in the table, and give the patient's id above."))
            return
        self._ask(self._learning.admit, self._admitted, case, patient)

    def _admitted(self, result: Mapping[str, Any]) -> None:
        self._panel.message.notice(_("{case}: {side}").format(case=result["case"], side=result["side"]))
        self.refresh()

    def _on_reviewed(self) -> None:
        case = self._panel.exporting.chosen_case
        if not case:
            self._panel.show_error(InputError("Choose a case in the table."))
            return
        self._ask(self._learning.reviewed, self._changed, case)

    def _plan(self, then: Callable[[], None] | None) -> None:
        try:
            changes = self._changes()
        except ValueError as error:
            self._panel.show_error(InputError(f"A number cannot be read: {error}.", "Leave it empty, or correct it."))
            return
        self._panel.message.clear()
        self._ui.planBrowser.setVisible(False)

        def planned(result: Mapping[str, Any]) -> None:
            lines = "".join(f"<tr><td>{escape(a)}&nbsp;</td><td>{escape(b)}</td></tr>" for a, b in result["rows"])
            told = "".join(f"<p>{escape(sentence)}</p>" for sentence in result["sentences"])
            self._ui.planBrowser.setHtml(f"<table>{lines}</table>{told}")
            self._ui.planBrowser.setVisible(True)
            if then is not None:
                then()

        self._ask(self._learning.plan, planned, changes, self._panel.parameterNode.device)

    def _changes(self) -> dict[str, Any]:
        """What the user set; the rest is automatic. Raises ValueError."""
        ui, changes = self._ui, {}
        for name, spin in (
            ("epochs", ui.epochsSpin),
            ("iterations", ui.iterationsSpin),
            ("members", ui.trainMembersSpin),
        ):
            if spin.value:
                changes[name] = int(spin.value)
        for name, edit, kind in (
            ("frozen_stages", ui.frozenEdit, int),
            ("learning_rate", ui.rateEdit, float),
            ("replay", ui.replayEdit, float),
        ):
            if str(edit.text).strip():
                changes[name] = kind(str(edit.text).strip())
        return changes

    def _on_finetune(self) -> None:
        """Plan with the numbers of now, show the plan, and begin when the user agrees."""
        self._plan(self._begin_training)

    def _begin_training(self) -> None:
        rows = dict(self._learning.planned["rows"])
        question = _("Train on {cases} cases? It takes {time}, and {memory} of memory.")
        question = question.format(cases=rows["corrected cases"], time=rows["time"], memory=rows["memory"])
        if self._panel.confirm(question, _("Train")):
            self._ask(self._learning.start, self._started)

    def _started(self, _state: Mapping[str, Any]) -> None:
        self._ui.planBrowser.setVisible(False)
        self._chart.remove()
        self._note_training()
        self._show_run()
        self._timer.start()

    def _on_pause(self) -> None:
        run = self._learning.run
        waits = run.get("paused") or run.get("stage") == "stopped"
        self._ask(self._learning.control, self._steered, "run" if waits else "pause")

    def _on_cancel(self) -> None:
        question = _("Cancel the training? All that it has learned so far is lost; Pause would keep it.")
        if self._panel.confirm(question, _("Cancel the training")):
            self._ask(self._learning.control, self._steered, "cancel")

    def _steered(self, _state: Mapping[str, Any]) -> None:
        self._note_training()
        self._show_run()
        self._timer.start()

    def _look(self) -> None:
        """Every second while a training goes on, whatever else the user does."""
        if not self._looking and self._has_engine and self._learning.project is not None:
            self._looking = True
            self._learning.look(self._looked, self._not_looked)

    def _looked(self, run: Mapping[str, Any]) -> None:
        self._looking = False
        self._note_training()
        self._show_run()
        if self._learning.runs:
            return
        if self._timer.isActive():  # it has just ended
            self._timer.stop()
            self.refresh()
            self._tell_end(run)
        self._update_buttons()

    def _tell_end(self, run: Mapping[str, Any]) -> None:
        """How a training ended."""
        name = self._learning.project.name if self._learning.project is not None else ""
        if run["stage"] == "failed":
            why = ActiveSegError.from_dict(run.get("error") or {"message": _("The reason is in its log.")})
            self._panel.message.error(why, _("Show"), self._show_training)
        elif run["stage"] == "done":
            told = _("The training of {name} has ended. {version}: {verdict}")
            told = told.format(name=name, version=run.get("version", ""), verdict=run.get("verdict", ""))
            self._panel.message.notice(told, _("Show"), self._show_training)
        elif run["stage"] == "stopped":
            told = _("The training of {name} has stopped; it can go on where it was.").format(name=name)
            self._panel.message.notice(told, _("Show"), self._show_training)

    def _show_training(self) -> None:
        self._panel.open_section(self._ui.learnSection)
        self._ui.projectBox.collapsed = False

    def _catch_up(self) -> None:
        """Say once after the start of Slicer what a training does that goes on, or became of it meanwhile."""
        project, run = self._learning.project, self._learning.run
        if project is None or project in self._caught_up:
            return
        self._caught_up.add(project)
        seen = training_seen(self._panel.settings)
        self._note_training()
        if not run:
            return
        if self._learning.runs:
            told = _("A training of {name} is going on; it was begun before Slicer was started.")
            self._panel.message.notice(told.format(name=project.name), _("Show"), self._show_training)
        elif seen.get("run") == run["run"] and seen.get("stage") not in ENDED:
            self._tell_end(run)

    def _note_training(self) -> None:
        """Remember how far it was when somebody last looked."""
        run = self._learning.run
        if run:
            seen = {"project": str(self._learning.project), "run": str(run["run"]), "stage": str(run["stage"])}
            self._panel.settings.setValue(LAST_TRAINING, json.dumps(seen))

    def _not_looked(self, error: ActiveSegError) -> None:
        self._looking = False
        self._timer.stop()
        self._panel.show_error(error)

    def _on_compare(self) -> None:
        chosen, current = self._chosen_version(), str(self._learning.summary["current"])
        self._ask(self._learning.compare, self._compared, current, chosen)

    def _compared(self, result: Mapping[str, Any]) -> None:
        def row(cells: Any, tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}&nbsp;</{tag}>" for cell in cells) + "</tr>"

        rows = row(result["headings"], "th") + "".join(row(cells, "td") for cells in result["rows"])
        told = "".join(f"<p>{escape(sentence)}</p>" for sentence in result["sentences"])
        self._ui.versionBrowser.setHtml(f"<table>{rows}</table>{told}")
        self._ui.versionBrowser.setVisible(True)

    def _on_promote(self) -> None:
        chosen = self._chosen_version()
        question = _("Make {version} the current version, whatever the comparison says?").format(version=chosen)
        if self._panel.confirm(question):
            self._ask(self._learning.promote, self._changed, chosen)

    def _on_rollback(self) -> None:
        self._ask(self._learning.rollback, self._changed)

    def _on_export(self) -> None:
        file = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Export the version"), f"{self._chosen_version()}.zip", "*.zip"
        )
        if file:
            self._ask(self._learning.export, self._exported, self._chosen_version(), Path(str(file)))

    def _exported(self, result: Mapping[str, Any]) -> None:
        self._panel.message.notice(_("Written to {file}").format(file=result["file"]))

    def _on_import(self) -> None:
        file = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("A version that was exported"), "", "*.zip")
        if file:
            self._ask(self._learning.import_file, lambda _result: self.refresh(), Path(str(file)))


def training_seen(settings: Any) -> Mapping[str, str]:
    """``project``, ``run`` and ``stage`` of the training that was seen last; empty when there was none."""
    try:
        seen = json.loads(str(settings.value(LAST_TRAINING) or "{}"))
    except ValueError:
        return {}
    return seen if isinstance(seen, dict) else {}


def _project_text(summary: Mapping[str, Any]) -> str:
    if not summary:
        return _("A project keeps the dataset, the held-out cases and all versions of a model that learns.")
    sides = list(summary["cases"].values())
    told = _("Begun with {model}. {train} cases to train on, {held_out} held out, {replay} replayed images.").format(
        model=summary["base_model"],
        train=sides.count("train"),
        held_out=sides.count("held out"),
        replay=len(summary["replay"]),
    )
    unknown = [case for case, side in summary["cases"].items() if side is None]
    if unknown:
        told += " " + _("No patient ID yet: {cases}.").format(cases=", ".join(unknown[:5]))
    return f"{told} {summary['worth_it']}"


def _run_text(run: Mapping[str, Any]) -> str:
    if not run:
        return ""
    stages = {
        "waiting": _("Starting"),
        "preparing": _("Preparing the cases"),
        "training": _("Training"),
        "measuring": _("Measuring on the held-out cases"),
        "done": _("Done"),
        "failed": _("Failed"),
        "cancelled": _("Cancelled"),
        "stopped": _("Stopped; it can go on"),
    }
    told = stages.get(run["stage"], run["stage"])
    if run.get("paused") and run["stage"] == "training":
        told = _("Paused")
    if run.get("epoch"):
        told = _("{what}: member {member}, epoch {epoch}").format(what=told, member=run["member"], epoch=run["epoch"])
    if run.get("loss") is not None:
        told += _(", loss {loss:.3f}").format(loss=run["loss"])
    if run.get("eta_s") is not None:
        told += _(", {left} left").format(left=time_text(run["eta_s"]))
    return told


def _fill(table: Any, rows: list[tuple[str, ...]]) -> None:
    """Texts, the last one also as a tip, for it may be long."""
    table.setRowCount(len(rows))
    for index, row in enumerate(rows):
        for column, text in enumerate(row):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(text)
            table.setItem(index, column, item)

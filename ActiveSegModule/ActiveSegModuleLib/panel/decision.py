"""What became of a training: whether its version is used and why, structure by structure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import qt
from slicer.i18n import tr as _

from activeseg.client.messages.learning import FinetuneState, ProjectResult
from activeseg.core.errors import ActiveSegError

from ..engine.signals import connect
from ..logic.decision import Score, decided
from ..logic.learning import Stand, version_of
from ..logic.training_curves import Curves
from ..slicer_types import Widget
from .project import ProjectPart
from .section import Panel
from .tables import dense
from .training_curves import TrainingCurves

FALLEN = (217, 60, 40, 90)
"""Half transparent: suits light and dark."""


class DecisionSection(ProjectPart):
    """The decision about the last version, until the user puts it away."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._training = panel.logic.training
        self._learning = panel.logic.learning
        self._curves = TrainingCurves(ui.decisionCurvesFrame)
        ui.decisionCurvesFrame.layout().addWidget(self._curves)
        self._training.follow(self.show)
        connect(ui.curvesButton, "toggled(bool)", self._on_curves)
        connect(ui.nextTrainingButton, "clicked()", self.pressed(self._on_next))
        dense(ui.decisionTable)

    def update(self) -> None:
        """Nothing here waits for the engine."""

    def show(self) -> None:
        """The sentence, and the table of its structures."""
        run, summary = self._training.run, self._project.summary
        if self._learning.stand is not Stand.DECIDED or run is None or summary is None:
            return
        self._ui.decisionLabel.setText(decision_text(run, summary))
        entry = version_of(summary, run.version)
        show_scores(self._ui.decisionTable, decided(entry, _("replayed images")) if entry is not None else ())
        self._ui.decisionTable.setVisible(run.stage == "done" and not self._ui.curvesButton.checked)
        self._curves.show_curves(Curves.of(self._training.epochs))

    def _on_curves(self, wanted: bool) -> None:
        self._ui.decisionCurvesFrame.setVisible(wanted)
        self.show()

    def _on_next(self) -> None:
        self._learning.put_away()
        self._ui.curvesButton.setChecked(False)
        self._panel.update_project()


def show_scores(table: Widget, found: Sequence[Score]) -> None:
    """One row for each structure; one whose Dice fell by too much is marked."""
    table.setRowCount(len(found))
    for row, score in enumerate(found):
        voxels = f"{score.voxels:,}" if score.voxels else ""
        texts = (score.structure.replace("_", " "), score.before, score.after, voxels, score.cases)
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(_("Fell by more than allowed") if score.falls else text)
            if column:
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            if score.falls:
                item.setBackground(qt.QBrush(qt.QColor(*FALLEN)))
            table.setItem(row, column, item)


def decision_text(run: FinetuneState, summary: ProjectResult) -> str:
    """The decision in bold, and its reason."""
    if run.stage == "failed":
        error = ActiveSegError.from_dict(run.error or {"message": _("The reason is in its log.")})
        return _("<b>The training failed.</b><br>{reason}").format(reason=escape(str(error)))
    if run.promoted and summary.current == run.version:
        told = _("<b>{version} is better and is the current version.</b><br>{reason}")
    elif run.promoted:
        told = _("<b>{version} was better; {current} is the current version now.</b><br>{reason}")
    else:
        told = _("<b>{version} is kept, and not used.</b><br>{reason}")
    return told.format(version=run.version, current=summary.current, reason=escape(run.verdict))

"""Before a training: whether it is worth it, what it would do, its settings, and how it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from html import escape

from slicer.i18n import tr as _

from activeseg.client.messages.learning import FinetunePlanResult, FinetuneState, ProjectResult
from activeseg.core.errors import ActiveSegError, InputError

from ..engine.signals import connect
from ..logic.learning import Stand
from .project import ProjectPart
from .section import Panel
from .steps import Step

FIRST = ("corrected cases", "held out", "time", "memory")
"""Rows of a plan that everybody wants to know; the others are for those who know what they mean."""


class PlanSection(ProjectPart):
    """Shows the plan, which is made ahead where new cases wait, and starts the training."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._training = panel.logic.training
        self._learning = panel.logic.learning
        self._tried: object = None  # the project as it was when a plan was made ahead last
        self._shown = ""
        self._problem: ActiveSegError | None = None
        self._training.follow(self.show)
        connect(ui.planButton, "clicked()", self.pressed(lambda: self._plan(self._planned)))
        connect(ui.finetuneButton, "clicked()", self.pressed(self._on_train))
        connect(ui.numbersButton, "toggled(bool)", self._on_more)
        panel.steps.follow(self._plan_ahead)

    def update(self) -> None:
        """Enable the buttons that can be used."""
        for button in (self._ui.planButton, self._ui.finetuneButton):
            button.enabled = self._is_free and self._project.summary is not None and not self._training.runs
        self._plan_ahead()

    def show(self) -> None:
        """The plan, once there is one; what is known without it until then."""
        summary = self._project.summary
        text = self._text(summary) if summary is not None else ""
        if text != self._shown:  # else it would scroll back
            self._shown = text
            self._ui.planBrowser.setHtml(text)

    def _text(self, summary: ProjectResult) -> str:
        head = _paragraph(summary.worth_it, bold=True)
        new = [name for name, found in summary.matching.items() if found is None]
        if new:
            told = _("New to the model: {names}. Check this under Cases before the first training.")
            head += _paragraph(told.format(names=", ".join(new[:5])))
        unknown = sum(side is None for side in summary.cases.values())
        if unknown:
            told = _("Cases left out because they have no patient ID: {count}. Assign it under Cases.")
            head += _paragraph(told.format(count=unknown))
        planned = self._training.planned
        if planned is not None:
            warnings = "".join(_paragraph(sentence) for sentence in planned.sentences)
            return head + warnings + _table(sorted(planned.rows, key=lambda row: row[0] not in FIRST))
        sides = list(summary.cases.values())
        rows = (
            (_("begins with"), summary.current),
            (_("training cases"), str(sides.count("train"))),
            (_("held out"), str(sides.count("held out"))),
            (_("time, memory"), self._time_text()),
        )
        return head + _table(rows)

    def _time_text(self) -> str:
        if self._problem is not None:
            return str(self._problem)
        return _("being estimated...") if self._is_planning else _("press Preview training")

    @property
    def _is_planning(self) -> bool:
        return self._project.busy and self._tried is self._project.summary

    def _plan_ahead(self) -> None:
        """Once for each state of the project, where somebody looks at it and nothing else is under way."""
        panel, summary = self._panel, self._project.summary
        is_idle = self._is_free and panel.logic.segmenting.running is None and panel.parameter_node is not None
        is_shown = panel.steps.current is Step.LEARN and self._learning.stand is Stand.PLANNING
        if not (is_idle and is_shown) or summary is None or not summary.waiting or self._training.planned is not None:
            return
        if self._tried is not summary:
            self._tried = summary
            self._problem = None
            self._training.plan({}, panel.parameter_node.device, lambda _result: self._planned_ahead(), self._not_ahead)
            self.show()
            panel.update_project()

    def _planned_ahead(self) -> None:
        self._panel.update_project()

    def _not_ahead(self, error: ActiveSegError) -> None:
        """Nobody asked for it: it is said where the plan would be."""
        self._problem = error
        self.show()
        self._panel.update_project()

    def _plan(self, then: Callable[[FinetunePlanResult], None]) -> None:
        """Plan with the settings of now, show the plan, and go on."""
        try:
            changes = self._changes()
        except ValueError as error:
            self._panel.show_error(InputError(f"A number cannot be read: {error}.", "Leave it empty, or correct it."))
            return
        self._problem = None
        self.ask(self._training.plan, then, changes, self._panel.parameter_node.device)

    def _planned(self, _result: FinetunePlanResult) -> None:
        self._ui.numbersButton.setChecked(False)

    def _changes(self) -> dict[str, int | float]:
        """What the user set; the rest is automatic. Raises ValueError."""
        ui = self._ui
        changes: dict[str, int | float] = {}
        for name, spin in (
            ("epochs", ui.epochsSpin),
            ("iterations", ui.iterationsSpin),
            ("members", ui.trainMembersSpin),
        ):
            if spin.value:
                changes[name] = int(spin.value)
        frozen, rate, replay = (str(edit.text).strip() for edit in (ui.frozenEdit, ui.rateEdit, ui.replayEdit))
        if frozen:
            changes["frozen_stages"] = int(frozen)
        changes.update({name: float(text) for name, text in (("learning_rate", rate), ("replay", replay)) if text})
        return changes

    def _on_more(self, more: bool) -> None:
        self._ui.planBrowser.setVisible(not more)
        self._ui.numbersFrame.setVisible(more)

    def _on_train(self) -> None:
        """Begin at once where the plan on the screen is the one that would be made now; else show it, and ask."""
        if self._training.planned is not None and not self._ui.numbersButton.checked and self._is_as_planned():
            self.ask(self._training.start, self._started)
        else:
            self._plan(self._ask_and_begin)

    def _is_as_planned(self) -> bool:
        wanted: Mapping[str, int | float] | None
        try:
            wanted = self._changes()
        except ValueError:
            wanted = None
        return bool(self._training.planned_with == (wanted, self._panel.parameter_node.device))

    def _ask_and_begin(self, result: FinetunePlanResult) -> None:
        rows = dict(result.rows)
        question = _("Train on {cases} cases? It takes {time}, and {memory} of memory.")
        question = question.format(cases=rows["corrected cases"], time=rows["time"], memory=rows["memory"])
        if self._panel.confirm(question, _("Train")):
            self.ask(self._training.start, self._started)

    def _started(self, _state: FinetuneState) -> None:
        self._ui.numbersButton.setChecked(False)


def _paragraph(text: str, bold: bool = False) -> str:
    told = escape(text)
    return f'<p style="margin: 0 0 4px 0">{f"<b>{told}</b>" if bold else told}</p>'


def _table(rows: Iterable[tuple[str, str]]) -> str:
    told = "".join(f"<tr><td>{escape(name)}&nbsp;&nbsp;</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{told}</table>"

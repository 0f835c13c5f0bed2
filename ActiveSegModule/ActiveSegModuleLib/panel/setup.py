"""The card in place of *Segment* while there is no engine: what will be installed, how far it is, what is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import slicer
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError

from .. import sample_data
from ..engine.signals import connect
from ..logic.environment_action import CHANGES, Working
from ..logic.installation import Installation
from ..logic.situation import Situation
from . import installation_texts as texts
from .message import breakable
from .section import Panel
from .sources import RED, SourcesForm
from .steps import Mark, Step, StepState

OFFERED = (Situation.MISSING, Situation.INCOMPLETE)
"""What *Install* helps against."""


class Acts(Protocol):
    """What the card's buttons ask for."""

    sources: SourcesForm

    def update(self) -> None:
        """Show how the engine is now."""

    def install(self) -> None:
        """Install the engine as the form says."""

    def on_remove(self) -> None:
        """Remove what is there, when the user agrees."""

    def on_own_python(self) -> None:
        """Let the user choose a Python."""

    def way_out(self, situation: Situation) -> tuple[str, Callable[[], None] | None]:
        """The one button that helps: its text, and what it does."""


class SetupCard:
    """One large button; what it will do is looked up without being asked for, so that the sizes are real.

    Attributes
    ----------
    kept_bytes : what an installation that was not completed has left
    """

    def __init__(self, panel: Panel, acts: Acts) -> None:
        self._panel = panel
        ui = self._ui = panel.ui
        self._installation: Installation = panel.logic.installation
        self._acts = acts
        self._entered = self._wanted = False
        self._done = ""  # what was completed and is not yet left behind
        self._plan: Mapping[str, Any] | None = None
        self._planned_for: object = None
        self._problem = ""
        self._button: Callable[[], None] | None = None
        self.kept_bytes = 0
        ui.setupErrorLabel.setStyleSheet(RED)
        acts.sources.put_into(ui.sourcesTab)
        connect(ui.setupButton, "clicked()", self._on_button)
        connect(ui.setupMoreButton, "toggled(bool)", lambda _on: self.update_now())
        connect(ui.setupPythonButton, "clicked()", acts.on_own_python)
        connect(ui.setupRemoveButton, "clicked()", acts.on_remove)
        connect(ui.setupCloseButton, "clicked()", self._on_close)
        connect(ui.setupSampleButton, "clicked()", self._on_sample)
        connect(ui.setupCancelButton, "clicked()", self._installation.cancel)
        panel.steps.follow(self._on_page)

    def enter(self) -> None:
        """The panel was opened: from now on sizes are looked up."""
        self._entered = True
        self.update_now()

    def open(self) -> None:
        """The user wants an engine of ActiveSeg's own, whatever there is."""
        self._wanted = True
        self.update_now()
        self.show()

    def show(self) -> None:
        """Turn to the card."""
        self._panel.steps.show(Step.SEGMENT)

    def finished(self, action: str) -> None:
        """The engine can be used; *Ready* stays until the user goes on, or is led on."""
        self._wanted = False
        self._forget_plan()
        self._done = action

    def go_on(self) -> None:
        """On to segmenting, unless the user is at something else."""
        action, steps = self._done, self._panel.steps
        told = self._done_text(action)
        if steps.current is Step.SEGMENT and steps.is_busy and not steps.shows_settings:
            return  # *Ready* has a button
        self._done = ""
        self.update_now()
        if action == "install" and not steps.shows_settings:
            steps.lead(Step.SEGMENT, told)
        else:
            self._panel.message.notice(told)

    def stopped(self, action: str, error: ActiveSegError) -> None:
        """It was cancelled, or failed; what was loaded may be kept."""
        if action in CHANGES:
            self._forget_plan()
            self.kept_bytes = int(error.details.get("kept_bytes") or 0)

    def update(self, situation: Situation) -> None:
        """Show what can be done, or what is being done."""
        ui, installation = self._ui, self._installation
        is_needed = installation.obstacle is not None or self._wanted or bool(self._done)
        self._panel.steps.set_setup_needed(is_needed)
        working = installation.working if installation.working and installation.working.action in CHANGES else None
        offers = is_needed and not self._done and working is None and (self._wanted or situation in OFFERED)
        opens = offers and bool(ui.setupMoreButton.checked)
        self._acts.sources.put_into(ui.setupMoreFrame if opens else ui.sourcesTab)
        if offers:
            self._look_up()
        wrong = self._problem or ("" if opens else self._acts.sources.problem)
        for widget, shown in (
            (ui.setupFactsFrame, offers and not opens),
            (ui.setupLabel, not opens and not (offers and wrong)),  # there is room for one of both
            (ui.setupMoreFrame, opens),
            (ui.setupProgressFrame, working is not None),
            (ui.setupErrorLabel, offers and bool(wrong)),
            (ui.setupButton, working is None),
            (ui.setupMoreButton, offers),
            (ui.setupRemoveButton, offers and installation.is_incomplete),
            (ui.setupCloseButton, self._wanted and installation.obstacle is None and working is None),
            (ui.setupSampleButton, not self._has_ct and not self._done),
        ):
            widget.setVisible(shown)
        ui.setupErrorLabel.text = breakable(wrong)
        ui.setupTitleLabel.text = _("Ready") if self._done else texts.title_text(situation)
        ui.setupLabel.text = breakable(self._text(situation, working))
        ui.setupButton.text, self._button = self._main_button(situation, offers)
        ui.setupButton.enabled = self._button is not None and not (offers and self._acts.sources.problem)
        self._show_facts()
        if working is not None:
            self._show_progress(working)
        if is_needed:
            self._panel.steps.tell(Step.SEGMENT, self._step_state(working))

    def update_now(self) -> None:
        """``update``, with all that depends on it."""
        self._acts.update()

    # What the card shows.

    def _text(self, situation: Situation, working: Working | None) -> str:
        if self._done:
            return self._done_text(self._done)
        if working is not None:
            return _("Slicer can be used meanwhile. Nothing outside of the engine's folder is changed.")
        if situation is Situation.INCOMPLETE and not self._wanted:
            kept = self.kept_bytes or (self._plan or {}).get("present_bytes", 0)
            if not kept:
                return _("What was downloaded is kept. Resume uses it, Remove deletes it.")
            return _("{size} are kept in the folder. Resume uses them, Remove deletes them.").format(
                size=texts.size_text(kept)
            )
        if self._wanted or situation is Situation.MISSING:
            return _(
                "ActiveSeg segments a CT, shows where the model is uncertain, and learns from your corrections. "
                "It needs an engine: a Python environment that is kept apart from Slicer's own."
            )
        return texts.situation_text(situation, self._installation)

    def _done_text(self, action: str) -> str:
        return {
            "install": _("The engine is installed. Load a CT and press Segment."),
            "update": _("The engine is updated."),
            "repair": _("The engine is repaired."),
            "use": _("Your own Python is used from now on."),
        }.get(action, "")

    def _main_button(self, situation: Situation, offers: bool) -> tuple[str, Callable[[], None] | None]:
        if self._done:
            return _("Continue"), self.go_on_anyway
        if offers:
            return _("Resume") if self._installation.is_incomplete else _("Install"), self._acts.install
        return self._acts.way_out(situation)

    def _show_facts(self) -> None:
        ui, folder = self._ui, self._installation.folder
        plan = self._plan or self._installation.rough_plan(self._acts.sources.sources)
        ui.setupPackagesLabel.text = texts.build_text(plan["accelerator"])
        ui.setupFolderLabel.text, ui.setupFolderLabel.toolTip = texts.path_text(folder), str(folder)
        ui.setupSizeLabel.text = texts.download_text(plan)
        ui.setupTimeLabel.text = texts.time_text(plan)
        ui.setupWeightsLabel.text = texts.weights_text(plan)

    def _show_progress(self, working: Working) -> None:
        ui = self._ui
        ui.setupStageLabel.text = texts.working_text(working)
        ui.setupTextLabel.text = breakable(working.text)
        ui.setupTextLabel.setVisible(bool(working.text))
        ui.setupProgressBar.setMaximum(1000 if working.stage else 0)
        ui.setupProgressBar.value = round(1000 * working.fraction)
        ui.setupProgressBar.format = texts.bar_text(working)
        ui.setupCancelButton.enabled = working.action != "remove"

    def _step_state(self, working: Working | None) -> StepState:
        if working is not None:
            return StepState(_("{percent} %").format(percent=round(100 * working.fraction)), Mark.RUNNING)
        return StepState(_("ready"), Mark.DONE) if self._done else StepState(_("set up"))

    @property
    def _has_ct(self) -> bool:
        node = self._panel.parameter_node
        return node is not None and node.ct is not None

    # Looking up sizes, without being asked for.

    def _look_up(self) -> None:
        installation, sources = self._installation, self._acts.sources.sources
        wanted_for = (installation.folder, sources, installation.is_incomplete)
        is_free = self._entered and installation.working is None and not self._acts.sources.problem
        if wanted_for == self._planned_for or not is_free:
            return
        self._planned_for, self._plan, self._problem = wanted_for, None, ""

        def planned(result: Mapping[str, Any]) -> None:
            self._plan = result["plan"]
            self.update_now()

        def failed(error: ActiveSegError) -> None:
            self._problem = str(error)
            self.update_now()

        installation.run("plan", planned, failed, sources, quiet=True)

    def _forget_plan(self) -> None:
        self._plan, self._planned_for, self._problem, self.kept_bytes = None, None, "", 0

    # Buttons.

    def go_on_anyway(self) -> None:
        """The user presses *Continue*."""
        self._done = ""
        self.update_now()
        self.show()

    def _on_button(self) -> None:
        if self._button is not None:
            self._acts.sources.take()
            self._button()

    def _on_close(self) -> None:
        self._wanted = False
        self.update_now()

    def _on_page(self) -> None:
        """The form goes back to the settings when they are shown."""
        if self._panel.steps.shows_settings:
            self._ui.setupMoreButton.setChecked(False)

    def _on_sample(self) -> None:
        try:
            file = sample_data.make_phantom_file(Path(str(slicer.app.cachePath)))
            slicer.util.loadVolume(str(file), {"name": sample_data.TITLE})
        except ActiveSegError as error:
            self._panel.show_error(error)

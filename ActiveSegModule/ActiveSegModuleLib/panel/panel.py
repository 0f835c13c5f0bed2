"""The panel: makes the pages, and passes on what happens in the scene, the engine and the other sections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from activeseg.client.messages.learning import ProjectResult
from activeseg.core.errors import ActiveSegError, Cancelled, Remedy

from ..engine.later import Later
from ..engine.listener import Listener
from ..engine.signals import timer
from ..scene.case import Case
from ..slicer_types import Node, ParameterNode, Widgets
from . import at_start
from .case_observer import CaseObserver
from .closing import Closing
from .current_case import CurrentCase
from .drafts import DraftKeeping, DraftsSection
from .editing import EditingSection
from .exporting import ExportingSection
from .installation import InstallationSection
from .learning import LearningSection
from .message import Message
from .models import ModelsSection
from .next_case import next_ct
from .question import confirmed
from .refiner_weights import RefinerWeightsSection
from .review import ReviewSection
from .scene_events import SceneEvents
from .section import Write
from .segmenting import SegmentingSection
from .steps import Step, Steps
from .weights import WeightsSection

EDIT_DELAY_MS = 200
"""After the last event of a stroke, an undo or a script."""


class ModulePanel(VTKObservationMixin, Listener):
    """The one ``Panel`` that sections know, see ``section``; and the ``Listener`` of the logic."""

    def __init__(self, ui: Widgets, make_logic: Callable[[Listener], Any], is_entered: Callable[[], bool]) -> None:
        """
        Parameters
        ----------
        ui
            The widgets of the ``.ui`` file by their names
        make_logic
            Makes the module's logic for a listener
        is_entered
            Whether the module is the one that is shown
        """
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self.scene, self.settings = slicer.mrmlScene, qt.QSettings()
        self.logic = make_logic(self)
        self._is_entered = is_entered
        self._parameter_node: ParameterNode = None
        self._gui_tag: int | None = None
        self._later = Later(qt)
        self._observer = CaseObserver(self._on_edited, self._on_ct_moved, lambda: self.current_case.warn_of_frame())
        self._cases_told: set[str] = set()
        self.edit_timer = timer(qt, EDIT_DELAY_MS, self.segmentation_edited, once=True)
        self._update_timer = timer(qt, 0, self.update, once=True)

        self.message = Message(ui)
        self.steps = Steps(ui, self.message, lambda: self.editing.is_painting)
        self.current_case = CurrentCase(self)
        self.models = ModelsSection(self)
        self.segmenting = SegmentingSection(self)
        self.editing = EditingSection(self)
        self.review = ReviewSection(self)
        self.exporting = ExportingSection(self)
        self.learning = LearningSection(self)
        self.installation = InstallationSection(self)
        self.weights = WeightsSection(self)
        self.refiner_weights = RefinerWeightsSection(self)
        self.keeping = DraftKeeping(self)
        self.drafts = DraftsSection(self)
        self.closing = Closing(self, self.keeping, self.learning.leave)
        self._sections = (
            *(self.current_case, self.review, self.models, self.segmenting, self.editing, self.exporting),
            *(self.learning, self.weights, self.refiner_weights),
        )

        self._scene_events = SceneEvents(self.scene, self)
        at_start.withdraw()

    # Slicer calls these, by way of the module's widget.

    def enter(self) -> None:
        self._turn_to_parameter_node()
        self.editing.enter()
        self.installation.update()
        self.installation.enter()
        self.engine_changed()

    def exit(self) -> None:
        self.editing.exit()
        self.review.exit()
        self._take_parameter_node(None)

    def cleanup(self) -> None:
        self._take_parameter_node(None)
        self.removeObservers()
        self._scene_events.close()
        self._observer.observe(None)
        self._later.close()
        for due in (self.edit_timer, self._update_timer):
            due.stop()
        self.review.cleanup()
        self.editing.cleanup()
        self.exporting.close()
        self.installation.cleanup()
        self.closing.cleanup()
        self.message.time_to_read.stop()

    # What happens to the scene, see ``SceneListener``.

    def scene_closes(self) -> None:
        running = self.logic.segmenting.running
        if running is not None and running.label_shown:  # else its result is kept, and offered
            self.logic.segmenting.cancel()
        self.case_left()
        self.keeping.scene_closes()
        self.editing.scene_closes()
        self.review.leave()
        self._take_parameter_node(None)
        self.current_case.forget()
        self.message.clear()  # it was about what is gone now
        self.steps.show(Step.SEGMENT)

    def scene_ready(self) -> None:
        self.logic.forgetParameterNode()
        if self._is_entered():
            self._turn_to_parameter_node()
            if self.logic.review.case is not None:  # a scene that was saved in the middle of the work
                self.steps.show(Step.REVIEW)

    def volume_loaded(self) -> None:
        self.current_case.take_cts_again()
        self.current_case.choose_loaded_ct()
        self.update_soon()

    def node_goes(self, node: Node) -> None:
        self.editing.node_goes(node)

    def node_gone(self) -> None:
        """Slicer's views turn to another volume when one is removed, and it may be one that must not be shown."""
        if self._parameter_node is not None:
            self.update_soon()

    # The parameter node.

    @property
    def parameter_node(self) -> ParameterNode:
        return self._parameter_node

    @property
    def stored(self) -> ParameterNode:
        return self.logic.getParameterNode()

    def _turn_to_parameter_node(self) -> None:
        self._take_parameter_node(self.stored)
        self.current_case.enter()
        self.update_soon()

    def _take_parameter_node(self, node: Node) -> None:
        before = self._parameter_node
        if before is not None:
            before.disconnectGui(self._gui_tag)
            self.removeObserver(before, vtk.vtkCommand.ModifiedEvent, self._on_parameter_node_modified)
        self._parameter_node = node
        if node is not None:
            self.current_case.hide_maps()  # before the selectors look for nodes
            self._gui_tag = node.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._on_parameter_node_modified)
            self.update()

    def _on_parameter_node_modified(self, _caller: object = None, _event: str = "") -> None:
        self.update_soon()

    def update(self) -> None:
        """Everything that the panel shows, from the scene."""
        if self._parameter_node is None:
            return
        for section in self._sections:
            section.update()
        self._observer.observe(self.logic.review.case)

    def update_soon(self) -> None:
        """``update`` in the next turn of the event loop, once however often it is asked for."""
        self._update_timer.start()

    # What sections ask of the panel, see ``section.Panel``.

    @property
    def engine_text(self) -> str:
        return self.installation.text

    def confirm(self, question: str, yes: str = "", no: str = "") -> bool:
        return slicer.app.testingEnabled() or confirmed(question, yes, no)

    def show_error(self, error: ActiveSegError) -> None:
        if isinstance(error, Cancelled):
            return  # what the user ended is no error
        obstacle, way_out = self.logic.installation.obstacle, self._way_out(error)
        if obstacle is not None and error.message == obstacle.message:
            self.installation.show_obstacle(obstacle)
        elif way_out is not None:
            self.message.error(error, *way_out)
        else:
            self.message.error(error)

    def _way_out(self, error: ActiveSegError) -> tuple[str, Callable[[], None]] | None:
        """A button that does what helps against an error, which itself names none."""
        match error.details.get("remedy"):
            case Remedy.REPAIR_ENVIRONMENT:
                return _("Repair..."), self.installation.repair
            case Remedy.INSTALL_ENVIRONMENT | Remedy.CHOOSE_PYTHON:
                return _("Set up the engine"), self.installation.card.open
            case Remedy.NEW_PROJECT | Remedy.CHECK_PROJECT | Remedy.ASSIGN_PATIENT | Remedy.RESUME_TRAINING:
                return _("Show"), self.learning.show_training
        return self.weights.way_out(error) or self.refiner_weights.way_out(error)

    def choose(self, case: Case) -> None:
        self.current_case.choose(case)

    def update_project(self) -> None:
        self.learning.update()

    def refresh_project(self) -> None:
        self.learning.refresh()

    def next_case(self) -> None:
        """Turn to the next CT that is loaded and not stored; where there is none, ask for files."""
        node = self._parameter_node
        ct = next_ct(self.scene, node.ct) if node is not None else None
        if ct is None:
            self.steps.show(Step.SEGMENT)
            slicer.util.openAddDataDialog()
            return
        node.ct = ct
        self.steps.show(Step.REVIEW if Case.newest_of(self.scene, ct) is not None else Step.SEGMENT)

    def remember_dataset(self, dataset: Path) -> None:
        self.exporting.remember(dataset)

    def refresh_models(self) -> None:
        self.models.refresh()

    def remember_model(self, name: str) -> None:
        self.models.remember(name)

    def add_weights(self) -> None:
        self.weights.add_file()

    def enter_licence(self) -> None:
        self.weights.enter_licence()

    def edit_region(self) -> None:
        self.steps.show(Step.REVIEW)
        self.editing.open()
        self.editing.choose_region()

    def edits_of(self, case: Case) -> int:
        return self.keeping.edits_of(case)

    def editor_step(self, step: str) -> None:
        self.editing.step(step)
        self.segmentation_edited()

    def editor_can(self, step: str) -> bool:
        return self.editing.can(step)

    def follow_editor(self, changed: Callable[[], None]) -> None:
        self.editing.follow_undo(changed)

    def write(self, write: Write) -> None:
        try:
            self.editing.write(write)
        finally:
            self.case_changed_by_user()
            self.editing.confine()

    # What sections tell, see ``section.Panel``.

    def engine_changed(self) -> None:
        if self.logic.installation.obstacle is None:
            self.models.refresh()
            self.logic.drafts.tidy_up()
            self.learning.refresh()
        self.installation.update()
        self.update_soon()

    def case_left(self) -> None:
        """What was edited in it just now belongs to it."""
        if self.edit_timer.isActive():
            self.edit_timer.stop()
            self.segmentation_edited()

    def case_opened(self, case: Case) -> None:
        self.keeping.save()

    def case_restored(self, case: Case) -> None:
        self.keeping.restored(case)

    def case_changed_by_user(self) -> None:
        """A draft is due, and what was told about its export is no longer true."""
        case = self.logic.review.case
        if case is not None and not case.is_preview:
            self.keeping.edited(case)
            self.exporting.forget_summary()

    def case_exported(self, case: Case, edits: int) -> None:
        self.keeping.exported(case, edits)
        self.learning.refresh()

    def region_changed(self) -> None:
        self.editing.follow_region()
        self.keeping.save()

    def region_reviewed(self) -> None:
        self.case_changed_by_user()
        self.keeping.save()

    def segmentation_edited(self) -> None:
        """Here, in the Segment Editor's own module, or by a script."""
        if self.logic.review.case is None:
            return
        self.editing.segments_changed()
        self.case_changed_by_user()
        try:
            self.review.edited(bool(self.logic.review.note_edits()))
        except ActiveSegError as error:  # the CT was removed
            self.show_error(error)

    def project_changed(self, summary: ProjectResult) -> None:
        self.models.offer_project(summary)
        self.learning.project_changed(summary)

    # Listener: what the logic tells.

    def segmenting_changed(self) -> None:
        self.segmenting.show_progress()

    def case_changed(self, case: Case) -> None:
        if case.id not in self._cases_told:  # later on the user may have turned to another one
            self._cases_told.add(case.id)
            self.review.new_case(case)
            self.current_case.arrived(case)
        self.update_soon()

    def notice(self, text: str) -> None:
        self.message.notice(text)

    def error(self, error: ActiveSegError) -> None:
        self.segmenting.failed(error)

    def engine_state_changed(self) -> None:
        self.installation.update()
        self.update_soon()  # buttons elsewhere wait for it

    def log_line(self, line: str) -> None:
        self.installation.add_log_line(line)

    def _on_edited(self) -> None:
        self.editing.note_edit()
        self.keeping.touched(self.logic.review.case)
        self.review.undoing.note_edit()
        self.edit_timer.start()

    def _on_ct_moved(self) -> None:
        self._later(self.logic.review.follow_ct)  # what else is put under that transform may still be on its way

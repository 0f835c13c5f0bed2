"""The page *Review*: the regions to review one after the other, what is decided on each, and how far that is."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.correction import Region, RegionState
from activeseg.core.errors import ActiveSegError

from ..engine.signals import connect
from ..scene.alternatives import OfferedAlternative
from ..scene.case import Case
from ..scene.views import Viewpoint
from ..slicer_types import Node
from .alternatives import AlternativeList
from .elided import ElidedText
from .focus import FocusFace
from .heat_map import HeatMap
from .keys_card import KeysCard
from .refining import Prompting
from .region_table import Colors, RegionList, size_text, structures_text
from .section import Panel, Section
from .shape_warnings import ShapeWarnings
from .spreading import SpreadFace
from .steps import Mark, Step, StepState
from .undoing import Undoing
from .view_3d import View3D

_SIZES = (200, 46)
"""Heights of the list with eight rows, and of the alternatives; what there is more is shared."""


class ReviewSection(Section):
    """The regions of the chosen case."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._review = panel.logic.review
        self.table = RegionList(ui, panel.settings, self._go_to, lambda: self._say_where(self._review.rows()))
        self.alternatives = AlternativeList(panel, self._take)
        self.heat_map = HeatMap(panel)
        self.focus = FocusFace(panel, self._relisted)
        self.spread = SpreadFace(panel, self._relisted)
        self.shapes = ShapeWarnings(panel, self._remember_views)
        self.view_3d = View3D(panel)
        self.undoing = Undoing(panel, self._decision_changed)
        self.prompting = Prompting(panel, self._answered, self._prompted_in)
        self.keys = KeysCard(ui)
        self._line = ElidedText(ui.regionLabel)
        self._progress = ElidedText(ui.reviewedLabel)
        self.progress_text = ""
        self._answer: OfferedAlternative | None = None
        self._begun: Node = None  # the table whose first region was gone to
        self._viewpoint: Viewpoint | None = None  # where the views looked when a program moved them last
        self.view_menu = qt.QMenu(ui.viewMenuButton)
        ui.regionSplitter.setStretchFactor(0, 5)
        ui.regionSplitter.setStretchFactor(1, 2)
        ui.regionSplitter.setSizes(list(_SIZES))
        connect(ui.viewMenuButton, "clicked()", self._show_menu)
        connect(ui.nextButton, "clicked()", lambda: self._do(lambda: self._review.next(self._shown)))
        connect(ui.previousButton, "clicked()", lambda: self._do(lambda: self._review.previous(self._shown)))
        connect(ui.acceptButton, "clicked()", lambda: self._decide(self._review.accept))
        connect(ui.skipButton, "clicked()", lambda: self._decide(self._review.skip))
        connect(ui.reopenButton, "clicked()", self._reopen)
        connect(ui.editButton, "clicked()", self._on_edit)
        connect(ui.reviewFaces, "currentChanged(int)", lambda _index: self._show_face())
        panel.steps.follow(self.alternatives.let_go)

    def update(self) -> None:
        """Show what the parameter node and the scene say."""
        node = self._panel.parameter_node
        if node is None:
            return
        case = Case.of(node.segmentation)
        if case != self._review.case:
            self._panel.case_left()
            self._open(case)
        self.heat_map.choose_measure(case)
        is_new = self._begin(case)
        self._say_what_is_chosen(case, node.segmentation)
        self.focus.update()
        self.spread.update(case)
        self.shapes.update(case)
        self.heat_map.update(case)
        self.update_regions()
        if is_new and any(button.hasFocus() for button in (self._ui.segmentStep, self._ui.reviewStep)):
            self._ui.regionTable.setFocus()  # the keyboard was in a page that gave way to this one

    def update_regions(self) -> None:
        """Fill the table, keeping what is selected; everything that depends on the current region follows."""
        rows = self._review.rows()
        self.table.fill(rows, self._colors(), self._review.current)
        self._say_where(rows)
        self._say_how_far(rows)
        self._update_buttons(rows)
        self.spread.update_button(rows)
        self.prompting.update()
        self.alternatives.update()
        self.view_3d.update()
        self.undoing.update()

    def edited(self, changed: bool) -> None:
        """Voxels of the case were edited; ``changed``: some region has another state since."""
        self.alternatives.forget()
        self.view_3d.edited()
        if changed:
            self.update_regions()
        else:
            self.alternatives.update()

    def leave(self) -> None:
        """The scene is closed, or the panel goes away."""
        self.prompting.forget()
        self.spread.leave()
        self._review.leave()
        self.view_3d.hide()
        self.heat_map.leave()
        self.undoing.forget()
        self._begun = self._viewpoint = None

    def exit(self) -> None:
        """Another module is shown."""
        self.prompting.disarm()
        self.keys.hide()

    def cleanup(self) -> None:
        """The panel goes away."""
        self.leave()
        self.prompting.close()
        self.table.close()
        self.alternatives.close()
        self.view_3d.close()
        self.keys.remove()

    def new_case(self, case: Case) -> None:
        """It was made just now: the user has not chosen how it is shown."""
        self.heat_map.new_case(case)

    @property
    def _shown(self) -> list[int]:
        """What *Next* goes through: the list as it is filtered and sorted; all, where the filters leave nothing."""
        return self.table.shown or [row.number for row in self._review.rows()]

    def _colors(self) -> Colors:
        case = self._review.case
        return {label.name: label.color for label in case.schema.labels} if case is not None else {}

    def _open(self, case: Case | None) -> None:
        self._review.open(case)
        self.undoing.forget()
        self._remember_views()
        if case is not None:
            self._panel.case_opened(case)

    def _remember_views(self) -> None:
        self._viewpoint = Viewpoint.now(self._panel.scene)

    def _begin(self, case: Case | None) -> bool:
        """The first region of a list that is new here is current; it is shown unless the user moved the views.

        Returns whether there is such a list.
        """
        table = case.regions if case is not None and case.has_ct else None
        listed = table.node if table is not None else None
        if listed is self._begun:
            return False
        self._begun = listed
        self._review.forget_region()
        if listed is not None:
            moved = self._viewpoint is not None and self._viewpoint.has_moved(self._panel.scene)
            try:
                self._review.first(show=not moved)
            except ActiveSegError as error:
                self._panel.show_error(error)
            if not moved:
                self._remember_views()
        self._panel.region_changed()
        return listed is not None

    def _say_what_is_chosen(self, case: Case | None, chosen: Node) -> None:
        """Why there is nothing to review or to edit, where that is so; and a choice, where there are several."""
        ui = self._ui
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        others = [node for node in nodes if not node.GetHideFromEditors()]
        ui.reviewPage.enabled = case is not None or bool(others)
        ui.caseFormWidget.setVisible(len(others) > 1 or (case is None and bool(others)))
        text = _unusual(case, chosen)
        ui.caseLabel.setText(text)
        ui.caseLabel.setVisible(bool(text))
        for widget in (ui.regionTable, ui.regionSearch, ui.stateFilter):
            widget.enabled = case is not None

    def _say_where(self, rows: list[Region]) -> None:
        """The one line above the list."""
        row = next((row for row in rows if row.number == self._review.current), None)
        if rows and not self.table.shown:
            text = _("No region matches: change the search or the state below.")
        elif row is not None:
            place = [row.number for row in rows].index(row.number) + 1
            text = _("Region {number} of {total}, {structures}, {ml} mL").format(
                number=place, total=len(rows), structures=structures_text(row.structures), ml=size_text(row.size_mm3)
            )
        elif rows:
            text = _("{total} regions to review").format(total=len(rows))
        else:
            text = ""
        self._line.show(text)

    def _say_how_far(self, rows: list[Region]) -> None:
        """Progress below the list, and on the step's button."""
        done, total = self._review.reviewed
        text = _("{done} of {total} decided").format(done=done, total=total) if total else ""
        minutes = self._review.minutes_left
        if total and done < total and minutes is not None:
            left = (
                _("about {minutes} min left").format(minutes=round(minutes)) if minutes >= 1 else _("under 1 min left")
            )
            text = f"{text}, {left}"
        self.progress_text = text
        self._progress.show(text)
        if total and done == total:
            state = StepState(_("done"), Mark.DONE)
        else:
            state = StepState(_("{done} of {total}").format(done=done, total=total) if total else "")
        self._panel.steps.tell(Step.REVIEW, state)

    def _update_buttons(self, rows: list[Region]) -> None:
        ui, case = self._ui, self._review.case
        row = next((row for row in rows if row.number == self._review.current), None)
        for button in (ui.nextButton, ui.previousButton):
            button.enabled = bool(rows)
        for button in (ui.acceptButton, ui.skipButton):
            button.enabled = row is not None
        ui.reopenButton.enabled = row is not None and row.state is not RegionState.OPEN
        ui.editButton.enabled = case is not None and case.has_ct and not case.is_preview

    def _show_face(self) -> None:
        """The button *Edit* is down while the editor is in front of the list."""
        self.alternatives.let_go()
        self._ui.editButton.setChecked(self._is_editing)

    @property
    def _is_editing(self) -> bool:
        return bool(self._ui.reviewFaces.currentWidget() == self._ui.editingFace)

    def _on_edit(self) -> None:
        if self._is_editing:
            self._ui.editDoneButton.click()
        else:
            self._panel.edit_region()
        self._show_face()

    def _show_menu(self) -> None:
        """What is rarely changed about the views."""
        if self._panel.parameter_node is None:
            return
        button = self._ui.viewMenuButton
        self.view_menu.clear()
        self.heat_map.add_entries(self.view_menu)
        self.view_menu.addSeparator()
        self.view_3d.add_entries(self.view_menu)
        self.view_menu.popup(button.mapToGlobal(qt.QPoint(0, button.height)))

    def _do(self, step: Callable[[], object]) -> None:
        try:
            step()
        except ActiveSegError as error:
            self._panel.show_error(error)
        self._remember_views()
        self._panel.region_changed()
        self.update_regions()

    def _go_to(self, number: int) -> None:
        self._do(lambda: self._review.go_to(number))

    def _decide(self, decision: Callable[[], None]) -> None:
        """Accept or skip, then on to the next region of the list that is open."""
        shown = self._shown  # before: what is decided may be filtered out
        done_before, total = self._review.reviewed

        def decide_and_go_on() -> None:
            decision()
            self._review.next_open(shown)

        self._do(decide_and_go_on)
        self.undoing.note_decision()
        self.undoing.update()
        self._panel.region_reviewed()
        done, _total = self._review.reviewed
        if done == total and done_before < total:
            self._offer_export()
        elif not any(row.state is RegionState.OPEN and row.number in shown for row in self._review.rows()):
            self._offer_hidden(total - done)
        else:
            self.spread.offer_once(self._review.rows())

    def _reopen(self) -> None:
        self._do(self._review.reopen)
        self.undoing.note_decision()
        self.undoing.update()
        self._panel.region_reviewed()

    def _decision_changed(self) -> None:
        """A decision was undone or redone."""
        self._remember_views()
        self._panel.region_changed()
        self.update_regions()
        self._panel.region_reviewed()

    def _offer_export(self) -> None:
        """All are decided: the next step, as a button."""
        states = [row.state for row in self._review.rows()]
        told = _(
            "All {total} regions are decided: {accepted} accepted, {corrected} corrected, {skipped} skipped."
        ).format(
            total=len(states),
            accepted=states.count(RegionState.ACCEPTED),
            corrected=states.count(RegionState.CORRECTED),
            skipped=states.count(RegionState.SKIPPED),
        )
        export: tuple[str, Callable[[], None]] = Step.EXPORT.label(), lambda: self._panel.steps.show(Step.EXPORT)
        self._panel.message.notice(told, *export, *self.spread.offers(self._review.rows()))

    def _offer_hidden(self, count: int) -> None:
        """What is shown is decided, and the filters hide the rest."""
        if count:
            told = _("The regions that are shown are decided; {count} more are hidden by the filters.")
            self._panel.message.notice(told.format(count=count), _("Show all"), self.table.show_all)

    def _take(self, index: int) -> None:
        try:
            self._panel.write(lambda logic, save: self._review.take(index, logic, save))
        except ActiveSegError as error:
            self._panel.show_error(error)
        else:
            self.prompting.forget()
        self.alternatives.forget()
        self.update_regions()

    def _answered(self) -> None:
        """To the user's prompts: the first alternative, outlined at once."""
        answer = self._panel.logic.refining.answer
        if answer is self._answer:
            return
        self._answer = answer
        self._review.offer(answer)
        self.alternatives.forget()
        self.alternatives.update()
        if answer is not None:
            self.alternatives.choose_first()
            if not self._panel.steps.is_busy:
                self._ui.alternativesList.setFocus()  # Return takes it

    def _prompted_in(self, number: int) -> None:
        """The user has clicked in another region: that one is meant; the views stay."""
        self._do(lambda: self._review.go_to(number, show=False))

    def _relisted(self) -> None:
        """Another list of regions was found."""
        self._review.forget_region()
        self.update()


def _unusual(case: Case | None, chosen: Node) -> str:
    """Why there is nothing to review, or not in the usual way; empty when all is as usual."""
    if case is None and chosen is None:
        return _("There is no segmentation of this CT to review yet.")
    if case is None:
        text = _("'{name}' was not made by ActiveSeg: there are no regions to review. Choose another one, or segment.")
        return text.format(name=chosen.GetName())
    if not case.has_ct:
        return _("The CT of '{name}' is no longer in the scene. Load the same CT again to go on.").format(
            name=case.name
        )
    if case.is_preview:
        return _("This is a quick preview by a coarser model. It can be neither reviewed, edited nor exported.")
    if case.origin is not None and case.regions is None:
        text = _("'{case}' comes from a dataset and has no regions to review. Press Edit to correct it.")
        return text.format(case=case.origin["case"])
    if case.regions is not None and not case.regions.regions:
        return _("No region to review was found. Press Edit to correct the segmentation.")
    return ""

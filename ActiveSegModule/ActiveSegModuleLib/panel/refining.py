"""Prompts: one click or stroke in a slice view, and the line that says what it is about and what became of it."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError, InputError
from activeseg.core.geometry import Box
from activeseg.core.prompt import Prompt, PromptKind

from ..engine.signals import connect, timer
from ..logic.case_session import cannot_ask
from ..logic.refining import AUTO, Place, place_of
from ..scene.case import Case
from ..scene.prompts import Drawn, PromptMarks, SliceDrawing, voxels_of
from ..slicer_types import Node, Widget
from .elided import ElidedText
from .prompt_structure import PromptStructure
from .refining_texts import cannot_ask_text, kind_text, prompts_text, refiner_text, waiting_text
from .section import Panel
from .slice_views import interactors_of, show_cross, slice_views
from .steps import Step

SLOW_AFTER_MS = 1_000
"""Then it is said that an answer is being computed, with a way to end it."""


class Prompting:
    """The buttons *Click* and *Not this* wait for one click each; the clicks of a region refine one answer."""

    def __init__(self, panel: Panel, answered: Callable[[], None], turn_to: Callable[[int], None]) -> None:
        """
        Parameters
        ----------
        answered
            There is another answer, or none any more
        turn_to
            Makes the region of that number the current one and leaves the views
        """
        self._panel = panel
        self._ui = ui = panel.ui
        self._review, self._refining = panel.logic.review, panel.logic.refining
        self._answered, self._turn_to = answered, turn_to
        self._marks = PromptMarks(panel.scene)
        self._kind = PromptKind.POINT
        self._include = True
        self._drawing: SliceDrawing | None = None
        self._views: list[Widget] = []
        self._layout: tuple[Node, int] | None = None
        self._is_slow = False
        self._slow = timer(qt, SLOW_AFTER_MS, self._say_slow, once=True)
        self._rearm = timer(qt, 0, self._arm_again, once=True)
        self._line = ElidedText(ui.promptLabel)
        self._structure = PromptStructure(ui, self._review)
        self._menu = qt.QMenu(ui.promptButton)
        ui.promptButton.setMenu(self._menu)
        ui.promptStrip.setVisible(False)
        connect(self._menu, "aboutToShow()", self._fill_menu)
        connect(ui.promptButton, "clicked()", lambda: self._on_button(include=True))
        connect(ui.promptNotButton, "clicked()", lambda: self._on_button(include=False))
        connect(ui.promptCancelButton, "clicked()", self._on_cancel)
        connect(ui.promptBackButton, "clicked()", self._refining.remove_last)
        connect(ui.promptClearButton, "clicked()", self.forget)
        panel.steps.follow(self._on_page)
        self._refining.follow(self._changed, self._failed)

    @property
    def is_armed(self) -> bool:
        """Whether the next click in a slice view is a prompt."""
        return self._drawing is not None

    def update(self) -> None:
        """Follow the case and its current region: prompts belong to one of them."""
        ui, case = self._ui, self._review.case
        place = self._refining.place
        if place is not None and (place.case, place.region) != (case, self._review.current):
            self.forget()
        reason = cannot_ask(case)
        for button, tip in (
            (ui.promptButton, _("The next click in a view says: this belongs to the structure (M)")),
            (
                ui.promptNotButton,
                _("The next click in a view says: this does not belong to it (Shift+M)"),
            ),
        ):
            button.enabled = reason is None
            button.setToolTip(tip if reason is None else f"{tip}. {cannot_ask_text(reason)}")
        if reason is not None:
            self.disarm()
        elif case is not None and case.has_ct:
            self._marks.follow(case.ct_node)
        self._structure.update(case)
        self._show()

    def forget(self) -> None:
        """No prompts any more, and no answer."""
        self.disarm()
        if self._refining.prompts:
            self._refining.forget()
        self._marks.clear()

    def close(self) -> None:
        """The panel goes away."""
        self.forget()
        self._refining.follow(lambda: None, lambda _error: None)
        for due in (self._slow, self._rearm):
            due.stop()

    def disarm(self) -> None:
        """The next click is an ordinary one."""
        if self._drawing is not None:
            self._drawing.close()
            show_cross(self._views, False)
            self._drawing, self._views = None, []
            self._marks.drop()
        if self._layout is not None:
            node, tag = self._layout
            node.RemoveObserver(tag)
            self._layout = None
        self._show()

    def _on_page(self) -> None:
        """Another page may be shown: the answer would not be seen."""
        steps = self._panel.steps
        if steps.current is not Step.REVIEW or steps.shows_settings:
            self.disarm()

    # Waiting for a click.

    def _on_button(self, include: bool) -> None:
        if self.is_armed and self._include == include:
            self.disarm()
        else:
            self._arm(include)

    def _arm(self, include: bool) -> None:
        """The editor gives way to the list, where the answer will be."""
        self.disarm()
        case = self._review.case
        views = slice_views()
        if case is None or cannot_ask(case) is not None:
            return
        if not views:
            self._panel.show_error(InputError("No slice view is shown.", "Choose a layout with slice views."))
            return
        if self._ui.reviewFaces.currentWidget() == self._ui.editingFace:
            self._ui.editDoneButton.click()
        self._include, self._views = include, views
        self._drawing = SliceDrawing(interactors_of(views), self._kind, self._drawn, self._growing)
        show_cross(views, True)
        self._observe_layout()
        self._refining.warm(case, self._region_box(case))
        self._show()

    def _observe_layout(self) -> None:
        """Another layout may bring other views."""
        node = self._panel.scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if node is not None:
            self._layout = node, node.AddObserver("ModifiedEvent", lambda *_: self._rearm.start())

    def _arm_again(self) -> None:
        if self.is_armed and slice_views() != self._views:
            self._arm(self._include)

    def _region_box(self, case: Case) -> Box | None:
        table, current = case.regions, self._review.current
        return table.region(current).box_kji if table is not None and current is not None else None

    def _growing(self, drawn: Drawn) -> None:
        case = self._review.case
        if case is not None and case.has_ct:
            self._marks.grow(case.ct_node, self._kind, drawn, self._include and not drawn.with_shift)

    def _drawn(self, drawn: Drawn) -> None:
        """One click, and the mouse is Slicer's again."""
        kind, include = self._kind, self._include and not drawn.with_shift
        self.disarm()
        self._prompt(kind, drawn, include, bool(self._ui.promptBeyondBox.checked))

    def _prompt(self, kind: PromptKind, drawn: Drawn, include: bool, beyond: bool) -> None:
        case = self._review.case
        if case is None or not case.has_ct:
            return
        try:
            points = voxels_of(drawn, kind, case.ct_node)
            prompt = Prompt(kind, self._structure.named(case, points, include), points, include)
            place, prompt = place_of(case, self._review.current, prompt, beyond)
        except InputError as error:
            if error.details.get("outside"):
                self._panel.message.notice(
                    _("That lies outside of the region's frame, and of all other regions."),
                    _("Answer there"),
                    lambda: self._prompt(kind, drawn, include, beyond=True),
                )
            else:
                self._panel.show_error(error)
            return
        self._ask(place, prompt, kind, drawn)

    def _ask(self, place: Place, prompt: Prompt, kind: PromptKind, drawn: Drawn) -> None:
        if place.region is not None and place.region != self._review.current:
            self._turn_to(place.region)
        if not self._refining.goes_on(place, prompt):
            self.forget()
        self._marks.add(place.case.ct_node, kind, drawn, prompt.include)
        self._refining.add(place, prompt)

    # What became of it.

    def _changed(self) -> None:
        """Other prompts, another answer, or one is being computed."""
        refining = self._refining
        while len(self._marks.nodes) > len(refining.prompts):
            self._marks.remove_last()
        if refining.is_asking and not self._is_slow:
            if not self._slow.isActive():
                self._slow.start()
        elif not refining.is_asking:
            self._slow.stop()
            self._is_slow = False
        self._answered()
        self._show()

    def _failed(self, error: ActiveSegError) -> None:
        self.disarm()
        self._panel.show_error(error)

    def _say_slow(self) -> None:
        self._is_slow = self._refining.is_asking
        self._show()

    def _on_cancel(self) -> None:
        if self.is_armed:
            self.disarm()
        else:
            self._refining.cancel()

    def _show(self) -> None:
        """The buttons, and the line below the list: it is there while it says something."""
        ui, refining = self._ui, self._refining
        armed, asking, count = self.is_armed, refining.is_asking, len(refining.prompts)
        self._name_button(kind_text(self._kind))
        ui.promptButton.setChecked(armed and self._include)
        ui.promptNotButton.setChecked(armed and not self._include)
        for widget, shown in (
            (ui.promptStructure, armed),
            (ui.promptBeyondBox, armed and self._review.current is not None),
            (ui.promptBackButton, bool(count) and not armed and not asking),
            (ui.promptClearButton, bool(count) and not armed and not asking),
            (ui.promptCancelButton, armed or self._is_slow),
            (ui.promptStrip, armed or bool(count)),
        ):
            if bool(widget.isHidden()) == shown:
                widget.setVisible(shown)
        if armed:
            text = waiting_text(self._kind)
        elif asking:
            text = _("Computing...") if self._is_slow else ""
        elif count:
            text = prompts_text(count, refining.prompts[-1].structure)
        else:
            text = ""
        self._line.show(text)

    def _name_button(self, text: str) -> None:
        """Qt takes a button's key away when its text is set."""
        button = self._ui.promptButton
        if button.text != text:
            key = qt.QKeySequence(button.shortcut)
            button.setText(text)
            button.setShortcut(key)

    def _fill_menu(self) -> None:
        """The kinds of prompts; who answers them, where there is a choice."""
        menu, case = self._menu, self._review.case
        menu.clear()
        for kind in PromptKind:
            entry = menu.addAction(kind_text(kind))
            entry.setCheckable(True)
            entry.setChecked(kind is self._kind)
            connect(entry, "triggered()", lambda kind=kind: self._choose_kind(kind))
        refiners = self._refining.refiners(case) if case is not None else ()
        if len(refiners) > 1:
            menu.addSeparator()
            for name in (AUTO, *refiners):
                entry = menu.addAction(refiner_text(name))
                entry.setCheckable(True)
                entry.setChecked(name == self._refining.refiner)
                connect(entry, "triggered()", lambda name=name: self._choose_refiner(name))

    def _choose_kind(self, kind: PromptKind) -> None:
        self._kind = kind
        self._arm(include=True)

    def _choose_refiner(self, name: str) -> None:
        self._refining.refiner = name

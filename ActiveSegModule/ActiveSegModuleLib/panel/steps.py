"""The row of four steps at the top of the panel, and the one page that is shown below it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import qt
import slicer
from slicer.i18n import tr as _

from ..engine.signals import connect
from ..slicer_types import Widget, Widgets
from .message import Message

TYPING = ("QLineEdit", "QTextEdit", "QPlainTextEdit", "QAbstractSpinBox")


class Step(Enum):
    """A page that the user works on, in the order of the work."""

    SEGMENT = "segment"
    REVIEW = "review"
    EXPORT = "export"
    LEARN = "learn"

    def label(self) -> str:
        """The first line of its button."""
        return {
            Step.SEGMENT: _("Segment"),
            Step.REVIEW: _("Review"),
            Step.EXPORT: _("Export"),
            Step.LEARN: _("Learn"),
        }[self]


class Mark(Enum):
    """The icon of a step."""

    NONE = ""
    DONE = "SP_DialogApplyButton"
    RUNNING = "SP_BrowserReload"
    PROBLEM = "SP_MessageBoxWarning"


@dataclass(frozen=True)
class StepState:
    """The second line of a step's button, two or three words such as *3 of 10*, and its icon."""

    text: str = ""
    mark: Mark = Mark.NONE


class Steps:
    """Which page is shown: the user's choice, or where the work has led, which one click takes back."""

    def __init__(self, ui: Widgets, message: Message, is_painting: Callable[[], bool]) -> None:
        """``is_painting``: whether an effect of the Segment Editor is active."""
        self._ui = ui
        self._message = message
        self._is_painting = is_painting
        self._setup_needed = False
        self._current = Step.SEGMENT
        self._followers: list[Callable[[], None]] = []
        self._states: dict[Step, StepState] = {}
        for step in Step:
            self.tell(step, StepState())
            connect(self._button(step), "clicked()", lambda _on=False, step=step: self.show(step))
        connect(ui.settingsButton, "clicked()", self._on_settings)
        self.show(Step.SEGMENT)

    @property
    def current(self) -> Step:
        """The step that is worked on; also while the settings are in front of it."""
        return self._current

    @property
    def shows_settings(self) -> bool:
        return bool(self._ui.settingsButton.checked)

    def follow(self, changed: Callable[[], None]) -> None:
        """Call a function whenever another page is shown."""
        self._followers.append(changed)

    def show(self, step: Step) -> None:
        """Turn to a step, and away from the settings."""
        self._current = step
        self._ui.settingsButton.setChecked(False)
        self._turn()

    def lead(self, step: Step, told: str) -> None:
        """The work goes on at a step: turn to it, and say so with a way back.

        While the user types or paints nothing moves: the message offers the step instead.
        """
        before = self._current
        if before is step and not self.shows_settings:
            if told:
                self._message.notice(told)
        elif self.is_busy:
            self._message.notice(told, step.label(), lambda: self.show(step))
        else:
            self.show(step)
            back = _("Back to {step}").format(step=before.label())
            self._message.passing(told, back, lambda: self.show(before))

    def show_settings(self, widget: Widget = None) -> None:
        """Bring the settings forward; ``widget`` of them gets the focus."""
        self._ui.settingsButton.setChecked(True)
        self._turn()
        if widget is not None:
            widget.setFocus()

    def set_setup_needed(self, needed: bool) -> None:
        """Whether the card that installs the engine takes the place of the form *Segment*."""
        if needed != self._setup_needed:
            self._setup_needed = needed
            self._turn()

    def tell(self, step: Step, state: StepState) -> None:
        """Show how a step stands."""
        if self._states.get(step) == state:
            return
        self._states[step] = state
        button = self._button(step)
        button.setText("\n".join(filter(None, (step.label(), state.text))))
        icon = qt.QIcon()
        if state.mark is not Mark.NONE:
            icon = slicer.app.style().standardIcon(getattr(qt.QStyle, state.mark.value))
        button.setIcon(icon)

    def state(self, step: Step) -> StepState:
        """What was told of a step last."""
        return self._states[step]

    @property
    def is_busy(self) -> bool:
        """Whether a page that turns by itself would take something out of the user's hands."""
        focus = qt.QApplication.focusWidget()
        typing = focus is not None and any(focus.inherits(name) for name in TYPING) and self._is_ours(focus)
        buttons = qt.QApplication.mouseButtons()
        pressed = int(getattr(buttons, "value", buttons)) != 0  # a number in PythonQt
        return bool(typing or self._is_painting() or pressed)

    def _is_ours(self, widget: Widget) -> bool:
        """Whether a widget that has the focus would lose it: it is on the page that is shown."""
        return bool(self._ui.pages.isAncestorOf(widget)) and not getattr(widget, "readOnly", False)

    def _button(self, step: Step) -> Widget:
        ui = self._ui
        return {
            Step.SEGMENT: ui.segmentStep,
            Step.REVIEW: ui.reviewStep,
            Step.EXPORT: ui.exportStep,
            Step.LEARN: ui.learnStep,
        }[step]

    def _page(self) -> Widget:
        ui = self._ui
        if self.shows_settings:
            return ui.settingsPage
        return {
            Step.SEGMENT: ui.setupPage if self._setup_needed else ui.segmentPage,
            Step.REVIEW: ui.reviewPage,
            Step.EXPORT: ui.exportPage,
            Step.LEARN: ui.learnPage,
        }[self._current]

    def _turn(self) -> None:
        """Show the page. All others count nothing: a stack is as large as the largest page that is not ignored."""
        self._button(self._current).setChecked(True)
        page, focus = self._page(), qt.QApplication.focusWidget()
        if focus is not None and page != self._ui.pages.currentWidget() and self._ui.pages.isAncestorOf(focus):
            self._button(self._current).setFocus()  # Qt would take the first field, as if somebody typed there
        turn_to(self._ui.pages, page)
        for changed in self._followers:
            changed()

    def _on_settings(self) -> None:
        self._turn()


def turn_to(stack: Widget, page: Widget) -> None:
    """Show a page of a QStackedWidget; the pages behind it count nothing in its size."""
    for index in range(stack.count):
        other = stack.widget(index)
        policy = qt.QSizePolicy.Preferred if other is page or other == page else qt.QSizePolicy.Ignored
        other.setSizePolicy(policy, policy)
    stack.setCurrentWidget(page)

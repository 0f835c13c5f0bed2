"""What the user is told, in a bar under the steps: it never takes the focus, never blocks and never covers a page."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError, Crashed

from ..engine.signals import connect, timer
from ..slicer_types import Widgets

Action = Callable[[], None]

EARLIER = 8
PASSES_AFTER_MS = 15_000
"""Of a message that asks nothing of the user: the page gets its room back."""
_LONGEST_ENTRY = 70


def breakable(text: str) -> str:
    """A text whose long paths may be broken where a line ends."""
    for letter in "/\\_":
        text = text.replace(letter, letter + "\u200b")
    return text


class Kind(Enum):
    """Decides the icon of a message."""

    INFORMATION = "SP_MessageBoxInformation"
    WARNING = "SP_MessageBoxWarning"
    ERROR = "SP_MessageBoxCritical"


@dataclass(frozen=True)
class Told:
    """One message: when, what kind, a sentence, and what its button *Details* shows."""

    time: str
    kind: Kind
    text: str
    details: str = ""


class Message:
    """The latest message, with what to do as a button, and the few before it."""

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        self._actions: list[Action | None] = [None, None]
        self._shown: Told | None = None
        self.earlier: deque[Told] = deque(maxlen=EARLIER)  # newest last
        self._followers: list[Action] = []
        self.time_to_read = timer(qt, PASSES_AFTER_MS, self._pass, once=True)
        self._menu = qt.QMenu(ui.messageFrame)
        for label, ignored in ((ui.messageLabel, True), (ui.messageFrame, False)):  # a .ui cannot say heightForWidth
            policy = label.sizePolicy
            policy = policy() if callable(policy) else policy
            if not ignored:
                policy.setVerticalPolicy(qt.QSizePolicy.Fixed)
            policy.setHeightForWidth(True)
            label.setSizePolicy(policy)
        ui.messageLabel.setMinimumHeight(1)  # else a page must be low enough for this text in a column of one word
        connect(ui.messageActionButton, "clicked()", lambda: self._act(0))
        connect(ui.messageOtherButton, "clicked()", lambda: self._act(1))
        connect(ui.messageDetailsButton, "clicked()", self._show_details)
        connect(ui.messageHistoryButton, "clicked()", self._show_earlier)
        connect(ui.messageCloseButton, "clicked()", self.clear)
        self.clear()

    def notice(self, text: str, label: str = "", action: Action | None = None, *also: tuple[str, Action]) -> None:
        """Something that the user should read; ``action`` by a button with ``label``, ``also`` a second button.

        Without a button it passes after a while.
        """
        self._show(Kind.INFORMATION, text, [(label, action), *also], "")
        if action is None:
            self.time_to_read.start()

    def passing(self, text: str, label: str, action: Action) -> None:
        """As ``notice``, of something that can be done without its button, too: it passes after a while."""
        self.notice(text, label, action)
        self.time_to_read.start()

    def warning(self, text: str, label: str = "", action: Action | None = None, details: str = "") -> None:
        """Something that may go wrong, or that is not as the user may think."""
        self._show(Kind.WARNING, text, [(label, action)], details)

    def error(self, error: ActiveSegError, label: str = "", action: Action | None = None) -> None:
        """What failed, why, and what to do next; ``action`` does it, by a button with ``label``."""
        log = error.details.get("log") if isinstance(error, Crashed) else None
        details = "\n".join(log) if log else "\n".join(f"{key}: {value}" for key, value in error.details.items())
        self._show(Kind.ERROR, str(error), [(label, action)], details)

    def follow(self, changed: Action) -> None:
        """Call a function whenever there is another message."""
        self._followers.append(changed)

    def clear(self) -> None:
        """Hide the bar; what it said stays among the earlier messages."""
        self.time_to_read.stop()
        self._ui.messageFrame.setVisible(False)
        self._actions = [None, None]
        self._shown = None

    @property
    def text(self) -> str:
        """What is shown; empty when nothing is."""
        return self._shown.text if self._shown is not None else ""

    def _show(self, kind: Kind, text: str, actions: list[tuple[str, Action | None]], details: str) -> None:
        told = Told(str(qt.QTime.currentTime().toString("HH:mm")), kind, text, details)
        self.earlier.append(told)
        for changed in self._followers:
            changed()
        self._put(told, actions)

    def _put(self, told: Told, actions: list[tuple[str, Action | None]]) -> None:
        ui = self._ui
        self.time_to_read.stop()
        self._shown = told
        self._actions = [*(action for _label, action in actions), None][:2]
        ui.messageIconLabel.setPixmap(
            slicer.app.style().standardIcon(getattr(qt.QStyle, told.kind.value)).pixmap(16, 16)
        )
        ui.messageLabel.setText(breakable(told.text))
        ui.messageHistoryButton.setText(told.time)
        for button, (label, action) in zip(
            (ui.messageActionButton, ui.messageOtherButton), [*actions, ("", None)], strict=False
        ):
            button.setText(label)
            button.setVisible(action is not None)
        ui.messageDetailsButton.setVisible(bool(told.details))
        ui.messageFrame.setVisible(True)

    def _pass(self) -> None:
        if self._ui.messageFrame.underMouse():  # it is being read
            self.time_to_read.start()
        else:
            self.clear()

    def _act(self, which: int) -> None:
        action = self._actions[which]
        self.clear()
        if action is not None:
            action()

    def _show_details(self) -> None:
        if self._shown is not None:
            slicer.util.infoDisplay(self._shown.text, _("Details"), detailedText=self._shown.details)

    def _show_earlier(self) -> None:
        """A menu of the latest messages; one that is chosen is shown again, without its buttons."""
        self._menu.clear()
        for told in reversed(self.earlier):
            text = told.text if len(told.text) <= _LONGEST_ENTRY else f"{told.text[:_LONGEST_ENTRY]}..."
            entry = self._menu.addAction(f"{told.time}  {text}")
            entry.setToolTip(told.text)
            connect(entry, "triggered()", lambda _on=False, told=told: self._put(told, [("", None)]))
        button = self._ui.messageHistoryButton
        self._menu.popup(button.mapToGlobal(qt.QPoint(0, button.height)))

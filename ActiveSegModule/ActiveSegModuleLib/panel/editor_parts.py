"""Slicer's Segment Editor widget, taken apart: effects in one row, their options below the table of segments.

As Slicer lays it out the options stand beside the effects, and the panel becomes 503 pixels wide; so it is 407.
"""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

from ..engine.signals import connect
from ..slicer_types import Node, Scene, Widget, Widgets

EFFECTS = ("Paint", "Erase", "Draw", "Scissors", "Islands", "Smoothing", "Threshold")
"""With the button for none they fill one row."""


class EditorParts:
    """A qMRMLSegmentEditorWidget whose parts lie in the frames of the face *editing*.

    Attributes
    ----------
    widget
        The editor itself; it is hidden, and works
    table
        Its qMRMLSegmentsTableView
    options
        The group box that holds what the active effect offers
    """

    def __init__(self, ui: Widgets, node: Node, scene: Scene) -> None:
        """The editor node must be in the scene."""
        self._ui = ui
        self.widget = _configured(ui.editingFace, node, scene)
        find = slicer.util.findChild  # all are found before one is moved: afterwards they are no children of it
        effects, undo, self.table, self.options, help_text = (
            find(self.widget, name)
            for name in (
                "EffectsGroupBox",
                "UndoRedoGroupBox",
                "SegmentsTableView",
                "OptionsGroupBox",
                "EffectHelpBrowser",
            )
        )
        self.undo_button, self.redo_button = find(undo, "UndoButton"), find(undo, "RedoButton")
        help_text.hide()
        for frame in (effects, undo):
            frame.setFrameShape(qt.QFrame.NoFrame)
        ui.effectsFrame.layout().insertWidget(0, effects)
        ui.effectsFrame.layout().addWidget(undo)
        self.table.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Expanding)
        self.table.setMinimumHeight(int(ui.segmentsFrame.minimumHeight))
        self.table.headerVisible = False
        self.table.statusColumnVisible = False
        ui.segmentsFrame.layout().addWidget(self.table)
        ui.optionsHost.layout().addWidget(self.options)
        self.widget.hide()

        fitting = (qt.QEvent.ShowToParent, qt.QEvent.HideToParent, qt.QEvent.LayoutRequest)
        self._watchers = [_Watcher(self.options, fitting, self._fit), _Watcher(ui.optionsHost, fitting, self._fit)]
        connect(ui.optionsButton, "toggled(bool)", lambda _shown: self._fit())
        self._fit()

    def follow_undo(self, changed: Callable[[], None]) -> None:
        """Call a function whenever the editor can undo or redo something, or no longer can; it has no such signal."""
        events = (qt.QEvent.EnabledChange,)
        self._watchers += [_Watcher(button, events, changed) for button in (self.undo_button, self.redo_button)]

    def can(self, step: str) -> bool:
        """Whether there is something to ``undo`` or to ``redo``."""
        return bool({"undo": self.undo_button, "redo": self.redo_button}[step].isEnabled())

    def forget_steps(self) -> None:
        """Nothing that was done before can be undone any more."""
        self.widget.setUndoEnabled(False)
        self.widget.setUndoEnabled(True)

    def close(self) -> None:
        """The panel goes away."""
        self._watchers.clear()
        self.widget.setActiveEffect(None)
        self.widget.setMRMLScene(None)

    def _fit(self) -> None:
        """Options are as high as they must be, unless that is more than there is; choosing an effect shows them.

        What a QScrollArea asks for stays what it was at first, so the ``.ui`` lets it take all, and this says how much.
        """
        ui, there = self._ui, not self.options.isHidden()
        ui.optionsButton.enabled = there
        unfolded = bool(ui.optionsButton.checked)
        arrow = qt.Qt.DownArrow if unfolded else qt.Qt.RightArrow
        if ui.optionsButton.arrowType != arrow:
            ui.optionsButton.setArrowType(arrow)
        least, wanted = ui.optionsHost.minimumSizeHint, ui.optionsHost.sizeHint
        ui.optionsArea.setMinimumWidth(least.width())
        ui.optionsArea.setMaximumHeight(max(wanted.height(), int(ui.optionsArea.minimumHeight)))
        ui.optionsArea.setVisible(there and unfolded)


class _Watcher(qt.QObject):
    """Calls a function after some of the events of one widget."""

    def __init__(self, widget: Widget, events: tuple[Widget, ...], happened: Callable[[], None]) -> None:
        qt.QObject.__init__(self)
        self._events = events
        self._happened = happened
        widget.installEventFilter(self)

    def eventFilter(self, _widget: Widget, event: Widget) -> bool:  # noqa: N802 - Qt's name
        if event.type() in self._events:
            self._happened()
        return False


def _configured(host: Widget, node: Node, scene: Scene) -> Widget:
    editor = slicer.qMRMLSegmentEditorWidget(host)
    editor.setMaximumNumberOfUndoStates(10)
    editor.setEffectNameOrder(list(EFFECTS))
    editor.unorderedEffectsVisible = False
    editor.setEffectButtonStyle(qt.Qt.ToolButtonIconOnly)
    editor.setEffectColumnCount(len(EFFECTS) + 1)
    editor.setSegmentationNodeSelectorVisible(False)
    editor.setSourceVolumeNodeSelectorVisible(False)
    editor.setAddRemoveSegmentButtonsVisible(False)
    editor.setShow3DButtonVisible(False)
    editor.setSwitchToSegmentationsButtonVisible(False)
    editor.setSpecifyGeometryButtonVisible(False)
    editor.setMaskingSectionVisible(False)
    editor.setAutoShowSourceVolumeNode(False)
    editor.setMRMLSegmentEditorNode(node)  # before the scene, else Slicer warns
    editor.setMRMLScene(scene)
    return editor

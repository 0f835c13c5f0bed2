"""Slicer's Segment Editor widget with Slicer's own editor logic behind it, in the sizes that it has in Slicer.

Its parts have the names that they have in Slicer; ``slicer.util.findChild`` finds them while they are in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from ctk_widgets import ctkCollapsibleGroupBox, ctkFittedTextBrowser
from PySide6 import QtCore, QtGui, QtWidgets
from segments_table import qMRMLSegmentationShow3DButton, qMRMLSegmentsTableView
from widget_parts import PRETENDS, Policy, observe

_Events = slicer.vtkSegmentation
EFFECTS = (
    *("Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices", "Threshold", "Margin"),
    *("Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume"),
)
OPTIONS = {
    "Draw": (256, 43),
    "Threshold": (350, 246),
    "Islands": (371, 184),
    "Paint": (379, 109),
    "Smoothing": (390, 198),
    "Scissors": (398, 204),
    "Erase": (407, 109),
}
"""Least width and height of an effect's options; other effects were not measured and count as *Islands*."""


class _Frame(QtWidgets.QFrame):
    """A part whose least width is ``bare`` pixels, and ``framed`` more as long as it has a frame."""

    __module__ = PRETENDS

    def __init__(self, name: str, bare: int, framed: int, height: int) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setFrameShape(QtWidgets.QFrame.Shape.StyledPanel)
        self._bare, self._framed, self._height = bare, framed, height

    def minimumSizeHint(self) -> QtCore.QSize:  # noqa: N802
        framed = self.frameShape != QtWidgets.QFrame.Shape.NoFrame
        return QtCore.QSize(self._bare + framed * self._framed, self._height)

    sizeHint = minimumSizeHint  # noqa: N815


class _Options(QtWidgets.QGroupBox):
    __module__ = PRETENDS

    def minimumSizeHint(self) -> QtCore.QSize:  # noqa: N802
        return QtCore.QSize(*OPTIONS.get(self.title, OPTIONS["Islands"]))

    sizeHint = minimumSizeHint  # noqa: N815


class Effect:
    """What ``activeEffect()`` gives."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._parameters: dict[str, str] = {}

    def setParameter(self, name: str, value: object) -> None:  # noqa: N802
        self._parameters[name] = str(value)

    setCommonParameter = setParameter  # noqa: N815

    def parameter(self, name: str) -> str:
        return self._parameters.get(name, "")


class qMRMLSegmentEditorWidget(QtWidgets.QWidget):  # noqa: N801
    __module__ = PRETENDS
    CONFIGURATION = frozenset(
        {
            *("setMaximumNumberOfUndoStates", "setEffectButtonStyle", "setAutoShowSourceVolumeNode"),
            *("setSwitchToSegmentationsButtonVisible", "setSpecifyGeometryButtonVisible"),
            *("setupViewObservations", "installKeyboardShortcuts"),
            *("uninstallKeyboardShortcuts", "removeViewObservations"),
        }
    )
    unorderedEffectsVisible = True  # noqa: N815
    logic: Any = None

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._node: Any = None
        self._segmentation: Any = None
        self._source: Any = None
        self._effect: Effect | None = None
        self._order: list[str] = []
        self._columns = 2
        self._build()
        self._observed: list[tuple[Any, int]] = []
        self._show_undo()

    def __getattr__(self, name: str) -> Any:
        if name in qMRMLSegmentEditorWidget.CONFIGURATION:
            return lambda *_: None
        raise AttributeError(f"qMRMLSegmentEditorWidget has no '{name}'")

    # Its look.

    def _build(self) -> None:
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._selectors = QtWidgets.QFrame()
        self._selectors.setMinimumSize(583, 60)
        self._table, hidden = qMRMLSegmentsTableView(), qMRMLSegmentsTableView()
        self._table.setObjectName("SegmentsTableView")
        hidden.setObjectName("SegmentsTableView_2")
        self._table.setSizePolicy(Policy.Expanding, Policy.MinimumExpanding)
        self._buttons = QtWidgets.QWidget()
        self._add, self._remove = self._button("Add"), self._button("Remove")
        self._show3d = qMRMLSegmentationShow3DButton()
        self._show3d.setObjectName("Show3DButton")
        buttons = QtWidgets.QHBoxLayout(self._buttons)
        buttons.setContentsMargins(0, 0, 0, 0)
        for button in (self._add, self._remove, self._show3d):
            buttons.addWidget(button)
        self._effects = _Frame("EffectsGroupBox", 0, 20, 36)
        grid = QtWidgets.QGridLayout(self._effects)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSizeConstraint(QtWidgets.QLayout.SizeConstraint.SetNoConstraint)
        undo = _Frame("UndoRedoGroupBox", 53, 18, 36)
        row = QtWidgets.QHBoxLayout(undo)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSizeConstraint(QtWidgets.QLayout.SizeConstraint.SetNoConstraint)
        self._undo, self._redo = self._button("Undo"), self._button("Redo")
        for button, act in ((self._undo, self.undo), (self._redo, self.redo)):
            button.clicked.connect(act)
            row.addWidget(button)
        self._options = _Options()
        self._options.setObjectName("OptionsGroupBox")
        self._help = ctkFittedTextBrowser()
        self._help.setObjectName("EffectHelpBrowser")
        self._masking = ctkCollapsibleGroupBox()
        self._masking.setObjectName("MaskingGroupBox")
        self._masking.title = "Masking"
        beside = self._beside = QtWidgets.QGridLayout()
        beside.addWidget(self._effects, 0, 0)
        beside.addWidget(undo, 1, 0, 1, 2)
        beside.addWidget(self._options, 0, 1)
        beside.addItem(QtWidgets.QSpacerItem(71, 0), 2, 1)
        for part in (self._selectors, self._buttons, self._table, hidden):
            column.addWidget(part)
        column.addLayout(beside)
        column.addWidget(self._help)
        column.addWidget(self._masking)
        for part in (hidden, self._options, self._help):
            part.hide()
        self._show_effects()

    def _button(self, text: str) -> QtWidgets.QToolButton:
        button = QtWidgets.QToolButton()
        button.setObjectName(f"{text}Button")
        button.setIcon(QtGui.QIcon(_letter(text)))
        button.setToolTip(text)
        return button

    def _show_effects(self) -> None:
        layout = self._effects.layout()
        while layout.count():
            before = layout.takeAt(0).widget()
            before.setParent(None)
            before.deleteLater()
        others = [name for name in EFFECTS if name not in self._order] if self.unorderedEffectsVisible else []
        names = ["None", *(name for name in self._order if name in EFFECTS), *others]
        for place, name in enumerate(names):
            button = self._button(name)
            button.setObjectName(name)
            button.setCheckable(True)
            button.setFixedSize(30, 30)
            button.clicked.connect(lambda _checked=False, name=name: self.setActiveEffectByName(name))
            layout.addWidget(button, place // self._columns, place % self._columns)
        rows = -(-len(names) // self._columns)
        self._effects._bare, self._effects._height = 35 * self._columns, 36 * rows
        self._effects.updateGeometry()

    def _show_undo(self) -> None:
        self._undo.setEnabled(bool(self.logic.CanUndo()))
        self._redo.setEnabled(bool(self.logic.CanRedo()))

    def setEffectNameOrder(self, names: list[str]) -> None:  # noqa: N802
        self._order = list(names)
        self._show_effects()

    def setEffectColumnCount(self, columns: int) -> None:  # noqa: N802
        self._columns = columns
        self._show_effects()

    def setSegmentationNodeSelectorVisible(self, visible: bool) -> None:  # noqa: N802
        self._selectors.setVisible(visible)

    def setSourceVolumeNodeSelectorVisible(self, visible: bool) -> None:  # noqa: N802
        self._selectors.setVisible(visible)

    def setAddRemoveSegmentButtonsVisible(self, visible: bool) -> None:  # noqa: N802
        for button in (self._add, self._remove):
            button.setVisible(visible)

    def setShow3DButtonVisible(self, visible: bool) -> None:  # noqa: N802
        self._show3d.setVisible(visible)

    def setMaskingSectionVisible(self, visible: bool) -> None:  # noqa: N802
        self._masking.setVisible(visible)

    # Effects.

    def activeEffect(self) -> Effect | None:  # noqa: N802
        return self._effect

    def setActiveEffect(self, effect: Effect | None) -> None:  # noqa: N802
        self._effect = effect
        self._options.title = effect.name if effect is not None else ""
        self._options.setVisible(effect is not None)
        for layout in (self._beside, self.layout(), self._options.parentWidget().layout()):
            layout.invalidate()  # Qt does it for what is visible

    def setActiveEffectByName(self, name: str) -> None:  # noqa: N802
        if name in (*EFFECTS, "", "None"):
            self.setActiveEffect(Effect(name) if name in EFFECTS else None)

    # The scene.

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        assert self._node is not None or scene is None, "the node comes first"
        self.logic.SetMRMLScene(scene)
        self._table.setMRMLScene(scene)
        if scene is not None:
            self.logic.SetSegmentEditorNode(self._node)
            observe(scene, scene.EndCloseEvent, self, "_forget")

    def setMRMLSegmentEditorNode(self, node: Any) -> None:  # noqa: N802
        self._node = node
        self.logic.SetSegmentEditorNode(node)

    def mrmlSegmentEditorNode(self) -> Any:  # noqa: N802
        return self._node

    def setSegmentationNode(self, node: Any) -> None:  # noqa: N802
        for segmentation, tag in self._observed:
            segmentation.RemoveObserver(tag)
        segmentation = node.GetSegmentation() if node is not None else None
        events = (_Events.SourceRepresentationModified, _Events.RepresentationModified, _Events.SegmentModified)
        tags = [observe(segmentation, event, self, "_show_undo") for event in events] if node is not None else []
        self._observed = [(segmentation, tag) for tag in tags]
        self._segmentation = node
        self.logic.SetSegmentationNode(node)
        self._table.setSegmentationNode(node)
        self._show_undo()

    def segmentationNode(self) -> Any:  # noqa: N802
        return self._present(self._segmentation)

    def setSourceVolumeNode(self, node: Any) -> None:  # noqa: N802
        self._source = node
        self.logic.SetSourceVolumeNode(node)

    def sourceVolumeNode(self) -> Any:  # noqa: N802
        return self._present(self._source)

    def setCurrentSegmentID(self, segment_id: str) -> None:  # noqa: N802
        self.logic.SetCurrentSegmentID(segment_id)
        self._table.setSelectedSegmentIDs([segment_id])

    def currentSegmentID(self) -> str:  # noqa: N802
        return str(self.logic.GetCurrentSegmentID())

    def setUndoEnabled(self, enabled: bool) -> None:  # noqa: N802
        if not enabled:
            self.logic.ClearUndoState()
        self._show_undo()

    def saveStateForUndo(self) -> None:  # noqa: N802
        self._stepped(self.logic.SaveStateForUndo)

    def undo(self) -> None:
        self._stepped(self.logic.Undo)

    def redo(self) -> None:
        self._stepped(self.logic.Redo)

    def _stepped(self, step: Callable[[], object]) -> None:
        step()
        self._show_undo()

    def _present(self, node: Any) -> Any:
        return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None

    def _forget(self) -> None:
        self._segmentation = self._source = None
        self._table.setSegmentationNode(None)


def _letter(text: str) -> QtGui.QPixmap:
    """In place of an icon, which only Slicer has."""
    picture = QtGui.QPixmap(16, 16)
    picture.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(picture)
    painter.setPen(QtWidgets.QApplication.palette().color(QtGui.QPalette.ColorRole.ButtonText))
    painter.drawText(picture.rect(), QtCore.Qt.AlignmentFlag.AlignCenter, text[:2])
    painter.end()
    return picture

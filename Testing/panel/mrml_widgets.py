"""Slicer's own widgets as far as the panel uses them, on PySide6 and the real scene. Anything else raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

PRETENDS = "PySide6.stand_in"  # so that signals are connected as PySide6's


def _observe(scene: Any, event: int, function: Callable[[], None]) -> None:
    scene.AddObserver(event, lambda *_: function())


class qMRMLWidget(QtWidgets.QWidget):  # noqa: N801
    __module__ = PRETENDS
    mrmlSceneChanged = QtCore.Signal(object)  # noqa: N815

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        self.mrmlSceneChanged.emit(scene)


class _Proxy:
    def __init__(self, changed: Callable[[], None]) -> None:
        self._hidden: list[str] = []
        self._changed = changed

    @property
    def hiddenNodeIDs(self) -> list[str]:  # noqa: N802
        return self._hidden

    @hiddenNodeIDs.setter
    def hiddenNodeIDs(self, ids: list[str]) -> None:  # noqa: N802
        self._hidden = list(ids)
        self._changed()


class qMRMLNodeComboBox(QtWidgets.QWidget):  # noqa: N801
    __module__ = PRETENDS
    currentNodeChanged = QtCore.Signal(object)  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._current: Any = None
        self._attributes: list[tuple[str, str]] = []
        self._proxy = _Proxy(lambda: None)

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        self._scene = scene
        _observe(scene, scene.NodeRemovedEvent, self._look)

    def addAttribute(self, class_name: str, attribute: str, value: Any = None) -> None:  # noqa: N802
        self._attributes.append((class_name, attribute))

    def sortFilterProxyModel(self) -> _Proxy:  # noqa: N802
        return self._proxy

    def currentNode(self) -> Any:  # noqa: N802
        return self._current

    def setCurrentNode(self, node: Any) -> None:  # noqa: N802
        if node is not self._current:
            self._current = node if node is not None and self._offers(node) else None
            self.currentNodeChanged.emit(self._current)

    def _offers(self, node: Any) -> bool:
        types = self.property("nodeTypes")
        return (
            node.GetClassName() in types
            and not node.GetHideFromEditors()
            and node.GetID() not in self._proxy.hiddenNodeIDs
            and all(node.GetAttribute(attribute) is not None for _, attribute in self._attributes)
        )

    def _look(self) -> None:
        if self._current is not None and not self._scene.IsNodePresent(self._current):
            self._current = None
            self.currentNodeChanged.emit(None)


class ctkCollapsibleButton(QtWidgets.QWidget):  # noqa: N801
    __module__ = PRETENDS
    contentsCollapsed = QtCore.Signal(bool)  # noqa: N815

    def _get(self) -> bool:
        return getattr(self, "_collapsed", False)

    def _set(self, collapsed: bool) -> None:
        if collapsed != self._get():
            self._collapsed = collapsed
            self.contentsCollapsed.emit(collapsed)

    def _get_text(self) -> str:
        return getattr(self, "_text", "")

    def _set_text(self, text: str) -> None:
        self._text = text

    collapsed = QtCore.Property(bool, _get, _set)
    text = QtCore.Property(str, _get_text, _set_text)


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):  # noqa: N801
    __module__ = PRETENDS


class ctkSliderWidget(QtWidgets.QWidget):  # noqa: N801
    __module__ = PRETENDS
    valueChanged = QtCore.Signal(float)  # noqa: N815

    def _get(self) -> float:
        return getattr(self, "_value", 0.0)

    def _set(self, value: float) -> None:
        if value != self._get():
            self._value = float(value)
            self.valueChanged.emit(self._value)

    value = QtCore.Property(float, _get, _set)


class qMRMLSegmentEditorWidget(QtWidgets.QWidget):  # noqa: N801
    """With Slicer's own editor logic behind it."""

    __module__ = PRETENDS
    CONFIGURATION = frozenset(
        {
            *("setMaximumNumberOfUndoStates", "setEffectNameOrder", "setEffectButtonStyle", "setEffectColumnCount"),
            *("setSegmentationNodeSelectorVisible", "setSourceVolumeNodeSelectorVisible"),
            *("setAddRemoveSegmentButtonsVisible", "setSwitchToSegmentationsButtonVisible"),
            *("setSpecifyGeometryButtonVisible", "setShow3DButtonVisible", "setMaskingSectionVisible"),
            *("setAutoShowSourceVolumeNode", "setupViewObservations", "installKeyboardShortcuts"),
            *(
                "uninstallKeyboardShortcuts",
                "removeViewObservations",
                "setActiveEffect",
                "setActiveEffectByName",
                "activeEffect",
            ),
        }
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.unorderedEffectsVisible = True
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._node: Any = None
        self._segmentation: Any = None
        self._source: Any = None

    def __getattr__(self, name: str) -> Any:
        if name in qMRMLSegmentEditorWidget.CONFIGURATION:
            return lambda *_: None
        raise AttributeError(f"qMRMLSegmentEditorWidget has no '{name}'")

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        assert self._node is not None or scene is None, "the node comes first"
        self.logic.SetMRMLScene(scene)
        if scene is not None:
            self.logic.SetSegmentEditorNode(self._node)
            _observe(scene, scene.EndCloseEvent, self._forget)

    def setMRMLSegmentEditorNode(self, node: Any) -> None:  # noqa: N802
        self._node = node
        self.logic.SetSegmentEditorNode(node)

    def mrmlSegmentEditorNode(self) -> Any:  # noqa: N802
        return self._node

    def setSegmentationNode(self, node: Any) -> None:  # noqa: N802
        self._segmentation = node
        self.logic.SetSegmentationNode(node)

    def segmentationNode(self) -> Any:  # noqa: N802
        present = self._segmentation is not None and slicer.mrmlScene.IsNodePresent(self._segmentation)
        return self._segmentation if present else None

    def setSourceVolumeNode(self, node: Any) -> None:  # noqa: N802
        self._source = node
        self.logic.SetSourceVolumeNode(node)

    def sourceVolumeNode(self) -> Any:  # noqa: N802
        present = self._source is not None and slicer.mrmlScene.IsNodePresent(self._source)
        return self._source if present else None

    def setCurrentSegmentID(self, segment_id: str) -> None:  # noqa: N802
        self.logic.SetCurrentSegmentID(segment_id)

    def currentSegmentID(self) -> str:  # noqa: N802
        return str(self.logic.GetCurrentSegmentID())

    def setUndoEnabled(self, enabled: bool) -> None:  # noqa: N802
        if not enabled:
            self.logic.ClearUndoState()

    def saveStateForUndo(self) -> None:  # noqa: N802
        self.logic.SaveStateForUndo()

    def undo(self) -> None:
        self.logic.Undo()

    def redo(self) -> None:
        self.logic.Redo()

    def _forget(self) -> None:
        self._segmentation = self._source = None


class qMRMLPlotWidget(QtWidgets.QWidget):  # noqa: N801
    """What a chart's view is, without drawing."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._view: Any = None
        self.fitted = 0

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        pass

    def setMRMLPlotViewNode(self, node: Any) -> None:  # noqa: N802
        self._view = node

    def plotController(self) -> Any:  # noqa: N802
        return self

    def plotView(self) -> Any:  # noqa: N802
        return self

    def setVisible(self, visible: bool) -> None:  # noqa: N802
        pass

    def fitToContent(self) -> None:  # noqa: N802
        assert self._view.GetPlotChartNode() is not None, "there is nothing to fit"
        self.fitted += 1


WIDGETS = (qMRMLWidget, qMRMLNodeComboBox, ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkSliderWidget)

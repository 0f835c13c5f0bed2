"""Slicer's own widgets as far as the panel uses them, on PySide6 and the real scene. Anything else raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk_widgets
from PySide6 import QtCore, QtGui, QtWidgets
from segment_editor import qMRMLSegmentEditorWidget
from segments_table import qMRMLSegmentationShow3DButton, qMRMLSegmentsTableView
from widget_parts import PRETENDS, Policy, Sized, observe, row_of


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


class qMRMLNodeComboBox(QtWidgets.QWidget, Sized):  # noqa: N801
    __module__ = PRETENDS
    HINT = LEAST = (163, 26)
    currentNodeChanged = QtCore.Signal(object)  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._current: Any = None
        self._attributes: list[tuple[str, str]] = []
        self._proxy = _Proxy(lambda: None)
        self._shown = QtWidgets.QComboBox()
        self._shown.setSizePolicy(Policy.Ignored, Policy.Fixed)
        self.setSizePolicy(Policy.Preferred, Policy.Fixed)
        self.currentNodeChanged.connect(self._show)
        row_of(self, self._shown)
        self._show()

    sizeHint, minimumSizeHint = Sized.sizeHint, Sized.minimumSizeHint  # noqa: N815

    def _show(self, *_: Any) -> None:
        """The current node's name; Slicer lists the others below it."""
        self._shown.clear()
        self._shown.addItem(self._current.GetName() if self._current is not None else "None")

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        self._scene = scene
        observe(scene, scene.NodeRemovedEvent, self, "_look")

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


class _PlotPart(QtWidgets.QWidget):
    __module__ = PRETENDS


class qMRMLPlotWidget(QtWidgets.QWidget):  # noqa: N801
    """What a chart's view is, without drawing."""

    __module__ = PRETENDS
    fitted = 0

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._view: Any = None
        self._controller = _PlotPart(self)
        self.setAutoFillBackground(True)
        self.setBackgroundRole(QtGui.QPalette.ColorRole.Base)

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        pass

    def setMRMLPlotViewNode(self, node: Any) -> None:  # noqa: N802
        self._view = node

    def plotController(self) -> Any:  # noqa: N802
        return self._controller

    def plotView(self) -> Any:  # noqa: N802
        return self

    def fitToContent(self) -> None:  # noqa: N802
        assert self._view.GetPlotChartNode() is not None, "there is nothing to fit"
        self.fitted += 1


IN_FILES = (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentsTableView, qMRMLSegmentationShow3DButton, qMRMLPlotWidget)
"""Those that a ``.ui`` file may name."""
WIDGETS = (*IN_FILES, qMRMLSegmentEditorWidget)
"""What the module ``slicer`` has."""
ALL_IN_FILES = (*IN_FILES, *ctk_widgets.IN_FILES)

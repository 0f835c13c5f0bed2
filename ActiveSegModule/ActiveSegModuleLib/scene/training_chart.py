"""Loss and Dice of a fine-tuning as a plot chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import slicer
import vtk

from ..slicer_types import Node, Scene

_SERIES = (("loss", (0.85, 0.45, 0.1)), ("mean Dice", (0.18, 0.49, 0.36)))
_NAME = "ActiveSeg training"


class TrainingChart:
    """A table, its series and the chart; made when there is something to show, and again after a scene was closed."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._chart: Node = None
        self._table: Node = None

    @property
    def node(self) -> Node:
        """The vtkMRMLPlotChartNode; None while nothing is shown."""
        present = self._chart is not None and self._scene.IsNodePresent(self._chart)
        return self._chart if present else None

    def show(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        """All epochs so far, of one member after the other; a line needs two points."""
        if len(epochs) < 2:
            return
        if self.node is None:
            self._make()
        table = self._table.GetTable()
        was_modifying = self._table.StartModify()
        table.SetNumberOfRows(len(epochs))
        for row, epoch in enumerate(epochs):
            dice = list((epoch.get("dice") or {}).values())
            values = (row + 1, epoch["loss"], float(np.mean(dice)) if dice else 0.0)
            for column, value in enumerate(values):
                table.SetValue(row, column, vtk.vtkVariant(float(value)))
        table.Modified()
        self._table.EndModify(was_modifying)

    def remove(self) -> None:
        """Take it out of the scene."""
        if self.node is not None:
            for number in range(self._chart.GetNumberOfPlotSeriesNodes() - 1, -1, -1):
                self._scene.RemoveNode(self._chart.GetNthPlotSeriesNode(number))
            self._scene.RemoveNode(self._chart)
        if self._table is not None and self._scene.IsNodePresent(self._table):
            self._scene.RemoveNode(self._table)
        self._chart = self._table = None

    def _make(self) -> None:
        self.remove()
        self._table = self._added("vtkMRMLTableNode", _NAME)
        for name in ("epoch", *(name for name, _ in _SERIES)):
            column = vtk.vtkFloatArray()
            column.SetName(name)
            self._table.GetTable().AddColumn(column)
        self._chart = self._added("vtkMRMLPlotChartNode", _NAME)
        self._chart.SetXAxisTitle("epoch")
        for name, color in _SERIES:
            series = self._added("vtkMRMLPlotSeriesNode", name)
            series.SetAndObserveTableNodeID(self._table.GetID())
            series.SetXColumnName("epoch")
            series.SetYColumnName(name)
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
            series.SetLineWidth(3)
            series.SetColor(*color)
            self._chart.AddAndObservePlotSeriesNodeID(series.GetID())

    def _added(self, kind: str, name: str) -> Node:
        node = self._scene.AddNewNodeByClass(kind, name)
        node.SetSaveWithScene(False)
        return node

"""The uncertainty map as a volume node: a glow over the CT where the model is unsure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from activeseg.core.errors import InputError
from activeseg.core.volume import Volume

from ..slicer_types import Node, Scene
from .hierarchy import place_under
from .placement import put_under_transform_of, vtk_matrix
from .views import composites

NOT_COMPUTED = -1.0
"""Stands for NaN in the node, since histograms and statistics want finite values. Below any threshold: transparent."""

COLORS_NAME = "ActiveSeg uncertainty"
ROLE_ATTRIBUTE = "ActiveSeg.Role"
_MEASURE_ATTRIBUTE = "ActiveSeg.Measure"
_ROLE = "uncertainty"

# Value, red, green, blue: from violet over red to light yellow, of steadily rising lightness, to tell from grey tissue.
_COLOR_STOPS = (
    (0.00, 0.23, 0.06, 0.44),
    (0.25, 0.52, 0.13, 0.42),
    (0.50, 0.85, 0.28, 0.30),
    (0.75, 0.99, 0.58, 0.18),
    (1.00, 0.99, 0.95, 0.60),
)


class UncertaintyVolume:
    """A vtkMRMLScalarVolumeNode of float32 values in 0..1 on the network's own grid, under the CT's transform.

    Attributes
    ----------
    node : the vtkMRMLScalarVolumeNode
    """

    def __init__(self, node: Node) -> None:
        self.node = node

    @classmethod
    def create(
        cls,
        scene: Scene,
        ct_node: Node,
        uncertainty: Volume,
        measure: str,
        threshold: float,
        name: str,
        hidden: bool = False,
    ) -> UncertaintyVolume:
        """Show a map (float, 0..1, NaN where not computed) in colours, transparent below ``threshold``.

        ``hidden``: lists of volumes do not offer it.
        """
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(name)
        node.SetHideFromEditors(hidden)  # this and the role before it is added: else it passes for a CT
        node.SetAttribute(ROLE_ATTRIBUTE, _ROLE)
        node.SetIJKToRASMatrix(vtk_matrix(uncertainty.geometry.ijk_to_ras))
        node = scene.AddNode(node)
        put_under_transform_of(node, ct_node)
        node.CreateDefaultDisplayNodes()  # before the voxels are there, of which it would make a histogram
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID(_colors(scene).GetID())
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(0.0, 1.0)
        display.ApplyThresholdOn()
        display.SetAutoThreshold(False)
        image = vtk.vtkImageData()
        image.SetDimensions(*uncertainty.geometry.shape_kji[::-1])
        image.AllocateScalars(vtk.VTK_FLOAT, 1)
        node.SetAndObserveImageData(image)
        made = cls(node)
        made.set_threshold(threshold)
        made.set_measure(uncertainty.array, measure)
        place_under(scene, ct_node, node)
        return made

    @property
    def measure(self) -> str:
        """``variance``, ``entropy`` or ``mutual_information``."""
        return str(self.node.GetAttribute(_MEASURE_ATTRIBUTE) or "")

    @property
    def threshold(self) -> float:
        """Values below are transparent."""
        return float(self.node.GetDisplayNode().GetLowerThreshold())

    def array(self) -> npt.NDArray[np.float32]:
        """A copy of the map, (k, j, i), float32, NaN where it was not computed."""
        values = self._voxels().copy()
        values[values == np.float32(NOT_COMPUTED)] = np.nan
        return values

    def set_threshold(self, threshold: float) -> None:
        """Values below ``threshold`` (0..1) become transparent. Raises InputError outside of 0..1."""
        if not 0.0 <= threshold <= 1.0:
            raise InputError(f"The threshold is {threshold}; uncertainty lies between 0 and 1.")
        self.node.GetDisplayNode().SetThreshold(threshold, 2.0)  # above all values, so that 1.0 itself stays visible

    def set_measure(self, values: npt.NDArray[Any], measure: str) -> None:
        """Show another measure on the same grid; ``values`` (k, j, i), 0..1, NaN where not computed.

        Raises InputError for another shape, or values outside of 0..1.
        """
        voxels = self._voxels()
        if values.shape != voxels.shape:
            raise InputError(f"The uncertainty map has shape {values.shape}, its grid {voxels.shape}.")
        low, high = np.fmin.reduce(values, axis=None, initial=0), np.fmax.reduce(values, axis=None, initial=0)
        if low < 0 or high > 1 + 1e-3:
            raise InputError(f"Uncertainty lies between 0 and 1; this map has {low:.4g} to {high:.4g}.")
        voxels[...] = values
        voxels[np.isnan(voxels)] = NOT_COMPUTED
        self.node.SetAttribute(_MEASURE_ATTRIBUTE, measure)
        self.node.GetImageData().GetPointData().GetScalars().Modified()
        self.node.GetImageData().Modified()
        self.node.Modified()  # who keeps a copy of the voxels compares the node's time, not the image's
        if self._legend:
            self._legend.SetTitleText(_title(measure))

    def show(self, ct_node: Node, opacity: float = 0.7) -> None:
        """Put this map before the CT in all slice views; ``opacity`` (0..1) is that of what is above the threshold."""
        for composite in composites(self.node.GetScene()):
            composite.SetBackgroundVolumeID(ct_node.GetID())
            composite.SetForegroundVolumeID(self.node.GetID())
            composite.SetForegroundOpacity(opacity)
        self.show_legend(True)

    def set_opacity(self, opacity: float) -> None:
        """Opacity (0..1) of what is above the threshold, in the views that show this map."""
        for composite in composites(self.node.GetScene()):
            if composite.GetForegroundVolumeID() == self.node.GetID():
                composite.SetForegroundOpacity(opacity)

    def hide(self) -> None:
        """Take this map and its legend out of all slice views.

        The foreground is left without opacity: Slicer may put any other volume there, which must not cover the CT.
        """
        self.show_legend(False)
        for composite in composites(self.node.GetScene()):
            if composite.GetForegroundVolumeID() == self.node.GetID():
                composite.SetForegroundOpacity(0.0)
                composite.SetForegroundVolumeID(None)

    def add_legend(self, view_node: Node = None) -> Node:
        """A small colour legend at the right edge, in one view only where ``view_node`` is given. Returns its node."""
        legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(self.node)
        legend.SetTitleText(_title(self.measure))
        legend.SetLabelFormat("%.2f")
        legend.SetNumberOfLabels(5)
        legend.SetSize(0.08, 0.45)
        legend.SetPosition(0.97, 0.5)
        legend.SetVisibility(True)
        if view_node is not None:
            legend.RemoveAllViewNodeIDs()
            legend.AddViewNodeID(view_node.GetID())
        return legend

    @property
    def _legend(self) -> Node:
        return slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(self.node)

    def show_legend(self, visible: bool) -> None:
        """Show or hide the legend, if there is one."""
        if self._legend:
            self._legend.SetVisibility(visible)

    def _voxels(self) -> npt.NDArray[np.float32]:
        image = self.node.GetImageData()
        voxels: npt.NDArray[np.float32] = vtk_to_numpy(image.GetPointData().GetScalars())
        return voxels.reshape(image.GetDimensions()[::-1])


def _title(measure: str) -> str:
    return measure.replace("_", " ").capitalize()


def _colors(scene: Scene) -> Node:
    """The scene's one colour scale for uncertainty."""
    found = scene.GetFirstNodeByName(COLORS_NAME)
    if found is not None and found.IsA("vtkMRMLProceduralColorNode"):
        return found
    colors = slicer.vtkMRMLProceduralColorNode()
    colors.SetName(COLORS_NAME)
    colors.SetAttribute("Category", "ActiveSeg")
    colors.SetHideFromEditors(False)  # hidden ones are not saved with the scene
    for stop in _COLOR_STOPS:
        colors.GetColorTransferFunction().AddRGBPoint(*stop)
    return scene.AddNode(colors)

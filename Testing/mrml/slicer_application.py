"""An application around slicer-core: the scene and logics that Slicer itself would have made."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from activeseg.core.geometry import Geometry

MODULE_LOGICS = {
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Colors": "vtkSlicerColorLogic",
}


@contextmanager
def quiet() -> Iterator[None]:
    """Without VTK's messages: slicer-core complains about files of full Slicer, and VTK about the missing display."""
    shown = vtk.vtkLogger.GetCurrentVerbosityCutoff()
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    try:
        yield
    finally:
        vtk.vtkLogger.SetStderrVerbosity(shown)


@dataclass(frozen=True)
class SlicerCore:
    """``scene`` (vtkMRMLScene), ``app`` (vtkSlicerApplicationLogic) and the logics by module name."""

    scene: Any
    app: Any
    logics: dict[str, Any]

    @classmethod
    def start(cls) -> SlicerCore:
        """A new, empty application."""
        with quiet():
            return cls._started()

    @classmethod
    def _started(cls) -> SlicerCore:
        scene, app = slicer.vtkMRMLScene(), slicer.vtkSlicerApplicationLogic()
        app.SetMRMLScene(scene)
        app.GetColorLogic().SetMRMLScene(scene)
        app.GetColorLogic().AddDefaultColorNodes()
        app.SetSliceLogics(vtk.vtkCollection())
        app.SetViewLogics(vtk.vtkCollection())
        logics = {}
        for name, class_name in MODULE_LOGICS.items():
            logic = getattr(slicer, class_name)()
            logic.SetMRMLScene(scene)
            logic.SetMRMLApplicationLogic(app)
            app.SetModuleLogic(name, logic)
            logics[name] = logic
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        layouts = slicer.vtkMRMLLayoutLogic()
        layouts.SetMRMLScene(scene)
        layouts.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        logics["Layouts"] = layouts
        return cls(scene, app, logics)

    def add_volume(self, array: np.ndarray, geometry: Geometry, name: str = "CT") -> Any:
        """A vtkMRMLScalarVolumeNode with a copy of ``array`` (k, j, i), shown as a CT is (window 400, level 40 HU)."""
        image = vtk.vtkImageData()
        image.SetDimensions(*array.shape[::-1])
        image.AllocateScalars(get_vtk_array_type(array.dtype), 1)
        vtk_to_numpy(image.GetPointData().GetScalars())[...] = array.ravel()
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(geometry.ijk_to_ras.ravel())
        node.SetIJKToRASMatrix(matrix)
        node.SetAndObserveImageData(image)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        display.AutoWindowLevelOff()
        display.SetWindowLevel(400, 40)
        return node

    def add_transform(self, matrix: np.ndarray, parent: Any = None) -> Any:
        """A linear transform node (4 x 4, RAS mm, to its parent)."""
        node = self.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        to_parent = vtk.vtkMatrix4x4()
        to_parent.DeepCopy(np.asarray(matrix, float).ravel())
        node.SetMatrixTransformToParent(to_parent)
        if parent is not None:
            node.SetAndObserveTransformNodeID(parent.GetID())
        return node

    def editor(self, segmentation_node: Any, volume_node: Any) -> Any:
        """A vtkSlicerSegmentEditorLogic set up as the Segment Editor does."""
        logic = slicer.vtkSlicerSegmentEditorLogic()
        logic.SetMRMLScene(self.scene)
        logic.SetMRMLApplicationLogic(self.app)
        logic.SetSegmentEditorNode(self.scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
        logic.SetSegmentationNode(segmentation_node)
        logic.SetSourceVolumeNode(volume_node)
        return logic

    def save(self, path: Path) -> None:
        """Write the scene as .mrb."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.scene.SetURL(str(path.with_suffix(".mrml")))
        self.scene.SetRootDirectory(str(path.parent))
        if not self.scene.WriteToMRB(str(path)):
            raise OSError(f"The scene could not be written to {path}.")

    def load(self, path: Path) -> None:
        """Read a .mrb into the scene, in place of what is there. (ReadFromMRB needs the cache of full Slicer.)"""
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(path) as bundle:
                bundle.extractall(folder)
            (mrml,) = Path(folder).rglob("*.mrml")
            self.scene.Clear(False)
            self.scene.SetURL(str(mrml))
            self.scene.SetRootDirectory(str(mrml.parent))
            if not self.scene.Import():
                raise OSError(f"The scene {path} could not be read.")

    def node(self, class_name: str, name: str) -> Any:
        """The node of that class and name."""
        found = self.scene.GetNodesByClass(class_name)
        found.UnRegister(None)
        by_name = {
            found.GetItemAsObject(n).GetName(): found.GetItemAsObject(n) for n in range(found.GetNumberOfItems())
        }
        return by_name[name]

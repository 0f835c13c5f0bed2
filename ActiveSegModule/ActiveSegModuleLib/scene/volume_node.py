"""A Volume as a CT in the scene, and back."""

from __future__ import annotations

from typing import Any

import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from activeseg.volume import Volume

from .placement import geometry_of, vtk_matrix


def add_volume(scene: Any, volume: Volume, name: str) -> Any:
    """A new vtkMRMLScalarVolumeNode with a copy of the voxels, shown as a CT is (window 400, level 40 HU)."""
    image = vtk.vtkImageData()
    image.SetDimensions(*volume.array.shape[::-1])
    image.AllocateScalars(get_vtk_array_type(volume.array.dtype), 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[...] = volume.array.ravel()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    node.SetIJKToRASMatrix(vtk_matrix(volume.geometry.ijk_to_ras))
    node.SetAndObserveImageData(image)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    display.SetWindowLevel(400, 40)
    return node


def volume_of(node: Any) -> Volume:
    """The voxels of a volume node (a view) with their place in the patient, without parent transforms.

    Raises InputError for a node without an image, or sheared.
    """
    geometry = geometry_of(node)
    voxels = vtk_to_numpy(node.GetImageData().GetPointData().GetScalars())
    return Volume(voxels.reshape(geometry.shape_kji), geometry, node.GetName())

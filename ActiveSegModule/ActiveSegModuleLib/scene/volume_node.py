"""A Volume as a CT in the scene, and back."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import vtk
from vtk.util.numpy_support import get_vtk_array_type

from activeseg.core.volume import Volume

from ..slicer_types import Node, Scene, VtkObject
from .labelmap import array_of
from .placement import geometry_of, vtk_matrix

_FINGERPRINT_VOXELS = 1 << 20


def add_volume(scene: Scene, volume: Volume, name: str) -> Node:
    """A new vtkMRMLScalarVolumeNode with a copy of the voxels, shown as a CT is (window 400, level 40 HU)."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    node.SetIJKToRASMatrix(vtk_matrix(volume.geometry.ijk_to_ras))
    node.SetAndObserveImageData(voxel_image(volume.array))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    display.SetWindowLevel(400, 40)
    return node


def volume_of(node: Node) -> Volume:
    """The voxels of a volume node (a view) with their place in the patient, without parent transforms.

    Raises InputError for a node without an image, or sheared.
    """
    geometry = geometry_of(node)
    return Volume(array_of(node.GetImageData()), geometry, node.GetName())


def fingerprint(node: Node) -> str:
    """Tells other voxels from the same ones, wherever they lie and in whatever type: of a million of them, quickly.

    A frame of a sequence that takes another one's place has other noise everywhere. Empty for a node without voxels.
    """
    image: VtkObject = node.GetImageData() if node is not None else None
    voxels = array_of(image).reshape(-1) if image is not None else np.empty(0)
    if not voxels.size:
        return ""
    step = max(1, voxels.size // _FINGERPRINT_VOXELS) | 1  # odd, not to look at the same columns only
    digest = hashlib.sha256(repr(image.GetDimensions()).encode())
    digest.update(voxels[::step].astype("<f8").tobytes())
    return digest.hexdigest()


def voxel_image(array: npt.NDArray[Any]) -> VtkObject:
    """The vtkImageData of a volume node, with a copy of ``array`` (k, j, i)."""
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.AllocateScalars(get_vtk_array_type(array.dtype), 1)
    array_of(image)[...] = array
    return image

"""Where nodes lie: VTK matrices as numpy, a volume node's grid, and parent transforms."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry

from ..slicer_types import Node, VtkObject

FloatArray = npt.NDArray[np.float64]


def array_of_matrix(matrix: VtkObject) -> FloatArray:
    """A vtkMatrix4x4 as a 4 x 4 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def vtk_matrix(array: npt.ArrayLike) -> VtkObject:
    """A 4 x 4 array as a vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, float).ravel())
    return matrix


def ijk_to_ras(volume_node: Node) -> FloatArray:
    """A volume node's own IJKToRAS (4 x 4, mm), before its parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return array_of_matrix(matrix)


def geometry_of(volume_node: Node) -> Geometry:
    """A volume node's grid, before its parent transforms. Raises InputError for one without voxels, or sheared."""
    image = volume_node.GetImageData() if volume_node else None
    if image is None or min(image.GetDimensions()) < 1:
        name = volume_node.GetName() if volume_node else "None"
        raise InputError(f"The volume '{name}' has no voxels.", "Choose a CT that is loaded.")
    return Geometry.from_ijk_to_ras(ijk_to_ras(volume_node), image.GetDimensions()[::-1])


def put_under_transform_of(node: Node, other: Node) -> None:
    """Give ``node`` the same parent transform as ``other`` (or none)."""
    node.SetAndObserveTransformNodeID(other.GetTransformNodeID())


def to_world(node: Node, point_ras: Iterable[float]) -> tuple[float, float, float]:
    """A point in a node's own coordinates in those of the scene, through all its parent transforms."""
    world = [0.0, 0.0, 0.0]
    node.TransformPointToWorld(list(point_ras), world)
    return world[0], world[1], world[2]


def transform_between(node: Node, other: Node) -> FloatArray | VtkObject:
    """From the coordinates in which ``node`` is stored to those of ``other``, through all their parent transforms.

    Returns a 4 x 4 array (RAS mm) when the way is linear, else a vtkGeneralTransform.
    """
    source, target = node.GetParentTransformNode(), other.GetParentTransformNode()
    if source is target:
        return np.eye(4)
    one, other_one = (source, target) if source is not None else (target, source)
    if one.IsTransformToNodeLinear(other_one):
        matrix = vtk.vtkMatrix4x4()
        slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(source, target, matrix)
        return array_of_matrix(matrix)
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    return transform


def transformed(transform: FloatArray | VtkObject, points_ras: FloatArray) -> FloatArray:
    """Points (n, 3) in RAS mm through what ``transform_between`` gives."""
    if isinstance(transform, np.ndarray):
        return np.asarray(points_ras @ transform[:3, :3].T + transform[:3, 3])
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    source.SetData(numpy_to_vtk(np.ascontiguousarray(points_ras), deep=True))
    target.SetDataTypeToDouble()
    transform.TransformPoints(source, target)
    return np.array(vtk_to_numpy(target.GetData()), float)

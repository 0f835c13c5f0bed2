"""What belongs to a segmentation: the nodes that it refers to and that make no sense without it."""

from __future__ import annotations

from collections.abc import Iterator

import slicer

from activeseg.core.volume import Volume

from ..slicer_types import Node, Scene
from .hierarchy import place_under
from .placement import put_under_transform_of, vtk_matrix
from .uncertainty import ROLE_ATTRIBUTE
from .volume_node import voxel_image

ORIGINAL_ROLE = "ActiveSeg.Original"
REGIONS_ROLE = "ActiveSeg.Regions"
ALTERNATIVES_ROLE = "ActiveSeg.Alternatives"
UNCERTAINTY_ROLE = "ActiveSeg.Uncertainty"
_ORIGINAL = "original"
_ROLES = (ORIGINAL_ROLE, REGIONS_ROLE, ALTERNATIVES_ROLE, UNCERTAINTY_ROLE)


def companions_of(node: Node) -> tuple[Node, ...]:
    """The nodes that a segmentation refers to; one that the user cloned may refer to the same ones."""
    return tuple(companion for role in _ROLES for companion in referred(node, role))


def own_companions_of(node: Node) -> tuple[Node, ...]:
    """Those that no other segmentation refers to."""
    others = [other for other in segmentations_in(node.GetScene()) if other is not node]
    shared = {companion.GetID() for other in others for companion in companions_of(other)}
    return tuple(companion for companion in companions_of(node) if companion.GetID() not in shared)


def refer(node: Node, role: str, companion: Node, ct_node: Node) -> None:
    """Let a companion belong to a segmentation, in place of the one that had this role; ``ct_node`` may be None."""
    node.SetNodeReferenceID(role, companion.GetID())
    if ct_node is not None:
        place_under(node.GetScene(), ct_node, companion)


def referred(node: Node, role: str, kind: str = "vtkMRMLNode") -> Iterator[Node]:
    """The companions of a role that are still in the scene; what is not of that class cannot be one."""
    for index in range(node.GetNumberOfNodeReferences(role)):
        companion = node.GetNthNodeReference(role, index)
        if companion is not None and companion.IsA(kind):
            yield companion


def remove_companions(node: Node, role: str) -> None:
    """Take the companions of a role out of the scene, unless another segmentation refers to them as well."""
    own = {companion.GetID() for companion in own_companions_of(node)}
    for companion in list(referred(node, role)):
        if companion.GetID() in own:
            node.GetScene().RemoveNode(companion)
    node.RemoveNodeReferenceIDs(role)


def segmentations_in(scene: Scene) -> list[Node]:
    """The vtkMRMLSegmentationNodes of a scene, oldest first."""
    nodes = scene.GetNodesByClass("vtkMRMLSegmentationNode")
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]


def copy_of(companion: Node, name: str) -> Node:
    """A copy of a companion in the same scene, which is changed without changing the other."""
    scene = companion.GetScene()
    copy = scene.CreateNodeByClass(companion.GetClassName())
    copy.UnRegister(None)
    copy.SetName(scene.GenerateUniqueName(name))
    copy.CopyContent(companion)
    copy.SetHideFromEditors(companion.GetHideFromEditors())
    for attribute in companion.GetAttributeNames():
        copy.SetAttribute(attribute, companion.GetAttribute(attribute))
    return scene.AddNode(copy)


def hidden_label_map(scene: Scene, ct_node: Node, labels: Volume, name: str) -> Node:
    """A label map as it was predicted: a new volume under the CT's transform, which no list offers."""
    node = slicer.vtkMRMLLabelMapVolumeNode()
    node.SetName(name)
    node.SetHideFromEditors(True)  # before it is added: else a list of label maps turns to it
    node.SetAttribute(ROLE_ATTRIBUTE, _ORIGINAL)
    node.SetAndObserveImageData(voxel_image(labels.array))
    node.SetIJKToRASMatrix(vtk_matrix(labels.geometry.ijk_to_ras))
    node = scene.AddNode(node)
    put_under_transform_of(node, ct_node)
    return node


def hidden_text(scene: Scene, text: str, name: str) -> Node:
    """A new text node, which no list offers."""
    node = slicer.vtkMRMLTextNode()
    node.SetName(name)
    node.SetHideFromEditors(True)
    node = scene.AddNode(node)
    node.SetText(text)
    return node

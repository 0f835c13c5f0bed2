"""What happens to the scene, told to the panel in its own words; and what belongs to a segmentation goes with it."""

from __future__ import annotations

from typing import Protocol

import qt
import vtk
from slicer.util import VTKObservationMixin

from ..engine.later import Later
from ..scene.case import Case
from ..scene.uncertainty import ROLE_ATTRIBUTE
from ..scene.views import take_out
from ..slicer_types import Node, Scene
from .current_case import is_ct


class SceneListener(Protocol):
    """What the panel does about it."""

    def scene_closes(self) -> None:
        """All nodes are still there."""

    def scene_ready(self) -> None:
        """It was closed, or another one was loaded: wrappers of its nodes are out of date."""

    def volume_loaded(self) -> None:
        """A CT was added, and its image is there."""

    def node_goes(self, node: Node) -> None:
        """A node is about to be removed, while the scene stays."""

    def node_gone(self) -> None:
        """One was."""


class SceneEvents(VTKObservationMixin):
    """Observes one scene, until ``close``."""

    def __init__(self, scene: Scene, listener: SceneListener) -> None:
        VTKObservationMixin.__init__(self)
        self._scene, self._listener = scene, listener
        self._later = Later(qt)
        self.addObserver(scene, scene.StartCloseEvent, self._on_start_close)
        self.addObserver(scene, scene.EndCloseEvent, self._on_ready)
        self.addObserver(scene, scene.EndImportEvent, self._on_ready)  # else the old scene's nodes are kept
        self.addObserver(scene, scene.NodeAddedEvent, self._on_node_added)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._on_node_about_to_be_removed)
        self.addObserver(scene, scene.NodeRemovedEvent, self._on_node_removed)

    def close(self) -> None:
        """Observe nothing any more."""
        self.removeObservers()
        self._later.close()

    def _on_start_close(self, _caller: object, _event: str) -> None:
        self._listener.scene_closes()

    def _on_ready(self, _caller: object, _event: str) -> None:
        self._listener.scene_ready()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_added(self, _caller: object, _event: str, node: Node) -> None:
        if is_ct(node):
            self._later(self._listener.volume_loaded)  # its image comes after the node

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_about_to_be_removed(self, _caller: object, _event: str, node: Node) -> None:
        """What belongs to a segmentation leaves the views while it is still there."""
        if self._scene.IsClosing():
            return
        self._listener.node_goes(node)
        if node.GetAttribute(ROLE_ATTRIBUTE) is not None:
            take_out(self._scene, {node.GetID()})
        case = Case.of(node)
        if case is not None:
            companions = case.own_companions()
            take_out(self._scene, {companion.GetID() for companion in companions})
            self._later(lambda: self._remove_nodes(companions))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_removed(self, _caller: object, _event: str, _node: Node) -> None:
        if not self._scene.IsClosing():
            self._listener.node_gone()

    def _remove_nodes(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            if self._scene.IsNodePresent(node):
                self._scene.RemoveNode(node)

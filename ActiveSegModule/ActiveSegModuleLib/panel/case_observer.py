"""Sees when the segmentation that is reviewed is edited, and when its CT is moved, by whatever."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from ..scene.case import Case
from ..slicer_types import Node


class CaseObserver:
    """Observes one case at a time.

    Not by Slicer's VTKObservationMixin, which would keep every segmentation, with its voxels, until the module goes.
    """

    def __init__(
        self, edited: Callable[[], None], ct_moved: Callable[[], None], ct_changed: Callable[[], None]
    ) -> None:
        """``ct_changed``: other voxels took the place of the CT's."""
        self._edited = edited
        self._ct_moved = ct_moved
        self._ct_changed = ct_changed
        self._node: Node = None
        self._ct: Node = None
        self._tags: list[tuple[Node, int]] = []

    def observe(self, case: Case | None) -> None:
        """Turn to a case; None: to none."""
        node = case.node if case is not None else None
        ct = case.ct_node if case is not None and case.has_ct else None
        if self._node is node and self._ct is ct:
            return
        for observed, tag in self._tags:
            observed.RemoveObserver(tag)
        self._tags = []
        if node is not None:
            events = (
                slicer.vtkSegmentation.SourceRepresentationModified,
                slicer.vtkSegmentation.SegmentAdded,
                slicer.vtkSegmentation.SegmentRemoved,
                slicer.vtkSegmentation.SegmentModified,
            )
            self._tags += [(node, node.AddObserver(event, self._on_edited)) for event in events]
        if ct is not None:
            moved = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
            self._tags.append((ct, ct.AddObserver(moved, self._on_ct_moved)))
            changed = slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent
            self._tags.append((ct, ct.AddObserver(changed, self._on_ct_changed)))
        self._node, self._ct = node, ct

    def _on_edited(self, _caller: object, _event: str) -> None:
        self._edited()

    def _on_ct_changed(self, _caller: object, _event: str) -> None:
        self._ct_changed()

    def _on_ct_moved(self, _caller: object, _event: str) -> None:
        self._ct_moved()

"""Structures in 3D, made one after the other in a segmentation of their own.

Slicer's own closed surfaces of 117 segments block its window for two minutes, for each is made from an image as large
as the CT, and they are made again at every stroke. Here each structure is cut out first, and made again on demand.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import slicer
import vtk

from activeseg.core.geometry import Box
from activeseg.core.labels import IGNORE

from ..slicer_types import Node, Scene, VtkObject
from .case import Case
from .edited import empty_segments, identities
from .hierarchy import place_under
from .labelmap import BINARY_LABELMAP, CLOSED_SURFACE, array_of, cropped
from .placement import put_under_transform_of

NEIGHBOURS_WITHIN_MM = 15.0
_NEIGHBOURS_OPACITY = 0.4
_SMOOTHING = "0.5"
_PAD = 2  # voxels around a structure, or its surface would be open where it ends

OnProgress = Callable[[int, int], None]
"""Gets how many structures are done, of how many."""


@dataclass
class _Work:
    """What is being made; ``waiting``: ids of segments, the next one last."""

    waiting: list[str]
    total: int
    on_progress: OnProgress
    on_done: Callable[[], None]
    opacity: dict[str, float] = field(default_factory=dict)


class Surfaces:
    """Shows structures of one case at a time in 3D, in a node that is hidden from lists and never saved."""

    def __init__(self, scene: Scene, later: Callable[[Callable[[], None]], None]) -> None:
        """``later`` runs something in the next turn of the event loop: one structure is made in each."""
        self._scene = scene
        self._later = later
        self._case: Case | None = None
        self._node: Node = None
        self._work: _Work | None = None
        self._made_of: dict[str, bytes] = {}
        self._observer: int | None = None

    @property
    def case(self) -> Case | None:
        """Whose structures are shown, or being made."""
        return self._case if self.node is not None else None

    @property
    def node(self) -> Node:
        """The vtkMRMLSegmentationNode with the surfaces; None when nothing is shown."""
        present = self._node is not None and self._scene.IsNodePresent(self._node)
        return self._node if present else None

    @property
    def busy(self) -> bool:
        """Whether structures are still being made; nothing is seen of them before the last."""
        return self._work is not None

    @property
    def segment_ids(self) -> tuple[str, ...]:
        """The segments that have a surface now, by their ids in the case."""
        return tuple(self.node.GetSegmentation().GetSegmentIDs()) if self.node is not None else ()

    def bounds_ras(self) -> tuple[float, ...] | None:
        """What the surfaces fill, (R low, R high, A low, ...) mm of the scene; None when there are none."""
        if not self.segment_ids:
            return None
        bounds = [0.0] * 6
        self._node.GetRASBounds(bounds)
        return tuple(bounds)

    def show_all(self, case: Case, on_progress: OnProgress, on_done: Callable[[], None]) -> None:
        """Show all structures that are visible in the slice views, in place of what was shown before."""
        empty, display = set(empty_segments(case.node)), case.node.GetDisplayNode()
        wanted = [
            identity.segment_id
            for identity in identities(case.node)
            if identity.segment_id not in empty
            and identity.label_name != IGNORE
            and (display is None or display.GetSegmentVisibility(identity.segment_id))
        ]
        self._show(case, wanted, {}, on_progress, on_done)

    def show_region(self, case: Case, number: int, on_progress: OnProgress, on_done: Callable[[], None]) -> None:
        """Show what lies in and around a region, its own structure in full and the others transparent.

        Raises InputError when there is no region of that number.
        """
        own, others = region_segments(case, number)
        opacity = dict.fromkeys(others, _NEIGHBOURS_OPACITY)
        self._show(case, [*own, *others], opacity, on_progress, on_done)

    def renew(self) -> None:
        """Make again what was edited since, one structure in each turn of the event loop."""
        self.follow()
        if self.case is not None and self._work is None:
            self._begin(list(self.segment_ids), {}, _nothing, _nothing)

    def follow(self) -> None:
        """Lie under the segmentation's transform, which the user may have changed."""
        if self.case is not None and self._scene.IsNodePresent(self.case.node):
            put_under_transform_of(self._node, self.case.node)

    def remove(self) -> None:
        """Take the surfaces out of the scene; what is being made is left."""
        if self._observer is not None:
            self._scene.RemoveObserver(self._observer)
        if self.node is not None:
            self._scene.RemoveNode(self._node)
        self._case = self._node = self._work = self._observer = None
        self._made_of = {}

    def _show(
        self,
        case: Case,
        wanted: Sequence[str],
        opacity: dict[str, float],
        on_progress: OnProgress,
        on_done: Callable[[], None],
    ) -> None:
        if self.case != case:
            self.remove()
            self._case, self._node = case, self._new_node(case)
            self._observer = self._leave_with(case.node)
        put_under_transform_of(self._node, case.node)
        segmentation = self._node.GetSegmentation()
        for segment_id in set(self.segment_ids) - set(wanted):
            self._take_out(segmentation, segment_id)
        self._node.SetDisplayVisibility(False)
        self._begin(wanted, {segment_id: opacity.get(segment_id, 1.0) for segment_id in wanted}, on_progress, on_done)

    def _begin(
        self, wanted: Sequence[str], opacity: dict[str, float], on_progress: OnProgress, on_done: Callable[[], None]
    ) -> None:
        self._work = work = _Work(list(reversed(wanted)), len(wanted), on_progress, on_done, opacity)
        self._later(lambda: self._step(work))

    def _step(self, work: _Work) -> None:
        """One structure; the last one shows all of them."""
        if work is not self._work:
            return
        if self.case is None or not self._scene.IsNodePresent(self.case.node):
            self.remove()
            return
        if not work.waiting:
            self._finish(work)
            return
        self._make(work.waiting.pop())
        work.on_progress(work.total - len(work.waiting), work.total)
        self._later(lambda: self._step(work))

    def _finish(self, work: _Work) -> None:
        display = self._node.GetDisplayNode()
        for segment_id in self.segment_ids:
            if segment_id in work.opacity:
                display.SetSegmentOpacity3D(segment_id, work.opacity[segment_id])
        self._node.SetDisplayVisibility(True)
        self._work = None
        work.on_done()

    def _make(self, segment_id: str) -> None:
        """The surface of one segment, unless it is there and the segment is as it was."""
        assert self._case is not None
        source = self._case.node.GetSegmentation().GetSegment(segment_id)
        mine = self._node.GetSegmentation()
        image = source.GetRepresentation(BINARY_LABELMAP) if source is not None else None
        part = cropped(image, int(source.GetLabelValue()), _PAD) if image is not None else None
        if part is None:
            self._take_out(mine, segment_id)
            return
        made_of = repr(part.GetExtent()).encode() + array_of(part).tobytes()
        if self._made_of.get(segment_id) != made_of or mine.GetSegment(segment_id) is None:
            self._take_out(mine, segment_id)
            mine.AddSegment(_segment(source, part), segment_id)
            if not mine.GetSegment(segment_id).GetRepresentation(CLOSED_SURFACE):
                mine.CreateRepresentation(CLOSED_SURFACE)
            self._made_of[segment_id] = made_of
        mine.GetSegment(segment_id).SetColor(*source.GetColor())

    def _take_out(self, segmentation: VtkObject, segment_id: str) -> None:
        self._made_of.pop(segment_id, None)
        if segmentation.GetSegment(segment_id) is not None:
            segmentation.RemoveSegment(segment_id)

    def _new_node(self, case: Case) -> Node:
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName(f"{case.name}, in 3D")
        node.SetHideFromEditors(True)  # before it is added: no list of segmentations turns to it
        node.SetSaveWithScene(False)
        node = self._scene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        node.GetSegmentation().SetConversionParameter("Smoothing factor", _SMOOTHING)
        display = node.GetDisplayNode()
        display.SetVisibility2D(False)
        display.SetPreferredDisplayRepresentationName3D(CLOSED_SURFACE)
        if case.has_ct:
            place_under(self._scene, case.ct_node, node)
        return node

    def _leave_with(self, case_node: Node) -> int:
        """Take the surfaces away when their case is removed; the scene must not keep this object for that."""
        me, case_id = weakref.ref(self), case_node.GetID()

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def on_node_removed(_caller: object, _event: str, node: Node) -> None:
            surfaces = me()
            if surfaces is not None and node.GetID() == case_id:
                surfaces._later(surfaces.remove)

        return int(self._scene.AddObserver(self._scene.NodeRemovedEvent, on_node_removed))


def region_segments(case: Case, number: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the segments that a region is about, and of the others in and around its box.

    Raises InputError when there is no region of that number.
    """
    table = case.regions
    if table is None:
        return (), ()
    region, schema, segmentation = table.region(number), case.schema, case.segmentation
    around = case.labels_in(_grown(region.box_kji, table.geometry.spacing_xyz[::-1], table.geometry.shape_kji))
    values = set(around.reshape(-1).tolist())
    found = {label.name: segmentation.segment_id(label) for label in schema.labels if label.value in values}
    own = [found[name] for name in region.structures if found.get(name)]
    return tuple(i for i in own if i), tuple(i for i in found.values() if i and i not in own)


def _grown(box_kji: Box, spacing_kji: Sequence[float], shape_kji: Sequence[int]) -> Box:
    """The box with its surroundings, within the image."""
    grow = [round(NEIGHBOURS_WITHIN_MM / mm) for mm in spacing_kji]
    spans = zip(box_kji, grow, shape_kji, strict=True)
    (k, j, i) = ((max(0, start - by), min(size, stop + by)) for (start, stop), by, size in spans)
    return k, j, i


def _segment(source: VtkObject, image: VtkObject) -> VtkObject:
    segment = slicer.vtkSegment()
    segment.SetName(source.GetName())
    segment.SetColor(*source.GetColor())
    segment.AddRepresentation(BINARY_LABELMAP, image)
    return segment


def _nothing(*_arguments: object) -> None:
    """For who does not want to know."""

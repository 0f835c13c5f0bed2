"""What a user made of a segmentation node, as one label map on the CT's grid, with a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk

from activeseg.errors import InputError
from activeseg.labels import LabelSchema
from activeseg.segment_layers import Layer, compose
from activeseg.segment_matching import (
    LABEL_NAME_TAG,
    LABEL_VALUE_TAG,
    Match,
    MatchedBy,
    SegmentIdentity,
    matches,
)
from activeseg.volume import Geometry

from .labelmap import BINARY_LABELMAP, array_of, empty_grid, first_voxel, ijk_to_ras_of
from .placement import FloatArray, geometry_of, ijk_to_ras, transform_between, vtk_matrix

# Two grids are the same when no voxel centre is further off, in voxels: .nrrd text and NIfTI's float32 round at 1e-6,
# and a nearest-neighbour resampling would not move anything below 0.5.
SAME_GRID_VOXELS = 0.01


@dataclass(frozen=True)
class EditedSegment:
    """One segment as it was found.

    Attributes
    ----------
    structure : its name in the schema, or None when it was left out or not recognised (``reason`` says why)
    renamed : it carries another name than its structure
    edited : its voxels differ from the original label map, or Slicer says that it was worked on
    visible : hidden segments are read like all others
    outside_voxels : voxels beyond the CT's border; they are not in the label map
    """

    segment_id: str
    name: str
    structure: str | None
    by: MatchedBy
    reason: str
    renamed: bool
    edited: bool
    visible: bool
    outside_voxels: int


@dataclass(frozen=True)
class EditedSegmentation:
    """The label map that a segmentation node amounts to, and what the caller must tell the user before using it.

    Attributes
    ----------
    labels : (k, j, i) on the CT's grid (``geometry``: before the CT's parent transforms), values of ``schema``
    decided : names of the structures that the prediction decided
    segments : all segments in Slicer's order
    overlapping_voxels : voxels that more than one segment claimed; edited ones win, then later ones
    resampled : some voxels lay on another grid and were taken by nearest neighbour
    """

    labels: npt.NDArray[Any]
    geometry: Geometry
    schema: LabelSchema
    decided: tuple[str, ...]
    segments: tuple[EditedSegment, ...]
    overlapping_voxels: int
    resampled: bool

    @property
    def present(self) -> tuple[str, ...]:
        """Structures that have a segment, with or without voxels, in the schema's order."""
        found = {segment.structure for segment in self.segments}
        return tuple(name for name in self.schema.names if name in found)

    @property
    def deleted(self) -> tuple[str, ...]:
        """Decided structures whose segment is gone. ``labels`` has background there: ask the user before using it."""
        return tuple(name for name in self.schema.names if name in self.decided and name not in self.present)

    @property
    def added(self) -> tuple[str, ...]:
        """Structures that have a segment although the prediction did not decide them."""
        return tuple(name for name in self.present if name not in self.decided)

    @property
    def unmatched(self) -> tuple[EditedSegment, ...]:
        """Segments that were not recognised; ``labels`` lacks their voxels. Map them, or leave them out explicitly."""
        return tuple(segment for segment in self.segments if segment.by is MatchedBy.NOTHING)

    def summary(self) -> tuple[str, ...]:
        """What the user should read before this label map becomes truth; empty when there is nothing to tell."""
        lines = [f"'{name}' was deleted: it counts as not present." for name in self.deleted]
        lines += [f"'{s.name}' is left out of the label map: {s.reason}." for s in self.segments if s.structure is None]
        lines += [f"'{s.name}' is read as '{s.structure}'." for s in self.segments if s.renamed]
        lines += [f"'{name}' was added: the prediction had not looked for it." for name in self.added]
        lines += [
            f"'{s.name}' is hidden, and counts all the same." for s in self.segments if not s.visible and s.structure
        ]
        lines += [
            f"'{s.name}' has {s.outside_voxels} voxels outside of the CT; they are cut off."
            for s in self.segments
            if s.outside_voxels
        ]
        if self.overlapping_voxels:
            lines.append(f"Segments overlap in {self.overlapping_voxels} voxels: edited ones win, then lower rows.")
        if self.resampled:
            lines.append("The segments lie on another grid than the CT: their voxels were taken by nearest neighbour.")
        return tuple(lines)


def read_back(
    node: Any,
    ct_node: Any,
    schema: LabelSchema,
    decided: tuple[str, ...],
    original: npt.NDArray[Any] | None = None,
    mapping: Mapping[str, int | None] | None = None,
) -> EditedSegmentation:
    """Read a vtkMRMLSegmentationNode as one label map on the CT's grid, whatever was done to it.

    Parameters
    ----------
    original : (k, j, i) label map that was shown, to tell edited segments from others; without it only Slicer's own
        status (set by the Segment Editor, not by scripts) tells
    mapping : segment id -> label value, or None to leave the segment out; for segments that would not be recognised

    Nothing in the scene changes. Parent transforms of both nodes count, linear or not. Raises InputError
    for a mapping of unknown segments or values, an original of another shape, and segments that hold no voxels and
    cannot be turned into some.
    """
    geometry = geometry_of(ct_node)
    if original is not None and tuple(original.shape) != geometry.shape_kji:
        raise InputError(f"The original label map has shape {tuple(original.shape)}, the CT {geometry.shape_kji}.")
    segmentation = _with_voxels(node, ct_node)
    found = identities(node)
    index_of = {identity.segment_id: index for index, identity in enumerate(found)}
    match_of = matches(found, schema, mapping)
    all_matches = [match_of[identity.segment_id] for identity in found]

    to_ct = transform_between(node, ct_node)
    layers, resampled = [], False
    for number in range(segmentation.GetNumberOfLayers(BINARY_LABELMAP)):
        image = segmentation.GetLayerDataObject(number, BINARY_LABELMAP)
        if image is None or not array_of(image).size:
            continue
        segment_ids = segmentation.GetSegmentIDsForLayer(number, BINARY_LABELMAP)
        values = {int(segmentation.GetSegment(i).GetLabelValue()): index_of[i] for i in segment_ids}
        layer, moved = _on_grid(image, values, to_ct, ijk_to_ras(ct_node), geometry.shape_kji)
        layers.append(layer)
        resampled |= moved

    composition = compose(
        layers,
        [match.label.value if match.label else 0 for match in all_matches],
        [_worked_on(segmentation.GetSegment(identity.segment_id)) for identity in found],
        geometry.shape_kji,
        original,
        np.uint8 if schema.ignore_value <= np.iinfo(np.uint8).max else np.uint16,
    )
    segments = tuple(
        _edited_segment(node, identity, match, edited, outside)
        for identity, match, edited, outside in zip(
            found, all_matches, composition.edited, composition.outside, strict=True
        )
    )
    return EditedSegmentation(
        composition.labels, geometry, schema, decided, segments, composition.overlapping, resampled
    )


def identities(node: Any) -> tuple[SegmentIdentity, ...]:
    """What each segment of a segmentation node says about itself, in Slicer's order."""
    segmentation = node.GetSegmentation()
    default_terminology = slicer.vtkSegment().GetTerminology()

    def identity(segment_id: str) -> SegmentIdentity:
        segment = segmentation.GetSegment(segment_id)
        value, terminology = _tag(segment, LABEL_VALUE_TAG), segment.GetTerminology() or ""
        return SegmentIdentity(
            segment_id,
            segment.GetName() or "",
            int(value) if value is not None and value.isdecimal() else None,
            _tag(segment, LABEL_NAME_TAG),
            "" if terminology == default_terminology else terminology,
        )

    return tuple(identity(segment_id) for segment_id in segmentation.GetSegmentIDs())


def _tag(segment: Any, key: str) -> str | None:
    value = vtk.reference("")
    return str(value.get()) if segment.GetTag(key, value) else None


def _worked_on(segment: Any) -> bool:
    """Slicer's own mark: the Segment Editor takes a segment from NotStarted to InProgress with the first stroke."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    return bool(logic.GetSegmentStatus(segment) != logic.NotStarted)


def _edited_segment(node: Any, identity: SegmentIdentity, match: Match, edited: bool, outside: int) -> EditedSegment:
    display = node.GetDisplayNode()
    return EditedSegment(
        identity.segment_id,
        identity.name,
        match.label.name if match.label else None,
        match.by,
        match.reason,
        match.label is not None and identity.name != match.label.name,
        edited,
        display is None or bool(display.GetSegmentVisibility(identity.segment_id)),
        outside,
    )


def _with_voxels(node: Any, ct_node: Any) -> Any:
    """The node's vtkSegmentation, or a copy with voxels made from its surfaces."""
    segmentation = node.GetSegmentation()
    source = segmentation.GetSourceRepresentationName()
    if source == BINARY_LABELMAP or not segmentation.GetNumberOfSegments():
        return segmentation
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentation)
    geometry = slicer.vtkSegmentationConverter.SerializeImageGeometry(
        empty_grid(ijk_to_ras(ct_node), (0, 0, 0), geometry_of(ct_node).shape_kji)
    )
    copy.SetConversionParameter(slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(), geometry)
    copy.RemoveRepresentation(BINARY_LABELMAP)
    if not copy.CreateRepresentation(BINARY_LABELMAP):
        raise InputError(
            f"The segments of '{node.GetName()}' are stored as '{source}' and cannot be turned into voxels.",
            "In Slicer's Segmentations module create the binary labelmap representation and make it the source.",
        )
    return copy


def _on_grid(
    image: Any,
    values: Mapping[int, int],
    to_ct: FloatArray | Any,
    ct_ijk_to_ras: FloatArray,
    shape_kji: tuple[int, int, int],
) -> tuple[Layer, bool]:
    """One image of a segmentation on the CT's grid, and whether it had to be resampled for that."""
    low, high = np.zeros(3, int), np.array(shape_kji)
    if isinstance(to_ct, np.ndarray):
        to_ct_ijk = np.linalg.inv(ct_ijk_to_ras) @ to_ct @ ijk_to_ras_of(image)
        before = _corners_ijk(image)
        after = before @ to_ct_ijk[:3, :3].T + to_ct_ijk[:3, 3]
        shift = np.rint(after[0] - before[0])
        if np.abs(after - before - shift).max() <= SAME_GRID_VOXELS:
            k, j, i = (int(a + b) for a, b in zip(first_voxel(image), shift[::-1], strict=True))
            return Layer(_whole_numbers(image), (k, j, i), values), False
        reach = after[:, ::-1]
        low = np.clip(np.floor(reach.min(axis=0)).astype(int) - 1, 0, shape_kji)
        high = np.clip(np.ceil(reach.max(axis=0)).astype(int) + 2, 0, shape_kji)
        transform = vtk.vtkTransform()
        transform.SetMatrix(vtk_matrix(to_ct))
    else:
        transform = to_ct
    resampled = slicer.vtkOrientedImageData()
    if np.all(low < high):
        grid = empty_grid(ct_ijk_to_ras, low[::-1].tolist(), (high - low).tolist())
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            image, grid, resampled, False, False, transform
        )
    return Layer(_whole_numbers(resampled), first_voxel(resampled), values), True


def _corners_ijk(image: Any) -> FloatArray:
    """The eight corner voxels' indices, (8, 3)."""
    extent = image.GetExtent()
    return np.array([[i, j, k] for i in extent[0:2] for j in extent[2:4] for k in extent[4:6]], float)


def _whole_numbers(image: Any) -> npt.NDArray[Any]:
    """The image's voxels; label maps that came as floating point are rounded."""
    array = array_of(image)
    return array if array.dtype.kind in "iu" else np.rint(array).astype(np.int32)

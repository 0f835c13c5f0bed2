"""What a user made of a segmentation node, as one label map on the CT's grid, with a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk

from activeseg.core.errors import InputError
from activeseg.core.geometry import Box, Geometry
from activeseg.core.label_map import smallest_dtype
from activeseg.core.labels import IGNORE, Label, LabelSchema
from activeseg.core.segments.layers import Layer, ToCt, compose, small_values
from activeseg.core.segments.matching import (
    LABEL_NAME_TAG,
    LABEL_VALUE_TAG,
    Match,
    MatchedBy,
    SegmentIdentity,
    matches,
    own_terminology,
    tag_value,
)
from activeseg.core.volume import Volume

from .labelmap import BINARY_LABELMAP, array_of, empty_grid, first_voxel, ijk_to_ras_of, image_of, nearest_on_grid
from .placement import (
    FloatArray,
    corners_ijk,
    geometry_of,
    ijk_to_ras,
    transform_between,
    transformed,
    voxel_map,
    whole_voxels,
)

IGNORE_COLOR = (128, 128, 128)


@dataclass(frozen=True)
class EditedSegment:
    """One segment as it was found.

    Attributes
    ----------
    structure : its name in the schema, or None when it was left out or not recognised (``reason`` says why)
    renamed : it carries another name than its structure
    edited : its voxels differ from the original label map, or Slicer says that it was worked on
    visible : hidden segments are read like all others
    outside_voxels : voxels beyond the CT's border, counted on the segment's own grid; they are not in the label map
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
    about_voxels : sentences on voxels beyond the CT, overlaps and the grid
    is_beside_the_ct : there are segments with voxels, and none of these lies inside of the CT
    """

    labels: npt.NDArray[Any]
    geometry: Geometry
    schema: LabelSchema
    decided: tuple[str, ...]
    segments: tuple[EditedSegment, ...]
    overlapping_voxels: int
    resampled: bool
    about_voxels: tuple[str, ...] = ()
    is_beside_the_ct: bool = False

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

    def sentences(self) -> tuple[str, ...]:
        """What the user should read before this label map becomes truth; empty when there is nothing to tell."""
        lines = [f"'{name}' was deleted: it counts as not present." for name in self.deleted]
        lines += [f"'{s.name}' is left out of the label map: {s.reason}." for s in self.segments if s.structure is None]
        lines += [f"'{s.name}' is read as '{s.structure}'." for s in self.segments if s.renamed]
        lines += [f"'{name}' was added: the prediction had not looked for it." for name in self.added]
        lines += [
            f"'{s.name}' is hidden, and counts all the same." for s in self.segments if not s.visible and s.structure
        ]
        return (*lines, *self.about_voxels)


def read_back(
    node: Any,
    ct_node: Any,
    schema: LabelSchema,
    decided: tuple[str, ...],
    original: Volume | None = None,
    mapping: Mapping[str, int | None] | None = None,
) -> EditedSegmentation:
    """Read a vtkMRMLSegmentationNode as one label map on the CT's grid, whatever was done to it.

    Parameters
    ----------
    original : the label map that was shown, to tell edited segments from others; without it only Slicer's own status
        (set by the Segment Editor, not by scripts) tells
    mapping : segment id -> label value, or None to leave the segment out; for segments that would not be recognised

    Nothing in the scene changes. Parent transforms of both nodes count, linear or not. Raises InputError for a mapping
    of unknown segments or values, an original of another CT, two segments with the same voxels of one image, and
    segments that hold no voxels and cannot be turned into some.
    """
    geometry = geometry_of(ct_node)
    before = None if original is None else on_ct_grid(original, geometry)
    segmentation = _with_voxels(node, ct_node)
    found = identities(node)
    all_matches = _matches(found, schema, mapping or {})

    layers, resampled = _layers(
        segmentation, found, transform_between(node, ct_node), ijk_to_ras(ct_node), geometry.shape_kji
    )

    composition = compose(
        layers,
        [match.label.value if match.label else 0 for match in all_matches],
        [_worked_on(segmentation.GetSegment(identity.segment_id)) for identity in found],
        geometry.shape_kji,
        before,
        smallest_dtype(schema.ignore_value),
    )
    segments = tuple(
        _edited_segment(node, identity, match, edited, outside)
        for identity, match, edited, outside in zip(
            found, all_matches, composition.edited, composition.outside, strict=True
        )
    )
    return EditedSegmentation(
        composition.labels,
        geometry,
        schema,
        decided,
        segments,
        composition.overlapping,
        resampled,
        composition.sentences([identity.name for identity in found], resampled),
        composition.is_beside_the_ct,
    )


def labels_in_box(
    node: Any, ct_node: Any, schema: LabelSchema, original: npt.NDArray[Any], box_kji: Box
) -> npt.NDArray[Any]:
    """What ``read_back`` would give inside of a box of the CT's grid, in a few milliseconds.

    ``original`` is the label map that was shown, (k, j, i) on the CT's grid; segments that are not recognised, and
    surfaces without voxels, are left out.
    """
    inside = tuple(slice(*span) for span in box_kji)
    before = original[inside]
    to_corner = np.eye(4)
    to_corner[:3, 3] = [start for start, _ in box_kji[::-1]]
    part = ijk_to_ras(ct_node) @ to_corner
    found = identities(node)
    layers, _ = _layers(node.GetSegmentation(), found, transform_between(node, ct_node), part, before.shape, False)
    cut = [
        Layer(layer.array[overlap[0]], tuple(span.start for span in overlap[1]), layer.segments)
        for layer in layers
        if (overlap := layer.inside(before.shape))
    ]
    values = [match.label.value if match.label else 0 for match in _matches(found, schema, {})]
    return compose(cut, values, [False] * len(found), before.shape, before, smallest_dtype(schema.ignore_value)).labels


def on_ct_grid(labels: Volume, ct_geometry: Geometry) -> npt.NDArray[Any]:
    """The label map's array along the axes of the CT (a view). Raises InputError when it is not of this CT."""
    exact = voxel_map(labels.geometry, ct_geometry)
    if exact is None:
        raise InputError(
            f"The label map (shape {labels.geometry.shape_kji}) does not lie on the voxels of the CT (shape "
            f"{ct_geometry.shape_kji}).",
            "Choose the CT that was segmented.",
        )
    return _turned(labels.array, {}, exact, corners_ijk(labels.array.shape)).array


def _layers(
    segmentation: Any,
    found: Sequence[SegmentIdentity],
    to_ct: FloatArray | Any,
    ct_ijk_to_ras: FloatArray,
    shape_kji: tuple[int, ...],
    count_losses: bool = True,
) -> tuple[list[Layer], bool]:
    """The images of a vtkSegmentation on a grid, and whether one had to be resampled for that.

    ``count_losses``: find out what of a resampled image lies beyond the grid, or between its voxels.
    """
    index_of = {identity.segment_id: index for index, identity in enumerate(found)}
    layers, resampled = [], False
    for number in range(segmentation.GetNumberOfLayers(BINARY_LABELMAP)):
        image = segmentation.GetLayerDataObject(number, BINARY_LABELMAP)
        if image is None or not array_of(image).size:
            continue
        if count_losses and not array_of(image).any():  # takes long for a large image, and changes no label
            continue
        values: dict[int, int] = {}
        for segment_id in segmentation.GetSegmentIDsForLayer(number, BINARY_LABELMAP):
            segment = segmentation.GetSegment(segment_id)
            value = int(segment.GetLabelValue())
            if value in values and count_losses and np.any(array_of(image) == value):
                raise InputError(
                    f"'{found[values[value]].name}' and '{segment.GetName()}' are the same voxels: both have the value "
                    f"{value} in one image of the segmentation.",
                    "Delete one of them, or paint it again.",
                )
            if value > 0:
                values[value] = index_of[segment_id]
        layer, moved = _on_grid(image, values, to_ct, ct_ijk_to_ras, shape_kji, count_losses)
        layers.append(layer)
        resampled |= moved
    return layers, resampled


def ignore_label(schema: LabelSchema) -> Label:
    """What a dataset's ``ignore`` voxels look like as a segment."""
    return Label(schema.ignore_value, IGNORE, IGNORE_COLOR)


def _matches(found: Sequence[SegmentIdentity], schema: LabelSchema, mapping: Mapping[str, int | None]) -> list[Match]:
    """``segment_matching.matches`` in the segments' order, with the segment of ``ignore``, which is no structure."""
    ignored = {
        s.segment_id: MatchedBy.MAPPING if s.segment_id in mapping else MatchedBy.TAG
        for s in found
        if mapping.get(s.segment_id, schema.ignore_value if s.label_name == IGNORE else 0) == schema.ignore_value
    }
    match_of = matches(
        [s for s in found if s.segment_id not in ignored],
        schema,
        {segment_id: value for segment_id, value in mapping.items() if segment_id not in ignored},
    )
    match_of |= {segment_id: Match(ignore_label(schema), by) for segment_id, by in ignored.items()}
    return [match_of[s.segment_id] for s in found]


def identities(node: Any) -> tuple[SegmentIdentity, ...]:
    """What each segment of a segmentation node says about itself, in Slicer's order."""
    segmentation = node.GetSegmentation()

    def identity(segment_id: str) -> SegmentIdentity:
        segment = segmentation.GetSegment(segment_id)
        return SegmentIdentity(
            segment_id,
            segment.GetName() or "",
            tag_value(_tag(segment, LABEL_VALUE_TAG)),
            _tag(segment, LABEL_NAME_TAG),
            own_terminology(segment.GetTerminology() or ""),
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
    shape_kji: tuple[int, ...],
    count_losses: bool,
) -> tuple[Layer, bool]:
    """One image of a segmentation on the CT's grid, and whether it had to be resampled for that."""
    whole = _whole_numbers(image)
    array, values = small_values(whole, values)
    if isinstance(to_ct, np.ndarray):
        corners = corners_ijk(array_of(image).shape, first_voxel(image)[::-1])
        exact = whole_voxels(np.linalg.inv(ct_ijk_to_ras) @ to_ct @ ijk_to_ras_of(image), corners)
        if exact is not None:
            return _turned(array, values, exact, corners), False
    if array is not whole:
        image = image_of(array, ijk_to_ras_of(image), first_voxel(image)[::-1])
    resampled = nearest_on_grid(image, empty_grid(ct_ijk_to_ras, (0, 0, 0), shape_kji), to_ct)
    brought, first = _whole_numbers(resampled), first_voxel(resampled)
    if not count_losses:
        return Layer(brought, first, values), True
    return Layer.resampled(brought, first, values, array, _way(image, to_ct, ct_ijk_to_ras), shape_kji), True


def _way(image: Any, to_ct: FloatArray | Any, ct_ijk_to_ras: FloatArray) -> ToCt:
    """From indices (n, 3), each (k, j, i), in the image's array to those of the CT."""
    first, from_ijk, to_ijk = np.array(first_voxel(image)), ijk_to_ras_of(image), np.linalg.inv(ct_ijk_to_ras)

    def way(points_kji: FloatArray) -> FloatArray:
        ras = transformed(to_ct, (points_kji + first)[:, ::-1] @ from_ijk[:3, :3].T + from_ijk[:3, 3])
        return (ras @ to_ijk[:3, :3].T + to_ijk[:3, 3])[:, ::-1]

    return way


def _turned(array: npt.NDArray[Any], values: Mapping[int, int], to_ct_ijk: FloatArray, corners: FloatArray) -> Layer:
    """The array seen along the CT's axes; ``to_ct_ijk`` shifts, flips and swaps axes by whole voxels."""
    turn = to_ct_ijk[2::-1, 2::-1]  # from and to (k, j, i)
    array = array.transpose(np.abs(turn).argmax(axis=1))
    array = array[tuple(slice(None, None, -1 if axis.min() < 0 else 1) for axis in turn)]
    i, j, k = (corners @ to_ct_ijk[:3, :3].T + to_ct_ijk[:3, 3]).min(axis=0).astype(int).tolist()
    return Layer(array, (k, j, i), values)


def _whole_numbers(image: Any) -> npt.NDArray[Any]:
    """The image's voxels; label maps that came as floating point are rounded."""
    array = array_of(image)
    return array if array.dtype.kind in "iu" else np.rint(np.nan_to_num(array)).astype(np.int32)

"""What a user made of a segmentation node, as one label map on the CT's grid, with a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk

from activeseg.core.errors import InputError
from activeseg.core.geometry import Box, FloatArray, Geometry, corners_ijk, whole_voxels
from activeseg.core.label_map import smallest_dtype, values_in
from activeseg.core.labels import LabelSchema
from activeseg.core.segments.layers import Layer, ToCt, compose, small_values
from activeseg.core.segments.matching import (
    LABEL_NAME_TAG,
    LABEL_VALUE_TAG,
    SegmentIdentity,
    own_terminology,
    tag_value,
)
from activeseg.core.segments.read_back import EditedSegmentation, FoundSegment, edited_segmentation, structures_of
from activeseg.core.volume import Volume

from ..slicer_types import Node, VtkObject
from .labelmap import BINARY_LABELMAP, array_of, empty_grid, first_voxel, ijk_to_ras_of, image_of, nearest_on_grid
from .placement import geometry_of, ijk_to_ras, transform_between, transformed


def read_back(
    node: Node,
    ct_node: Node,
    schema: LabelSchema,
    decided: tuple[str, ...],
    original: Volume | None = None,
    mapping: Mapping[str, int | None] | None = None,
) -> EditedSegmentation:
    """Read a vtkMRMLSegmentationNode as one label map on the CT's grid, whatever was done to it.

    Nothing in the scene changes. Parent transforms of both nodes count, linear or not.

    Parameters
    ----------
    original
        The label map that was shown, to tell edited segments from others; without it only Slicer's own status (set by
        the Segment Editor, not by scripts) tells.
    mapping
        Segment id -> label value, or None to leave the segment out; for segments that would not be recognised.

    Raises
    ------
    InputError
        For a mapping of unknown segments or values, an original of another CT, two segments with the same voxels of
        one image, and segments that hold no voxels and cannot be turned into some.
    """
    geometry = geometry_of(ct_node)
    before = None if original is None else on_ct_grid(original, geometry)
    segmentation = _with_voxels(node, ct_node)
    found = identities(node)
    structures = structures_of(found, schema, mapping or {})
    to_ct, ct_to_ras = transform_between(node, ct_node), ijk_to_ras(ct_node)
    brought = [
        _on_grid(image, indices, to_ct, ct_to_ras, geometry.shape_kji, True)
        for image, indices in _images(segmentation, found, True)
    ]
    layers, resampled = [layer for layer, _moved in brought], any(moved for _layer, moved in brought)

    segments = [_found_segment(node, identity, segmentation) for identity in found]
    return edited_segmentation(
        layers, segments, structures, geometry, schema, before, resampled=resampled, decided=decided
    )


def labels_in_boxes(
    node: Node, ct_node: Node, schema: LabelSchema, original: npt.NDArray[Any], boxes_kji: Iterable[Box]
) -> Iterator[npt.NDArray[Any]]:
    """What ``read_back`` would give inside of each box of the CT's grid, in less than a millisecond for most.

    ``original`` is the label map that was shown, (k, j, i) on the CT's grid; segments that are not recognised, and
    surfaces without voxels, are left out.
    """
    found = identities(node)
    images = list(_images(node.GetSegmentation(), found, False))
    to_ct, ct_to_ras = transform_between(node, ct_node), ijk_to_ras(ct_node)
    values = [match.label.value if match.label else 0 for match in structures_of(found, schema, {})]
    dtype, unedited = smallest_dtype(schema.ignore_value), [False] * len(found)
    for box_kji in boxes_kji:
        before = original[tuple(slice(*span) for span in box_kji)]
        to_corner = np.eye(4)
        to_corner[:3, 3] = [start for start, _ in box_kji[::-1]]
        part = ct_to_ras @ to_corner
        layers = [_on_grid(image, indices, to_ct, part, before.shape, False)[0] for image, indices in images]
        cut = [
            Layer(layer.array[overlap[0]], tuple(span.start for span in overlap[1]), layer.segments)
            for layer in layers
            if (overlap := layer.inside(before.shape))
        ]
        shown = before if len(cut) > 1 else None  # only where segments overlap it matters which were edited
        yield compose(cut, values, unedited, before.shape, shown, dtype).labels


def on_ct_grid(labels: Volume, ct_geometry: Geometry) -> npt.NDArray[Any]:
    """The label map's array along the axes of the CT (a view).

    Raises
    ------
    InputError
        When it is not of this CT.
    """
    corners = corners_ijk(labels.geometry.shape_kji)
    exact = whole_voxels(np.linalg.inv(ct_geometry.ijk_to_ras) @ labels.geometry.ijk_to_ras, corners)
    if exact is None or not labels.geometry.same_voxels(ct_geometry):
        raise InputError(
            f"The label map (shape {labels.geometry.shape_kji}) does not lie on the voxels of the CT (shape "
            f"{ct_geometry.shape_kji}).",
            "Choose the CT that was segmented.",
        )
    return Layer.in_place(labels.array, {}, exact, corners).array


def _images(
    segmentation: VtkObject, found: Sequence[SegmentIdentity], check: bool
) -> Iterator[tuple[VtkObject, dict[int, int]]]:
    """The images of a vtkSegmentation, and which value in each is which of the segments.

    ``check``: leave out images without voxels, and raise InputError where two segments are the same voxels.
    """
    index_of = {identity.segment_id: index for index, identity in enumerate(found)}
    for number in range(segmentation.GetNumberOfLayers(BINARY_LABELMAP)):
        image = segmentation.GetLayerDataObject(number, BINARY_LABELMAP)
        if image is None or not array_of(image).size:
            continue
        if check and not array_of(image).any():  # takes long for a large image, and changes no label
            continue
        values: dict[int, int] = {}
        for segment_id in segmentation.GetSegmentIDsForLayer(number, BINARY_LABELMAP):
            segment = segmentation.GetSegment(segment_id)
            value = int(segment.GetLabelValue())
            if value in values and check and np.any(array_of(image) == value):
                raise InputError(
                    f"'{found[values[value]].name}' and '{segment.GetName()}' are the same voxels: both have the value "
                    f"{value} in one image of the segmentation.",
                    "Delete one of them, or paint it again.",
                )
            if value > 0:
                values[value] = index_of[segment_id]
        yield image, values


def identities(node: Node) -> tuple[SegmentIdentity, ...]:
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


def empty_segments(node: Node) -> tuple[str, ...]:
    """The ids of a segmentation node's segments that hold no voxels; surfaces that were never voxels are not looked at.

    As quick as one look at each voxel.
    """
    segmentation = node.GetSegmentation()
    empty: set[str] = set()
    for number in range(segmentation.GetNumberOfLayers(BINARY_LABELMAP)):
        there = set(values_in(array_of(segmentation.GetLayerDataObject(number, BINARY_LABELMAP))).tolist())
        ids = segmentation.GetSegmentIDsForLayer(number, BINARY_LABELMAP)
        empty.update(i for i in ids if segmentation.GetSegment(i).GetLabelValue() not in there)
    return tuple(segment_id for segment_id in segmentation.GetSegmentIDs() if segment_id in empty)


def _tag(segment: VtkObject, key: str) -> str | None:
    value = vtk.reference("")
    return str(value.get()) if segment.GetTag(key, value) else None


def _found_segment(node: Node, identity: SegmentIdentity, segmentation: VtkObject) -> FoundSegment:
    display, logic = node.GetDisplayNode(), slicer.vtkSlicerSegmentationsModuleLogic
    status = logic.GetSegmentStatus(segmentation.GetSegment(identity.segment_id))
    visible = display is None or bool(display.GetSegmentVisibility(identity.segment_id))
    return FoundSegment(identity, bool(status != logic.NotStarted), visible)


def _with_voxels(node: Node, ct_node: Node) -> VtkObject:
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
    image: VtkObject,
    values: Mapping[int, int],
    to_ct: FloatArray | VtkObject,
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
            return Layer.in_place(array, values, exact, corners), False
    if array is not whole:
        image = image_of(array, ijk_to_ras_of(image), first_voxel(image)[::-1])
    resampled = nearest_on_grid(image, empty_grid(ct_ijk_to_ras, (0, 0, 0), shape_kji), to_ct)
    brought, first = _whole_numbers(resampled), first_voxel(resampled)
    if not count_losses:
        return Layer(brought, first, values), True
    return Layer.resampled(brought, first, values, array, _way(image, to_ct, ct_ijk_to_ras), shape_kji), True


def _way(image: VtkObject, to_ct: FloatArray | VtkObject, ct_ijk_to_ras: FloatArray) -> ToCt:
    """From indices (n, 3), each (k, j, i), in the image's array to those of the CT."""
    first, from_ijk, to_ijk = np.array(first_voxel(image)), ijk_to_ras_of(image), np.linalg.inv(ct_ijk_to_ras)

    def way(points_kji: FloatArray) -> FloatArray:
        ras = transformed(to_ct, (points_kji + first)[:, ::-1] @ from_ijk[:3, :3].T + from_ijk[:3, 3])
        return (ras @ to_ijk[:3, :3].T + to_ijk[:3, 3])[:, ::-1]

    return way


def _whole_numbers(image: VtkObject) -> npt.NDArray[Any]:
    """The image's voxels; label maps that came as floating point are rounded."""
    array = array_of(image)
    return array if array.dtype.kind in "iu" else np.rint(np.nan_to_num(array)).astype(np.int32)

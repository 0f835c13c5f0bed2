"""A label map as Slicer's segmentation node: made once, wrapped once, read back after the user worked on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer

from activeseg.errors import InputError
from activeseg.labels import Label, LabelSchema
from activeseg.segment_matching import LABEL_NAME_TAG, LABEL_VALUE_TAG, matches, segment_id_of, tag_text
from activeseg.volume import Geometry

from .edited import EditedSegmentation, identities, read_back
from .hierarchy import place_under
from .labelmap import BINARY_LABELMAP, image_of
from .placement import geometry_of, ijk_to_ras, put_under_transform_of

SCHEMA_ATTRIBUTE = "ActiveSeg.Schema"
DECIDED_ATTRIBUTE = "ActiveSeg.Decided"


class SegmentationNode:
    """A vtkMRMLSegmentationNode that holds structures of one LabelSchema on the grid of one CT.

    Attributes
    ----------
    node : the vtkMRMLSegmentationNode
    ct_node : the vtkMRMLScalarVolumeNode that it belongs to
    schema : all structures of the model
    decided : names of the structures that the prediction decided
    """

    def __init__(self, node: Any, ct_node: Any, schema: LabelSchema, decided: Iterable[str]) -> None:
        self.node = node
        self.ct_node = ct_node
        self.schema = schema
        self.decided = tuple(decided)

    @classmethod
    def create(
        cls,
        scene: Any,
        ct_node: Any,
        labels: npt.NDArray[Any],
        schema: LabelSchema,
        decided: Iterable[str],
        name: str,
        provenance: Mapping[str, str] | None = None,
    ) -> SegmentationNode:
        """Show a label map as a new segmentation under the CT.

        All structures share one image (Slicer's shared labelmap), which takes a fraction of a second for 117 of them. A
        decided structure without voxels becomes an empty segment: the model looked for it, so a user who finds that it
        was missed can paint it at once, under the right name, code and value.

        Parameters
        ----------
        labels : (k, j, i) on the grid of ``ct_node``, whole numbers: 0 and values of decided structures
        decided : names of the structures that the label map decides; each becomes a segment
        provenance : kept as node attributes ``ActiveSeg.<key>`` (``Model``, ``PredictionId``, ...); they live in
            scenes, a ``.seg.nrrd`` keeps only the segments' own tags

        Raises InputError when the label map has another shape or other values.
        """
        geometry = geometry_of(ct_node)
        wanted = set(decided)
        structures = [label for label in schema.labels if label.name in wanted]
        for unknown in wanted - set(schema.names):
            schema.named(unknown)
        _check_labels(labels, geometry, schema, structures)

        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        put_under_transform_of(node, ct_node)
        node.SetReferenceImageGeometryParameterFromVolumeNode(ct_node)
        dtype = np.uint8 if schema.ignore_value <= np.iinfo(np.uint8).max else np.uint16
        image = image_of(labels, ijk_to_ras(ct_node), dtype=dtype)
        was_modifying = node.StartModify()
        for label in structures:
            node.GetSegmentation().AddSegment(_segment(label, image), segment_id_of(label))
        node.EndModify(was_modifying)

        made = cls(node, ct_node, schema, [label.name for label in structures])
        node.SetAttribute(SCHEMA_ATTRIBUTE, json.dumps(schema.to_dict()))
        node.SetAttribute(DECIDED_ATTRIBUTE, json.dumps(made.decided))
        for key, value in (provenance or {}).items():
            node.SetAttribute(f"ActiveSeg.{key}", str(value))
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetOpacity2DFill(0.3)
        display.SetVisibility2DOutline(True)
        place_under(scene, ct_node, node)
        return made

    @classmethod
    def wrap(
        cls,
        node: Any,
        ct_node: Any = None,
        schema: LabelSchema | None = None,
        decided: Iterable[str] | None = None,
    ) -> SegmentationNode:
        """A segmentation that is in the scene already; what is not given is what ``create`` stored in the node.

        Raises InputError when the node does not say which CT or which model it belongs to.
        """
        if ct_node is None:
            ct_node = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
        if ct_node is None:
            raise InputError(
                f"The segmentation '{node.GetName()}' does not say which CT it belongs to.", "Choose the CT."
            )
        if schema is None:
            stored = node.GetAttribute(SCHEMA_ATTRIBUTE)
            if not stored:
                raise InputError(
                    f"The segmentation '{node.GetName()}' does not say which structures its model knows.",
                    "Choose the model or dataset that it belongs to.",
                )
            schema = LabelSchema.from_dict(json.loads(stored))
        if decided is None:
            decided = json.loads(node.GetAttribute(DECIDED_ATTRIBUTE) or "[]")
        return cls(node, ct_node, schema, decided)

    def segment_id(self, label: Label) -> str | None:
        """The id of the segment that is this structure now, whatever the user renamed; None when there is none."""
        return next(
            (
                segment_id
                for segment_id, match in matches(identities(self.node), self.schema).items()
                if match.label is label
            ),
            None,
        )

    def add_structure(self, label: Label) -> str:
        """Add an empty segment for a structure that has none (or return the one it has); gives its id."""
        existing = self.segment_id(label)
        if existing:
            return existing
        segment_id = self.node.GetSegmentation().GenerateUniqueSegmentID(segment_id_of(label))
        self.node.GetSegmentation().AddSegment(_segment(label, None), segment_id)
        return str(segment_id)

    def provenance(self, key: str) -> str | None:
        """What ``create`` was told to keep under ``key``."""
        value = self.node.GetAttribute(f"ActiveSeg.{key}")
        return str(value) if value is not None else None

    def read_back(
        self, original: npt.NDArray[Any] | None = None, mapping: Mapping[str, int | None] | None = None
    ) -> EditedSegmentation:
        """What the user made of it, as one label map on the CT's grid; see ``edited.read_back``."""
        return read_back(self.node, self.ct_node, self.schema, self.decided, original, mapping)


def _check_labels(labels: npt.NDArray[Any], geometry: Geometry, schema: LabelSchema, structures: list[Label]) -> None:
    if tuple(labels.shape) != geometry.shape_kji:
        raise InputError(
            f"The label map has shape {tuple(labels.shape)} (k, j, i), the CT {geometry.shape_kji}.",
            "Choose the CT that was segmented.",
        )
    if labels.dtype.kind not in "iub":
        raise InputError(f"A label map holds whole numbers, not {labels.dtype}.")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest > len(schema):
        raise InputError(
            f"The label map has values {lowest} to {highest}, but the model's structures are 1 to {len(schema)}.",
            "Replace values that are no structure (such as 'ignore') before showing it.",
        )
    if len(structures) == len(schema):
        return
    seen = np.zeros(len(schema) + 1, bool)
    for plane in labels:
        seen[plane] = True
    undecided = [schema.name_of(v) for v in np.flatnonzero(seen) if v and schema.labels[v - 1] not in structures]
    if undecided:
        raise InputError(f"The label map has voxels of '{undecided[0]}', which is not among its decided structures.")


def _segment(label: Label, image: Any) -> Any:
    """A vtkSegment with the structure's name, colour, code and our tags; ``image`` may be None for an empty one."""
    segment = slicer.vtkSegment()
    segment.SetName(label.name)
    segment.SetNameAutoGenerated(False)
    segment.SetColor(*(component / 255 for component in label.color))
    segment.SetColorAutoGenerated(False)
    if label.terminology:
        segment.SetTerminology(label.terminology.slicer_string())
    segment.SetTag(LABEL_VALUE_TAG, label.value)
    segment.SetTag(LABEL_NAME_TAG, tag_text(label.name))
    if image is not None:
        segment.SetLabelValue(label.value)
        segment.AddRepresentation(BINARY_LABELMAP, image)
    return segment

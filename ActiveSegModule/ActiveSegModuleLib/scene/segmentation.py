"""A label map as Slicer's segmentation node: made once, wrapped once, read back after the user worked on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import slicer

from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.label_map import smallest_dtype, values_in
from activeseg.core.labels import Label, LabelSchema
from activeseg.core.segments.matching import LABEL_NAME_TAG, LABEL_VALUE_TAG, matches, segment_id_of, tag_text
from activeseg.core.segments.read_back import EditedSegmentation, ignore_label
from activeseg.core.volume import Volume

from ..slicer_types import Node, Scene, VtkObject
from .edited import empty_segments, identities, on_ct_grid, read_back
from .hierarchy import place_under
from .labelmap import BINARY_LABELMAP, image_of
from .placement import geometry_of, put_under_transform_of

SCHEMA_ATTRIBUTE = "ActiveSeg.Schema"
DECIDED_ATTRIBUTE = "ActiveSeg.Decided"
_CT_ROLE = "ActiveSeg.Ct"
_KNOWS_CT_ATTRIBUTE = "ActiveSeg.KnowsCt"


def set_ct(node: Node, ct_node: Node) -> None:
    """Say which CT a segmentation is of; it is edited on the CT's voxels, until the user chooses others."""
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct_node)
    node.SetNodeReferenceID(_CT_ROLE, ct_node.GetID())
    node.SetAttribute(_KNOWS_CT_ATTRIBUTE, "1")


def ct_of(node: Node) -> Node:
    """The CT that a segmentation is of; None when it was removed.

    Slicer's own reference names the volume on whose voxels it is edited, which need not be the CT. Scenes of earlier
    versions have no other.
    """
    own = node.GetAttribute(_KNOWS_CT_ATTRIBUTE) is not None
    return node.GetNodeReference(_CT_ROLE if own else node.GetReferenceImageGeometryReferenceRole())


class SegmentationNode:
    """A vtkMRMLSegmentationNode that holds structures of one LabelSchema on the grid of one CT.

    Attributes
    ----------
    node : the vtkMRMLSegmentationNode
    ct_node : the vtkMRMLScalarVolumeNode that it belongs to
    schema : all structures of the model
    decided : names of the structures that the prediction decided
    """

    def __init__(self, node: Node, ct_node: Node, schema: LabelSchema, decided: Iterable[str]) -> None:
        self.node = node
        self.ct_node = ct_node
        self.schema = schema
        self.decided = tuple(decided)

    @classmethod
    def create(
        cls,
        scene: Scene,
        ct_node: Node,
        labels: Volume,
        schema: LabelSchema,
        decided: Iterable[str],
        name: str,
        provenance: Mapping[str, str] | None = None,
    ) -> SegmentationNode:
        """Show a label map as a new segmentation under the CT.

        All structures share one image (Slicer's shared labelmap), which takes a fraction of a second for 117 of them.
        Only what was found becomes a segment: Slicer takes 0.2 s for each at every saving, empty or not. A user who
        finds that a structure was missed gets it from ``add_structure``, under the right name, code and value.

        Parameters
        ----------
        labels : whole numbers: 0, values of decided structures, and the schema's ``ignore`` (which becomes a grey
            segment); on the grid of ``ct_node``, or on the same grid stored from another corner: Slicer turns
            left-handed images around when it reads them
        decided : names of the structures that the label map decides, found or not
        provenance : kept as node attributes ``ActiveSeg.<key>`` (``Model``, ``PredictionId``, ...); they live in
            scenes, a ``.seg.nrrd`` keeps only the segments' own tags

        Raises InputError when the label map is not of this CT, or has other values.
        """
        wanted = {schema.named(name) for name in decided}
        structures = [label for label in schema.labels if label in wanted]
        values = _checked_values(labels, geometry_of(ct_node), schema, structures)
        shown = [label for label in (*structures, ignore_label(schema)) if label.value in values]

        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        put_under_transform_of(node, ct_node)
        set_ct(node, ct_node)
        image = image_of(labels.array, labels.geometry.ijk_to_ras, dtype=smallest_dtype(schema.ignore_value))
        was_modifying = node.StartModify()
        for label in shown:
            node.GetSegmentation().AddSegment(_segment(label, image, label.value), segment_id_of(label))
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

    def segment_id(self, label: Label) -> str | None:
        """The id of the segment that is this structure now, whatever the user renamed; None when there is none."""
        return next(
            (
                segment_id
                for segment_id, match in matches(identities(self.node), self.schema).items()
                if match.label == label
            ),
            None,
        )

    def add_structure(self, label: Label) -> str:
        """Add an empty segment for a structure that has none (or return the one it has); gives its id."""
        existing = self.segment_id(label)
        if existing:
            return existing
        segmentation = self.node.GetSegmentation()
        segment_id = str(segmentation.GenerateUniqueSegmentID(segment_id_of(label)))
        if segmentation.GetNumberOfLayers(BINARY_LABELMAP):
            # It shares the others' image, as with Slicer's own button: one of its own makes files twice as large.
            image = segmentation.GetLayerDataObject(0, BINARY_LABELMAP)
            value = segmentation.GetUniqueLabelValueForSharedLabelmap(image)
            segmentation.AddSegment(_segment(label, image, value), segment_id)
        else:
            segmentation.AddEmptySegment(segment_id, label.name)
            _describe(segmentation.GetSegment(segment_id), label)
        return segment_id

    def add_absent_structures(self) -> tuple[str, ...]:
        """Add an empty segment for each decided structure that has none; gives the ids of what was added."""
        absent = [label for label in self.absent_structures() if label.name in self.decided]
        return tuple(self.add_structure(label) for label in absent)

    def absent_structures(self) -> tuple[Label, ...]:
        """The model's structures that have no segment, in the model's order."""
        found = {match.label for match in matches(identities(self.node), self.schema).values()}
        return tuple(label for label in self.schema.labels if label not in found)

    def empty_segments(self) -> tuple[str, ...]:
        """The ids of segments without a single voxel, which a list of segments need not show."""
        return empty_segments(self.node)

    def provenance(self, key: str) -> str | None:
        """What ``create`` was told to keep under ``key``."""
        value = self.node.GetAttribute(f"ActiveSeg.{key}")
        return str(value) if value is not None else None

    def read_back(
        self, original: Volume | None = None, mapping: Mapping[str, int | None] | None = None
    ) -> EditedSegmentation:
        """What the user made of it, as one label map on the CT's grid; see ``edited.read_back``."""
        return read_back(self.node, self.ct_node, self.schema, self.decided, original, mapping)


def _checked_values(
    labels: Volume, ct_geometry: Geometry, schema: LabelSchema, structures: list[Label]
) -> frozenset[int]:
    """The values that the label map has. Raises InputError when it cannot be shown."""
    on_ct_grid(labels, ct_geometry)
    if labels.array.dtype.kind not in "iu":
        raise InputError(f"A label map holds whole numbers, not {labels.array.dtype}.")
    values = [int(value) for value in values_in(labels.array)]
    if values[0] < 0 or values[-1] > schema.ignore_value:
        raise InputError(
            f"The label map has values {values[0]} to {values[-1]}, but the model's structures are 1 to {len(schema)}.",
            "Choose the label map that belongs to this model.",
        )
    shown = {0, schema.ignore_value, *(label.value for label in structures)}
    undecided = next((value for value in values if value not in shown), None)
    if undecided is not None:
        name = schema.name_of(undecided)
        raise InputError(f"The label map has voxels of '{name}', which is not among its decided structures.")
    return frozenset(values)


def _segment(label: Label, image: VtkObject, value: int) -> VtkObject:
    """A vtkSegment of a structure: the voxels of an image that have this value."""
    segment = slicer.vtkSegment()
    _describe(segment, label)
    segment.SetLabelValue(value)
    segment.AddRepresentation(BINARY_LABELMAP, image)
    return segment


def _describe(segment: VtkObject, label: Label) -> None:
    """Give a vtkSegment the structure's name, colour, code and our tags."""
    segment.SetName(label.name)
    segment.SetNameAutoGenerated(False)
    segment.SetColor(*(component / 255 for component in label.color))
    segment.SetColorAutoGenerated(False)
    if label.terminology:
        segment.SetTerminology(label.terminology.slicer_string())
    segment.SetTag(LABEL_VALUE_TAG, label.value)
    segment.SetTag(LABEL_NAME_TAG, tag_text(label.name))

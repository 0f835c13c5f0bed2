"""One segmentation of one CT with everything that belongs to it: found again in any scene, by its nodes alone."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.core.geometry import Box, Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.segments.read_back import EditedSegmentation
from activeseg.core.volume import Volume

from ..slicer_types import Node, Scene
from .alternatives import OfferedAlternative, offered_in
from .companions import (
    ALTERNATIVES_ROLE,
    ORIGINAL_ROLE,
    REGIONS_ROLE,
    UNCERTAINTY_ROLE,
    companions_of,
    copy_of,
    hidden_label_map,
    hidden_text,
    own_companions_of,
    refer,
    referred,
    remove_companions,
    segmentations_in,
)
from .edited import labels_in_boxes, on_ct_grid
from .hierarchy import place_under
from .labelmap import array_of
from .placement import geometry_of, put_under_transform_of
from .regions import RegionTable
from .segmentation import DECIDED_ATTRIBUTE, SCHEMA_ATTRIBUTE, SegmentationNode, ct_of, set_ct
from .uncertainty import UncertaintyVolume
from .views import take_out
from .volume_node import fingerprint, volume_of
from .written import bytes_text, names_in, number_in, record_in, schema_in, text_bytes

ID_ATTRIBUTE = "ActiveSeg.PredictionId"
RECORD_ATTRIBUTE = "ActiveSeg.Record"
_PREVIEW_ATTRIBUTE = "ActiveSeg.Preview"
_NOTES_ATTRIBUTE = "ActiveSeg.Notes"
_SECONDS_ATTRIBUTE = "ActiveSeg.Seconds"
IMAGE_ATTRIBUTE = "ActiveSeg.Image"
_PATIENT_ATTRIBUTE = "ActiveSeg.Patient"


class Case:
    """A segmentation node that ActiveSeg made, and the nodes that it refers to.

    The scene is the only place where this is kept, so a saved scene allows review, export and drafts anywhere.

    ``node`` is the vtkMRMLSegmentationNode.
    """

    def __init__(self, node: Node) -> None:
        self.node = node

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Case) and other.node is self.node

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def create(
        cls,
        scene: Scene,
        ct_node: Node,
        labels: Volume,
        record: Mapping[str, Any],
        name: str,
        id: str = "",
        preview: bool = False,
    ) -> Case:
        """Show a label map; regions and uncertainty are added when they are there.

        Parameters
        ----------
        labels
            On the CT's grid, values of the record's schema
        record
            The fields of ``prediction.json``; of a case of a dataset, which has no prediction, ``schema``, ``decided``
            and ``origin``
        id
            Of the prediction; empty makes a new one
        preview
            A better one is on its way, and may take its place

        Raises InputError when the label map is not of this CT.
        """
        schema, decided = LabelSchema.from_dict(record["schema"]), record["decided"]
        provenance = {"Model": record.get("model", ""), "Created": record.get("created", "")}
        segmentation = SegmentationNode.create(scene, ct_node, labels, schema, decided, name, provenance)
        node = segmentation.node
        made = cls(node)
        node.SetAttribute(ID_ATTRIBUTE, id or uuid.uuid4().hex)
        node.SetAttribute(RECORD_ATTRIBUTE, json.dumps(dict(record)))
        node.SetAttribute(IMAGE_ATTRIBUTE, fingerprint(ct_node))
        if preview:
            node.SetAttribute(_PREVIEW_ATTRIBUTE, "1")
        original = hidden_label_map(scene, ct_node, labels, f"{name}, as predicted")
        refer(node, ORIGINAL_ROLE, original, ct_node)
        return made

    @classmethod
    def of(cls, node: Node) -> Case | None:
        """The case of a segmentation node, or None when ActiveSeg did not make it."""
        if node is None or not node.IsA("vtkMRMLSegmentationNode") or not node.GetAttribute(ID_ATTRIBUTE):
            return None
        case = cls(node)
        try:
            readable = set(case.decided) <= set(case.schema.names) and case.record is not None
        except InputError:  # a scene may come from anywhere
            return None
        return case if readable else None

    @classmethod
    def all_in(cls, scene: Scene) -> list[Case]:
        """All cases of a scene, oldest first. A segmentation that the user cloned becomes a case of its own here."""
        cases: list[Case] = []
        for node in segmentations_in(scene):
            case = cls.of(node)
            if case is not None:
                same = next((other for other in cases if other.id == case.id), None)
                if same is not None:
                    case._part_from(same)
                cases.append(case)
        return cases

    @classmethod
    def newest_of(cls, scene: Scene, ct_node: Node) -> Case | None:
        """The case of a CT that was made last; a preview only where there is no other."""
        cases = [case for case in cls.all_in(scene) if case.has_ct and case.ct_node is ct_node]
        whole = [case for case in cases if not case.is_preview]
        return next(reversed(whole or cases), None)

    @property
    def id(self) -> str:
        return str(self.node.GetAttribute(ID_ATTRIBUTE))

    @property
    def name(self) -> str:
        return str(self.node.GetName())

    @property
    def record(self) -> dict[str, Any]:
        """The fields of ``prediction.json``."""
        return dict(record_in(self.node.GetAttribute(RECORD_ATTRIBUTE) or ""))

    def update_record(self, record: Mapping[str, Any]) -> None:
        """More became known: the members that vote, for example."""
        self.node.SetAttribute(RECORD_ATTRIBUTE, json.dumps(dict(record)))

    @property
    def origin(self) -> Mapping[str, str] | None:
        """``dataset`` and ``case`` of what was opened from a dataset; None for a prediction."""
        return self.record.get("origin")

    @property
    def is_preview(self) -> bool:
        return self.node.GetAttribute(_PREVIEW_ATTRIBUTE) == "1"

    @property
    def schema(self) -> LabelSchema:
        return schema_in(self.node.GetAttribute(SCHEMA_ATTRIBUTE) or "")

    @property
    def decided(self) -> tuple[str, ...]:
        return names_in(self.node.GetAttribute(DECIDED_ATTRIBUTE) or "")

    @property
    def ct_node(self) -> Node:
        """Raises InputError when the CT was removed from the scene."""
        ct_node = ct_of(self.node)
        if ct_node is None:
            raise InputError(f"The CT of '{self.name}' is no longer in the scene.", "Load the CT again.")
        return ct_node

    @property
    def has_ct(self) -> bool:
        """Without one nothing can be shown, edited or exported."""
        return ct_of(self.node) is not None

    def fits(self, volume_node: Node) -> bool:
        """Whether a volume is this case's CT, maybe loaded again: the same values on the same voxels."""
        known = self.node.GetAttribute(IMAGE_ATTRIBUTE)
        if known and fingerprint(volume_node) != known:
            return False  # quickly: a checksum of all voxels takes half a second
        try:
            volume = volume_of(volume_node)
            if not self.original.geometry.same_voxels(volume.geometry):
                return False
        except InputError:
            return False
        checksums = {str(image.get("sha256")) for image in self.record.get("images", {}).values()}
        return volume.sha256() in checksums if checksums else bool(known)

    def take_ct(self, volume_node: Node) -> None:
        """Belong to a volume from now on, in place of a CT that was removed from the scene."""
        set_ct(self.node, volume_node)
        table = self.regions
        if table is not None:
            table.set_ct(volume_node)
        for node in (self.node, *self.companions()):
            place_under(self.node.GetScene(), volume_node, node)
        self.follow_ct()

    def follow_ct(self) -> None:
        """Put what belongs to the CT under the transform that it is under now.

        The segmentation goes along, unless the user gave it a transform of its own. Nothing moves when the CT's own
        voxels were moved (a transform was hardened): then they are no longer those that were segmented.
        """
        original = self.original_node
        if not self.has_ct or original is None:
            return
        ct_node = self.ct_node
        try:
            if not geometry_of(original).same_voxels(geometry_of(ct_node)):
                return
        except InputError:
            return
        together = original.GetTransformNodeID() == self.node.GetTransformNodeID()
        moved = False
        for node in (*self.companions(), *([self.node] if together else [])):
            if node.IsA("vtkMRMLTransformableNode") and node.GetTransformNodeID() != ct_node.GetTransformNodeID():
                put_under_transform_of(node, ct_node)
                moved = True
        table = self.regions
        if moved and table is not None:
            table.update_centers()

    @property
    def image_has_changed(self) -> bool:
        """Whether the CT's voxels are others than when the case was made: another frame of a sequence, for example."""
        known = self.node.GetAttribute(IMAGE_ATTRIBUTE)
        return bool(known) and fingerprint(self.ct_node) != known

    @property
    def segmentation(self) -> SegmentationNode:
        return SegmentationNode(self.node, self.ct_node, self.schema, self.decided)

    @property
    def original_node(self) -> Node:
        """The label map volume that holds ``original``; None when it was removed."""
        return next(referred(self.node, ORIGINAL_ROLE, "vtkMRMLVolumeNode"), None)

    @property
    def original(self) -> Volume:
        """The label map as it was predicted (a view of the node's voxels). Raises InputError when it was removed."""
        node = self.original_node
        if node is None or node.GetImageData() is None:
            raise InputError(
                f"The prediction behind '{self.name}' was removed from the scene.", "Segment the CT again."
            )
        return Volume(array_of(node.GetImageData()), geometry_of(node), "labels")

    @property
    def notes(self) -> str:
        """The user's own words about the case."""
        return self.node.GetAttribute(_NOTES_ATTRIBUTE) or ""

    @notes.setter
    def notes(self, text: str) -> None:
        self.node.SetAttribute(_NOTES_ATTRIBUTE, text or None)

    @property
    def patient(self) -> str:
        """Whose CT it is, as the user said: in the scene only, which holds the patient's CT anyway."""
        return self.node.GetAttribute(_PATIENT_ATTRIBUTE) or ""

    @patient.setter
    def patient(self, patient: str) -> None:
        self.node.SetAttribute(_PATIENT_ATTRIBUTE, patient or None)

    @property
    def seconds(self) -> float:
        """Time that the user spent on the case."""
        return number_in(self.node.GetAttribute(_SECONDS_ATTRIBUTE))

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self.node.SetAttribute(_SECONDS_ATTRIBUTE, f"{seconds:.1f}")

    def set_regions(self, entries: Iterable[Mapping[str, Any]], patches: bytes, geometry: Geometry) -> None:
        """Keep the regions (entries of ``regions.json``) and the bytes of ``alternatives.npz``, in place of any before.

        ``geometry`` is the prediction's grid, on which boxes and patches count.
        """
        scene, ct_node = self.node.GetScene(), self.ct_node
        for role in (REGIONS_ROLE, ALTERNATIVES_ROLE):
            remove_companions(self.node, role)
        table = RegionTable.create(scene, ct_node, entries, geometry, f"{self.name}, regions")
        refer(self.node, REGIONS_ROLE, table.node, ct_node)
        text = hidden_text(scene, bytes_text(patches), f"{self.name}, alternatives")
        refer(self.node, ALTERNATIVES_ROLE, text, ct_node)

    @property
    def regions(self) -> RegionTable | None:
        """None before they are known, for a case of a dataset, and where the list cannot be read."""
        node = next(referred(self.node, REGIONS_ROLE, "vtkMRMLTableNode"), None)
        table = RegionTable(node) if node is not None else None
        return table if table is not None and table.is_readable else None

    @property
    def patches(self) -> bytes:
        """The bytes of ``alternatives.npz``; empty when there are none, or they cannot be read."""
        node = next(referred(self.node, ALTERNATIVES_ROLE, "vtkMRMLTextNode"), None)
        return text_bytes(node.GetText() or "") if node is not None else b""

    def alternatives(self, number: int) -> tuple[OfferedAlternative, ...]:
        """What members would draw in a region instead, most votes first. Raises InputError for damaged patches."""
        table, patches = self.regions, self.patches
        if table is None or not patches:
            return ()
        return offered_in(table, number, patches, self.name, len(self.record.get("members", ())))

    def add_uncertainty(self, measure: str, uncertainty: Volume, shown: bool = False) -> UncertaintyVolume:
        """Keep a measure's map, in place of an earlier one of that measure; ``shown`` is the one that shows first."""
        existing = self.uncertainty.get(measure)
        if existing is not None:
            existing.hide()  # else Slicer's views turn to another volume in its place
            self.node.GetScene().RemoveNode(existing.node)
        title = measure.replace("_", " ")
        threshold = float(self.record.get("threshold", 0.25))
        name = f"{self.name}, {title}"
        made = UncertaintyVolume.create(
            self.node.GetScene(), self.ct_node, uncertainty, measure, threshold, name, hidden=not shown
        )
        self.node.AddNodeReferenceID(UNCERTAINTY_ROLE, made.node.GetID())
        return made

    @property
    def uncertainty(self) -> dict[str, UncertaintyVolume]:
        """The maps by measure."""
        found = (UncertaintyVolume(node) for node in referred(self.node, UNCERTAINTY_ROLE, "vtkMRMLScalarVolumeNode"))
        return {volume.measure: volume for volume in found}

    def labels_in(self, box_kji: Box) -> npt.NDArray[Any]:
        """What the segmentation says now in a box of the CT's grid, (k, j, i); quick."""
        return next(self.labels_in_each([box_kji]))

    def labels_in_each(self, boxes_kji: Iterable[Box]) -> Iterator[npt.NDArray[Any]]:
        """The same for each of many boxes, in much less time."""
        return labels_in_boxes(self.node, self.ct_node, self.schema, self.original_on_ct(), boxes_kji)

    def original_on_ct(self) -> npt.NDArray[Any]:
        """The predicted label map along the CT's axes, (k, j, i)."""
        return on_ct_grid(self.original, geometry_of(self.ct_node))

    def read_back(self, mapping: Mapping[str, int | None] | None = None) -> EditedSegmentation:
        """What the user made of it, as one label map on the CT's grid."""
        return self.segmentation.read_back(self.original, mapping)

    @property
    def is_modified(self) -> bool:
        """Whether its segments or the states of its regions changed since the scene was saved or loaded."""
        nodes = (self.node, self.node.GetNodeReference(REGIONS_ROLE))
        return any(node is not None and node.GetModifiedSinceRead() for node in nodes)

    @property
    def touched(self) -> bool:
        """Whether anything was edited, added or deleted since it was made."""
        found = self.read_back()
        return bool(
            found.deleted or found.added or found.unmatched or any(segment.edited for segment in found.segments)
        )

    def companions(self) -> tuple[Node, ...]:
        """The nodes that this segmentation refers to; one that the user cloned shares what nobody changes."""
        return companions_of(self.node)

    def own_companions(self) -> tuple[Node, ...]:
        """The nodes that make no sense without the segmentation: no other one refers to them."""
        return own_companions_of(self.node)

    def remove(self) -> None:
        """Take the segmentation and all that belongs to it out of the scene."""
        scene, companions = self.node.GetScene(), self.own_companions()
        take_out(scene, {companion.GetID() for companion in companions})
        for node in (*companions, self.node):
            scene.RemoveNode(node)

    def _part_from(self, other: Case) -> None:
        """A clone has an id, a list of regions and decisions of its own; what nobody changes it shares."""
        self.node.SetAttribute(ID_ATTRIBUTE, uuid.uuid4().hex)
        table, theirs = self.regions, other.regions
        if table is not None and theirs is not None and table.node is theirs.node:
            copy, ct_node = copy_of(table.node, f"{self.name}, regions"), ct_of(self.node)
            if ct_node is not None:
                RegionTable(copy).set_ct(ct_node)
            refer(self.node, REGIONS_ROLE, copy, ct_node)

"""A small CT with five structures in a scene, which tests of the scene work on."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from slicer_application import SlicerCore

from activeseg.core.correction import patch_names
from activeseg.core.geometry import Geometry
from activeseg.core.labels import Code, LabelSchema, Terminology
from activeseg.core.volume import Volume
from ActiveSegModuleLib.scene import case as prediction_case
from ActiveSegModuleLib.scene.segmentation import DECIDED_ATTRIBUTE, SCHEMA_ATTRIBUTE, SegmentationNode, ct_of

SHAPE = (24, 30, 36)
ANATOMY = Code("SCT", "123037004", "Anatomical Structure")
LIVER = Terminology(ANATOMY, Code("SCT", "10200004", "Liver"))
KIDNEY = Code("SCT", "64033007", "Kidney")
SCHEMA = LabelSchema.from_names(
    ["liver", "kidney_left", "kidney_right", "spleen", "aorta"],
    terminology={
        "liver": LIVER,
        "kidney_left": Terminology(ANATOMY, KIDNEY, Code("SCT", "7771000", "Left")),
        "kidney_right": Terminology(ANATOMY, KIDNEY, Code("SCT", "24028007", "Right")),
    },
)
PLAIN = Geometry(SHAPE, (1.5, 1.5, 3.0), (10.0, -20.0, 30.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def oblique() -> Geometry:
    """Rotated about two axes, with the second axis flipped (left-handed), unequal spacing."""
    a, b = np.radians(20), np.radians(-35)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    direction = about_z @ about_x @ np.diag([1, -1, 1])
    return Geometry(SHAPE, (0.7, 1.1, 2.3), (-7.0, 12.0, 130.0), tuple(direction.ravel()))


def boxes() -> np.ndarray:
    """Structures 1 to 4 as boxes that touch, some at the border of the image; 5 (aorta) has no voxels."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:12, 5:15, 0:14] = 1
    labels[4:12, 15:22, 3:14] = 2
    labels[13:20, 5:15, 20:36] = 3
    labels[20:24, 20:28, 20:30] = 4
    return labels


def from_scene(node: Any) -> SegmentationNode:
    """A segmentation that was loaded with its scene."""
    schema = LabelSchema.from_dict(json.loads(node.GetAttribute(SCHEMA_ATTRIBUTE)))
    return SegmentationNode(node, ct_of(node), schema, json.loads(node.GetAttribute(DECIDED_ATTRIBUTE)))


@dataclass(frozen=True)
class Case:
    """A CT and the segmentation that ``labels`` became."""

    core: SlicerCore
    ct: Any
    original: Volume
    segmentation: SegmentationNode

    @property
    def labels(self) -> np.ndarray:
        return self.original.array

    @property
    def segments(self) -> Any:
        return self.segmentation.node.GetSegmentation()

    def id(self, name: str) -> str:
        """The id of a structure's segment."""
        found = self.segmentation.segment_id(SCHEMA.named(name))
        assert found is not None
        return found

    def segment(self, name: str) -> Any:
        return self.segments.GetSegment(self.id(name))


def make_case(core: SlicerCore, geometry: Geometry = PLAIN, transform: Any = None) -> Case:
    """A CT on that grid, under that transform, with the boxes shown on it; the aorta has an empty segment."""
    ct = core.add_volume(np.zeros(geometry.shape_kji, np.int16), geometry)
    if transform is not None:
        ct.SetAndObserveTransformNodeID(transform.GetID())
    labels = Volume(boxes(), geometry)
    segmentation = SegmentationNode.create(
        core.scene, ct, labels, SCHEMA, SCHEMA.names, "Prediction", {"Model": "test", "PredictionId": "p-1"}
    )
    segmentation.add_absent_structures()
    return Case(core, ct, labels, segmentation)


BOX = ((4, 12), (5, 18), (0, 14))
RECORD = {
    "model": "demo",
    "created": "2026-01-01T00:00:00+00:00",
    "schema": SCHEMA.to_dict(),
    "decided": list(SCHEMA.names),
    "members": [{"name": "fold 0", "kind": "trained"}, {"name": "fold 1", "kind": "trained"}],
    "measure": "variance",
    "threshold": 0.3,
}
# The liver's upper half and the left kidney; one alternative gives a plane of the liver to the kidney.
REGION = {
    "number": 1,
    "box_kji": [list(span) for span in BOX],
    "center_ras_mm": [0.0, 0.0, 0.0],
    "score": 0.4,
    "structures": ["liver"],
    "size_voxels": 40,
    "size_mm3": 270.0,
    "votes": {"liver": 3},
    "alternatives": [{"summary": "2 members: + 0.1 ml kidney_left"}],
    "state": "open",
}


OTHER_REGION = {
    **REGION,
    "number": 2,
    "box_kji": [[13, 20], [5, 15], [20, 36]],
    "score": 0.2,
    "structures": ["kidney_right"],
    "alternatives": [],
}


def patches() -> bytes:
    """The first plane of the region's liver is taken by the left kidney."""
    size = tuple(stop - start for start, stop in BOX)
    changed = np.zeros(size, bool)
    changed[0, :10] = True
    labels, mask = patch_names(1, 1)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{labels: np.where(changed, 2, 0).astype(np.uint8), mask: changed})
    return buffer.getvalue()


def whole_case(core: SlicerCore, geometry: Geometry = PLAIN) -> prediction_case.Case:
    """A prediction in a scene as the panel makes it: label map, two regions, an alternative, two measures."""
    ct = core.add_volume(np.zeros(geometry.shape_kji, np.int16), geometry)
    case = prediction_case.Case.create(core.scene, ct, Volume(boxes(), geometry), RECORD, "CT segmentation")
    case.set_regions([REGION, OTHER_REGION], patches(), geometry)
    for measure, value in (("variance", 0.5), ("entropy", 0.25)):
        case.add_uncertainty(measure, Volume(np.full(geometry.shape_kji, value, np.float32), geometry))
    return case

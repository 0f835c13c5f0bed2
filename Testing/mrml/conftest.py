"""Makes both packages importable from the checkout, and gives every test an application and a small CT."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml"):
    sys.path.insert(0, str(ROOT / folder))

from slicer_application import SlicerCore  # noqa: E402

from activeseg.labels import Code, LabelSchema, Terminology  # noqa: E402
from activeseg.volume import Geometry, Volume  # noqa: E402
from ActiveSegModuleLib.scene.segmentation import SegmentationNode  # noqa: E402

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


@pytest.fixture
def core() -> SlicerCore:
    return SlicerCore.start()


@pytest.fixture
def make_case(core: SlicerCore):
    """``make_case(geometry)``: a CT on that grid with the boxes shown on it."""

    def make(geometry: Geometry = PLAIN, transform: Any = None) -> Case:
        ct = core.add_volume(np.zeros(geometry.shape_kji, np.int16), geometry)
        if transform is not None:
            ct.SetAndObserveTransformNodeID(transform.GetID())
        labels = Volume(boxes(), geometry)
        segmentation = SegmentationNode.create(
            core.scene, ct, labels, SCHEMA, SCHEMA.names, "Prediction", {"Model": "test", "PredictionId": "p-1"}
        )
        return Case(core, ct, labels, segmentation)

    return make


@pytest.fixture
def case(make_case) -> Case:
    return make_case()

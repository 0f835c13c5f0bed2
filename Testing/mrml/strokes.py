"""What a user does in the Segment Editor: strokes, and segments of their own."""

from __future__ import annotations

import numpy as np
import slicer
from scene_cases import SHAPE

from ActiveSegModuleLib.scene.labelmap import BINARY_LABELMAP, image_of
from ActiveSegModuleLib.scene.placement import ijk_to_ras

LOGIC = slicer.vtkSlicerSegmentEditorLogic


def paint(case, segment_id, box, mode=LOGIC.ModificationModeAdd, overwrite=0):
    """One stroke of the Segment Editor: ``box`` is (k, j, i) slices; overwrite 0 = all other segments, 2 = none."""
    editor = case.core.editor(case.segmentation.node, case.ct)
    editor.GetSegmentEditorNode().SetOverwriteMode(overwrite)
    shape = [s.stop - s.start for s in box]
    first = [s.start for s in box[::-1]]
    stroke = image_of(np.ones(shape, np.uint8), ijk_to_ras(case.ct), first)
    editor.SaveStateForUndo()
    editor.ModifySegmentByLabelmap(case.segmentation.node, segment_id, stroke, mode, False, False)
    return editor


def add_segment(case, name, array=None, first_ijk=(0, 0, 0), terminology=None, segment_id=""):
    segment = slicer.vtkSegment()
    segment.SetName(name)
    if terminology:
        segment.SetTerminology(terminology)
    if array is not None:
        segment.AddRepresentation(BINARY_LABELMAP, image_of(array.astype(np.uint8), ijk_to_ras(case.ct), first_ijk))
    case.segments.AddSegment(segment, segment_id)
    return case.segments.GetSegmentIdBySegment(segment)


def cube(box):
    mask = np.zeros(SHAPE, bool)
    mask[box] = True
    return mask

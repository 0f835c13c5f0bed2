"""Alternative labellings of a region: what is offered, and taking one as one step of the Segment Editor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer

from activeseg.core.correction import patch_names
from activeseg.core.errors import InputError, shown
from activeseg.core.geometry import Box, Geometry
from activeseg.io.npz import read_npz

from ..slicer_types import VtkObject
from .labelmap import image_of, nearest_on_grid
from .placement import transform_between
from .regions import RegionTable
from .segmentation import SegmentationNode

_MOST_PATCH_BYTES = 1 << 30


@dataclass(frozen=True)
class LabelPatch:
    """What to write where.

    Attributes
    ----------
    box_kji : half-open index ranges on ``geometry``, the grid of the prediction
    labels : (k, j, i) over the box, values of the schema, 0 = background
    changed : (k, j, i) boolean over the box: the only voxels that are written
    """

    geometry: Geometry
    box_kji: Box
    labels: npt.NDArray[Any]
    changed: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        size = tuple(stop - start for start, stop in self.box_kji)
        if self.labels.shape != size or self.changed.shape != size:
            raise InputError(
                f"The patch's box has {size} voxels, its labels {self.labels.shape}, its mask {self.changed.shape}."
            )

    def parts(self) -> Iterator[LabelPart]:
        """What is written, value by value, each no larger than it is: a patch may be as large as the CT."""
        where = np.nonzero(self.changed)
        written = self.labels[where]
        first = np.array([start for start, _ in self.box_kji])
        for value in np.unique(written).tolist():
            places = np.array([axis[written == value] for axis in where])
            low = places.min(axis=1)
            mask = np.zeros(places.max(axis=1) - low + 1, bool)
            mask[tuple(places - low[:, None])] = True
            yield LabelPart(int(value), tuple((first + low).tolist()), mask)


@dataclass(frozen=True, eq=False)
class LabelPart:
    """The voxels of a patch that get one value: ``mask`` (k, j, i), whose first voxel is ``first_kji`` of the grid."""

    value: int
    first_kji: tuple[int, ...]
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class OfferedAlternative:
    """What members would draw in a region instead.

    Attributes
    ----------
    summary : one line in English
    patch : what taking it writes
    structure : whose voxels it adds most, or takes most away where it only erases; empty where nothing would change
    erases : whether it only takes voxels away
    votes : how many members would draw it so, of ``of``; ``of`` is 0 where that is not known
    members : their names
    prompts : to how many prompts of the user it is the answer; 0 for what members would draw
    """

    summary: str
    patch: LabelPatch
    structure: str = ""
    erases: bool = False
    votes: int = 0
    of: int = 0
    members: tuple[str, ...] = ()
    prompts: int = 0


def offered_in(
    table: RegionTable, number: int, patches: bytes, name: str, members: int = 0
) -> tuple[OfferedAlternative, ...]:
    """The alternatives of a region, most votes first.

    Parameters
    ----------
    patches
        The bytes of ``alternatives.npz``
    name
        Of the case, for an error
    members
        How many vote in all; 0 where that is not known

    Raises
    ------
    InputError
        When the list or the patches are damaged, or there is no such region.
    """
    try:
        region, entry = table.region(number), table.entry(number)
        parts = [patch_names(number, n) for n in range(1, len(entry["alternatives"]) + 1)]
        wanted = {part for pair in parts for part in pair}
        arrays = read_npz(patches, _MOST_PATCH_BYTES, f"The list of alternatives of '{name}'", only=wanted)
        return tuple(
            _offered(offered, LabelPatch(table.geometry, region.box_kji, arrays[labels], arrays[changed]), members)
            for offered, (labels, changed) in zip(entry["alternatives"], parts, strict=True)
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"The alternatives of '{name}' are damaged: {shown(error)}.") from error


def _offered(entry: Mapping[str, Any], patch: LabelPatch, members: int) -> OfferedAlternative:
    """From an entry of ``regions.json``."""
    gains, loses = entry.get("gains", {}), entry.get("loses", {})
    most = max(gains or loses, key=lambda name: int((gains or loses)[name]["voxels"]), default="")
    names, votes = tuple(str(member) for member in entry.get("members", ())), int(entry.get("votes", 0))
    of = members if members >= votes else 0
    return OfferedAlternative(str(entry["summary"]), patch, str(most), not gains, votes, of, names)


def apply_alternative(
    editor_logic: VtkObject,
    segmentation: SegmentationNode,
    patch: LabelPatch,
    save_state: Callable[[], None] | None = None,
) -> None:
    """Write a patch into a segmentation as one undoable edit; each changed voxel then belongs to exactly one segment.

    Parameters
    ----------
    editor_logic : vtkSlicerSegmentEditorLogic; its editor node's masks and overwrite mode are set aside meanwhile,
        because the patch already says which voxels it means
    save_state : how to store the state for undo, where that is not ``editor_logic.SaveStateForUndo``: the Segment
        Editor's widget keeps a logic of its own, so pass its ``saveStateForUndo``

    A structure without a segment gets one. Raises InputError for values that the schema does not know, and where the
    segmentation was moved relative to its CT, because then the patch would land elsewhere.
    """
    schema = segmentation.schema
    values = np.unique(patch.labels[patch.changed])
    if values.size and (values[0] < 0 or values[-1] > len(schema)):
        raise InputError(f"The patch has label value {values[-1]}; the structures are 1 to {len(schema)}.")
    to_ct = transform_between(segmentation.node, segmentation.ct_node)
    if not isinstance(to_ct, np.ndarray) or not np.allclose(to_ct, np.eye(4), atol=1e-3):
        raise InputError(
            f"The segmentation '{segmentation.node.GetName()}' was moved by a transform that its CT does not have.",
            "Put both under the same transform, then take the alternative.",
        )
    if not values.size:
        return
    (save_state or editor_logic.SaveStateForUndo)()
    node = segmentation.node
    with _writing_freely(editor_logic):
        for part in patch.parts():
            stroke = _stroke(editor_logic, patch.geometry, part)
            if part.value:
                mode, segment_id = (
                    editor_logic.ModificationModeAdd,
                    segmentation.add_structure(schema.labels[part.value - 1]),
                )
            else:
                mode, segment_id = editor_logic.ModificationModeRemoveAll, node.GetSegmentation().GetNthSegmentID(0)
            editor_logic.ModifySegmentByLabelmap(node, segment_id, stroke, mode, False, False)


def _stroke(editor_logic: VtkObject, geometry: Geometry, part: LabelPart) -> VtkObject:
    """The part as the editor's brush would draw it: on the segmentation's own grid, which the user may have refined."""
    stroke = image_of(part.mask, geometry.ijk_to_ras, part.first_kji[::-1], np.uint8)
    editor_logic.UpdateReferenceGeometryImage()
    grid = editor_logic.GetReferenceGeometryImage()
    if slicer.vtkOrientedImageDataResample.DoGeometriesMatch(stroke, grid):
        return stroke
    return nearest_on_grid(stroke, grid, np.eye(4))


@contextmanager
def _writing_freely(editor_logic: VtkObject) -> Iterator[None]:
    """Every segment may be overwritten and nothing is masked; the user's settings return, with one event for all."""
    editor = editor_logic.GetSegmentEditorNode()
    overwrite, mask, intensity = editor.GetOverwriteMode(), editor.GetMaskMode(), editor.GetSourceVolumeIntensityMask()
    was_modifying = editor.StartModify()
    try:
        editor.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
        editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
        editor.SetSourceVolumeIntensityMask(False)
        yield
    finally:
        editor.SetOverwriteMode(overwrite)
        editor.SetMaskMode(mask)
        editor.SetSourceVolumeIntensityMask(intensity)
        editor.EndModify(was_modifying)

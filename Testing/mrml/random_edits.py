"""A scene that is edited at random, by all that Slicer's Segment Editor offers without its window."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
import slicer
import vtk
from scene_cases import SCHEMA, boxes
from sitk_reference import RawSegment, expected, raw_segments, wrong_voxels
from slicer_application import SlicerCore
from vtk.util.numpy_support import vtk_to_numpy

from activeseg.core.geometry import Geometry
from activeseg.core.segments.matching import segment_id_of
from activeseg.core.segments.read_back import ignore_label
from activeseg.core.volume import Volume
from activeseg.io.seg_nrrd import SegmentationFile
from ActiveSegModuleLib.scene.layers import Snapshot, put, take
from ActiveSegModuleLib.scene.segmentation import SegmentationNode

BINARY = "Binary labelmap"
EDITOR = slicer.vtkSlicerSegmentEditorLogic
MODES = (
    EDITOR.ModificationModeAdd,
    EDITOR.ModificationModeSet,
    EDITOR.ModificationModeRemove,
    EDITOR.ModificationModeRemoveAll,
)
NODE = slicer.vtkMRMLSegmentationNode
MASKS = (
    NODE.EditAllowedEverywhere,
    NODE.EditAllowedInsideAllSegments,
    NODE.EditAllowedInsideVisibleSegments,
    NODE.EditAllowedOutsideAllSegments,
    NODE.EditAllowedOutsideVisibleSegments,
    NODE.EditAllowedInsideSingleSegment,
)
NAMES = ("Leber", "größer: ä|b", "spleen", "liver", "Segment_1", "kidney left", "x^y~z", "name", "ignore")
MOST_SEGMENTS = 11
FINEST = 3


class Mismatch(AssertionError):
    """The scene and the reference differ."""


class EditedScene:
    """A CT with a segmentation, what each segment means, and one random edit after the other.

    ``done`` names the operations so far, ``checks`` counts the comparisons.
    """

    def __init__(self, core: SlicerCore, seed: int, geometry: Geometry) -> None:
        self.core = core
        self.rng = np.random.default_rng(seed)
        self.geometry = geometry
        shape = geometry.shape_kji
        ramp = np.linspace(-200, 300, shape[0])[:, None, None]
        self.hu = (ramp + self.rng.normal(0, 60, shape)).astype(np.int16)
        self.ct = core.add_volume(self.hu, geometry)
        labels = boxes()
        labels[20:24, 0:6, 0:9] = SCHEMA.ignore_value
        self.original = Volume(labels, geometry)
        made = SegmentationNode.create(core.scene, self.ct, self.original, SCHEMA, SCHEMA.names, "Edited")
        self.segmentation = made
        self.node = made.node
        made.add_absent_structures()
        self.value_of = {segment_id_of(label): label.value for label in (*SCHEMA.labels, ignore_label(SCHEMA))}
        self.ours = tuple(self.value_of)
        self.editor = core.editor(self.node, self.ct)
        self.editor.SetMaximumNumberOfUndoStates(8)
        self.fineness = 1
        self.number = 0
        self.done: dict[str, int] = {}
        self.checks = 0
        self.file_checks = 0
        self.last = ""
        self.operations: list[tuple[int, Callable[[], None]]] = [
            (10, self.stroke),
            (3, self.stroke_across_the_border),
            (3, self.threshold),
            (3, self.logical_operator),
            (3, self.islands),
            (3, self.margin),
            (2, self.smooth),
            (2, self.clear),
            (1, self.rename),
            (1, self.recolour),
            (2, self.add),
            (1, self.copy),
            (1, self.delete),
            (1, self.reorder),
            (4, self.undo),
            (3, self.redo),
            (1, self.hide),
            (1, self.flag),
            (2, self.transform),
            (1, self.harden),
            (2, self.change_fineness),
            (1, self.resample_all),
            (2, self.collapse),
            (2, self.separate),
            (1, self.through_a_draft),
        ]

    # What is there.

    def ids(self) -> list[str]:
        return list(self.segments.GetSegmentIDs())

    @property
    def segments(self) -> Any:
        return self.node.GetSegmentation()

    def any_id(self) -> str:
        ids = self.ids()
        return ids[int(self.rng.integers(len(ids)))]

    def mapping(self) -> dict[str, int | None]:
        """What the user says about segments that are not the prediction's."""
        return {i: self.value_of[i] or None for i in self.ids() if i not in self.ours}

    def to_ct(self) -> np.ndarray:
        """4 x 4, from the segmentation's RAS to the CT's."""
        parent = self.node.GetParentTransformNode()
        if parent is None:
            return np.eye(4)
        matrix = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(matrix)
        return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])

    # One edit.

    def edit(self) -> None:
        """One random operation."""
        weights = np.array([weight for weight, _ in self.operations], float)
        operation = self.operations[int(self.rng.choice(len(weights), p=weights / weights.sum()))][1]
        self.last = operation.__name__
        if not self.ids() and operation.__name__ not in ("undo", "redo"):
            operation = self.add
        operation()
        for segment_id in self.ids():  # undo brings deleted ones back
            self.value_of.setdefault(segment_id, 0)
        self.done[self.last] = self.done.get(self.last, 0) + 1
        self.number += 1

    def apply(self, mask: np.ndarray | None = None, image: Any = None, segment_id: str = "", mode: Any = None) -> None:
        """A modifier through the editor's logic, with random settings of the editor. ``mask`` lies on its own grid."""
        segment_id = segment_id or self.any_id()
        node = self.editor.GetSegmentEditorNode()
        node.SetSelectedSegmentID(segment_id)
        node.SetOverwriteMode(int(self.rng.integers(3)))
        node.SetMaskMode(int(self.rng.choice(MASKS)) if self.rng.random() < 0.4 else NODE.EditAllowedEverywhere)
        node.SetMaskSegmentID(self.any_id())
        node.SetSourceVolumeIntensityMask(bool(self.rng.random() < 0.2))
        low = float(self.rng.uniform(-300, 200))
        node.SetSourceVolumeIntensityMaskRange(low, low + float(self.rng.uniform(50, 300)))
        if mode is None:
            mode = MODES[int(self.rng.choice(len(MODES), p=[0.5, 0.15, 0.2, 0.15]))]
        self.editor.SaveStateForUndo()
        if image is None:
            image = self.modifier()
            voxels(image)[...] = mask
        per_segment, bypass = bool(self.rng.random() < 0.2), bool(self.rng.random() < 0.2)
        self.editor.ModifySegmentByLabelmap(self.node, segment_id, image, mode, per_segment, bypass)

    def modifier(self) -> Any:
        """The editor's own modifier image, empty, on the grid that it edits on."""
        self.editor.UpdateReferenceGeometryImage()
        self.editor.ResetModifierLabelmapToDefault()
        return self.editor.GetModifierLabelmap()

    def mask_of(self, segment_id: str) -> np.ndarray:
        """A segment's voxels on the grid that the editor edits on."""
        image = self.modifier()
        found, own = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
        self.node.GetBinaryLabelmapRepresentation(segment_id, own)
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(own, image, found)
        if found.GetPointData().GetScalars() is None:
            return np.zeros(voxels(image).shape, bool)
        return voxels(found) != 0

    # The operations.

    def stroke(self) -> None:
        shape = voxels(self.modifier()).shape
        self.apply(blob(self.rng, shape))

    def stroke_across_the_border(self) -> None:
        reach = np.array([self.rng.integers(-6, n) for n in self.geometry.shape_kji[::-1]])
        size = self.rng.integers(2, 9, 3)
        image = slicer.vtkOrientedImageData()
        ends = [(int(a), int(a + n - 1)) for a, n in zip(reach, size, strict=True)]
        image.SetExtent(*itertools.chain.from_iterable(ends))
        image.SetGeometryFromImageToWorldMatrix(matrix_of(self.geometry.ijk_to_ras))
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        voxels(image)[...] = 1
        self.apply(image=image)

    def threshold(self) -> None:
        image = self.modifier()
        shape = voxels(image).shape
        zoom = [n // s for n, s in zip(shape, self.hu.shape, strict=True)]
        hu = np.kron(self.hu, np.ones(zoom, np.int16)) if min(zoom) >= 1 else None
        if hu is None or hu.shape != shape:
            hu = self.rng.normal(0, 100, shape)
        low = self.rng.uniform(-200, 300)
        self.apply((hu > low) & (hu < low + 40), mode=EDITOR.ModificationModeSet)

    def logical_operator(self) -> None:
        mask = self.mask_of(self.any_id())
        if self.rng.random() < 0.3:
            mask = ~mask
        self.apply(mask)

    def islands(self) -> None:
        segment_id = self.any_id()
        parts, count = scipy.ndimage.label(self.mask_of(segment_id))
        if count:
            sizes = np.bincount(parts.ravel())[1:]
            self.apply(parts == 1 + int(sizes.argmax()), segment_id=segment_id, mode=EDITOR.ModificationModeSet)

    def margin(self) -> None:
        segment_id = self.any_id()
        change = scipy.ndimage.binary_dilation if self.rng.random() < 0.5 else scipy.ndimage.binary_erosion
        self.apply(change(self.mask_of(segment_id)), segment_id=segment_id, mode=EDITOR.ModificationModeSet)

    def smooth(self) -> None:
        segment_id = self.any_id()
        smoothed = scipy.ndimage.median_filter(self.mask_of(segment_id), 3)
        self.apply(smoothed, segment_id=segment_id, mode=EDITOR.ModificationModeSet)

    def clear(self) -> None:
        self.editor.SaveStateForUndo()
        slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(self.node, self.any_id())

    def rename(self) -> None:
        self.segments.GetSegment(self.any_id()).SetName(str(self.rng.choice(NAMES)))

    def recolour(self) -> None:
        self.segments.GetSegment(self.any_id()).SetColor(*self.rng.random(3))

    def add(self) -> None:
        if len(self.ids()) >= MOST_SEGMENTS:
            return
        self.editor.SaveStateForUndo()
        added = self.segments.AddEmptySegment("", str(self.rng.choice(NAMES)))
        self.value_of[added] = int(self.rng.integers(0, SCHEMA.ignore_value))

    def copy(self) -> None:
        if len(self.ids()) >= MOST_SEGMENTS:
            return
        self.editor.SaveStateForUndo()
        segment = slicer.vtkSegment()
        segment.DeepCopy(self.segments.GetSegment(self.any_id()))
        added = self.segments.GenerateUniqueSegmentID("copy")
        self.segments.AddSegment(segment, added)
        self.value_of[added] = int(self.rng.integers(0, SCHEMA.ignore_value))

    def delete(self) -> None:
        self.editor.SaveStateForUndo()
        self.segments.RemoveSegment(self.any_id())

    def reorder(self) -> None:
        self.segments.ReorderSegments(self.rng.permutation(self.ids()).tolist())

    def undo(self) -> None:
        self.editor.Undo()

    def redo(self) -> None:
        self.editor.Redo()

    def hide(self) -> None:
        display = self.node.GetDisplayNode()
        segment_id = self.any_id()
        display.SetSegmentVisibility(segment_id, not display.GetSegmentVisibility(segment_id))

    def flag(self) -> None:
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        logic.SetSegmentStatus(self.segments.GetSegment(self.any_id()), int(self.rng.integers(4)))

    def transform(self) -> None:
        """Off, by whole voxels, or turned and shifted by anything."""
        kind = self.rng.integers(4)
        if kind < 2:
            self.node.SetAndObserveTransformNodeID(None)
            return
        matrix = np.eye(4)
        if kind == 2:
            matrix[:3, 3] = self.geometry.ijk_to_ras[:3, :3] @ self.rng.integers(-4, 5, 3)
        else:
            angle, axis = self.rng.uniform(-0.3, 0.3), self.rng.normal(size=3)
            matrix[:3, :3] = rotation(axis / np.linalg.norm(axis), angle)
            centre = self.geometry.ras_of_ijk(np.array(self.geometry.shape_kji[::-1]) / 2)
            matrix[:3, 3] = centre - matrix[:3, :3] @ centre + self.rng.uniform(-4, 4, 3)
        self.node.SetAndObserveTransformNodeID(self.core.add_transform(matrix).GetID())

    def harden(self) -> None:
        if self.node.GetParentTransformNode() is not None:
            self.node.HardenTransform()
            self.editor.ClearUndoState()

    def change_fineness(self) -> None:
        """The grid that is edited on from now on: Slicer's *Specify geometry* with another oversampling factor."""
        self.fineness = int(self.rng.integers(1, FINEST + 1))
        grid = self.fine_grid()
        self.segments.SetConversionParameter(
            slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(),
            slicer.vtkSegmentationConverter.SerializeImageGeometry(grid),
        )

    def fine_grid(self) -> Any:
        n = self.fineness
        corner = np.diag([1 / n, 1 / n, 1 / n, 1.0])
        corner[:3, 3] = (1 / n - 1) / 2
        grid = slicer.vtkOrientedImageData()
        k, j, i = self.geometry.shape_kji
        grid.SetExtent(0, i * n - 1, 0, j * n - 1, 0, k * n - 1)
        grid.SetGeometryFromImageToWorldMatrix(matrix_of(self.geometry.ijk_to_ras @ corner))
        return grid

    def resample_all(self) -> None:
        """What *Specify geometry* does to the voxels that are there."""
        grid = self.fine_grid()
        self.editor.SaveStateForUndo()
        for number in range(self.segments.GetNumberOfLayers(BINARY)):
            image = self.segments.GetLayerDataObject(number, BINARY)
            slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
                image, grid, image, False, True
            )

    def collapse(self) -> None:
        self.editor.SaveStateForUndo()
        self.segments.CollapseBinaryLabelmaps(bool(self.rng.random() < 0.4))

    def separate(self) -> None:
        self.editor.SaveStateForUndo()
        self.segments.SeparateSegmentLabelmap(self.any_id())

    def through_a_draft(self) -> None:
        snapshot = take(self.node)
        put(self.node, Snapshot(json.loads(json.dumps(snapshot.json)), [a.copy() for a in snapshot.arrays]))
        self.editor.ClearUndoState()

    # What must be true after each.

    def check(self) -> None:
        """The scene read back equals the reference. Raises Mismatch."""
        raw = raw_segments(self.node, self.value_of)
        found = self.segmentation.read_back(self.original, self.mapping())
        outside = {segment.segment_id: segment.outside_voxels for segment in found.segments}
        self._compare("The scene", found.labels, found.overlapping_voxels, outside, raw, self.to_ct())
        self.checks += 1

    def check_file(self, folder: Path) -> None:
        """What Slicer saves, read by our reader, equals the reference of what Slicer reads. Raises Mismatch."""
        path = folder / "edited.seg.nrrd"
        storage = slicer.vtkMRMLSegmentationStorageNode()
        self.core.scene.AddNode(storage)
        storage.SetFileName(str(path))
        storage.SetCropToMinimumExtent(bool(self.rng.random() < 0.5))
        written = storage.WriteData(self.node)
        self.core.scene.RemoveNode(storage)
        if not written:
            raise Mismatch(f"Slicer did not save after {self.last}.")
        again = self.core.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "saved")
        reader = slicer.vtkMRMLSegmentationStorageNode()
        reader.SetFileName(str(path))
        reader.ReadData(again)
        raw = raw_segments(again, self.value_of)
        self.core.scene.RemoveNode(again)
        file = SegmentationFile.read(path)
        mapping = {i: SCHEMA.name_of(v) if v else None for i, v in self.mapping().items() for v in [v or 0]}
        ids = {segment.id for segment in file.segments}
        try:
            read = file.label_map(
                self.geometry,
                SCHEMA,
                predicted=self.original.array,
                mapping={i: name for i, name in mapping.items() if i in ids},
            )
        except ValueError as error:
            raise Mismatch(f"The file cannot be read: {error}") from error
        outside = {s.id: found.outside_voxels for s, found in zip(file.segments, read.segments, strict=True)}
        self._compare("The file", read.labels, read.overlapping_voxels, outside, raw, np.eye(4))
        self.file_checks += 1

    def _compare(
        self,
        what: str,
        labels: np.ndarray,
        overlapping: int,
        outside: dict[str, int],
        raw: list[RawSegment],
        to_ct: np.ndarray,
    ) -> None:
        truth = expected(raw, self.geometry, self.original.array, to_ct)
        where = f"after edit {self.number} ({self.last})"
        wrong = wrong_voxels(labels, raw, self.geometry, self.original.array, to_ct)
        if len(wrong):
            at = tuple(wrong[0].tolist())
            raise Mismatch(
                f"{what} differs from the reference in {len(wrong)} voxels {where}; first at {at} (k, j, i): "
                f"{labels[at]} instead of {truth.labels[at]}."
            )
        if np.array_equal(labels, truth.labels) and overlapping != truth.overlapping:
            raise Mismatch(f"{what} tells {overlapping} overlapping voxels {where}, not {truth.overlapping}.")
        if outside != truth.outside:
            raise Mismatch(f"{what} tells voxels outside of the CT {outside} {where}, not {truth.outside}.")


def voxels(image: Any) -> np.ndarray:
    """An image's voxels (k, j, i), not copied."""
    e = image.GetExtent()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(e[5] - e[4] + 1, e[3] - e[2] + 1, e[1] - e[0] + 1)


def matrix_of(array: np.ndarray) -> Any:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, float).ravel())
    return matrix


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """3 x 3, about a unit vector (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def blob(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A ball, a box, or scattered voxels inside of one."""
    centre = [rng.uniform(0, n) for n in shape]
    radius = [rng.uniform(1, n / 4) for n in shape]
    offsets = [(np.arange(n) - c) / r for n, c, r in zip(shape, centre, radius, strict=True)]
    k, j, i = np.meshgrid(*offsets, indexing="ij", sparse=True)
    kind = rng.integers(3)
    if kind == 0:
        return k * k + j * j + i * i < 1
    box = (abs(k) < 1) & (abs(j) < 1) & (abs(i) < 1)
    return box if kind == 1 else box & (rng.random(shape) < 0.5)

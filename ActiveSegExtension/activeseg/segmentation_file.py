"""Slicer's ``.seg.nrrd``: a label map with named segments, several layers where they overlap. Needs no Slicer.

The keys are those of vtkMRMLSegmentationStorageNode: ``SegmentN_ID``, ``_Name``, ``_Color``, ``_LabelValue``,
``_Layer``, ``_Tags`` and so on. Layers are NRRD's first axis, of kind ``list``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.errors import InputError
from activeseg.label_map import check_label_map, label_counts, smallest_dtype
from activeseg.labels import IGNORE, Label, LabelSchema
from activeseg.segment_layers import Layer, compose
from activeseg.segment_matching import (
    LABEL_NAME_TAG,
    LABEL_VALUE_TAG,
    MatchedBy,
    SegmentIdentity,
    codes_of,
    matches,
    segment_id_of,
    tag_text,
)
from activeseg.volume import SAME_VOXEL, Geometry, Notice, Volume, replacing, warn

SUFFIX = ".seg.nrrd"
TERMINOLOGY_TAG = "TerminologyEntry"
STATUS_TAG = "Segmentation.Status"
IGNORE_COLOR = (128, 128, 128)
NEW_SEGMENT = "~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~~^^~^^"
"""What Slicer writes into every segment that has no meaning of its own: tissue."""

_BINARY = "Binary labelmap"


@dataclass(frozen=True)
class Segment:
    """One segment as the file has it: its voxels are those of ``layer`` that hold ``value``; ``color`` is 0..1 RGB."""

    id: str
    name: str
    color: tuple[float, float, float]
    value: int
    layer: int
    tags: Mapping[str, str]

    @property
    def identity(self) -> SegmentIdentity:
        """What it says about the structure that it is."""
        value = self.tags.get(LABEL_VALUE_TAG, "")
        terminology = self.tags.get(TERMINOLOGY_TAG, "")
        return SegmentIdentity(
            self.id,
            self.name,
            int(value) if value.isdecimal() else None,
            self.tags.get(LABEL_NAME_TAG),
            "" if codes_of(terminology) == codes_of(NEW_SEGMENT) else terminology,
        )

    @property
    def worked_on(self) -> bool:
        """Slicer's own mark: the Segment Editor sets a status with the first stroke."""
        return self.tags.get(STATUS_TAG, "notstarted").lower() != "notstarted"


@dataclass(frozen=True)
class SegmentRead:
    """What became of a segment: its structure (None: left out), what told it, and its voxels beyond the CT."""

    name: str
    structure: str | None
    by: MatchedBy
    edited: bool
    outside_voxels: int


@dataclass(frozen=True)
class EditedLabels:
    """The label map that a segmentation amounts to.

    Attributes
    ----------
    labels : (k, j, i) on the CT's grid, values of the schema, ``ignore`` included
    segments : one entry for each segment, in Slicer's order
    overlapping_voxels : voxels that more than one segment claimed; edited segments win, then later ones
    resampled : the segments lay on another grid and were taken by nearest neighbour
    """

    labels: npt.NDArray[Any]
    segments: tuple[SegmentRead, ...]
    overlapping_voxels: int
    resampled: bool

    def sentences(self) -> tuple[str, ...]:
        """What the user should read before this becomes truth; empty when there is nothing to tell."""
        told = [f"'{s.name}' is left out." for s in self.segments if s.structure is None]
        told += [f"'{s.name}' is read as '{s.structure}'." for s in self.segments if s.structure not in (None, s.name)]
        told += [
            f"'{s.name}' has {s.outside_voxels} voxels outside of the CT; they are cut off."
            for s in self.segments
            if s.outside_voxels
        ]
        if self.overlapping_voxels:
            told.append(f"Segments overlap in {self.overlapping_voxels} voxels: edited ones win, then lower rows.")
        if self.resampled:
            told.append("The segments lie on another grid than the CT: their voxels were taken by nearest neighbour.")
        return tuple(told)


@dataclass(frozen=True)
class SegmentationFile:
    """A ``.seg.nrrd``: ``layers`` (each (k, j, i), whole numbers) on the grid ``geometry``, and their segments."""

    geometry: Geometry
    layers: tuple[npt.NDArray[Any], ...]
    segments: tuple[Segment, ...]

    @classmethod
    def read(cls, path: str | Path, notice: Notice = warn) -> SegmentationFile:
        """Read a file that Slicer or ``write_segmentation`` wrote; a file cropped to its segments is fine.

        Raises InputError when it is damaged, holds no segments, or holds surfaces or fractions instead of labels.
        """
        from activeseg import itk_files

        path = Path(path).expanduser()
        if not path.is_file():
            raise InputError(f"There is no file '{path}'.", "Check the path.")
        image = itk_files.read_image(path, notice)
        keys = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment")}
        found = sorted(int(match[1]) for match in (re.fullmatch(r"Segment(\d+)_ID", key) for key in keys) if match)
        if not found:
            raise InputError(
                f"'{path.name}' holds no segments.",
                "Save the segmentation from Slicer as .seg.nrrd, or give a label map.",
            )
        kind = keys.get("Segmentation_SourceRepresentation", keys.get("Segmentation_MasterRepresentation", _BINARY))
        pixels = _pixels(image)
        if kind != _BINARY or pixels.dtype.kind not in "iu":
            raise InputError(
                f"'{path.name}' holds '{kind}' ({pixels.dtype}); labels are needed.",
                f"In Slicer's Segmentations module make '{_BINARY}' the source representation and save again.",
            )
        try:
            segments = tuple(_segment(keys, number, order) for order, number in enumerate(found))
        except ValueError as error:
            raise InputError(f"'{path.name}' is damaged: {error}.", "Save it from Slicer again.") from error
        for segment in segments:
            if segment.layer >= len(pixels):
                raise InputError(
                    f"'{path.name}' is damaged: '{segment.name}' is in layer {segment.layer} of {len(pixels)}.",
                    "Save it from Slicer again.",
                )
        return cls(_geometry(image), tuple(pixels), segments)

    def label_map(
        self,
        geometry: Geometry,
        schema: LabelSchema,
        *,
        predicted: npt.NDArray[Any] | None = None,
        mapping: Mapping[str, str | None] | None = None,
    ) -> EditedLabels:
        """All segments as one label map on the CT's grid.

        A segment is the structure that ``mapping`` says, else its tags, its terminology, its name
        (``segment_matching.matches``). Where segments overlap, one that was edited beats one that was not, then a later
        one beats an earlier one, as in Slicer's own export.

        Parameters
        ----------
        geometry : the CT's grid
        predicted : (k, j, i) label map that the user started from; a segment that differs from it was edited
        mapping : segment's name or id -> structure's name, or None to leave it out

        Raises InputError for a segment that is no structure of the schema, an unknown name in ``mapping``, and segments
        of which none lies inside the CT.
        """
        if predicted is not None:
            check_label_map(predicted, schema, geometry.shape_kji, "The predicted label map")
        values, found = self._values(schema, mapping or {})
        layers, resampled = [], False
        shift = _shift(self.geometry, geometry)
        for number, array in enumerate(self.layers):
            held = {segment.value: n for n, segment in enumerate(self.segments) if segment.layer == number}
            if shift is None:
                array = Volume(np.ascontiguousarray(array), self.geometry).resample_labels_to(geometry).array
                resampled = True
            layers.append(Layer(array, shift or (0, 0, 0), held))
        composed = compose(
            layers,
            values,
            [segment.worked_on for segment in self.segments],
            geometry.shape_kji,
            predicted,
            smallest_dtype(schema.ignore_value),
        )
        if any(array.any() for array in self.layers) and any(values) and not composed.labels.any():
            raise InputError("No segment lies inside the image.", "Check that segmentation and image belong together.")
        read = tuple(
            SegmentRead(segment.name, name, by, edited, outside)
            for segment, (name, by), edited, outside in zip(
                self.segments, found, composed.edited, composed.outside, strict=True
            )
        )
        return EditedLabels(composed.labels, read, composed.overlapping, resampled)

    def _values(
        self, schema: LabelSchema, mapping: Mapping[str, str | None]
    ) -> tuple[list[int], list[tuple[str | None, MatchedBy]]]:
        """For each segment its value in the schema (0: left out), its structure's name and what told it."""
        wanted = {}
        for key, structure in mapping.items():
            named = [s for s in self.segments if key in (s.id, s.name)]
            if not named:
                raise InputError(
                    f"There is no segment '{key}' in the segmentation.",
                    f"It has {', '.join(s.name for s in self.segments)}.",
                )
            if structure is not None and structure != IGNORE:
                schema.named(structure)
            wanted.update({s.id: structure for s in named})
        # No structure's clues mean ``ignore``, so its segment does not take part in the matching.
        ignored = {s.id for s in self.segments if wanted.get(s.id, s.tags.get(LABEL_NAME_TAG)) == IGNORE}
        match_of = matches(
            [s.identity for s in self.segments if s.id not in ignored],
            schema,
            {
                key: None if name is None else schema.named(name).value
                for key, name in wanted.items()
                if key not in ignored
            },
        )
        unknown = {
            s.name: match_of[s.id].reason
            for s in self.segments
            if s.id in match_of and match_of[s.id].by is MatchedBy.NOTHING
        }
        if unknown:
            raise InputError(
                f"It is not clear what these segments are: {'; '.join(f'{n!r}: {why}' for n, why in unknown.items())}.",
                "Map each to a structure, leave it out, or migrate the dataset to a schema that has it.",
                segments=list(unknown),
            )
        values: list[int] = []
        found: list[tuple[str | None, MatchedBy]] = []
        for segment in self.segments:
            if segment.id in ignored:
                values.append(schema.ignore_value)
                found.append((IGNORE, MatchedBy.MAPPING if segment.id in wanted else MatchedBy.TAG))
            else:
                match = match_of[segment.id]
                values.append(match.label.value if match.label else 0)
                found.append((match.label.name if match.label else None, match.by))
        return values, found


def is_segmentation_file(path: str | Path) -> bool:
    """Whether its name says that it is a segmentation of Slicer's."""
    return str(path).lower().endswith((SUFFIX, ".seg.nhdr"))


def write_segmentation(
    path: str | Path,
    labels: npt.NDArray[Any],
    geometry: Geometry,
    schema: LabelSchema,
    structures: Iterable[str] | None = None,
) -> None:
    """Write a label map as a ``.seg.nrrd`` that Slicer opens with names, colours, terminology and our tags.

    Parameters
    ----------
    labels : (k, j, i), values of ``schema``; ``ignore`` becomes a grey segment of that name
    structures : names of those that become segments, with or without voxels; None: those that have voxels

    Raises InputError for a value or name that the schema does not know, ActiveSegError when the disk is full. What was
    there stays until the new file is complete.
    """
    from activeseg import itk_files

    check_label_map(labels, schema, geometry.shape_kji, "The label map")
    wanted = {schema.named(name).value for name in structures or ()}
    wanted |= set(np.flatnonzero(label_counts(labels, schema)).tolist()) - {0}
    image = Volume(labels.astype(smallest_dtype(schema.ignore_value), copy=False), geometry).to_sitk()
    known = (*schema.labels, Label(schema.ignore_value, IGNORE, IGNORE_COLOR))
    for number, label in enumerate(label for label in known if label.value in wanted):
        for key, text in _keys(label, geometry).items():
            image.SetMetaData(f"Segment{number}_{key}", text)
    image.SetMetaData("Segmentation_ContainedRepresentationNames", f"{_BINARY}|")
    image.SetMetaData("Segmentation_MasterRepresentation", _BINARY)
    image.SetMetaData("Segmentation_ReferenceImageExtentOffset", "0 0 0")
    with replacing(Path(path), ".nrrd") as fresh:
        itk_files.write(fresh, image)


def _keys(label: Label, geometry: Geometry) -> dict[str, str]:
    """What the file says about a structure's segment."""
    tags = {LABEL_NAME_TAG: tag_text(label.name), LABEL_VALUE_TAG: str(label.value)}
    if label.terminology:
        tags[TERMINOLOGY_TAG] = label.terminology.slicer_string()
    k, j, i = geometry.shape_kji
    return {
        "ID": segment_id_of(label),
        "Name": label.name,
        "NameAutoGenerated": "0",
        "Color": " ".join(f"{component / 255:.6g}" for component in label.color),
        "ColorAutoGenerated": "0",
        "Extent": f"0 {i - 1} 0 {j - 1} 0 {k - 1}",
        "LabelValue": str(label.value),
        "Layer": "0",
        "Tags": "".join(f"{key}:{text}|" for key, text in tags.items()),
    }


def _segment(keys: Mapping[str, str], number: int, order: int) -> Segment:
    """The segment with this number; files from before Slicer 4.11 have a layer for each, with value 1."""

    def get(key: str, default: str = "") -> str:
        return keys.get(f"Segment{number}_{key}", default)

    tags = (entry.split(":", 1) for entry in get("Tags").split("|") if ":" in entry)
    red, green, blue = (float(v) for v in get("Color", "0.5 0.5 0.5").split())
    return Segment(
        get("ID"),
        get("Name", get("ID")),
        (red, green, blue),
        int(get("LabelValue", "1")),
        int(get("Layer", str(order))),
        dict(tags),
    )


def _pixels(image: Any) -> npt.NDArray[Any]:
    """(layer, k, j, i)."""
    import SimpleITK as sitk  # noqa: N813

    array = np.asarray(sitk.GetArrayFromImage(image))
    return (
        np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array.reshape(1, *array.shape[-3:])
    )


def _geometry(image: Any) -> Geometry:
    i, j, k = image.GetSize()[:3]
    return Geometry((k, j, i), image.GetSpacing()[:3], image.GetOrigin()[:3], tuple(image.GetDirection()))


def _shift(source: Geometry, target: Geometry) -> tuple[int, int, int] | None:
    """Index (k, j, i) in ``target`` of the first voxel of ``source``; None when their voxels do not coincide."""
    k, j, i = source.shape_kji
    corners = np.array([[a, b, c] for a in (0, i - 1) for b in (0, j - 1) for c in (0, k - 1)], float)
    there = target.ijk_of_ras(source.ras_of_ijk(corners))
    shift = np.rint(there[0] - corners[0])
    if np.abs(there - corners - shift).max() > SAME_VOXEL:
        return None
    return int(shift[2]), int(shift[1]), int(shift[0])

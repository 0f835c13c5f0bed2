"""Slicer's ``.seg.nrrd``: a label map with named segments, several layers where they overlap. Needs no Slicer.

The keys are those of vtkMRMLSegmentationStorageNode: ``SegmentN_ID``, ``_Name``, ``_Color``, ``_LabelValue``,
``_Layer``, ``_Tags`` and so on. Layers are NRRD's first axis, of kind ``list``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import ActiveSegError, InputError, Notice, warn
from activeseg.core.geometry import Geometry, corners_ijk, whole_voxels
from activeseg.core.label_map import check_label_map, label_counts, smallest_dtype
from activeseg.core.labels import IGNORE, Label, LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.segments.layers import Layer, ToCt, small_values
from activeseg.core.segments.matching import (
    LABEL_NAME_TAG,
    LABEL_VALUE_TAG,
    MatchedBy,
    SegmentIdentity,
    own_terminology,
    segment_id_of,
    tag_text,
    tag_value,
)
from activeseg.core.segments.read_back import (
    EditedSegmentation,
    FoundSegment,
    edited_segmentation,
    ignore_label,
    structures_of,
)
from activeseg.core.volume import Volume
from activeseg.system.files import replacing
from activeseg.system.regular_files import open_regular

SUFFIX = ".seg.nrrd"
_TERMINOLOGY_TAG = "TerminologyEntry"
_STATUS_TAG = "Segmentation.Status"

_BINARY = "Binary labelmap"
_OF_SEGMENT = re.compile(r"Segment([0-9]{1,7})_(?:ID|Name|LabelValue)")
_HEADER_BYTES = 1 << 16
_LARGEST_VALUE = 2**63 - 1


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
    def found(self) -> FoundSegment:
        """What it says about itself."""
        identity = SegmentIdentity(
            self.id,
            self.name,
            tag_value(self.tags.get(LABEL_VALUE_TAG)),
            self.tags.get(LABEL_NAME_TAG),
            own_terminology(self.tags.get(_TERMINOLOGY_TAG, "")),
        )
        return FoundSegment(identity, self.tags.get(_STATUS_TAG, "notstarted").lower() != "notstarted")


@dataclass(frozen=True)
class SegmentationFile:
    """A ``.seg.nrrd``: ``layers`` (each (k, j, i), whole numbers) on the grid ``geometry``, and their segments."""

    geometry: Geometry
    layers: tuple[npt.NDArray[Any], ...]
    segments: tuple[Segment, ...]

    @classmethod
    def read(cls, path: str | Path, notice: Notice = warn) -> SegmentationFile:
        """Read a file that Slicer or ``write_segmentation`` wrote; a file cropped to its segments is fine.

        Cropped to nothing it is one voxel of background: then the segments are empty, or all were deleted.

        Raises
        ------
        InputError
            When it is damaged, holds voxels but no segments, two segments that cannot be told apart, or surfaces or
            fractions instead of labels.
        """
        from activeseg.io import itk

        path = Path(path).expanduser()
        if not path.is_file():
            raise InputError(f"There is no file '{path}'.", "Check the path.")
        pixels, geometry, texts = itk.read_layers(path, notice)
        keys = {key: text for key, text in texts.items() if key.startswith("Segment")}
        kind = keys.get("Segmentation_SourceRepresentation", keys.get("Segmentation_MasterRepresentation", _BINARY))
        if kind != _BINARY or pixels.dtype.kind not in "iu":
            raise InputError(
                f"'{path.name}' holds '{kind}' ({pixels.dtype}); labels are needed.",
                f"In Slicer's Segmentations module make '{_BINARY}' the source representation and save again.",
            )
        found = sorted({int(match[1]) for match in map(_OF_SEGMENT.fullmatch, keys) if match})
        if not found and pixels.any():
            raise InputError(
                f"'{path.name}' holds no segments.",
                "Save the segmentation from Slicer as .seg.nrrd, or give a label map.",
            )
        header = _Header(path.name, keys, len(pixels), int(np.iinfo(pixels.dtype).max))
        segments = tuple(header.segment(number, order) for order, number in enumerate(found))
        _check_values(path.name, segments, pixels)
        return cls(geometry, tuple(pixels), _with_own_ids(segments, notice))

    def label_map(
        self,
        geometry: Geometry,
        schema: LabelSchema,
        *,
        predicted: npt.NDArray[Any] | None = None,
        mapping: Mapping[str, str | None] | None = None,
    ) -> EditedSegmentation:
        """All segments as one label map on the CT's grid.

        A segment is the structure that ``mapping`` says, else its tags, its terminology, its name
        (``segments.matching.matches``); overlaps are decided as ``segments.read_back`` says.

        Parameters
        ----------
        geometry
            The CT's grid.
        predicted
            (k, j, i) label map that the user started from; a segment that differs from it was edited.
        mapping
            Segment's name or id -> structure's name, or None to leave it out.

        Raises
        ------
        InputError
            For a segment that is no structure of the schema, an unknown name in ``mapping``, and segments of which
            none lies inside the CT.
        """
        if predicted is not None:
            check_label_map(predicted, schema, geometry.shape_kji, "The predicted label map")
        segments = [segment.found for segment in self.segments]
        found = structures_of([s.identity for s in segments], schema, self._by_id(mapping or {}, schema))
        unclear = {
            segment.identity.name: match.reason
            for segment, match in zip(segments, found, strict=True)
            if match.by is MatchedBy.NOTHING
        }
        if unclear:
            raise InputError(
                f"It is not clear what these segments are: {'; '.join(f'{n!r}: {why}' for n, why in unclear.items())}.",
                "Map each to a structure, leave it out, or migrate the dataset to a schema that has it.",
                segments=list(unclear),
            )
        layers, resampled = self._layers(geometry)
        read = edited_segmentation(layers, segments, found, geometry, schema, predicted, resampled=resampled)
        if read.is_beside_the_ct:
            raise InputError("No segment lies inside the image.", "Check that segmentation and image belong together.")
        return read

    def _by_id(self, mapping: Mapping[str, str | None], schema: LabelSchema) -> dict[str, int | None]:
        """The mapping by segment id and label value. Raises InputError for an unknown segment or structure."""
        found: dict[str, int | None] = {}
        for key, structure in mapping.items():
            named = [s for s in self.segments if key in (s.id, s.name)]
            if not named:
                there = ", ".join([s.name for s in self.segments[:10]] + ["..."] * (len(self.segments) > 10))
                raise InputError(f"There is no segment '{key}' in the segmentation.", f"It has {there}.")
            value = None
            if structure is not None:
                value = schema.ignore_value if structure == IGNORE else schema.named(structure).value
            found.update({s.id: value for s in named})
        return found

    def _layers(self, geometry: Geometry) -> tuple[list[Layer], bool]:
        """The layers that hold something, on the CT's grid, and whether one had to be resampled for that."""
        segments_of: list[dict[int, int]] = [{} for _ in self.layers]
        for number, segment in enumerate(self.segments):
            segments_of[segment.layer][segment.value] = number
        corners = corners_ijk(self.geometry.shape_kji)
        exact = whole_voxels(np.linalg.inv(geometry.ijk_to_ras) @ self.geometry.ijk_to_ras, corners)
        found = []
        for source, segments in zip(self.layers, segments_of, strict=True):
            if not source.any():
                continue  # cropped to nothing it lies anywhere
            array, held = small_values(source, segments)
            if exact is not None:
                found.append(Layer.in_place(array, held, exact, corners))
                continue
            stored = Volume(np.ascontiguousarray(array), self.geometry)
            brought = stored.resample_labels_to(geometry, may_miss=True).array
            to_ct = to_grid(self.geometry, geometry)
            found.append(Layer.resampled(brought, (0, 0, 0), held, stored.array, to_ct, geometry.shape_kji))
        return found, exact is None and bool(found)


def is_segmentation_file(path: str | Path) -> bool:
    """Whether it is a segmentation of Slicer's: its name says so, or it is an NRRD file whose header names segments."""
    name = Path(path).name.lower()
    if name.endswith((SUFFIX, ".seg.nhdr")):
        return True
    if not name.endswith((".nrrd", ".nhdr")) or not Path(path).is_file():
        return False
    with open_regular(Path(path)) as file:
        header = file.read(_HEADER_BYTES).partition(b"\n\n")[0]
    return re.search(rb"^Segment(ation|[0-9]+)_\w+:=", header, re.MULTILINE) is not None


def write_segmentation(
    path: str | Path,
    labels: npt.NDArray[Any],
    geometry: Geometry,
    schema: LabelSchema,
    structures: Iterable[str] | None = None,
) -> None:
    """Write a label map as a ``.seg.nrrd`` that Slicer opens with names, colours, terminology and ActiveSeg's tags.

    What was there stays until the new file is complete.

    Parameters
    ----------
    labels
        (k, j, i), values of ``schema``; ``ignore`` becomes a grey segment of that name.
    structures
        Names of those that become segments, with or without voxels; None: those that have voxels.

    Raises
    ------
    InputError
        For a value or name that the schema does not know.
    ActiveSegError
        When the disk is full.
    """
    from activeseg.io import itk

    check_label_map(labels, schema, geometry.shape_kji, "The label map")
    wanted = {schema.named(name).value for name in structures or ()}
    wanted |= set(np.flatnonzero(label_counts(labels, schema)).tolist()) - {0}
    stored = Volume(labels.astype(smallest_dtype(schema.ignore_value), copy=False), geometry)
    known = (*schema.labels, ignore_label(schema))
    texts = {
        f"Segment{number}_{key}": text
        for number, label in enumerate(label for label in known if label.value in wanted)
        for key, text in _keys(label, geometry).items()
    }
    texts["Segmentation_ContainedRepresentationNames"] = f"{_BINARY}|"
    texts["Segmentation_MasterRepresentation"] = _BINARY
    texts["Segmentation_ReferenceImageExtentOffset"] = "0 0 0"
    with replacing(Path(path), ".nrrd") as fresh:
        itk.write(fresh, stored, Progress())
        _add_to_header(fresh, texts)


def _add_to_header(path: Path, texts: Mapping[str, str]) -> None:
    """Write ``key:=value`` lines into an NRRD file. ITK would look through all before each: minutes for 16,000."""
    lines = [
        f"{key}:={text}".replace("\\", "\\\\").replace("\n", "\\n").replace("\r", " ") for key, text in texts.items()
    ]
    header, blank, voxels = path.read_bytes().partition(b"\n\n")
    try:
        path.write_bytes(b"\n".join([header, *(line.encode("utf-8", "replace") for line in lines)]) + blank + voxels)
    except OSError as error:
        raise ActiveSegError("The image could not be written completely.", "Check the disk's free space.") from error


def _keys(label: Label, geometry: Geometry) -> dict[str, str]:
    """What the file says about a structure's segment."""
    tags = {LABEL_NAME_TAG: tag_text(label.name), LABEL_VALUE_TAG: str(label.value)}
    if label.terminology:
        tags[_TERMINOLOGY_TAG] = label.terminology.slicer_string()
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


@dataclass(frozen=True)
class _Header:
    """What a file's header says about its segments; ``layers`` that it has, ``largest`` value of its voxels' type."""

    file: str
    keys: Mapping[str, str]
    layers: int
    largest: int

    def segment(self, number: int, order: int) -> Segment:
        """The segment with this number; files from before Slicer 4.11 have a layer for each, with value 1.
        Other programs leave out the layer where there is only one.

        One without an ID gets the one that Slicer would give it. Raises InputError for nonsense.
        """
        get = f"Segment{number}_{{}}".format
        value = self._whole(get("LabelValue"), "1", 1, self.largest)
        segment_id = self.keys.get(get("ID"), "").strip() or f"Segment_{value}"
        name = self.keys.get(get("Name"), "").strip() or segment_id
        layer = self._whole(get("Layer"), str(order if self.layers > 1 else 0), 0, _LARGEST_VALUE)
        if layer >= self.layers:
            raise self._damaged(f"'{name}' is in layer {layer} of {self.layers}")
        tags = (entry.split(":", 1) for entry in self.keys.get(get("Tags"), "").split("|") if ":" in entry)
        return Segment(segment_id, name, self._color(get("Color")), value, layer, dict(tags))

    def _whole(self, key: str, default: str, lowest: int, highest: int) -> int:
        text = self.keys.get(key, default).strip()
        if not re.fullmatch("[0-9]{1,19}", text) or not lowest <= int(text) <= highest:
            raise self._damaged(f"{key} is '{text}', not a whole number from {lowest} to {highest}")
        return int(text)

    def _color(self, key: str) -> tuple[float, float, float]:
        text = self.keys.get(key, "0.5 0.5 0.5")
        try:
            red, green, blue = (float(part) for part in text.split())
        except ValueError as error:
            raise self._damaged(f"{key} is '{text}', not three numbers") from error
        if not all(np.isfinite((red, green, blue))):
            raise self._damaged(f"{key} is '{text}', not three numbers")
        red, green, blue = (min(max(part, 0.0), 1.0) for part in (red, green, blue))
        return red, green, blue

    def _damaged(self, why: str) -> InputError:
        return InputError(f"'{self.file}' is damaged: {why}.", "Save it from Slicer again.")


def _check_values(file: str, segments: Sequence[Segment], pixels: npt.NDArray[Any]) -> None:
    """Raise InputError where voxels are of two segments: they have one value in one layer."""
    first_with: dict[tuple[int, int], Segment] = {}
    twice: dict[int, dict[int, Segment]] = {}
    for segment in segments:
        if first_with.setdefault((segment.layer, segment.value), segment) is not segment:
            twice.setdefault(segment.layer, {}).setdefault(segment.value, segment)
    for layer, later in twice.items():
        for value in np.intersect1d(pixels[layer], list(later)).tolist():
            names = f"'{first_with[layer, value].name}' and '{later[value].name}'"
            raise InputError(
                f"'{file}': {names} both have the value {value} in layer {layer}, so nothing tells their voxels apart.",
                "Give each segment its own value, or save the segmentation from Slicer again.",
            )


def _with_own_ids(segments: Sequence[Segment], notice: Notice) -> tuple[Segment, ...]:
    """The segments with ids that differ: where several have one, the later ones get another."""
    taken = {segment.id for segment in segments}
    times: dict[str, int] = {}
    found = []
    for segment in segments:
        times[segment.id] = times.get(segment.id, 0) + 1
        if times[segment.id] == 2:
            notice(f"Several segments have the ID '{segment.id}'; the later ones are told by tags and names alone.")
        if times[segment.id] > 1:
            while (fresh := f"{segment.id}_{times[segment.id]}") in taken:
                times[segment.id] += 1
            taken.add(fresh)
            segment = replace(segment, id=fresh)
        found.append(segment)
    return tuple(found)


def to_grid(source: Geometry, target: Geometry) -> ToCt:
    """From voxel indices (n, 3), each (k, j, i), of one grid to those of another."""
    return lambda points: target.ijk_of_ras(source.ras_of_ijk(points[:, ::-1]))[:, ::-1]

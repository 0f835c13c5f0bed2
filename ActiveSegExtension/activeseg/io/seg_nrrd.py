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
from activeseg.core.geometry import SAME_VOXEL, Geometry
from activeseg.core.label_map import check_label_map, label_counts, smallest_dtype
from activeseg.core.labels import IGNORE, Label, LabelSchema
from activeseg.core.segments.layers import Layer, ToCt, compose, small_values
from activeseg.core.segments.matching import (
    LABEL_NAME_TAG,
    LABEL_VALUE_TAG,
    MatchedBy,
    SegmentIdentity,
    matches,
    own_terminology,
    segment_id_of,
    tag_text,
    tag_value,
)
from activeseg.core.volume import Volume
from activeseg.system.files import replacing
from activeseg.system.regular_files import open_regular

SUFFIX = ".seg.nrrd"
TERMINOLOGY_TAG = "TerminologyEntry"
STATUS_TAG = "Segmentation.Status"
IGNORE_COLOR = (128, 128, 128)

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
    def identity(self) -> SegmentIdentity:
        """What it says about the structure that it is."""
        return SegmentIdentity(
            self.id,
            self.name,
            tag_value(self.tags.get(LABEL_VALUE_TAG)),
            self.tags.get(LABEL_NAME_TAG),
            own_terminology(self.tags.get(TERMINOLOGY_TAG, "")),
        )

    @property
    def worked_on(self) -> bool:
        """Slicer's own mark: the Segment Editor sets a status with the first stroke."""
        return self.tags.get(STATUS_TAG, "notstarted").lower() != "notstarted"


@dataclass(frozen=True)
class SegmentRead:
    """What became of a segment: its structure (None: left out), what told it, and its voxels beyond the CT.

    ``outside_voxels`` are counted on the segmentation's own grid.
    """

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
    about_voxels : sentences on voxels beyond the CT, overlaps and the grid
    """

    labels: npt.NDArray[Any]
    segments: tuple[SegmentRead, ...]
    overlapping_voxels: int
    resampled: bool
    about_voxels: tuple[str, ...] = ()

    def sentences(self) -> tuple[str, ...]:
        """What the user should read before this becomes truth; empty when there is nothing to tell."""
        told = [f"'{s.name}' is left out." for s in self.segments if s.structure is None]
        told += [f"'{s.name}' is read as '{s.structure}'." for s in self.segments if s.structure not in (None, s.name)]
        return (*told, *self.about_voxels)


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

        Raises InputError when it is damaged, holds voxels but no segments, two segments that cannot be told apart, or
        surfaces or fractions instead of labels.
        """
        from activeseg.io import itk

        path = Path(path).expanduser()
        if not path.is_file():
            raise InputError(f"There is no file '{path}'.", "Check the path.")
        image = itk.read_image(path, notice)
        keys = {key: _text(image.GetMetaData(key)) for key in image.GetMetaDataKeys() if key.startswith("Segment")}
        kind = keys.get("Segmentation_SourceRepresentation", keys.get("Segmentation_MasterRepresentation", _BINARY))
        pixels = _pixels(image)
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
        return cls(_geometry(image), tuple(pixels), _with_own_ids(segments, notice))

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
        layers, resampled = self._layers(geometry)
        composed = compose(
            layers,
            values,
            [segment.worked_on for segment in self.segments],
            geometry.shape_kji,
            predicted,
            smallest_dtype(schema.ignore_value),
        )
        if composed.is_beside_the_ct:
            raise InputError("No segment lies inside the image.", "Check that segmentation and image belong together.")
        read = tuple(
            SegmentRead(segment.name, name, by, edited, outside)
            for segment, (name, by), edited, outside in zip(
                self.segments, found, composed.edited, composed.outside, strict=True
            )
        )
        about_voxels = composed.sentences([segment.name for segment in self.segments], resampled)
        return EditedLabels(composed.labels, read, composed.overlapping, resampled, about_voxels)

    def _layers(self, geometry: Geometry) -> tuple[list[Layer], bool]:
        """The layers that hold something, on the CT's grid, and whether one had to be resampled for that."""
        segments_of: list[dict[int, int]] = [{} for _ in self.layers]
        for number, segment in enumerate(self.segments):
            segments_of[segment.layer][segment.value] = number
        shift, turned, found = _shift(self.geometry, geometry), self.geometry.same_voxels(geometry), []
        for source, segments in zip(self.layers, segments_of, strict=True):
            if not source.any():
                continue  # cropped to nothing it lies anywhere
            array, held = small_values(source, segments)
            if shift is not None:
                found.append(Layer(array, shift, held))
                continue
            if turned:
                found.append(Layer(self.geometry.array_in_order_of(geometry, array), (0, 0, 0), held))
                continue
            stored = Volume(np.ascontiguousarray(array), self.geometry)
            brought = stored.resample_labels_to(geometry, may_miss=True).array
            found.append(
                Layer.resampled(
                    brought, (0, 0, 0), held, stored.array, to_grid(self.geometry, geometry), geometry.shape_kji
                )
            )
        return found, shift is None and not turned and bool(found)

    def _values(
        self, schema: LabelSchema, mapping: Mapping[str, str | None]
    ) -> tuple[list[int], list[tuple[str | None, MatchedBy]]]:
        """For each segment its value in the schema (0: left out), its structure's name and what told it."""
        wanted = {}
        for key, structure in mapping.items():
            named = [s for s in self.segments if key in (s.id, s.name)]
            if not named:
                there = ", ".join([s.name for s in self.segments[:10]] + ["..."] * (len(self.segments) > 10))
                raise InputError(f"There is no segment '{key}' in the segmentation.", f"It has {there}.")
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
    """Write a label map as a ``.seg.nrrd`` that Slicer opens with names, colours, terminology and our tags.

    Parameters
    ----------
    labels : (k, j, i), values of ``schema``; ``ignore`` becomes a grey segment of that name
    structures : names of those that become segments, with or without voxels; None: those that have voxels

    Raises InputError for a value or name that the schema does not know, ActiveSegError when the disk is full. What was
    there stays until the new file is complete.
    """
    from activeseg.io import itk

    check_label_map(labels, schema, geometry.shape_kji, "The label map")
    wanted = {schema.named(name).value for name in structures or ()}
    wanted |= set(np.flatnonzero(label_counts(labels, schema)).tolist()) - {0}
    image = Volume(labels.astype(smallest_dtype(schema.ignore_value), copy=False), geometry).to_sitk()
    known = (*schema.labels, Label(schema.ignore_value, IGNORE, IGNORE_COLOR))
    texts = {
        f"Segment{number}_{key}": text
        for number, label in enumerate(label for label in known if label.value in wanted)
        for key, text in _keys(label, geometry).items()
    }
    texts["Segmentation_ContainedRepresentationNames"] = f"{_BINARY}|"
    texts["Segmentation_MasterRepresentation"] = _BINARY
    texts["Segmentation_ReferenceImageExtentOffset"] = "0 0 0"
    with replacing(Path(path), ".nrrd") as fresh:
        itk.write(fresh, image)
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


def _text(stored: str) -> str:
    """A text of the header; what is not UTF-8 (other programs write the system's own code page) as Windows has it."""
    try:
        return stored.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return stored.encode("utf-8", "surrogateescape").decode("cp1252", "replace")


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


def to_grid(source: Geometry, target: Geometry) -> ToCt:
    """From voxel indices (n, 3), each (k, j, i), of one grid to those of another."""
    return lambda points: target.ijk_of_ras(source.ras_of_ijk(points[:, ::-1]))[:, ::-1]


def _shift(source: Geometry, target: Geometry) -> tuple[int, int, int] | None:
    """Index (k, j, i) in ``target`` of the first voxel of ``source``; None when their voxels do not coincide."""
    k, j, i = source.shape_kji
    corners = np.array([[a, b, c] for a in (0, i - 1) for b in (0, j - 1) for c in (0, k - 1)], float)
    there = target.ijk_of_ras(source.ras_of_ijk(corners))
    shift = np.rint(there[0] - corners[0])
    if np.abs(there - corners - shift).max() > SAME_VOXEL:
        return None
    return int(shift[2]), int(shift[1]), int(shift[0])

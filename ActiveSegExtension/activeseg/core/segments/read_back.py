"""What a user made of a segmentation, as one label map: the rules that a file and a scene have in common.

Both bring their segments' voxels to the CT's grid as ``layers.Layer``, and each segment as ``FoundSegment``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from activeseg.core.geometry import Geometry
from activeseg.core.label_map import smallest_dtype, values_in
from activeseg.core.labels import IGNORE, Label, LabelSchema
from activeseg.core.segments.layers import Layer, compose
from activeseg.core.segments.matching import Match, MatchedBy, SegmentIdentity, matches

_IGNORE_COLOR = (128, 128, 128)


@dataclass(frozen=True)
class FoundSegment:
    """A segment as it was found.

    Attributes
    ----------
    identity
        What it says about itself.
    worked_on
        Slicer's own mark: the Segment Editor sets a status with the first stroke.
    visible
        Hidden segments are read like all others, and told.
    """

    identity: SegmentIdentity
    worked_on: bool
    visible: bool = True


@dataclass(frozen=True)
class EditedSegment:
    """What a segment of a file was read as.

    Attributes
    ----------
    structure
        Its name in the schema, or None where it was left out or not recognised (``reason`` says why).
    by
        What told the structure.
    edited
        Its voxels differ from the original label map, or Slicer says that it was worked on.
    outside_voxels
        Voxels beyond the CT's border, counted on the segment's own grid; they are not in the label map.
    """

    segment_id: str
    name: str
    structure: str | None
    by: MatchedBy
    reason: str
    edited: bool
    visible: bool
    outside_voxels: int

    @property
    def renamed(self) -> bool:
        """Whether it carries another name than its structure."""
        return self.structure not in (None, self.name)


@dataclass(frozen=True)
class EditedSegmentation:
    """The label map that a segmentation amounts to, and what the caller must tell the user before using it.

    Attributes
    ----------
    labels
        (k, j, i) on the CT's grid ``geometry``, values of ``schema``, ``ignore`` included.
    segments
        All segments in Slicer's order.
    overlapping_voxels
        Voxels that more than one segment claimed; edited segments take priority, then later ones.
    resampled
        Some voxels lay on another grid and were taken by nearest neighbour.
    about_voxels
        Sentences on voxels beyond the CT, overlaps and the grid.
    is_beside_the_ct
        There are segments with voxels, and none of these lies inside of the CT.
    decided
        Names of the structures that the prediction decided; None where that is not known.
    found_at_first
        Names of the structures that the original label map has voxels of; None where there is none.
    """

    labels: npt.NDArray[Any]
    geometry: Geometry
    schema: LabelSchema
    segments: tuple[EditedSegment, ...]
    overlapping_voxels: int
    resampled: bool
    about_voxels: tuple[str, ...] = ()
    is_beside_the_ct: bool = False
    decided: tuple[str, ...] | None = None
    found_at_first: tuple[str, ...] | None = None

    @property
    def present(self) -> tuple[str, ...]:
        """Structures that have a segment, with or without voxels, in the schema's order."""
        found = {segment.structure for segment in self.segments}
        return tuple(name for name in self.schema.names if name in found)

    @property
    def deleted(self) -> tuple[str, ...]:
        """Decided structures whose segment is gone. ``labels`` has background there: ask the user before using it.

        A structure that was not found has nothing that could be deleted: it need not have a segment.
        """
        had_segments = self.found_at_first if self.found_at_first is not None else self.schema.names
        return tuple(n for n in had_segments if n in (self.decided or ()) and n not in self.present)

    @property
    def added(self) -> tuple[str, ...]:
        """Structures that have a segment although the prediction did not decide them."""
        return tuple(n for n in self.present if self.decided is not None and n not in self.decided)

    @property
    def unmatched(self) -> tuple[EditedSegment, ...]:
        """Segments that were not recognised; ``labels`` lacks their voxels. Map them, or leave them out explicitly."""
        return tuple(segment for segment in self.segments if segment.by is MatchedBy.NOTHING)

    def sentences(self) -> tuple[str, ...]:
        """What the user should read before this label map becomes ground truth; empty when there is nothing to tell."""
        told = [f"'{name}' was deleted and will be treated as absent." for name in self.deleted]
        for segment in self.segments:
            if segment.structure is None:
                why = f": {segment.reason}" if segment.by is MatchedBy.NOTHING else ""
                told.append(f"'{segment.name}' is left out{why}.")
        told += [f"'{s.name}' is read as '{s.structure}'." for s in self.segments if s.renamed]
        told += [f"'{name}' was added: the prediction had not looked for it." for name in self.added]
        told += [f"'{s.name}' is hidden, but counts." for s in self.segments if not s.visible and s.structure]
        return (*told, *self.about_voxels)


def ignore_label(schema: LabelSchema) -> Label:
    """What a dataset's ``ignore`` voxels look like as a segment."""
    return Label(schema.ignore_value, IGNORE, _IGNORE_COLOR)


def structures_of(
    segments: Sequence[SegmentIdentity], schema: LabelSchema, mapping: Mapping[str, int | None]
) -> list[Match]:
    """The structure of every segment, in the segments' order; ``ignore`` is one of them (``matching.matches``).

    No structure's clues mean ``ignore``, so its segment takes no part in the matching.

    Parameters
    ----------
    mapping
        Segment id -> label value (``ignore`` included), or None to leave the segment out.

    Raises
    ------
    InputError
        For a segment or a value in ``mapping`` that does not exist.
    """
    ignored = {
        s.segment_id: MatchedBy.MAPPING if s.segment_id in mapping else MatchedBy.TAG
        for s in segments
        if mapping.get(s.segment_id, schema.ignore_value if s.label_name == IGNORE else 0) == schema.ignore_value
    }
    match_of = matches(
        [s for s in segments if s.segment_id not in ignored],
        schema,
        {segment_id: value for segment_id, value in mapping.items() if segment_id not in ignored},
    )
    match_of |= {segment_id: Match(ignore_label(schema), by) for segment_id, by in ignored.items()}
    return [match_of[s.segment_id] for s in segments]


def edited_segmentation(
    layers: Sequence[Layer],
    segments: Sequence[FoundSegment],
    found: Sequence[Match],
    geometry: Geometry,
    schema: LabelSchema,
    original: npt.NDArray[Any] | None,
    *,
    resampled: bool,
    decided: tuple[str, ...] | None = None,
) -> EditedSegmentation:
    """Segments as one label map on the CT's grid.

    Where segments overlap, one that was edited takes priority over one that was not, then a later one over an earlier
    one, as in Slicer's own export.

    Parameters
    ----------
    layers
        The segments' voxels on the CT's grid.
    found
        The structure of every segment (``structures_of``).
    geometry
        The CT's grid.
    original
        (k, j, i) label map that the user started from: a segment whose voxels differ from it counts as edited.
    resampled
        Whether a layer lay on another grid.
    """
    composed = compose(
        layers,
        [match.label.value if match.label else 0 for match in found],
        [segment.worked_on for segment in segments],
        geometry.shape_kji,
        original,
        smallest_dtype(schema.ignore_value),
    )
    told = tuple(
        EditedSegment(
            segment.identity.segment_id,
            segment.identity.name,
            match.label.name if match.label else None,
            match.by,
            match.reason,
            edited,
            segment.visible,
            outside,
        )
        for segment, match, edited, outside in zip(segments, found, composed.edited, composed.outside, strict=True)
    )
    return EditedSegmentation(
        composed.labels,
        geometry,
        schema,
        told,
        composed.overlapping,
        resampled,
        composed.sentences([segment.identity.name for segment in segments], resampled),
        composed.is_beside_the_ct,
        decided,
        None if original is None else _names_in(original, schema),
    )


def _names_in(labels: npt.NDArray[Any], schema: LabelSchema) -> tuple[str, ...]:
    """The structures that a label map has voxels of, in the schema's order."""
    values = set(values_in(labels).tolist())
    return tuple(label.name for label in schema.labels if label.value in values)

"""Which segment is which structure, after a user renamed, copied, added and deleted segments. Never guessed."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from activeseg.core.errors import InputError
from activeseg.core.labels import Label, LabelSchema

LABEL_VALUE_TAG = "ActiveSeg.LabelValue"
LABEL_NAME_TAG = "ActiveSeg.LabelName"
_NEW_SEGMENT = "~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~~^^~^^"
"""What Slicer writes into every segment that has no meaning of its own: tissue. Its versions word the lists' names
differently."""


class MatchedBy(StrEnum):
    """What told the structure of a segment."""

    MAPPING = "mapping"
    TAG = "tag"
    TERMINOLOGY = "terminology"
    NAME = "name"
    LEFT_OUT = "left out"
    NOTHING = "nothing"


@dataclass(frozen=True)
class SegmentIdentity:
    """What a segment says about itself.

    Attributes
    ----------
    label_value, label_name
        ActiveSeg's tags; None where missing.
    terminology
        Empty where it carries none, or only Slicer's default for a new segment.
    """

    segment_id: str
    name: str
    label_value: int | None = None
    label_name: str | None = None
    terminology: str = ""


@dataclass(frozen=True)
class Match:
    """A segment's structure; ``label`` is None when it was left out or not recognised, and ``reason`` says why not."""

    label: Label | None
    by: MatchedBy
    reason: str = ""


def segment_id_of(label: Label) -> str:
    """The id that ActiveSeg gives a structure's segment: kept when the user renames it, safe in every file format."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in f"{label.name}_{label.value}")


def tag_text(name: str) -> str:
    """A name as a segment tag can hold it: Slicer ends a tag at ``|`` when it writes .seg.nrrd."""
    return name.replace("|", "/")


def tag_value(text: str | None) -> int | None:
    """The value that a segment's tag says; None for what no label map holds."""
    return int(text) if text is not None and re.fullmatch("[0-9]{1,9}", text) else None


def matches(
    segments: Iterable[SegmentIdentity], schema: LabelSchema, mapping: Mapping[str, int | None] | None = None
) -> dict[str, Match]:
    """The structure of every segment, by segment id.

    The caller's ``mapping`` comes first, then ActiveSeg's tags, then terminology, then the name. A clue that fits two
    structures is no clue. A structure that has a segment takes no second one, and two segments that claim one structure
    by the same kind of clue both stay unmatched (but for a copy of ActiveSeg's own segment: the one that still has the
    original id keeps its structure).

    Parameters
    ----------
    mapping
        Segment id -> label value, or None to leave the segment out.

    Raises
    ------
    InputError
        When ``mapping`` names a segment or a value that does not exist.
    """
    segments = tuple(segments)
    found = _mapped(segments, schema, mapping or {})
    reasons: dict[str, str] = {}
    for by, label_of in (
        (MatchedBy.TAG, _by_tag(schema)),
        (MatchedBy.TERMINOLOGY, _by_terminology(schema)),
        (MatchedBy.NAME, _by_name(schema)),
    ):
        claims = {s.segment_id: label_of(s) for s in segments if s.segment_id not in found}
        taken = {match.label.value for match in found.values() if match.label and match.by is not MatchedBy.MAPPING}
        rivals = Counter(label.value for label in claims.values() if label)
        for segment_id, label in claims.items():
            if label is None:
                continue
            is_ours = by is MatchedBy.TAG and segment_id == segment_id_of(label)
            contested = rivals[label.value] > 1 and not is_ours
            if label.value in taken:
                reasons.setdefault(segment_id, f"its {by} says '{label.name}', which another segment is already")
            elif contested and by is MatchedBy.TAG and claims.get(segment_id_of(label)) is label:
                reasons.setdefault(segment_id, f"it is a copy of '{label.name}'")
            elif contested:
                reasons.setdefault(segment_id, f"several segments' {by} says '{label.name}'")
            else:
                found[segment_id] = Match(label, by)
    for segment in segments:
        reason = reasons.get(segment.segment_id, "no structure of the model has its tag, terminology or name")
        found.setdefault(segment.segment_id, Match(None, MatchedBy.NOTHING, reason))
    return found


def _mapped(
    segments: tuple[SegmentIdentity, ...], schema: LabelSchema, mapping: Mapping[str, int | None]
) -> dict[str, Match]:
    known = {s.segment_id for s in segments}
    for segment_id, value in mapping.items():
        if segment_id not in known:
            near = difflib.get_close_matches(segment_id, sorted(known), n=3) or sorted(known)[:3]
            raise InputError(f"There is no segment with the id '{segment_id}'.", f"There are {', '.join(near)} ...")
        if value is not None and not 1 <= value <= len(schema):
            raise InputError(
                f"Segment '{segment_id}' was mapped to label value {value}.", f"Choose 1 to {len(schema)}."
            )
    return {
        segment_id: Match(None, MatchedBy.LEFT_OUT, "left out on request")
        if value is None
        else Match(schema.labels[value - 1], MatchedBy.MAPPING)
        for segment_id, value in mapping.items()
    }


def _by_tag(schema: LabelSchema) -> Callable[[SegmentIdentity], Label | None]:
    """The tagged name decides, because values change between schemas; the value alone where there is no tagged name."""
    by_name = {tag_text(label.name): label for label in schema.labels}
    by_value = {label.value: label for label in schema.labels}

    def label_of(segment: SegmentIdentity) -> Label | None:
        if segment.label_name is not None:
            return by_name.get(segment.label_name)
        return by_value.get(segment.label_value) if segment.label_value is not None else None

    return label_of


def _by_terminology(schema: LabelSchema) -> Callable[[SegmentIdentity], Label | None]:
    by_codes = _unique(
        (codes_of(label.terminology.slicer_string()), label) for label in schema.labels if label.terminology
    )
    return lambda segment: by_codes.get(codes_of(segment.terminology)) if segment.terminology else None


def _by_name(schema: LabelSchema) -> Callable[[SegmentIdentity], Label | None]:
    """``Left_Kidney`` and ``left kidney`` are one name."""

    def spoken(name: str) -> str:
        return " ".join(name.replace("_", " ").casefold().split())

    by_name = _unique((spoken(label.name), label) for label in schema.labels)
    return lambda segment: by_name.get(spoken(segment.name))


def _unique(pairs: Iterable[tuple[Hashable, Label]]) -> dict[Hashable, Label]:
    pairs = list(pairs)
    often = Counter(key for key, _ in pairs)
    return {key: label for key, label in pairs if often[key] == 1}


def own_terminology(terminology: str) -> str:
    """A segment's terminology, empty where it says nothing: no codes, or those that Slicer gives every new segment."""
    codes = codes_of(terminology)
    return terminology if any(any(code) for code in codes) and codes != codes_of(_NEW_SEGMENT) else ""


def codes_of(terminology: str) -> tuple[tuple[str, str], ...]:
    """The coded meaning of Slicer's terminology string: (scheme, value) of category, type, modifier, region, modifier.

    Context names and the meanings' wording are left out: Slicer's two lists word one code differently.
    """
    fields = terminology.split("~")
    coded = [fields[n] if n < len(fields) else "" for n in (1, 2, 3, 5, 6)]
    triplets = [[*field.split("^"), "", ""][:2] for field in coded]
    return tuple((scheme, value) for scheme, value in triplets)

"""What the values of a label map mean: names, SNOMED terminology and colours."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

from activeseg.core.errors import InputError
from activeseg.core.json_values import WrongField
from activeseg.core.records import Within, from_json, to_json

BACKGROUND = "background"
IGNORE = "ignore"
ColorPart = Annotated[int, Within(0, 255)]
Color = tuple[ColorPart, ColorPart, ColorPart]
MOST_STRUCTURES = 65_534
"""Label maps hold 16 bits: with background and ``ignore`` there is room for so many structures."""


@dataclass(frozen=True)
class Code:
    """One coded concept of DICOM PS3.16: scheme designator, value, meaning (``SCT``, ``10200004``, ``Liver``)."""

    AS_LIST: ClassVar = True
    scheme: str
    value: str
    meaning: str

    def triplet(self) -> str:
        """Slicer's spelling of a code inside a terminology string."""
        return f"{self.scheme}^{self.value}^{self.meaning}"


@dataclass(frozen=True)
class Terminology:
    """What a structure is (category, type, modifier) and, where the type needs it, where it lies (region, modifier)."""

    category: Code
    type: Code
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None

    def slicer_string(self) -> str:
        """The seven ``~``-separated fields that Slicer stores in a segment (facts: Slicer's segmentations manual)."""

        def field(code: Code | None) -> str:
            return code.triplet() if code else "^^"

        return "~".join(
            [
                "Segmentation category and type - DICOM master list",
                field(self.category),
                field(self.type),
                field(self.modifier),
                "Anatomic codes - DICOM master list",
                field(self.region),
                field(self.region_modifier),
            ]
        )


@dataclass(frozen=True)
class Label:
    """One structure: its value in label maps (> 0), its name, its display colour (sRGB, 0..255), its meaning."""

    value: int
    name: str
    color: Color
    terminology: Terminology | None = None


@dataclass(frozen=True)
class LabelSchema:
    """Consecutive values 1..N (0 is background). ``ignore`` is always N + 1 and is not a structure."""

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        values = [label.value for label in self.labels]
        if values != list(range(1, len(values) + 1)):
            raise InputError(f"Label values must be 1..{len(values)} in order, got {values[:10]}.")
        if len(values) > MOST_STRUCTURES:
            raise InputError(f"There are {len(values)} structures; a label map holds at most {MOST_STRUCTURES}.")
        for name, times in Counter(label.name for label in self.labels).items():
            if not name or name in (BACKGROUND, IGNORE) or times > 1:
                raise InputError(f"'{name}' cannot be a structure's name: empty, reserved or used twice.")

    @classmethod
    def from_names(
        cls,
        names: Iterable[str],
        colors: Mapping[str, Color] | None = None,
        terminology: Mapping[str, Terminology] | None = None,
    ) -> LabelSchema:
        """A schema with values in the order of ``names``; missing colours are spread around the hue circle."""
        colors, terminology = colors or {}, terminology or {}
        return cls(
            tuple(
                Label(value, name, colors.get(name) or generated_color(value), terminology.get(name))
                for value, name in enumerate(names, start=1)
            )
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    @cached_property
    def _by_name(self) -> dict[str, Label]:
        return {label.name: label for label in self.labels}

    @property
    def ignore_value(self) -> int:
        return len(self.labels) + 1

    def __len__(self) -> int:
        return len(self.labels)

    def named(self, name: str) -> Label:
        """The structure of that name. Raises InputError with the nearest names."""
        if name in self._by_name:
            return self._by_name[name]
        import difflib

        near = difflib.get_close_matches(name, self.names, n=3) or list(self.names[:5])
        raise InputError(f"There is no structure '{name}' in this model.", f"Did you mean {', '.join(near)}?")

    def name_of(self, value: int) -> str:
        """``background``, a structure's name, or ``ignore``."""
        if value == 0:
            return BACKGROUND
        return IGNORE if value == self.ignore_value else self.labels[value - 1].name

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``from_dict`` reads it back."""
        return dict(to_json(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LabelSchema:
        """Raises InputError when the file is not a label schema."""
        try:
            return from_json(cls, data)
        except WrongField as error:
            raise InputError(f"Not a label schema: {error}.") from error


def generated_color(value: int) -> Color:
    """A value's own colour, unlike its neighbours' (golden-ratio steps around the hue circle)."""
    hue = (value * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.55 + 0.25 * (value % 2), 0.95 - 0.2 * (value % 3 == 0))
    return round(red * 255), round(green * 255), round(blue * 255)

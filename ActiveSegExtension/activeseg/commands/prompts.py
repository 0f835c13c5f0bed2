"""Prompts as they are typed: points in RAS mm, as Slicer shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from activeseg.core.errors import InputError, shown
from activeseg.core.prompt import Prompt, PromptKind

if TYPE_CHECKING:
    from activeseg.core.geometry import Geometry

_FORMS = {PromptKind.POINT: "R,A,S", PromptKind.SCRIBBLE: "'R,A,S R,A,S ...'"}
_FORMS |= {PromptKind.LASSO: _FORMS[PromptKind.SCRIBBLE], PromptKind.BOX: "'R,A,S R,A,S'"}


def read_prompts(
    given: Sequence[tuple[PromptKind, str, bool, str]], structure: str, geometry: Geometry
) -> tuple[Prompt, ...]:
    """Prompts for one structure.

    Parameters
    ----------
    given
        For each its kind, the option that it was given with, whether it includes, and the text.

    Raises
    ------
    InputError
        A text is no such prompt, or lies outside of the image.
    """
    return tuple(
        Prompt(kind, structure, tuple(_index(point, option, kind, geometry) for point in text.split()), include)
        for kind, option, include, text in given
    )


def _index(text: str, option: str, kind: PromptKind, geometry: Geometry) -> tuple[int, int, int]:
    try:
        r, a, s = (float(number) for number in text.split(","))
    except ValueError:
        raise InputError(f"{option} holds {shown(text)}.", f"Give {_FORMS[kind]} in mm, as Slicer shows it.") from None
    if not all(math.isfinite(number) for number in (r, a, s)):
        raise InputError(f"{option} holds {shown(text)}.", f"Give {_FORMS[kind]} in mm, as Slicer shows it.")
    index = geometry.ijk_of_ras((r, a, s))
    if not all(-0.5 <= at <= length - 0.5 for at, length in zip(index, geometry.shape_kji[::-1], strict=True)):
        raise InputError(
            f"{option} {r:g},{a:g},{s:g} lies outside of the image.",
            "Give the place in RAS mm; 'regions.json' and Slicer's Data Probe say places in it.",
        )
    i, j, k = (
        min(max(0, round(float(at))), length - 1) for at, length in zip(index, geometry.shape_kji[::-1], strict=True)
    )
    return k, j, i

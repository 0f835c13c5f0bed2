"""Names of a case's images. nnU-Net's say how each is normalized, so two may be equal; ours tell them apart."""

from __future__ import annotations

import re
from collections.abc import Iterable


def different_names(names: Iterable[str]) -> tuple[str, ...]:
    """The same names, of which a repeated one gets a number: ``CT``, ``CT`` become ``CT``, ``CT_2``."""
    given = list(names)
    found: list[str] = []
    for name in given:
        number, own = 1, name
        while own in found or (number > 1 and own in given):
            number += 1
            own = f"{name}_{number}"
        found.append(own)
    return tuple(found)


def normalization_names(names: Iterable[str]) -> tuple[str, ...]:
    """What ``different_names`` was given: nnU-Net's own names, such as it needs in ``channel_names``."""
    given = tuple(names)
    original = tuple(re.sub(r"_\d+$", "", name) for name in given)
    own = tuple(short if short in given else name for short, name in zip(original, given, strict=True))
    return own if different_names(own) == given else given

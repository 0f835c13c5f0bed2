"""What the attributes of a segmentation say about the model: read once, for every click asks for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from activeseg.core.errors import InputError
from activeseg.core.json_values import WrongField
from activeseg.core.labels import LabelSchema
from activeseg.core.records import from_json


@dataclass(frozen=True)
class _Origin:
    dataset: str
    case: str


@dataclass(frozen=True)
class _Record:
    """What is asked of a case's record, which may have come from anywhere with its scene."""

    origin: _Origin | None = None
    images: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    members: tuple[Mapping[str, Any], ...] = ()
    measure: str = ""
    threshold: float = 0.25


@dataclass(frozen=True)
class _Names:
    names: tuple[str, ...]


@lru_cache(maxsize=64)
def schema_in(text: str) -> LabelSchema:
    """Raises InputError."""
    return LabelSchema.from_dict(_json(text))


@lru_cache(maxsize=64)
def record_in(text: str) -> Mapping[str, Any]:
    """The fields of ``prediction.json``. Raises InputError."""
    record = _json(text)
    try:
        from_json(_Record, record)
    except WrongField as error:
        raise InputError(f"What is written about the prediction is damaged: {error}.") from error
    return dict(record)


@lru_cache(maxsize=64)
def names_in(text: str) -> tuple[str, ...]:
    """Raises InputError."""
    try:
        return from_json(_Names, {"names": _json(text)}).names
    except WrongField as error:
        raise InputError(f"What is written about the segmentation is damaged: {error}.") from error


def number_in(text: str | None) -> float:
    """Seconds, for example; 0 where there is nothing, or nonsense."""
    try:
        number = float(text or 0)
    except ValueError:
        return 0.0
    return number if 0 <= number < float("inf") else 0.0


def bytes_text(content: bytes) -> str:
    """For a text node; ``text_bytes`` reads it."""
    return base64.b64encode(content).decode("ascii")


def text_bytes(text: str) -> bytes:
    """Empty where it cannot be read."""
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("What is written about the segmentation is damaged.") from error

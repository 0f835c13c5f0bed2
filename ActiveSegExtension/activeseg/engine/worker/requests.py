"""Requests become dataclasses here, checked by pydantic; what does not fit is refused in words."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from activeseg.client.messages.calls import METHODS
from activeseg.client.messages.request import TypedRequest
from activeseg.core.errors import InputError, shown
from activeseg.core.records import names_by_key
from activeseg.engine.paths import path_of

_EXPECTED = {
    "string_type": "a text",
    "path_type": "a path",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "tuple_type": "a list",
    "mapping_type": "an object",
    "dict_type": "an object",
    "dataclass_type": "an object",
}
"""pydantic's names of what is wrong with a value -> what it must be."""
_OF_KEYS = {"missing", "unexpected_keyword_argument"}


class WrongParams(InputError):
    """A parameter is missing, unknown or of another type."""


def read_request(method: str, params: Mapping[str, Any]) -> TypedRequest[Any]:
    """The request of that method, with absolute paths. Raises WrongParams."""
    try:
        # Lone surrogates (names that are not UTF-8) are no JSON for pydantic; texts are taken from ``params`` below.
        text = json.dumps(dict(params), ensure_ascii=False).encode("utf-8", "replace")
        request = _adapter(method).validate_json(text)
        return _settled(request, params, method)  # type: ignore[no-any-return]
    except ValidationError as error:
        raise _wrong(method, params, error) from None
    except WrongParams:
        raise
    except InputError as error:
        raise WrongParams(f"'{method}': {error.message}", error.action, **error.details) from error


@cache
def _adapter(method: str) -> TypeAdapter[Any]:
    return TypeAdapter(METHODS[method])


def _settled(value: Any, raw: Any, name: str) -> Any:
    """The value with absolute paths and with the texts as they came; ``raw`` is its JSON."""
    if isinstance(value, Path):
        try:
            return path_of(raw)
        except InputError as error:
            raise WrongParams(f"The parameter '{name}': {error.message}") from error
    if isinstance(value, str) and not isinstance(value, Enum):
        return _text(raw, name)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints, names = _hints(type(value)), names_by_key(type(value))
        settled = {
            names[key]: inner if _is_opaque(hints[names[key]]) else _settled(getattr(value, names[key]), inner, key)
            for key, inner in raw.items()
        }
        opaque = {key: tuple(inner) for key, inner in settled.items() if isinstance(inner, list)}
        return dataclasses.replace(value, **{**settled, **opaque})
    if isinstance(value, Mapping):
        return {
            (given if isinstance(key, str) else key): _settled(inner, raw[given], f"{name}.{given}")
            for (key, inner), given in zip(value.items(), raw, strict=True)
        }
    if isinstance(value, tuple):
        return tuple(_settled(inner, raw[n], f"{name}[{n}]") for n, inner in enumerate(value))
    return value


def _text(raw: str, name: str) -> str:
    try:
        os.fsencode(raw)
    except UnicodeError:
        raise WrongParams(f"The parameter '{name}' is {shown(raw)}, which holds half a character.") from None
    if "\0" in raw:
        raise WrongParams(f"The parameter '{name}' is {shown(raw)}; it must be a text without a zero byte.")
    return raw


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _is_opaque(hint: Any) -> bool:
    """Whether a field holds whatever JSON the client likes."""
    return hint is Any or any(_is_opaque(inner) for inner in get_args(hint))


def _wrong(method: str, params: Mapping[str, Any], error: ValidationError) -> WrongParams:
    """The first thing that is wrong, in words; of a value that may be several things, what it is most like counts."""
    found = [(*_place(params, one), one) for one in error.errors(include_url=False)]
    found = [entry for entry in found if entry[0][:1] == found[0][0][:1]]
    shortest = min(len(place) for place, _, _ in found)
    alternatives: dict[tuple[Any, ...], list[tuple[tuple[Any, ...], Any]]] = {}
    for place, alternative, one in found:
        if len(place) > shortest or one["type"] in _OF_KEYS:
            alternatives.setdefault(alternative, []).append((place, one))
    chosen = min(alternatives.values(), key=len, default=[(place, one) for place, _, one in found])
    place, one = chosen[0]
    *outer, name = place or (method,)
    owner = ".".join(map(str, outer)) or method
    if one["type"] == "missing":
        return WrongParams(f"'{owner}' needs the parameter '{name}'.")
    if one["type"] == "unexpected_keyword_argument":
        known = sorted(field.name for field in dataclasses.fields(METHODS[method]))  # type: ignore[arg-type]
        told = "" if outer else f"It has: {', '.join(known)}." if known else "It has none."
        return WrongParams(f"'{owner}' has no parameter {shown(name)}.", told)
    same = [other for where, other in chosen if where == place and other["type"] not in _OF_KEYS]
    expected = " or ".join(dict.fromkeys(map(_wanted, same)))
    whole = shown(".".join(map(str, place)))
    return WrongParams(f"The parameter {whole} of '{method}' is {shown(one['input'])}; it must be {expected}.")


def _wanted(one: Any) -> str:
    """What a value must be, after what pydantic says."""
    if one["type"] == "string_type" and "Path" in str(one["loc"][-1]):
        return "a path"
    choices = one.get("ctx", {}).get("expected")
    return _EXPECTED.get(one["type"]) or (f"one of {choices}" if choices else f"other ({one['msg']})")


def _place(raw: Any, one: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Where an error lies in the request, and pydantic's names for the alternatives of a type on the way."""
    place, alternative = [], []
    for part in one["loc"]:
        if (isinstance(raw, Mapping) and part in raw) or (isinstance(raw, list) and part in range(len(raw))):
            place.append(part)
            raw = raw[part]
        else:
            alternative.append(part)
    if one["type"] == "missing":
        place.append(alternative.pop())
    return tuple(place), tuple(alternative)

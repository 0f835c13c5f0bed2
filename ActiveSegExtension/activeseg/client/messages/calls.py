"""Every method by its name, and how requests and results become JSON and come back. Needs no pydantic."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from activeseg.client.messages import datasets, drafts, learning, models, segmenting, system
from activeseg.client.messages.request import TypedRequest
from activeseg.core.errors import EngineError, shown

T = TypeVar("T")

METHODS: Mapping[str, type[TypedRequest[Any]]] = {
    request.METHOD: request
    for module in (system, segmenting, models, drafts, datasets, learning)
    for request in vars(module).values()
    if isinstance(request, type) and issubclass(request, TypedRequest) and request is not TypedRequest
}


class WrongShape(ValueError):
    """A value is not what its type says; the text names it."""


def call_of(request: TypedRequest[Any]) -> tuple[str, dict[str, Any]]:
    """Method and parameters as they travel, without those that are as the engine takes them anyway."""
    assert dataclasses.is_dataclass(request)
    params = {
        field.name: value
        for field in dataclasses.fields(request)
        if (value := getattr(request, field.name)) != _default(field)
    }
    return request.METHOD, plain(params)


def result_of(request: type[TypedRequest[T]] | TypedRequest[T], value: Any) -> T:
    """The result of a request, which may come from a later engine and say more. Raises EngineError."""
    try:
        return cast(T, from_plain(request.RESULT, value, "result"))
    except Exception as error:
        told = str(error) if isinstance(error, WrongShape) else repr(error)
        raise EngineError(
            f"The answer to '{request.METHOD}' is not what this version reads: {told}.",
            "Update the engine's environment, or this program.",
        ) from error


def plain(value: Any) -> Any:
    """JSON-ready: dataclasses become objects, numpy's numbers Python's, paths texts, what is not finite null."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def from_plain(kind: Any, value: Any, name: str) -> Any:
    """A value of that type from its JSON; what a class does not know is left out. Raises WrongShape."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        (rest,) = (one for one in inner if one is not type(None))
        return from_plain(rest, value, name)
    if origin is Literal:
        return value
    if dataclasses.is_dataclass(kind):
        return _object(cast(type, kind), _checked(dict, value, name), name)
    if origin is tuple:
        return _tuple(inner, _checked(list, value, name), name)
    if origin is not None and issubclass(origin, Mapping):
        entries = _checked(dict, value, name).items()
        return {key: from_plain(inner[1], entry, f"{name}.{key}") for key, entry in entries}
    if issubclass(kind, Enum):
        return kind(value)
    if kind is Path:
        return Path(_checked(str, value, name))
    if kind is float:
        return float(_checked(int | float, value, name))
    return _checked(kind, value, name)


def _object(kind: type, value: Mapping[str, Any], name: str) -> Any:
    given = {}
    for key, inner in _fields(kind).items():
        if key in value:
            given[key] = from_plain(inner, value[key], f"{name}.{key}")
    return kind(**given)


def _tuple(inner: tuple[Any, ...], value: list[Any], name: str) -> tuple[Any, ...]:
    kinds = [inner[0]] * len(value) if inner[-1] is ... else list(inner)
    if len(kinds) != len(value):
        raise WrongShape(f"'{name}' has {len(value)} values, not {len(kinds)}")
    return tuple(
        from_plain(kind, entry, f"{name}[{n}]") for n, (kind, entry) in enumerate(zip(kinds, value, strict=True))
    )


def _checked(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise WrongShape(f"'{name}' is {shown(value, 60)}")
    return value


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


@cache
def _fields(kind: type) -> dict[str, Any]:
    """Types by name, the strings of ``annotations`` resolved."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}

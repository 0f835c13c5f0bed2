"""Every method by its name, and how requests become JSON and results come back. Needs no pydantic."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from activeseg.client.messages import datasets, drafts, learning, models, refiners, refining, segmenting, system
from activeseg.client.messages.request import TypedRequest
from activeseg.core.errors import ActiveSegError, EngineError
from activeseg.core.json_values import WrongField
from activeseg.core.records import from_json, shortly, to_json

T = TypeVar("T")

METHODS: Mapping[str, type[TypedRequest[Any]]] = {
    request.METHOD: request
    for module in (system, segmenting, refining, refiners, models, drafts, datasets, learning)
    for request in vars(module).values()
    if isinstance(request, type) and issubclass(request, TypedRequest) and request is not TypedRequest
}


def call_of(request: TypedRequest[Any]) -> tuple[str, dict[str, Any]]:
    """Method and parameters as they travel, without those that the engine would assume anyway."""
    assert dataclasses.is_dataclass(request)
    params = {
        field.name: to_json(value)
        for field in dataclasses.fields(request)
        if (value := getattr(request, field.name)) != _default(field)
    }
    return request.METHOD, params


def result_of(request: type[TypedRequest[T]] | TypedRequest[T], value: Any) -> T:
    """The result of a request, which may come from a later engine and say more. Raises EngineError."""
    try:
        return cast(T, from_json(request.RESULT, value, "result"))
    except (WrongField, ActiveSegError) as error:
        raise EngineError(
            f"The answer to '{request.METHOD}' is not what this version reads: {shortly(error)}.",
            "Update the engine's environment, or this program.",
        ) from error


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()

"""What every request is: the parameters of a method, and the class of its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, get_args

R = TypeVar("R")


class TypedRequest(Generic[R]):
    """The parameters of one method, as the fields of a dataclass; ``R`` is the class of its result.

    Attributes
    ----------
    METHOD : str
        The method's name.
    RESULT : type
        The class of the result.
    """

    METHOD: ClassVar[str]
    RESULT: ClassVar[type[Any]]
    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "strict": True}
    """How the engine checks a message; clients have no pydantic."""

    def __init_subclass__(cls, method: str, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.METHOD = method
        (cls.RESULT,) = get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Nothing:
    """A result without content."""

"""The parameters of a request, checked once, at the border."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from activeseg.core.errors import InputError, shown

E = TypeVar("E", bound=StrEnum)
_MISSING: Any = object()


class WrongParams(InputError):
    """A parameter is missing, unknown or of another type."""


def path_of(text: str) -> Path:
    """The absolute path that a text names. Raises InputError when none can be named so, whatever lies on the disk."""
    try:
        path = Path(text).expanduser().absolute()
        os.fsencode(path)
    except RuntimeError as error:  # ~name of an unknown user
        raise InputError(f"The path {shown(text)} begins with a user that this computer does not know.") from error
    except UnicodeError as error:
        raise InputError(f"The path {shown(text)} holds characters that no file can have in its name.") from error
    if not text or "\0" in text:
        raise InputError(f"{shown(text)} is not a path.")
    return path


class Params:
    """Typed access to a request's parameters; leaving the ``with`` block refuses those that were not read."""

    def __init__(self, method: str, values: Mapping[str, Any]) -> None:
        self._method = method
        self._values = dict(values)
        self._asked: set[str] = set()

    def __enter__(self) -> Params:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        unknown = sorted(set(self._values) - self._asked)
        if kind is None and unknown:
            known = ", ".join(sorted(self._asked))
            raise WrongParams(f"'{self._method}' has no parameter {shown(unknown[0])}.", f"It has: {known}.")

    def text(self, name: str, default: str = _MISSING) -> str:
        value = self._get(name, default)
        if not isinstance(value, str) or "\0" in value:
            raise self._wrong(name, value, "a text")
        try:
            os.fsencode(value)
        except UnicodeError:
            raise self._wrong(name, value, "a text, and that is half a character") from None
        return value

    def path(self, name: str) -> Path:
        value = self.text(name)
        try:
            return path_of(value)
        except InputError as error:
            raise WrongParams(f"The parameter '{name}' of '{self._method}': {error.message}") from error

    def optional_path(self, name: str) -> Path | None:
        """None when it is missing or null."""
        return None if self._get(name, None) is None else self.path(name)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def count(self, name: str, default: int) -> int:
        """A whole number from 0."""
        value = self._get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(name, value, "a whole number from 0")
        return value

    def number(self, name: str) -> float | None:
        value = self._get(name, None)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise self._wrong(name, value, "a number")
        try:
            return None if value is None else float(value)
        except OverflowError:
            raise self._wrong(name, value, "a number") from None

    def choice(self, name: str, kind: type[E], default: E) -> E:
        value = self._get(name, str(default))
        if value not in [str(member) for member in kind]:
            raise self._wrong(name, value, f"one of {', '.join(kind)}")
        return kind(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty when it is missing."""
        value = self._get(name, [])
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self._wrong(name, value, "a list of texts")
        return tuple(value)

    def mapping(self, name: str) -> dict[str, Any]:
        """An object; empty when it is missing."""
        value = self._get(name, {})
        if not isinstance(value, dict):
            raise self._wrong(name, value, "an object")
        return value

    def images(self) -> dict[str, Any]:
        """``images``: channel -> image, at least one."""
        value = self.mapping("images")
        if not value:
            raise WrongParams(f"'images' of '{self._method}' names no image.", "Give one for each channel.")
        return value

    def names(self, name: str) -> dict[str, str | None]:
        """An object whose values are texts or null; empty when it is missing."""
        value = self.mapping(name)
        if not all(text is None or isinstance(text, str) for text in value.values()):
            raise self._wrong(name, value, "an object of texts")
        return value

    def any(self, name: str) -> Any:
        """The value as it is."""
        return self._get(name, _MISSING)

    def has(self, name: str) -> bool:
        self._asked.add(name)
        return self._values.get(name) is not None

    def _get(self, name: str, default: Any) -> Any:
        self._asked.add(name)
        value = self._values.get(name, default)
        if value is _MISSING:
            raise WrongParams(f"'{self._method}' needs the parameter '{name}'.")
        return value

    def _wrong(self, name: str, value: Any, expected: str) -> WrongParams:
        return WrongParams(f"The parameter '{name}' of '{self._method}' is {shown(value)}; it must be {expected}.")

"""The values of a JSON object one by one; ``core.records`` reads them all by type hints, and new code uses that."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from activeseg.core.errors import shown
from activeseg.core.records import HEX_32 as HEX_32
from activeseg.core.records import HEX_64 as HEX_64
from activeseg.core.records import UNFIT as UNFIT
from activeseg.core.records import WrongField as WrongField
from activeseg.core.records import check_depth as check_depth
from activeseg.core.records import is_deeper as is_deeper
from activeseg.core.records import shortly as shortly

_MOST_TEXT = 100_000


class Fields:
    """An object of a JSON file. ``key`` is where it lies (``current.label``); every method raises WrongField."""

    def __init__(self, value: Any, key: str = "") -> None:
        self._key = key
        if not isinstance(value, Mapping):
            raise WrongField(f"'{key or 'the whole'}' is {_shown(value)}, not an object")
        self.value: Mapping[str, Any] = value

    def __contains__(self, name: str) -> bool:
        return name in self.value

    def any(self, name: str) -> Any:
        if name not in self.value:
            raise WrongField(f"'{self._at(name)}' is missing")
        return self.value[name]

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        """A text that can be written as UTF-8 and, with ``pattern``, matches as a whole."""
        return self._text(self._at(name), self.any(name), pattern)

    def whole(self, name: str, lowest: int = 0, highest: int = 10**9) -> int:
        value = self.any(name)
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            self._wrong(name, f"a whole number from {lowest} to {highest}")
        return value

    def number(self, name: str, finite: bool = True) -> float:
        value = self.any(name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or (finite and not math.isfinite(value)):
            self._wrong(name, "a number")
        return float(value)

    def number_or_none(self, name: str) -> float | None:
        """Also one that is not finite, such as the loss of a training that failed."""
        return None if self.any(name) is None else self.number(name, finite=False)

    def wholes(self, name: str, count: int, lowest: int = 0, highest: int = 10**9) -> tuple[int, ...]:
        """A list of that many whole numbers."""
        values = self.inner_list(name, count)
        return tuple(values.whole(key, lowest, highest) for key in values.value)

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """A list of that many finite numbers."""
        values = self.inner_list(name, count)
        return tuple(values.number(key) for key in values.value)

    def flag(self, name: str) -> bool:
        value = self.any(name)
        if not isinstance(value, bool):
            self._wrong(name, "true or false")
        return value

    def inner(self, name: str) -> Fields:
        return Fields(self.any(name), self._at(name))

    def plain(self, name: str) -> dict[str, Any]:
        """An object whose values may be anything, nested no deeper than can be written again."""
        value = dict(self.inner(name).value)
        check_depth(value, self._at(name))
        return value

    def many(self, name: str) -> list[Any]:
        value = self.any(name)
        if not isinstance(value, list):
            self._wrong(name, "a list")
        return value

    def inners(self, name: str) -> list[Fields]:
        """A list of objects."""
        return [Fields(value, f"{self._at(name)}[{n}]") for n, value in enumerate(self.many(name))]

    def texts(self, name: str, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        return tuple(self._text(f"{self._at(name)}[{n}]", value, pattern) for n, value in enumerate(self.many(name)))

    def entries(self, name: str) -> Iterator[tuple[str, Fields]]:
        """An object of objects."""
        inner = self.inner(name)
        for key, value in inner.value.items():
            yield self._text(self._at(name), key, None), Fields(value, inner._at(key))

    def text_by_key(self, name: str, pattern: re.Pattern[str] | None = None) -> dict[str, str]:
        """An object of texts."""
        inner = self.inner(name)
        return {self._text(inner._key, key, None): inner.text(key, pattern) for key in inner.value}

    def inner_list(self, name: str, count: int) -> Fields:
        """A list of that many values, by ``[0]``, ``[1]`` and so on."""
        values = self.many(name)
        if len(values) != count:
            raise WrongField(f"'{self._at(name)}' has {len(values)} values, not {count}")
        return Fields({f"[{n}]": value for n, value in enumerate(values)}, self._at(name))

    def _at(self, name: str) -> str:
        return f"{self._key}.{name}" if self._key else name

    def _wrong(self, name: str, wanted: str) -> NoReturn:
        raise WrongField(f"'{self._at(name)}' is {_shown(self.value[name])}, not {wanted}")

    @staticmethod
    def _text(key: str, value: Any, pattern: re.Pattern[str] | None) -> str:
        if not isinstance(value, str):
            raise WrongField(f"'{key}' is {_shown(value)}, not a text")
        if len(value) > _MOST_TEXT or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise WrongField(f"'{key}' is {_shown(value)}, which is no text that can be kept")
        if pattern is not None and not pattern.fullmatch(value):
            raise WrongField(f"'{key}' is {_shown(value)}, which it cannot be")
        return value


def _shown(value: Any) -> str:
    """Short, and printable everywhere."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    return shown(value, 60)

"""Values of JSON that anybody may have written: each is read with its type and bounds, or refused with its key.

The functions take a value and its key (``configurations.3d_fullres.spacing``), return what they found, and raise
``WrongField``. ``JsonValue`` is the two in one, for files whose keys are not known beforehand; where they are known, a
dataclass says more (``records``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from activeseg.core.errors import printable, shown

MOST_TEXT, LONGEST_NAME = 100_000, 200
_SHOWN = 60


class WrongField(ValueError):
    """A value that cannot be there; the text names its key and shows it, ``action`` says what helps, if known."""

    def __init__(self, message: str, action: str = "", key: str = "") -> None:
        super().__init__(message)
        self.action = action
        self.key = key


def place(key: str, name: str) -> str:
    """The key of what has that name below ``key``."""
    name = printable(name, _SHOWN)
    return f"{key}.{name}" if key else name


def named(key: str) -> str:
    """A key for a sentence."""
    return f"'{key or 'the whole'}'"


def refuse(value: Any, key: str, wanted: str) -> NoReturn:
    """Raise WrongField for a value that is not ``wanted``."""
    kind = "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else shown(value, _SHOWN)
    raise WrongField(f"{named(key)} is {kind}, not {wanted}", key=key)


def flag(value: Any, key: str) -> bool:
    return value if isinstance(value, bool) else refuse(value, key, "true or false")


def whole(value: Any, key: str, lowest: int | None = None, highest: int | None = None) -> int:
    """A whole number between the two; of 64 bits where they are not given."""
    low, high = -(2**63) if lowest is None else lowest, 2**63 - 1 if highest is None else highest
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        refuse(value, key, "a whole number" + _between(lowest, highest))
    return int(value)


def number(
    value: Any, key: str, lowest: float | None = None, highest: float | None = None, *, finite: bool = True
) -> float:
    """A number between the two, also one without a point."""
    wanted = "a number" + _between(lowest, highest)
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(value, key, wanted)
    try:
        found = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        refuse(value, key, wanted)
    if finite and not math.isfinite(found):
        refuse(value, key, wanted)
    if (lowest is not None and not found >= lowest) or (highest is not None and not found <= highest):
        refuse(value, key, wanted)
    return found


def _between(lowest: float | None, highest: float | None) -> str:
    return "" if lowest is None and highest is None else f" from {lowest} to {highest}"


def text(value: Any, key: str, pattern: re.Pattern[str] | None = None) -> str:
    """A text that can be written as UTF-8 and, with ``pattern``, matches as a whole."""
    if not isinstance(value, str):
        refuse(value, key, "a text")
    if len(value) > MOST_TEXT or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise WrongField(f"{named(key)} is {shown(value, _SHOWN)}, which is no text that can be kept", key=key)
    if pattern is not None and not pattern.fullmatch(value):
        raise WrongField(f"{named(key)} is {shown(value, _SHOWN)}, which it cannot be", key=key)
    return str(value)


def members(value: Any, key: str) -> Mapping[str, Any]:
    """Of an object, by their names."""
    return value if isinstance(value, Mapping) else refuse(value, key, "an object")


def rows(value: Any, key: str, least: int = 0, most: int | None = None) -> list[Any]:
    """What a list holds."""
    if not isinstance(value, list | tuple):
        refuse(value, key, "a list")
    if len(value) < least or (most is not None and len(value) > most):
        wanted = str(least) if least == most else f"at least {least}" if most is None else f"{least} to {most}"
        raise WrongField(f"{named(key)} has {len(value)} values, not {wanted}", key=key)
    return list(value)


@dataclass(frozen=True)
class JsonValue:
    """A value and its key. Every method returns what it found there, or raises WrongField."""

    raw: Any
    key: str = ""

    def wrong(self, what: str, action: str = "") -> WrongField:
        """The error: ``what`` is the rest of a sentence that began with the key and its value."""
        return WrongField(f"{named(self.key)} is {shown(self.raw, _SHOWN)}, {what}", action, self.key)

    def __getitem__(self, name: str) -> JsonValue:
        found = self.get(name)
        if found is None:
            key = place(self.key, name)
            raise WrongField(f"'{key}' is missing", key=key)
        return found

    def get(self, name: str) -> JsonValue | None:
        """The value below that key; None where there is none."""
        found = members(self.raw, self.key)
        return JsonValue(found[name], place(self.key, name)) if name in found else None

    def members(self) -> dict[str, JsonValue]:
        return {name: JsonValue(value, place(self.key, name)) for name, value in members(self.raw, self.key).items()}

    def items(self, least: int = 0, most: int = 1000) -> list[JsonValue]:
        found = rows(self.raw, self.key, least, most)
        return [JsonValue(value, f"{self.key}[{n}]") for n, value in enumerate(found)]

    def name(self) -> str:
        """A text that is not empty, printable, and not longer than any sane name."""
        found = text(self.raw, self.key)
        if not 0 < len(found) <= LONGEST_NAME:
            raise self.wrong(f"which is not of 1 to {LONGEST_NAME} characters")
        if not found.isprintable():  # line ends and control characters
            raise self.wrong("which has characters that cannot be shown")
        return found

    def integer(self, low: int, high: int) -> int:
        return whole(self.raw, self.key, low, high)

    def number(self, low: float, high: float) -> float:
        return number(self.raw, self.key, low, high)

    def flag(self) -> bool:
        return flag(self.raw, self.key)

    def one_of(self, known: Collection[str], what: str, action: str) -> str:
        name = self.name()
        if name not in known:
            raise self.wrong(f"which is {what}", action)
        return name

"""One value of a JSON file that a stranger wrote: read with its type and its bounds, or refused with its place."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.core.errors import ModelError

LONGEST_NAME = 200
_SHOWN = 60
_LONGEST_PATH = 400


@dataclass(frozen=True)
class ForeignValue:
    """A value, the file it is from, and its key there (``configurations.3d_fullres.spacing``).

    Every method returns what it found, or raises ModelError naming file, key and value.
    """

    raw: Any
    file: Path
    key: str = ""

    def wrong(self, what: str, action: str = "Copy the model's folder again, or ask its author.") -> ModelError:
        """The error: ``what`` is the rest of a sentence that began with the key and its value."""
        shown = shortened(self.raw)
        return ModelError(
            f"The model's file '{self.file.name}' cannot be used: '{self.key}' is {shown}, {what}.",
            action,
            file=str(self.file),
            key=self.key,
            value=shown,
        )

    def __getitem__(self, name: str) -> ForeignValue:
        found = self.get(name)
        if found is None:
            raise ModelError(
                f"The model's file '{self.file.name}' cannot be used: it has no '{self._below(name)}'.",
                "Copy the model's folder again, or ask its author.",
                file=str(self.file),
                key=self._below(name),
            )
        return found

    def get(self, name: str) -> ForeignValue | None:
        """The value below that key; None where there is none."""
        members = self.members()
        return members.get(name)

    def members(self) -> dict[str, ForeignValue]:
        """Of an object, by their names."""
        if not isinstance(self.raw, dict):
            raise self.wrong("not an object")
        return {name: ForeignValue(value, self.file, self._below(name)) for name, value in self.raw.items()}

    def items(self, least: int = 0, most: int = 1000) -> list[ForeignValue]:
        """Of a list."""
        if not isinstance(self.raw, list):
            raise self.wrong("not a list")
        if not least <= len(self.raw) <= most:
            many = str(least) if least == most else f"{least} to {most}"
            raise self.wrong(f"which has {len(self.raw)} entries instead of {many}")
        return [ForeignValue(value, self.file, f"{self.key}[{number}]") for number, value in enumerate(self.raw)]

    def text(self) -> str:
        """A name: printable, of sane length, and such that it can be written as UTF-8."""
        if not isinstance(self.raw, str):
            raise self.wrong("not a text")
        if not 0 < len(self.raw) <= LONGEST_NAME:
            raise self.wrong(f"which is not of 1 to {LONGEST_NAME} characters")
        if not self.raw.isprintable():  # line ends, control characters and lone surrogates
            raise self.wrong("which has characters that cannot be shown")
        return self.raw

    def integer(self, low: int, high: int) -> int:
        if isinstance(self.raw, bool) or not isinstance(self.raw, int):
            raise self.wrong("not a whole number")
        if not low <= self.raw <= high:
            raise self.wrong(f"which is not between {low} and {high}")
        return self.raw

    def number(self, low: float, high: float) -> float:
        if isinstance(self.raw, bool) or not isinstance(self.raw, int | float):
            raise self.wrong("not a number")
        if not (math.isfinite(self.raw) if isinstance(self.raw, float) else True) or not low <= self.raw <= high:
            raise self.wrong(f"which is not between {low:g} and {high:g}")
        return float(self.raw)

    def flag(self) -> bool:
        if not isinstance(self.raw, bool):
            raise self.wrong("not true or false")
        return self.raw

    def one_of(self, known: Collection[str], what: str, action: str) -> str:
        name = self.text()
        if name not in known:
            raise self.wrong(f"which is {what}", action)
        return name

    def _below(self, name: str) -> str:
        name = ascii(name)[1:-1][:LONGEST_NAME]
        return f"{self.key}.{name}" if self.key else name


def shortened(value: Any) -> str:
    """A value as JSON in ASCII, at most about 60 characters."""
    if isinstance(value, dict | list) and len(value) > 20:
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)} entries"
    try:
        text = json.dumps(value)
    except (ValueError, TypeError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def shown_path(path: Path) -> str:
    """A path for a sentence: as it is, or in ASCII and cut where it cannot be shown or is longer than any real one."""
    text = str(path)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _LONGEST_PATH else f"{text[:_LONGEST_PATH]}..."

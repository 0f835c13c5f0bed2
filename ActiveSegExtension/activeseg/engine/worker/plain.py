"""The one place where results become JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from activeseg.core.records import to_json


def plain(value: Any) -> Any:
    """JSON-ready: dataclasses become objects, numpy's numbers Python's, paths texts, what is not finite null."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value):
        return plain(to_json(value))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)

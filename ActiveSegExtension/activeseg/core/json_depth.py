"""How deep JSON is nested: what comes from elsewhere may be deeper than Python's stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_deeper(value: Any, limit: int) -> bool:
    """Whether objects and lists are nested deeper than ``limit`` levels; found without recursion."""
    level = [value]
    for _ in range(limit):
        level = [
            entry
            for container in level
            if isinstance(container, Mapping | list | tuple)
            for entry in (container.values() if isinstance(container, Mapping) else container)
            if isinstance(entry, Mapping | list | tuple)
        ]
        if not level:
            return False
    return True

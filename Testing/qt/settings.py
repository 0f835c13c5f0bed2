"""What an application remembers, for tests."""

from __future__ import annotations

from typing import Any


class Settings(dict[str, Any]):
    """As QSettings."""

    def value(self, key: str) -> Any:
        return self.get(key)

    def setValue(self, key: str, value: Any) -> None:  # noqa: N802
        self[key] = value

    def remove(self, key: str) -> None:
        self.pop(key, None)

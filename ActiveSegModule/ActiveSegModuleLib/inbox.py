"""Array files on their way to the engine."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from typing import Any

import numpy.typing as npt

from activeseg.client.arrays import volume_message, write_array
from activeseg.volume import Volume


class Inbox:
    """The files of one request, in the folder that the running engine named; remove them when it has answered."""

    def __init__(self, engine: Any) -> None:
        """``engine`` is an EngineProcess that has answered already: before that it has no folder."""
        self._folder = Path(engine.engine["inbox"])
        self._files: list[Path] = []

    def volume(self, volume: Volume) -> dict[str, Any]:
        """Write a volume; what a message says about it. Raises OSError."""
        return volume_message(self._new(".npy"), volume)

    def array(self, array: npt.NDArray[Any]) -> str:
        """Write an array; its path for a message. Raises OSError."""
        return write_array(self._new(".npy"), array)

    def bytes(self, content: bytes, suffix: str) -> str:
        """Write a file; its path for a message. Raises OSError."""
        path = self._new(suffix)
        path.write_bytes(content)
        return str(path)

    def remove(self) -> None:
        """What cannot be removed yet goes with the engine's end."""
        for path in self._files:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        self._files.clear()

    def _new(self, suffix: str) -> Path:
        path = self._folder / f"{uuid.uuid4().hex}{suffix}"
        self._files.append(path)
        return path

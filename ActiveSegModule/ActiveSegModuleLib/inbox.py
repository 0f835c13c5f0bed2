"""Array files on their way to the engine."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt

from activeseg.client.arrays import geometry_message, writing_array
from activeseg.errors import ActiveSegError, InputError
from activeseg.volume import Volume


class Inbox:
    """The files of one request, in the folder that the running engine named.

    Say what goes in, ``fill`` it, send the request, and ``remove`` the files when it has been answered.
    """

    def __init__(self, engine: Any) -> None:
        """``engine`` is an EngineProcess that has answered already: before that it has no folder."""
        self._folder = Path(engine.engine["inbox"])
        self._later = engine.later
        self._files: list[Path] = []
        self._to_write: list[Iterator[None]] = []
        self._removed = False

    def volume(self, volume: Volume) -> dict[str, Any]:
        """What a message says about a volume that goes in."""
        return {"array": self.array(volume.array), "geometry": geometry_message(volume.geometry)}

    def array(self, array: npt.NDArray[Any]) -> str:
        """The path, for a message, of an array that goes in. It must not change until it is written."""
        path = self._new(".npy")
        self._to_write.append(writing_array(path, array))
        return str(path)

    def bytes(self, content: bytes, suffix: str) -> str:
        """Write a small file at once; its path for a message. Raises OSError."""
        path = self._new(suffix)
        path.write_bytes(content)
        return str(path)

    def fill(self, on_done: Callable[[], None], on_error: Callable[[ActiveSegError], None]) -> None:
        """Write the arrays part by part, so that a large CT never holds up the event loop, unless ``remove`` comes."""
        while self._to_write:
            try:
                next(self._to_write[0])
            except StopIteration:
                del self._to_write[0]
            except OSError as error:
                self._to_write.clear()
                on_error(file_error(error))
                return
            else:
                self._later(lambda: self.fill(on_done, on_error))
                return
        if not self._removed:
            on_done()

    def remove(self) -> None:
        """What cannot be removed yet goes with the engine's end."""
        self._removed = True
        for writing in self._to_write:
            writing.close()
        self._to_write.clear()
        for path in self._files:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        self._files.clear()

    def _new(self, suffix: str) -> Path:
        path = self._folder / f"{uuid.uuid4().hex}{suffix}"
        self._files.append(path)
        return path


def file_error(error: OSError) -> InputError:
    """What a user is told about a file that cannot be written or read."""
    return InputError(f"A file could not be written or read: {error}.", "Check the free space on the disk.")

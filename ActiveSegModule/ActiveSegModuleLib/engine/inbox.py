"""Array files on their way to the engine."""

from __future__ import annotations

import contextlib
import errno
import shutil
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy.typing as npt

from activeseg.client.messages.images import ArrayFile
from activeseg.core.errors import InputError
from activeseg.core.volume import Volume
from activeseg.io.npy import writing_array

from .engine import Engine, OnError


class Inbox:
    """The files of one request, in the folder that the running engine named.

    Say what goes in, ``fill`` it, send the request, and ``remove`` the files when it has been answered.
    """

    def __init__(self, engine: Engine) -> None:
        """The engine has answered already: before that it has no folder."""
        self._folder = Path(engine.engine["inbox"])
        self._later = engine.later
        self._files: list[Path] = []
        self._to_write: list[Generator[None]] = []
        self._bytes = 0  # that will be written
        self._removed = False

    def volume(self, volume: Volume) -> ArrayFile:
        """What a message says about a volume that goes in."""
        return ArrayFile(self.array(volume.array), volume.geometry)

    def array(self, array: npt.NDArray[Any]) -> Path:
        """The path, for a message, of an array that goes in. It must not change until it is written."""
        path = self._new(".npy")
        self._bytes += array.nbytes
        self._to_write.append(writing_array(path, array))
        return path

    def bytes(self, content: bytes, suffix: str) -> Path:
        """Write a small file at once; its path for a message. Raises OSError."""
        path = self._new(suffix)
        path.write_bytes(content)
        return path

    def fill(self, on_done: Callable[[], None], on_error: OnError) -> None:
        """Write the arrays part by part, so that a large CT never holds up the event loop, unless ``remove`` comes.

        A disk that has no room for them is told before anything is written.
        """
        needed, self._bytes = self._bytes, 0
        if needed:
            try:
                free = shutil.disk_usage(self._folder).free
            except OSError as error:
                self._to_write.clear()
                on_error(file_error(error))
                return
            if free < needed:
                self._to_write.clear()
                on_error(_full(self._folder, needed, free))
                return
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


def _full(folder: Path, needed: int, free: int) -> InputError:
    return InputError(
        f"The disk of '{folder}' is full: {needed / 1e6:.0f} MB are needed there, {free / 1e6:.0f} MB are free.",
        "Free some space on that disk.",
    )


def file_error(error: OSError) -> InputError:
    """What a user is told about a file that cannot be written or read."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        where = f" that holds '{error.filename}'" if error.filename else ""
        return InputError(f"The disk{where} is full.", "Free some space on that disk.")
    return InputError(f"A file could not be written or read: {error}.", "Check the free space on the disk.")

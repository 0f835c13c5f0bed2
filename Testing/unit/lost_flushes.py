"""The worst folders that a power failure can leave: what was written or renamed and not flushed is lost or garbled.

``Recorder`` watches what this process flushes. At every flush, rename, link and removal a state can be built: each
file holds what it held when it was flushed last (else nothing, or rubbish), and each folder the entries that it had
when it was flushed last, or those that it has now; which of the two is drawn for each folder by itself, because disks
write folders in any order.
"""

from __future__ import annotations

import contextlib
import os
import random
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

_WATCHED = ("fsync", "replace", "rename", "link", "unlink", "mkdir", "rmdir")


class Recorder:
    """Watches ``root``; everything in it counts as flushed at the beginning."""

    def __init__(self, root: Path, at_each: Callable[[Recorder], None]) -> None:
        self.root = root
        self.points = 0
        self._at_each = at_each
        self._content: dict[int, bytes] = {}
        self._entries: dict[int, dict[str, int]] = {}
        self._held: dict[int, int] = {}  # open, so that the number of a file that is removed is given to no other one
        for place, _, files in os.walk(root):
            self._note_folder(Path(place))
            for name in files:
                self._note_file(Path(place) / name)

    def close(self) -> None:
        while self._held:
            os.close(self._held.popitem()[1])

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        real = {name: getattr(os, name) for name in _WATCHED}

        def watched(name: str) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                result = real[name](*arguments, **options)
                if name == "fsync":
                    self._flushed(arguments[0])  # type: ignore[arg-type]
                self.points += 1
                self._at_each(self)
                return result

            return call

        for name in _WATCHED:
            setattr(os, name, watched(name))
        try:
            yield
        finally:
            for name in _WATCHED:
                setattr(os, name, real[name])

    def _flushed(self, handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if path.is_relative_to(self.root):
            (self._note_folder if path.is_dir() else self._note_file)(path)

    def _note_file(self, path: Path) -> None:
        self._hold(path)
        self._content[path.stat().st_ino] = path.read_bytes()

    def _note_folder(self, path: Path) -> None:
        self._hold(path)
        self._entries[path.stat().st_ino] = {entry.name: entry.inode() for entry in os.scandir(path)}
        for name in self._entries[path.stat().st_ino]:
            self._hold(path / name)

    def _hold(self, path: Path) -> None:
        inode = path.lstat().st_ino
        if inode not in self._held and not path.is_symlink():
            self._held[inode] = os.open(path, os.O_RDONLY)

    def build(self, target: Path, seed: int) -> None:
        """One of the folders that can be left now."""
        chosen = random.Random(seed)
        kinds = {entry.stat().st_ino: entry for entry in self.root.rglob("*") if not entry.is_symlink()}

        def folder(inode: int, now: Path | None, made: Path) -> None:
            made.mkdir()
            current = {e.name: e.inode() for e in os.scandir(now)} if now and now.is_dir() else None
            flushed = self._entries.get(inode, {})
            for name, inner in (flushed if current is None or chosen.random() < 0.5 else current).items():
                path = kinds.get(inner)
                if inner in self._entries or (path is not None and path.is_dir()):
                    folder(inner, path, made / name)
                elif inner in self._content:
                    (made / name).write_bytes(self._content[inner])
                else:
                    (made / name).write_bytes(chosen.choice([b"", b"\0" * 40, b'{"torn": ']))

        folder(self.root.stat().st_ino, self.root, target)
        assert stat.S_ISDIR(target.stat().st_mode)

"""Which patient and file a case comes from: a file of the user's own, outside of the dataset, mode 0600."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from activeseg.core.errors import DatasetError
from activeseg.system.file_lock import held
from activeseg.system.files import make_folder, remove_abandoned, replacing, set_rights, sync_to_disk
from activeseg.system.folders import PRIVATE_FOLDER

_WAIT_S = 10.0


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its user may look into, on disk for good. Raises OSError."""
    make_folder(folder, 0o700)


class PrivateMap:
    """One line of JSON for each time a case was stored; the last line of a case counts.

    Appending costs the same for the first case and the thousandth. ``change`` marks a line with the change of the
    dataset that it belongs to, so that the line goes when that change was never made.
    """

    def __init__(self, dataset_id: str, dataset_folder: Path, folder: Path) -> None:
        """Raises DatasetError when the private folder lies inside the dataset."""
        if folder.resolve().is_relative_to(dataset_folder.resolve()):
            raise DatasetError(
                f"The private folder '{folder}' lies inside the dataset, which may be given away.",
                f"Choose another one (argument or {PRIVATE_FOLDER}).",
            )
        self.path = folder / f"{dataset_id}.jsonl"
        self._dataset = str(dataset_folder)

    def add(self, case: str, source: Mapping[str, Any], change: str = "") -> None:
        """Note where a case comes from. Raises DatasetError when that is not possible."""
        entry = {"case": case, "dataset": self._dataset, "source": dict(source)}
        line = json.dumps({**entry, "change": change} if change else entry)
        with self._locked():
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
            with os.fdopen(handle, "r+b") as file:
                set_rights(file.fileno(), 0o600)
                new = not file.seek(0, os.SEEK_END)
                if not new:
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # a crash tore the last line
                        file.write(b"\n")
                file.write(line.encode() + b"\n")
            sync_to_disk(self.path)
            if new:
                sync_to_disk(self.path.parent)

    def sources(self) -> dict[str, dict[str, Any]]:
        """Case name -> what ``add`` was told last; a line that a crash tore is left out."""
        try:
            lines = self._lines()
        except OSError as error:
            raise self._failed(error) from error
        found: dict[str, dict[str, Any]] = {}
        for _, entry in lines:
            if entry is not None:
                found[entry["case"]] = entry["source"]
        return found

    def datasets(self) -> set[str]:
        """The folders in which the dataset lay when something was noted. Raises DatasetError."""
        try:
            return {str(entry.get("dataset", "")) for _, entry in self._lines() if entry is not None}
        except OSError as error:
            raise self._failed(error) from error

    def forget(self, case: str) -> None:
        """Remove all that is known about a case. Raises DatasetError when that is not possible."""
        self._drop(lambda entry: entry["case"] == case)

    def forget_change(self, change: str) -> None:
        """Remove what was noted for a change that was never made. Raises DatasetError when that is not possible."""
        self._drop(lambda entry: entry.get("change") == change)

    def sweep(self) -> None:
        """Remove what writers that were killed left of this file and its neighbours."""
        remove_abandoned(self.path.parent)

    def _drop(self, which: Callable[[dict[str, Any]], bool]) -> None:
        """Write the file again without those lines; torn ones go, too."""
        if not self.path.exists():
            return
        with self._locked():
            lines = self._lines()
            kept = [line for line, entry in lines if entry is not None and not which(entry)]
            if len(kept) == len(lines):
                return
            with replacing(self.path, ".jsonl") as fresh:
                handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
                with os.fdopen(handle, "wb") as file:
                    file.writelines(line + b"\n" for line in kept)

    def _lines(self) -> list[tuple[bytes, dict[str, Any] | None]]:
        """Each line as it is, and what it says; None where it says nothing that is known. Raises OSError."""
        if not self.path.exists():
            return []
        found: list[tuple[bytes, dict[str, Any] | None]] = []
        for line in self.path.read_bytes().splitlines():
            try:
                entry = json.loads(line)
                known = isinstance(entry["case"], str) and isinstance(entry["source"], dict)
            except (ValueError, KeyError, TypeError, RecursionError):
                known = False
            found.append((line, entry if known else None))
        return found

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Be the only one that changes the file; copies of a dataset share it. Raises DatasetError."""

        def busy() -> DatasetError:
            return DatasetError(f"Another program is changing the private file '{self.path}'.", "Try again.")

        try:
            make_private_folder(self.path.parent)
            lock = self.path.with_name(f".{self.path.stem}.lock")
            # Not needed: the dataset's own lock keeps all but its copies away.
            with held(lock, _WAIT_S, busy=busy, failed=self._failed, needed=False):
                yield
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> DatasetError:
        return DatasetError(
            f"The private file '{self.path}' cannot be used: {error.strerror or error}.",
            f"Name another folder for it (argument or {PRIVATE_FOLDER}).",
        )

"""Which patient and file a case comes from: a file of the user's own, outside of the dataset, mode 0600."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from activeseg.errors import DatasetError
from activeseg.volume import replacing, set_rights, sync_to_disk

ENVIRONMENT = "ACTIVESEG_PRIVATE_DIR"


def private_folder(given: Path | None = None) -> Path:
    """The folder for private files: as given, else ``ACTIVESEG_PRIVATE_DIR``, else the user's configuration folder."""
    if given is not None:
        return given.expanduser().absolute()
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT]).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "activeseg" / "private"


class PrivateMap:
    """One line of JSON for each time a case was stored; the last line of a case counts.

    Appending costs the same for the first case and the thousandth.
    """

    def __init__(self, dataset_id: str, dataset_folder: Path, folder: Path) -> None:
        """Raises DatasetError when the private folder lies inside the dataset."""
        if folder.resolve().is_relative_to(dataset_folder.resolve()):
            raise DatasetError(
                f"The private folder '{folder}' lies inside the dataset, which may be given away.",
                f"Choose another one (argument or {ENVIRONMENT}).",
            )
        self.path = folder / f"{dataset_id}.jsonl"
        self._dataset = str(dataset_folder)

    def add(self, case: str, source: Mapping[str, Any]) -> None:
        """Note where a case comes from. Raises DatasetError when that is not possible."""
        line = json.dumps({"case": case, "dataset": self._dataset, "source": dict(source)})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
            with os.fdopen(handle, "r+b") as file:
                set_rights(file.fileno(), 0o600)
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # a crash tore the last line
                        file.write(b"\n")
                file.write(line.encode() + b"\n")
            sync_to_disk(self.path)
        except OSError as error:
            raise self._failed(error) from error

    def sources(self) -> dict[str, dict[str, Any]]:
        """Case name -> what ``add`` was told last; a line that a crash tore is left out."""
        found: dict[str, dict[str, Any]] = {}
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        except OSError as error:
            raise self._failed(error) from error
        for line in lines:
            try:
                entry = json.loads(line)
                found[entry["case"]] = entry["source"]
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def forget(self, case: str) -> None:
        """Remove all that is known about a case."""
        kept = {name: source for name, source in self.sources().items() if name != case}
        if not self.path.exists():
            return
        lines = [
            json.dumps({"case": n, "dataset": self._dataset, "source": source}) + "\n" for n, source in kept.items()
        ]
        try:
            with replacing(self.path, ".jsonl") as fresh:
                handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.writelines(lines)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> DatasetError:
        return DatasetError(
            f"The private file '{self.path}' cannot be used: {error.strerror or error}.",
            f"Name another folder for it (argument or {ENVIRONMENT}).",
        )

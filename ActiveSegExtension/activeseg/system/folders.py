"""Where this user's files go, by system: the rules of ``platformdirs``, which Slicer's Python does not have."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PRIVATE_FOLDER = "ACTIVESEG_PRIVATE_DIR"
"""The environment variable that names another private folder."""


def default_home() -> Path:
    """Where logs and scratch go when the user chose nothing: the system's place for what can be made again."""
    return _base("LOCALAPPDATA", "AppData/Local", "Library/Caches", "XDG_CACHE_HOME", ".cache") / "activeseg" / "engine"


def data_folder() -> Path:
    """The system's place for a user's larger data."""
    base = _base("LOCALAPPDATA", "AppData/Local", "Library/Application Support", "XDG_DATA_HOME", ".local/share")
    return base / ("ActiveSeg" if sys.platform in ("win32", "darwin") else "activeseg")


def private_folder(given: Path | None = None) -> Path:
    """The folder for private files: as given, else ``ACTIVESEG_PRIVATE_DIR``, else the user's configuration folder."""
    if given is not None:
        return given.expanduser().absolute()
    if os.environ.get(PRIVATE_FOLDER):
        return Path(os.environ[PRIVATE_FOLDER]).expanduser().absolute()
    base = _base("APPDATA", "AppData/Roaming", "Library/Application Support", "XDG_CONFIG_HOME", ".config")
    return base / "activeseg" / "private"


def _base(windows_variable: str, windows: str, mac: str, variable: str, other: str) -> Path:
    """A folder of the system: by its variable where that is set, else below the user's home."""
    if sys.platform == "darwin":
        return Path.home() / mac
    named, below = (windows_variable, windows) if sys.platform == "win32" else (variable, other)
    return Path(os.environ.get(named) or Path.home() / below)

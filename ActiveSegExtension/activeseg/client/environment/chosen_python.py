"""Which Python this user chose for an environment's folder, kept outside of that folder.

The folder's own record may come from anybody who can write there; a program that it names is started only when it is
the one that was chosen here.
"""

from __future__ import annotations

from pathlib import Path

from activeseg.client.environment.folder import PRIVATE, read_json
from activeseg.system.files import make_folder, write_json
from activeseg.system.folders import data_folder


def is_chosen(folder: Path, python: Path) -> bool:
    """Whether ``remember`` was called for them by this user on this computer."""
    return (read_json(_file()) or {}).get(str(folder)) == str(python)


def remember(folder: Path, python: Path) -> None:
    """From now on ``python`` may be started for ``folder``. Raises OSError."""
    file = _file()
    make_folder(file.parent, 0o700)
    write_json(file, {**(read_json(file) or {}), str(folder): str(python)}, PRIVATE)


def forget(folder: Path) -> None:
    """Nothing is chosen for the folder any more. Raises OSError."""
    known = read_json(_file()) or {}
    if known.pop(str(folder), None) is not None:
        write_json(_file(), known, PRIVATE)


def _file() -> Path:
    return data_folder() / "chosen-pythons.json"

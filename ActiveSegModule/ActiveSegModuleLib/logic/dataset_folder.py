"""The folder of a dataset as the user types it: what it will be called, and what is wrong with it, before any click."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import unicodedata
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from activeseg.core.errors import InputError

_FOLDER_NAME = re.compile(r"Dataset(\d{3})_(\w[\w-]*)", re.ASCII)
_NUMBERED = re.compile(r"(Dataset\d{3})_+(.+)", re.DOTALL)


class FolderProblem(Enum):
    """Why nothing can be stored in a folder."""

    NONE_CHOSEN = "none chosen"
    NOT_ABSOLUTE = "not absolute"
    BAD_NAME = "bad name"
    IS_A_FILE = "is a file"
    HOLDS_OTHER_FILES = "holds other files"
    NOT_WRITABLE = "not writable"
    DISK_FULL = "disk full"


@dataclass(frozen=True)
class FolderState:
    """A folder as it was typed.

    Attributes
    ----------
    folder : what it is called, or will be; for ``NOT_WRITABLE`` the folder that is there and cannot be written into
    is_there : whether it is a dataset already
    problem : None where a case can be stored
    told : the words of an error, for ``BAD_NAME``
    needed_bytes, free_bytes : for ``DISK_FULL``
    """

    folder: Path
    is_there: bool = False
    problem: FolderProblem | None = None
    told: str = ""
    needed_bytes: int = 0
    free_bytes: int = 0


def folder_state(typed: str, needed_bytes: int) -> FolderState:
    """What a case of ``needed_bytes`` meets in a folder. Looks at the disk, changes nothing."""
    path = Path(typed.strip()).expanduser()
    if not typed.strip():
        return FolderState(path, problem=FolderProblem.NONE_CHOSEN)
    if not path.is_absolute():
        return FolderState(path, problem=FolderProblem.NOT_ABSOLUTE)
    try:
        return _state(nnunet_folder(path), needed_bytes)
    except (InputError, OSError) as error:
        return FolderState(path, problem=FolderProblem.BAD_NAME, told=str(error))


def _state(folder: Path, needed_bytes: int) -> FolderState:
    is_there = (folder / "dataset.json").is_file()
    if folder.exists() and not folder.is_dir():
        return FolderState(folder, problem=FolderProblem.IS_A_FILE)
    if folder.is_dir() and not is_there and any(folder.iterdir()):
        return FolderState(folder, problem=FolderProblem.HOLDS_OTHER_FILES)
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        return FolderState(there, problem=FolderProblem.NOT_WRITABLE)
    free = shutil.disk_usage(there).free
    if free < needed_bytes:
        problem = FolderProblem.DISK_FULL
        return FolderState(folder, is_there, problem, needed_bytes=needed_bytes, free_bytes=free)
    return FolderState(folder, is_there)


def nnunet_folder(folder: Path) -> Path:
    """The folder that a dataset of that name has, or would get: nnU-Net wants ``DatasetNNN_Name``, and no other signs.

    ``data/kidneys`` is ``data/Dataset501_kidneys`` where that is there, else it gets a number that no neighbour has.
    Raises InputError when nothing is left of the name.
    """
    if _FOLDER_NAME.fullmatch(folder.name) or (folder / "dataset.json").is_file():
        return folder
    numbered = _NUMBERED.fullmatch(folder.name)
    plain = unicodedata.normalize("NFKD", numbered[2] if numbered else folder.name).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-")
    if not name:
        raise InputError(f"'{folder.name}' cannot be a dataset's name.", "Use letters, digits, _ and -.")
    if numbered:
        return folder.with_name(f"{numbered[1]}_{name}")
    beside = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
    named = [found for entry in beside if (found := _FOLDER_NAME.fullmatch(entry))]
    there = next((found[0] for found in named if found[2] == name), None)
    if there is not None:
        return folder.with_name(there)
    taken = {int(found[1]) for found in named}
    number = next(number for number in itertools.count(501) if number not in taken)
    return folder.with_name(f"Dataset{number:03d}_{name}")

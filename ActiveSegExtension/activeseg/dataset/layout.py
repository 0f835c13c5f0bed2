"""Where things lie in a dataset's folder, and what folders and cases may be called."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from activeseg.errors import DatasetError

LISTING = "dataset.json"
IMAGES, LABELS = "imagesTr", "labelsTr"
PROVENANCE = "provenance"
HISTORY = f"{PROVENANCE}/labels"
FOLDERS = (IMAGES, LABELS, PROVENANCE, HISTORY)
ENDING = ".nii.gz"
FIRST_ID = 501

_FOLDER_NAME = re.compile(r"Dataset(\d{3})_(\w[\w-]*)", re.ASCII)
_CASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def image_file(case: str, channel: int) -> str:
    """nnU-Net's name for one channel of a case; the images of a case never change."""
    return f"{IMAGES}/{case}_{channel:04d}{ENDING}"


def label_file(case: str, revision: int) -> str:
    """Every revision of a label map has a name of its own, the first one nnU-Net's plain name."""
    return f"{LABELS}/{_revised(case, revision)}{ENDING}"


def history_file(case: str, revision: int) -> str:
    """Where the label map of an earlier revision is kept."""
    return f"{HISTORY}/{_revised(case, revision)}{ENDING}"


def record_file(case: str, revision: int) -> str:
    """The provenance of a case, history included."""
    return f"{PROVENANCE}/{_revised(case, revision)}.json"


def schema_file(number: int) -> str:
    """A label schema; a dataset that was migrated keeps the earlier ones, which its history needs."""
    return f"{PROVENANCE}/schema.{number}.json"


def _revised(case: str, revision: int) -> str:
    return case if revision == 1 else f"{case}.r{revision}"  # no case's name holds a dot


def check_case_name(name: str) -> None:
    """Raise DatasetError for a name that a file system or nnU-Net could trip over."""
    if not _CASE_NAME.fullmatch(name):
        raise DatasetError(
            f"'{name}' cannot be a case's name.",
            "Use letters, digits, _ and - (at most 64), and nothing that tells who the patient is.",
        )


def folder_to_create(folder: Path) -> Path:
    """The folder that a new dataset gets: nnU-Net needs ``DatasetNNN_Name`` with an id that no neighbour has.

    A name of another pattern gets the next free id from 501 on: ``data/kidneys`` becomes ``data/Dataset501_kidneys``.
    Raises DatasetError when something is there already, or the name cannot be used.
    """
    folder = folder.expanduser().absolute()
    taken = ids_in(folder.parent)
    named = _FOLDER_NAME.fullmatch(folder.name)
    if folder.is_dir() and not named:
        example = folder / f"Dataset{_free_id(ids_in(folder))}_Name"
        raise DatasetError(
            f"'{folder}' is a folder already.", f"Name the dataset's own folder inside it, for example '{example}'."
        )
    if not named:
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", folder.name).strip("_-")
        if not name:
            raise DatasetError(f"'{folder.name}' cannot be a dataset's name.", "Use letters, digits, _ and -.")
        same = [other for others in taken.values() for other in others if other.partition("_")[2] == name]
        if same:
            raise DatasetError(f"There is a dataset '{same[0]}' already.", "Open that one, or choose another name.")
        folder = folder.with_name(f"Dataset{_free_id(taken)}_{name}")
    elif any(other != folder.name for other in taken.get(int(named[1]), [])):
        other = taken[int(named[1])][0]
        raise DatasetError(
            f"'{other}' has the id {named[1]} already; nnU-Net refuses two datasets with one id.",
            f"Free is {_free_id(taken)}: '{folder.parent / f'Dataset{_free_id(taken)}_{named[2]}'}'.",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"'{folder}' exists and is not empty.", "Name a new folder, or open the dataset in it.")
    return folder


def folder_to_open(folder: Path) -> Path:
    """The folder of an existing dataset; ``data/kidneys`` finds ``data/Dataset501_kidneys``. Raises DatasetError."""
    found = find_dataset(folder)
    if found:
        return found
    folder = folder.expanduser().absolute()
    inside = [name for names in ids_in(folder).values() for name in names]
    raise DatasetError(
        f"There is no dataset in '{folder}'.",
        f"It holds the datasets {', '.join(sorted(inside))}: name one." if inside else "Create one, or check the path.",
    )


def find_dataset(folder: Path) -> Path | None:
    """Like ``folder_to_open``, but None when there is none. Raises DatasetError when several have that name."""
    folder = folder.expanduser().absolute()
    if (folder / LISTING).is_file():
        return folder
    found = [
        folder.parent / name
        for names in ids_in(folder.parent).values()
        for name in names
        if name.partition("_")[2] == folder.name and (folder.parent / name / LISTING).is_file()
    ]
    if len(found) > 1:
        raise DatasetError(
            f"Several datasets are called '{folder.name}'.", f"Choose one: {', '.join(p.name for p in sorted(found))}."
        )
    return found[0] if found else None


def ids_in(parent: Path) -> dict[int, list[str]]:
    """Names of the dataset folders in a folder, by id."""
    found: dict[int, list[str]] = {}
    if parent.is_dir():
        for entry in sorted(parent.iterdir()):
            named = _FOLDER_NAME.fullmatch(entry.name)
            if named and entry.is_dir():
                found.setdefault(int(named[1]), []).append(entry.name)
    return found


def _free_id(taken: dict[int, list[str]]) -> int:
    for number in itertools.chain(range(FIRST_ID, 1000), range(1, FIRST_ID)):
        if number not in taken:
            return number
    raise DatasetError("All of nnU-Net's dataset ids, 1 to 999, are taken.", "Use another folder.")

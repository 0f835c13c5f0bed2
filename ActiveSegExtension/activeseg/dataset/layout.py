"""Where things lie in a dataset's folder, and what folders and cases may be called."""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from activeseg.core.errors import DatasetError
from activeseg.core.records import Matches, Within
from activeseg.system.regular_files import own_path

LISTING = "dataset.json"
IMAGES, LABELS = "imagesTr", "labelsTr"
PROVENANCE = "provenance"
HISTORY = f"{PROVENANCE}/labels"
FOLDERS = (IMAGES, LABELS, PROVENANCE, HISTORY)
ENDING = ".nii.gz"
FIRST_ID = 501

RevisionNumber = Annotated[int, Within(1, 10_000)]
"""Of one case; an image is not corrected more often, and reading must end."""

CASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
CaseName = Annotated[str, Matches(CASE_NAME)]
_FOLDER_NAME = re.compile(r"Dataset(\d{3})_(\w[\w-]*)", re.ASCII)
_MEANT_AS_ONE = re.compile(r"Dataset\d", re.IGNORECASE)
# Names of devices, whatever ending follows (learn.microsoft.com, "Naming Files, Paths, and Namespaces").
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\u00b9\u00b2\u00b3])( *\..*)? *", re.IGNORECASE)
_REVISED = re.compile(rf"({CASE_NAME.pattern})(?:\.r([1-9]\d{{0,4}}))?")
_IMAGE = re.compile(rf"({CASE_NAME.pattern})_(\d{{4}})")


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


@dataclass(frozen=True)
class NamedFile:
    """What the name of a file in a dataset says; ``revision`` is 0 for an image, which has none."""

    kind: str
    case: str
    revision: int = 0
    channel: int = 0


def named_file(file: str) -> NamedFile | None:
    """What ``imagesTr/CT_0001_0000.nii.gz`` and its like are; None for a name that no file of a dataset has."""
    kind, _, name = file.rpartition("/")
    ending = ".json" if kind == PROVENANCE else ENDING
    if kind not in FOLDERS or not name.endswith(ending):
        return None
    stem = name.removesuffix(ending)
    if kind == IMAGES:
        image = _IMAGE.fullmatch(stem)
        return NamedFile(kind, image[1], channel=int(image[2])) if image else None
    revised = _REVISED.fullmatch(stem)
    if not revised or revised[2] == "1":  # the first revision has no number in its name
        return None
    return NamedFile(kind, revised[1], int(revised[2] or 1))


def check_folders(folder: Path) -> None:
    """Raise DatasetError when a dataset's own folders, or its listing, are links or something else than they must be.

    Nothing may be read, moved or removed through a link: it could lead to any place of the user's.
    """
    for part in FOLDERS:
        path = own_path(folder, part, DatasetError)
        if path.exists() and not path.is_dir():
            raise DatasetError(f"'{part}' in '{folder.name}' is not a folder.", "Restore the dataset from a backup.")
    own_path(folder, LISTING, DatasetError)


def is_device_name(name: str) -> bool:
    """Whether Windows takes a file or folder of that name for a device (CON, NUL, COM1, ...), whatever its ending."""
    return _DEVICE.fullmatch(name) is not None


def check_windows_name(name: str, what: str) -> None:
    """Raise DatasetError for a name that nothing can have on Windows: the data could not be copied there."""
    if is_device_name(name):
        why = "Windows keeps that name for a device"
    elif name != name.rstrip(". "):
        why = "on Windows no name ends in a dot or a space"
    elif found := sorted(set(name) & set('<>:"|?*\\/')) or [c for c in name if ord(c) < 32]:
        why = f"Windows does not allow {found[0]!r} in it"
    else:
        return
    raise DatasetError(f"'{name}' cannot be {what}'s name: {why}.", "Choose another name.")


def check_case_name(name: str) -> None:
    """Raise DatasetError for a name that a file system or nnU-Net could trip over."""
    if is_device_name(name):
        check_windows_name(name, "a case")
    if not CASE_NAME.fullmatch(name):
        raise DatasetError(
            f"'{name}' cannot be a case's name.",
            "Use letters, digits, _ and - (at most 64), and nothing that tells who the patient is.",
        )


def allowed_name(typed: str) -> str:
    """The folder name, or the part of it behind ``DatasetNNN_``, that nnU-Net allows and that is nearest to ``typed``.

    Accents go (``Prüfung ä`` becomes ``Prufung_a``), everything else but letters, digits and - becomes _.
    Raises DatasetError when nothing is left.
    """
    plain = unicodedata.normalize("NFKD", typed.replace("ß", "ss"))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-")
    if not name:
        raise DatasetError(f"'{typed}' cannot be a dataset's name.", "Use letters, digits, _ and -.")
    return name


def real_folder(folder: Path) -> Path:
    """The folder that is meant by a typed one: the dataset that is there, else the one that ``create`` would make.

    For a form that shows it before anything is written: ``data/Dataset802_Prüfung ä`` gives
    ``data/Dataset802_Prufung_a``, ``data/kidneys`` gives ``data/Dataset501_kidneys``. Raises DatasetError.
    """
    folder = folder.expanduser().absolute()
    if (folder / LISTING).is_file():
        return folder
    folder = folder.with_name(_as_meant(folder.name))
    return find_dataset(folder) or folder_to_create(folder)


def _as_meant(name: str) -> str:
    """A name that begins as nnU-Net's do, in the form that it allows; others as they are."""
    if _FOLDER_NAME.fullmatch(name) or not _MEANT_AS_ONE.match(name):
        return name
    number, _, rest = name[len("Dataset") :].partition("_")
    if number.isdecimal() and number.isascii() and 0 < int(number) < 1000:
        return f"Dataset{int(number):03d}_{allowed_name(rest or 'Name')}"
    return name


def folder_to_create(folder: Path) -> Path:
    """The folder that a new dataset gets: nnU-Net needs ``DatasetNNN_Name`` with an id that no neighbour has.

    A name of another pattern gets the next free id from 501 on: ``data/kidneys`` becomes ``data/Dataset501_kidneys``.
    Raises DatasetError when something is there already, or the name cannot be used; one that begins with ``DatasetNNN``
    and holds letters that nnU-Net does not allow is refused with the name that it allows (``real_folder``).
    """
    folder = folder.expanduser().absolute()
    taken = ids_in(folder.parent)
    meant = _as_meant(folder.name)
    if meant != folder.name:
        raise DatasetError(
            f"'{folder.name}' cannot be a dataset's name: nnU-Net needs DatasetNNN_Name of letters, digits, _ and -.",
            f"Name it '{meant}'.",
            allowed=str(folder.with_name(meant)),
        )
    named = _FOLDER_NAME.fullmatch(folder.name)
    if folder.is_dir() and not named:
        example = folder / f"Dataset{_free_id(ids_in(folder))}_Name"
        raise DatasetError(
            f"'{folder}' is a folder already.", f"Name the dataset's own folder inside it, for example '{example}'."
        )
    if not named:
        name = allowed_name(folder.name)
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
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", folder.name).strip("_-")
    names = {folder.name, name, allowed_name(folder.name) if name else ""}
    found = [
        folder.parent / name
        for names_of_id in ids_in(folder.parent).values()
        for name in names_of_id
        if name.partition("_")[2] in names and (folder.parent / name / LISTING).is_file()
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

"""A BIDS tree as it is read: images, old label maps among its derivatives, and what their values are.

Whatever folder an image lies in is kept: BIDS has none for CT. Names come from strangers: only what has a name as BIDS
gives them is looked at, folders that are links are not entered, and a file that leads out of its tree is refused.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError, shown
from activeseg.core.label_map import smallest_dtype
from activeseg.core.labels import BACKGROUND, IGNORE, LabelSchema
from activeseg.core.volume import Volume
from activeseg.io.images import read_label_map, read_volume
from activeseg.system.regular_files import is_link, read_bytes, read_json

DESCRIPTION = "dataset_description.json"
DERIVATIVES = "derivatives"
SUFFIX = "_dseg"
_FOLDER = re.compile(r"(sub|ses)-[A-Za-z0-9]+|[a-z]{2,16}")
_FILE = re.compile(r"(sub-[A-Za-z0-9]+(?:_[A-Za-z0-9-]+)*)(\.nii(?:\.gz)?)")
_OWN_ENTITIES = re.compile(r"_(?:space|seg|res|label|desc)-[A-Za-z0-9]+")
_DEEPEST = 4  # sub, ses, datatype, and one more
_MOST_FILES = 1_000_000
_TABLE_LIMIT = 4 << 20
_LONGEST_NAME = 100


@dataclass(frozen=True)
class BidsCase:
    """An old label map and its image.

    Attributes
    ----------
    name
        The label map's file name without its ending, suffix and description.
    label, image
        Paths below their roots, with ``/``; ``image`` is empty where none, or more than one, fits.
    problem
        Why it cannot be refined; empty where it can.
    """

    name: str
    label: str
    image: str
    problem: str = ""

    @property
    def folder(self) -> str:
        """That of the image, in which the candidate lies, too."""
        return self.image.rpartition("/")[0]


@dataclass(frozen=True)
class Values:
    """What the values of a label map are: ``schema`` has them in order from 1, ``in_file`` as the file has them."""

    schema: LabelSchema
    in_file: tuple[int, ...]
    ignore: int | None

    def from_file(self, labels: Volume) -> Volume:
        """In the values of ``schema``. Raises InputError for a value that has no name."""
        unknown = len(self.in_file) + 2
        table = np.full(1 << 16, unknown, smallest_dtype(unknown))
        table[0] = 0
        table[list(self.in_file)] = np.arange(1, len(self.in_file) + 1)
        if self.ignore is not None:
            table[self.ignore] = self.schema.ignore_value
        found = table[labels.array]
        if found.max() == unknown:
            wrong = int(labels.array[found == unknown][0])
            raise InputError(f"The label map holds the value {wrong}, which has no name in its dseg.tsv.", "Name it.")
        return Volume(found.astype(smallest_dtype(self.schema.ignore_value)), labels.geometry, labels.name)

    def to_file(self, labels: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        """In the values of the file."""
        values = [0, *self.in_file, self.ignore or 0]
        return np.asarray(np.array(values, np.uint16)[labels])


def is_bids(folder: Path) -> bool:
    """Whether a folder is the root of a BIDS tree."""
    if not (folder / DESCRIPTION).is_file():
        return False
    try:
        return isinstance(read_json(folder / DESCRIPTION).get("BIDSVersion"), str)
    except InputError:
        return False


def derivatives_with_labels(tree: Path) -> list[Path]:
    """The derivatives of a tree that hold label maps."""
    folder = tree / DERIVATIVES
    if is_link(folder) or not folder.is_dir():
        return []
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not is_link(path))
    return [path for path in found if any(_is_label(name) for name in _images(path))]


def cases_of(tree: Path, labels: Path) -> list[BidsCase]:
    """The label maps of a derivative, by name, each with its image in the tree."""
    images: dict[str, list[str]] = {}
    for path in _images(tree):
        images.setdefault(path.partition("/")[0], []).append(path)
    found: dict[str, list[BidsCase]] = {}
    for label in filter(_is_label, _images(labels)):
        name = _stem(label).removesuffix(SUFFIX)
        case = _with_image(re.sub(r"_desc-[A-Za-z0-9]+", "", name), label, images.get(label.partition("/")[0], []))
        found.setdefault(case.name, []).append(case)
    one_of_several = "Several label maps differ only in their description, such as '{}'."
    return [
        case if len(same) == 1 else replace(case, problem=one_of_several.format(same[0].label))
        for same in found.values()
        for case in same[:1]
    ]


def _with_image(name: str, label: str, images: Sequence[str]) -> BidsCase:
    """The label map with the image of the same subject, session and run; of several the CT."""
    wanted = _OWN_ENTITIES.sub("", name)
    fits = [path for path in images if wanted in (_stem(path), _stem(path).rpartition("_")[0])]
    cts = [path for path in fits if _stem(path).endswith(("_ct", "_CT"))]
    fits = cts if len(fits) > 1 and cts else fits
    if len(fits) == 1:
        return BidsCase(name, label, fits[0])
    return BidsCase(name, label, "", f"{len(fits) or 'No'} images in the tree belong to '{label}'.")


def read_case(tree: Path, labels: Path, case: BidsCase, values: Values) -> tuple[Volume, Volume]:
    """Image, and old label map in the values of the schema, on the label map's grid. Raises InputError."""
    image = read_volume(inside(tree, case.image))
    old = values.from_file(read_label_map(inside(labels, case.label)))
    if not image.geometry.same_voxels(old.geometry):
        raise InputError("The image and the label map lie on different grids.", "Resample one of them to the other's.")
    return image.in_order_of(old.geometry), old


def values_of(labels: Path, label: str) -> Values:
    """What the values of a label map are, by the nearest ``dseg.tsv``: beside it, or in a folder above.

    Raises InputError when there is none, or it is damaged.
    """
    own = f"{_stem(label)}.tsv"
    folder = label.rpartition("/")[0]
    places = [f"{folder}/{own}"]
    while folder:
        places.append(f"{folder}/dseg.tsv")
        folder = folder.rpartition("/")[0]
    for place in (*places, "dseg.tsv"):
        if os.path.lexists(labels / place):
            return _table(inside(labels, place))
    raise InputError(
        f"It is not known what the values of '{label}' are: there is no dseg.tsv beside it or above.",
        "Write one with the columns index and name.",
    )


def inside(root: Path, name: str) -> Path:
    """The path of a file below a root. Raises InputError when it is a link that leads out of the root."""
    path = root / name
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(Path(os.path.realpath(root))):
        raise InputError(f"'{name}' is a link that leads out of '{root.name}'.", "Replace it by the file.")
    if not real.is_file():
        raise InputError(f"The file '{name}' is missing in '{root.name}'.", "Restore it.")
    return real


def _images(root: Path) -> Iterator[str]:
    """Paths of NIfTI files of subjects below a root, sorted."""
    found: list[str] = []
    folders = [""]
    while folders:
        folder = folders.pop()
        depth = folder.count("/") + bool(folder)
        with os.scandir(root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if depth < _DEEPEST and entry.is_dir(follow_symlinks=False) and _FOLDER.fullmatch(entry.name):
                    if depth or entry.name.startswith("sub-"):
                        folders.append(path)
                elif depth and _FILE.fullmatch(entry.name) and not entry.is_dir():
                    found.append(path)
                if len(found) > _MOST_FILES:
                    raise InputError(f"'{root.name}' holds more than {_MOST_FILES} images.", "Refine a part of it.")
    yield from sorted(found)


def _stem(path: str) -> str:
    named = _FILE.fullmatch(path.rpartition("/")[2])
    assert named is not None
    return named[1]


def _is_label(path: str) -> bool:
    return _stem(path).endswith(SUFFIX)


def _table(path: Path) -> Values:
    """The structures of a ``dseg.tsv``."""
    try:
        text = read_bytes(path, _TABLE_LIMIT).decode("utf-8-sig")
        rows = list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{path.name}' is damaged: {error}.") from error
    named: dict[int, str] = {}
    for row in rows:
        index, name = _row(row, path.name)
        if index in named:
            raise InputError(f"'{path.name}' names the value {index} twice.", "Name each value once.")
        named[index] = name
    structures = {index: name for index, name in sorted(named.items()) if index and name not in (BACKGROUND, IGNORE)}
    if not structures:
        raise InputError(f"'{path.name}' names no structure.", "Name the values with the columns index and name.")
    ignore = next((index for index, name in named.items() if name == IGNORE), None)
    return Values(LabelSchema.from_names(structures.values()), tuple(structures), ignore)


def _row(row: Mapping[str | None, str | list[str] | None], file: str) -> tuple[int, str]:
    index, name = str(row.get("index") or ""), str(row.get("name") or "").strip()
    if not re.fullmatch("[0-9]{1,5}", index) or int(index) >= 1 << 16:
        raise InputError(f"'{file}' has the index {shown(index)}; it must be a whole number to 65535.")
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise InputError(f"'{file}' has the name {shown(name)}, which cannot be a structure's name.")
    return int(index), name

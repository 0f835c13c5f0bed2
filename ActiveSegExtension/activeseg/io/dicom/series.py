"""Image series in folders of DICOM files: which there are, and the one that is asked for as a volume.

ITK only warns, or says nothing, about missing slices, repeated ones and gantry tilt; here each is an error in words.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from activeseg.core.errors import InputError, Notice
from activeseg.core.volume import Volume
from activeseg.io.dicom.header import MalformedError, Tags, read_tags, recognise
from activeseg.io.dicom.stack import Slice, geometry_of, places_of, slices_of, voxels_of
from activeseg.system.regular_files import is_link, open_regular

__all__ = ["read", "recognise"]

# What can tell apart two images at one place in one series (DICOM PS3.3 C.7.3, C.7.6, C.8.2); the first that does.
_PARTS = {
    "acquisition": "acquisition",
    "temporal_position": "temporal position",
    "stack": "stack",
    "echo": "echo",
    "trigger_time": "trigger time",
    "kernel": "kernel",
    "image_type": "image type",
    "acquisition_time": "acquisition time",
}


_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_IMAGES = {
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "7", "20", "128", "128.1", "130")
}
"""Storage classes (DICOM PS3.4 B.5) whose objects have voxels: CT, MR, secondary capture, nuclear medicine, PET."""
_COPY_AGAIN = "Copy it again, or move it away."
_NUMBER = re.compile(r"\d+")
_BLANK_BYTES = 132
_MOST_FILES = 1 << 18


@dataclass(frozen=True)
class _SeriesInfo:
    """One stack of slices that can be read as a volume.

    Attributes
    ----------
    number
        Its number in the list, from 1.
    uid
        SeriesInstanceUID (empty where the files have none).
    part
        What tells it from other stacks of the same series (``acquisition 2``), or empty.
    matrix
        Rows, columns.
    spacing_xyz
        mm between columns, rows, slices (median).
    """

    number: int
    uid: str
    part: str
    description: str
    modality: str
    slices: int
    matrix: tuple[int, int]
    spacing_xyz: tuple[float, float, float]

    def __str__(self) -> str:
        named = f"'{self.description}'" if self.description else "without description"
        spacing = " x ".join(f"{value:.4g}" for value in self.spacing_xyz)
        rows, columns = self.matrix
        return ", ".join(
            [
                f"{self.number}: {named}",
                *filter(None, [self.part, self.modality]),
                f"{self.slices} slices of {columns} x {rows}, {spacing} mm",
                *filter(None, [self.uid]),
            ]
        )


@dataclass(frozen=True)
class _Stack:
    info: _SeriesInfo
    slices: tuple[Slice, ...]  # in order along the normal; repeated positions follow each other


@dataclass(frozen=True)
class _Found:
    """What a folder holds. ``aside`` counts what is no slice of a volume, in words."""

    stacks: tuple[_Stack, ...]
    aside: Counter[str]

    def aside_in_words(self) -> str:
        return ", ".join(f"{count} {what.replace('*', 's' * (count > 1))}" for what, count in self.aside.items())


def read(path: Path, notice: Notice, thin: bool = False, series: str | None = None) -> Volume:
    """A DICOM series: that of a folder and its sub-folders, or the one that a file belongs to.

    A file's series is looked for in the file's own folder, not in its sub-folders; a DICOMDIR stands for its folder.
    Slices are ordered by position. HU for CT: slope and intercept are applied. The volume's name is the modality.

    Parameters
    ----------
    thin
        Has no meaning here: one slice has no place along the third axis.
    series
        UID, number in the list that the error offers, or description; needed only where there are several.

    Raises
    ------
    InputError
        For several series to choose from, missing slices, different images at one place, and gantry tilt.
    OSError
    """
    if path.is_dir() or path.name.upper() == "DICOMDIR":
        folder = path if path.is_dir() else path.parent
        found = _find(_files(folder))
        if not found.stacks:
            raise _nothing_to_read(folder, found)
        if found.aside:
            notice(f"Left out: {found.aside_in_words()}.")
        return _read(_chosen(found.stacks, series), notice)
    found = _find(child for child in sorted(path.parent.iterdir()) if not child.is_dir())
    stacks = [stack for stack in found.stacks if any(s.path == path for s in stack.slices)]
    if not stacks:
        raise _nothing_to_read(path, _find([path]))
    stacks = [replace(s, info=replace(s.info, number=number)) for number, s in enumerate(stacks, start=1)]
    stack = _chosen(stacks, series)
    files = len({s.path for s in stack.slices})
    if files > 1:
        notice(f"The file is one slice: its whole series was read, {files} files of the same folder.")
    return _read(stack, notice)


def _files(folder: Path) -> Iterator[Path]:
    """Every file below, also through links to folders, each folder once. Raises OSError; InputError for too many.

    A link that leads to a folder around this one is not followed.
    """

    def stop(error: OSError) -> None:
        raise error

    around = {_identity(parent) for parent in folder.resolve().parents}
    seen = {_identity(folder)}
    count = 0
    for parent, folders, names in os.walk(folder, onerror=stop, followlinks=True):
        for name in sorted(folders):
            identity = _identity(Path(parent, name))
            if identity in seen or identity in around:
                folders.remove(name)
            seen.add(identity)
        folders.sort()
        count += len(names)
        if count > _MOST_FILES:
            raise InputError(
                f"There are more than {_MOST_FILES} files in '{folder}'.", "Give the folder of one series."
            )
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("._"))  # macOS's companions


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _nothing_to_read(path: Path, found: _Found) -> InputError:
    if found.aside:
        return InputError(
            f"'{path}' holds no series that is a volume, only {found.aside_in_words()}.",
            "Give the folder of a series of at least two slices.",
        )
    return InputError(f"There are no DICOM images in '{path}'.", "Give a folder of DICOM slices, or an image file.")


def _chosen(stacks: Iterable[_Stack], series: str | None) -> _Stack:
    stacks = list(stacks)
    matching = stacks
    if series is not None:
        matching = [stack for stack in stacks if stack.info.uid == series]
        matching = matching or [stack for stack in stacks if str(stack.info.number) == series.strip()]
        named = series.strip().casefold()
        matching = matching or [stack for stack in stacks if stack.info.description.casefold() == named]
    if len(matching) == 1:
        return matching[0]
    offered = matching or stacks
    if series is None:
        message = f"There are {len(stacks)} DICOM series."
    else:
        message = f"'{series}' fits {len(matching) or 'none'} of the {len(stacks)} DICOM series."
    raise InputError(
        message,
        "Choose a series by its number, UID or description:\n" + "\n".join(f"  {s.info}" for s in offered),
        setting="series",
        series=[{"number": s.info.number, "uid": s.info.uid, "part": s.info.part} for s in offered],
    )


def _find(files: Iterable[Path]) -> _Found:
    """Reads the headers only. Raises InputError for a file that was a slice and cannot be read any more."""
    aside: Counter[str] = Counter()
    lines: dict[tuple[str, ...], list[list[Slice]]] = {}
    foreign, dicom = [], []
    for path in files:
        if path.name.upper() == "DICOMDIR":
            continue
        tags = _tags(path)
        if tags is None:
            foreign.append(path)
            continue
        if tags.get("sop_class", tags.get("media_class")) == _MEDIA_DIRECTORY:
            continue
        dicom.append(path)
        slices = slices_of(path, tags)
        if isinstance(slices, str):
            aside[slices] += 1
            continue
        # Some anonymizers empty the UIDs; number and description still tell series apart.
        named = tags.get("series_uid") or (tags.get("series_number", ""), tags.get("description", ""))
        groups = lines.setdefault((named,) if isinstance(named, str) else named, [])
        for one in slices:
            group = next((g for g in groups if g[0].in_line_with(one)), None)
            if group is None:
                groups.append([one])
            else:
                group.append(one)
    _check_foreign(foreign, dicom)
    stacks = []
    for group in (g for groups in lines.values() for g in groups):
        for part, members in _parts(group):
            places = places_of(members)
            if len(places) == 1:
                aside["single slice*"] += 1
            else:
                stacks.append(_stack(part, places))
    stacks.sort(key=lambda s: (_natural(s.slices[0].tags.get("series_number", "")), s.info.uid, _natural(s.info.part)))
    return _Found(tuple(replace(s, info=replace(s.info, number=n)) for n, s in enumerate(stacks, start=1)), aside)


def _tags(path: Path) -> Tags | None:
    """The header of a DICOM file, None for another. Raises InputError for a damaged one; OSError."""
    try:
        tags = read_tags(path)
    except MalformedError as error:
        raise InputError(f"'{path}' is a damaged DICOM file: {error}.", _COPY_AGAIN) from error
    except InputError:  # a pipe or a device
        tags = None
    except FileNotFoundError:
        if not is_link(path):
            raise
        tags = None
    if tags is None:
        if path.suffix.lower() == ".dcm":
            raise InputError(f"'{path}' has a DICOM file name but is not DICOM.", _COPY_AGAIN)
        return None
    sop_class = tags.get("sop_class", "")
    should_hold_voxels = sop_class in _IMAGES or not (sop_class or "modality" in tags)
    if "pixels" not in tags and should_hold_voxels and tags.get("media_class") != _MEDIA_DIRECTORY:
        raise InputError(f"'{path}' is a damaged DICOM file: it ends before its image.", _COPY_AGAIN)
    return tags


def _check_foreign(foreign: Sequence[Path], dicom: Sequence[Path]) -> None:
    """Raises InputError for a file that is no DICOM, but was: it would be a missing slice.

    It lies beside DICOM files, and differs from one of their names in its numbers only, or has no content and the same
    suffix. What else lies there (a README, a viewer) has content and a name of its own.
    """
    names = {(path.parent, _NUMBER.sub("#", path.name)) for path in dicom}
    suffixes = {(path.parent, _kind(path)) for path in dicom}
    for path in foreign:
        if (path.parent, _NUMBER.sub("#", path.name)) in names:
            raise InputError(f"'{path}' is named like the DICOM files beside it but is not DICOM.", _COPY_AGAIN)
        if not path.name.startswith(".") and (path.parent, _kind(path)) in suffixes and path.is_file():
            with open_regular(path) as file:
                if not any(file.read(_BLANK_BYTES)):
                    raise InputError(f"'{path}' is empty: it has no bytes but zeros.", _COPY_AGAIN)


def _kind(path: Path) -> str:
    """The suffix; none where it is part of a number, as in names that are UIDs."""
    return "" if path.suffix[1:].isdecimal() else path.suffix.lower()


def _parts(slices: list[Slice]) -> list[tuple[str, list[Slice]]]:
    """One stack, or several where a tag tells apart different images at the same places."""

    def repeats(some: list[Slice]) -> bool:
        return any(len({s.copied_from for s in place}) > 1 for place in places_of(some))

    if repeats(slices):
        for tag, word in _PARTS.items():
            parts: dict[str, list[Slice]] = {}
            for one in slices:
                parts.setdefault(str(one.tags.get(tag, "")), []).append(one)
            if len(parts) > 1 and not any(repeats(part) or len(places_of(part)) < 2 for part in parts.values()):
                return [(f"{word} {value or '(none)'}", part) for value, part in parts.items()]
    return [("", slices)]


def _stack(part: str, places: list[list[Slice]]) -> _Stack:
    first = places[0][0]
    between_rows, between_columns = first.pixel_spacing
    steps = np.diff([place[0].along(first.axes[2]) for place in places])
    info = _SeriesInfo(
        number=0,
        uid=first.tags.get("series_uid", ""),
        part=part,
        description=first.tags.get("description", ""),
        modality=first.tags.get("modality", ""),
        slices=len(places),
        matrix=first.matrix,
        spacing_xyz=(between_columns, between_rows, float(np.median(steps))),
    )
    return _Stack(info, tuple(one for place in places for one in place))


def _natural(text: str) -> tuple[Any, ...]:
    """A key that puts 2 before 10."""
    return tuple(
        (0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in re.split(r"(\d+)", text) if piece
    )


def _read(stack: _Stack, notice: Notice) -> Volume:
    places = places_of(stack.slices)
    geometry = geometry_of([place[0] for place in places], notice)
    array = voxels_of(places, notice)
    return Volume(array, geometry, name=stack.info.modality)

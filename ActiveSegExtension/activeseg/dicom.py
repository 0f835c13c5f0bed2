"""CT series in folders of DICOM files: which there are, whether one is a regular stack of slices, and its voxels.

ITK only warns, or says nothing, about missing slices, repeated ones and gantry tilt; here each is an error in words.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from activeseg.dicom_header import MalformedError, Tags, read_tags
from activeseg.errors import InputError
from activeseg.itk_files import itk_warnings
from activeseg.volume import FloatArray, Geometry, Notice, Volume, volume_shape, warn

# DICOM allows 16 characters for a number and many scanners write far fewer: what rounding is forgiven.
_ORIENTATION_TOLERANCE = 1e-4
_ORIENTATION_ROUNDING = 5e-3
_SAME_POSITION_MM = 0.01
_SIDEWAYS_PIXELS = 0.1
_SILENT_UNEVENNESS = 0.01  # of the slice spacing
_GREATEST_UNEVENNESS = 0.1

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
_NOT_AN_IMAGE = ("SEG", "RTDOSE", "RTIMAGE")
_DECODED_AT_ONCE = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class SeriesInfo:
    """One stack of slices that can be read as a volume.

    Attributes
    ----------
    number : its number in the list, from 1
    uid : SeriesInstanceUID (empty where the files have none)
    part : what tells it from other stacks of the same series (``acquisition 2``), or empty
    matrix : rows, columns
    spacing_xyz : mm between columns, rows, slices (median)
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
class _Slice:
    """One frame of one file, and where it lies (LPS, mm). ``pixel_spacing``: between rows, between columns."""

    path: Path
    frame: int
    tags: Tags
    matrix: tuple[int, int]
    position: FloatArray
    axes: FloatArray
    pixel_spacing: tuple[float, float]

    @property
    def along(self) -> float:
        """Where it lies along its own normal, mm."""
        return float(self.position @ self.axes[2])

    @property
    def copied_from(self) -> tuple[Any, int]:
        """The same for copies of one file."""
        return self.tags.get("instance_uid") or self.path, self.frame

    def in_line_with(self, other: _Slice) -> bool:
        return (
            self.matrix == other.matrix
            and np.allclose(self.pixel_spacing, other.pixel_spacing, rtol=1e-4)
            and np.allclose(self.axes, other.axes, atol=_ORIENTATION_TOLERANCE)
        )


@dataclass(frozen=True)
class _Stack:
    info: SeriesInfo
    slices: tuple[_Slice, ...]  # in order along the normal; repeated positions follow each other


@dataclass(frozen=True)
class _Found:
    """What a folder holds. ``aside`` counts what is no slice of a volume, in words."""

    stacks: tuple[_Stack, ...]
    aside: Counter[str]

    def aside_in_words(self) -> str:
        return ", ".join(f"{count} {what.replace('*', 's' * (count > 1))}" for what, count in self.aside.items())


def is_dicom(path: Path) -> bool:
    """Whether the file begins as DICOM. Raises OSError."""
    try:
        return read_tags(path) is not None
    except MalformedError:
        return True


def list_series(folder: str | Path) -> list[SeriesInfo]:
    """Every stack of two slices and more in the folder and its sub-folders. Raises InputError, OSError."""
    return [stack.info for stack in _find(_files(Path(folder))).stacks]


def read_series(folder: str | Path, series: str | None = None, notice: Notice = warn) -> Volume:
    """The series of that UID, number in ``list_series`` or description; without ``series`` the only one there is.

    HU for CT: slope and intercept are applied. Slices are ordered by position. Raises InputError for several series to
    choose from, missing slices, different images at one place, and gantry tilt; OSError.
    """
    folder = Path(folder)
    found = _find(_files(folder))
    if not found.stacks:
        raise _nothing_to_read(folder, found)
    if found.aside:
        notice(f"Left out: {found.aside_in_words()}.")
    return _read(_chosen(found.stacks, series), notice)


def read_file(path: Path, series: str | None = None, notice: Notice = warn) -> Volume:
    """The series that this file belongs to, from the file's own folder (not its sub-folders)."""
    found = _find(child for child in sorted(path.parent.iterdir()) if child.is_file())
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
    def stop(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=stop):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("._"))  # macOS's companions


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
        "Choose one with --series and its number, UID or description:\n" + "\n".join(f"  {s.info}" for s in offered),
        series=[{"number": s.info.number, "uid": s.info.uid, "part": s.info.part} for s in offered],
    )


def _find(files: Iterable[Path]) -> _Found:
    """Reads the headers only."""
    aside: Counter[str] = Counter()
    lines: dict[tuple[str, ...], list[list[_Slice]]] = {}
    for path in files:
        tags = _tags(path)
        if tags is None:
            continue
        slices = _slices(path, tags)
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
    stacks = []
    for group in (g for groups in lines.values() for g in groups):
        for part, members in _parts(group):
            places = _places(members)
            if len(places) == 1:
                aside["single slice*"] += 1
            else:
                stacks.append(_stack(part, places))
    stacks.sort(key=lambda s: (_natural(s.slices[0].tags.get("series_number", "")), s.info.uid, _natural(s.info.part)))
    return _Found(tuple(replace(s, info=replace(s.info, number=n)) for n, s in enumerate(stacks, start=1)), aside)


def _tags(path: Path) -> Tags | None:
    try:
        tags = read_tags(path)
    except MalformedError as error:
        raise InputError(f"'{path}' is a damaged DICOM file.", "Copy it again, or move it away.") from error
    if tags is None and path.suffix.lower() == ".dcm":
        raise InputError(f"'{path}' is named as DICOM and is none.", "Copy it again, or move it away.")
    is_directory = tags is not None and "modality" not in tags and "pixels" not in tags  # DICOMDIR
    return None if is_directory else tags


def _slices(path: Path, tags: Tags) -> list[_Slice] | str:
    """The file's frames with their places, or in words why they are no slices of a volume (* is the plural's s)."""
    modality = tags.get("modality", "")
    if "pixels" not in tags or not {"rows", "columns"} <= tags.keys() or modality in _NOT_AN_IMAGE:
        return f"{modality} object*".strip()
    if tags.get("samples", 1) != 1 or tags.get("photometric", "MONOCHROME2") != "MONOCHROME2":
        return "colour or inverted image*"
    if "LOCALIZER" in tags.get("image_type", "").upper():
        return "localizer*"
    frames = [_frame(tags, item) for item in tags["per_frame"]] if "per_frame" in tags else [tags]
    if "per_frame" not in tags and tags.get("frames", "1") not in ("", "1"):
        return "multi-frame image* without the frames' places"
    slices = []
    for number, frame in enumerate(frames):
        position, orientation = _numbers(frame, "position", 3), _numbers(frame, "orientation", 6)
        pixel_spacing = _numbers(frame, "pixel_spacing", 2)
        if position is None or orientation is None or pixel_spacing is None:
            return "image* without a place in the patient"
        matrix = int(tags["rows"]), int(tags["columns"])
        spacing = float(pixel_spacing[0]), float(pixel_spacing[1])
        slices.append(_Slice(path, number, frame, matrix, position, _axes(orientation), spacing))
    return slices


def _frame(tags: Tags, item: Tags) -> Tags:
    """One frame's tags as in a single-frame file: its functional groups, else the shared ones (PS3.3 C.7.6.16)."""
    groups = (tags.get("shared") or [{}])[0] | item
    frame = {key: value for key, value in tags.items() if key not in ("per_frame", "shared")}
    for items in groups.values():
        frame |= items[0] if items else {}
    return frame


def _numbers(tags: Tags, name: str, count: int) -> FloatArray | None:
    try:
        values = np.array([float(text) for text in tags.get(name, "").split("\\")])
    except ValueError:
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def _axes(orientation: FloatArray) -> FloatArray:
    """Rows: unit vectors along a row, along a column, and their normal; rounding in the file is taken out."""
    along_row, along_column = orientation[:3], orientation[3:]
    products = np.array([along_row @ along_row, along_column @ along_column, along_row @ along_column])
    if not np.allclose(products, [1, 1, 0], atol=_ORIENTATION_ROUNDING):
        raise InputError(
            f"The DICOM slices' axes are not at right angles (ImageOrientationPatient {orientation.tolist()}).",
            "Export the series again.",
        )
    along_row = along_row / np.linalg.norm(along_row)
    along_column = along_column - (along_column @ along_row) * along_row
    along_column /= np.linalg.norm(along_column)
    return np.array([along_row, along_column, np.cross(along_row, along_column)])


def _places(slices: Iterable[_Slice]) -> list[list[_Slice]]:
    """The slices by place, in order along the normal; usually one at each."""
    places: list[list[_Slice]] = []
    for one in sorted(slices, key=lambda s: (s.along, s.path, s.frame)):
        if places and one.along - places[-1][0].along <= _SAME_POSITION_MM:
            places[-1].append(one)
        else:
            places.append([one])
    return places


def _parts(slices: list[_Slice]) -> list[tuple[str, list[_Slice]]]:
    """One stack, or several where a tag tells apart different images at the same places."""

    def repeats(some: list[_Slice]) -> bool:
        return any(len({s.copied_from for s in place}) > 1 for place in _places(some))

    if repeats(slices):
        for tag, word in _PARTS.items():
            parts: dict[str, list[_Slice]] = {}
            for one in slices:
                parts.setdefault(str(one.tags.get(tag, "")), []).append(one)
            if len(parts) > 1 and not any(repeats(part) or len(_places(part)) < 2 for part in parts.values()):
                return [(f"{word} {value or '(none)'}", part) for value, part in parts.items()]
    return [("", slices)]


def _stack(part: str, places: list[list[_Slice]]) -> _Stack:
    first = places[0][0]
    between_rows, between_columns = first.pixel_spacing
    steps = np.diff([place[0].along for place in places])
    info = SeriesInfo(
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
    places = _places(stack.slices)
    geometry = _geometry([place[0] for place in places], notice)
    array = _voxels(places, notice)
    return Volume(array, geometry, name=stack.info.modality)


def _geometry(slices: list[_Slice], notice: Notice) -> Geometry:
    """Of slices in order, one at each place. Raises InputError unless they form a regular, upright stack."""
    first = slices[0]
    along = np.array([s.along for s in slices])
    _check_upright(slices, along)
    spacing = _even_spacing(along, notice)
    between_rows, between_columns = first.pixel_spacing
    return Geometry(
        volume_shape((first.matrix[1], first.matrix[0], len(slices))),
        (between_columns, between_rows, spacing),
        (float(first.position[0]), float(first.position[1]), float(first.position[2])),
        tuple(float(v) for v in first.axes.T.ravel()),
    )


def _check_upright(slices: list[_Slice], along: FloatArray) -> None:
    """Raises InputError where slices lie beside the first one's normal: gantry tilt, or a shifted field of view."""
    normal = slices[0].axes[2]
    offsets = np.array([s.position - slices[0].position for s in slices])
    height = along - along[0]
    sideways = offsets - height[:, None] * normal
    limit = _SIDEWAYS_PIXELS * min(slices[0].pixel_spacing)
    if np.linalg.norm(sideways, axis=1).max() <= limit:
        return
    drift = height @ sideways / (height @ height)
    rest = np.linalg.norm(sideways - height[:, None] * drift, axis=1)
    if rest.max() <= limit:
        angle = np.degrees(np.arctan(np.linalg.norm(drift)))
        raise InputError(
            f"The series was acquired with a gantry tilt of {angle:.2f} degrees, so that its voxels are sheared.",
            "Resample it upright first: 3D Slicer does it on loading with 'acquisition geometry regularization'.",
            tilt_degrees=float(angle),
        )
    steps = np.linalg.norm(np.diff(sideways, axis=0), axis=1)
    worst = int(np.argmax(steps))
    raise InputError(
        f"The slices are not above each other: at {along[worst + 1]:.2f} mm one is {steps[worst]:.2f} mm to the side.",
        "Export the series again.",
    )


def _even_spacing(along: FloatArray, notice: Notice) -> float:
    """mm between slices. Raises InputError that says where slices are missing or the spacing changes."""
    steps = np.diff(along)
    even = float(along[-1] - along[0]) / len(steps)
    off = float(np.abs(along - np.linspace(along[0], along[-1], len(along))).max())
    if off > max(_SILENT_UNEVENNESS * even, _SAME_POSITION_MM):
        if off > _GREATEST_UNEVENNESS * even:
            raise _uneven(along, steps)
        notice(f"The slices are up to {off:.3f} mm off even steps of {even:.3f} mm; even steps are assumed.")
    return even


def _uneven(along: FloatArray, steps: FloatArray) -> InputError:
    usual = float(np.median(steps))
    gaps = [n for n, step in enumerate(steps) if step > 1.5 * usual]
    where = ", ".join(f"between {along[n]:.2f} and {along[n + 1]:.2f} mm" for n in gaps[:3])
    more = f" and at {len(gaps) - 3} more places" if len(gaps) > 3 else ""
    whole = all(abs(step / usual - round(step / usual)) < _GREATEST_UNEVENNESS for step in steps)
    if gaps and whole:
        missing = sum(round(steps[n] / usual) - 1 for n in gaps)
        return InputError(
            f"{missing} of {len(along) + missing} slices are missing, {where}{more} (spacing {usual:.4g} mm).",
            "Export or copy the whole series again.",
            missing=missing,
        )
    where = where or f"most {along[int(np.argmax(np.abs(steps - usual)))]:.2f} mm onwards"
    return InputError(
        f"The distance between slices changes from {steps.min():.4g} to {steps.max():.4g} mm, {where}{more}.",
        "Give a series with even spacing, or resample it first.",
    )


def _voxels(places: list[list[_Slice]], notice: Notice) -> npt.NDArray[Any]:
    """(k, j, i), rescaled; the smallest of int16, its own type and float32 that holds all slices."""
    targets: dict[Path, list[tuple[int, _Slice]]] = {}
    for k, place in enumerate(places):
        for one in place:
            targets.setdefault(one.path, []).append((k, one))
    array: npt.NDArray[Any] | None = None
    filled = [False] * len(places)
    copies = 0
    warnings: list[str] = []
    # SimpleITK lets other threads run while it decodes.
    with itk_warnings(warnings.append), ThreadPoolExecutor(_DECODED_AT_ONCE) as pool:
        decoded = pool.map(_decoded, targets, ([one for _, one in wanted] for wanted in targets.values()))
        for frames, wanted in zip(decoded, targets.values(), strict=True):
            for k, one in wanted:
                frame = frames[one.frame]
                if array is None:
                    array = np.empty((len(places), *frame.shape), frame.dtype)
                if filled[k]:
                    _check_copy(array[k], frame, places[k])
                    copies += 1
                    continue
                array = array.astype(np.result_type(array, frame), copy=False)  # PET: every slice has its own slope
                array[k] = frame
                filled[k] = True
    assert array is not None  # a stack has slices
    if copies:
        notice(f"{copies} slices were there more than once, with the same content; the copies were left out.")
    if warnings:
        text = min(warnings).replace(str(places[0][0].path.parent), "")
        notice(f"ITK warned {len(warnings)} times while reading the slices: {text}")
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    int16 = np.iinfo(np.int16)
    return array.astype(np.int16) if int16.min <= array.min() and array.max() <= int16.max else array


def _check_copy(kept: npt.NDArray[Any], frame: npt.NDArray[Any], place: list[_Slice]) -> None:
    same_place = all(np.allclose(one.position, place[0].position, atol=_SAME_POSITION_MM) for one in place)
    if not (same_place and np.array_equal(kept, frame)):
        raise InputError(
            f"The series holds {len(place)} different images at {place[0].along:.2f} mm, and no tag tells them apart.",
            "Export one acquisition, reconstruction or time point only.",
        )


def _decoded(path: Path, slices: list[_Slice]) -> npt.NDArray[Any]:
    """(frames, rows, columns) of one file, rescaled by GDCM. Raises InputError."""
    if len({(s.tags.get("slope"), s.tags.get("intercept")) for s in slices}) > 1:
        raise InputError(
            "The frames of the multi-frame series have different rescale values.", "Export it as single-frame DICOM."
        )
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        array = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        syntax = slices[0].tags.get("transfer_syntax", "unknown")
        raise InputError(
            f"The DICOM file '{path.name}' cannot be decoded (transfer syntax {syntax}): it is damaged or of a "
            "kind that GDCM does not know.",
            "Copy it again, or export the series uncompressed.",
        ) from error
    if array.ndim != 3 or array.shape[1:] != slices[0].matrix or len(array) <= max(s.frame for s in slices):
        raise InputError(f"The DICOM file '{path.name}' holds {array.shape} voxels, its header says otherwise.")
    return array

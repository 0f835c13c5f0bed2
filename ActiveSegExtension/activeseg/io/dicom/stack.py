"""Slices of one DICOM series: their places, whether they form a regular, upright stack, and its voxels."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from activeseg.core.errors import InputError, Notice
from activeseg.core.geometry import FloatArray, Geometry, volume_shape
from activeseg.io.announced import empty_array
from activeseg.io.dicom.header import Tags
from activeseg.io.dicom.pixels import check_pixels
from activeseg.io.itk import itk_errors, itk_warnings, plain_path

# DICOM allows 16 characters for a number and many scanners write far fewer: what rounding is forgiven.
_ORIENTATION_TOLERANCE = 1e-4
_ORIENTATION_ROUNDING = 5e-3
_SAME_POSITION_MM = 0.01
_SILENT_SIDEWAYS = 0.1  # of a pixel
_GREATEST_SIDEWAYS = 0.5
_SILENT_UNEVENNESS = 0.01  # of the slice spacing
_GREATEST_UNEVENNESS = 0.1
_NOT_AN_IMAGE = ("SEG", "RTDOSE", "RTIMAGE")
_CT_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "2.1", "2.2"))
_AIR = -1024
_TISSUE_HU = (-1000, 3071)
_GREATEST_RESCALE = 1e9
_DECODED_AT_ONCE = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Slice:
    """One frame of one file, and where it lies in the patient (LPS, mm).

    Attributes
    ----------
    matrix
        Rows, columns.
    position
        Centre of its first voxel.
    axes
        Rows: unit vectors along a row, along a column, and their normal.
    pixel_spacing
        mm between rows, between columns.
    """

    path: Path
    frame: int
    tags: Tags
    matrix: tuple[int, int]
    position: FloatArray
    axes: FloatArray
    pixel_spacing: tuple[float, float]

    def along(self, normal: FloatArray) -> float:
        """Where it lies along a stack's normal, mm."""
        return float(self.position @ normal)

    @property
    def copied_from(self) -> tuple[Any, int]:
        """The same for copies of one file."""
        return self.tags.get("instance_uid") or self.path, self.frame

    def in_line_with(self, other: Slice) -> bool:
        return (
            self.matrix == other.matrix
            and np.allclose(self.pixel_spacing, other.pixel_spacing, rtol=1e-4)
            and np.allclose(self.axes, other.axes, atol=_ORIENTATION_TOLERANCE)
        )


def slices_of(path: Path, tags: Tags) -> list[Slice] | str:
    """The file's frames with their places, or in words why they are no slices of a volume (* is the plural's s)."""
    modality = tags.get("modality", "")
    if "pixels" not in tags or not {"rows", "columns"} <= tags.keys() or modality in _NOT_AN_IMAGE:
        return f"{modality} object*".strip()
    if tags.get("samples", 1) != 1 or tags.get("photometric", "MONOCHROME2") != "MONOCHROME2":
        return "colour or inverted image*"
    if "LOCALIZER" in tags.get("image_type", "").upper():
        return "localizer*"
    groups = tags.get("per_frame")
    frames = [_frame(tags, group) for group in groups] if groups else [tags]
    if not groups and tags.get("frames", "1") not in ("", "1"):
        return "multi-frame image* without the frames' places"
    slices = []
    for number, frame in enumerate(frames):
        position, orientation = _numbers(frame, "position", 3), _numbers(frame, "orientation", 6)
        pixel_spacing = _numbers(frame, "pixel_spacing", 2)
        if position is None or orientation is None or pixel_spacing is None:
            return "image* without a place in the patient"
        axes = _axes(orientation)
        if axes is None:
            return f"image* whose axes are not at right angles (ImageOrientationPatient {orientation.tolist()})"
        matrix = int(tags["rows"]), int(tags["columns"])
        spacing = float(pixel_spacing[0]), float(pixel_spacing[1])
        slices.append(Slice(path, number, frame, matrix, position, axes, spacing))
    if len({(s.tags.get("slope"), s.tags.get("intercept")) for s in slices}) > 1:
        return "multi-frame image* with different rescale values in its frames"  # GDCM applies one to all
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


def _axes(orientation: FloatArray) -> FloatArray | None:
    """Rows: unit vectors along a row, along a column, and their normal; rounding in the file is taken out.

    None where the two are not at right angles.
    """
    along_row, along_column = orientation[:3], orientation[3:]
    products = np.array([along_row @ along_row, along_column @ along_column, along_row @ along_column])
    if not np.allclose(products, [1, 1, 0], atol=_ORIENTATION_ROUNDING):
        return None
    along_row = along_row / np.linalg.norm(along_row)
    along_column = along_column - (along_column @ along_row) * along_row
    along_column /= np.linalg.norm(along_column)
    return np.array([along_row, along_column, np.cross(along_row, along_column)])


def places_of(slices: Sequence[Slice]) -> list[list[Slice]]:
    """The slices by place, in order along the normal; usually one at each."""
    normal = slices[0].axes[2]
    places: list[list[Slice]] = []
    for one in sorted(slices, key=lambda s: (s.along(normal), s.path, s.frame)):
        if places and one.along(normal) - places[-1][0].along(normal) <= _SAME_POSITION_MM:
            places[-1].append(one)
        else:
            places.append([one])
    return places


def geometry_of(slices: Sequence[Slice], notice: Notice) -> Geometry:
    """The grid of slices in order, one at each place.

    Raises
    ------
    InputError
        Unless they form a regular, upright stack.
    """
    first = slices[0]
    along = np.array([s.along(first.axes[2]) for s in slices])
    _check_upright(slices, along, notice)
    spacing = _even_spacing(along, notice)
    between_rows, between_columns = first.pixel_spacing
    return Geometry(
        volume_shape((first.matrix[1], first.matrix[0], len(slices))),
        (between_columns, between_rows, spacing),
        (float(first.position[0]), float(first.position[1]), float(first.position[2])),
        tuple(float(v) for v in first.axes.T.ravel()),
    )


def _check_upright(slices: Sequence[Slice], along: FloatArray, notice: Notice) -> None:
    """Raises InputError where slices lie beside the first one's normal: gantry tilt, or a shifted field of view."""
    normal = slices[0].axes[2]
    offsets = np.array([s.position - slices[0].position for s in slices])
    height = along - along[0]
    sideways = offsets - height[:, None] * normal
    pixel = min(slices[0].pixel_spacing)
    farthest = float(np.linalg.norm(sideways, axis=1).max())
    limit = _GREATEST_SIDEWAYS * pixel
    if farthest <= limit:
        if farthest > _SILENT_SIDEWAYS * pixel:
            notice(f"The slices are up to {farthest:.2f} mm beside the first one's normal; that is ignored.")
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
        f"The slices are not aligned: at {along[worst + 1]:.2f} mm one is {steps[worst]:.2f} mm to the side.",
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
    first = int(np.argmax(np.abs(steps - usual) > _GREATEST_UNEVENNESS * usual))
    where = where or f"from {along[first]:.2f} mm on"
    return InputError(
        f"The distance between slices changes from {steps.min():.4g} to {steps.max():.4g} mm, {where}{more}.",
        "Give a series with even spacing, or resample it first.",
    )


def voxels_of(places: list[list[Slice]], notice: Notice) -> npt.NDArray[Any]:
    """(k, j, i), rescaled; the smallest of int16, its own type and float32 that holds all slices."""
    targets: dict[Path, list[tuple[int, Slice]]] = {}
    for k, place in enumerate(places):
        for one in place:
            targets.setdefault(one.path, []).append((k, one))
    array: npt.NDArray[Any] | None = None
    filled = [False] * len(places)
    copies = padding = 0
    warnings: list[str] = []
    # SimpleITK lets other threads run while it decodes.
    with itk_warnings(warnings.append), ThreadPoolExecutor(_DECODED_AT_ONCE) as pool:
        decoded = pool.map(_decoded, targets, ([one for _, one in wanted] for wanted in targets.values()))
        try:
            for frames, wanted in zip(decoded, targets.values(), strict=True):
                for k, one in wanted:
                    frame, padded = _without_padding(frames[one.frame], one.tags)
                    if array is None:
                        array = empty_array(one.path, (len(places), *frame.shape), frame.dtype)
                    if filled[k]:
                        _check_copy(array[k], frame, places[k])
                        copies += 1
                        continue
                    array = array.astype(np.result_type(array, frame), copy=False)  # PET: each slice has its own slope
                    array[k] = frame
                    filled[k] = True
                    padding += padded
        finally:
            pool.shutdown(cancel_futures=True)
    assert array is not None  # a stack has slices
    if copies:
        notice(f"{copies} slices were there more than once, with the same content; the copies were left out.")
    if padding:
        notice(f"{padding} voxels are padding (PixelPaddingValue), not measured; they are taken for air ({_AIR} HU).")
    if warnings:
        text = warnings[0]
        for path in targets:  # its name may be a patient's
            text = text.replace(str(path), "a slice")
        notice(f"ITK warned {len(warnings)} times while reading the slices: {text}")
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    int16 = np.iinfo(np.int16)
    return array.astype(np.int16) if int16.min <= array.min() and array.max() <= int16.max else array


def _without_padding(frame: npt.NDArray[Any], tags: Tags) -> tuple[npt.NDArray[Any], int]:
    """A slice (rows, columns) of a CT whose padding became air, and how many voxels that changed.

    Padding (DICOM PS3.3 C.7.5.1.1.2) is one stored value or a range of them. Where that is a value that tissue can
    have, as scanners that do not know better write 0, only what is connected with the slice's edge is padding.
    """
    is_ct = tags.get("modality") == "CT" or tags.get("sop_class") in _CT_CLASSES
    if not is_ct or "padding" not in tags:
        return frame, 0
    bits = tags.get("bits_stored", 16)
    stored = [
        _stored(tags[name], bits, bool(tags.get("signed"))) for name in ("padding", "padding_limit") if name in tags
    ]
    slope, intercept = _rescale(tags)
    low, high = sorted((slope * stored[0] + intercept, slope * stored[-1] + intercept))
    half = abs(slope) / 2
    padded = (frame >= low - half) & (frame <= high + half) & (frame != _AIR)
    if high >= _TISSUE_HU[0] and low <= _TISSUE_HU[1]:
        parts, _ = ndimage.label(padded)
        at_edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
        padded = np.isin(parts, at_edge[at_edge > 0])
    count = int(np.count_nonzero(padded))
    if count == 0:
        return frame, 0
    signed = frame if frame.dtype.kind != "u" else frame.astype(np.int32 if frame.dtype.itemsize <= 2 else np.int64)
    return np.where(padded, signed.dtype.type(_AIR), signed), count


def _stored(value: int, bits: int, signed: bool) -> int:
    """A value of VR US or SS as the pixels hold it: of so many bits, and signed as they are."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def _rescale(tags: Tags) -> tuple[float, float]:
    """Slope and intercept, 1 and 0 where they are not given. Raises ValueError for what cannot be meant."""
    found = []
    for name, default in (("slope", 1.0), ("intercept", 0.0)):
        value = float(tags.get(name) or default)
        if not abs(value) < _GREATEST_RESCALE or (name == "slope" and value == 0):
            raise ValueError(f"its rescale {name} is '{tags[name]}'")
        found.append(value)
    return found[0], found[1]


def _check_copy(kept: npt.NDArray[Any], frame: npt.NDArray[Any], place: list[Slice]) -> None:
    where = place[0].along(place[0].axes[2])
    same_place = all(np.allclose(one.position, place[0].position, atol=_SAME_POSITION_MM) for one in place)
    if not (same_place and np.array_equal(kept, frame)):
        raise InputError(
            f"The series holds {len(place)} different images at {where:.2f} mm, and no tag tells them apart.",
            "Export one acquisition, reconstruction or time point only.",
        )


def _decoded(path: Path, slices: Sequence[Slice]) -> npt.NDArray[Any]:
    """(frames, rows, columns) of one file, rescaled by GDCM. Raises InputError."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    try:
        check_pixels(path, slices[0].tags)
        for one in slices:
            _rescale(one.tags)
    except (ValueError, zlib.error) as error:
        raise InputError(
            f"The DICOM file '{path.name}' is damaged: {error}.", "Copy it again, or export the series again."
        ) from error
    with itk_errors(lambda said: _undecodable(path, slices[0].tags, said)), plain_path(path) as plain:
        reader.SetFileName(str(plain))
        array = sitk.GetArrayFromImage(reader.Execute())
    if array.ndim != 3 or array.shape[1:] != slices[0].matrix or len(array) <= max(s.frame for s in slices):
        raise InputError(f"The DICOM file '{path.name}' holds {array.shape} voxels, its header says otherwise.")
    return array


def _undecodable(path: Path, tags: Tags, said: str) -> InputError:
    syntax = tags.get("transfer_syntax", "unknown")
    return InputError(
        f"The DICOM file '{path.name}' cannot be decoded (transfer syntax {syntax}): it is damaged or of a kind that "
        "GDCM does not know.",
        "Copy it again, or export the series uncompressed.",
        itk=said,
    )

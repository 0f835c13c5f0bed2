"""DICOM files for tests, written with pydicom from CT-like arrays and the geometry that they should come back with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from activeseg.core.geometry import Geometry

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
INTERCEPT = -1024
PATIENT = "Muster^Erika"
_instance_uids = map("1.2.826.0.1.3680043.8.498.4.{}".format, count(1))  # random ones hold the patient's ID at times


def hu(shape: tuple[int, int, int] = (6, 8, 10), seed: int = 0) -> npt.NDArray[np.int16]:
    """(k, j, i) HU between -1000 and 1000."""
    return np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)


def geometry_of(
    shape: tuple[int, int, int] = (6, 8, 10),
    spacing: Sequence[float] = (0.7, 0.8, 2.5),
    origin_lps: Sequence[float] = (-120.5, 33.25, 700.5),
    orientation: Sequence[float] = AXIAL,
) -> Geometry:
    rows, columns = np.array(orientation[:3]), np.array(orientation[3:])
    direction = np.column_stack([rows, columns, np.cross(rows, columns)])
    return Geometry(shape, tuple(spacing), tuple(origin_lps), tuple(direction.ravel()))


def position_of(geometry: Geometry, k: float) -> npt.NDArray[np.float64]:
    """LPS mm of the first voxel of slice k."""
    return geometry.ijk_to_lps[:3, 2] * k + geometry.origin_lps


def write_slice(
    path: Path,
    array: npt.NDArray[Any],
    geometry: Geometry,
    k: float = 0,
    shift: Sequence[float] = (0, 0, 0),
    series_uid: str = "1.2.826.0.1.3680043.8.498.1",
    syntax: str = ExplicitVRLittleEndian,
    slope: float = 1,
    intercept: float = INTERCEPT,
    without: Iterable[str] = (),
    **tags: Any,
) -> Dataset:
    """One axial or oblique slice (rows, columns) of HU at position k; ``tags`` are set last, by DICOM keyword."""
    image = _image(CT, series_uid, syntax)
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.ImagePositionPatient = [_ds(v) for v in position_of(geometry, k) + shift]
    image.ImageOrientationPatient = [_ds(v) for v in geometry.direction_matrix[:, :2].T.ravel()]
    image.PixelSpacing = [_ds(geometry.spacing_xyz[1]), _ds(geometry.spacing_xyz[0])]
    image.RescaleSlope, image.RescaleIntercept = _ds(slope), _ds(intercept)
    _set_pixels(image, np.round((array - intercept) / slope), ">" if syntax == ExplicitVRBigEndian else "<")
    for keyword, value in tags.items():
        setattr(image, keyword, value)
    for keyword in without:
        delattr(image, keyword)
    image.save_as(path, enforce_file_format=True)
    return image


def write_series(
    folder: Path,
    array: npt.NDArray[Any] | None = None,
    geometry: Geometry | None = None,
    slices: Iterable[int] | None = None,
    name: str = "IM{:04d}",
    **tags: Any,
) -> tuple[npt.NDArray[Any], Geometry]:
    """The slices of one series (all, unless ``slices`` names some), one file each; what they should be read as."""
    array = hu() if array is None else array
    geometry = geometry or geometry_of(array.shape)
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(len(array)) if slices is None else slices:
        write_slice(folder / name.format(k), array[k], geometry, k, **{"InstanceNumber": k + 1, **tags})
    return array, geometry


def write_enhanced(
    path: Path,
    array: npt.NDArray[Any],
    positions: Sequence[npt.ArrayLike],
    orientations: Sequence[Sequence[float]] | None = None,
    rescales: Sequence[tuple[float, float]] | None = None,
    times: Sequence[int] | None = None,
    spacing: Sequence[float] = (0.7, 0.8),
) -> None:
    """A multi-frame CT (PS3.3 C.7.6.16) with one place for each frame; what is None is shared by the frames."""
    image = _image(ENHANCED_CT, "1.2.826.0.1.3680043.8.498.2", ExplicitVRLittleEndian)
    image.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    image.NumberOfFrames = len(array)
    shared = Dataset()
    shared.PixelMeasuresSequence = _item(PixelSpacing=[_ds(spacing[1]), _ds(spacing[0])], SliceThickness="2.5")
    if orientations is None:
        shared.PlaneOrientationSequence = _item(ImageOrientationPatient=[_ds(v) for v in AXIAL])
    if rescales is None:
        shared.PixelValueTransformationSequence = _rescale(1, INTERCEPT)
    frames = []
    for n, position in enumerate(positions):
        frame = Dataset()
        frame.PlanePositionSequence = _item(ImagePositionPatient=[_ds(v) for v in np.asarray(position)])
        frame.FrameContentSequence = _item(StackID="1", InStackPositionNumber=n + 1)
        if times is not None:
            frame.FrameContentSequence[0].TemporalPositionIndex = times[n]
        if orientations is not None:
            frame.PlaneOrientationSequence = _item(ImageOrientationPatient=[_ds(v) for v in orientations[n]])
        if rescales is not None:
            frame.PixelValueTransformationSequence = _rescale(*rescales[n])
        frames.append(frame)
    image.SharedFunctionalGroupsSequence = Items([shared])
    image.PerFrameFunctionalGroupsSequence = Items(frames)
    _set_pixels(image, array - INTERCEPT)
    image.save_as(path, enforce_file_format=True)


def write_structure_set(path: Path) -> None:
    """An object without pixels."""
    image = _image(STRUCTURE_SET, "1.2.826.0.1.3680043.8.498.3", ExplicitVRLittleEndian)
    image.Modality = "RTSTRUCT"
    image.save_as(path, enforce_file_format=True)


def _image(sop_class: str, series_uid: str, syntax: str) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = sop_class
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = next(_instance_uids)
    image.SeriesInstanceUID, image.StudyInstanceUID = series_uid, "1.2.826.0.1.3680043.8.498"
    image.Modality, image.SeriesNumber = "CT", 1
    image.PatientName, image.PatientID, image.PatientBirthDate = PATIENT, "4711", "19700101"
    return image


def _set_pixels(image: Dataset, stored: npt.NDArray[Any], order: str = "<") -> None:
    image.Rows, image.Columns = stored.shape[-2:]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PixelData = stored.astype(order + "u2").tobytes()
    image["PixelData"].VR = "OW"


def _rescale(slope: float, intercept: float) -> Items:
    return _item(RescaleSlope=_ds(slope), RescaleIntercept=_ds(intercept), RescaleType="HU")


def _item(**tags: Any) -> Items:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return Items([item])


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters, as DICOM asks."""
    return f"{float(value):.10g}"[:16]

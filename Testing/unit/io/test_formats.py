"""What every format of ``io.images`` does alike: one suite, passed by each."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import write_series
from scipy.spatial.transform import Rotation

from activeseg.core.errors import Cancelled, InputError
from activeseg.core.geometry import Geometry
from activeseg.core.progress import Progress
from activeseg.core.volume import Volume
from activeseg.io.images import read_label_map, read_volume, write_volume

SHAPE = (6, 8, 10)
MODULES = ("nifti", "itk", "dicom.series")
Write = Callable[[Path, Volume], Path]


def written(name: str) -> Write:
    def write(folder: Path, volume: Volume) -> Path:
        write_volume(volume, folder / name)
        return folder / name

    return write


def by_itk(name: str, compressed: bool) -> Write:
    def write(folder: Path, volume: Volume) -> Path:
        sitk.WriteImage(volume.to_sitk(), str(folder / name), compressed)
        return folder / name

    return write


def as_dicom(folder: Path, volume: Volume) -> Path:
    write_series(folder / "series", volume.array, volume.geometry)
    return folder / "series"


FILES: dict[str, Write] = {
    **{name: written(name) for name in ("a.nii.gz", "a.nii", "a.nrrd", "a.mha")},
    "packed.mha": by_itk("a.mha", True),
    "a.nhdr": by_itk("a.nhdr", False),
    "a.mhd": by_itk("a.mhd", True),
}
FORMATS: dict[str, Write] = {**FILES, "dicom": as_dicom}
WRITTEN = ("a.nii.gz", "a.nii", "a.nrrd", "a.mha")
PLACES = {
    "axial": np.eye(3),
    "oblique": Rotation.from_rotvec([0.2, -0.3, 0.4]).as_matrix(),
    "rotated by a right angle": Rotation.from_rotvec([np.pi / 2, 0, 0]).as_matrix(),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
}


def a_volume(direction: np.ndarray = PLACES["axial"], shape: tuple[int, int, int] = SHAPE) -> Volume:
    array = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    return Volume(array, Geometry(shape, (0.7, 0.8, 2.5), (-120.5, 33.25, 700.5), tuple(direction.ravel())))


def voxel_file(path: Path) -> Path:
    """Where a format keeps its voxels."""
    if path.is_dir():
        return max(path.iterdir())
    beside = [child for child in path.parent.iterdir() if child.suffix in (".raw", ".zraw")]
    return beside[0] if beside else path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as raised:
        read_volume(path, notice=lambda text: None)
    assert "\n" not in raised.value.message
    assert "ITK" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FORMATS)
def test_what_was_written_is_read_exactly(tmp_path: Path, name: str, place: str) -> None:
    heard: list[str] = []
    volume = a_volume(PLACES[place])
    read = read_volume(FORMATS[name](tmp_path, volume), notice=heard.append)
    assert np.array_equal(read.array, volume.array)
    assert read.array.dtype == volume.array.dtype
    assert read.geometry.farthest_corner_mm(volume.geometry) < 1e-4
    assert heard == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_image_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = FORMATS[name](tmp_path, a_volume())
    cut = voxel_file(path)
    content = cut.read_bytes()
    for kept in (len(content) - 3, len(content) // 2):
        cut.write_bytes(content[:kept])
        assert cut.stem in refused(path)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("content", [b"", b"once upon a time " * 50, bytes(5000), b"\x89PNG\r\n\x1a\n" + bytes(200)])
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    path = FORMATS[name](tmp_path, a_volume())
    spoilt = max(path.iterdir()) if path.is_dir() else path
    spoilt.write_bytes(content)
    assert spoilt.name in refused(path)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", FILES)
def test_one_voxel_thick_is_a_label_map_and_no_volume(tmp_path: Path, name: str, axis: int) -> None:
    shape = tuple(1 if n == axis else length for n, length in enumerate(SHAPE))
    volume = a_volume(shape=shape)
    labels = Volume(np.abs(volume.array).astype(np.uint16), volume.geometry)
    path = FILES[name](tmp_path, labels)
    assert "2D" in refused(path)
    read = read_label_map(path)
    assert np.array_equal(read.array, labels.array)
    assert read.geometry.farthest_corner_mm(labels.geometry) < 1e-4


def test_one_dicom_slice_is_no_volume(tmp_path: Path) -> None:
    assert "single slice" in refused(as_dicom(tmp_path, a_volume(shape=(1, 8, 10))))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "packed.mha"])
@pytest.mark.parametrize("other", ["image", "image.nii", "image.nrrd", "image.mha", "image.img"])
def test_the_first_bytes_tell_the_format_whatever_the_name(tmp_path: Path, name: str, other: str) -> None:
    volume = a_volume(PLACES["oblique"])
    path = FILES[name](tmp_path, volume).rename(tmp_path / other)
    read = read_volume(path)
    assert np.array_equal(read.array, volume.array)
    assert read.geometry.farthest_corner_mm(volume.geometry) < 1e-4


def test_a_dicom_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    volume = a_volume()
    write_series(tmp_path, volume.array, volume.geometry, name="IM{}.nii")
    assert np.array_equal(read_volume(tmp_path / "IM3.nii", notice=lambda text: None).array, volume.array)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_cancelled_file_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(Cancelled):
        write_volume(a_volume(), tmp_path / name, Progress(cancelled=lambda: True))
    assert (tmp_path / name).read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", MODULES)
def test_every_format_offers_the_same_functions(name: str) -> None:
    module = importlib.import_module(f"activeseg.io.{name}")
    assert list(inspect.signature(module.recognise).parameters) == ["start"]
    assert list(inspect.signature(module.read).parameters)[:3] == ["path", "notice", "thin"]
    assert not module.recognise(b"")
    assert not module.recognise(bytes(4096))

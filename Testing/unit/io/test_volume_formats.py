"""What a file says about its geometry and its values is kept, and what is wrong with it is one clear sentence."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from sitk_volumes import volume_of

from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from activeseg.io.images import read_volume, write_volume

FEW = settings(max_examples=25, deadline=None, derandomize=True)
SHAPE = (4, 5, 6)
CT_FILE = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "ct" / "example_ct.nii.gz"


def an_affine(angles=(0.1, 0.2, -0.3), spacing=(0.7, 0.8, 2.5), origin=(-100.5, 33.3, 7.7), flips=(1, 1, 1), shear=0.0):
    affine = np.eye(4)
    sheared = np.eye(3)
    sheared[0, 1] = shear
    affine[:3, :3] = Rotation.from_rotvec(angles).as_matrix() @ np.diag(flips) @ sheared @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def voxels(dtype=np.int16, shape=SHAPE):
    return (np.arange(np.prod(shape)).reshape(shape) % 119 - (0 if np.dtype(dtype).kind == "u" else 50)).astype(dtype)


def write_nifti(path: Path, sform=None, qform=None, codes=(1, 1), array=None, **header) -> nibabel.Nifti1Image:
    """``codes`` are sform's and qform's; a form that is not given gets code 0. ``header`` fields are set last, raw."""
    array = voxels() if array is None else array
    image = nibabel.Nifti1Image(array.T, None, dtype=array.dtype)
    image.header.set_zooms((0.7, 0.8, 2.5, 1, 1)[: array.ndim])
    image.set_sform(sform, codes[0] if sform is not None else 0, update_affine=False)
    image.set_qform(qform, codes[1] if qform is not None else 0, update_affine=False)
    nibabel.save(image, path)
    if header:
        offsets = {"dim": "<40s8h", "pixdim": "<76s8f", "scl": "<112s2f", "srow_x": "<280s4f", "xyzt_units": "<123sB"}
        for field, values in header.items():
            content = bytearray(path.read_bytes())
            start = int(offsets[field][1:].split("s")[0])
            struct.pack_into("<" + offsets[field].split("s")[1], content, start, *values)
            path.write_bytes(content)
    return image


def write_nrrd(path: Path, extra: str = "", data: bytes | None = None, encoding: str = "raw") -> Path:
    head = f"NRRD0004\ntype: int16\ndimension: 3\nsizes: 6 5 4\nencoding: {encoding}\nendian: little\n{extra}\n"
    path.write_bytes(head.encode() + (voxels().tobytes() if data is None else data))
    return path


def write_mha(path: Path, extra: str = "", data: bytes | None = None) -> Path:
    head = f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{extra}"
    data = voxels().tobytes() if data is None else data
    path.write_bytes(f"{head}DimSize = 6 5 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n".encode() + data)
    return path


def corners_mm(geometry: Geometry, affine: np.ndarray) -> float:
    return geometry.farthest_corner_mm(Geometry.from_ijk_to_ras(affine, geometry.shape_kji))


@pytest.fixture(autouse=True)
def a_notice_that_no_test_expects_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@FEW
@given(
    st.tuples(*[st.floats(-3.2, 3.2)] * 3),
    st.tuples(*[st.floats(0.2, 6.0)] * 3),
    st.tuples(*[st.floats(-900, 900)] * 3),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.sampled_from(["sform", "qform", "both"]),
    st.sampled_from([1, 2, 3, 4]),
)
def test_nifti_lies_where_nibabel_says(angles, spacing, origin, flips, forms, code):
    affine = an_affine(angles, spacing, origin, flips)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.nii"
        write_nifti(
            path,
            sform=affine if forms != "qform" else None,
            qform=affine if forms != "sform" else None,
            codes=(code, 5 - code),
        )
        volume = read_volume(path)
        assert corners_mm(volume.geometry, nibabel.load(path).affine) < 1e-4
        assert np.array_equal(volume.array, voxels())


def test_beside_a_qform_a_negative_spacing_loses_its_sign_as_in_nibabel(tmp_path):
    path = tmp_path / "image.nii"
    write_nifti(path, qform=an_affine(), codes=(0, 1))
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 80, -struct.unpack_from("<f", content, 80)[0])
    path.write_bytes(content)
    found = read_volume(path).geometry
    assert np.allclose(found.nibabel_affine, nibabel.load(path).affine, atol=1e-4)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, 1, -1)])
def test_itk_agrees_about_oblique_and_flipped_nifti(tmp_path, flips):
    write_nifti(tmp_path / "image.nii", an_affine(flips=flips), an_affine(flips=flips))
    itk = volume_of(sitk.ReadImage(str(tmp_path / "image.nii")))
    assert read_volume(tmp_path / "image.nii").geometry.same_grid(itk.geometry)


def test_a_sform_that_differs_from_the_qform_is_used_and_said(tmp_path):
    heard: list[str] = []
    write_nifti(tmp_path / "image.nii", an_affine(origin=(0, 0, 0)), an_affine(origin=(10, 0, 0)), codes=(2, 1))
    volume = read_volume(tmp_path / "image.nii", notice=heard.append)
    assert corners_mm(volume.geometry, nibabel.load(tmp_path / "image.nii").affine) < 1e-4
    assert len(heard) == 1
    assert "up to 10 mm apart" in heard[0]


def test_a_nifti_without_orientation_is_read_as_itk_does_and_said(tmp_path):
    heard: list[str] = []
    write_nifti(tmp_path / "image.nii")
    volume = read_volume(tmp_path / "image.nii", notice=heard.append)
    assert volume.geometry.same_grid(volume_of(sitk.ReadImage(str(tmp_path / "image.nii"))).geometry)
    assert len(heard) == 1
    assert "left and right are assumed" in heard[0]


def test_notices_are_python_warnings_when_nobody_listens(tmp_path):
    write_nifti(tmp_path / "image.nii")
    with pytest.warns(UserWarning, match="left and right are assumed"):
        read_volume(tmp_path / "image.nii")


def test_micrometres_become_millimetres(tmp_path):
    heard: list[str] = []
    write_nifti(tmp_path / "image.nii", np.diag([500.0, 500.0, 1000.0, 1.0]), xyzt_units=[3])
    volume = read_volume(tmp_path / "image.nii", notice=heard.append)
    assert volume.geometry.spacing_xyz == pytest.approx((0.5, 0.5, 1.0))
    assert "micrometres" in heard[0]


@pytest.mark.parametrize("forms", ["sform", "both"])
@pytest.mark.parametrize("shear", [3e-4, 0.05])
def test_a_sheared_nifti_is_refused_whatever_itk_would_make_of_it(tmp_path, forms, shear):
    affine = an_affine(shear=shear)
    write_nifti(tmp_path / "image.nii", affine, an_affine() if forms == "both" else None)
    with pytest.raises(InputError, match="not at right angles"):
        read_volume(tmp_path / "image.nii")


@pytest.mark.parametrize(
    "stored", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64]
)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_stored_types_stay_what_they_are(tmp_path, stored, order, kind):
    array = voxels(stored)
    image = kind(array.T, an_affine(), kind.header_class(endianness=order))
    image.set_data_dtype(stored)
    image.to_filename(tmp_path / "image.nii.gz")
    volume = read_volume(tmp_path / "image.nii.gz")
    assert volume.array.dtype == stored
    assert np.array_equal(volume.array, array)
    assert corners_mm(volume.geometry, image.affine) < 1e-4


@pytest.mark.parametrize(
    ("stored", "slope", "inter", "read"),
    [
        (np.int16, 1, -1024, np.int16),
        (np.uint8, 1, -1024, np.int16),
        (np.uint8, 2, 5, np.uint8),
        (np.uint8, 3, 0, np.int16),
        (np.int16, 1000, 0, np.int32),
        (np.int16, 0.5, 3, np.float32),
        (np.float32, 2, 1, np.float64),
        (np.int16, 0, 5, np.int16),
        (np.int16, np.nan, np.nan, np.int16),
    ],
)
def test_slope_and_intercept_count_and_whole_numbers_stay_whole(tmp_path, stored, slope, inter, read):
    write_nifti(tmp_path / "image.nii", an_affine(), array=voxels(stored), scl=(slope, inter))
    volume = read_volume(tmp_path / "image.nii")
    assert volume.array.dtype == read
    assert np.allclose(volume.array, np.asarray(nibabel.load(tmp_path / "image.nii").dataobj).T)


@pytest.mark.parametrize("shape", [(1, *SHAPE), (1, 1, *SHAPE)])
def test_a_fourth_axis_of_one_is_no_fourth_axis(tmp_path, shape):
    array = voxels().reshape(shape)
    write_nifti(tmp_path / "image.nii", an_affine(), array=array)
    volume = read_volume(tmp_path / "image.nii")
    assert np.array_equal(volume.array, voxels())
    if len(shape) == 4:
        image = sitk.JoinSeries([volume.to_sitk()])
        for name in ("image.nrrd", "image.mha"):
            sitk.WriteImage(image, str(tmp_path / name))
            again = read_volume(tmp_path / name)
            assert np.array_equal(again.array, voxels())
            assert again.geometry.same_grid(volume.geometry)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["image.nrrd", "image.nhdr", "image.mha", "image.mhd"])
def test_nrrd_and_metaimage_of_itk_are_read_exactly(tmp_path, name, compressed):
    geometry = Geometry.from_ijk_to_ras(an_affine(flips=(-1, 1, -1)), SHAPE)
    written = Volume(voxels(), geometry)
    sitk.WriteImage(written.to_sitk(), str(tmp_path / name), compressed)
    volume = read_volume(tmp_path / name)
    assert volume.geometry.farthest_corner_mm(geometry) < 1e-9
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, written.array)


@pytest.mark.parametrize(
    ("space", "to_ras"),
    [("right-anterior-superior", (1, 1, 1)), ("left-posterior-superior", (-1, -1, 1)), ("LAS", (-1, 1, 1))],
)
def test_nrrd_spaces_are_told_apart(tmp_path, space, to_ras):
    axes = "space directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)\nspace origin: (1,2,3)\n"
    volume = read_volume(write_nrrd(tmp_path / "image.nrrd", f"space: {space}\n{axes}"))
    assert corners_mm(volume.geometry, np.diag([*to_ras, 1.0]) @ an_affine((0, 0, 0), origin=(1, 2, 3))) < 1e-9


def test_a_nrrd_without_orientation_is_said(tmp_path):
    heard: list[str] = []
    volume = read_volume(write_nrrd(tmp_path / "image.nrrd", "spacings: 0.7 0.8 2.5\n"), notice=heard.append)
    assert volume.geometry.spacing_xyz == pytest.approx((0.7, 0.8, 2.5))
    assert "left and right are assumed" in heard[0]


def test_maps_of_ours_may_be_nan_when_asked_for(tmp_path):
    array = voxels(np.float32)
    array[0, 0, 0] = np.nan
    write_volume(Volume(array, Geometry.from_ijk_to_ras(an_affine(), SHAPE)), tmp_path / "map.nii.gz")
    assert np.isnan(read_volume(tmp_path / "map.nii.gz", allow_nan=True).array[0, 0, 0])


def test_the_real_ct_is_read_as_nibabel_reads_it():
    if not CT_FILE.exists():
        pytest.skip(f"the shared test data is missing: {CT_FILE.name}")
    volume = read_volume(CT_FILE)
    theirs = nibabel.load(CT_FILE)
    assert corners_mm(volume.geometry, theirs.affine) < 1e-4
    assert np.array_equal(volume.array, np.asarray(theirs.dataobj).T)
    assert volume.array.dtype == theirs.get_data_dtype()
    assert volume.name == ""


def noise(shape=(20, 20, 20)) -> Volume:
    array = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    return Volume(array, Geometry.from_ijk_to_ras(np.diag([1.0, 1, 1, 1]), shape))


def cut(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)


def cut_off_last_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut inside the header": (lambda p: cut(p, 0.002), "not a|cut off|ends inside|damaged"),
    "cut inside the voxels": (lambda p: cut(p, 0.6), "cut off"),
    "last bytes missing": (cut_off_last_bytes, "cut off"),
    "other bytes in the middle": (corrupt, "corrupted"),
    "empty": (lambda p: p.write_bytes(b""), "is empty"),
    "text": (lambda p: p.write_bytes(b"once upon a time " * 50), "not a"),
    "zeros": (lambda p: p.write_bytes(bytes(5000)), "not a"),
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for name in ("image.nii.gz", "image.nii", "image.nrrd", "image.mha", "packed.mha")
        for damage in DAMAGE
        # plain voxels have no check sum
        if not (damage == "other bytes in the middle" and name in ("image.nii", "image.mha"))
    ],
)
def test_damaged_files_are_refused(tmp_path, name, damage):
    path = tmp_path / name
    if name == "packed.mha":
        sitk.WriteImage(noise().to_sitk(), str(path), True)
    else:
        write_volume(noise(), path)
    change, message = DAMAGE[damage]
    change(path)
    with pytest.raises(InputError, match=message) as raised:
        read_volume(path)
    assert name in str(raised.value)


def test_gzip_is_recognised_by_content(tmp_path):
    write_volume(noise(), tmp_path / "packed.nii.gz")
    write_volume(noise(), tmp_path / "plain.nii")
    (tmp_path / "packed.nii.gz").rename(tmp_path / "really_packed.nii")
    (tmp_path / "plain.nii").rename(tmp_path / "really_plain.nii.gz")
    for name in ("really_packed.nii", "really_plain.nii.gz"):
        assert np.array_equal(read_volume(tmp_path / name).array, noise().array)


def nifti_with(**fields) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_nifti(folder / "image.nii", **fields)
        return folder / "image.nii"

    return make


def with_value(value: float) -> Callable[[Path], Path]:
    array = voxels(np.float32)
    array[1, 2, 3] = array[0, 0, 0] = value
    return nifti_with(sform=an_affine(), array=array)


def colour_nifti(folder: Path) -> Path:
    array = np.zeros(SHAPE[::-1], np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nibabel.save(nibabel.Nifti1Image(array, an_affine()), folder / "image.nii")
    return folder / "image.nii"


def complex_nifti(folder: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.complex64), an_affine()), folder / "image.nii")
    return folder / "image.nii"


def analyze_header(folder: Path) -> Path:
    nibabel.save(nibabel.Nifti1Pair(voxels().T, an_affine()), folder / "image.hdr")
    return (folder / "image.hdr").rename(folder / "image.nii")


def sitk_image(image: Callable[[], sitk.Image], name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        sitk.WriteImage(image(), str(folder / name))
        return folder / name

    return make


def a_file(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "image.nii")
    return folder / "image.nii"


SPACE = "space: left-posterior-superior\nspace origin: (0,0,0)\nspace directions: "
WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "image.nii.gz", r"There is no file or folder '.*image.nii.gz'"),
    "no images": (lambda folder: folder, "There are no DICOM images in"),
    "png": (a_file("image.png", b"\x89PNG\r\n\x1a\n" + bytes(200)), "'image.png' is not an image that can be read"),
    "no suffix": (a_file("image", b"hello"), "'image' is not an image that can be read"),
    "2D": (nifti_with(sform=an_affine(), array=voxels(shape=(5, 6))), r"2D \(6x5\)"),
    "one slice": (nifti_with(sform=an_affine(), array=voxels(shape=(1, 5, 6))), r"2D \(6x5x1\)"),
    "one sagittal slice": (nifti_with(sform=an_affine(), array=voxels(shape=(4, 5, 1))), r"2D \(1x5x4\)"),
    "time series": (nifti_with(sform=an_affine(), array=voxels(shape=(3, 4, 5, 6))), r"more than 3 .*6x5x4x3"),
    "vector": (nifti_with(sform=an_affine(), array=voxels(shape=(3, 1, 4, 5, 6))), r"more than 3 .*6x5x4x1x3"),
    "colour": (colour_nifti, "RGB colour"),
    "complex": (complex_nifti, "complex"),
    "header of two files": (analyze_header, "two-file image"),
    "NaN": (with_value(np.nan), "2 voxels that are not numbers"),
    "infinite": (with_value(np.inf), "2 voxels that are not numbers"),
    "minus infinite": (with_value(-np.inf), "2 voxels that are not numbers"),
    "zero spacing": (nifti_with(sform=np.diag([1.0, 0, 1, 1])), r"spacing is \(1.0, 0.0, 1.0\) mm"),
    "zero pixdim": (nifti_with(qform=an_affine(), pixdim=(1, 0, 1, 1, 1, 1, 1, 1)), r"spacing is \(0.0, 1.0, 1.0\) mm"),
    "negative pixdim": (nifti_with(pixdim=(1, 1, -2, 1, 1, 1, 1, 1)), r"spacing is \(1.0, -2.0, 1.0\) mm"),
    "NaN in the sform": (nifti_with(sform=an_affine(), srow_x=(np.nan, 0, 0, 0)), "not finite: .*nan"),
    "infinite origin": (nifti_with(sform=an_affine(), srow_x=(0.7, 0, 0, np.inf)), "not finite: .*inf"),
    "no dimensions": (nifti_with(sform=an_affine(), dim=(0, 6, 5, 4, 1, 1, 1, 1)), "says 0 dimensions"),
    "negative size": (nifti_with(sform=an_affine(), dim=(3, 6, -5, 4, 1, 1, 1, 1)), r"impossible sizes \(6x-5x4\)"),
    "huge size": (
        nifti_with(sform=an_affine(), dim=(3, 30000, 30000, 30000, 1, 1, 1, 1)),
        "bytes of voxels are announced",
    ),
    "2D nrrd": (sitk_image(lambda: sitk.Image(5, 6, sitk.sitkInt16), "image.nrrd"), r"2D \(5x6\)"),
    "colour nrrd": (
        sitk_image(lambda: sitk.Image([5, 6, 4], sitk.sitkVectorUInt8, 3), "image.nrrd"),
        "3 values in each",
    ),
    "vector mha": (
        sitk_image(lambda: sitk.Image([5, 6, 4], sitk.sitkVectorFloat32, 2), "image.mha"),
        "2 values in each",
    ),
    "time series mha": (sitk_image(lambda: sitk.Image([5, 6, 4, 3], sitk.sitkInt16), "image.mha"), "5x6x4x3"),
    "sheared nrrd": (
        lambda folder: write_nrrd(folder / "image.nrrd", f"{SPACE}(1,0,0) (0.1,1,0) (0,0,1)\n"),
        "not at right angles",
    ),
    "flat nrrd": (
        lambda folder: write_nrrd(folder / "image.nrrd", f"{SPACE}(1,0,0) (0,0,0) (0,0,2)\n"),
        r"spacing is \(1.0, 0.0, 2.0\) mm",
    ),
    "NaN spacing in nrrd": (lambda folder: write_nrrd(folder / "image.nrrd", "spacings: 1 nan 2\n"), "'1 nan 2' mm"),
    "voxels missing in nrrd": (
        lambda folder: write_nrrd(folder / "image.nrrd", f"{SPACE}(1,0,0) (0,1,0) (0,0,1)\n", data=bytes(100)),
        "'image.nrrd' is cut off: .* 100 are there|fewer are there",
    ),
    "too few bytes in gzip": (
        lambda folder: write_nrrd(
            folder / "image.nrrd", f"{SPACE}(1,0,0) (0,1,0) (0,0,1)\n", data=gzip.compress(bytes(100)), encoding="gzip"
        ),
        "'image.nrrd' is cut off",
    ),
    "detached voxels missing": (
        lambda folder: write_nrrd(folder / "image.nhdr", "data file: image.raw\n", data=b""),
        "'image.nhdr' has its voxels in 'image.raw', which is not there",
    ),
    "sheared mha": (
        lambda folder: write_mha(folder / "image.mha", "TransformMatrix = 1 0 0 0.1 1 0 0 0 1\n"),
        "not at right angles",
    ),
    "flat mha": (
        lambda folder: write_mha(folder / "image.mha", "ElementSpacing = 1 0 2\n"),
        r"spacing is \(1.0, 0.0, 2.0\) mm",
    ),
}
if sys.platform != "win32":
    WRONG["a pipe"] = (a_pipe, "neither a file nor a folder")


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_clear_error(tmp_path, case, capfd):
    make, message = WRONG[case]
    with pytest.raises(InputError, match=message) as raised:
        read_volume(make(tmp_path))
    assert "\n" not in raised.value.message
    assert "ITK" not in str(raised.value)
    assert capfd.readouterr().err == ""


def test_a_series_can_only_be_chosen_in_dicom(tmp_path):
    write_volume(noise(), tmp_path / "image.nii")
    with pytest.raises(InputError, match="can only be chosen in DICOM"):
        read_volume(tmp_path / "image.nii", series="2")


NOT_ALLOWED = """
import os, sys
import activeseg.io.dicom.series, activeseg.io.itk, activeseg.io.nifti, scipy.spatial.transform
from activeseg.io.images import read_volume
from activeseg.core.errors import InputError
if os.geteuid() == 0:
    os.setuid(65534)
for path in sys.argv[1:]:
    try:
        read_volume(path)
    except InputError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_what_may_not_be_read_is_said():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        paths = [Path(folder) / name for name in ("image.nii.gz", "image.nrrd", "image.mha", "image.dcm", "folder")]
        for path in paths[:-1]:
            path.write_bytes(b"something")
            path.chmod(0o000)
        paths[-1].mkdir(mode=0o000)
        done = subprocess.run(
            [sys.executable, "-c", NOT_ALLOWED, *map(str, paths)], capture_output=True, text=True, check=True
        )
    assert done.stdout.splitlines() == [f"'{path}' cannot be opened: Permission denied." for path in paths]

"""Folders of DICOM files: one regular series is read exactly, everything else is chosen, announced or refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import (
    AXIAL,
    INTERCEPT,
    geometry_of,
    hu,
    position_of,
    write_enhanced,
    write_series,
    write_slice,
    write_structure_set,
)
from pydicom.fileset import FileSet
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless
from scipy.spatial.transform import Rotation
from sitk_volumes import volume_of

from activeseg.core.errors import InputError
from activeseg.core.volume import Volume
from activeseg.io.dicom.header import MalformedError, read_tags
from activeseg.io.images import read_volume

REAL_SERIES = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "ct" / "dicom_series_20_slices"
CORONAL, SAGITTAL = (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)
OTHER = "1.2.826.0.1.3680043.8.498.9"
OBLIQUE = tuple(Rotation.from_rotvec([0.2, -0.3, 0.4]).as_matrix()[:, :2].T.ravel())


def read(path: Path, series: str | None = None) -> tuple[Volume, list[str]]:
    heard: list[str] = []
    return read_volume(path, series, heard.append), heard


def refused(path: Path, series: str | None = None) -> str:
    """The error's one sentence and its action."""
    with pytest.raises(InputError) as raised:
        read_volume(path, series, lambda text: None)
    assert "\n" not in raised.value.message
    return str(raised.value)


def assert_is(volume: Volume, array: np.ndarray, geometry) -> None:
    assert volume.geometry.same_grid(geometry)
    assert volume.array.dtype == array.dtype
    assert np.array_equal(volume.array, array)


@pytest.fixture(scope="module")
def real_series() -> Path:
    if not REAL_SERIES.is_dir():
        pytest.skip(f"the shared test data is missing: {REAL_SERIES.name}")
    return REAL_SERIES


@pytest.mark.parametrize(
    "orientation", [AXIAL, OBLIQUE, (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0)]
)
def test_a_series_is_read_with_its_hu_and_its_place(tmp_path, orientation):
    array, geometry = write_series(tmp_path, geometry=geometry_of(orientation=orientation))
    volume, heard = read(tmp_path)
    assert_is(volume, array, geometry)
    assert heard == []


def test_the_real_series_has_the_hu_and_the_place_that_pydicom_reads(real_series):
    volume, heard = read(real_series)
    images = sorted((pydicom.dcmread(p) for p in real_series.iterdir()), key=lambda d: d.ImagePositionPatient[2])
    for k in (0, 7, 19):
        image = images[k]
        expected = image.pixel_array.astype(int) * int(image.RescaleSlope) + int(image.RescaleIntercept)
        assert np.array_equal(volume.array[k], expected)
        assert np.allclose(volume.geometry.ijk_to_lps @ [0, 0, k, 1], [*image.ImagePositionPatient, 1])
    assert volume.array.dtype == np.int16
    assert volume.geometry.spacing_xyz == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert volume.geometry.direction_lps == pytest.approx(np.eye(3).ravel())
    assert heard == []


def test_itks_own_series_reader_gives_the_same(tmp_path):
    array, _ = write_series(tmp_path, geometry=geometry_of(orientation=OBLIQUE))
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    theirs = volume_of(sitk.ReadImage(names))
    assert_is(read(tmp_path)[0], theirs.array.astype(array.dtype), theirs.geometry)


def test_files_without_order_extension_or_one_folder_are_put_in_order(tmp_path):
    array, geometry = hu(), geometry_of()
    for k, name in enumerate(["z", "B/a.dcm", "a", "B/C/0001", "B/m.IMA", "0"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_slice(tmp_path / name, array[k], geometry, k, InstanceNumber=(7 * k) % 5)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._z").write_bytes(b"\x00\x05\x16\x07")
    volume, heard = read(tmp_path)
    assert_is(volume, array, geometry)
    assert heard == []


def test_no_patient_data_reaches_the_volume_or_a_notice(tmp_path):
    write_series(tmp_path, SeriesDescription="Muster")
    write_structure_set(tmp_path / "RS")
    shutil.copy(tmp_path / "IM0000", tmp_path / "copy")
    volume, heard = read(tmp_path)
    assert volume.name == "CT"
    assert heard
    assert not any(secret in " ".join(heard) for secret in ("Muster", "Erika", "4711", "1970", "1.2.826"))


def test_a_dicom_disc_is_read_by_its_folder_or_by_its_directory_file(tmp_path):
    array, geometry = write_series(tmp_path / "loose", StudyDate="20240101", StudyTime="1200", StudyID="1")
    disc = FileSet()
    for path in (tmp_path / "loose").iterdir():
        disc.add(path)
    disc.write(tmp_path / "disc")
    for path in (tmp_path / "disc", tmp_path / "disc" / "DICOMDIR"):
        volume, heard = read(path)
        assert_is(volume, array, geometry)
        assert heard == []


def test_one_file_stands_for_its_series(tmp_path):
    array, geometry = write_series(tmp_path, name="IM{:04d}.dcm")
    write_series(tmp_path, hu(seed=1), name="other{}.dcm", series_uid=OTHER)
    volume, heard = read(tmp_path / "IM0003.dcm")
    assert_is(volume, array, geometry)
    assert heard == ["The file is one slice: its whole series was read, 6 files of the same folder."]


def test_several_series_are_offered_and_never_guessed(tmp_path):
    first, geometry = write_series(tmp_path / "a", SeriesDescription="Thorax 1.0 B31f", SeriesNumber=2)
    second, _ = write_series(
        tmp_path / "b", hu((4, 8, 10)), SeriesDescription="Abdomen", SeriesNumber=10, series_uid=OTHER
    )
    message = refused(tmp_path)
    assert "There are 2 DICOM series." in message
    assert "by its number, UID or description" in message
    assert "1: 'Thorax 1.0 B31f', CT, 6 slices of 10 x 8, 0.7 x 0.8 x 2.5 mm, 1.2.826.0.1.3680043.8.498.1" in message
    assert "2: 'Abdomen', CT, 4 slices" in message
    for series in ("1", "thorax 1.0 b31f", "1.2.826.0.1.3680043.8.498.1"):
        assert_is(read(tmp_path, series)[0], first, geometry)
    assert np.array_equal(read(tmp_path, OTHER)[0].array, second)
    assert "'3' fits none of the 2 DICOM series." in refused(tmp_path, "3")
    with pytest.raises(InputError) as raised:
        read_volume(tmp_path)
    assert raised.value.details["series"] == [
        {"number": 1, "uid": "1.2.826.0.1.3680043.8.498.1", "part": ""},
        {"number": 2, "uid": OTHER, "part": ""},
    ]
    assert f"2: 'Abdomen', CT, 4 slices of 10 x 8, 0.7 x 0.8 x 2.5 mm, {OTHER}" in message


def test_a_description_that_two_series_share_is_no_choice(tmp_path):
    write_series(tmp_path / "a", SeriesDescription="Thorax")
    write_series(tmp_path / "b", SeriesDescription="Thorax", series_uid=OTHER)
    assert "'thorax' fits 2 of the 2 DICOM series." in refused(tmp_path, "thorax")


def test_series_whose_uids_were_emptied_are_still_told_apart(tmp_path):
    write_series(tmp_path / "a", SeriesDescription="Thorax", series_uid="", SeriesNumber=1)
    write_series(tmp_path / "b", SeriesDescription="Abdomen", series_uid="", SeriesNumber=2)
    message = refused(tmp_path)
    assert "1: 'Thorax', CT" in message
    assert "2: 'Abdomen', CT" in message


def test_localizers_and_objects_without_image_are_left_out_and_said(tmp_path):
    array, geometry = write_series(tmp_path)
    coronal = geometry_of((2, 8, 10), orientation=CORONAL)
    write_series(
        tmp_path,
        hu((2, 8, 10)),
        coronal,
        name="scout{}",
        series_uid=OTHER,
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    write_structure_set(tmp_path / "RS.dcm")
    write_slice(tmp_path / "screenshot", array[0], geometry, without=["ImagePositionPatient"], series_uid="1.2.3")
    write_slice(tmp_path / "dose", array[0], geometry, series_uid="1.2.4", Modality="RTDOSE")
    volume, heard = read(tmp_path)
    assert_is(volume, array, geometry)
    assert len(heard) == 1
    for part in ("2 localizers", "1 RTSTRUCT object", "1 image without a place in the patient", "1 RTDOSE object"):
        assert part in heard[0]


def test_a_folder_with_nothing_but_localizers_is_refused(tmp_path):
    write_series(tmp_path, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert "only 6 localizers" in refused(tmp_path)


def test_one_slice_is_no_volume(tmp_path):
    write_slice(tmp_path / "IM1.dcm", hu()[0], geometry_of())
    assert "only 1 single slice" in refused(tmp_path)
    assert "only 1 single slice" in refused(tmp_path / "IM1.dcm")


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ([0, 1, 3, 4, 5], "1 of 6 slices are missing, between 703.00 and 708.00 mm (spacing 2.5 mm)"),
        ([0, 4, 5, 6, 7], "3 of 8 slices are missing, between 700.50 and 710.50 mm"),
        ([0, 1, 2, 3, 5], "1 of 6 slices are missing, between 708.00 and 713.00 mm"),
        ([0, 1, 3, 4, 6, 7], "2 of 8 slices are missing, between 703.00 and 708.00 mm, between 710.50 and 715.50 mm"),
    ],
)
def test_missing_slices_are_counted_and_placed(tmp_path, slices, message):
    write_series(tmp_path, hu((8, 8, 10)), slices=slices)
    assert message in refused(tmp_path)


def test_a_changing_distance_between_slices_is_refused(tmp_path):
    for n, k in enumerate([0, 1, 2, 3, 4.4, 5.8]):
        write_slice(tmp_path / f"{n}", hu()[n], geometry_of(), k)
    assert "changes from 2.5 to 3.5 mm" in refused(tmp_path)


def test_positions_rounded_by_the_scanner_are_forgiven_and_larger_jitter_is_said(tmp_path):
    for folder, jitter in (("rounded", 0.002), ("uneven", 0.05)):
        (tmp_path / folder).mkdir()
        for k in range(6):
            shift = (0, 0, jitter * (-1) ** k)
            write_slice(tmp_path / folder / str(k), hu()[k], geometry_of(), k, shift)
    assert read(tmp_path / "rounded")[1] == []
    volume, heard = read(tmp_path / "uneven")
    assert volume.geometry.spacing_xyz[2] == pytest.approx(2.5, abs=0.03)
    assert "even steps are assumed" in heard[0]


def test_identical_copies_are_left_out_and_said(tmp_path):
    array, geometry = write_series(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    write_slice(tmp_path / "again", array[2], geometry, 2)
    volume, heard = read(tmp_path)
    assert_is(volume, array, geometry)
    assert heard == ["7 slices were there more than once, with the same content; the copies were left out."]


def test_different_images_at_one_place_are_refused(tmp_path):
    array, geometry = write_series(tmp_path)
    write_slice(tmp_path / "again", array[3], geometry, 2)
    assert "2 different images at 705.50 mm" in refused(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "part"),
    [
        ("AcquisitionNumber", "acquisition"),
        ("TemporalPositionIdentifier", "temporal position"),
        ("ConvolutionKernel", "kernel"),
    ],
)
def test_acquisitions_at_the_same_places_are_offered(tmp_path, keyword, part):
    first, geometry = write_series(tmp_path, name="a{}", **{keyword: "1"})
    second, _ = write_series(tmp_path, hu(seed=1), name="b{}", **{keyword: "2"})
    message = refused(tmp_path)
    assert f"1: without description, {part} 1, CT, 6 slices" in message
    assert f"2: without description, {part} 2, CT, 6 slices" in message
    assert "fits 2 of the 2" in refused(tmp_path, "1.2.826.0.1.3680043.8.498.1")
    assert_is(read(tmp_path, "1")[0], first, geometry)
    assert_is(read(tmp_path, "2")[0], second, geometry)


def test_acquisitions_one_above_the_other_are_one_volume(tmp_path):
    array, geometry = write_series(tmp_path, slices=[0, 1, 2], AcquisitionNumber=1)
    write_series(tmp_path, slices=[3, 4, 5], AcquisitionNumber=2)
    assert_is(read(tmp_path)[0], array, geometry)


@pytest.mark.parametrize("degrees", [2.0, 12.0, -20.0])
@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_gantry_tilt_is_refused_with_its_angle(tmp_path, degrees, orientation):
    geometry = geometry_of(orientation=orientation)
    along_columns = geometry.direction_matrix[:, 1]
    for k in range(6):
        shift = along_columns * np.tan(np.radians(degrees)) * k * 2.5
        write_slice(tmp_path / f"{k}", hu()[k], geometry, k, shift)
    assert f"a gantry tilt of {abs(degrees):.2f} degrees" in refused(tmp_path)


def test_a_tilt_within_the_rounding_of_the_orientation_is_said_and_ignored(tmp_path):
    for k in range(6):
        write_slice(tmp_path / f"{k}", hu()[k], geometry_of(), k, (0, 0.05 * k, 0))
    volume, heard = read(tmp_path)
    assert_is(volume, hu(), geometry_of())
    assert heard == ["The slices are up to 0.25 mm beside the first one's normal; that is ignored."]


def test_a_field_of_view_that_moves_is_refused(tmp_path):
    for k in range(6):
        write_slice(tmp_path / f"{k}", hu()[k], geometry_of(), k, (3.0 if k > 3 else 0, 0, 0))
    assert "at 710.50 mm one is 3.00 mm to the side" in refused(tmp_path)


def test_a_stray_image_of_another_size_is_left_out(tmp_path):
    array, geometry = write_series(tmp_path)
    write_slice(tmp_path / "stray", hu((1, 6, 6))[0], geometry_of((1, 6, 6)), -3)
    write_slice(tmp_path / "turned", array[0], geometry_of(orientation=SAGITTAL), 40)
    volume, heard = read(tmp_path)
    assert_is(volume, array, geometry)
    assert heard == ["Left out: 2 single slices."]


def test_two_orientations_in_one_series_are_offered(tmp_path):
    array, geometry = write_series(tmp_path, name="a{}")
    coronal = geometry_of(orientation=CORONAL)
    write_series(tmp_path, geometry=coronal, name="b{}")
    assert "There are 2 DICOM series." in refused(tmp_path)
    assert_is(read(tmp_path, "1")[0], array, geometry)
    assert_is(read(tmp_path, "2")[0], array, coronal)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_are_read(tmp_path, syntax):
    array, geometry = write_series(tmp_path, syntax=syntax)
    assert_is(read(tmp_path)[0], array, geometry)


def test_run_length_compression_is_read(tmp_path):
    array, geometry = hu(), geometry_of()
    for k in range(6):
        image = write_slice(tmp_path / f"{k}", array[k], geometry, k)
        image.compress(RLELossless)
        image.save_as(tmp_path / f"{k}")
    assert_is(read(tmp_path)[0], array, geometry)


@pytest.mark.parametrize("codec", ["JPEG", "JPEG2000"])
def test_jpeg_compression_is_read(tmp_path, codec):
    array, geometry = hu(), geometry_of()
    for k in range(6):
        image = Volume(array[k : k + 1].repeat(2, 0), geometry_of((2, 8, 10))).to_sitk()[:, :, :1]
        for tag, value in {
            "0008|0060": "CT",
            "0020|000e": OTHER,
            "0020|0032": "\\".join(f"{v:.6f}" for v in position_of(geometry, k)),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|0030": "0.8\\0.7",
        }.items():
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor(codec)
        writer.SetFileName(str(tmp_path / f"{k}"))
        writer.Execute(image)
    assert pydicom.dcmread(tmp_path / "0").file_meta.TransferSyntaxUID.is_compressed
    assert_is(read(tmp_path)[0], array, geometry)


def test_slopes_that_are_not_whole_give_floats_and_may_change_from_slice_to_slice(tmp_path):
    array = np.zeros((6, 8, 10), np.float32)
    for k in range(6):
        array[k] = (hu()[k] + 1024) // 8 * (0.5 + k) - 10
        write_slice(tmp_path / f"{k}", array[k], geometry_of(), k, slope=0.5 + k, intercept=-10)
    assert_is(read(tmp_path)[0], array, geometry_of())


@pytest.mark.parametrize("lead", ["preamble", "no preamble", "no preamble and no group 2"])
def test_old_files_without_preamble_are_read(tmp_path, lead):
    array, geometry = write_series(tmp_path)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        if lead == "no preamble":
            content = content[132:]
        elif lead == "no preamble and no group 2":
            content = content[content.index(b"\x08\x00\x08\x00CS") :]
        path.write_bytes(content)
    assert_is(read(tmp_path)[0], array, geometry)


@pytest.mark.parametrize("damage", ["cut header", "cut pixels", "empty", "text"])
def test_a_damaged_file_is_named(tmp_path, damage):
    write_series(tmp_path, name="IM{}.dcm")
    path = tmp_path / "IM3.dcm"
    content = path.read_bytes()
    contents = {"cut header": content[:400], "cut pixels": content[:-60], "empty": b"", "text": b"hello" * 100}
    path.write_bytes(contents[damage])
    message = refused(tmp_path)
    assert "IM3.dcm" in message
    assert any(word in message for word in ("damaged", "none"))


def test_a_compression_that_gdcm_does_not_know_is_named(tmp_path):
    array = hu()
    for k in range(2):
        image = write_slice(tmp_path / f"{k}", array[k], geometry_of(), k)
        image.compress(RLELossless)
        image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
        image.save_as(tmp_path / f"{k}")
    assert "cannot be decoded (transfer syntax 1.2.840.10008.1.2.4.201)" in refused(tmp_path)


def test_axes_that_are_not_at_right_angles_are_refused(tmp_path):
    write_series(tmp_path, ImageOrientationPatient=[1, 0, 0, 0.1, 0.9, 0])
    assert (
        "only 6 images whose axes are not at right angles (ImageOrientationPatient [1.0, 0.0, 0.0, 0.1, 0.9, 0.0])"
        in refused(tmp_path)
    )


def test_zero_pixel_spacing_is_refused(tmp_path):
    write_series(tmp_path, PixelSpacing=["0", "0.7"])
    assert "voxel spacing is (0.7, 0.0, 2.5) mm" in refused(tmp_path)


@pytest.mark.parametrize(("rounding", "degrees"), [(4, 10.0), (6, 33.0)])
def test_rounded_orientations_are_made_orthonormal(tmp_path, rounding, degrees):
    matrix = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    orientation = np.round(matrix[:, :2].T.ravel(), rounding)
    write_series(
        tmp_path,
        ImageOrientationPatient=orientation.tolist(),
        geometry=geometry_of(orientation=matrix[:, :2].T.ravel()),
    )
    volume, _ = read(tmp_path)
    direction = volume.geometry.direction_matrix
    assert np.allclose(direction.T @ direction, np.eye(3), atol=1e-12)


FRAMES = [position_of(geometry_of(), k) for k in range(6)]
GAP = [position_of(geometry_of(), k) for k in (0, 1, 2, 4, 5, 6)]
TURNED = FRAMES[:3] + [position_of(geometry_of(orientation=CORONAL), k) for k in range(3)]


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
def test_multi_frame_ct_is_read_in_the_order_of_its_places(tmp_path, order):
    array = hu()
    write_enhanced(tmp_path / "CT.dcm", array[order], [FRAMES[k] for k in order])
    for path in (tmp_path, tmp_path / "CT.dcm"):
        volume, heard = read(path)
        assert_is(volume, array, geometry_of())
        assert heard == []


def test_multi_frame_ct_with_its_orientation_and_rescale_in_every_frame_is_read(tmp_path):
    geometry = geometry_of(orientation=OBLIQUE)
    write_enhanced(
        tmp_path / "CT",
        hu(),
        [position_of(geometry, k) for k in range(6)],
        orientations=[OBLIQUE] * 6,
        rescales=[(1, INTERCEPT)] * 6,
    )
    assert_is(read(tmp_path)[0], hu(), geometry)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"positions": GAP},
            "1 of 7 slices are missing",
        ),
        ({"positions": [np.add(p, (0, 0.5 * k, 0)) for k, p in enumerate(FRAMES)]}, "a gantry tilt of 11.31 degrees"),
        ({"positions": FRAMES[:3] * 2}, "2 different images at 700.50 mm"),
        ({"positions": FRAMES[:3] * 2, "times": [1, 1, 1, 2, 2, 2]}, "2: without description, temporal position 2"),
        ({"positions": TURNED, "orientations": [AXIAL] * 3 + [CORONAL] * 3}, "There are 2 DICOM series"),
        ({"rescales": [(1, INTERCEPT)] * 3 + [(2, INTERCEPT)] * 3}, "different rescale values"),
    ],
)
def test_irregular_multi_frame_ct_is_refused(tmp_path, change, message):
    write_enhanced(tmp_path / "CT.dcm", **{"array": hu(), "positions": FRAMES, **change})
    assert message in refused(tmp_path)


def test_time_points_of_multi_frame_ct_can_be_chosen(tmp_path):
    write_enhanced(tmp_path / "CT.dcm", hu(), FRAMES[:3] * 2, times=[1, 2, 1, 2, 1, 2])
    # frames 0, 2, 4 are time 1 and lie at places 0, 2, 1
    assert np.array_equal(read(tmp_path, "1")[0].array, hu()[[0, 4, 2]])


@pytest.mark.filterwarnings("ignore")
def test_headers_are_read_as_pydicom_reads_them():
    compared = 0
    for name in (Path(pydicom.__file__).parent / "data").rglob("*.dcm"):
        try:
            image = pydicom.dcmread(name)
        except pydicom.errors.InvalidDicomError:
            continue
        try:
            tags = read_tags(name)
        except MalformedError:
            assert "truncated" in name.name
            continue
        if tags is None:
            continue
        compared += 1
        assert tags.get("rows") == image.get("Rows"), name
        assert tags.get("columns") == image.get("Columns"), name
        assert tags.get("modality", "") == str(image.get("Modality", "")), name
        assert tags.get("series_uid", "") == str(image.get("SeriesInstanceUID", "")), name
        assert len(tags.get("per_frame", [])) == len(image.get("PerFrameFunctionalGroupsSequence", [])), name
        assert bool(tags.get("pixels")) == ("PixelData" in image), name
    assert compared > 50


def test_headers_keep_nothing_that_names_the_patient(tmp_path):
    write_series(tmp_path, slices=[0])
    kept = str(read_tags(tmp_path / "IM0000"))
    assert not any(secret in kept for secret in ("Muster", "4711", "1970"))

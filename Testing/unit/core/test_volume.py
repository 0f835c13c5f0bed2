"""Geometry, canonical orientation, resampling of labels, and writing that leaves the old file or the new one."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from sitk_volumes import volume_of

from activeseg.core.errors import Cancelled, InputError
from activeseg.core.geometry import Geometry
from activeseg.core.progress import Progress
from activeseg.core.volume import Volume
from activeseg.io.images import read_label_map, read_volume, write_volume

FEW = settings(max_examples=30, deadline=None, derandomize=True)
ANGLES = st.tuples(*[st.floats(-3.2, 3.2)] * 3)
SPACINGS = st.tuples(*[st.floats(0.2, 6.0)] * 3)
ORIGINS = st.tuples(*[st.floats(-900, 900)] * 3)
FLIPS = st.tuples(*[st.sampled_from([-1, 1])] * 3)
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")


def a_geometry(
    angles: Sequence[float] = (0.2, -0.3, 0.4),
    spacing: Sequence[float] = (0.7, 0.8, 2.5),
    origin: Sequence[float] = (-120.5, 33.25, 700.125),
    flips: Sequence[int] = (1, 1, 1),
    shape: tuple[int, int, int] = (4, 5, 6),
) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(angles).as_matrix() * np.asarray(flips) * np.asarray(spacing)
    affine[:3, 3] = origin
    return Geometry.from_ijk_to_ras(affine, shape)


def a_volume(geometry: Geometry | None = None, dtype: type = np.int16) -> Volume:
    geometry = geometry or a_geometry()
    array = np.random.default_rng(1).integers(0, 100, geometry.shape_kji).astype(dtype)
    return Volume(array, geometry)


def place_of(geometry: Geometry, k: int, j: int, i: int) -> np.ndarray:
    return geometry.ras_of_ijk((i, j, k))


@FEW
@given(ANGLES, SPACINGS, ORIGINS, FLIPS)
def test_canonical_keeps_every_voxel_where_it_is(angles, spacing, origin, flips):
    geometry = a_geometry(angles, spacing, origin, flips)
    volume = Volume(np.arange(120).reshape(4, 5, 6), geometry)
    canonical = volume.canonical()
    for value in (0, 7, 59, 119):
        before = np.argwhere(volume.array == value)[0]
        after = np.argwhere(canonical.array == value)[0]
        assert np.allclose(place_of(geometry, *before), place_of(canonical.geometry, *after), atol=1e-6)


@FEW
@given(ANGLES, FLIPS)
def test_canonical_is_nibabels_closest_canonical(angles, flips):
    geometry = a_geometry(angles, flips=flips)
    # two axes that fit equally well: either answer is right
    cosines = np.abs(geometry.direction_matrix)
    large = [np.sort(line)[-2:] for line in (*cosines, *cosines.T)]
    assume(all(best - second > 1e-6 for second, best in large))
    volume = Volume(np.arange(120, dtype=np.int16).reshape(4, 5, 6), geometry)
    theirs = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.array.T, geometry.ijk_to_ras))
    ours = volume.canonical()
    assert np.allclose(ours.geometry.ijk_to_ras, theirs.affine, atol=1e-9)
    assert np.array_equal(ours.array, np.asarray(theirs.dataobj).T)


def test_all_48_axis_orders_become_ras_and_come_back():
    for order in itertools.permutations(range(3)):
        for flips in itertools.product([-1, 1], repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = (np.diag([1.0, 2.0, 3.0]) * flips)[:, order]
            geometry = Geometry.from_ijk_to_ras(affine, (4, 5, 6))
            labels = np.random.default_rng(2).integers(0, 9, (4, 5, 6))
            canonical = Volume(labels, geometry).canonical()
            assert np.allclose(canonical.geometry.ijk_to_ras[:3, :3], np.diag([1.0, 2.0, 3.0]))
            assert np.array_equal(geometry.array_from_canonical(canonical.array), labels)


def test_what_is_canonical_already_is_not_copied():
    geometry = Geometry.from_ijk_to_ras(np.diag([1.0, 1, 2, 1]), (4, 5, 6))
    volume = a_volume(geometry)
    assert np.shares_memory(volume.canonical().array, volume.array)
    assert volume.canonical().geometry.same_grid(geometry)


def test_canonical_arrays_can_go_to_torch():
    canonical = a_volume(a_geometry(flips=(-1, -1, 1))).canonical()
    assert canonical.array.flags.c_contiguous


def test_the_way_back_refuses_another_grid():
    geometry = a_geometry(angles=(0, 0, np.pi / 2))
    with pytest.raises(InputError, match=r"shape \(4, 5, 6\), the canonical grid \(4, 6, 5\)"):
        geometry.array_from_canonical(np.zeros((4, 5, 6)))


def test_same_grid_is_about_voxels_in_space():
    geometry = a_geometry()
    assert geometry.same_grid(Geometry.from_dict(geometry.to_dict()))
    assert not geometry.same_grid(a_geometry(origin=(-120.5, 33.25, 700.125 + 0.06 * 2.5)))
    assert not geometry.same_grid(a_geometry(shape=(4, 5, 7)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacing_xyz": (1.0, 0.0, 1.0)}, r"spacing is \(1.0, 0.0, 1.0\) mm"),
        ({"spacing_xyz": (1.0, -1.0, 1.0)}, "must be positive"),
        ({"spacing_xyz": (1.0, float("nan"), 1.0)}, "must be positive"),
        ({"direction_lps": (1, 0.01, 0, 0, 1, 0, 0, 0, 1)}, "sheared"),
        ({"direction_lps": (1, 0, 0, 0, 1, 0, 0, 0, 0)}, "sheared"),
        ({"origin_lps": (0.0, float("inf"), 0.0)}, "must be finite"),
    ],
)
def test_impossible_geometry_is_refused(change, message):
    values = {
        "shape_kji": (4, 5, 6),
        "spacing_xyz": (1.0, 1.0, 1.0),
        "origin_lps": (0.0, 0.0, 0.0),
        "direction_lps": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    }
    with pytest.raises(InputError, match=message):
        Geometry(**{**values, **change})


def test_labels_stay_themselves_on_their_own_grid():
    volume = a_volume(dtype=np.uint8)
    assert volume.resample_labels_to(volume.geometry).array is volume.array


def test_labels_on_the_same_voxels_in_another_order_are_exact():
    volume = a_volume(a_geometry(flips=(-1, 1, -1)), dtype=np.uint8)
    assert np.array_equal(volume.canonical().resample_labels_to(volume.geometry).array, volume.array)


@pytest.mark.parametrize(("decimals", "same"), [(4, True), (2, False)])
def test_a_grid_whose_header_was_rounded_is_the_same_until_its_far_end_drifts(decimals, same):
    geometry = a_geometry(shape=(200, 512, 512), angles=(0, 0, 0), spacing=(0.7890625, 0.7890625, 0.7))
    spacing = tuple(round(s, decimals) for s in geometry.spacing_xyz)
    rounded = replace(geometry, spacing_xyz=spacing, origin_lps=tuple(round(o, 3) for o in geometry.origin_lps))
    assert geometry.same_grid(rounded) is rounded.same_grid(geometry) is same


def test_the_same_voxels_in_all_48_orders_are_turned_exactly():
    volume = a_volume(a_geometry(angles=(0.3, np.pi / 4, 0.1)), dtype=np.uint8)
    to_xyz = volume.array.transpose()
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            turned = to_xyz.transpose(axes)[tuple(slice(None, None, flip) for flip in flips)]
            steps = np.zeros((4, 4))
            steps[3, 3] = 1
            for axis, (source, flip) in enumerate(zip(axes, flips, strict=True)):
                steps[source, axis] = flip
                steps[source, 3] = 0 if flip > 0 else to_xyz.shape[source] - 1
            geometry = Geometry.from_ijk_to_ras(volume.geometry.ijk_to_ras @ steps, turned.shape[::-1])
            assert volume.geometry.same_voxels(geometry)
            assert np.array_equal(volume.in_order_of(geometry).array, turned.transpose())
            assert np.array_equal(Volume(turned.transpose(), geometry).in_order_of(volume.geometry).array, volume.array)


def test_other_voxels_are_not_taken_for_the_same():
    geometry = a_geometry(angles=(0, 0, 0))
    for other in (
        a_geometry(angles=(0, 0, 0.05)),
        a_geometry(angles=(0, 0, 0), shape=(5, 4, 6)),
        a_geometry(angles=(0, 0, 0), spacing=(0.7, 0.8, 2.6)),
        a_geometry(angles=(0, 0, 0), origin=(-120.5, 33.65, 700.125)),
    ):
        assert not geometry.same_voxels(other)
        with pytest.raises(InputError, match="do not have the same voxels"):
            geometry.array_in_order_of(other, np.zeros(geometry.shape_kji))


def test_labels_of_a_crop_land_where_they_belong_and_the_rest_is_background():
    whole = a_volume(dtype=np.uint16)
    k, j, i = 1, 2, 3
    affine = whole.geometry.ijk_to_ras
    affine[:3, 3] = place_of(whole.geometry, k, j, i)
    crop = Volume(whole.array[k:, j:, i:], Geometry.from_ijk_to_ras(affine, (3, 3, 3)))
    back = crop.resample_labels_to(whole.geometry)
    assert back.array.dtype == np.uint16
    assert np.array_equal(back.array[k:, j:, i:], crop.array)
    assert not back.array[:k].any()
    assert not back.array[:, :j].any()
    assert not back.array[:, :, :i].any()


def test_labels_twice_as_fine_keep_the_nearest_voxel():
    coarse = a_volume(Geometry.from_ijk_to_ras(np.diag([2.0, 2, 2, 1]), (4, 5, 6)), dtype=np.uint8)
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = -0.5
    fine = coarse.resample_labels_to(Geometry.from_ijk_to_ras(affine, (8, 10, 12)))
    assert np.array_equal(fine.array, coarse.array.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def test_labels_of_another_place_are_refused():
    with pytest.raises(InputError, match="No structure of the label map lies inside the image"):
        a_volume(dtype=np.uint8).resample_labels_to(a_geometry(origin=(5000, 0, 0)))


def test_simpleitk_images_go_both_ways():
    volume = a_volume()
    back = volume_of(volume.to_sitk())
    assert back.geometry.farthest_corner_mm(volume.geometry) < 1e-9
    assert np.array_equal(back.array, volume.array)
    assert np.allclose(
        volume.to_sitk().TransformIndexToPhysicalPoint((5, 4, 3)), place_of(volume.geometry, 3, 4, 5) * [-1, -1, 1]
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_what_is_written_is_what_is_read(tmp_path, suffix, dtype):
    volume = a_volume(dtype=dtype)
    write_volume(volume, tmp_path / f"image{suffix}")
    back = read_volume(tmp_path / f"image{suffix}")
    assert back.array.dtype == dtype
    assert np.array_equal(back.array, volume.array)
    assert back.geometry.farthest_corner_mm(volume.geometry) < 1e-4


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_itk_reads_our_files_as_we_do(tmp_path, suffix):
    for number, flips in enumerate(itertools.product([-1, 1], repeat=3)):
        volume = a_volume(a_geometry(angles=(3.1, 0.2, -0.1), flips=flips))
        path = tmp_path / f"{number}{suffix}"
        write_volume(volume, path)
        theirs = volume_of(sitk.ReadImage(str(path)))
        assert theirs.geometry.farthest_corner_mm(volume.geometry) < 1e-3
        assert np.array_equal(theirs.array, volume.array)


def test_nibabel_reads_our_sform_and_qform_as_we_do(tmp_path):
    volume = a_volume(a_geometry(flips=(1, 1, -1)))
    write_volume(volume, tmp_path / "image.nii")
    theirs = nibabel.load(tmp_path / "image.nii")
    assert np.allclose(theirs.get_sform(), volume.geometry.ijk_to_ras, atol=1e-4)
    assert np.allclose(theirs.get_qform(), volume.geometry.ijk_to_ras, atol=1e-4)
    assert np.array_equal(np.asarray(theirs.dataobj).T, volume.array)
    assert theirs.header.get_xyzt_units()[0] == "mm"


def test_truth_values_and_half_floats_are_stored_in_the_next_type(tmp_path):
    for dtype, stored in ((bool, np.uint8), (np.float16, np.float32)):
        volume = a_volume(dtype=dtype)
        write_volume(volume, tmp_path / "image.nii.gz")
        assert read_volume(tmp_path / "image.nii.gz").array.dtype == stored


def test_views_and_foreign_byte_order_are_written_right(tmp_path):
    volume = a_volume(a_geometry(shape=(6, 5, 4)))
    for name, array in {"view": volume.array.T, "big": volume.array.T.astype(">i2")}.items():
        write_volume(Volume(array, a_geometry()), tmp_path / f"{name}.nii.gz")
        assert np.array_equal(read_volume(tmp_path / f"{name}.nii.gz").array, volume.array.T)


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_volume(a_volume(), tmp_path / f"{name}.nii.gz")
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cancelling_leaves_the_old_file_and_nothing_else(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    path.write_bytes(b"old")
    with pytest.raises(Cancelled):
        write_volume(a_volume(), path, Progress(cancelled=lambda: True))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from activeseg.core.errors import ActiveSegError
from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from activeseg.io.images import write_volume
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
noise = np.random.default_rng(0).integers(-1000, 1000, (32, 32, 32)).astype(np.int16)
volume = Volume(noise, Geometry.from_ijk_to_ras(np.eye(4), noise.shape))
for name in sys.argv[2:]:
    path = Path(sys.argv[1]) / name
    write_volume(volume, path)
    size = path.stat().st_size
    for less in (1, 30000):
        path.write_bytes(b"old")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - less, most))
        try:
            write_volume(volume, path)
        except ActiveSegError as error:
            assert type(error) is ActiveSegError
            print(less, path.name, path.read_bytes().decode(), len(list(path.parent.iterdir())))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    path.unlink()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_an_error_and_leaves_the_old_file(tmp_path):
    names = [f"image{suffix}" for suffix in SUFFIXES]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), *names], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"{less} {name} old 1" for name in names for less in (1, 30000)]


@pytest.mark.parametrize("name", ["image.mhd", "image.nhdr", "image.png", "image"])
def test_formats_that_cannot_be_written_whole_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=f"'{name}' cannot be written"):
        write_volume(a_volume(), tmp_path / name)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        write_volume(a_volume(), tmp_path / "nowhere" / "image.nii.gz")


@pytest.mark.parametrize(("highest", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)])
@pytest.mark.parametrize("stored", [np.int32, np.float32])
def test_label_maps_become_the_smallest_unsigned_type(tmp_path, highest, dtype, stored):
    array = np.zeros((4, 5, 6), stored)
    array[1, 2, 3] = highest
    write_volume(Volume(array, a_geometry()), tmp_path / "labels.nii.gz")
    labels = read_label_map(tmp_path / "labels.nii.gz")
    assert labels.array.dtype == dtype
    assert np.array_equal(labels.array, array)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("shape", [(1, 5, 6), (4, 1, 1), (1, 1, 1)])
def test_a_label_map_may_be_one_voxel_thick_and_an_image_may_not(tmp_path, shape, suffix):
    path = tmp_path / f"cropped{suffix}"
    whole = a_geometry()
    affine = whole.ijk_to_ras
    affine[:3, 3] = place_of(whole, 0, 0, 0)
    crop = Volume(np.ones(shape, np.uint8), Geometry.from_ijk_to_ras(affine, shape))
    write_volume(crop, path)
    labels = read_label_map(path)
    assert labels.geometry.same_grid(crop.geometry)
    expected = np.zeros(whole.shape_kji, np.uint8)
    expected[: shape[0], : shape[1], : shape[2]] = 1
    assert np.array_equal(labels.resample_labels_to(whole).array, expected)
    with pytest.raises(InputError, match="2D"):
        read_volume(path)


def test_a_nifti_label_map_may_lack_its_last_axis(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((6, 5), np.uint8), np.diag([1.0, 2, 3, 1])), tmp_path / "flat.nii")
    labels = read_label_map(tmp_path / "flat.nii")
    assert labels.geometry.shape_kji == (1, 5, 6)
    assert labels.geometry.spacing_xyz == (1, 2, 3)


@pytest.mark.parametrize(
    ("value", "message"), [(-3, "value -3"), (70000, "value 70000"), (1.5, "value 1.5"), (0.25, "value 0.25")]
)
def test_what_is_no_label_map_is_refused_with_the_value(tmp_path, value, message):
    array = np.zeros((4, 5, 6), np.float32)
    array[1, 2, 3] = value
    write_volume(Volume(array, a_geometry()), tmp_path / "labels.nii.gz")
    with pytest.raises(InputError, match=message):
        read_label_map(tmp_path / "labels.nii.gz")


def test_core_needs_only_what_slicer_has(tmp_path: Path):
    script = (
        "import sys, activeseg.core.volume, activeseg.io.dicom.series, activeseg.io.nifti, activeseg.io.itk\n"
        "wrong = {'nibabel', 'torch', 'slicer', 'vtk', 'qt'} & sys.modules.keys()\n"
        "assert not wrong, wrong"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

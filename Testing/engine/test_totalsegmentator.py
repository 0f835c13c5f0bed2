"""The genuine TotalSegmentator around our predict: the same labels, and a map that lies where it belongs.

The networks are stand-ins (``standin.py``); the package, its tables, its cropping, resampling and merging are genuine.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage
from standin import environment_of, genuine, piece_of_ct, trained_home, volume_of, write_standin

from activeseg.core.errors import Cancelled, InputError, ModelError
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Resample, Settings
from activeseg.core.volume import Volume
from activeseg.core.votes import MemberKind, Segmented
from activeseg.io.images import read_volume
from activeseg.segmenters.nnunet import sweep
from activeseg.segmenters.totalsegmentator.sandbox import VARIABLES, Printed, UserHome, sandbox
from activeseg.segmenters.totalsegmentator.segmenter import TotalSegmentatorSegmenter
from activeseg.segmenters.totalsegmentator.tasks import Task, task_named, tasks

AIR, FAT, SOFT, MUSCLE, BONE = (-1100, -500), (-150, -20), (0, 60), (60, 150), (180, 3000)
LUNG, LIVER, SPINE, KIDNEY = "lung_upper_lobe_left", "liver", "vertebrae_T8", "kidney_left"
OBLIQUE = np.array([[2.6, -0.7, 0.0, -30.0], [0.7, 2.6, 0.0, 15.0], [0.0, 0.0, 3.4, 200.0], [0.0, 0.0, 0.0, 1.0]])
FLIPPED = np.array([[0.0, 0.0, -3.4, 90.0], [-2.7, 0.0, 0.0, 40.0], [0.0, 2.7, 0.0, -10.0], [0.0, 0.0, 0.0, 1.0]])


def run(image: nibabel.Nifti1Image | Volume, name: str, home: UserHome, **settings: Any) -> Segmented:
    volume = image if isinstance(image, Volume) else volume_of(image)
    segmenter = TotalSegmentatorSegmenter(name, home)
    chosen = Settings(device="cpu", **{"mode": Mode.EXACT, **settings})
    return segmenter.segment({segmenter.channels[0]: volume}, chosen, Progress())


def placed(image: nibabel.Nifti1Image, affine: np.ndarray) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(np.asanyarray(image.dataobj), affine)


def looked_up(result: Segmented, ct: Volume) -> np.ndarray:
    """The grid's labels at the centres of the CT's voxels, through the geometry alone; 0 outside of the grid."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in ct.geometry.shape_kji), indexing="ij")
    ras = ct.geometry.ras_of_ijk(np.stack([i, j, k], -1))
    ijk = np.round(result.grid.geometry.ijk_of_ras(ras)).astype(int)
    shape = result.grid.geometry.shape_kji[::-1]
    inside = np.all((ijk >= 0) & (ijk < shape), axis=-1)
    at = np.clip(ijk, 0, np.array(shape) - 1)
    return np.where(inside, result.grid.labels[at[..., 2], at[..., 1], at[..., 0]], 0)


@pytest.fixture(scope="session")
def ct() -> nibabel.Nifti1Image:
    return piece_of_ct((slice(38, 74), slice(36, 68), slice(2, 26)), smooth=1.5)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, ct: nibabel.Nifti1Image) -> UserHome:
    """A home with tiny networks for several tasks; the parts of ``total`` overlap."""
    folder = tmp_path_factory.mktemp("tiny")
    home = UserHome(folder, folder / "weights")
    found: dict[str, Sequence[Mapping[str, tuple[float, float]]]] = {
        "total": (
            {LUNG: AIR, LIVER: SOFT},
            {SPINE: BONE},
            {"heart": (30, 110), "aorta": (110, 180)},
            {"humerus_left": (250, 3000), "autochthon_left": (40, 90)},
            {"rib_left_5": (200, 900)},
        ),
        "total-fast": ({LUNG: AIR, SPINE: BONE, LIVER: SOFT, "aorta": MUSCLE},),
        "total-fastest": ({LUNG: AIR, SPINE: BONE, LIVER: SOFT, KIDNEY: MUSCLE},),
        "body-fast": ({"body_trunc": (-200, 3000), "body_extremities": (-700, -400)},),
        "lung_vessels_LEGACY": ({"lung_vessels": (-400, 3000), "lung_trachea_bronchia": (-1100, -900)},),
        "pleural_pericard_effusion": ({"pleural_effusion": SOFT, "lung_pleural": AIR},),
        "kidney_cysts": ({"kidney_cyst_left": (-20, 30), KIDNEY: MUSCLE},),
        "lung_nodules": ({"lung": AIR, "lung_nodules": FAT},),
        "craniofacial_structures": ({"teeth_lower": BONE, "skull": SOFT},),
        "teeth": ({"lower_jawbone": BONE, "upper_jawbone": MUSCLE},),
        "vertebrae_pp_refined": ({"vertebrae_T8": (250, 3000), "vertebrae_T9": (150, 250)},),
        "vertebrae_body": ({"vertebrae_body": BONE},),
    }
    options: dict[str, dict[str, Any]] = {
        "lung_vessels_LEGACY": {"spacing": (3.5, 3.5, 2.5)},
        "pleural_pericard_effusion": {"spacing": (4.0, 4.0, 4.0), "folds": (0, 1, 2)},
        "kidney_cysts": {"extra_labels": (KIDNEY, "kidney_right")},
    }
    for name, windows in found.items():
        for model, window in zip(task_named(name).parts(), windows, strict=True):
            write_standin(home, model, window, ct, **options.get(name, {}))
    return home


def test_an_estimate_knows_all_networks_of_a_task_and_who_resamples(tiny: UserHome) -> None:
    def helping(name: str, **settings: Any) -> list[bool]:
        segmenter = TotalSegmentatorSegmenter(name, tiny)
        return [size.helps for size in segmenter.networks(Settings(device="cpu", **settings))]

    assert helping("total", members=1) == [False] * 5
    assert helping("total", members=2) == [True] + [False] * 5, "the 3 mm model votes beside the views"
    assert helping("total", members=2, resample=Resample.SMOOTH) == [False] * 5
    assert helping("total-fast", members=2) == [False]
    assert helping("total-fast", structures=(LUNG,)) == [True, False], "a coarser one finds the place"
    package = {
        (name, resample): TotalSegmentatorSegmenter(name, tiny).overhead(Settings(resample=resample))
        for name in ("total", "lung_vessels_LEGACY")
        for resample in Resample
    }
    resampling = [key for key, found in package.items() if found.resamples]
    assert resampling == [("total", Resample.GENUINE)]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder for this test alone, in which whatever is left behind shows."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


# The same labels as the genuine package


@pytest.fixture(scope="session")
def by_command(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, UserHome, np.ndarray]:
    """What the genuine command writes for a flipped, anisotropic image, with a network that was trained."""
    folder = tmp_path_factory.mktemp("command")
    home = trained_home(folder)
    image = placed(piece_of_ct((slice(30, 95), slice(30, 80), slice(0, 30))), FLIPPED)
    nibabel.save(image, folder / "ct.nii.gz")
    command = [str(Path(sys.executable).with_name("TotalSegmentator")), "-i", str(folder / "ct.nii.gz"), "-o"]
    command += [str(folder / "labels.nii.gz"), "--fast", "--ml", "--device", "cpu"]
    with environment_of(home):
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    labels = np.asanyarray(nibabel.load(folder / "labels.nii.gz").dataobj).transpose(2, 1, 0)
    return folder / "ct.nii.gz", home, labels


def test_exact_label_map_is_that_of_the_genuine_command(by_command: tuple[Path, UserHome, np.ndarray]) -> None:
    path, home, expected = by_command
    result = run(read_volume(path), "total-fast", home)
    assert len(np.unique(expected)) > 4
    assert np.array_equal(result.labels, expected)
    assert result.labels.dtype == np.uint8


def test_fast_mode_agrees_with_exact_mode(by_command: tuple[Path, UserHome, np.ndarray]) -> None:
    """To the tolerance of fast mode, on an image like those that the network was trained on."""
    image = piece_of_ct((slice(None), slice(None), slice(None)))
    exact, fast = (run(image, "total-fast", by_command[1], mode=mode).grid for mode in (Mode.EXACT, Mode.FAST))
    for value in (None, *np.flatnonzero(np.bincount(exact.labels.ravel())[1:] >= 1000) + 1):
        a, b = (grid.labels > 0 if value is None else grid.labels == value for grid in (exact, fast))
        dice = 2 * (a & b & (exact.labels == fast.labels)).sum() / (a.sum() + b.sum())
        assert dice >= (0.999 if value is None else 0.99)


@pytest.mark.parametrize(
    "name",
    [
        "total",
        "total-fast",
        "total-fastest",
        "body-fast",
        "lung_vessels_LEGACY",
        "pleural_pericard_effusion",
        "kidney_cysts",
        "lung_nodules",
        "vertebrae_pp_refined",
    ],
)
def test_exact_label_map_is_the_genuine_functions(name: str, ct: nibabel.Nifti1Image, tiny: UserHome) -> None:
    """Parts, one model, post-processing, crops, the plans' own spacing, folds, auxiliary labels, a custom trainer."""
    image = placed(ct, OBLIQUE)
    task = task_named(name)
    options = {task.mode: True} if task.mode else {}
    expected = genuine(image, tiny, task=task.task, **options)
    result = run(image, name, tiny)
    assert len(np.unique(expected)) > 1
    assert np.array_equal(result.labels, expected)
    assert max(vote.max() for vote in result.grid.votes) <= len(result.schema)
    assert result.decided == result.schema.names


def test_a_file_that_does_not_say_where_it_lies_gets_the_packages_own_label_map(
    ct: nibabel.Nifti1Image, tmp_path: Path
) -> None:
    """nibabel assumes another place than ITK; the label comes back on the voxels as they are stored."""
    home = UserHome(tmp_path / "home", tmp_path / "home" / "weights")
    (model,) = task_named("total-fast").parts()
    write_standin(home, model, {LUNG: AIR, SPINE: BONE, LIVER: SOFT}, ct)
    stored = placed(ct, np.diag([2.8, 3.1, 3.4, 1.0]))
    stored.set_sform(None, 0)
    stored.set_qform(None, 0)
    nibabel.save(stored, tmp_path / "ct.nii.gz")
    expected = genuine(nibabel.load(tmp_path / "ct.nii.gz"), home, fast=True)
    volume = read_volume(tmp_path / "ct.nii.gz", notice=lambda _: None)
    assert volume.geometry.assumed
    result = run(volume, "total-fast", home)
    assert len(np.unique(expected)) > 1
    assert np.array_equal(result.labels, expected)
    assert np.mean(looked_up(result, volume) == result.labels) > 0.95  # the grid lies where the image does


def test_a_subset_is_the_packages_own(ct: nibabel.Nifti1Image, tiny: UserHome) -> None:
    structures = (SPINE, "aorta")
    expected = genuine(ct, tiny, task="total", roi_subset=list(structures))
    result = run(ct, "total", tiny, structures=structures)
    assert np.array_equal(result.labels, expected)
    assert result.decided == ("vertebrae_T8", "aorta")
    values = {result.schema.named(name).value for name in structures}
    assert set(np.unique(result.labels)) == set(np.unique(result.grid.labels)) == {0, *values}
    assert set(result.details["models"]) == {"298", "292", "293"}


def test_a_subset_of_a_task_without_the_packages_own_is_masked(ct: nibabel.Nifti1Image, tiny: UserHome) -> None:
    whole = run(ct, "body-fast", tiny).labels
    result = run(ct, "body-fast", tiny, structures=("body_trunc",))
    assert result.decided == ("body_trunc",)
    assert np.array_equal(result.labels, np.where(whole == 1, 1, 0))


@pytest.mark.parametrize(("name", "planes"), [("total", 36), ("total-fast", 66)])
def test_a_split_image_is_stitched_as_the_package_stitches_it(name: str, planes: int, tiny: UserHome) -> None:
    image = piece_of_ct((slice(50, 68), slice(44, 60), slice(10, 10 + planes)), smooth=1.5, file="example_ct")
    expected = genuine(image, tiny, fast=name.endswith("fast"), force_split=True)
    result = run(image, name, tiny, in_pieces=True)
    assert np.array_equal(result.labels, expected)
    same = np.mean(looked_up(result, volume_of(image)) == result.labels)
    assert same > 0.99
    whole = run(image, name, tiny)
    assert result.grid.geometry.same_grid(whole.grid.geometry)
    assert result.grid.entropy.shape == result.grid.geometry.shape_kji
    nearly = np.corrcoef(result.grid.entropy.ravel(), whole.grid.entropy.ravel())[0, 1]
    assert nearly > 0.5, "the same place says nearly the same, whatever else is in the piece"


def test_smooth_resampling_is_close_to_the_packages_higher_order(ct: nibabel.Nifti1Image, tiny: UserHome) -> None:
    image = placed(ct, np.diag([2.2, 2.2, 2.7, 1.0]))
    expected = genuine(image, tiny, fast=True, higher_order_resampling=True)
    result = run(image, "total-fast", tiny, resample=Resample.SMOOTH)
    same = np.mean(result.labels == expected)
    assert same > 0.998


def test_a_task_whose_crop_is_a_task_runs_although_the_package_fails_on_a_cpu(
    ct: nibabel.Nifti1Image, tiny: UserHome
) -> None:
    result = run(ct.slicer[:12, :12, :9], "teeth", tiny)
    assert list(result.details["models"]) == ["298", "115", "113"]
    assert {1, 2} & set(np.unique(result.labels))


RUNNABLE = [task for task in tasks() if task.runnable]
WHOLE_AND_SUBSETS = [(task, ()) for task in RUNNABLE]
WHOLE_AND_SUBSETS += [(t, t.schema.names[:2]) for t in RUNNABLE if t.takes_subset(t.schema.names[:2])]


@pytest.mark.parametrize(("task", "structures"), WHOLE_AND_SUBSETS, ids=str)
def test_our_table_of_models_is_what_the_package_asks_for(
    task: Task, structures: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from totalsegmentator import nnunet, python_api

    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    asked: list[tuple[int, str, str, Any, Any]] = []

    def record(_: Any, __: Any, task_id: Any, **options: Any) -> tuple[Any, Any, Any]:
        for number in task_id if isinstance(task_id, list) else [task_id]:
            place = f"{options['trainer']}__{options.get('plans') or 'nnUNetPlans'}__{options['model']}"
            folds = None if options["folds"] is None else tuple(options["folds"])
            spacing = options["resample"]
            spacing = (spacing,) * 3 if isinstance(spacing, float) else spacing and tuple(map(float, spacing))
            asked.append((number, place, options["model"], folds, spacing))
        return image, image, None

    monkeypatch.setattr(nnunet, "nnUNet_predict_image", record)
    monkeypatch.setattr(python_api, "download_pretrained_weights", lambda task_id: None)
    monkeypatch.setattr(python_api, "convert_device_to_string", lambda device: device)
    (tmp_path / "config.json").write_text('{"license_number": "aca_XXXXXXXXXXXXXX"}')
    with sandbox(UserHome(tmp_path, tmp_path), tmp_path):
        mode = {task.mode: True} if task.mode else {}
        roi = list(structures) or None
        python_api.totalsegmentator(image, None, task=task.task, quiet=True, device="cpu", roi_subset=roi, **mode)
    ours = [
        (m.dataset_id, m.trained, m.configuration, m.folds, m.spacing_xyz)
        for m in task.helpers(structures) + task.parts()
    ]
    assert asked == ours


# Where the map lies


@pytest.mark.parametrize("resample", [Resample.GENUINE, Resample.SMOOTH])
def test_map_and_label_of_off_centre_cubes_lie_where_they_belong(resample: Resample, tmp_path: Path) -> None:
    """5 mm to 1.5 mm, under a turned and shifted geometry; places in mm against the cubes' own, to 0.1 voxel.

    The package aligns the centres of first and last voxels, nnU-Net (which resamples for ``smooth``) their edges.
    """
    array = np.full((40, 34, 30), -900, np.int16)
    corners = [(3, 4, 20), (30, 5, 4), (29, 26, 22), (5, 24, 5), (17, 15, 12), (24, 10, 21), (10, 27, 14), (16, 3, 3)]
    for number, (i, j, k) in enumerate(corners):
        array[i : i + 3 + number % 3, j : j + 4, k : k + 3 + number % 2] = 1100
    turned = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]) @ np.diag([-5.0, 5.0, 5.0])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turned, (61.0, -37.0, 412.0)
    image = nibabel.Nifti1Image(array, affine)
    ct = volume_of(image)
    home = UserHome(tmp_path, tmp_path / "weights")
    model = task_named("breasts").parts()[0]  # one network at 1.5 mm
    write_standin(home, model, {"breast": (0, 3000)}, image, pointwise=True)
    result = run(image, "breasts", home, resample=resample)
    grid = result.grid.geometry
    assert min(grid.shape_kji) > 90
    assert (max(grid.spacing_xyz) < 1.49) == (resample is Resample.GENUINE)
    assert np.array_equal(result.labels == 1, ct.array > 0)

    def centre(weights: np.ndarray, geometry: Any) -> np.ndarray:
        k, j, i = ndimage.center_of_mass(weights)
        return np.asarray(geometry.ras_of_ijk([i, j, k]))

    shell = np.where(result.grid.entropy > 0.2, result.grid.entropy, 0)
    highest = float(shell.max())
    assert highest > 0.5
    numbers, count = ndimage.label(ct.array > 0)
    assert count == len(corners)
    off: dict[str, list[np.ndarray]] = {"label": [], "map": []}
    for number in range(1, count + 1):
        truth = centre(numbers == number, ct.geometry)
        i, j, k = np.round(grid.ijk_of_ras(truth)).astype(int)
        box = tuple(slice(max(n - 14, 0), n + 15) for n in (k, j, i))
        for what, values in (("label", result.grid.labels == 1), ("map", shell)):
            around = np.zeros(values.shape, np.float32)
            around[box] = values[box]
            off[what].append(centre(around, grid) - truth)
    # 0.1 voxel is 0.15 mm. A label's border lies on whole voxels, which averages out over the cubes; the nominal affine
    # would be off by up to 3 mm at the far end
    for what, limit in (("map", 0.15), ("label", 0.75)):
        farthest = float(np.linalg.norm(off[what], axis=1).max())
        mean = float(np.linalg.norm(np.mean(off[what], axis=0)))
        assert mean < 0.15, f"the {what} is {mean} mm off"
        assert farthest < limit, f"one cube's {what} is {farthest} mm off"


@pytest.mark.parametrize("affine", [OBLIQUE, FLIPPED], ids=["oblique", "flipped"])
@pytest.mark.parametrize("name", ["total", "total-fastest"])
def test_grid_and_labels_agree_through_the_geometry(
    name: str, affine: np.ndarray, ct: nibabel.Nifti1Image, tiny: UserHome
) -> None:
    image = placed(ct, affine)
    result = run(image, name, tiny)
    same = np.mean(looked_up(result, volume_of(image)) == result.labels)
    assert same > 0.99
    assert result.grid.entropy.shape == result.grid.labels.shape == result.grid.geometry.shape_kji
    highest = np.nanmax(result.grid.entropy)
    assert 0.1 < highest <= 1.0


@pytest.fixture(scope="session")
def corner(tmp_path_factory: pytest.TempPathFactory) -> tuple[nibabel.Nifti1Image, UserHome]:
    """An image with air in one corner alone, and networks that find it."""
    array = np.full((60, 44, 24), 20, np.int16)
    array[4:16, 5:18, 3:14] = -900
    image = nibabel.Nifti1Image(array, np.diag([3.0, 3.0, 3.0, 1.0]))
    folder = tmp_path_factory.mktemp("corner")
    home = UserHome(folder, folder / "weights")
    for name in ("total-fast", "total-fastest"):
        write_standin(home, task_named(name).parts()[0], {LUNG: AIR}, image, pointwise=True)
    return image, home


def test_the_grid_of_a_cropped_run_covers_the_crop_alone(corner: tuple[nibabel.Nifti1Image, UserHome]) -> None:
    image, home = corner
    result = run(image, "total-fast", home, structures=(LUNG,))
    expected = genuine(image, home, fast=True, roi_subset=[LUNG])
    assert np.array_equal(result.labels, expected)
    _, j, i = result.grid.geometry.shape_kji
    assert (i, j) < (32, 32)
    ct = volume_of(image)
    assert np.array_equal(result.labels > 0, ct.array < -500)
    assert np.array_equal(looked_up(result, ct), result.labels)


def test_when_the_rough_model_finds_nothing_the_result_is_empty_as_the_commands(
    corner: tuple[nibabel.Nifti1Image, UserHome], tmp_path: Path
) -> None:
    image, home = corner
    result = run(image, "total-fast", home, structures=("brain",))
    genuine(image, home, fast=True, roi_subset=["brain"], output=tmp_path / "labels.nii.gz")
    written = np.asanyarray(nibabel.load(tmp_path / "labels.nii.gz").dataobj)
    assert not written.any()
    assert not result.labels.any()
    assert result.labels.shape == result.grid.labels.shape == volume_of(image).array.shape
    assert bool(np.isnan(result.grid.entropy).all()), "not computed, which is not the same as sure"


# Members


def test_without_being_asked_one_member_gives_entropy_and_no_variance(ct: nibabel.Nifti1Image, tiny: UserHome) -> None:
    grid = run(ct, "total-fast", tiny).grid
    assert [m.kind for m in grid.members] == [MemberKind.TRAINED]
    assert grid.variance is None
    assert grid.entropy.max() > 0.1


@pytest.mark.parametrize("mode", [Mode.EXACT, Mode.FAST])
def test_views_and_the_3_mm_model_vote_but_do_not_change_the_label(
    mode: Mode, ct: nibabel.Nifti1Image, tiny: UserHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "fast_precision", lambda *_: None)  # else each run times whether bfloat16 pays
    alone = run(ct, "total", tiny, mode=mode)
    result = run(ct, "total", tiny, mode=mode, members=4)
    names = [member.name for member in result.grid.members]
    assert len(names) == len(result.grid.votes) == 4
    assert names[0] == "fold 0"
    assert names[-1] == "3 mm model"
    assert [m.kind for m in result.grid.members].count(MemberKind.TRAINED) == 1
    same = np.mean(result.labels == alone.labels)
    assert same == 1.0 if mode is Mode.EXACT else same > 0.98
    coarse = result.grid.votes[-1]
    aorta, spine = result.schema.named("aorta").value, result.schema.named(SPINE).value
    assert {aorta, spine} <= set(np.unique(coarse)), "from different parts, in the values of the task"
    variance = result.grid.variance
    assert variance is not None
    everybody = np.all([vote == coarse for vote in result.grid.votes], axis=0)
    agreed, contested = float(variance[everybody].mean()), float(variance[~everybody].mean())
    assert contested > 1.5 * agreed


def test_the_3_mm_models_vote_lies_where_its_own_run_puts_it(ct: nibabel.Nifti1Image, tiny: UserHome) -> None:
    voted = run(ct, "total", tiny, members=2)
    own = run(ct, "total-fast", tiny)
    known = [0, *(own.schema.named(name).value for name in (LUNG, SPINE, LIVER, "aorta"))]
    as_result = Segmented(
        own.labels, own.schema, own.decided, type(voted.grid)(**{**vars(voted.grid), "labels": voted.grid.votes[-1]})
    )
    seen = looked_up(as_result, volume_of(ct))
    assert set(np.unique(seen)) <= set(known)
    same = np.mean(seen == own.labels)
    assert same > 0.9, "but for the smoothness of its borders"


def test_folds_that_the_package_finds_by_itself_are_trained_members(ct: nibabel.Nifti1Image, tiny: UserHome) -> None:
    grid = run(ct, "pleural_pericard_effusion", tiny).grid
    assert [member.name for member in grid.members] == ["fold 0", "fold 1", "fold 2"]
    assert grid.variance is not None


# What the package must not do to the user and to the caller


@pytest.fixture
def calls_out(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every attempt to reach the network; none succeeds."""
    tried: list[Any] = []
    connect = socket.socket.connect

    def no_connection(self: socket.socket, address: Any) -> None:
        if self.family not in (socket.AF_INET, socket.AF_INET6):
            return connect(self, address)
        tried.append(address)
        raise OSError("blocked by the test")

    def no_name(host: Any, *_: Any, **__: Any) -> Any:
        tried.append(host)
        raise socket.gaierror("blocked by the test")

    monkeypatch.setattr(socket.socket, "connect", no_connection)
    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    return tried


def small(ct: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    return ct.slicer[:20, :20, :12]


def test_with_weights_in_place_nothing_reaches_for_the_network(
    ct: nibabel.Nifti1Image, tiny: UserHome, calls_out: list[Any]
) -> None:
    run(small(ct), "total-fastest", tiny)
    assert calls_out == []


def test_usage_statistics_are_sent_only_when_the_user_turned_them_on(
    ct: nibabel.Nifti1Image, tiny: UserHome, calls_out: list[Any]
) -> None:
    segmenter = TotalSegmentatorSegmenter("total-fastest", tiny)
    segmenter.segment({"CT": volume_of(small(ct))}, Settings(device="cpu", usage_statistics=True), Progress())
    assert calls_out == ["stats.totalsegmentator.com"]


def test_the_users_home_is_not_written_to_and_old_weights_stay(
    ct: nibabel.Nifti1Image, tiny: UserHome, tmp_path: Path
) -> None:
    old = tiny.weights / "Dataset302_vertebrae_body_1559subj"
    old.mkdir(exist_ok=True)
    home = UserHome(tmp_path / "home", tiny.weights)
    run(small(ct), "total-fastest", home)
    assert old.is_dir()
    assert not home.home.exists()


def surroundings() -> dict[str, Any]:
    from totalsegmentator import nnunet, python_api

    modules = {f"{m.__name__}.{n}": v for m in (nnunet, python_api) for n, v in vars(m).items() if callable(v)}
    variables = {name: os.environ.get(name) for name in VARIABLES}
    return {**modules, **variables, "stdout": sys.stdout, "threads": torch.get_num_threads()}


def test_after_a_run_the_process_is_as_it_was(
    ct: nibabel.Nifti1Image, tiny: UserHome, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_results", "mine")
    monkeypatch.delenv("TOTALSEG_HOME_DIR", raising=False)
    before = surroundings()
    run(small(ct), "total-fastest", tiny, threads=1)
    assert surroundings() == before
    assert list(scratch.iterdir()) == []


def cancelling_after(count: int) -> Progress:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > count

    return Progress(cancelled=cancelled)


@pytest.mark.parametrize("count", [1, 12, 60])
def test_a_cancelled_run_leaves_nothing_behind(
    count: int, ct: nibabel.Nifti1Image, tiny: UserHome, scratch: Path
) -> None:
    run(small(ct), "total-fastest", tiny)
    before = surroundings()
    segmenter = TotalSegmentatorSegmenter("total", tiny)
    with pytest.raises(Cancelled):
        segmenter.segment(
            {"CT": volume_of(ct)}, Settings(device="cpu", structures=(SPINE, LUNG)), cancelling_after(count)
        )
    assert surroundings() == before
    assert list(scratch.iterdir()) == []


def test_a_failing_run_leaves_nothing_behind(
    ct: nibabel.Nifti1Image, tiny: UserHome, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from totalsegmentator import nnunet

    def broken(*_: Any, **__: Any) -> None:
        print("no space on the disk")
        sys.exit(1)

    monkeypatch.setattr(nnunet, "undo_canonical", broken)
    before = surroundings()
    with pytest.raises(ModelError, match="TotalSegmentator stopped: no space on the disk"):
        run(small(ct), "total-fastest", tiny)
    assert surroundings() == before
    assert list(scratch.iterdir()) == []


def test_what_the_package_prints_does_not_reach_the_callers_output(
    ct: nibabel.Nifti1Image, tiny: UserHome, capsys: pytest.CaptureFixture[str]
) -> None:
    run(small(ct), "total-fast", tiny, structures=(LUNG,))
    assert capsys.readouterr().out == ""


def test_what_progress_prints_does(ct: nibabel.Nifti1Image, tiny: UserHome, capsys: pytest.CaptureFixture[str]) -> None:
    segmenter = TotalSegmentatorSegmenter("total-fastest", tiny)
    progress = Progress(lambda stage, fraction, text: print(f"{stage} {fraction:.2f}"))
    segmenter.segment({"CT": volume_of(small(ct))}, Settings(device="cpu"), progress)
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.split()[0] in ("load", "preprocess", "network", "uncertainty", "resample") for line in lines)


def test_other_threads_keep_their_output_during_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sandbox(UserHome(tmp_path, tmp_path), tmp_path) as printed:
        thread = threading.Thread(target=lambda: print("from another thread"))
        thread.start()
        thread.join()
        print("from the package")
    assert isinstance(printed, Printed)
    assert printed.lines == ["from the package"]
    assert capsys.readouterr().out == "from another thread\n"


def test_progress_grows_over_all_networks(ct: nibabel.Nifti1Image, tiny: UserHome) -> None:
    seen: list[float] = []
    segmenter = TotalSegmentatorSegmenter("total", tiny)
    segmenter.segment(
        {"CT": volume_of(ct)},
        Settings(device="cpu", structures=(SPINE, LUNG)),
        Progress(lambda stage, fraction, text: seen.append(fraction) if stage == "network" else None),
    )
    assert seen == sorted(seen)
    assert seen[0] < 0.05
    assert seen[-1] > 0.6


# Wrong input


def test_an_image_thinner_than_the_models_voxels_is_refused(tiny: UserHome) -> None:
    thin = nibabel.Nifti1Image(np.zeros((40, 40, 2), np.int16), np.diag([3.0, 3.0, 1.0, 1.0]))
    with pytest.raises(InputError, match=r"only 2.0 mm thick"):
        run(thin, "total-fastest", tiny)


def test_the_channel_is_the_tasks_modality(tiny: UserHome, ct: nibabel.Nifti1Image) -> None:
    segmenter = TotalSegmentatorSegmenter("body_mr", tiny)
    assert segmenter.channels == ("MR",)
    with pytest.raises(InputError, match="needs one CT image"):
        TotalSegmentatorSegmenter("total-fastest", tiny).segment({"MR": volume_of(ct)}, Settings(), Progress())


CONVERSIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "int64": lambda array: array.astype(np.int64),
    "float16": lambda array: array.astype(np.float16),
    "float32": lambda array: array.astype(np.float32),
}


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_any_type_of_voxel_is_taken(kind: str, ct: nibabel.Nifti1Image, tiny: UserHome) -> None:
    volume = volume_of(small(ct))
    same = Volume(CONVERSIONS[kind](volume.array), volume.geometry)
    segmenter = TotalSegmentatorSegmenter("total-fastest", tiny)
    found = [segmenter.segment({"CT": v}, Settings(device="cpu"), Progress()).labels for v in (volume, same)]
    same = np.mean(found[0] == found[1])
    assert same > 0.99

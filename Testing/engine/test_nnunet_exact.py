"""In exact mode the label map is that of the genuine nnU-Net, voxel by voxel."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from nnunet_models import make_model
from shared_data import shared_file

from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Resample, Settings
from activeseg.core.votes import Segmented
from activeseg.io.images import read_volume
from activeseg.samples.phantom import Domain, make_phantom
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter

SOFTMAX = {"background": 0, "liver": 1, "spleen": 2, "aorta": 3}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3}
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0)


def small_ct(direction: tuple[float, ...] = OBLIQUE, spacing: tuple[float, ...] = (3.4, 3.1, 4.5)) -> sitk.Image:
    """A piece of a phantom with an air border, under the given geometry."""
    voxels = make_phantom(Domain.CONTRAST, seed=3).ct.array[10:38, 12:46, 20:58]
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    image.SetSpacing(spacing)
    image.SetOrigin((-31.0, 12.5, 230.0))
    image.SetDirection(direction)
    return image


def genuine(model: Path, images: list[Path], folder: Path) -> np.ndarray:
    """What nnU-Net's own predictor writes, with its own defaults (mirroring where the model allows it)."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    folder.mkdir()
    with contextlib.redirect_stdout(io.StringIO()):
        predictor = nnUNetPredictor(perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False)
        folds = tuple(sorted(path.name.removeprefix("fold_") for path in model.glob("fold_*")))
        predictor.initialize_from_trained_model_folder(str(model), folds)
        predictor.predict_from_files_sequential([[str(p) for p in images]], [str(folder / "genuine")])
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "genuine.nii.gz")))


def ours(model: Path, images: list[Path], **settings: object) -> Segmented:
    segmenter = NnUNetSegmenter(model)
    volumes = {name: read_volume(path) for name, path in zip(segmenter.channels, images, strict=True)}
    chosen = Settings(device="cpu", **{"mode": Mode.EXACT, **settings})  # type: ignore[arg-type]
    return segmenter.segment(volumes, chosen, Progress())


def write(image: sitk.Image, path: Path) -> Path:
    sitk.WriteImage(image, str(path))
    return path


CASES = {
    "three folds, softmax": {"labels": SOFTMAX, "folds": (0, 1, 2)},
    "three folds, regions": {"labels": REGIONS, "folds": (0, 1, 2), "regions_class_order": (1, 2, 3)},
    "regions in another order": {"labels": REGIONS, "regions_class_order": (2, 3, 1)},
    "network grid is the image's": {"labels": SOFTMAX, "spacing": (4.5, 3.1, 3.4), "folds": (0, 1)},
    "mirrored": {"labels": SOFTMAX, "mirror": (0, 1, 2)},
    "2d": {"labels": SOFTMAX, "configuration": "2d", "folds": (0, 1)},
    "anisotropic, nearest along z": {"labels": SOFTMAX, "spacing": (12.0, 3.0, 3.0), "patch": (8, 24, 24)},
    "axes transposed": {"labels": SOFTMAX, "transpose": (2, 0, 1), "spacing": (3.0, 4.0, 3.5)},
    "low resolution": {
        "labels": SOFTMAX,
        "configuration": "3d_lowres",
        "spacing": (6.0, 6.0, 6.0),
        "patch": (16, 16, 16),
    },
    "nibabel": {"labels": SOFTMAX, "reader": "NibabelIO"},
    "nibabel, reoriented": {"labels": SOFTMAX, "reader": "NibabelIOWithReorient"},
    "SimpleITK, reoriented": {"labels": SOFTMAX, "reader": "SimpleITKIOWithReorient"},
    "fold all": {"labels": SOFTMAX, "folds": ("all",)},
    "image smaller than the patch": {"labels": SOFTMAX, "patch": (64, 24, 64)},
}


@pytest.mark.parametrize("direction", [OBLIQUE, FLIPPED], ids=["oblique", "flipped"])
@pytest.mark.parametrize("name", CASES)
def test_exact_label_map_is_the_genuine_one(name: str, direction: tuple[float, ...], tmp_path: Path) -> None:
    if direction is FLIPPED and "reoriented" not in name and "transposed" not in name:
        direction = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    model = make_model(tmp_path / "model", **CASES[name])  # type: ignore[arg-type]
    image = write(small_ct(direction), tmp_path / "ct_0000.nii.gz")
    expected = genuine(model, [image], tmp_path / "out")
    found = ours(model, [image]).labels
    assert len(np.unique(expected)) > 2
    assert np.array_equal(found, expected)


def test_image_with_an_empty_border_is_cropped_as_nnunet_does(tmp_path: Path) -> None:
    image = small_ct()
    voxels = sitk.GetArrayFromImage(image)
    voxels[:6] = 0
    voxels[:, :, -9:] = 0
    bordered = sitk.GetImageFromArray(voxels)
    bordered.CopyInformation(image)
    path = write(bordered, tmp_path / "ct_0000.nii.gz")
    model = make_model(tmp_path / "model", SOFTMAX)
    assert np.array_equal(ours(model, [path]).labels, genuine(model, [path], tmp_path / "out"))


def test_two_channels_are_given_in_the_models_order(tmp_path: Path) -> None:
    image = small_ct()
    late = sitk.Cast(image * 2 + 30, sitk.sitkInt16)
    paths = [write(image, tmp_path / "case_0000.nii.gz"), write(late, tmp_path / "case_0001.nii.gz")]
    model = make_model(tmp_path / "model", SOFTMAX, channels=("early", "late"))
    assert np.array_equal(ours(model, paths).labels, genuine(model, paths, tmp_path / "out"))


def test_views_do_not_change_the_exact_label(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", SOFTMAX, folds=(0, 1))
    image = write(small_ct(), tmp_path / "ct_0000.nii.gz")
    alone, asked = ours(model, [image]), ours(model, [image], members=6)
    assert [m.kind for m in asked.grid.members].count("view") == 4
    assert np.array_equal(alone.labels, asked.labels)


def test_exact_label_map_is_that_of_the_genuine_command(tmp_path: Path) -> None:
    """The command itself, as a user runs it, with its own processes and threads."""
    model = make_model(tmp_path / "model", SOFTMAX, folds=(0, 1, 2))
    (tmp_path / "in").mkdir()
    image = write(small_ct(), tmp_path / "in" / "ct_0000.nii.gz")
    command = [str(Path(sys.executable).with_name("nnUNetv2_predict_from_modelfolder")), "-i", str(tmp_path / "in")]
    command += ["-o", str(tmp_path / "out"), "-m", str(model), "-device", "cpu", "-npp", "1", "-nps", "1"]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([*command, "-f", "0", "1", "2"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "ct.nii.gz")))
    assert np.array_equal(ours(model, [image]).labels, expected)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * ((a == b) & (a > 0)).sum() / ((a > 0).sum() + (b > 0).sum()))


def in_precision(model: Path, image: Path, bf16: bool) -> Segmented:
    segmenter = NnUNetSegmenter(model)
    settings = Settings(device="cpu", mode=Mode.FAST)
    segmenter.load(settings).bf16_pays = bf16
    return segmenter.segment({"CT": read_volume(image)}, settings, Progress())


@pytest.mark.parametrize("name", ["three folds, softmax", "three folds, regions", "2d", "axes transposed"])
def test_fast_in_float32_agrees_with_exact_on_the_networks_grid(name: str, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", **CASES[name])  # type: ignore[arg-type]
    image = write(small_ct(), tmp_path / "ct_0000.nii.gz")
    exact, fast = ours(model, [image]).grid, in_precision(model, image, bf16=False).grid
    assert dice(exact.labels, fast.labels) >= 0.998  # random weights: labels change from voxel to voxel
    # In the corners of the image the float16 weights of nnU-Net (and of exact mode) lie at the end of their range.
    assert np.quantile(np.abs(exact.entropy - fast.entropy), 0.99) < 0.005


@pytest.mark.parametrize("bf16", [False, True])
def test_fast_agrees_with_exact_on_a_trained_model(bf16: bool) -> None:
    """The tolerance of fast mode: 0.999 for all foreground, 0.99 for structures of 1,000 voxels or more."""
    standin = shared_file("models/totalsegmentator_standin/nnunet/results")
    (model,) = standin.glob("Dataset297_*/*__3d_fullres")
    image = shared_file("data/ct/example_ct_sm.nii.gz")
    exact, fast = ours(model, [image]).grid.labels, in_precision(model, image, bf16).grid.labels
    assert dice(exact, fast) >= 0.999
    for value in np.unique(exact[exact > 0]):
        if (exact == value).sum() >= 1000:
            assert dice(exact == value, fast == value) >= 0.99


@pytest.mark.parametrize("name", ["three folds, softmax", "three folds, regions"])
def test_smooth_resampling_agrees_with_nnunets_own(name: str, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", **CASES[name])  # type: ignore[arg-type]
    image = write(small_ct(), tmp_path / "ct_0000.nii.gz")
    genuinely, smooth = ours(model, [image]).labels, ours(model, [image], resample=Resample.SMOOTH).labels
    assert np.mean(genuinely == smooth) > 0.995

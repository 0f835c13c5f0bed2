"""Stand-in weights for TotalSegmentator's models, and the genuine function on them.

The genuine package finds these folders by its own tables. Each network is tiny and random up to its last layer, which
is fitted so that structures follow windows of HU: enough for crops that are not the whole image, for parts that
overlap, and for an object whose place is known.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from nnunet_models import make_model
from scipy import ndimage

from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.tasks import TaskModel

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"
Windows = Mapping[str, tuple[float, float]]
"""Structure -> HU from and to. Structures that are not named are never found."""


def shared(relative: str) -> Path:
    """A file of the shared test data; without it the test is skipped."""
    import pytest  # gpu_check.py does without

    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"the shared test data are missing: {path}")
    return path


def piece_of_ct(box: Sequence[slice], smooth: float = 0.0, file: str = "example_ct_sm") -> nibabel.Nifti1Image:
    """A piece (i, j, k) of a real thorax at 3 mm; smoothed, random networks find coherent structures in it."""
    cut = nibabel.load(shared(f"data/ct/{file}.nii.gz")).slicer[tuple(box)]
    voxels = ndimage.gaussian_filter(np.asanyarray(cut.dataobj).astype(np.float32), smooth)
    return nibabel.Nifti1Image(np.round(voxels).astype(np.int16), cut.affine)


def volume_of(image: nibabel.Nifti1Image) -> Volume:
    """The same image as the segmenters take it."""
    array = np.asanyarray(image.dataobj).transpose(2, 1, 0)
    return Volume(array, Geometry.from_ijk_to_ras(image.affine, array.shape))


def write_standin(
    home: UserHome,
    model: TaskModel,
    windows: Windows,
    image: nibabel.Nifti1Image,
    folds: Sequence[int] = (0,),
    spacing: tuple[float, float, float] | None = None,
    patch: Sequence[int] = (32, 48, 48),
    extra_labels: Sequence[str] = (),
    pointwise: bool = False,
    features: Sequence[int] = (8, 16),
    convolutions: int = 1,
) -> Path:
    """Write one model folder whose structures follow ``windows``, fitted on ``image`` at its own resolution.

    ``spacing`` (x, y, z) is for models whose task leaves it to their plans. A ``pointwise`` network looks at nothing
    but the voxel itself, so that it cannot shift what it finds.
    """
    spacing = spacing or model.spacing_xyz or (3.0, 3.0, 3.0)
    labels = {"background": 0, **{name: value for value, name in model.classes.items()}}
    labels |= {name: len(labels) + number for number, name in enumerate(extra_labels)}
    folder = make_model(
        home.weights / model.dataset / model.trained,
        labels,
        spacing=spacing[::-1],
        patch=patch,
        folds=folds,
        configuration=model.configuration,
        reader="NibabelIOWithReorient",
        trainer=model.trained.split("__")[0],
        features=features,
        convolutions=convolutions,
    )
    for fold in folds:
        if pointwise:
            _forget_neighbours(folder / f"fold_{fold}" / "checkpoint_final.pth")
        _fit_head(folder, fold, {labels[name]: window for name, window in windows.items()}, image)
    return folder


def _forget_neighbours(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    for name, values in checkpoint["network_weights"].items():
        if values.ndim == 5 and values.shape[-1] == 3:
            centre = values[..., 1, 1, 1].clone()
            values.zero_()
            values[..., 1, 1, 1] = centre
        elif "transpconvs" in name:
            values.zero_()
    torch.save(checkpoint, path)


def _fit_head(folder: Path, fold: int, windows: Mapping[int, tuple[float, float]], image: Any) -> None:
    """Least squares from the network's features to the windows' labels; the other classes get no chance."""
    import totalsegmentator.nnunet  # noqa: F401  # makes nnU-Net know the trainers of its models
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    with contextlib.redirect_stdout(io.StringIO()):
        predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(folder), (fold,))
    network = predictor.network.eval()
    head, network.decoder.seg_layers[-1] = network.decoder.seg_layers[-1], torch.nn.Identity()
    hu = np.asanyarray(image.dataobj).astype(np.float32).transpose(2, 1, 0)
    scheme = predictor.plans_manager.plans["foreground_intensity_properties_per_channel"]["0"]
    clipped = np.clip(hu, scheme["percentile_00_5"], scheme["percentile_99_5"])
    data = torch.from_numpy((clipped - scheme["mean"]) / scheme["std"])[None, None]
    coarsest = 2 ** len(network.decoder.seg_layers)
    data = data[(..., *(slice(0, n // coarsest * coarsest) for n in hu.shape))]
    with torch.no_grad():
        features = network(data)[0].flatten(1).double()
    target = torch.zeros(data.shape[2:], dtype=torch.long)
    for value, (low, high) in windows.items():
        target[torch.from_numpy((hu >= low) & (hu < high))[tuple(slice(n) for n in target.shape)]] = value
    known = sorted({0, *windows})
    design = torch.cat([features, torch.ones(1, features.shape[1])])
    wanted = torch.stack([(target.flatten() == value).double() * 8 - 4 for value in known], 1)
    share = torch.bincount(target.flatten(), minlength=max(known) + 1).clamp_min(1)
    evenly = share[target.flatten()].double().rsqrt()  # rare structures count as much as frequent ones
    design, wanted = design * evenly, wanted * evenly[:, None]
    ridge = design @ design.T + 1e-4 * torch.eye(len(design), dtype=torch.float64)
    solution = torch.linalg.solve(ridge, design @ wanted)
    path = folder / f"fold_{fold}" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=True)
    stem = f"decoder.seg_layers.{len(network.decoder.seg_layers) - 1}"
    weight = torch.zeros_like(head.weight)
    bias = torch.full_like(head.bias, -40.0)
    for column, value in enumerate(known):
        weight[value] = solution[:-1, column].float().reshape(weight[value].shape)
        bias[value] = solution[-1, column].float()
    checkpoint["network_weights"] |= {f"{stem}.weight": weight, f"{stem}.bias": bias}
    torch.save(checkpoint, path)


def trained_home(folder: Path) -> UserHome:
    """A copy of the shared home with the trained stand-in of ``total --fast``, which the package may write to."""
    source = shared("models/totalsegmentator_standin")
    home = folder / "home"
    for path in sorted(source.rglob("*")):
        target = home / path.relative_to(source)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)  # without the read-only mode of the original
    return UserHome(home, home / "nnunet" / "results")


@contextlib.contextmanager
def environment_of(home: UserHome) -> Iterator[None]:
    """The environment in which a user of the genuine package has this home; everything is put back."""
    before = dict(os.environ)
    os.environ |= {"TOTALSEG_HOME_DIR": str(home.home), "TOTALSEG_WEIGHTS_PATH": str(home.weights)}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def genuine(image: nibabel.Nifti1Image, home: UserHome, output: Path | None = None, **options: Any) -> np.ndarray:
    """The genuine function, whose networks run in this process instead of pools; labels (k, j, i).

    Its prediction, resampling and merging are untouched: only ``predict_from_files`` becomes the package's own
    ``predict_from_files_sequential``, because starting the pools takes ten seconds for each network.
    """
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from totalsegmentator import nnunet, python_api

    class InProcess(nnUNetPredictor):
        def predict_from_files(self, source: str, target: str, **chosen: Any) -> Any:
            kept = {
                k: chosen[k]
                for k in ("save_probabilities", "overwrite", "use_cropped_logits_resampling")
                if k in chosen
            }
            return self.predict_from_files_sequential(source, target, **kept)

    home.home.mkdir(parents=True, exist_ok=True)
    config = (
        '{"totalseg_id": "totalseg_TESTTEST", "send_usage_stats": false, "prediction_counter": 0, '
        '"statistics_disclaimer_shown": true, "license_number": "aca_TESTTESTTESTTE"}'
    )
    if not (home.home / "config.json").exists():
        (home.home / "config.json").write_text(config)
    real = nnunet.nnUNetPredictor
    nnunet.nnUNetPredictor = InProcess
    try:
        with environment_of(home), contextlib.redirect_stdout(io.StringIO()):
            result = python_api.totalsegmentator(image, output, ml=True, quiet=True, device="cpu", **options)
    finally:
        nnunet.nnUNetPredictor = real
    return np.asanyarray(result.dataobj).astype(np.uint8).transpose(2, 1, 0)

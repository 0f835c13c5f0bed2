"""An nnU-Net folder as a segmenter: where things lie, what is refused, what a subset means."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunet_models import CT_INTENSITIES, make_model

from activeseg.core.errors import DeviceError, InputError, ModelError
from activeseg.core.geometry import Geometry
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Resample, Settings
from activeseg.core.volume import Volume
from activeseg.segmenters.nnunet.network import Network
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter

LABELS = {"background": 0, "cube": 1}
ROTATION = tuple(
    (
        np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    ).ravel()
)
DIRECTIONS = {
    "straight": (1.0, 0, 0, 0, 1, 0, 0, 0, 1),
    "flipped": (-1.0, 0, 0, 0, 1, 0, 0, 0, -1),
    "permuted": (0.0, 1, 0, 0, 0, 1, 1, 0, 0),
    "oblique": ROTATION,
}


class Threshold(torch.nn.Module):
    """A network that says 'cube' where the image is brighter than halfway between air and cube."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        middle = ((-950 + 400) / 2 - CT_INTENSITIES["mean"]) / CT_INTENSITIES["std"]
        return torch.cat([middle - x, x - middle], 1) * 0.7

    def load_state_dict(self, *args: object, **kwargs: object) -> None:  # type: ignore[override]
        """It has no weights."""


def off_centre_cube(direction: tuple[float, ...]) -> tuple[Volume, np.ndarray]:
    """A 30 x 20 x 25 mm cube of 400 HU in air at 5 mm, and its centre in RAS."""
    voxels = np.full((20, 22, 24), -1000, np.int16)
    voxels[11:16, 4:8, 13:19] = 400
    geometry = Geometry(voxels.shape, (5.0, 5.0, 5.0), (-40.0, 17.0, 120.0), direction)
    return Volume(voxels, geometry), geometry.ras_of_ijk([15.5, 5.5, 13.0])


def centre_of(weights: np.ndarray, geometry: Geometry) -> np.ndarray:
    kji = np.argwhere(weights > 0)
    amounts = weights[weights > 0].astype(float)
    return geometry.ras_of_ijk((kji[:, ::-1] * amounts[:, None]).sum(axis=0) / amounts.sum())


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIOWithReorient"])
@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_map_and_label_lie_where_they_belong_to_a_tenth_of_a_voxel(
    name: str, transpose: tuple[int, ...], reader: str, tmp_path: Path
) -> None:
    model = make_model(tmp_path / "model", LABELS, (1.5, 1.5, 1.5), (32, 32, 32), transpose=transpose, reader=reader)
    segmenter = NnUNetSegmenter(model)
    settings = Settings(device="cpu", resample=Resample.SMOOTH)
    network = segmenter.load(settings)
    network.predictor.network = Threshold()
    network.bf16_pays = False
    ct, centre_ras = off_centre_cube(DIRECTIONS[name])
    found = segmenter.segment({"CT": ct}, settings, Progress())
    assert np.array_equal(found.labels == 1, ct.array == 400)
    assert found.grid.geometry.spacing_xyz == pytest.approx((1.5, 1.5, 1.5), rel=0.02)
    doubt = found.grid.entropy - np.median(found.grid.entropy)  # only the cube's surface is in doubt
    assert centre_of(np.where(doubt > 0.02, doubt, 0), found.grid.geometry) == pytest.approx(centre_ras, abs=0.15)
    assert centre_of(found.grid.labels, found.grid.geometry) == pytest.approx(centre_ras, abs=0.75)  # whole voxels


def phantom() -> Volume:
    voxels = np.random.default_rng(0).integers(-1000, 600, (18, 20, 22)).astype(np.int16)
    return Volume(voxels, Geometry(voxels.shape, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), DIRECTIONS["straight"]))


def test_subset_keeps_the_models_values_and_says_what_it_decided(tmp_path: Path) -> None:
    segmenter = NnUNetSegmenter(make_model(tmp_path / "m", {"background": 0, "a": 1, "b": 2, "c": 3}))
    settings = Settings(device="cpu", mode=Mode.EXACT)
    whole = segmenter.segment({"CT": phantom()}, settings, Progress())
    part = segmenter.segment({"CT": phantom()}, Settings(device="cpu", mode=Mode.EXACT, structures=("b",)), Progress())
    assert (whole.decided, part.decided) == (("a", "b", "c"), ("b",))
    assert np.array_equal(part.labels, np.where(whole.labels == 2, 2, 0))
    assert np.array_equal(part.grid.votes[0], np.where(whole.grid.votes[0] == 2, 2, 0))


def test_unknown_structure_is_named_with_its_neighbours(tmp_path: Path) -> None:
    segmenter = NnUNetSegmenter(make_model(tmp_path / "m", {"background": 0, "liver": 1, "spleen": 2}))
    with pytest.raises(InputError, match=r"'livver'.*Did you mean liver"):
        segmenter.check(Settings(device="cpu", structures=("livver",)))


def test_missing_channel_is_named_with_the_setting_that_gives_it(tmp_path: Path) -> None:
    segmenter = NnUNetSegmenter(make_model(tmp_path / "m", LABELS, channels=("early", "late")))
    with pytest.raises(InputError, match="'late'") as refused:
        segmenter.segment({"early": phantom()}, Settings(device="cpu"), Progress())
    assert refused.value.details["setting"] == "channel"


def test_channels_on_different_grids_are_refused(tmp_path: Path) -> None:
    segmenter = NnUNetSegmenter(make_model(tmp_path / "m", LABELS, channels=("early", "late")))
    early = phantom()
    moved = Geometry(early.geometry.shape_kji, (3.0, 3.0, 3.0), (0.0, 0.0, 1.0), DIRECTIONS["straight"])
    with pytest.raises(InputError, match="'late' lies on another grid"):
        segmenter.segment({"early": early, "late": Volume(early.array, moved)}, Settings(device="cpu"), Progress())


def test_cascade_is_refused_in_words(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", LABELS, previous_stage="3d_lowres", configuration="3d_cascade_fullres")
    with pytest.raises(ModelError, match="second stage of a cascade"):
        NnUNetSegmenter(model).segment({"CT": phantom()}, Settings(device="cpu"), Progress())


def test_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not a trained nnU-Net model: it has no plans\.json"):
        NnUNetSegmenter(tmp_path)


def test_model_without_checkpoints_is_refused(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", LABELS)
    (model / "fold_0" / "checkpoint_final.pth").unlink()
    with pytest.raises(ModelError, match="no fold_"):
        NnUNetSegmenter(model).check(Settings(device="cpu"))


def test_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", LABELS)
    checkpoint = model / "fold_0" / "checkpoint_final.pth"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(ModelError, match="cut off"):
        NnUNetSegmenter(model).segment({"CT": phantom()}, Settings(device="cpu"), Progress())


def test_unknown_trainer_is_named(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", LABELS, trainer="nnUNetTrainerOfSomebodyElse")
    with pytest.raises(ModelError, match="nnUNetTrainerOfSomebodyElse"):
        NnUNetSegmenter(model).segment({"CT": phantom()}, Settings(device="cpu"), Progress())


class Malicious:
    """Pickles to a call that would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_checkpoint_that_hides_code_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", LABELS)
    path = model / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, "logging": Malicious(tmp_path / "owned")}, path, pickle_module=pickle)
    with pytest.raises(ModelError, match="mkdir") as refused:
        NnUNetSegmenter(model).segment({"CT": phantom()}, Settings(device="cpu"), Progress())
    assert "checkpoint_final.pth" in refused.value.message
    assert not (tmp_path / "owned").exists()


def test_checkpoint_with_numpy_scalars_as_nnunet_writes_them_loads(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", LABELS)
    path = model / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, "_best_ema": np.float64(0.5), "logging": {"dice": [np.float32(0.1)]}}, path)
    assert Network.load(model).folds == ("0",)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_an_error_and_not_the_cpu(tmp_path: Path) -> None:
    segmenter = NnUNetSegmenter(make_model(tmp_path / "m", LABELS))
    with pytest.raises(DeviceError, match="'cuda' is not available"):
        segmenter.check(Settings(device="cuda"))


@pytest.mark.parametrize(
    ("labels", "order", "names"),
    [
        ({"background": 0, "b": 2, "a": 1}, None, ("a", "b")),
        ({"background": 0, "a": 1, "ignore": 2}, None, ("a",)),
        ({"background": 0, "tumour": [1, 2], "core": [2]}, (1, 2), ("tumour without core", "core")),
        ({"background": 0, "whole": [1, 2, 3], "core": [2, 3]}, (1, 3), ("whole without core", "label 2", "core")),
    ],
)
def test_schema_is_that_of_dataset_json(
    labels: dict[str, object], order: tuple[int, ...] | None, names: tuple[str, ...], tmp_path: Path
) -> None:
    model = make_model(tmp_path / "m", LABELS)
    dataset = json.loads((model / "dataset.json").read_text())
    dataset["labels"] = labels
    if order:
        dataset["regions_class_order"] = order
    (model / "dataset.json").write_text(json.dumps(dataset))
    assert NnUNetSegmenter(model).schema.names == names

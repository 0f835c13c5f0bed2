"""Model folders of every age and shape, and images that do not suit them: what is used, and what is told instead."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nnunet_models import make_model

from activeseg.core.channel_names import different_names, normalization_names
from activeseg.core.errors import InputError, ModelError
from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset
from activeseg.io.images import read_volume
from activeseg.segmenters.nnunet.network import Network, model_folds
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter

LABELS = {"background": 0, "liver": 1, "spleen": 2}
SETTINGS = Settings(device="cpu", mode=Mode.EXACT, members=1)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("real") / "model", LABELS)


def image(shape: tuple[int, int, int] = (16, 24, 24), spacing: float = 3.0, low: int = 1) -> Volume:
    values = np.random.default_rng(1).integers(low, 900, shape).astype(np.int16)
    return Volume(values, Geometry(shape, (3.0, 3.0, spacing), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)))


def segment(model: Path, *volumes: Volume) -> np.ndarray:
    segmenter = NnUNetSegmenter(model)
    return segmenter.segment(dict(zip(segmenter.channels, volumes, strict=True)), SETTINGS, Progress()).labels


# Another thing than the folder


def test_a_zip_and_a_checkpoint_are_called_what_they_are(real: Path, tmp_path: Path) -> None:
    file = shutil.make_archive(str(tmp_path / "export"), "zip", real)
    with pytest.raises(ModelError, match=r"export.zip' is a zip file.*Unpack it") as told:
        NnUNetSegmenter(Path(file))
    assert "damaged" not in str(told.value)
    with pytest.raises(ModelError, match=r"checkpoint_final.pth' is a checkpoint.*Give the folder"):
        NnUNetSegmenter(real / "fold_0" / "checkpoint_final.pth")


def test_a_folder_one_level_too_high_or_too_low_is_told_with_the_right_one(real: Path) -> None:
    for given in (real.parent, real / "fold_0", real / "fold_9"):
        with pytest.raises(ModelError, match="not a trained nnU-Net model") as told:
            NnUNetSegmenter(given)
        assert str(real) in told.value.action


def test_a_training_that_did_not_end_is_told(real: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(real, model)
    final = model / "fold_0" / "checkpoint_final.pth"
    final.rename(final.with_name("checkpoint_best.pth"))
    with pytest.raises(ModelError, match=r"only checkpoint_best.pth: its training did not end"):
        NnUNetSegmenter(model).check(SETTINGS)


def test_only_nnunets_own_folds_are_members_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("0", "2", "10", "all", "0_backup", "0 (copy)", "best", "²"):
        (tmp_path / f"fold_{name}").mkdir()
        (tmp_path / f"fold_{name}" / "checkpoint_final.pth").touch()
    assert model_folds(tmp_path) == ["0", "2", "10"]
    with pytest.raises(ModelError, match=r"fold_7/checkpoint_final\.pth' is missing"):
        Network.load(make_model(tmp_path / "m", LABELS), [7])


@pytest.mark.parametrize("name", ["my model (2)", "Modell für Müller", "模型", "a=b,c;d'e"])
def test_a_folder_may_have_any_name(name: str, real: Path, tmp_path: Path) -> None:
    shutil.copytree(real, tmp_path / name)
    assert Network.load(tmp_path / name).heads == 3


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8")
def test_a_folder_may_have_a_name_that_is_not_utf8(real: Path, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/mod\xe8le"))
    shutil.copytree(real, folder)
    assert Network.load(folder).heads == 3


# Real models of other kinds


@pytest.mark.parametrize(
    "trainer", ["nnUNetTrainer_DASegOrd0_NoMirroring", "nnUNetTrainerNoMirroring", "nnUNetTrainerSkeletonRecall"]
)
def test_trainers_of_nnunet_and_totalsegmentator_are_known(trainer: str, tmp_path: Path) -> None:
    assert Network.load(make_model(tmp_path / "m", LABELS, trainer=trainer)).predictor.trainer_name == trainer


def test_a_checkpoint_that_nnunets_own_training_writes_is_read(real: Path, tmp_path: Path) -> None:
    """With the optimiser's state, numbers of numpy's, the device, and the plans of the training."""
    model = tmp_path / "model"
    shutil.copytree(real, model)
    path = model / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=True)
    layer = torch.nn.Linear(3, 3)
    optimizer = torch.optim.SGD(layer.parameters(), 0.01, momentum=0.99, nesterov=True)
    layer(torch.ones(3)).sum().backward()
    optimizer.step()
    plans = json.loads((model / "plans.json").read_text())
    content |= {
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 7},
        "logging": {"ema_fg_dice": [np.float64(0.5), np.float32(0.25)], "mean": np.int64(3), "done": np.bool_(True)},
        "_best_ema": np.float64(0.75),
        "current_epoch": 1000,
        "init_args": {**content["init_args"], "plans": plans, "device": torch.device("cuda"), "unpack_dataset": True},
    }
    torch.save(content, path)
    loaded = Network.load(model).predictor.list_of_parameters[0]
    assert list(loaded) == list(content["network_weights"])
    assert all(torch.equal(loaded[name], tensor) for name, tensor in content["network_weights"].items())


# Channels


def test_repeated_names_of_channels_get_numbers_and_come_back() -> None:
    for given, own in {
        ("CT",): ("CT",),
        ("CT", "CT"): ("CT", "CT_2"),
        ("zscore", "CT", "zscore", "zscore"): ("zscore", "CT", "zscore_2", "zscore_3"),
        ("CT", "CT", "CT_2"): ("CT", "CT_3", "CT_2"),
        ("T1_1", "T1_2"): ("T1_1", "T1_2"),
    }.items():
        assert different_names(given) == own
        assert different_names(normalization_names(own)) == own
    assert normalization_names(("CT", "CT_2")) == ("CT", "CT")


def test_a_model_with_two_channels_of_one_name_takes_both(tmp_path: Path) -> None:
    segmenter = NnUNetSegmenter(make_model(tmp_path / "m", LABELS, channels=("CT", "CT")))
    assert segmenter.channels == ("CT", "CT_2")
    first, second = image(), image(low=-900)
    own = segmenter.segment({"CT": first, "CT_2": second}, SETTINGS, Progress()).labels
    network = segmenter.load(SETTINGS).predictor
    stack = np.stack([first.array, second.array]).astype(np.float32)
    assert np.array_equal(own, network.predict_single_npy_array(stack, {"spacing": [3.0] * 3}))


def test_a_dataset_of_two_channels_of_one_name_keeps_nnunets_names_in_its_file(tmp_path: Path) -> None:
    made = Dataset.create(tmp_path / "d", LabelSchema.from_names(["liver"]), ("CT", "CT"), private_dir=tmp_path / "p")
    assert made.channel_names == Dataset.open(made.folder, private_dir=tmp_path / "p").channel_names == ("CT", "CT_2")
    content = json.loads((made.folder / "dataset.json").read_text())
    assert content["channel_names"] == {"0": "CT", "1": "CT"}


# Regions


@pytest.mark.parametrize(
    ("labels", "order", "names"),
    [
        ({"whole": [1, 2], "core": [2]}, [1, 2], ("whole without core", "core")),
        (
            {"whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]},
            [1, 2, 3],
            ("whole without core", "core without enhancing", "enhancing"),
        ),
        ({"whole": [1, 2, 3], "a": [2], "b": [3]}, [1, 2, 3], ("whole without a and b", "a", "b")),
        ({"core": [2], "whole": [1, 2]}, [2, 1], ("whole", "core without whole")),
    ],
)
def test_a_value_of_a_region_based_model_is_named_after_what_is_left_of_the_region(
    labels: dict[str, list[int]], order: list[int], names: tuple[str, ...], real: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(real, model)
    dataset = json.loads((model / "dataset.json").read_text())
    dataset |= {"labels": {"background": 0, **labels}, "regions_class_order": order}
    (model / "dataset.json").write_text(json.dumps(dataset))
    assert NnUNetSegmenter(model).schema.names == names


# Images that do not suit a model


def test_an_image_thinner_than_the_networks_voxel_is_refused_as_an_image(real: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1.2 mm thick.*voxels of 3 mm"):
        segment(real, image((2, 24, 24), 0.6))
    lowres = make_model(tmp_path / "low", LABELS, spacing=(3.0, 160.0, 3.0))
    with pytest.raises(InputError, match="72 mm thick"):
        segment(lowres, image())


def test_an_image_that_is_thin_where_it_is_not_zero_is_refused(real: Path) -> None:
    whole = image((16, 24, 24), 1.0)
    whole.array[:] = np.where(np.arange(16)[:, None, None] == 7, whole.array, 0)
    with pytest.raises(InputError, match=r"1 mm thick where it is not zero"):
        segment(real, whole)


def test_an_image_of_nothing_but_zeros_is_segmented_as_nnunet_does(real: Path) -> None:
    empty = image()
    empty.array[:] = 0
    assert segment(real, empty).shape == empty.array.shape


def test_a_flat_network_takes_an_image_of_thin_slices(tmp_path: Path) -> None:
    model = make_model(tmp_path / "flat", LABELS, configuration="2d", patch=(24, 24))
    assert segment(model, image((2, 24, 24), 0.3)).shape == (2, 24, 24)


def test_an_image_that_would_have_billions_of_voxels_is_refused(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", LABELS, spacing=(0.001, 0.001, 0.001))
    with pytest.raises(InputError, match="would have"):
        segment(model, image())


def test_an_image_that_cannot_be_normalized_is_refused(real: Path, tmp_path: Path) -> None:
    model = tmp_path / "rgb"
    shutil.copytree(real, model)
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["normalization_schemes"] = ["RGBTo01Normalization"]
    (model / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(InputError, match="could not prepare the image"):
        segment(model, image(low=-900))


def test_a_file_without_a_place_is_turned_as_nibabel_turns_it(tmp_path: Path) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    model = make_model(tmp_path / "m", LABELS, reader="NibabelIOWithReorient")
    values = np.random.default_rng(4).integers(-900, 900, (20, 24, 28)).astype(np.int16)
    stored = nibabel.Nifti1Image(values, np.diag([2.0, 3.0, 4.0, 1.0]))
    stored.set_sform(None, 0)
    stored.set_qform(None, 0)
    nibabel.save(stored, tmp_path / "case_0000.nii.gz")
    said: list[str] = []
    volume = read_volume(tmp_path / "case_0000.nii.gz", notice=said.append)
    assert np.allclose(volume.geometry.nibabel_affine, nibabel.load(tmp_path / "case_0000.nii.gz").affine)
    assert "does not say how" in said[0]
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    (tmp_path / "out").mkdir()
    predictor.predict_from_files_sequential(
        [[str(tmp_path / "case_0000.nii.gz")]], [str(tmp_path / "out" / "case")], overwrite=True
    )
    original = np.asanyarray(nibabel.load(tmp_path / "out" / "case.nii.gz").dataobj).transpose(2, 1, 0)
    assert np.array_equal(segment(model, volume), original)

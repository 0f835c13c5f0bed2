"""The network that ships: small, safe to load, an ordinary nnU-Net model, good on the domain it was trained on only."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from activeseg.samples.phantom import PHANTOM_SCHEMA, Domain, make_phantom

MODEL = Path(str(resources.files("activeseg") / "resources" / "demo_model"))
CHECKPOINTS = sorted(MODEL.glob("fold_*/checkpoint_final.pth"))


def mean_dice(found: np.ndarray, truth: np.ndarray) -> float:
    scores = []
    for label in PHANTOM_SCHEMA.labels:
        a, b = found == label.value, truth == label.value
        scores.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return float(np.mean(scores))


@pytest.fixture(scope="module")
def predictor():
    """The genuine one, on all four folds."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(MODEL), (0, 1, 2, 3))
    return predictor


def predicted_dice(predictor, domain: Domain, seed: int) -> float:
    phantom = make_phantom(domain, seed)
    found = predictor.predict_single_npy_array(phantom.ct.array[None].astype(np.float32), {"spacing": [4.0] * 3})
    return mean_dice(found, phantom.labels.array)


def test_four_members_ship_in_at_most_six_megabytes():
    assert [path.parent.name for path in CHECKPOINTS] == ["fold_0", "fold_1", "fold_2", "fold_3"]
    assert sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file()) <= 6_000_000


def test_members_differ():
    weights = [torch.load(path, weights_only=True)["network_weights"] for path in CHECKPOINTS]
    first = next(iter(weights[0]))
    assert len({float(member[first].abs().sum()) for member in weights}) == 4


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.parent.name)
def test_checkpoint_loads_without_running_code_and_holds_weights_only(checkpoint):
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    assert set(content) == {"network_weights", "trainer_name", "init_args", "inference_allowed_mirroring_axes"}
    assert content["trainer_name"] == "nnUNetTrainerNoMirroring"
    assert content["inference_allowed_mirroring_axes"] is None
    assert all(bool(torch.isfinite(tensor).all()) for tensor in content["network_weights"].values())


def test_labels_of_the_model_are_those_of_the_phantoms():
    labels = json.loads((MODEL / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, **{label.name: label.value for label in PHANTOM_SCHEMA.labels}}


def test_genuine_predictor_is_good_on_a_contrast_phantom_it_has_not_seen(predictor):
    assert predicted_dice(predictor, Domain.CONTRAST, 2100) >= 0.88


def test_it_fails_in_places_on_a_native_phantom(predictor):
    assert 0.3 <= predicted_dice(predictor, Domain.NATIVE, 2100) <= 0.85

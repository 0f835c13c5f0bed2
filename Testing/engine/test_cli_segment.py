"""The command line with models that need torch, as a user calls it: in a process of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from called_command import activeseg

from activeseg.io.images import read_label_map, read_volume, write_volume
from activeseg.samples.phantom import Domain, make_phantom, phantom_geometry


@pytest.fixture(scope="module")
def ct_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ct") / "ct.nii.gz"
    write_volume(make_phantom(Domain.CONTRAST, 5, geometry=phantom_geometry((6.0, 6.0, 6.0))).ct, path)
    return path


def test_the_model_that_ships_segments_and_says_where_it_ran(ct_file, tmp_path):
    out = tmp_path / "out"
    done = activeseg("segment", ct_file, "-m", "demo", "-o", out, "--device", "auto", "--focus", "liver", "--json")
    assert done.returncode == 0, done.stderr
    assert "Running on" in done.stderr
    document = json.loads(done.stdout)
    assert document["prediction"]["details"]["device"] in done.stderr
    assert len(document["prediction"]["members"]) == 4
    assert document["prediction"]["agreement"] is not None
    assert document["regions"] == json.loads((out / "regions.json").read_text())["regions"]
    ct, labels = read_volume(ct_file), read_label_map(out / "labels.nii.gz")
    assert labels.geometry.same_grid(ct.geometry)
    liver = next(structure for structure in document["structures"] if structure["name"] == "liver")
    assert liver["ml"] > 100


def test_switches_of_nnunet_torch_and_matplotlib_change_nothing(ct_file, tmp_path):
    switches = {
        "nnUNet_compile": "true",
        "nnUNet_def_n_proc": "many",
        "nnUNet_results": os.devnull,
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
        "MPLBACKEND": "no screen",
    }
    out = tmp_path / "out"
    wish = ("segment", ct_file, "-m", "demo", "-o", out, "--members", "1", "--device", "cpu", "--regions", "0")
    done = activeseg(*wish, **switches)
    assert done.returncode == 0, done.stderr
    assert read_label_map(out / "labels.nii.gz").array.any()


def test_a_device_that_is_not_there_is_refused_before_any_work(ct_file, tmp_path):
    done = activeseg(
        "segment", ct_file, "-m", "demo", "-o", tmp_path / "out", "--device", "cuda", "--json", CUDA_VISIBLE_DEVICES=""
    )
    assert done.returncode == 5
    assert "'cuda' is not available" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "device"
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_no_model_is_refused(ct_file, tmp_path):
    (tmp_path / "model").mkdir()
    done = activeseg("segment", ct_file, "-m", f"nnunet:{tmp_path / 'model'}", "-o", tmp_path / "out")
    assert done.returncode == 3
    assert "is not a trained nnU-Net model" in done.stderr
    assert not done.stdout


def test_missing_weights_offline_name_the_folder_to_put_them_in(ct_file, tmp_path):
    # Nothing listens on this port, so that no download can begin.
    nowhere = "http://127.0.0.1:9"
    done = activeseg(
        *("segment", ct_file, "-m", "totalsegmentator:total-fast", "-o", tmp_path / "out"),
        TOTALSEG_HOME_DIR=str(tmp_path / "home"),
        HTTPS_PROXY=nowhere,
        https_proxy=nowhere,
        HTTP_PROXY=nowhere,
        http_proxy=nowhere,
    )
    assert done.returncode == 3, done.stderr
    assert "Dataset297_TotalSegmentator_total_3mm_1559subj" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()

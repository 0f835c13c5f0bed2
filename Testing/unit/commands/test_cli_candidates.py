"""``activeseg dataset refine`` as a user calls it, and what other commands say about its candidates."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from command_line import runner

from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase
from activeseg.predictions.make_prediction import segment
from activeseg.samples.phantom import Domain, make_phantom, phantom_geometry
from activeseg.segmenters import open_segmenter


@pytest.fixture
def run(monkeypatch, capfd):
    return runner(monkeypatch, capfd)


@pytest.fixture
def dataset(tmp_path, monkeypatch) -> Path:
    """Two cases whose lungs are known, and half of whose bones were lost."""
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))
    rules = open_segmenter("hounsfield")
    made = Dataset.create(tmp_path / "Dataset501_Old", rules.schema)
    for seed in (1, 2):
        ct = make_phantom(Domain.CONTRAST, seed, geometry=phantom_geometry((8.0, 8.0, 8.0))).ct
        labels = segment({"CT": ct}, rules, regions=0).labels.array.copy()
        bone = np.flatnonzero(labels == rules.schema.named("bone").value)
        labels.reshape(-1)[bone[: len(bone) // 2]] = 0
        made.add_case(NewCase.of_truth(ct, Volume(labels, ct.geometry)))
    return made.folder


def test_a_dataset_is_refined_into_candidates_that_say_so(run, dataset, tmp_path):
    ended = run("dataset", "refine", dataset, "-m", "hounsfield", "-o", tmp_path / "New", "--json")
    assert ended.code == 0, ended.err
    document = ended.document
    assert document["candidates"] == str(tmp_path / "Dataset502_New")
    assert [(case["case"], case["state"]) for case in document["cases"]] == [("CT_0001", "made"), ("CT_0002", "made")]
    assert all(case["changed_voxels"] > 0 for case in document["cases"])
    assert "CT_0001: " in ended.err
    shown = run("dataset", "show", document["candidates"])
    assert shown.out.count("machine hounsfield") == 2
    assert run("dataset", "verify", document["candidates"]).code == 0


def test_a_person_reads_what_became_of_each_case_and_a_second_run_keeps_it(run, dataset, tmp_path):
    words = ("dataset", "refine", dataset, "-m", "hounsfield", "-o", tmp_path / "New")
    assert "2 made" in run(*words).out
    assert "2 kept" in run(*words).out


def test_one_case_and_one_structure_can_be_chosen(run, dataset, tmp_path):
    words = ("-o", tmp_path / "New", "--cases", "CT_0002", "--structures", "bone", "--json")
    cases = run("dataset", "refine", dataset, "-m", "hounsfield", *words).document["cases"]
    assert [case["case"] for case in cases] == ["CT_0002"]


def test_a_case_that_fails_gives_exit_code_4_and_the_other_is_done(run, dataset, tmp_path):
    (dataset / "imagesTr" / "CT_0001_0000.nii.gz").unlink()
    ended = run("dataset", "refine", dataset, "-m", "hounsfield", "-o", tmp_path / "New", "--json")
    assert ended.code == 4
    assert [case["state"] for case in ended.document["cases"]] == ["failed", "made"]
    assert "CT_0001: The file 'imagesTr/CT_0001_0000.nii.gz' is missing" in ended.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("-m", "hounsfield", "--structures", "liver"), 2, "no structure 'liver'"),
        (("-m", "hounsfield", "--cases", "CT_0009"), 4, "no case 'CT_0009'"),
        (("-m", "hounsfield", "--members", "none"), 2, "--members is 'none'"),
        (("-m", "nothing"), 3, "nothing"),
        (("-m", "demo"), 2, "--model"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(run, dataset, tmp_path, words, code, said):
    ended = run("dataset", "refine", dataset, "-o", tmp_path / "New", *words)
    assert ended.code == code, ended.err
    assert said in ended.err
    assert not [name for name in os.listdir(tmp_path) if "New" in name]


def test_an_opened_candidate_comes_with_its_list(run, dataset, tmp_path):
    labels = Dataset.open(dataset).open_case("CT_0001")
    array = labels.labels.array.copy()
    array[10:16, 10:20, 10:20] = 2  # lungs where there are none, in a structure ...
    Dataset.open(dataset).add_case(NewCase.of_truth(labels.images["CT"], Volume(array, labels.labels.geometry)))
    words = ("--members", 1, "--json")  # ... of which a single member cannot decide
    made = run("dataset", "refine", dataset, "-m", "hounsfield", "-o", tmp_path / "New", *words).document
    assert made["cases"][0]["regions"] > 0
    assert made["cases"][0]["changed_voxels"] == 0
    opened = run("dataset", "open", made["candidates"], "CT_0001", "-o", tmp_path / "open", "--json").document
    assert len(opened["regions"]) == made["cases"][0]["regions"]
    assert {"regions.json", "alternatives.npz"} <= set(os.listdir(tmp_path / "open"))
    assert opened["regions"][0]["reason"] == "labels_differ"

"""The command line around the model that needs no network: what it writes, says and refuses, and how it ends."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import shutil
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
import typer
from command_line import runner

from activeseg import __version__
from activeseg.cli import main
from activeseg.commands.conversation import conversation
from activeseg.core.errors import DatasetError, ModelError
from activeseg.core.shapes import UsualShape
from activeseg.core.volume import Volume
from activeseg.io.images import read_label_map, read_volume, write_volume
from activeseg.io.seg_nrrd import write_segmentation
from activeseg.samples.phantom import Domain, make_phantom, phantom_geometry
from activeseg.segmenters.hounsfield import HOUNSFIELD_SCHEMA, HounsfieldSegmenter

FILES = {
    "alternatives.npz",
    "labels.nii.gz",
    "overview.png",
    "prediction.json",
    "regions.json",
    "segmentation.seg.nrrd",
    "uncertainty.nii.gz",
}


@pytest.fixture
def run(monkeypatch, capfd):
    return runner(monkeypatch, capfd)


@pytest.fixture(autouse=True)
def private_files(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))


@pytest.fixture(scope="module")
def ct_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("ct") / "ct.nii.gz"
    write_volume(make_phantom(Domain.CONTRAST, 3, geometry=phantom_geometry((8.0, 8.0, 10.0))).ct, path)
    return path


@pytest.fixture(scope="module")
def predicted_once(ct_file, tmp_path_factory):
    from activeseg.predictions.make_prediction import segment
    from activeseg.segmenters import open_segmenter

    folder = tmp_path_factory.mktemp("predicted") / "out"
    images = {"CT": read_volume(ct_file)}
    sources = {"CT": {"path": str(ct_file)}}
    segment(images, open_segmenter("hounsfield"), regions=3, sources=sources).save(folder, images)
    return folder


@pytest.fixture
def predicted(predicted_once, tmp_path):
    return shutil.copytree(predicted_once, tmp_path / "predicted")


@pytest.fixture
def edited(predicted, tmp_path):
    """The predicted label map with a block of bone drawn into its middle."""
    labels = read_label_map(predicted / "labels.nii.gz")
    array = labels.array.copy()
    k, j, i = (n // 2 for n in array.shape)
    array[k : k + 3, j : j + 3, i : i + 3] = HOUNSFIELD_SCHEMA.named("bone").value
    path = tmp_path / "edited.nii.gz"
    write_volume(Volume(array, labels.geometry), path)
    return path


def test_version(run):
    assert run("--version").out == f"activeseg {__version__}\n"


def test_help_lists_the_commands_and_exit_codes(run):
    shown = run("--help").out
    assert all(name in shown for name in ("models", "segment", "export", "dataset", "Exit codes"))


def test_models_are_listed_for_people_and_programs(run):
    assert "totalsegmentator:total-fast" in run("models").out
    models = run("models", "--json").document["models"]
    assert {"demo", "hounsfield", "totalsegmentator:total"} <= {model["name"] for model in models}
    assert all(model["structures"] for model in models)


def test_segment_writes_the_whole_folder_and_one_document(run, ct_file, tmp_path):
    out = tmp_path / "new" / "out"
    ended = run("segment", ct_file, "-m", "hounsfield", "-o", out, "--regions", 2, "--json")
    assert ended.code == 0, ended.err
    assert {path.name for path in out.iterdir()} == FILES
    assert os.listdir(out.parent) == ["out"]
    document = ended.document
    assert document["prediction"] == json.loads((out / "prediction.json").read_text())
    assert set(document["prediction"]["files"]) == FILES - {"prediction.json"}
    assert document["prediction"]["images"]["CT"]["path"] == str(ct_file)
    assert [region["number"] for region in document["regions"]] == [1, 2]
    bone = next(structure for structure in document["structures"] if structure["name"] == "bone")
    labels = read_label_map(out / "labels.nii.gz")
    assert bone["voxels"] == int((labels.array == bone["value"]).sum())
    assert bone["ml"] == pytest.approx(bone["voxels"] * 0.64, rel=1e-3)


def test_segment_says_what_is_unusual_beside_the_structure(run, ct_file, tmp_path, monkeypatch):
    usual = UsualShape(8, (0.0, 0.1), (0.9, 0.02), (8,))
    monkeypatch.setattr(HounsfieldSegmenter, "shapes", {"soft_tissue": usual})
    ct, around = read_volume(ct_file), tmp_path / "around.nii.gz"  # the image's edge cuts nothing here
    geometry = replace(ct.geometry, shape_kji=tuple(n + 4 for n in ct.array.shape))
    write_volume(Volume(np.pad(ct.array, 2, constant_values=-1000), geometry), around)
    ended = run("segment", around, "-m", "hounsfield", "-o", tmp_path / "out", "--json")
    told = {structure["name"]: structure["unusual"] for structure in ended.document["structures"]}
    warnings = ended.document["prediction"]["warnings"]
    assert [name for name, words in told.items() if words] == ["soft_tissue"]
    assert {warning["structure"] for warning in warnings} == {"soft_tissue"}
    assert len(told["soft_tissue"]) == len(warnings)
    ended = run("segment", around, "-m", "hounsfield", "-o", tmp_path / "shown")
    assert "UNUSUAL" in ended.out
    assert "mL instead of 0.7" in " ".join(ended.out.split())


def test_segment_shows_structures_and_places_to_a_person(run, ct_file, tmp_path):
    ended = run("segment", ct_file, "-m", "hounsfield", "-o", tmp_path / "out", "--structures", "bone,lungs")
    assert ended.code == 0, ended.err
    assert "lungs" in ended.out
    assert "REGION" in ended.out
    assert "soft_tissue" not in ended.out
    assert f"Written to {tmp_path / 'out'}" in ended.out


def wrong_inputs(tmp_path):
    """Files and folders that are no CT, by what the user must be told about them."""
    text = tmp_path / "notes.nii.gz"
    text.write_text("not an image")
    flat = tmp_path / "flat.nrrd"
    import SimpleITK as sitk  # noqa: N813

    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((8, 8), np.int16)), str(flat))
    cut = tmp_path / "cut.nii.gz"
    write_volume(make_phantom(Domain.CONTRAST, 3, geometry=phantom_geometry((20.0, 20.0, 20.0))).ct, cut)
    cut.write_bytes(cut.read_bytes()[:500])
    empty = tmp_path / "empty.nii.gz"
    empty.write_bytes(b"")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "readme.txt").write_text("nothing")
    return {
        tmp_path / "absent.nii.gz": "There is no file",
        text: "notes.nii.gz",
        flat: "2D",
        cut: "cut.nii.gz",
        empty: "empty",
        folder: "DICOM",
    }


@pytest.mark.parametrize("case", range(6))
def test_a_wrong_image_is_one_clear_error_and_nothing_is_written(run, tmp_path, case):
    path, told = list(wrong_inputs(tmp_path).items())[case]
    before = sorted(os.listdir(tmp_path))
    ended = run("segment", path, "-m", "hounsfield", "-o", tmp_path / "out", "--json")
    assert ended.code == 2
    assert ended.document["error"]["code"] == "input"
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("-m", "no-such-model"), 3, "There is no model 'no-such-model'"),
        (("-m", "totalsegmentator:toenail"), 3, "toenail"),
        (("-m", "nnunet:nowhere"), 3, "nowhere"),
        (("-m", "hounsfield", "--structures", "liver"), 2, "no structure 'liver'"),
        (("-m", "hounsfield", "--focus", "liver"), 2, "no structure 'liver'"),
        (("-m", "hounsfield", "--structures", "bone", "--focus", "fat"), 2, "not among the structures"),
        (("-m", "hounsfield", "--members", "none"), 2, "--members is 'none'"),
        (("-m", "hounsfield", "--channel", "T2=x.nii"), 2, "There is no channel 'T2'"),
        (("-m", "hounsfield", "--channel", "CT=x.nii"), 2, "Images needed: 1"),
        (("-m", "hounsfield", "--series", "2"), 2, "can only be chosen in DICOM"),
        (("-m", "hounsfield", "--device", "abacus"), 2, "abacus"),
        (("-m", "hounsfield", "--regions", "-1"), 2, "--regions"),
        (("-m", "hounsfield", "--no-such-option"), 2, "--no-such-option"),
        ((), 2, "--model"),
    ],
)
def test_a_wrong_option_is_one_clear_error_and_nothing_is_written(run, ct_file, tmp_path, options, code, told):
    ended = run("segment", ct_file, "-o", tmp_path / "out", *options, "--json")
    assert ended.code == code
    assert told in ended.err
    assert ended.document["error"]["message"]
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_never_overwritten(run, ct_file, tmp_path):
    precious = tmp_path / "out" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    ended = run("segment", ct_file, "-m", "hounsfield", "-o", tmp_path / "out", "--overwrite")
    assert ended.code == 2
    assert "not empty" in ended.err
    assert precious.read_text() == "years of work"


def test_a_prediction_is_replaced_only_when_told(run, ct_file, predicted):
    before = (predicted / "prediction.json").read_bytes()
    arguments = ("segment", ct_file, "-m", "hounsfield", "-o", predicted, "--members", "1")
    assert run(*arguments).code == 2
    assert (predicted / "prediction.json").read_bytes() == before
    assert run(*arguments, "--overwrite").code == 0
    assert len(json.loads((predicted / "prediction.json").read_text())["members"]) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_nothing_behind(run, ct_file, tmp_path, monkeypatch, number):
    import activeseg.predictions.overview

    monkeypatch.setattr(activeseg.predictions.overview, "write_overview", lambda *_, **__: signal.raise_signal(number))
    ended = run("segment", ct_file, "-m", "hounsfield", "-o", tmp_path / "out", "--json")
    assert ended.code == 130
    assert ended.document["error"]["code"] == "cancelled"
    assert os.listdir(tmp_path) == []


def test_export_stores_the_case_and_says_what_changed(run, predicted, edited, tmp_path):
    arguments = ("export", predicted, "--labels", edited, "-d", tmp_path / "data" / "bones", "--reviewed", "1-2")
    first = run(*arguments, "--annotator", "A. Reader", "--notes", "a lesion", "--json")
    assert first.code == 0, first.err
    document = first.document
    assert document["case"] == "CT_0001"
    assert document["added"]
    assert document["correction"]["annotator"] == "A. Reader"
    states = [region["state"] for region in document["correction"]["regions"]]
    assert set(states[:2]) <= {"accepted", "corrected"}
    changed = {entry["name"]: entry for entry in document["correction"]["structures"]}
    assert changed["bone"]["voxels_added"] > 0
    again = run(*arguments)
    assert "revision 2" in again.out
    assert "bone" in again.out
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["Dataset501_bones"]


def test_export_reads_slicers_segmentations_with_renamed_segments(run, predicted, tmp_path):
    labels = read_label_map(predicted / "labels.nii.gz")
    path = tmp_path / "edited.seg.nrrd"
    write_segmentation(path, labels.array, labels.geometry, HOUNSFIELD_SCHEMA)
    text = path.read_bytes()
    path.write_bytes(text.replace(b"Name:=fat\n", b"Name:=Fett\n"))
    ended = run("export", predicted, "--labels", path, "-d", tmp_path / "ds", "--review", "all", "--json")
    assert ended.code == 0, ended.err
    assert ended.document["correction"]["voxels_changed"] == 0
    assert "'Fett' is read as 'fat'." in ended.document["sentences"]


def renumbered(predicted, path):
    """The predicted label map as Slicer's export numbers it: the structures that are there are 1, 2, 3, ..."""
    labels = read_label_map(predicted / "labels.nii.gz")
    there = [v for v in np.unique(labels.array).tolist() if v]
    table = np.zeros(256, np.uint8)
    table[there[1:]] = range(1, len(there))  # the first one was deleted
    write_volume(Volume(table[labels.array], labels.geometry), path)
    return {str(n): HOUNSFIELD_SCHEMA.name_of(v) for n, v in enumerate(there[1:], start=1)}


def test_values_that_were_numbered_anew_are_refused_until_they_are_named(run, predicted, tmp_path):
    path, dataset = tmp_path / "edited.nii.gz", tmp_path / "Dataset700_x"
    meaning = renumbered(predicted, path)
    arguments = ("export", predicted, "--labels", path, "-d", dataset, "--review", "all")
    refused = run(*arguments)
    assert refused.code == 2
    assert "--map 2=liver" in refused.err
    assert not dataset.exists()
    options = [text for value, name in meaning.items() for text in ("--map", f"{value}={name}")]
    taken = run(*arguments, *options, "--json")
    assert taken.code == 0, taken.err
    (deleted,) = taken.document["correction"]["deleted"]
    assert deleted == HOUNSFIELD_SCHEMA.names[0]
    changed = {entry["name"]: entry for entry in taken.document["correction"]["structures"]}
    assert set(changed) == {deleted}


def test_a_corrected_label_map_of_a_case_is_not_believed_when_it_was_numbered_anew(
    run, dataset, predicted, ct_file, tmp_path
):
    path = tmp_path / "edited.nii.gz"
    meaning = renumbered(predicted, path)
    refused = run("dataset", "add", dataset, ct_file, path)
    assert refused.code == 2
    assert "--structures" in refused.err
    known = run("dataset", "show", dataset, "--json").document
    assert known["cases"][0]["revision"] == 1
    absent = [name for name in known["structures"] if name not in meaning.values()]
    names = ",".join([*meaning.values(), *absent])
    taken = run("dataset", "add", dataset, ct_file, path, "--structures", names, "--json")
    assert taken.document["revision"] == 2, taken.err


def test_what_a_label_map_on_another_grid_loses_is_told(run, predicted, tmp_path):
    labels = read_label_map(predicted / "labels.nii.gz")
    grid = labels.geometry
    shifted = replace(grid, origin_lps=tuple((grid.ijk_to_lps @ (0.3, 0.2, 5, 1))[:3].tolist()))
    path = tmp_path / "edited.nii.gz"
    write_volume(Volume(labels.array, shifted), path)
    ended = run("export", predicted, "--labels", path, "-d", tmp_path / "ds", "--review", "all", "--json")
    assert ended.code == 0, ended.err
    beyond = int((labels.array[-5:] == HOUNSFIELD_SCHEMA.named("fat").value).sum())
    assert f"'fat' has {beyond} voxels outside of the CT; they are cut off." in ended.document["sentences"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--reviewed", "99"), "no region 99"),
        (("--reviewed", "x"), "--reviewed is 'x'"),
        (("--map", "bone=fat"), "'bone' is no value"),
        (("--case", "../x"), "cannot be a case's name"),
        (("--review", "some"), "some"),
        (("--image", "gone.nii.gz"), "gone.nii.gz"),
    ],
)
def test_export_refuses_what_makes_no_sense_and_makes_no_dataset(run, predicted, edited, tmp_path, options, told):
    dataset = tmp_path / "Dataset700_x"
    ended = run("export", predicted, "--labels", edited, "-d", dataset, *options)
    assert ended.code in (2, 4)
    assert told in ended.err
    assert not dataset.exists()


def test_export_finds_a_moved_image_by_option_and_refuses_another_one(run, ct_file, predicted, edited, tmp_path):
    record = json.loads((predicted / "prediction.json").read_text())
    record["images"]["CT"]["path"] = str(tmp_path / "moved.nii.gz")
    (predicted / "prediction.json").write_text(json.dumps(record))
    arguments = ("export", predicted, "--labels", edited, "-d", tmp_path / "ds")
    assert "--image" in run(*arguments).err
    other = tmp_path / "other.nii.gz"
    ct = read_volume(ct_file)
    write_volume(Volume(ct.array + 1, ct.geometry), other)
    assert "not the one that was segmented" in run(*arguments, "--image", other).err
    assert run(*arguments, "--image", ct_file).code == 0


def test_a_dataset_from_truth_is_shown_verified_opened_and_corrected(run, ct_file, predicted, tmp_path):
    dataset = tmp_path / "Dataset700_truth"
    names = ",".join(HOUNSFIELD_SCHEMA.names)
    unnamed = run("dataset", "add", dataset, ct_file, predicted / "labels.nii.gz")
    assert unnamed.code == 2
    assert "--structures" in unnamed.err
    added = run("dataset", "add", dataset, ct_file, predicted / "labels.nii.gz", "--structures", names, "--json")
    assert added.code == 0, added.err
    assert added.document["case"] == "CT_0001"
    shown = run("dataset", "show", dataset, "--json").document
    assert shown["structures"] == list(HOUNSFIELD_SCHEMA.names)
    assert [(case["name"], case["origin"]) for case in shown["cases"]] == [("CT_0001", "truth")]
    assert "CT_0001" in run("dataset", "show", dataset).out
    assert run("dataset", "show", dataset, "CT_0001", "--json").document["record"]["case"] == "CT_0001"
    assert run("dataset", "show", dataset, "CT_0009").code == 4
    assert run("dataset", "verify", dataset, "--json").document["findings"] == []
    out = tmp_path / "opened"
    opened = run("dataset", "open", dataset, "CT_0001", "-o", out, "--json").document
    assert read_volume(out / opened["images"]["CT"]).geometry.same_grid(read_volume(ct_file).geometry)
    assert np.array_equal(
        read_label_map(out / "labels.nii.gz").array, read_label_map(predicted / "labels.nii.gz").array
    )
    again = run("dataset", "add", dataset, out / opened["images"]["CT"], out / opened["segmentation"], "--json")
    assert again.document["revision"] == 2, again.err
    assert run("dataset", "open", dataset, "CT_0001", "-o", out).code == 2


def test_a_new_dataset_takes_its_structures_from_segments(run, ct_file, predicted, tmp_path):
    segmentation = predicted / "segmentation.seg.nrrd"
    options = ("--map", "fat=tissue", "--map", "soft_tissue=tissue", "--map", "air=")
    added = run("dataset", "add", tmp_path / "ds", ct_file, segmentation, *options)
    assert added.code == 0, added.err
    assert "'air' is left out." in added.err
    structures = run("dataset", "show", tmp_path / "ds", "--json").document["structures"]
    assert "tissue" in structures
    assert not {"fat", "soft_tissue", "air"} & set(structures)


@pytest.fixture
def dataset(run, ct_file, predicted, tmp_path):
    folder = tmp_path / "Dataset700_x"
    ended = run("dataset", "add", folder, ct_file, predicted / "segmentation.seg.nrrd")
    assert ended.code == 0, ended.err
    return folder


def test_verify_ends_with_4_when_a_file_was_changed(run, dataset):
    label = dataset / "labelsTr" / "CT_0001.nii.gz"
    label.write_bytes(gzip.compress(gzip.decompress(label.read_bytes()) + b"x"))
    ended = run("dataset", "verify", dataset, "--json")
    assert ended.code == DatasetError.exit_code
    assert any("fingerprint" in finding["problem"] for finding in ended.document["findings"])


def test_a_case_is_removed_only_with_yes(run, dataset):
    assert run("dataset", "remove", dataset, "CT_0001").code == 2
    assert run("dataset", "show", dataset, "--json").document["cases"]
    assert run("dataset", "remove", dataset, "CT_0001", "--yes", "--json").document["removed"] == "CT_0001"
    assert not run("dataset", "show", dataset, "--json").document["cases"]


def test_a_migrated_case_waits_for_the_added_structure(run, dataset, tmp_path):
    ended = run(
        "dataset", "migrate", dataset, tmp_path / "Dataset701_y", "--add", "tumor", "--rename", "fat=Fett", "--json"
    )
    assert ended.code == 0, ended.err
    assert ended.document["waiting"] == ["CT_0001"]
    assert {"tumor", "Fett"} <= set(ended.document["structures"])
    assert run("dataset", "migrate", dataset, tmp_path / "Dataset702_z", "--remove", "liver").code == 2


def test_what_libraries_print_does_not_reach_stdout(capfd):
    with conversation(as_json=True, debug=False) as talk:
        os.write(1, b"please cite me\n")
        print("and me")
        talk.result({"answer": 1})
    assert capfd.readouterr().out == '{\n "answer": 1\n}\n'


@pytest.mark.parametrize("debug", [False, True])
def test_a_mistake_of_ours_is_a_sentence_and_with_debug_a_traceback(capfd, debug):
    with pytest.raises(typer.Exit) as end, conversation(as_json=True, debug=debug):
        raise ZeroDivisionError("of two")
    assert end.value.exit_code == 1
    out, err = capfd.readouterr()
    assert json.loads(out)["error"]["code"] == "error"
    assert "ZeroDivisionError" in err
    assert "of two" not in out, "it can hold a path with a patient's name"
    assert ("Traceback" in err) is ("of two" in err) is debug


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (MemoryError(), 5, "not enough memory"),
        (PermissionError(13, "Permission denied", "out"), 1, "Permission denied: 'out'"),
        (ModuleNotFoundError("No module", name="cc3d"), 1, "activeseg[engine]"),
        (KeyboardInterrupt(), 130, "Cancelled."),
    ],
)
def test_what_the_system_refuses_is_no_mistake_of_ours(capfd, error, code, told):
    with pytest.raises(typer.Exit) as end, conversation(as_json=False, debug=False):
        raise error
    assert end.value.exit_code == code
    err = capfd.readouterr().err
    assert told in err
    assert "mistake" not in err


def test_an_error_with_details_that_json_lacks_is_still_one_document(capfd):
    with pytest.raises(typer.Exit), conversation(as_json=True, debug=False):
        raise ModelError("Wrong.", spacing=float("nan"), folder=pathlib.Path("weights"))
    details = json.loads(capfd.readouterr().out)["error"]["details"]
    assert details == {"spacing": "NaN", "folder": "weights"}


def test_without_the_command_lines_packages_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "activeseg.commands.app", None)
    with pytest.raises(SystemExit, match=r"pip install 'activeseg\[engine\]'"):
        main()


def test_an_error_is_red_in_a_terminal_and_its_action_follows(capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with pytest.raises(typer.Exit), conversation(as_json=False, debug=False):
        raise ModelError("There is no [model].", "Take another one.")
    err = capfd.readouterr().err
    assert "\x1b[31mThere is no [model].\x1b[0m\nTake another one.\n" in err


def test_the_handlers_of_signals_are_as_before(capfd):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with conversation(as_json=False, debug=False):
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

"""A prediction folder appears whole or not at all, and says how it was made."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from activeseg.core.errors import InputError
from activeseg.core.records import to_json
from activeseg.core.segmenter import Settings
from activeseg.core.uncertainty_scale import shown_threshold
from activeseg.core.volume import Volume
from activeseg.predictions import overview
from activeseg.predictions.make_prediction import segment
from activeseg.predictions.prediction import RECORD, Prediction, check_output
from activeseg.review.shapes import shapes_of, usual_shapes
from activeseg.samples.phantom import Domain, make_phantom, phantom_geometry
from activeseg.segmenters import open_segmenter

FILES = {
    "alternatives.npz",
    "labels.nii.gz",
    "overview.png",
    "prediction.json",
    "regions.json",
    "segmentation.seg.nrrd",
    "uncertainty.nii.gz",
}


@pytest.fixture(scope="module")
def ct() -> Volume:
    return make_phantom(Domain.NATIVE, seed=1, geometry=phantom_geometry(spacing_xyz=(8.0, 8.0, 8.0))).ct


@pytest.fixture(scope="module")
def prediction(ct: Volume) -> Prediction:
    settings = Settings(structures=("bone", "fat", "lungs"))
    return segment({"CT": ct}, open_segmenter("hounsfield"), settings, focus=["bone"], regions=3)


def test_folder_holds_what_was_predicted(prediction: Prediction, ct: Volume, tmp_path: Path) -> None:
    prediction.save(tmp_path / "out", {"CT": ct})
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    read = Prediction.load(tmp_path / "out")
    assert np.array_equal(read.labels.array, prediction.labels.array)
    assert read.labels.geometry.same_grid(ct.geometry)
    np.testing.assert_allclose(read.uncertainty.array, prediction.uncertainty.array)
    assert to_json(read.regions) == to_json(prediction.regions)
    for name in ("schema", "decided", "measure", "members", "agreement", "focus", "model", "settings", "images"):
        assert getattr(read, name) == getattr(prediction, name), name


def test_the_record_says_what_an_entropy_of_one_stands_for(prediction: Prediction, ct: Volume, tmp_path: Path) -> None:
    assert prediction.threshold == shown_threshold(prediction.measure)
    prediction.save(tmp_path / "out", {"CT": ct})
    record = json.loads((tmp_path / "out" / "prediction.json").read_text("utf-8"))
    assert record["entropy_scale"] == "log 2, clipped"
    assert Prediction.load(tmp_path / "out").entropy_scale == "log 2, clipped"


def test_a_prediction_of_before_keeps_its_scale_and_its_threshold(
    prediction: Prediction, ct: Volume, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    prediction.save(folder, {"CT": ct})
    record = json.loads((folder / "prediction.json").read_text("utf-8"))
    del record["entropy_scale"]
    (folder / "prediction.json").write_text(json.dumps({**record, "measure": "entropy", "threshold": 0.25}), "utf-8")
    old = Prediction.load(folder)
    assert (old.entropy_scale, old.threshold) == ("log C", 0.25)
    assert old.to_dict()["entropy_scale"] == "log C"


def test_record_names_model_members_agreement_timings_and_image(prediction: Prediction, ct: Volume) -> None:
    record = json.loads(json.dumps(prediction.to_dict()))
    assert record["model"] == "hounsfield"
    assert record["decided"] == ["bone", "fat", "lungs"]
    assert record["focus"] == ["bone"]
    assert len(record["members"]) > 3
    assert 0 < record["agreement"] <= 1
    assert record["timings_s"]["total"] > 0
    assert record["images"]["CT"]["sha256"] == ct.sha256()


def test_regions_are_about_the_structures_in_focus(prediction: Prediction) -> None:
    assert 0 < len(prediction.regions) <= 3
    assert all("bone" in region.structures for region in prediction.regions)


def test_folder_of_somebody_else_is_not_touched(prediction: Prediction, ct: Volume, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not empty and holds no prediction"):
        prediction.save(tmp_path, {"CT": ct}, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_earlier_prediction_is_replaced_only_when_asked(prediction: Prediction, ct: Volume, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prediction.save(out, {"CT": ct})
    with pytest.raises(InputError, match="already holds a prediction"):
        prediction.save(out, {"CT": ct})
    record = json.loads((out / "prediction.json").read_text())
    (out / "prediction.json").write_text(json.dumps({**record, "model": "an older one"}))
    prediction.save(out, {"CT": ct}, overwrite=True)
    assert Prediction.load(out).model == "hounsfield"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_of_the_user_stay_when_a_prediction_is_replaced(
    prediction: Prediction, ct: Volume, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    prediction.save(out, {"CT": ct})
    theirs = {"edited.seg.nrrd": "an hour of work", "scene.mrb": "a scene", "notes/tumour.txt": "a note"}
    for name, text in theirs.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(text)
    prediction.save(out, {"CT": ct}, overwrite=True)
    assert {name: (out / name).read_text() for name in theirs} == theirs
    assert {path.name for path in out.iterdir()} == {*FILES, "edited.seg.nrrd", "scene.mrb", "notes"}
    assert Prediction.load(out).model == "hounsfield"


@pytest.mark.parametrize("how", ["edited", "replaced by a link"])
def test_a_segmentation_that_was_corrected_in_place_is_not_overwritten(
    prediction: Prediction, ct: Volume, tmp_path: Path, how: str
) -> None:
    out = tmp_path / "out"
    prediction.save(out, {"CT": ct})
    edited = out / "segmentation.seg.nrrd"
    corrected = edited.read_bytes() + b"an hour of work"
    if how == "edited":
        edited.write_bytes(corrected)
    else:
        (tmp_path / "mine.seg.nrrd").write_bytes(corrected)
        edited.unlink()
        edited.symlink_to(tmp_path / "mine.seg.nrrd")
    with pytest.raises(InputError, match=r"'segmentation\.seg\.nrrd' in .* was changed"):
        check_output(out, overwrite=True)
    with pytest.raises(InputError, match=r"'segmentation\.seg\.nrrd' in .* was changed"):
        prediction.save(out, {"CT": ct}, overwrite=True)
    assert edited.read_bytes() == corrected


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 1}', '{"format": 1, "files": {"thesis.txt": "0"}}'])
def test_a_folder_with_a_file_of_that_name_is_not_ours(
    prediction: Prediction, ct: Volume, tmp_path: Path, content: str
) -> None:
    (tmp_path / "prediction.json").write_text(content)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds no prediction that can be replaced"):
        prediction.save(tmp_path, {"CT": ct}, overwrite=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "prediction.json": content,
        "thesis.txt": "years of work",
    }


def test_a_prediction_of_an_earlier_version_is_replaced_too(prediction: Prediction, ct: Volume, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prediction.save(out, {"CT": ct})
    (out / "prediction.json").write_text(json.dumps(prediction.to_dict()))  # kept no list of its files
    (out / "labels.nii.gz").write_bytes(b"damaged")
    prediction.save(out, {"CT": ct}, overwrite=True)
    assert Prediction.load(out).model == "hounsfield"


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_only_its_owner_can_look_into_a_prediction_and_a_link_to_the_folder_stays(
    prediction: Prediction, ct: Volume, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for _ in range(2):
        prediction.save(tmp_path / "link", {"CT": ct}, overwrite=True)
        assert stat.S_IMODE((tmp_path / "out").lstat().st_mode) == 0o700
        assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out"]


def test_a_drive_that_refuses_rights_and_links_takes_a_prediction(
    prediction: Prediction, ct: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for name in ("chmod", "fchmod", "link", "fsync"):
        monkeypatch.setattr(os, name, refuse)
    for _ in range(2):
        prediction.save(tmp_path / "out", {"CT": ct}, overwrite=True)
        (tmp_path / "out" / "notes.txt").write_text("a note")
    assert (tmp_path / "out" / "notes.txt").read_text() == "a note"
    assert Prediction.load(tmp_path / "out").model == "hounsfield"


def test_failure_while_writing_keeps_the_earlier_prediction(
    prediction: Prediction, ct: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    prediction.save(out, {"CT": ct})
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(overview, "write_overview", disk_full)
    with pytest.raises(OSError, match="No space left"):
        prediction.save(out, {"CT": ct}, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is not a prediction"),
        ("{", "is damaged"),
        ('{"format": 99}', "has format 99, this version reads 1"),
        ('{"format": 1}', "is damaged"),
        ("[]", "not an object"),
    ],
)
def test_folder_that_is_no_prediction_is_refused_in_words(content: str | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "prediction.json").write_text(content)
    with pytest.raises(InputError, match=sentence):
        Prediction.load(tmp_path)


_ODD: dict[str, dict[str, object]] = {
    "a model of a number": {"model": 0},
    "images of a number": {"images": 1e400},
    "an image of a text": {"images": {"CT": ""}},
    "a path of a truth": {"images": {"CT": {"path": True, "sha256": "0" * 64}}},
    "a path with a zero": {"images": {"CT": {"path": "a\0b", "sha256": "0" * 64}}},
    "a fingerprint of a number": {"images": {"CT": {"path": "a", "sha256": 5}}},
    "a series of a list": {"images": {"CT": {"path": "a", "sha256": "0" * 64, "series": ["x"]}}},
    "a threshold that is none": {"threshold": float("nan")},
    "decided of numbers": {"decided": [1]},
    "decided of a text": {"decided": "bone"},
    "a measure of a list": {"measure": []},
    "a schema of a list": {"schema": []},
    "details of a text": {"details": "x"},
    "a lone surrogate": {"model": "\ud800"},
}


@pytest.mark.parametrize("name", _ODD)
def test_a_record_that_somebody_changed_is_one_error(
    name: str, prediction: Prediction, ct: Volume, tmp_path: Path
) -> None:
    prediction.save(tmp_path / "p", {"CT": ct})
    record = json.loads((tmp_path / "p" / RECORD).read_text())
    (tmp_path / "p" / RECORD).write_text(json.dumps({**record, **_ODD[name]}))
    with pytest.raises(InputError, match=r"prediction\.json is damaged: .*"):
        Prediction.load(tmp_path / "p")


def test_an_image_whose_path_is_not_utf8_is_read_back(prediction: Prediction, ct: Volume, tmp_path: Path) -> None:
    images = {"CT": {"path": os.fsdecode(b"/data/\xff.nii"), "sha256": ct.sha256()}}
    replace(prediction, images=images).save(tmp_path / "p", {"CT": ct})
    assert Prediction.load(tmp_path / "p").images == images


def test_focus_outside_of_the_chosen_structures_is_refused(ct: Volume) -> None:
    settings = Settings(structures=("bone",))
    with pytest.raises(InputError, match="'fat' is in focus but not among the structures"):
        segment({"CT": ct}, open_segmenter("hounsfield"), settings, focus=["fat"])


def test_a_correction_is_noted_and_what_is_unusual_follows_the_new_labels(prediction: Prediction) -> None:
    grid = prediction.labels.geometry
    k, j, i = np.ogrid[tuple(slice(0, n) for n in grid.shape_kji)]

    def ball(at: tuple[int, int, int], radius: float) -> np.ndarray:
        return (k - at[0]) ** 2 + (j - at[1]) ** 2 + (i - at[2]) ** 2 <= radius**2

    middle = tuple(n // 2 for n in grid.shape_kji)
    examples = [shapes_of(ball(middle, 5 + 0.1 * n).astype(np.uint8), grid, prediction.schema) for n in range(9)]
    name = prediction.schema.names[0]
    reference = usual_shapes({name: [shapes[name] for shapes in examples]})
    whole = prediction.corrected(ball(middle, 5.3).astype(np.uint8), {"by": "one"}, reference)
    small = whole.corrected(ball(middle, 1.5).astype(np.uint8), {"by": "two"}, reference)
    assert not whole.warnings
    assert {warning.structure for warning in small.warnings} == {name}
    assert not small.corrected(whole.labels.array, {"by": "three"}).warnings
    assert [note["by"] for note in small.details["corrected"]] == ["one", "two"]
    assert prediction.details.get("corrected") is None

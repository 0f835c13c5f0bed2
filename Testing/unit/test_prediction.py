"""A prediction folder appears whole or not at all, and says how it was made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from activeseg import overview
from activeseg.errors import InputError
from activeseg.phantom import Domain, make_phantom, phantom_geometry
from activeseg.prediction import Prediction
from activeseg.segment import segment
from activeseg.segmenters import open_segmenter
from activeseg.segmenters.base import Settings
from activeseg.volume import Volume

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
    assert [r.to_dict() for r in read.regions] == [r.to_dict() for r in prediction.regions]
    for name in ("schema", "decided", "measure", "members", "agreement", "focus", "model", "settings", "images"):
        assert getattr(read, name) == getattr(prediction, name), name


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
    (out / "prediction.json").write_text('{"format": 1, "old": true}')
    prediction.save(out, {"CT": ct}, overwrite=True)
    assert Prediction.load(out).model == "hounsfield"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


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
        ("[]", "has format None"),
    ],
)
def test_folder_that_is_no_prediction_is_refused_in_words(content: str | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "prediction.json").write_text(content)
    with pytest.raises(InputError, match=sentence):
        Prediction.load(tmp_path)


def test_focus_outside_of_the_chosen_structures_is_refused(ct: Volume) -> None:
    settings = Settings(structures=("bone",))
    with pytest.raises(InputError, match="'fat' is in focus but not among the structures"):
        segment({"CT": ct}, open_segmenter("hounsfield"), settings, focus=["fat"])

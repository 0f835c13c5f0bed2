"""A version knows what shape its structures have in the labels that it learned from, and says what is unusual."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finetuned import TINY, ended, piece, started

from activeseg.core.errors import ModelError
from activeseg.core.label_map import LabelMap
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Settings
from activeseg.core.shapes import ShapeFeature
from activeseg.core.volume import Volume
from activeseg.dataset import NewCase
from activeseg.learning.project.project import VERSIONS, Project
from activeseg.learning.project.version import RECORD, Version
from activeseg.learning.training.publication import shapes_learned
from activeseg.learning.training.training_basis import TrainingBasis
from activeseg.models import open_model
from activeseg.predictions.make_prediction import segment
from activeseg.predictions.prediction import Prediction
from activeseg.samples.phantom import PHANTOM_SCHEMA
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter

SPLEEN, LIVER, STOMACH = (PHANTOM_SCHEMA.named(name).value for name in ("spleen", "liver", "stomach"))
TRAINED, HELD_OUT = 8, 2


def ball(shape: tuple[int, ...], center: tuple[int, ...], radius: float) -> LabelMap:
    return np.asarray(
        sum((axis - at) ** 2 for axis, at in zip(np.ogrid[tuple(map(slice, shape))], center, strict=True)) <= radius**2
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Ten patients with a spleen of about 15 mL each, a liver that the image cuts, and once a stomach."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("shapes")
        patch.setenv("ACTIVESEG_PRIVATE_DIR", str(folder / "private"))
        project = Project.create(folder / "organs", "demo")
        for seed in range(TRAINED + HELD_OUT):
            phantom = piece(seed)
            labels = np.zeros(phantom.labels.array.shape, np.uint8)
            labels[ball(labels.shape, (12, 20, 20), 3.8 + 0.05 * seed)] = SPLEEN
            labels[:, :4, :4] = LIVER
            if seed == 0:
                labels[ball(labels.shape, (12, 30, 30), 4)] = STOMACH
            truth = Volume(labels, phantom.labels.geometry)
            case = project.dataset().add_case(NewCase.of_truth(phantom.ct, truth)).name
            project.admit(case, f"patient {seed}")
        yield project


@pytest.fixture(scope="module")
def version(project: Project) -> Version:
    state = ended(started(project, **TINY))
    assert state.error is None
    return project.version(state.version)


def test_a_version_carries_the_shapes_of_its_training_labels(version: Version) -> None:
    assert len(version.data) == TRAINED
    assert list(version.shapes) == ["spleen"], "the image cuts the liver, and one stomach says nothing"
    usual = version.shapes["spleen"]
    assert (usual.labels, usual.pieces) == (TRAINED, (TRAINED,))
    assert 12 < np.exp(usual.log_ml[0]) < 22


def test_shapes_are_named_as_the_model_names_them(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    basis = TrainingBasis.of(project, "", "")
    state = project.state
    renamed = replace(state, matching={**state.matching, "spleen": "gallbladder"})
    monkeypatch.setattr(Project, "state", property(lambda _self: renamed))
    assert list(shapes_learned(project, basis, Progress())) == ["gallbladder"]


def test_its_segmenter_says_what_is_unusual_and_the_base_model_says_nothing(project: Project, version: Version) -> None:
    segmenter = open_model(f"project:{project.folder}@{version.id}")
    assert segmenter.shapes == version.shapes
    assert open_model(f"project:{project.folder}@base").shapes is None
    assert open_model("demo").shapes is None
    ct = piece(20).ct
    prediction = segment({segmenter.channels[0]: ct}, Unusual(segmenter), Settings(device="cpu", members=1))
    told = {warning.feature: warning for warning in prediction.warnings}
    assert {warning.structure for warning in prediction.warnings} == {"spleen"}
    assert told[ShapeFeature.PIECES].words == "two pieces"
    assert told[ShapeFeature.VOLUME].value > told[ShapeFeature.VOLUME].usual[1]


class Unusual(NnUNetSegmenter):
    """The version's own segmenter, which finds a spleen in two pieces whatever it sees."""

    def __init__(self, version: NnUNetSegmenter) -> None:
        super().__init__(version.folder, version.name, version.schema, version.shapes)

    def segment(self, images, settings, progress):  # type: ignore[no-untyped-def]
        found = super().segment(images, settings, progress)
        labels = np.zeros_like(found.labels)
        labels[ball(labels.shape, (12, 20, 20), 6)] = SPLEEN
        labels[ball(labels.shape, (12, 34, 34), 3)] = SPLEEN
        return replace(found, labels=labels)


def test_warnings_are_kept_in_the_prediction_and_change_no_region(
    project: Project, version: Version, tmp_path: Path
) -> None:
    segmenter = open_model(f"project:{project.folder}@{version.id}")
    ct, settings = piece(21).ct, Settings(device="cpu", members=1)
    assert isinstance(segmenter, NnUNetSegmenter)
    images = {segmenter.channels[0]: ct}
    without = Unusual(NnUNetSegmenter(segmenter.folder, segmenter.name, segmenter.schema))
    plain, warned = segment(images, without, settings), segment(images, Unusual(segmenter), settings)
    assert plain.warnings == ()
    assert [region.box_kji for region in warned.regions] == [region.box_kji for region in plain.regions]
    assert np.array_equal(warned.labels.array, plain.labels.array)
    warned.save(tmp_path / "out", images)
    assert Prediction.load(tmp_path / "out").warnings == warned.warnings
    record = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert record["warnings"][0]["structure"] == "spleen"
    del record["warnings"]
    (tmp_path / "out" / "prediction.json").write_text(json.dumps(record))
    assert Prediction.load(tmp_path / "out").warnings == ()


def test_a_version_of_before_has_no_shapes_and_a_damaged_reference_is_told(project: Project, version: Version) -> None:
    file = project.folder / VERSIONS / version.id / RECORD
    text = file.read_text()
    record = json.loads(text)
    try:
        file.write_text(json.dumps({key: value for key, value in record.items() if key != "shapes"}))
        assert project.version(version.id).shapes == {}
        assert open_model(f"project:{project.folder}@{version.id}").shapes is None
        file.write_text(json.dumps({**record, "shapes": {"spleen": {"labels": 3}}}))
        with pytest.raises(ModelError, match=r"shapes\.spleen\.labels"):
            project.version(version.id)
    finally:
        file.write_text(text)

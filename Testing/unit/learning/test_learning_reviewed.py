"""Which voxels of a held-out case a person vouches for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_cases import update_case

from activeseg.core.correction import Correction, RegionReview, RegionState, Review
from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase, Provenance
from activeseg.dataset.training_labels import TrainingSummary
from activeseg.learning.measuring.evaluation import reviewed_voxels
from activeseg.learning.project.project import Project
from activeseg.learning.project.readiness import to_review, waiting_cases, worth_it

SCHEMA = LabelSchema.from_names(["liver", "spleen"])
SHAPE = (4, 6, 8)
GEOMETRY = Geometry.from_ijk_to_ras(np.diag([2.0, 2.0, 2.0, 1.0]), SHAPE)
BOX = ((1, 3), (2, 4), (0, 5))


def provenance(review: Review, model: str = "demo", state: RegionState = RegionState.ACCEPTED) -> Provenance:
    labels = np.zeros(SHAPE, np.uint8)
    regions = [RegionReview(1, BOX, state)]
    correction = Correction.between(labels, labels, GEOMETRY, SCHEMA, regions=regions)
    training = TrainingSummary(review, labels.size, {}, {}, 0, 1)
    return Provenance.of_correction(correction, training, decided=SCHEMA.names, model=model)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset.create(tmp_path / "Dataset801_Test", SCHEMA, private_dir=tmp_path / "private")


def ct(seed: int) -> Volume:
    return Volume(np.random.default_rng(seed).integers(-100, 100, SHAPE).astype(np.int16), GEOMETRY)


def labels() -> np.ndarray:
    found = np.ones(SHAPE, np.uint8)
    found[1, 2, 0] = SCHEMA.ignore_value
    return found


def seen(dataset: Dataset, case: str, whole: bool = False) -> np.ndarray:
    return reviewed_voxels(dataset.record(case), dataset.open_case(case).labels.array, SCHEMA.ignore_value, whole)


def test_of_a_truth_and_of_a_whole_review_all_but_ignore_counts(dataset: Dataset) -> None:
    truth = dataset.add_case(NewCase.of_truth(ct(1), Volume(labels(), GEOMETRY))).name
    reviewed = dataset.add_case(NewCase(ct(2), labels(), GEOMETRY, provenance(Review.ALL))).name
    for case in (truth, reviewed):
        assert np.array_equal(seen(dataset, case), labels() != SCHEMA.ignore_value)


def test_else_only_the_boxes_of_reviewed_regions_count(dataset: Dataset) -> None:
    case = dataset.add_case(NewCase(ct(1), labels(), GEOMETRY, provenance(Review.REGIONS))).name
    expected = np.zeros(SHAPE, bool)
    expected[tuple(slice(*span) for span in BOX)] = True
    expected[1, 2, 0] = False
    assert np.array_equal(seen(dataset, case), expected)
    skipped = dataset.add_case(
        NewCase(ct(2), labels(), GEOMETRY, provenance(Review.REGIONS, state=RegionState.SKIPPED))
    ).name
    assert not seen(dataset, skipped).any()


def test_a_case_that_was_opened_again_keeps_what_was_reviewed_before(dataset: Dataset) -> None:
    case = dataset.add_case(NewCase(ct(1), labels(), GEOMETRY, provenance(Review.REGIONS))).name
    before = seen(dataset, case)
    update_case(dataset, case, labels(), GEOMETRY, provenance(Review.ALL, model="", state=RegionState.OPEN))
    assert np.array_equal(seen(dataset, case), before)
    assert np.array_equal(seen(dataset, case, whole=True), labels() != SCHEMA.ignore_value)


def test_held_out_cases_are_named_until_somebody_went_through_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))
    project = Project.create(tmp_path / "p", "demo")
    dataset = project.dataset()
    found = np.ones(SHAPE, np.uint8)
    half = Provenance.of_correction(
        Correction.between(found, found, GEOMETRY, dataset.schema),
        TrainingSummary(Review.REGIONS, found.size, {}, {}, 0, 0),
        decided=dataset.schema.names,
        model="demo",
    )
    for seed, patient in enumerate("AB"):
        project.admit(dataset.add_case(NewCase(ct(seed), found, GEOMETRY, half)).name, patient)
    assert to_review(project) == ("CT_0002",)
    assert "not fully reviewed yet: CT_0002" in worth_it(project, waiting_cases(project), to_review(project))
    with pytest.raises(InputError, match="'CT_0001' is not held out"):
        project.mark_reviewed("CT_0001")
    project.mark_reviewed("CT_0002")
    assert project.state.reviewed == ("CT_0002",)
    assert to_review(project) == ()

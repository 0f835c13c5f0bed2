"""A structure that the base model does not know: drawn, exported, learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from finetuned import TINY, ended, piece

from activeseg.core.correction import Review
from activeseg.core.errors import DatasetError
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.corrections.exporting import CorrectedCase, export_correction
from activeseg.dataset import Dataset
from activeseg.io.images import write_volume
from activeseg.learning.project.project import Project
from activeseg.learning.training.finetuning import plan_finetuning, start_finetuning
from activeseg.learning.training.run_folder import Stage
from activeseg.models import open_model
from activeseg.predictions.make_prediction import segment


def test_everything_counts_says_nothing_about_structures_that_were_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))
    phantom = piece(0)
    settings = Settings(device="cpu", members=1, structures=("liver",))
    prediction = segment({"CT": phantom.ct}, open_model("demo"), settings, regions=0)
    edited = tmp_path / "edited.nii.gz"
    write_volume(prediction.labels, edited)
    corrected = CorrectedCase(prediction, edited, {"CT": phantom.ct}, review=Review.ALL)
    exported = export_correction(corrected, tmp_path / "Dataset801_Liver")
    assert Dataset.open(exported.dataset).schema.names == ("liver",)


def test_a_new_structure_is_drawn_exported_and_found_by_the_next_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))
    project = Project.create(tmp_path / "tumours", "demo", new_structures=["tumour"])
    segmenter = open_model(f"project:{project.folder}")
    demo = open_model("demo")
    assert segmenter.networks(Settings()) == demo.networks(Settings()) != ()
    phantom = piece(0)
    prediction = segment({"CT": phantom.ct}, segmenter, Settings(device="cpu", members=1), regions=0)
    assert prediction.schema.names[-1] == "tumour"
    assert "tumour" not in prediction.decided
    edited = tmp_path / "edited.nii.gz"
    write_volume(prediction.labels, edited)

    def export(review: Review) -> str | None:
        dataset = project.dataset().folder
        corrected = CorrectedCase(prediction, edited, {"CT": phantom.ct}, review=review, patient="A")
        return export_correction(corrected, dataset).case

    with pytest.raises(DatasetError, match="tumour"):  # nobody said whether there is one
        export(Review.NONE)
    assert export(Review.ALL) == "CT_0001"  # there is none
    labels = prediction.labels.array.copy()
    labels[8:14, 10:20, 10:20] = prediction.schema.named("tumour").value
    write_volume(Volume(labels, prediction.labels.geometry), edited)
    assert export(Review.NONE) == "CT_0001"  # there is one
    project.admit_known()
    run = start_finetuning(project, plan_finetuning(project, TINY, device="cpu").plan)
    assert ended(run).stage is Stage.DONE
    learnt = open_model(f"project:{project.folder}@v0001")
    assert learnt.schema.names == segmenter.schema.names
    found = segment({"CT": phantom.ct}, learnt, Settings(device="cpu", members=1), regions=0)
    assert "tumour" in found.decided
    assert np.isin(found.labels.array, range(len(found.schema) + 1)).all()

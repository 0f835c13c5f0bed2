"""What version 0.1.0 wrote is read; and where it is damaged, each command says what it must say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from damaged_files import DATASETS, DRAFTS, GOOD, OPENS, PREDICTIONS, PROJECTS, Damage

from activeseg.client.kept_drafts import KeptDraft
from activeseg.core.correction import RegionState
from activeseg.core.errors import ActiveSegError, DatasetError
from activeseg.core.segmenter import Mode, Settings
from activeseg.corrections.drafts import Draft, drafts_in
from activeseg.corrections.exporting import CorrectedCase, export_correction
from activeseg.corrections.opened import OpenedLabels
from activeseg.dataset import Dataset, NewCase, Origin
from activeseg.dataset.recovery import recover_dataset
from activeseg.dataset.verification import verify_dataset
from activeseg.io.images import read_volume
from activeseg.learning.bundle import import_version
from activeseg.learning.project.project import Project
from activeseg.learning.project_check import check_project
from activeseg.learning.training.run_folder import RunFolder, Stage
from activeseg.predictions.prediction import Prediction, check_output


@pytest.fixture
def files(tmp_path: Path) -> Path:
    shutil.copytree(GOOD, tmp_path / "files")
    return tmp_path / "files"


def test_a_prediction_is_read(files: Path) -> None:
    prediction = Prediction.load(files / "prediction")
    ct = read_volume(files / "ct.nii.gz")
    assert prediction.images["CT"]["sha256"] == ct.sha256()
    assert prediction.labels.geometry.same_grid(ct.geometry)
    assert prediction.settings == Settings(mode=Mode.FAST, structures=("bone", "fat", "lungs"))
    assert (prediction.model, prediction.measure, prediction.focus) == ("hounsfield", "variance", ("bone",))
    assert len(prediction.members) == 7
    assert [region.number for region in prediction.regions] == [1, 2]
    assert any(region.alternatives for region in prediction.regions)
    for region in prediction.regions:
        for alternative in region.alternatives:
            shape = tuple(high - low for low, high in region.box_kji)
            assert alternative.labels.shape == alternative.changed.shape == shape
    check_output(files / "prediction", overwrite=True)


def test_a_draft_of_a_prediction_is_read_by_both_readers(files: Path) -> None:
    folder = files / "drafts/predicted"
    draft, kept = Draft.open(folder), KeptDraft.open(folder)
    ct = read_volume(files / "ct.nii.gz")
    assert draft.read_images()["CT"].sha256() == kept.read_image().sha256() == ct.sha256()
    assert draft.state == kept.state == {"name": "Case 1", "seconds": 61.5}
    assert draft.has_edits
    assert kept.has_edits
    base = draft.read_base()
    assert isinstance(base, Prediction)
    assert {region.state for region in base.regions} == {RegionState.ACCEPTED}
    edits, layers = draft.read_edits(), kept.read_layers()
    assert edits is not None
    assert layers is not None
    assert edits.layers == layers[0] == {"layers": [{"first_ijk": [1, 2, 3]}]}
    assert np.array_equal(edits.arrays[0], layers[1][0])
    regions = kept.read_regions()
    assert regions is not None
    assert [entry["state"] for entry in regions[0]] == ["accepted", "accepted"]


def test_a_draft_of_an_opened_case_is_read(files: Path) -> None:
    base = Draft.open(files / "drafts/opened").read_base()
    assert isinstance(base, OpenedLabels)
    assert (base.decided, base.origin.case) == (("liver", "spleen"), "CT_0001")
    assert base.schema.names == ("liver", "spleen", "kidney")
    assert {draft.id for draft in drafts_in(files / "drafts")} == {"predicted", "opened"}


def test_a_dataset_with_history_is_read_and_goes_on(files: Path) -> None:
    dataset = Dataset.open(files / "Dataset501_Organs", private_dir=files / "private")
    assert {name: entry.revision for name, entry in dataset.cases().items()} == {"CT_0001": 2, "CT_0002": 1}
    assert dataset.schema.labels[0].terminology is not None
    record = dataset.record("CT_0001")
    assert [past.provenance.origin for past in record.history] == [Origin.TRUTH]
    assert record.current.provenance.replaces == 1
    assert record.current.provenance.correction["structures"]
    assert dataset.private.sources()["CT_0002"] == {"patient": "P2"}
    assert verify_dataset(dataset) == []
    opened = dataset.open_case("CT_0001")
    assert dataset.add_case(NewCase.of_truth(opened.images["CT"], opened.labels)).revision == 3
    assert verify_dataset(dataset) == []


def test_an_exported_correction_is_read(files: Path) -> None:
    dataset = Dataset.open(files / "Dataset502_Tissues", private_dir=files / "private")
    provenance = dataset.record("CT_0001").current.provenance
    assert provenance.settings["structures"] == ["bone", "fat", "lungs"]
    assert [region["state"] for region in provenance.correction["regions"]] == ["accepted", "accepted"]
    assert provenance.correction["annotator"] == "rm"
    assert verify_dataset(dataset) == []


def test_a_prediction_is_exported_with_the_fields_of_its_settings(files: Path) -> None:
    prediction = Prediction.load(files / "prediction")
    private, images = files / "private", {"CT": read_volume(files / "ct.nii.gz")}
    target = files / "Dataset503_New"
    corrected = CorrectedCase(prediction, prediction.labels, images=images)
    export_correction(corrected, target, private_dir=private)
    new = Dataset.open(target, private_dir=private).record("CT_0001").current.provenance
    old = Dataset.open(files / "Dataset502_Tissues", private_dir=private).record("CT_0001").current.provenance
    assert new.settings == old.settings


def test_a_project_with_a_version_and_a_run_is_read(files: Path) -> None:
    project = Project.open(files / "livers", files / "private")
    assert project.state.current == "v0001"
    assert check_project(files / "livers", private_dir=files / "private") == []
    version = project.version("v0001")
    assert version.verdict is not None
    assert (version.verdict.promoted, version.seeds, version.plan["epochs"]) == (True, (5,), 3)
    run = RunFolder.last_of(project)
    assert (run.state.stage, run.state.dice) == (Stage.DONE, {"liver": 0.9})
    assert run.asked.cases.corrected == {"CT_0001": "ab" * 32}
    project.promote("base", "back")
    assert Project.open(files / "livers", files / "private").state.current == "base"


def test_an_exported_version_is_imported(files: Path, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "abdomen", "demo", private_dir=tmp_path / "private")
    version = import_version(project, files / "livers-v0001.zip")
    assert (version.id, version.imported) == ("v0001", "livers v0001")
    assert version.verdict is not None
    assert version.verdict.structures[0].after == 0.9


def said(pattern: str, sentences: list[str]) -> None:
    told = "\n".join(sentences)
    assert bool(told) == bool(pattern), told
    assert re.search(pattern, told), told


def opening(damage: Damage, open_it) -> None:
    try:
        open_it()
    except ActiveSegError as error:
        said(damage.opening, [str(error)])
    else:
        assert damage.opening == OPENS


@pytest.mark.parametrize("name", DATASETS)
def test_a_damaged_dataset(name: str, files: Path) -> None:
    damage, folder = DATASETS[name], files / "Dataset501_Organs"
    damage.change(folder)

    def read() -> None:
        dataset = Dataset.open(folder, private_dir=files / "private")
        for case in dataset.cases():
            dataset.open_case(case)

    opening(damage, read)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    try:
        found = [f.problem for f in verify_dataset(Dataset.open(folder, private_dir=files / "private", only_look=True))]
    except ActiveSegError:
        assert not damage.check
    else:
        said(damage.check, found)
    if not damage.left:
        with pytest.raises(DatasetError):
            recover_dataset(folder, private_dir=files / "private")
        assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
        return
    recovered = recover_dataset(folder, private_dir=files / "private")
    assert re.search(damage.repair, "\n".join(recovered.sentences()))
    assert tuple(Dataset.open(folder, private_dir=files / "private").cases()) == damage.left
    kept = {path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lost = [path for path, data in before.items() if data not in kept and path.name != "dataset.json"]
    assert not lost, "recovering deletes nothing"


@pytest.mark.parametrize("name", PROJECTS)
def test_a_damaged_project(name: str, files: Path) -> None:
    damage, folder = PROJECTS[name], files / "livers"
    damage.change(folder)

    def read() -> None:
        project = Project.open(folder, files / "private")
        project.version(project.state.current)
        project.dataset()

    opening(damage, read)
    told = []
    for repair in (False, True):
        try:
            problems = check_project(folder, repair, files / "private")
            told.append([f"{p.where}: {p.what} {p.mending}" for p in problems])
        except ActiveSegError as error:
            told.append([str(error)])
    said(damage.check, told[0])
    if damage.repair:
        said(damage.repair, told[1])
        assert check_project(folder, private_dir=files / "private") == []
        assert tuple(Project.open(folder, files / "private").versions()) == damage.left


@pytest.mark.parametrize("name", DRAFTS)
def test_a_damaged_draft(name: str, files: Path) -> None:
    damage, folder = DRAFTS[name], files / "drafts/predicted"
    damage.change(folder)

    def read() -> None:
        draft = Draft.open(folder)
        draft.read_images()
        draft.read_base()
        draft.read_edits()

    def read_without_engine() -> None:
        draft = KeptDraft.open(folder)
        draft.read_image()
        draft.read_labels()
        draft.read_layers()
        draft.read_regions()

    opening(damage, read)
    opening(damage, read_without_engine)
    assert "opened" in {draft.id for draft in drafts_in(files / "drafts")}, "the others are still there"


@pytest.mark.parametrize("name", PREDICTIONS)
def test_a_damaged_prediction(name: str, files: Path) -> None:
    damage, folder = PREDICTIONS[name], files / "prediction"
    damage.change(folder)
    opening(damage, lambda: Prediction.load(folder))

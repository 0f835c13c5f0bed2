"""Candidates of a whole dataset: the old one stays as it is, and what was finished stays whatever happens then."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forked import in_child

from activeseg.candidates.lists import FOLDER, RECORD, listed_regions
from activeseg.candidates.of_dataset import refine_dataset
from activeseg.candidates.outcome import CaseState
from activeseg.candidates.proposers import ModelProposer
from activeseg.candidates.rule import Rule
from activeseg.core.correction import RegionReason, RegionState
from activeseg.core.errors import Cancelled, DatasetError, InputError
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase, Origin
from activeseg.dataset.migration import migrate_dataset
from activeseg.dataset.verification import verify_dataset
from activeseg.predictions.make_prediction import segment
from activeseg.samples.phantom import Domain, make_phantom, phantom_geometry
from activeseg.segmenters import open_segmenter

SCHEMA = LabelSchema.from_names(["lungs", "tumour", "bone"])
LUNGS, TUMOUR, BONE, IGNORE = 1, 2, 3, 4
TURNED = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, -1]], float)


def example(seed: int, turned: bool = False) -> tuple[Volume, Volume]:
    """A coarse CT and an old label map: half of the bone is lost, a tumour that no model knows, a corner ignored."""
    geometry = phantom_geometry((8.0, 8.0, 8.0), TURNED if turned else None)
    phantom = make_phantom(Domain.CONTRAST, seed, geometry=geometry)
    found = segment({"CT": phantom.ct}, open_segmenter("hounsfield"), regions=0)
    values = {"lungs": LUNGS, "bone": BONE}
    old = np.zeros(geometry.shape_kji, np.uint8)
    for name, value in values.items():
        old[found.labels.array == found.schema.named(name).value] = value
    lungs = np.argwhere(old == LUNGS)
    for middle in lungs[len(lungs) // 2], lungs[len(lungs) // 5]:
        old[tuple(slice(at - 1, at + 2) for at in middle)] = TUMOUR
    bone = np.flatnonzero(old == BONE)
    old.reshape(-1)[bone[: len(bone) // 2]] = 0
    old[:2, :3, :3] = IGNORE
    return phantom.ct, Volume(old, geometry)


EXAMPLES = [example(1), example(2, turned=True), example(3)]


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return tmp_path / "private"


@pytest.fixture
def source(tmp_path: Path, private: Path) -> Dataset:
    dataset = Dataset.create(tmp_path / "Dataset501_Old", SCHEMA, private_dir=private)
    for number, (ct, old) in enumerate(EXAMPLES):
        dataset.add_case(replace(NewCase.of_truth(ct, old), source={"patient": f"P{number}"}))
    return dataset


def rules(dataset: Dataset, members: int | str = "auto", structures: tuple[str, ...] = ()) -> ModelProposer:
    return ModelProposer(open_segmenter("hounsfield"), Settings(members=members), dataset.schema, structures)


def refine(source: Dataset, private: Path, name: str = "Dataset502_New", **how):
    output = source.folder.parent / name
    proposer = rules(source, how.pop("members", "auto"), how.pop("structures", ()))
    return refine_dataset(source, output, proposer, private_dir=private, **how)


def contents(folder: Path) -> Mapping[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def states(done) -> dict[str, str]:
    return {case.case: case.state.value for case in done.cases}


def test_a_candidate_has_what_all_members_see_and_keeps_what_no_model_knows(source, private):
    before = contents(source.folder)
    done = refine(source, private)
    assert states(done) == {"CT_0001": "made", "CT_0002": "made", "CT_0003": "made"}
    assert contents(source.folder) == before, "the old dataset is as it was, byte for byte"
    target = Dataset.open(done.folder, private_dir=private)
    assert verify_dataset(target) == []
    assert target.schema == source.schema
    for name, (ct, old) in zip(target.cases(), EXAMPLES, strict=True):
        opened = target.open_case(name)
        new = opened.labels.array
        assert opened.labels.geometry.same_grid(ct.geometry)
        assert np.array_equal(opened.images["CT"].array, ct.array)
        for value in (TUMOUR, IGNORE):
            assert np.array_equal(new == value, old.array == value)
        assert (new == BONE).sum() > 1.3 * (old.array == BONE).sum(), "the lost bone is back where all agree"
        assert ((new != old.array) <= (new == BONE) | (old.array == BONE)).all()
    assert target.private.sources()["CT_0002"] == {"patient": "P1"}, "a project keeps the patient on one side"


def test_a_candidate_says_that_a_machine_made_it_of_what_and_how(source, private):
    done = refine(source, private)
    target = Dataset.open(done.folder, private_dir=private)
    provenance = target.record("CT_0001").current.provenance
    assert provenance.origin is Origin.MACHINE
    assert not provenance.vouches_for_all
    assert provenance.model == "hounsfield"
    assert provenance.correction["annotator"] == "machine"
    (bone,) = [change for change in provenance.correction["structures"] if change["name"] == "bone"]
    assert bone["voxels_added"] > 0
    settings = provenance.settings
    assert settings["rule"] == {"least_agreement": 0.85, "least_probability": 0.9}
    assert settings["structures"] == ["lungs", "bone"]
    record = source.record("CT_0001").current
    assert settings["source"]["label_sha256"] == record.label.sha256
    assert settings["source"]["voxels_sha256"] == source.cases()["CT_0001"].voxels_sha256
    assert done.cases[0].changed_voxels == provenance.correction["voxels_changed"]


def test_all_other_differences_are_listed_beside_the_candidate(source, private):
    done = refine(source, private)
    target = Dataset.open(done.folder, private_dir=private)
    record = target.record("CT_0001")
    regions = listed_regions(target.folder, record)
    assert len(regions) == done.cases[0].regions
    assert {region.reason for region in regions} == {RegionReason.LABELS_DIFFER}
    tumour = next(region for region in regions if "tumour" in region.structures)
    assert tumour.alternatives[0].members == ("hounsfield",)
    (told,) = (json.loads(path.read_text()) for path in target.folder.glob(f"{FOLDER}/CT_0001-*/{RECORD}"))
    assert told["agreement"]["lungs"] > 0.85
    assert told["members"] == 7
    assert target.unlisted().files == (), "nnU-Net and the dataset know nothing of the list"


def test_a_second_run_does_nothing_again(source, private):
    first = refine(source, private)
    before = contents(first.folder)
    assert set(states(refine(source, private)).values()) == {"kept"}
    assert contents(first.folder) == before


def test_a_case_whose_labels_changed_is_refined_again(source, private):
    first = refine(source, private)
    ct, old = EXAMPLES[1]
    changed = old.array.copy()
    changed[5:8, 5:8, 5:8] = TUMOUR
    source.add_case(NewCase.of_truth(ct, Volume(changed, old.geometry)))
    assert states(refine(source, private)) == {"CT_0001": "kept", "CT_0002": "made", "CT_0003": "kept"}
    target = Dataset.open(first.folder, private_dir=private)
    assert (target.open_case("CT_0002").labels.array[5:8, 5:8, 5:8] == TUMOUR).all()
    assert len(list(target.folder.glob(f"{FOLDER}/CT_0002-*"))) == 1
    assert verify_dataset(target) == []


def test_another_image_under_the_same_name_is_another_case(source, private):
    first = refine(source, private)
    source.remove_case("CT_0002")
    ct, old = example(9)
    source.add_case(replace(NewCase.of_truth(ct, old), name="CT_0002"))
    assert states(refine(source, private, cases=["CT_0002"])) == {"CT_0002": "made"}
    target = Dataset.open(first.folder, private_dir=private)
    assert np.array_equal(target.open_case("CT_0002").images["CT"].array, ct.array)
    assert verify_dataset(target) == []


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"members": 3}, "another members: 'auto', not 3"),
        ({"structures": ("bone",)}, "another structures"),
        ({"rule": Rule(least_agreement=0.5)}, "another rule"),
    ],
)
def test_candidates_of_other_settings_are_not_mixed(source, private, how, said):
    first = refine(source, private, cases=["CT_0001"])
    before = contents(first.folder)
    with pytest.raises(DatasetError, match=said):
        refine(source, private, **how)
    assert contents(first.folder) == before


def test_a_candidate_that_a_person_reviewed_is_left_alone(source, private):
    first = refine(source, private)
    target = Dataset.open(first.folder, private_dir=private)
    ct, old = EXAMPLES[0]
    target.add_case(NewCase.of_truth(ct, old))
    assert states(refine(source, private)) == {"CT_0001": "reviewed", "CT_0002": "kept", "CT_0003": "kept"}
    assert np.array_equal(target.open_case("CT_0001").labels.array, old.array)


@pytest.mark.parametrize("place", ["Dataset501_Old", "Old", "Dataset501_Old/imagesTr/Dataset7_New"])
def test_nothing_is_written_into_the_old_dataset(source, private, place):
    before = contents(source.folder)
    with pytest.raises(InputError, match="stay as they are"):
        refine(source, private, place)
    assert contents(source.folder) == before


def test_a_dataset_that_holds_other_cases_is_refused(source, private, tmp_path):
    other = Dataset.create(tmp_path / "Dataset502_New", SCHEMA, private_dir=private)
    other.add_case(NewCase.of_truth(*EXAMPLES[0]))
    with pytest.raises(DatasetError, match="'CT_0001', which is no candidate"):
        refine(source, private)


def test_a_dataset_with_other_structures_is_refused(source, private, tmp_path):
    Dataset.create(tmp_path / "Dataset502_New", LabelSchema.from_names(["lungs"]), private_dir=private)
    with pytest.raises(DatasetError, match="other structures"):
        refine(source, private)


def test_candidates_of_another_dataset_are_refused(source, private, tmp_path):
    refine(source, private, cases=["CT_0001"])
    other = Dataset.create(tmp_path / "Dataset503_Other", SCHEMA, private_dir=private)
    other.add_case(NewCase.of_truth(*EXAMPLES[0]))
    with pytest.raises(DatasetError, match="for another dataset than 'Dataset503_Other'"):
        refine(other, private)


def test_a_damaged_case_is_told_and_the_others_are_done(source, private):
    (source.folder / "imagesTr" / "CT_0001_0000.nii.gz").unlink()
    label = source.folder / "labelsTr" / "CT_0002.nii.gz"
    label.write_bytes(label.read_bytes()[:-30])
    done = refine(source, private)
    assert states(done) == {"CT_0001": "failed", "CT_0002": "failed", "CT_0003": "made"}
    assert "missing" in done.cases[0].sentence
    assert "fingerprint" in done.cases[1].sentence
    assert list(Dataset.open(done.folder, private_dir=private).cases()) == ["CT_0003"]


def test_a_run_in_which_every_case_fails_leaves_an_empty_dataset_that_the_next_run_fills(source, private):
    label = source.folder / "labelsTr" / "CT_0001.nii.gz"
    whole = label.read_bytes()
    label.write_bytes(whole[:-30])
    assert states(refine(source, private, cases=["CT_0001"])) == {"CT_0001": "failed"}
    label.write_bytes(whole)
    assert states(refine(source, private, cases=["CT_0001"])) == {"CT_0001": "made"}


def test_a_case_that_waits_for_structures_is_told(source, private, tmp_path):
    more = LabelSchema.from_names(["lungs", "tumour", "bone", "fat"])
    waiting = migrate_dataset(source, tmp_path / "Dataset505_More", more, private_dir=private)
    done = refine_dataset(waiting, tmp_path / "Dataset506_New", rules(waiting), private_dir=private)
    assert set(states(done).values()) == {"failed"}
    assert "not been annotated for fat" in done.cases[0].sentence


def test_a_case_without_any_difference_has_an_empty_list(private, tmp_path):
    ct, _ = EXAMPLES[0]
    found = segment({"CT": ct}, open_segmenter("hounsfield"), regions=0)
    dataset = Dataset.create(tmp_path / "Dataset501_Same", found.schema, private_dir=private)
    dataset.add_case(NewCase.of_truth(ct, found.labels))
    done = refine(dataset, private)
    assert (done.cases[0].changed_voxels, done.cases[0].regions) == (0, 0)
    assert states(refine(dataset, private)) == {"CT_0001": "kept"}


def test_a_list_that_was_damaged_is_made_again(source, private):
    first = refine(source, private, cases=["CT_0001"])
    (path,) = first.folder.glob(f"{FOLDER}/CT_0001-*/regions.json")
    path.write_text("{")
    assert states(refine(source, private, cases=["CT_0001"])) == {"CT_0001": "made"}
    shutil.rmtree(first.folder / FOLDER)
    assert states(refine(source, private, cases=["CT_0001"])) == {"CT_0001": "made"}
    target = Dataset.open(first.folder, private_dir=private)
    assert listed_regions(target.folder, target.record("CT_0001"))


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_lists_are_not_written_through_a_link(source, private, tmp_path):
    refine(source, private, cases=["CT_0001"])
    folder = tmp_path / "Dataset502_New" / FOLDER
    shutil.rmtree(folder)
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    assert states(refine(source, private, cases=["CT_0002"])) == {"CT_0002": "failed"}
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_decisions_on_regions_are_remembered_when_the_candidate_is_opened_again(source, private):
    from activeseg.core.correction import Correction
    from activeseg.dataset import Provenance

    done = refine(source, private, cases=["CT_0001"])
    target = Dataset.open(done.folder, private_dir=private)
    regions = listed_regions(target.folder, target.record("CT_0001"))
    opened = target.open_case("CT_0001")
    told = [replace(region, state=RegionState.ACCEPTED if region.number == 2 else region.state) for region in regions]
    array, grid = opened.labels.array, opened.labels.geometry
    correction = Correction.between(array, array, grid, SCHEMA, regions=told)
    provenance = Provenance(Origin.CORRECTED, correction=correction.to_dict())
    target.add_case(NewCase(opened.images, array, grid, provenance))
    again = listed_regions(target.folder, target.record("CT_0001"))
    assert [region.state for region in again if region.number == 2] == [RegionState.ACCEPTED]
    assert {region.state for region in again if region.number != 2} == {RegionState.OPEN}


def test_a_model_that_knows_no_structure_of_the_dataset_is_refused(private, tmp_path):
    dataset = Dataset.create(tmp_path / "Dataset501_Old", LabelSchema.from_names(["tumour"]), private_dir=private)
    with pytest.raises(InputError, match="knows none of the structures tumour"):
        rules(dataset)


@pytest.mark.parametrize(("structures", "said"), [(("tumour",), "does not know"), (("toe",), "no structure 'toe'")])
def test_structures_that_cannot_be_refined_are_refused(source, structures, said):
    with pytest.raises(InputError, match=said):
        rules(source, structures=structures)


def test_only_chosen_structures_are_refined(source, private):
    done = refine(source, private, structures=("lungs",), cases=["CT_0001"])
    new = Dataset.open(done.folder, private_dir=private).open_case("CT_0001").labels.array
    assert np.array_equal(new == BONE, EXAMPLES[0][1].array == BONE)


def test_cancelled_between_cases_the_finished_ones_stay(source, private):
    told = []
    with pytest.raises(Cancelled):
        refine(source, private, progress=Progress(cancelled=lambda: len(told) == 1), told=told.append)
    target = Dataset.open(source.folder.with_name("Dataset502_New"), private_dir=private)
    assert list(target.cases()) == ["CT_0001"]
    assert verify_dataset(target) == []
    assert states(refine(source, private)) == {"CT_0001": "kept", "CT_0002": "made", "CT_0003": "made"}


@pytest.mark.skipif(os.name != "posix", reason="kills a forked process")
@pytest.mark.parametrize("at", ["segment", "compare", "store", "second case"])
def test_killed_at_any_moment_the_next_run_makes_what_is_missing(source, private, at):
    reports = []

    def kill(stage: str, _fraction: float, text: str) -> None:
        reports.append(text)
        if stage == at or (at == "second case" and text.startswith("CT_0002") and stage == "store"):
            os.kill(os.getpid(), signal.SIGKILL)

    status = in_child(lambda: refine(source, private, progress=Progress(kill)))
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    done = refine(source, private)
    finished = 1 if at == "second case" else 0
    assert [case.state for case in done.cases] == [CaseState.KEPT] * finished + [CaseState.MADE] * (3 - finished)
    target = Dataset.open(done.folder, private_dir=private)
    assert verify_dataset(target) == []
    assert len(list(target.folder.glob(f"{FOLDER}/*"))) == 3
    assert not list(target.folder.glob(".staging-*"))
    whole = refine(source, private, "Dataset503_Whole")
    untouched = Dataset.open(whole.folder, private_dir=private)
    for name in target.cases():
        assert np.array_equal(target.open_case(name).labels.array, untouched.open_case(name).labels.array)

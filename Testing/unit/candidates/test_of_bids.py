"""Candidates of a BIDS tree: another derivative, wherever the images lie; nothing of a stranger's names leads out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from command_line import runner
from forked import in_child

from activeseg.candidates.bids import cases_of, derivatives_with_labels, is_bids
from activeseg.candidates.of_bids import labels_to_refine, refine_tree
from activeseg.candidates.proposers import ModelProposer
from activeseg.core.errors import DatasetError, InputError
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.io.images import read_label_map, write_volume
from activeseg.predictions.make_prediction import segment
from activeseg.predictions.region_files import read_regions
from activeseg.samples.phantom import Domain, make_phantom, phantom_geometry
from activeseg.segmenters import open_segmenter

TABLE = (
    "index\tname\tcolor\n0\tbackground\t#000000\n7\tlungs\t#ff0000\n200\tignore\tn/a\n3\tbone\tn/a\n9\ttumour\tn/a\n"
)
LUNGS, BONE, TUMOUR, IGNORE = 7, 3, 9, 200


def example(seed: int) -> tuple[Volume, Volume]:
    """A CT and old labels with half of the bone."""
    ct = make_phantom(Domain.CONTRAST, seed, geometry=phantom_geometry((8.0, 8.0, 8.0), np.diag([-1.0, 1.0, 1.0]))).ct
    found = segment({"CT": ct}, open_segmenter("hounsfield"), regions=0)
    old = np.array([0, 0, LUNGS, BONE, 0, 0, 0], np.uint8)[found.labels.array]
    bone = np.flatnonzero(old == BONE)
    old.reshape(-1)[bone[: len(bone) // 2]] = 0
    old[12:15, 16:19, 20:23] = TUMOUR
    old[:2, :3, :3] = IGNORE
    return ct, Volume(old, ct.geometry)


EXAMPLES = [example(1), example(2)]


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A CT in ``ct/``, and one of a session in ``anat/``; the labels in ``anat/``, as BIDS has it."""
    root = tmp_path / "tree"
    labels = root / "derivatives" / "old"
    for folder in (root, labels):
        write_json(folder / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.11.1"})
    (labels / "dseg.tsv").write_text(TABLE)
    for (ct, old), image, label in zip(
        EXAMPLES,
        ("sub-01/ct/sub-01_ct.nii.gz", "sub-02/ses-1/anat/sub-02_ses-1_ct.nii.gz"),
        ("sub-01/anat/sub-01_seg-total_desc-manual_dseg.nii.gz", "sub-02/ses-1/anat/sub-02_ses-1_dseg.nii.gz"),
        strict=True,
    ):
        for path in (root / image, labels / label):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(ct, root / image)
        write_volume(old, labels / label)
    return root


SECOND_LABEL = "sub-02/ses-1/anat/sub-02_ses-1_dseg"
FIRST = "sub-01/ct/sub-01_seg-total_desc-candidate_dseg"
SECOND = "sub-02/ses-1/anat/sub-02_ses-1_desc-candidate_dseg"


def refine(tree: Path, output: Path | None = None, members: int | str = "auto", **how):
    segmenter = open_segmenter("hounsfield")
    return refine_tree(
        tree,
        how.pop("labels", tree / "derivatives" / "old"),
        output or tree / "derivatives" / "new",
        lambda schema: ModelProposer(segmenter, Settings(members=members), schema),
        **how,
    )


def contents(folder: Path, but: str = "derivatives/new") -> dict[str, str]:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if not name.startswith(but)
    }


def states(done) -> list[str]:
    return [case.state.value for case in done.cases]


def test_candidates_are_a_derivative_in_the_folders_and_values_of_the_tree(tree):
    before = contents(tree)
    done = refine(tree)
    assert states(done) == ["made", "made"]
    assert contents(tree) == before
    new = tree / "derivatives" / "new"
    for stem, (ct, old) in zip((FIRST, SECOND), EXAMPLES, strict=True):
        labels = read_label_map(new / f"{stem}.nii.gz")
        assert labels.geometry.same_grid(ct.geometry)
        for value in (TUMOUR, IGNORE):
            assert np.array_equal(labels.array == value, old.array == value)
        assert (labels.array == BONE).sum() > 1.3 * (old.array == BONE).sum()
        assert set(np.unique(labels.array)) <= {0, LUNGS, BONE, TUMOUR, IGNORE}
        table = (new / f"{stem}.tsv").read_text().splitlines()
        assert table == ["index\tname", "3\tbone", "7\tlungs", "9\ttumour", "200\tignore"]
    description = json.loads((new / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "ActiveSeg"
    assert description["DatasetLinks"] == {"raw": "../.."}
    assert is_bids(new)


def test_a_sidecar_says_that_a_machine_made_it_of_what(tree):
    refine(tree)
    sidecar = json.loads((tree / "derivatives" / "new" / f"{FIRST}.json").read_text())
    assert (sidecar["Manual"], sidecar["SpatialReference"]) == (False, "orig")
    assert sidecar["Sources"] == ["bids:raw:sub-01/ct/sub-01_ct.nii.gz"]
    assert sidecar["Labels"] == {"bone": 3, "lungs": 7, "tumour": 9}
    made = sidecar["ActiveSeg"]
    assert made["annotator"] == "machine"
    assert made["made_with"]["model"] == "hounsfield"
    assert made["made_with"]["rule"] == {"least_agreement": 0.85, "least_probability": 0.9}
    assert made["source"]["label"] == "sub-01/anat/sub-01_seg-total_desc-manual_dseg.nii.gz"
    assert str(tree) not in json.dumps(sidecar)


def test_the_list_of_differences_lies_beside(tree):
    done = refine(tree, members=1)
    regions = read_regions(tree / "derivatives" / "new" / "differences" / "sub-01_seg-total")
    assert len(regions) == done.cases[0].regions > 0
    assert "differences" in (tree / "derivatives" / "new" / ".bidsignore").read_text()


def test_a_second_run_keeps_what_is_there_and_makes_what_changed(tree):
    refine(tree)
    before = contents(tree, "nothing")
    assert states(refine(tree)) == ["kept", "kept"]
    assert contents(tree, "nothing") == before
    path = tree / "derivatives" / "old" / "sub-02" / "ses-1" / "anat" / "sub-02_ses-1_dseg.nii.gz"
    changed = EXAMPLES[1][1].array.copy()
    changed[20:22, 20:22, 20:22] = TUMOUR
    write_volume(Volume(changed, EXAMPLES[1][1].geometry), path)
    assert states(refine(tree)) == ["kept", "made"]


def test_a_candidate_that_somebody_changed_stays(tree):
    refine(tree)
    path = tree / "derivatives" / "new" / f"{FIRST}.nii.gz"
    write_volume(EXAMPLES[0][1], path)
    mine = path.read_bytes()
    assert states(refine(tree)) == ["reviewed", "kept"]
    assert path.read_bytes() == mine


@pytest.mark.parametrize("text", ["[]", "no JSON", '{"ActiveSeg": 3}', "{}"])
def test_a_candidate_whose_record_is_damaged_is_told_and_stays(tree, text):
    done = refine(tree)
    label, sidecar = done.folder / f"{FIRST}.nii.gz", done.folder / f"{FIRST}.json"
    sidecar.write_text(text)
    before = label.read_bytes()
    again = refine(tree)
    assert states(again) == ["failed", "kept"]
    assert sidecar.name in again.cases[0].sentence
    assert label.read_bytes() == before


def test_a_name_too_long_for_a_candidate_fails_in_words_and_the_others_are_done(tree):
    subject = f"sub-{'9' * 230}"
    for kind, folder, old in (("ct", tree, "sub-01/ct/sub-01_ct"), ("dseg", tree / "derivatives/old", SECOND_LABEL)):
        new = folder / subject / "anat" / f"{subject}_{kind}.nii.gz"
        new.parent.mkdir(parents=True)
        shutil.copy(folder / f"{old}.nii.gz", new)
    for made in ("made", "kept"):
        done = refine(tree)
        assert states(done) == [made, made, "failed"]
        assert "Errno" not in done.cases[2].sentence
        assert "too long" in done.cases[2].sentence


def test_candidates_of_other_settings_are_not_mixed(tree):
    refine(tree, cases=["sub-01"])
    with pytest.raises(DatasetError, match="made with another model, other settings or another rule"):
        refine(tree, members=3)


@pytest.mark.parametrize("cases", [["sub-02"], ["sub-02_ses-1"]])
def test_subjects_and_cases_can_be_chosen(tree, cases):
    assert [case.case for case in refine(tree, cases=cases).cases] == ["sub-02_ses-1"]
    with pytest.raises(InputError, match="no case 'sub-09'"):
        refine(tree, cases=["sub-09"])


def test_a_derivative_elsewhere_is_no_part_of_the_tree(tree, tmp_path):
    assert states(refine(tree, tmp_path / "out")) == ["made", "made"]
    assert "DatasetLinks" not in json.loads((tmp_path / "out" / "dataset_description.json").read_text())


@pytest.mark.parametrize("place", [".", "sub-01", "derivatives", "derivatives/old", "derivatives/old/new", ".."])
def test_nothing_is_written_among_images_and_labels(tree, place):
    before = contents(tree.parent, "nothing")
    with pytest.raises(InputError, match=r"stay as they are|not empty"):
        refine(tree, tree / place)
    assert contents(tree.parent, "nothing") == before


def test_a_folder_with_other_things_is_refused(tree, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no candidates"):
        refine(tree, tmp_path / "out")


def test_the_only_derivative_with_labels_is_found_and_several_are_asked_about(tree):
    output = tree / "derivatives" / "new"
    assert labels_to_refine(tree, output) == tree / "derivatives" / "old"
    refine(tree)
    assert labels_to_refine(tree, output) == tree / "derivatives" / "old", "the candidates are no labels to refine"
    with pytest.raises(InputError, match="Several derivatives"):
        labels_to_refine(tree, tree / "derivatives" / "other")
    (tree / "derivatives").rename(tree / "sourcedata")
    with pytest.raises(InputError, match="No derivative"):
        labels_to_refine(tree, output)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (None, "no dseg.tsv"),
        ("index\tname\n1\tlungs\n1\tbone\n", "names the value 1 twice"),
        ("index\tname\n70000\tlungs\n", "index '70000'"),
        ("index\tname\n-1\tlungs\n", "index '-1'"),
        ("index\tname\n7\tlungs\x1b[31m\n3\tbone\n9\ttumour\n", "cannot be a structure's name"),
        ("index\tname\n7\tlungs\n3\tlungs\n9\tt\n", "used twice"),
        ("name\nlungs\n", "index ''"),
        ("", "names no structure"),
        ("index\tname\n7\tlungs\n3\tbone\n200\tignore\n", "value 9, which has no name"),
        ("index\tname\n7\tx\n3\ty\n9\tz\n200\tw\n", "knows none of the structures"),
    ],
)
def test_a_table_that_does_not_say_what_the_values_are_fails_each_case(tree, table, said):
    path = tree / "derivatives" / "old" / "dseg.tsv"
    path.unlink()
    if table is not None:
        path.write_text(table)
    done = refine(tree)
    assert states(done) == ["failed", "failed"]
    assert said in done.cases[0].sentence


def test_a_table_beside_the_label_map_comes_before_the_one_above(tree):
    own = tree / "derivatives" / "old" / "sub-01" / "anat" / "sub-01_seg-total_desc-manual_dseg.tsv"
    own.write_text(TABLE.replace("tumour", "cyst"))
    refine(tree)
    assert "cyst" in (tree / "derivatives" / "new" / f"{FIRST}.tsv").read_text()
    assert "tumour" in (tree / "derivatives" / "new" / f"{SECOND}.tsv").read_text()


def test_label_maps_without_their_image_or_of_the_same_name_fail_and_the_others_are_done(tree):
    folder = tree / "derivatives" / "old" / "sub-01" / "anat"
    write_volume(EXAMPLES[0][1], folder / "sub-01_seg-total_desc-other_dseg.nii.gz")
    (tree / "derivatives" / "old" / "sub-03" / "anat").mkdir(parents=True)
    write_volume(EXAMPLES[0][1], tree / "derivatives" / "old" / "sub-03" / "anat" / "sub-03_dseg.nii.gz")
    done = refine(tree)
    assert states(done) == ["failed", "made", "failed"]
    assert "differ only in their description" in done.cases[0].sentence
    assert "No images in the tree belong" in done.cases[2].sentence


def test_of_several_images_of_a_session_the_ct_is_taken(tree):
    write_volume(EXAMPLES[0][0], tree / "sub-01" / "ct" / "sub-01_T1w.nii.gz")
    (first, _) = cases_of(tree, tree / "derivatives" / "old")
    assert first.image == "sub-01/ct/sub-01_ct.nii.gz"


def test_a_suffix_before_the_entities_is_understood(tree):
    folder = tree / "derivatives" / "old" / "sub-01" / "anat"
    (folder / "sub-01_seg-total_desc-manual_dseg.nii.gz").rename(folder / "sub-01_ct_label-all_dseg.nii.gz")
    (first, _) = cases_of(tree, tree / "derivatives" / "old")
    assert (first.name, first.image) == ("sub-01_ct_label-all", "sub-01/ct/sub-01_ct.nii.gz")


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_links_are_not_followed_out_of_the_tree(tree, tmp_path):
    outside = tmp_path / "outside"
    (tree / "sub-01" / "ct").rename(outside)
    (tree / "sub-01" / "ct").symlink_to(outside)
    image = tree / "sub-02" / "ses-1" / "anat" / "sub-02_ses-1_ct.nii.gz"
    image.rename(tmp_path / "elsewhere.nii.gz")
    image.symlink_to(tmp_path / "elsewhere.nii.gz")
    done = refine(tree)
    assert states(done) == ["failed", "failed"]
    assert "leads out of 'tree'" in done.cases[1].sentence


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_links_into_the_tree_itself_are_read(tree):
    image = tree / "sub-02" / "ses-1" / "anat" / "sub-02_ses-1_ct.nii.gz"
    (tree / ".git" / "annex").mkdir(parents=True)
    image.rename(tree / ".git" / "annex" / "key.nii.gz")
    image.symlink_to(tree / ".git" / "annex" / "key.nii.gz")
    assert states(refine(tree, cases=["sub-02"])) == ["made"]


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_candidates_are_not_written_through_a_link(tree, tmp_path):
    refine(tree, cases=["sub-01"])
    (tmp_path / "outside").mkdir()
    (tree / "derivatives" / "new" / "sub-02").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="is a link"):
        refine(tree)
    assert list((tmp_path / "outside").iterdir()) == []


def test_files_that_are_no_bids_names_are_passed_over(tree):
    folder = tree / "derivatives" / "old"
    for name in ("sub-01/anat/notes_dseg.nii.gz", "sub-01/anat/sub-01;rm_dseg.nii.gz", "other/sub-04_dseg.nii.gz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    assert len(cases_of(tree, folder)) == 2
    assert derivatives_with_labels(tree) == [folder]


@pytest.mark.skipif(os.name != "posix", reason="kills a forked process")
@pytest.mark.parametrize("moment", ["compare", "label begun"])
def test_killed_at_any_moment_the_next_run_makes_what_is_missing(tree, moment):
    new = tree / "derivatives" / "new"

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def report(stage: str, _fraction: float, _text: str) -> None:
        if stage == moment:
            kill()

    def cancelled() -> bool:
        if moment == "label begun" and list(new.rglob(".activeseg-*.nii.gz")):
            kill()
        return False

    status = in_child(lambda: refine(tree, progress=Progress(report, cancelled)))
    assert os.WIFSIGNALED(status)
    assert not list(new.rglob("*candidate_dseg.json"))
    assert states(refine(tree)) == ["made", "made"]
    made = {name: sha for name, sha in contents(new).items() if name.endswith(".nii.gz")}
    refine(tree, tree / "derivatives" / "whole", labels=tree / "derivatives" / "old")
    whole = contents(tree / "derivatives" / "whole")
    assert {name: whole[name] for name in made} == made
    assert not [path for path in new.rglob(".*") if path.name != ".bidsignore"]


def test_the_command_knows_a_bids_tree(tree, monkeypatch, capfd):
    run = runner(monkeypatch, capfd)
    words = ("dataset", "refine", tree, "-m", "hounsfield", "-o", tree / "derivatives" / "new")
    ended = run(*words, "--json")
    assert ended.code == 0, ended.err
    assert [case["case"] for case in ended.document["cases"]] == ["sub-01_seg-total", "sub-02_ses-1"]
    assert "2 kept" in run(*words, "--labels", tree / "derivatives" / "old").out
    lost = run(*words, "--labels", tree / "derivatives" / "nothing")
    assert (lost.code, "There is no folder" in lost.err, "--labels" in lost.err) == (2, True, True)

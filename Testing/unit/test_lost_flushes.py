"""A power failure at any instant: what was confirmed is there, what was not is whole or not there at all."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_cases import SCHEMA, correction, ct, labels, oblique, update_case
from lost_flushes import Recorder

from activeseg.client import kept_drafts
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.corrections import drafts
from activeseg.corrections.opened import CaseOfDataset, OpenedLabels
from activeseg.dataset import Dataset, NewCase, Origin, Provenance
from activeseg.dataset.private_map import PrivateMap
from activeseg.dataset.recovery import recover_dataset
from activeseg.dataset.verification import verify_dataset
from activeseg.learning.project.project import Project
from activeseg.learning.project.version import BASE, ModelKind, Version, add_version
from activeseg.predictions.prediction_folder import making, recover
from activeseg.system.files import staging_folder

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
TRUTH = Provenance(Origin.TRUTH)
SEED, EVERY = (int(part) for part in os.environ.get("ACTIVESEG_LOST_FLUSHES", "12 6").split())
"""One instant of so many is tried here; ``Testing/soak/lost_flushes.py`` tries all, with other seeds."""


def worst_folders(
    root: Path, scratch: Path, work: Callable[[], object], check: Callable[[Path, bool], None], every: int = 1
) -> int:
    """Do the work and check what each power failure would leave; ``check`` is told whether the work had ended."""
    drawn = random.Random(SEED)
    failed: list[Exception] = []
    tried = 0

    def look(recorder: Recorder, ended: bool = False) -> None:
        nonlocal tried
        if ended or drawn.randrange(min(every, EVERY)) == 0:
            left = scratch / str(tried)
            tried += 1
            recorder.build(left, drawn.randrange(10**9))
            try:
                check(left, ended)
            except Exception as error:  # told at the end: the work goes on where an OSError was of no weight
                failed.append(error)
            shutil.rmtree(left)

    busy = False

    def at_each(recorder: Recorder) -> None:
        nonlocal busy
        if not busy:  # the check itself flushes and renames
            busy = True
            look(recorder)
            busy = False

    scratch.mkdir()
    recorder = Recorder(root, at_each)
    with recorder.watching():
        work()
    for _ in range(4):
        look(recorder, ended=True)
    recorder.close()
    if failed:
        raise failed[0]
    return tried


def add(dataset: Dataset) -> None:
    dataset.add_case(NewCase(ct(1), labels(1), oblique(), correction(1), source={"patient": "P1"}))


def update(dataset: Dataset) -> None:
    update_case(dataset, "CT_0001", labels(5), oblique(), TRUTH)


def remove(dataset: Dataset) -> None:
    dataset.remove_case("CT_0002")


@pytest.mark.parametrize("change", [add, update, remove], ids=lambda change: change.__name__)
def test_a_dataset_is_the_old_one_or_the_new_one(change: Callable[[Dataset], None], tmp_path: Path) -> None:
    root = tmp_path / "root"
    dataset = Dataset.create(root / "Dataset501_A", SCHEMA, private_dir=root / "private")
    dataset.add_case(NewCase(ct(0), labels(0), oblique(), TRUTH, source={"patient": "P0"}))
    if change is remove:
        add(dataset)
    old = {name: entry.revision for name, entry in dataset.cases().items()}
    new = {add: {**old, "CT_0002": 1}, update: {"CT_0001": 2}, remove: {"CT_0001": 1}}[change]

    def check(left: Path, ended: bool) -> None:
        opened = Dataset.open(left / "Dataset501_A", private_dir=left / "private")
        found = {name: entry.revision for name, entry in opened.cases().items()}
        assert found == new if ended else found in (old, new)
        wrong = [finding.problem for finding in verify_dataset(opened)]
        assert not [problem for problem in wrong if "not listed" not in problem and "no case" not in problem], wrong
        assert opened.private.sources()["CT_0001"] == {"patient": "P0"}
        if ended and change is not add:
            assert "CT_0002" not in opened.private.sources()
        recover_dataset(left / "Dataset501_A", private_dir=left / "private")
        again = Dataset.open(left / "Dataset501_A", private_dir=left / "private")
        assert verify_dataset(again) == []
        assert set(found) <= set(again.cases())

    work = Dataset.open(dataset.folder, private_dir=root / "private")
    assert worst_folders(root, tmp_path / "scratch", lambda: change(work), check, EVERY) > 4


def test_a_private_file_keeps_what_was_confirmed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "private").mkdir(parents=True)
    known = PrivateMap("0" * 32, root / "dataset", root / "private")
    known.add("CT_0001", {"patient": "P1"})

    def work() -> None:
        known.add("CT_0002", {"patient": "P2"})
        known.forget("CT_0002")

    def check(left: Path, ended: bool) -> None:
        found = PrivateMap("0" * 32, left / "dataset", left / "private").sources()
        assert found["CT_0001"] == {"patient": "P1"}
        assert not ended or "CT_0002" not in found

    assert worst_folders(root, tmp_path / "scratch", work, check) > 4


def test_a_project_and_its_key_are_whole(tmp_path: Path) -> None:
    root = tmp_path / "root"
    project = Project.create(root / "livers", "demo", private_dir=root / "private")
    names = project.dataset().schema.names
    project.dataset().add_case(NewCase(ct(0), labels(0) % 2, oblique(), Provenance(Origin.TRUTH, decided=names)))

    def check(left: Path, ended: bool) -> None:
        opened = Project.open(left / "livers", left / "private")
        assert opened.state.hold_out.side("CT_0001") is not None or not ended
        if opened.state.hold_out.side("CT_0001") is not None:
            key = (left / "private" / project.key_file.name).read_text()
            assert key == project.key_file.read_text(), "the key by which the patient is known"
        opened.admit("CT_0001", "P")

    assert worst_folders(root, tmp_path / "scratch", lambda: project.admit("CT_0001", "P"), check) > 4


def test_a_version_appears_with_all_of_its_files(tmp_path: Path) -> None:
    root = tmp_path / "root"
    project = Project.create(root / "livers", "demo", private_dir=root / "private")
    schema = LabelSchema.from_names(["liver"]).to_dict()
    (project.folder / "versions").mkdir()

    def work() -> None:
        staging = staging_folder(project.folder / "versions")
        (staging / "model/fold_0").mkdir(parents=True)
        for name in ("plans.json", "dataset.json", "fold_0/checkpoint_final.pth"):
            (staging / "model" / name).write_text(json.dumps({"what": name}))
        add_version(
            project.folder / "versions",
            staging,
            lambda id: Version(id, BASE, "", ModelKind.NNUNET, "", {}, {}, {}, schema, {}, (0,), {}, 0.0),
        )

    def check(left: Path, ended: bool) -> None:
        opened = Project.open(left / "livers", left / "private")
        assert opened.damaged_versions() == {}
        assert list(opened.versions()) == ["v0001"] or not ended
        for id in opened.versions():
            for name in ("plans.json", "dataset.json", "fold_0/checkpoint_final.pth"):
                assert json.loads((opened.version_folder(id) / "model" / name).read_text()) == {"what": name}

    assert worst_folders(root, tmp_path / "scratch", work, check) > 4


def snapshot(number: int) -> drafts.Edits:
    return drafts.Edits({"number": number}, (np.full((3, 4, 5), number, np.uint8), np.arange(number)))


def opened_case(number: int) -> tuple[OpenedLabels, dict[str, Volume]]:
    return OpenedLabels(Volume(labels(number), oblique()), SCHEMA, SCHEMA.names, CaseOfDataset("D", "C")), {
        "CT": ct(number)
    }


def save_draft(folder: Path, number: int) -> None:
    drafts.save_edits(folder, snapshot(number), {"number": number}, base=opened_case(0))


def restored(folder: Path) -> list[tuple[int, int]]:
    """The snapshot and the base of each draft that is listed, read to the last voxel, by the engine and by a client."""
    listed, kept = drafts.drafts_in(folder), kept_drafts.drafts_in(folder)
    assert [draft.id for draft in listed] == [draft.id for draft in kept]
    found = []
    for draft, same in zip(listed, kept, strict=True):
        edits, layers = draft.read_edits(), same.read_layers()
        number = int(draft.state.get("number", 0))
        base = next(n for n in (0, 1) if draft.read_base().labels.sha256() == opened_case(n)[0].labels.sha256())
        assert draft.read_images()["CT"].sha256() == same.read_image().sha256() == ct(base).sha256()
        assert np.array_equal(same.read_labels().array, labels(base))
        assert (edits is None) == (layers is None) == (number == 0)
        if edits is not None and layers is not None:
            wanted = snapshot(number)
            assert edits.layers == layers[0] == same.read_layers()[0] == wanted.layers == dict(same.state)
            for arrays in (edits.arrays, layers[1]):
                assert all(np.array_equal(one, other) for one, other in zip(arrays, wanted.arrays, strict=True))
        found.append((number, base))
    return found


Snapshots = list[tuple[int, int]]
DRAFT_CHANGES: dict[str, tuple[int, Callable[[Path], object], Snapshots, Snapshots]] = {
    "first base": (0, lambda folder: drafts.store_base(folder, *opened_case(0)), [], [(0, 0)]),
    "first snapshot": (0, lambda folder: save_draft(folder, 1), [], [(1, 0)]),
    "later snapshot": (2, lambda folder: save_draft(folder, 3), [(2, 0)], [(3, 0)]),
    "other base": (2, lambda folder: drafts.store_base(folder, *opened_case(1)), [(2, 0)], [(2, 1)]),
    "discarded": (2, drafts.discard, [(2, 0)], []),
    "removed": (2, kept_drafts.remove_draft, [(2, 0)], []),
}
"""Snapshots before, the change, and which snapshot and base are there before and after."""


@pytest.mark.parametrize("name", DRAFT_CHANGES)
def test_a_draft_is_restored_as_it_was_kept_last_or_before(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    before, change, old, new = DRAFT_CHANGES[name]
    for number in range(1, before + 1):
        save_draft(root / "drafts" / "a1", number)

    def check(left: Path, ended: bool) -> None:
        found = restored(left / "drafts")
        assert found == new if ended else found in (old, new)
        if not found and (left / "drafts").exists():
            assert not [path for path in (left / "drafts").glob("*/*") if path.stat().st_size], "of a patient"
        save_draft(left / "drafts" / "a1", 9)
        assert restored(left / "drafts") == [(9, found[0][1] if found else 0)]

    assert worst_folders(root, tmp_path / "scratch", lambda: change(root / "drafts" / "a1"), check) > 4


@pytest.mark.parametrize("first", [True, False], ids=["first", "replaced"])
def test_a_prediction_is_the_old_one_or_the_new_one_with_all_of_the_users_files(first: bool, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    names = ("labels.nii.gz", "regions.json", "prediction.json")

    def predict(folder: Path, which: str) -> None:
        with making(folder) as fresh:
            for name in names:
                (fresh / name).write_text(f"{which} {name}")

    predicted = root / "of a user" / "prediction"
    if not first:
        predict(predicted, "old")
        (predicted / "notes" / "deeper").mkdir(parents=True)
        for name in ("edited.seg.nrrd", "notes/a.txt", "notes/deeper/b.txt"):
            (predicted / name).write_text("mine")

    def check(left: Path, ended: bool) -> None:
        folder = left / "of a user" / "prediction"
        recover(folder)
        assert folder.exists() or (first and not ended)
        if folder.exists():
            which = {(folder / name).read_text().removesuffix(f" {name}") for name in names}
            assert which == {"new"} if ended or first else which in ({"old"}, {"new"})
        if not first:
            for name in ("edited.seg.nrrd", "notes/a.txt", "notes/deeper/b.txt"):
                assert (folder / name).read_text() == "mine"

    assert worst_folders(root, tmp_path / "scratch", lambda: predict(predicted, "new"), check) > 4

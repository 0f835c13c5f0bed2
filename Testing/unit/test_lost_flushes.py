"""A power failure at any instant: what was confirmed is there, what was not is whole or not there at all."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dataset_cases import SCHEMA, correction, ct, labels, oblique
from lost_flushes import Recorder

from activeseg.dataset import Dataset, Origin, Provenance
from activeseg.dataset.private_map import PrivateMap
from activeseg.labels import LabelSchema
from activeseg.learning.project import Project
from activeseg.learning.version import BASE, ModelKind, Version, add_version
from activeseg.volume import staging_folder

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
TRUTH = Provenance(Origin.TRUTH)
SEED, EVERY = 12, 6
"""One instant of so many is tried here; ``Testing/soak/lost_flushes.py`` tries all."""


def worst_folders(
    root: Path, scratch: Path, work: Callable[[], object], check: Callable[[Path, bool], None], every: int = 1
) -> int:
    """Do the work and check what each power failure would leave; ``check`` is told whether the work had ended."""
    drawn = random.Random(SEED)
    tried = 0

    def look(recorder: Recorder, ended: bool = False) -> None:
        nonlocal tried
        if ended or drawn.randrange(min(every, EVERY)) == 0:
            left = scratch / str(tried)
            recorder.build(left, drawn.randrange(10**9))
            check(left, ended)
            shutil.rmtree(left)
            tried += 1

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
    return tried


def add(dataset: Dataset) -> None:
    dataset.add_case(ct(1), labels(1), oblique(), correction(1), source={"patient": "P1"})


def update(dataset: Dataset) -> None:
    dataset.update_case("CT_0001", labels(5), oblique(), TRUTH)


def remove(dataset: Dataset) -> None:
    dataset.remove_case("CT_0002")


@pytest.mark.parametrize("change", [add, update, remove], ids=lambda change: change.__name__)
def test_a_dataset_is_the_old_one_or_the_new_one(change: Callable[[Dataset], None], tmp_path: Path) -> None:
    root = tmp_path / "root"
    dataset = Dataset.create(root / "Dataset501_A", SCHEMA, private_dir=root / "private")
    dataset.add_case(ct(0), labels(0), oblique(), TRUTH, source={"patient": "P0"})
    if change is remove:
        add(dataset)
    old = {name: entry.revision for name, entry in dataset.cases().items()}
    new = {add: {**old, "CT_0002": 1}, update: {"CT_0001": 2}, remove: {"CT_0001": 1}}[change]

    def check(left: Path, ended: bool) -> None:
        opened = Dataset.open(left / "Dataset501_A", private_dir=left / "private")
        found = {name: entry.revision for name, entry in opened.cases().items()}
        assert found == new if ended else found in (old, new)
        wrong = [finding.problem for finding in opened.verify()]
        assert not [problem for problem in wrong if "not listed" not in problem and "no case" not in problem], wrong
        assert opened.private.sources()["CT_0001"] == {"patient": "P0"}
        if ended and change is not add:
            assert "CT_0002" not in opened.private.sources()
        Dataset.recover(left / "Dataset501_A", private_dir=left / "private")
        again = Dataset.open(left / "Dataset501_A", private_dir=left / "private")
        assert again.verify() == []
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
    project.dataset().add_case(ct(0), labels(0) % 2, oblique(), Provenance(Origin.TRUTH, decided=names))

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

"""Datasets and projects of strangers: one clear error for each, and nothing outside of them is touched."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended, runner
from dataset_cases import ct, labels, oblique, update_case
from hostile_folders import DATASETS, HARMLESS, PROJECTS, RUN, outside

from activeseg.core.errors import ActiveSegError, DatasetError
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase, Origin, Provenance
from activeseg.io.images import write_volume
from activeseg.learning.project.project import Project
from activeseg.learning.project.version import BASE, ModelKind, Version
from activeseg.learning.training.run_folder import RunFolder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="makes links and FIFOs")
SCHEMA = LabelSchema.from_names(["organ", "lesion"])
WITHIN = ("good", "own", "private", "out", "new", "home")
"""What the commands may write to; everything else beside stays as it is."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return runner(monkeypatch, capfd)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good dataset, a good project, and an image with a label map to add."""
    folder = tmp_path_factory.mktemp("files")
    private = folder / "private"
    dataset = Dataset.create(folder / "Dataset501_A", SCHEMA, private_dir=private)
    dataset.add_case(NewCase(ct(0), labels(0) % 4, oblique(), Provenance(Origin.TRUTH), source={"patient": "P"}))
    write_volume(ct(5), folder / "image.nii.gz")
    write_volume(Volume((labels(5) % 3).astype(np.uint8), oblique()), folder / "labels.nii.gz")
    project = Project.create(folder / "livers", "demo", private_dir=private)
    names = project.dataset().schema.names
    project.dataset().add_case(NewCase(ct(0), labels(0) % 2, oblique(), Provenance(Origin.TRUTH, decided=names)))
    made = Version("v0001", BASE, "", ModelKind.NNUNET, "", {}, {}, {}, SCHEMA.to_dict(), {}, (0,), {}, 0.0)
    (project.folder / "versions/v0001/model").mkdir(parents=True)
    (project.folder / "versions/v0001/version.json").write_text(json.dumps(made.to_dict()))
    ran = project.folder / RUN
    ran.mkdir(parents=True)
    cases = {"corrected": {"CT_0001": "0" * 64}, "replayed": {}, "without_side": [], "waiting": []}
    asked = {"project": "", "parent": BASE, "part": "", "plan": {}, "cases": cases, "created": ""}
    (ran / "run.json").write_text(json.dumps(asked))
    state = {"stage": "done", "fraction": 1.0, "eta_s": None, "member": 0, "epoch": 0, "loss": None, "dice": None}
    state |= {"version": "v0001", "promoted": False, "verdict": "", "error": None}
    (ran / "state.json").write_text(json.dumps(state))
    return folder


def hashes(folder: Path) -> dict[str, str]:
    """Every file and link beside what may be written to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.relative_to(folder).parts[0] not in WITHIN:
            known = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
            found[str(path)] = hashlib.sha256(str(known).encode()).hexdigest()
    return found


def check(ended: Ended, name: str) -> None:
    told = f"{name}: {ended.code} {ended.err}"
    assert ended.code in (0, 2, 3, 4), told
    assert "bug in ActiveSeg" not in ended.err, told
    assert "Traceback" not in ended.err, told
    assert ended.code == 0 or len(ended.err + ended.out) > 20, told


@pytest.mark.parametrize("name", DATASETS)
def test_a_strangers_dataset_reaches_nothing_outside(name: str, run, files: Path, tmp_path: Path) -> None:
    theirs = outside(tmp_path / "outside")
    shutil.copytree(files / "Dataset501_A", tmp_path / "hostile/Dataset501_A")
    DATASETS[name](tmp_path / "hostile/Dataset501_A", theirs)
    before = hashes(tmp_path / "outside")
    beside = {path.name for path in tmp_path.iterdir()}
    folder = tmp_path / "own/Dataset501_A"
    commands = [
        ("show", folder),
        ("verify", folder),
        ("open", folder, "CT_0001", "-o", tmp_path / "out"),
        ("add", folder, files / "image.nii.gz", files / "labels.nii.gz"),
        ("migrate", folder, tmp_path / "new/Dataset502_B", "--add", "more"),
        ("recover", folder),
        ("remove", folder, "CT_0001", "--yes"),
    ]
    codes = {}
    for command in commands:
        shutil.rmtree(tmp_path / "own", ignore_errors=True)
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
        shutil.copytree(tmp_path / "hostile", tmp_path / "own", symlinks=True, copy_function=copied)
        ended = run("dataset", *command)
        check(ended, f"{name}, {command[0]}")
        codes[command[0]] = ended.code
    shutil.rmtree(tmp_path / "own")
    shutil.copytree(tmp_path / "hostile", tmp_path / "own", symlinks=True, copy_function=copied)
    with contextlib.suppress(ActiveSegError):
        dataset = Dataset.open(folder, private_dir=tmp_path / "private")
        update_case(dataset, "CT_0001", labels(3) % 3, oblique(), Provenance(Origin.TRUTH))
    assert hashes(tmp_path / "outside") == before, "files of the user's were changed"
    assert {path.name for path in tmp_path.iterdir()} - set(WITHIN) == beside - set(WITHIN)
    if name in HARMLESS:
        assert codes["verify"] == codes["open"] == 0
    else:
        assert codes["verify"] == 4 or codes["add"] == 4, "it is told"


def copied(source: str, target: str) -> None:
    """Copy a FIFO as a FIFO."""
    import stat

    if stat.S_ISFIFO(os.stat(source, follow_symlinks=False).st_mode):
        os.mkfifo(target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


@pytest.mark.parametrize("name", PROJECTS)
def test_a_strangers_project_reaches_nothing_outside(name: str, run, files: Path, tmp_path: Path) -> None:
    theirs = outside(tmp_path / "outside")
    shutil.copytree(files / "livers", tmp_path / "hostile/livers")
    PROJECTS[name](tmp_path / "hostile/livers", theirs)
    before = hashes(tmp_path)
    folder = tmp_path / "own/livers"
    commands = [
        ("project", "show", folder),
        ("project", "admit", folder, "CT_0001", "--patient", "P"),
        ("project", "check", folder, "--repair"),
        ("versions", "list", folder),
        ("versions", "promote", folder, "v0001"),
        ("training", "show", folder),
        ("training", "resume", folder),
    ]
    for command in commands:
        shutil.rmtree(tmp_path / "own", ignore_errors=True)
        shutil.copytree(tmp_path / "hostile", tmp_path / "own", symlinks=True, copy_function=copied)
        check(run(*command), f"{name}, {' '.join(map(str, command[:2]))}")
    assert hashes(tmp_path) == before, "files of the user's were changed"
    found = run("project", "check", folder)
    if name not in ("dataset elsewhere", "base model nowhere", "run names another project"):
        told = found.code == 4 or run("training", "show", folder).code == 4 or name.startswith("run's ")
        assert told, "it is told"


@pytest.mark.parametrize("name", [name for name in PROJECTS if name.startswith("run's") and name.endswith("a link")])
def test_a_training_does_not_go_on_in_a_folder_with_links(name: str, files: Path, tmp_path: Path) -> None:
    theirs = outside(tmp_path / "outside")
    shutil.copytree(files / "livers", tmp_path / "livers")
    stopped = json.loads((tmp_path / "livers" / RUN / "state.json").read_text()) | {"stage": "stopped"}
    (tmp_path / "livers" / RUN / "state.json").write_text(json.dumps(stopped))
    PROJECTS[name](tmp_path / "livers", theirs)
    before = hashes(tmp_path / "outside")
    with pytest.raises(DatasetError, match="is a link"):
        RunFolder.last_of(Project.open(tmp_path / "livers", tmp_path / "private")).start()
    assert hashes(tmp_path / "outside") == before

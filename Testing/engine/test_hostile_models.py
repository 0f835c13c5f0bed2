"""A model folder that is not what nnU-Net and TotalSegmentator write is refused in words, whatever the way in.

Nothing in it runs, and no memory is taken for what it announces.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_models import CHECKPOINT, CONFIGURATION, CORPUS, hostile, old_plans
from nnunet_models import make_model

from activeseg.core.errors import InputError, ModelError
from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.volume import Volume
from activeseg.io.images import write_volume
from activeseg.learning.bundle import import_version
from activeseg.learning.project.opening import open_version
from activeseg.learning.project.project import VERSIONS, Project
from activeseg.learning.project.version import BASE, ModelKind, Version
from activeseg.learning.training.parent_network import parent_network
from activeseg.segmenters import open_segmenter
from activeseg.segmenters.nnunet.model_folder_check import check_model_folder
from activeseg.segmenters.nnunet.network import Network
from activeseg.segmenters.nnunet.network_size import read_size
from activeseg.segmenters.nnunet.trusted_code import TRUSTED_CODE

SOAK = Path(__file__).resolve().parents[1] / "soak"
LABELS = {"background": 0, "liver": 1, "spleen": 2}
SETTINGS = Settings(device="cpu", mode=Mode.EXACT, members=1)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("real") / "model", LABELS)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With one version, whose model folder the tests put there."""
    folder = tmp_path_factory.mktemp("project")
    os.environ["ACTIVESEG_PRIVATE_DIR"] = str(folder / "private")
    project = Project.create(folder / "organs", "demo")
    (project.folder / VERSIONS / "v0001").mkdir(parents=True)
    (project.folder / VERSIONS / "v0001" / "version.json").write_text(json.dumps(record().to_dict()))
    return project


def record() -> Version:
    schema = LabelSchema.from_names(["liver", "spleen"]).to_dict()
    return Version("v0001", BASE, "2026-01-01", ModelKind.NNUNET, "", {}, {}, {}, schema, {}, (5,), {}, 1.0)


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Comes to be when code of the model runs: a module of theirs is where Python looks."""
    path = tmp_path / "it-ran"
    place = tmp_path / "modules"
    place.mkdir()
    text = f"import torch, pathlib\npathlib.Path({str(path)!r}).touch()\nclass Layer(torch.nn.Module): pass\n"
    (place / "hostile_layers.py").write_text(f"{text}PlainConvUNet = Layer\n")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.delitem(sys.modules, "hostile_layers", raising=False)
    return path


def ct() -> Volume:
    values = np.arange(16 * 24 * 24, dtype=np.int16).reshape(16, 24, 24) % 400 + 1
    return Volume(values, Geometry((16, 24, 24), (3.0, 3.0, 3.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)))


def bundle(model: Path, file: Path) -> Path:
    """The folder as a version's file whose sums agree with it."""
    files = {"version.json": json.dumps(record().to_dict()).encode()}
    for path in (model / "plans.json", model / "dataset.json", model / CHECKPOINT):
        if path.is_file() and path.stat().st_size < 1 << 20:
            files[f"model/{path.relative_to(model).as_posix()}"] = path.read_bytes()
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "activeseg-version.json", json.dumps({"format": 1, "project": "x", "version": "v0001", "sha256": sums})
        )
        for name, data in files.items():
            archive.writestr(name, data)
    return file


def ways(folder: Path, project: Project, file: Path) -> dict[str, Callable[[], object]]:
    """Everything that begins with a model's folder."""
    model = project.folder / VERSIONS / "v0001" / "model"
    model.unlink(missing_ok=True)
    model.symlink_to(folder, target_is_directory=True)
    return {
        "nnunet:": lambda: open_segmenter(f"nnunet:{folder}").segment({"CT": ct()}, SETTINGS, Progress()),
        "project:": lambda: open_version(project, "v0001").segment({"CT": ct()}, SETTINGS, Progress()),
        "fine-tuning and its plan": lambda: parent_network(project, "v0001"),
        "a folder of TotalSegmentator's": lambda: Network.load(folder, [0]),
        "an imported version": lambda: import_version(project, bundle(folder, file)),
        "the estimate of memory": lambda: read_size(folder, CONFIGURATION),
    }


def told(work: Callable[[], object]) -> str:
    """The one sentence that it is refused with; empty when it is not refused."""
    try:
        work()
    except (ModelError, InputError) as error:
        said = str(error)
    else:
        return ""
    assert "\n" not in said.strip()
    assert said.isprintable()
    assert len(said) < 1500
    return said


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_model_is_refused_on_every_way_in_and_nothing_of_it_runs(
    name: str, real: Path, project: Project, marker: Path, tmp_path: Path
) -> None:
    folder = hostile(name, real, tmp_path / "model", marker)
    kind = name.partition(":")[0]
    for way, work in ways(folder, project, tmp_path / "v.zip").items():
        said = told(work)
        looks_at_numbers_alone = way == "the estimate of memory" and (
            kind == "checkpoint" or name.endswith("missing") or "than its weights" in name
        )
        assert said or looks_at_numbers_alone, way
        if way != "an imported version" and said:
            assert kind in said or "plans.json" in said, (way, said)
    assert not marker.exists()
    assert [path.name for path in (project.folder / VERSIONS).iterdir()] == ["v0001"]


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(CORPUS) >= 60


def test_weights_that_are_no_numbers_are_refused(real: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(real, folder)
    content = torch.load(folder / CHECKPOINT, weights_only=True)
    next(iter(content["network_weights"].values())).fill_(torch.nan)
    torch.save(content, folder / CHECKPOINT)
    assert "no numbers" in told(lambda: Network.load(folder))


@pytest.mark.parametrize("given", ["x" * 5000, "a/" * 3000, "a\0b", ""])
def test_a_name_that_no_folder_can_have_is_refused(given: str) -> None:
    assert "not a trained nnU-Net model" in told(lambda: check_model_folder(Path(f"/tmp/{given}")))


def test_the_real_model_goes_through_on_every_way_in(real: Path, project: Project, tmp_path: Path) -> None:
    for way, work in ways(real, project, tmp_path / "v.zip").items():
        assert not told(work), way


def test_what_the_corpus_names_does_run_where_nobody_checks(real: Path, marker: Path, tmp_path: Path) -> None:
    """Else the marker would prove nothing."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    folder = hostile("plans: nonlin is a module of theirs", real, tmp_path / "model", marker)
    plans = json.loads((folder / "plans.json").read_text())
    architecture = plans["configurations"][CONFIGURATION]["architecture"]
    with pytest.raises(TypeError):
        get_network_from_plans(
            architecture["network_class_name"], architecture["arch_kwargs"], architecture["_kw_requires_import"], 1, 3
        )
    assert marker.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads ru_maxrss in KiB")
@pytest.mark.parametrize("name", [name for name in CORPUS if "view" in name or "array" in name or "larger" in name])
def test_a_bomb_is_refused_before_memory_is_taken(name: str, real: Path, marker: Path, tmp_path: Path) -> None:
    folder = hostile(name, real, tmp_path / "model", marker)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert told(lambda: Network.load(folder, [0]))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


@pytest.mark.parametrize("name", ["plans: nonlin starts a program", "checkpoint: it makes a folder"])
def test_the_command_ends_with_the_code_of_a_bad_model(name: str, real: Path, marker: Path, tmp_path: Path) -> None:
    folder = hostile(name, real, tmp_path / "model", marker)
    write_volume(ct(), tmp_path / "ct.nii.gz")
    command = [sys.executable, "-m", "activeseg.cli", "segment", str(tmp_path / "ct.nii.gz")]
    done = subprocess.run(
        [*command, "-m", f"nnunet:{folder}", "-o", str(tmp_path / "out"), "--device", "cpu"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "mistake" not in done.stderr
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_models_with_random_changes_are_used_or_refused_in_one_sentence() -> None:
    """The short form of ``Testing/soak/model_files.py``."""
    specification = importlib.util.spec_from_file_location("model_files", SOAK / "model_files.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    ends, faults = module.soak(seed=3, count=60)
    assert not faults
    assert ends["refused"] > 20
    assert ends["segmented"] > 2


# What must go on working


def changed(real: Path, folder: Path, change: Callable[[dict[str, object]], None]) -> Path:
    shutil.copytree(real, folder)
    plans = json.loads((folder / "plans.json").read_text())
    change(plans)
    (folder / "plans.json").write_text(json.dumps(plans))
    return folder


def test_plans_of_nnunets_first_years_are_those_of_the_same_network(real: Path, tmp_path: Path) -> None:
    new, old = Network.load(real), Network.load(changed(real, tmp_path / "old", old_plans()))
    state = old.predictor.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in new.predictor.network.state_dict().items())
    assert read_size(tmp_path / "old", CONFIGURATION) is None  # nothing is known of its size


@pytest.mark.parametrize("key", ["plans_name", "dataset_name"])
@pytest.mark.parametrize("name", ["my plans", "Dataset055_SegRap (2023)", "Dataset801_Pr\u00fcfung", "a,b&c.d"])
def test_names_that_folders_of_nnunet_can_have_are_taken(key: str, name: str, real: Path, tmp_path: Path) -> None:
    folder = changed(real, tmp_path / "m", lambda plans: plans.update({key: name}))
    assert check_model_folder(folder).plans[key] == name


def test_a_configuration_may_inherit_all_from_others(real: Path, tmp_path: Path) -> None:
    def inherit(plans: dict[str, dict[str, object]]) -> None:  # type: ignore[type-arg]
        own = plans["configurations"].pop(CONFIGURATION)
        plans["configurations"] |= {CONFIGURATION: {"inherits_from": "b"}, "b": {"inherits_from": "c"}, "c": own}

    assert Network.load(changed(real, tmp_path / "m", inherit)).patch == (16, 24, 24)


def test_what_nobody_needs_is_left_behind(real: Path, tmp_path: Path) -> None:
    folder = changed(real, tmp_path / "m", lambda plans: plans.update(author="Dr. X"))
    dataset = json.loads((folder / "dataset.json").read_text())
    dataset |= {"description": "of patient X", "dataset": {"X_0001": {}}, "reference": "ward 7"}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    model = check_model_folder(folder)
    assert set(model.dataset) == {"channel_names", "labels", "file_ending"}
    assert "author" not in model.plans
    assert Network.load(folder).heads == 3


def test_code_of_the_users_own_runs_only_where_he_names_it(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "trainers"
    place.mkdir()
    base = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
    (place / "own.py").write_text(f"from {base} import nnUNetTrainer\nclass OwnTrainer(nnUNetTrainer): pass\n")
    monkeypatch.setenv("nnUNet_extTrainer", str(place))
    folder = tmp_path / "model"
    shutil.copytree(real, folder)
    content = torch.load(folder / CHECKPOINT, weights_only=True)
    torch.save({**content, "trainer_name": "OwnTrainer"}, folder / CHECKPOINT)
    assert TRUSTED_CODE in told(lambda: Network.load(folder))
    monkeypatch.setenv(TRUSTED_CODE, "another, OwnTrainer")
    assert Network.load(folder).heads == 3

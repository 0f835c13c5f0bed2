"""Genuine nnU-Net training on a few corrections: what it may see, what it keeps, and how it ends.

The demonstration model learns from pieces of phantoms for a few iterations; the process is the genuine one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetuned import (
    SHAPE,
    TINY,
    add,
    copy_of,
    ended,
    fine_tuned,
    iterations,
    kill,
    log,
    make_project,
    piece,
    started,
    until,
    until_it_stands,
    until_iteration,
    weights,
)
from nnunet_models import make_model

from activeseg.client.messages.learning import ProjectResult
from activeseg.core.errors import (
    ActiveSegError,
    Cancelled,
    DatasetError,
    DeviceError,
    EngineError,
    InputError,
    ModelError,
)
from activeseg.core.labels import IGNORE, LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.records import from_json, to_json
from activeseg.core.segmenter import Mode, Settings
from activeseg.dataset import Dataset, NewCase
from activeseg.io.images import read_label_map
from activeseg.learning.measuring.comparison import compare_versions
from activeseg.learning.measuring.evaluation import measure
from activeseg.learning.project.holdout import Side
from activeseg.learning.project.opening import open_version
from activeseg.learning.project.project import VERSIONS, Project
from activeseg.learning.project.version import BASE, MODEL
from activeseg.learning.summary import project_summary
from activeseg.learning.training.finetuning import (
    outcome,
    plan_finetuning,
    resume_finetuning,
    start_finetuning,
    wait_for_end,
)
from activeseg.learning.training.preparation import DATASET, prepare
from activeseg.learning.training.run_folder import Control, RunFolder, Stage
from activeseg.learning.training.trainer import FineTuningTrainer, draws, transferred
from activeseg.learning.training.training_basis import TrainingBasis
from activeseg.learning.training.training_plan import MembersFrom, TrainingPlan, default_plan
from activeseg.models import open_model
from activeseg.samples.phantom import PHANTOM_SCHEMA
from activeseg.segmenters.demo import demo_segmenter
from activeseg.segmenters.nnunet import sweep
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter
from activeseg.system import disk

DEMO = demo_segmenter().folder
LABELS = {"background": 0, **{label.name: label.value for label in PHANTOM_SCHEMA.labels}}
REPLAY, FROZEN = 0.4, 2
SWITCHES = {
    "nnUNet_compile": "true",
    "nnUNet_wandb_enabled": "perhaps",
    "nnUNet_def_n_proc": "many",
    "nnUNet_n_proc_DA": "4",
    "nnUNet_preprocessed": "/dev/null",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    "MPLBACKEND": "no screen",
}
"""What users of nnU-Net, torch and matplotlib have in their environment."""


@pytest.fixture(scope="module", autouse=True)
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("private")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTIVESEG_PRIVATE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, RunFolder]:
    """A project with one version of two members, trained where somebody has set all switches; nothing may change it."""
    project = make_project(tmp_path_factory.mktemp("trained") / "organs")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SWITCHES.items():
            patch.setenv(name, value)
        return project, trained_run(project)


def trained_run(project: Project) -> RunFolder:
    run = fine_tuned(
        project,
        members=2,
        epochs=2,
        iterations=6,
        batch_size=2,
        replay=REPLAY,
        frozen_stages=FROZEN,
        learning_rate=1e-4,
    )
    assert run.state.stage is Stage.DONE, log(run)
    return run


@pytest.fixture
def project(trained: tuple[Project, RunFolder], tmp_path: Path) -> Project:
    """A copy with which a test may do as it likes."""
    return copy_of(trained[0], tmp_path / "organs")


def versions_of(project: Project) -> list[str]:
    """All that lies among the versions, hidden things as well."""
    folder = project.folder / VERSIONS
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# The result


def test_a_fine_tuning_ends_with_a_version_that_says_where_it_comes_from(trained: tuple[Project, RunFolder]) -> None:
    project, run = trained
    state = outcome(run)
    version = project.version(state.version)
    dataset = project.dataset()
    assert (version.id, version.parent, version.imported) == ("v0001", BASE, "")
    assert dict(version.data) == {c: dataset.record(c).current.label.sha256 for c in ("CT_0001", "CT_0003")}
    assert dict(version.held_out) == {"CT_0002": dataset.record("CT_0002").current.label.sha256}
    assert (list(version.replay), list(version.replay_held_out)) == (["CT_0001", "CT_0003"], ["CT_0002"])
    assert version.seeds == (0, 1)
    assert TrainingPlan.from_dict(version.plan).iterations == 6
    assert set(version.libraries) >= {"nnunetv2", "torch"}
    assert version.seconds > 0
    assert LabelSchema.from_dict(version.schema) == PHANTOM_SCHEMA
    assert version.verdict is not None
    assert version.verdict.reason == state.verdict
    assert set(version.metrics["child"]) == {"CT_0002"}
    assert set(version.metrics["kept"]["child"]) == {"CT_0002"}
    assert state.fraction == 1.0


def test_a_version_tells_structure_by_structure_what_was_measured(trained: tuple[Project, RunFolder]) -> None:
    project, _ = trained
    shown = from_json(ProjectResult, to_json(project_summary(project)))
    version = shown.versions[-1]
    verdict = project.version("v0001").verdict
    assert verdict is not None
    assert (version.promoted, version.unmeasured) == (verdict.promoted, verdict.unmeasured)
    assert [(s.name, s.before, s.after, s.cases) for s in version.structures] == [
        (s.name, s.before, s.after, s.cases) for s in verdict.structures
    ]
    assert all(structure.voxels >= 20 for structure in version.structures)
    assert version.kept is not None
    assert verdict.kept is not None
    assert (version.kept.before, version.kept.after, version.kept.cases) == (1.0, verdict.kept.after, 1)
    assert version.share == project.version("v0001").share
    assert shown.versions[0].structures == ()


def test_a_training_for_which_the_disk_is_too_full_does_not_begin(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan_finetuning(project, {"epochs": 1, "iterations": 1, "members": 1}, device="cpu")
    assert planned.disk_bytes > 2 * 4 * 10_000
    assert any(name == "disk" for name, _ in planned.rows())
    runs = RunFolder.all_of(project)
    monkeypatch.setattr(disk, "free_bytes", lambda _folder: disk.RESERVE_BYTES)
    with pytest.raises(DeviceError, match="are needed for this training"):
        start_finetuning(project, planned.plan)
    assert RunFolder.all_of(project) == runs


def test_nothing_that_only_training_needs_is_left(trained: tuple[Project, RunFolder]) -> None:
    project, run = trained
    assert not {"preprocessed", "results", "members"} & {path.name for path in run.folder.iterdir()}
    assert versions_of(project) == ["v0001"]
    assert sorted(path.name for path in project.version_folder("v0001").iterdir()) == [
        "comparison.png",
        "measured.json",
        "model",
        "version.json",
    ]
    assert list((run.folder / "tensorboard").rglob("events*"))


def test_the_genuine_predictor_loads_the_version_and_finds_what_the_segmenter_finds(
    trained: tuple[Project, RunFolder],
) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    project, _ = trained
    segmenter = open_version(project, "v0001")
    assert isinstance(segmenter, NnUNetSegmenter)
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(segmenter.folder), (0, 1))
    ct = piece(20).ct
    expected = predictor.predict_single_npy_array(ct.array[None].astype(np.float32), {"spacing": [4.0] * 3})
    result = segmenter.segment({"CT": ct}, Settings(device="cpu", mode=Mode.EXACT), Progress())
    assert np.array_equal(result.labels, expected)
    assert len(result.grid.votes) == 2
    assert open_model(f"project:{project.folder}@v0001").schema == PHANTOM_SCHEMA


def test_the_versions_model_holds_weights_only_and_the_parents_trainer(trained: tuple[Project, RunFolder]) -> None:
    model = trained[0].version_folder("v0001") / MODEL
    for fold in (0, 1):
        content = torch.load(model / f"fold_{fold}" / "checkpoint_final.pth", weights_only=True)
        assert set(content) == {"network_weights", "trainer_name", "init_args", "inference_allowed_mirroring_axes"}
        assert content["trainer_name"] == "nnUNetTrainerNoMirroring"
    assert json.loads((model / "dataset.json").read_text())["labels"] == LABELS
    theirs, ours = (json.loads((folder / "plans.json").read_text()) for folder in (DEMO, model))
    assert ours == theirs


# What it was trained on


def test_what_the_loader_served_never_holds_a_held_out_case_and_replays_about_the_share(
    trained: tuple[Project, RunFolder],
) -> None:
    project, run = trained
    served = [case for event in iterations(run) for case in event["cases"]]
    assert len(served) == 2 * 2 * 6 * 2  # members, epochs, iterations, batch
    held_out = project.state.hold_out.on(Side.HELD_OUT)
    assert held_out == ("CT_0002",)
    assert set(served) <= {"new_CT_0001", "new_CT_0003", "replay_CT_0001", "replay_CT_0003"}
    assert {"new_CT_0001", "new_CT_0003"} <= set(served)
    share = sum(case.startswith("replay_") for case in served) / len(served)
    assert share == pytest.approx(REPLAY, abs=0.2)


def test_members_with_other_seeds_see_other_patches_and_differ(trained: tuple[Project, RunFolder]) -> None:
    project, run = trained
    losses = [[event["loss"] for event in iterations(run) if event["member"] == member] for member in (1, 2)]
    assert len(losses[0]) == len(losses[1]) == 12
    assert losses[0] != losses[1]
    model = project.version_folder("v0001") / MODEL
    name = "encoder.stages.3.0.convs.0.conv.weight"
    assert not torch.equal(weights(model, 0)[name], weights(model, 1)[name])


@pytest.mark.parametrize(
    ("corrected", "replayed", "share"), [(1, 1, 0.5), (2, 2, 0.33), (3, 10, 0.25), (10, 3, 0.6), (1, 40, 0.33)]
)
def test_draws_have_the_share_and_treat_all_of_a_kind_alike(corrected: int, replayed: int, share: float) -> None:
    new, old = [f"n{n}" for n in range(corrected)], [f"o{n}" for n in range(replayed)]
    names = draws(new, old, share)
    counts = {name: names.count(name) for name in names}
    assert set(counts) == {*new, *old}
    assert len({counts[name] for name in new}) == len({counts[name] for name in old}) == 1
    found = sum(counts[name] for name in old) / len(names)
    least = replayed / (replayed + 20 * corrected)  # as few as 20 repetitions of the new ones allow
    assert found == pytest.approx(max(share, least), abs=0.04)


def test_without_replay_only_corrected_cases_are_drawn() -> None:
    assert draws(["a", "b"], [], 0.5) == ["a", "b"]
    assert draws(["a", "b"], ["c"], 0.0) == ["a", "b"]


# What it keeps


def test_heads_are_kept_by_name_and_a_new_structures_row_stays_as_it_was_made() -> None:
    parent = weights(DEMO)
    heads = [name for name in parent if ".seg_layers." in name]
    own = {
        name: torch.full((len(LABELS) + 1, *tensor.shape[1:]), 7.0) if name in heads else torch.zeros_like(tensor)
        for name, tensor in parent.items()
    }
    turned = {"background": 0, "liver": 1, "cyst": 2}
    turned |= {name: number + 3 for number, name in enumerate(n for n in LABELS if n not in turned)}
    result = transferred(own, parent, LABELS, {**turned, IGNORE: len(turned)})
    assert set(result) == set(parent)
    for name, tensor in result.items():
        if name not in heads:
            assert torch.equal(tensor, parent[name])
            continue
        assert torch.equal(tensor[turned["cyst"]], own[name][turned["cyst"]])
        for structure, row in LABELS.items():
            assert torch.equal(tensor[turned[structure]], parent[name][row])


def test_the_same_structures_take_all_weights_as_they_are() -> None:
    parent = weights(DEMO)
    own = {name: torch.zeros_like(tensor) for name, tensor in parent.items()}
    result = transferred(own, parent, LABELS, {**LABELS, IGNORE: 12})
    assert all(torch.equal(result[name], parent[name]) for name in parent)


def test_heads_of_overlapping_regions_go_by_name_too() -> None:
    name = "decoder.seg_layers.0.weight"
    before = {"background": 0, "whole": [1, 2], "core": [2]}
    parent = {name: torch.tensor([[1.0], [2.0]])}
    own = {name: torch.tensor([[9.0], [9.0], [9.0]])}
    after = {"background": 0, "core": [2], "rim": [1, 3], "whole": [1, 2, 3], IGNORE: 4}
    assert transferred(own, parent, before, after)[name].tolist() == [[2.0], [9.0], [1.0]]


def test_weights_of_another_network_are_refused() -> None:
    parent = weights(DEMO)
    other = {name: torch.zeros((1, *tensor.shape)) for name, tensor in parent.items()}
    with pytest.raises(ModelError, match="do not fit"):
        transferred(other, parent, LABELS, LABELS)
    with pytest.raises(ModelError, match="missing"):
        transferred({**parent, "more": torch.zeros(1)}, parent, LABELS, LABELS)


class Deep(torch.nn.Module):
    """The deepest layer of a network on a small patch, and the list of outputs that nnU-Net's losses take."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv3d(64, 64, 3, padding=1)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.layer(image)]


def test_weights_stay_numbers_where_an_image_has_few_voxels() -> None:
    """In bfloat16 oneDNN 3 (torch 2.13) reads memory that nobody wrote in most of these steps."""
    torch.manual_seed(0)
    trainer = FineTuningTrainer.__new__(FineTuningTrainer)  # all but its step is nnU-Net's
    trainer.device, trainer.network = torch.device("cpu"), Deep()
    trainer.optimizer = torch.optim.AdamW(trainer.network.parameters(), 1e-4)
    trainer.loss = lambda outputs, target: (outputs[0] - target[0]).square().mean()
    for _ in range(60):
        batch = {"data": torch.randn(2, 64, 2, 3, 3), "target": [torch.zeros(2, 64, 2, 3, 3)]}
        dirty = torch.full((300_000,), math.nan)
        del dirty
        trainer.step_without_scaler(batch)
        assert all(bool(torch.isfinite(parameter).all()) for parameter in trainer.network.parameters())


def test_frozen_stages_stay_bit_for_bit_and_the_others_learn(trained: tuple[Project, RunFolder]) -> None:
    model = trained[0].version_folder("v0001") / MODEL
    for fold in (0, 1):
        before, after = weights(DEMO, fold), weights(model, fold)
        frozen = tuple(f"encoder.stages.{stage}." for stage in range(FROZEN))
        for name, tensor in before.items():
            kept = torch.equal(after[name], tensor)
            if name.startswith(frozen):
                assert kept, name
            elif name.startswith("encoder.stages.3.") and name.endswith("conv.weight"):
                assert not kept, name


# Labels


def test_structures_that_the_dataset_lacks_are_filled_in_from_the_parent_and_ignore_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "fast_precision", lambda *_: None)  # else each run times whether bfloat16 pays
    phantom = piece(3)
    truth = phantom.labels.array
    dataset = Dataset.create(tmp_path / "two", LabelSchema.from_names(["My liver", "spleen"]))
    labels = np.zeros(SHAPE, np.uint8)
    labels[truth == LABELS["liver"]] = 1
    labels[truth == LABELS["spleen"]] = 2
    labels[:4] = dataset.schema.ignore_value
    dataset.add_case(NewCase.of_truth(phantom.ct, type(phantom.labels)(labels, phantom.labels.geometry)))
    project = Project.create(tmp_path / "p", "demo", dataset=dataset.folder, matching={"My liver": "liver"})
    project.admit("CT_0001", "A")
    basis = TrainingBasis.of(project)
    target = basis.target
    assert target.value_of == {"My liver": LABELS["liver"], "spleen": LABELS["spleen"]}
    assert target.new == ()
    assert target.ignore == 12
    folder = tmp_path / "preprocessed"
    prepare(project, basis, TrainingPlan(), folder, Progress())
    written = read_label_map(folder / DATASET / "labels" / "new_CT_0001.nii.gz").array
    settings = Settings(device="cpu", members=1, mode=Mode.FAST)
    predicted = NnUNetSegmenter(DEMO).segment({"CT": phantom.ct}, settings, Progress()).labels
    assert np.all(written[:4] == target.ignore)
    for value, own in ((LABELS["liver"], 1), (LABELS["spleen"], 2)):
        assert np.array_equal(written == value, labels == own)
    kept = (labels == 0) & ~np.isin(predicted, [0, LABELS["liver"], LABELS["spleen"]])
    assert kept.any()
    assert np.array_equal(written[kept], predicted[kept])
    assert not written[(labels == 0) & ~kept].any()
    assert len(list((folder / DATASET / "cases").glob("new_CT_0001*"))) > 1


def test_only_reviewed_voxels_teach_and_a_case_with_a_single_one_trains_on_to_nothing_wrong(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", "demo")
    ignore = project.dataset().schema.ignore_value

    def one_voxel(labels: np.ndarray) -> None:
        labels.fill(ignore)
        labels[0, 0, 0] = 0  # most patches hold none

    add(project, 0, "A", one_voxel)
    run = fine_tuned(project, iterations=3)
    assert run.state.stage is Stage.DONE, log(run)
    assert all(math.isfinite(event["loss"]) for event in iterations(run))
    for name, tensor in weights(project.version_folder("v0001") / MODEL).items():
        assert torch.isfinite(tensor).all(), name
    assert "no held-out case" in run.state.verdict
    assert project.state.current == BASE


def test_a_new_structure_adds_a_head_and_the_others_stay(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", "demo", new_structures=["cyst"])

    def with_cyst(labels: np.ndarray) -> None:
        labels[8:16, 10:20, 10:20] = 12

    add(project, 0, "A", with_cyst)
    planned = plan_finetuning(project, TINY, device="cpu")
    assert planned.basis.target.new == ("cyst",)
    run = fine_tuned(project, learning_rate=1e-7)
    assert run.state.stage is Stage.DONE, log(run)
    model = project.version_folder("v0001") / MODEL
    assert json.loads((model / "dataset.json").read_text())["labels"] == {**LABELS, "cyst": 12}
    before, after = weights(DEMO), weights(model)
    for name, tensor in after.items():
        assert torch.allclose(tensor[: len(before[name])], before[name], atol=1e-5), name
    segmenter = open_version(project, "v0001")
    assert segmenter.schema.names == (*PHANTOM_SCHEMA.names, "cyst")
    assert segmenter.schema.labels[:11] == PHANTOM_SCHEMA.labels
    found = segmenter.segment({"CT": piece(5).ct}, Settings(device="cpu"), Progress())
    assert found.labels.shape == SHAPE
    # The next fine-tuning finds the structure in its parent, by the name that the dataset has for it.
    assert plan_finetuning(project, TINY, parent="v0001", device="cpu").basis.target.new == ()


def test_snapshots_give_as_many_members_as_cycles(project: Project) -> None:
    run = fine_tuned(project, members=2, members_from="snapshots", epochs=2, iterations=2, learning_rate=1e-3)
    assert run.state.stage is Stage.DONE, log(run)
    assert len(iterations(run)) == 4  # one training
    version = project.version(run.state.version)
    assert version.seeds == (0,)
    model = project.version_folder(version.id) / MODEL
    assert sorted(path.name for path in model.glob("fold_*")) == ["fold_0", "fold_1"]
    name = "encoder.stages.3.0.convs.0.conv.weight"
    assert not torch.equal(weights(model, 0)[name], weights(model, 1)[name])


# Going on and ending


def test_a_cancelled_fine_tuning_ends_and_leaves_no_version(project: Project) -> None:
    run = started(project, epochs=50, iterations=50)
    until_iteration(run, 1)
    assert RunFolder.last_of(project).id == run.id
    with pytest.raises(DatasetError, match="being trained already"):
        started(project)
    run.tell(Control.CANCEL)
    wait_for_end(run)
    assert run.state.stage is Stage.CANCELLED
    assert versions_of(project) == ["v0001"]
    assert not {"preprocessed", "results", "members"} & {path.name for path in run.folder.iterdir()}
    with pytest.raises(Cancelled):
        outcome(run)
    with pytest.raises(InputError, match="has ended"):
        resume_finetuning(run)


def test_a_killed_process_loses_one_epoch_at_most(project: Project) -> None:
    run = started(project, epochs=6, iterations=20)
    until_iteration(run, 21)
    run.tell(Control.PAUSE)  # so that it does not end before it is killed
    kill(run)
    assert run.state.stage is Stage.STOPPED
    with pytest.raises(EngineError, match="resume"):
        outcome(run)
    assert versions_of(project) == ["v0001"]
    before = len(iterations(run))
    assert before < 120
    epochs = sum(event["event"] == "epoch" for event in run.events()[0])
    assert epochs >= 1
    resume_finetuning(run)
    assert ended(run).stage is Stage.DONE, log(run)
    numbers = [event["iteration"] for event in iterations(run)]
    assert numbers[:before] == list(range(1, before + 1))
    first = numbers[before]
    assert first in (epochs * 20 + 1, before // 20 * 20 + 1)  # it may have been killed before it told of an epoch
    assert numbers[before:] == list(range(first, 121))
    assert versions_of(project) == ["v0001", run.state.version]


def test_a_paused_and_stopped_fine_tuning_goes_on_where_it_was(project: Project) -> None:
    run = started(project, members=2, epochs=1, iterations=30)
    until_iteration(run, 1, member=2)
    run.tell(Control.PAUSE)
    assert (run.state.member, run.state.epoch) == (2, 1)
    run.tell(Control.STOP)
    wait_for_end(run)
    assert run.state.stage is Stage.STOPPED
    before = len(iterations(run))
    assert before < 60
    resume_finetuning(run)
    assert ended(run).stage is Stage.DONE, log(run)
    again = iterations(run)[before:]
    assert {event["member"] for event in again} == {2}  # the first member was done
    assert [event["iteration"] for event in again] == list(range(1, 31))
    assert len(list((project.version_folder(run.state.version) / MODEL).glob("fold_*"))) == 2


def test_a_fine_tuning_that_is_resumed_while_it_stops_loses_nothing(project: Project) -> None:
    run = started(project, epochs=1, iterations=30)
    until_iteration(run, 1)
    run.tell(Control.PAUSE)
    run.tell(Control.STOP)
    resume_finetuning(run)
    assert ended(run).stage is Stage.DONE, log(run)
    assert [event["stage"] for event in run.events()[0] if event["event"] == "end"] == ["stopped", "done"]


def test_a_fine_tuning_that_is_being_cancelled_is_not_resumed(project: Project) -> None:
    run = started(project, epochs=1, iterations=30)
    until_iteration(run, 1)
    run.tell(Control.CANCEL)
    with pytest.raises(InputError, match="cancelled"):
        resume_finetuning(run)
    assert run.state.stage is Stage.CANCELLED


def test_a_paused_fine_tuning_is_there_and_goes_on(project: Project) -> None:
    run = started(project, epochs=1, iterations=60)
    until_iteration(run, 2)
    run.tell(Control.PAUSE)
    assert until_it_stands(run) < 60
    assert run.is_alive
    resume_finetuning(run)
    assert ended(run).stage is Stage.DONE, log(run)
    assert [event["iteration"] for event in iterations(run)] == list(range(1, 61))


def test_a_fine_tuning_that_fails_says_why_and_goes_on_when_the_cause_is_gone(project: Project, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(DEMO, model)
    project.change(lambda state: replace(state, base_model=f"nnunet:{model}"))
    planned = plan_finetuning(project, TINY, parent=BASE, device="cpu")
    model.rename(tmp_path / "away")
    run = RunFolder.create(project, BASE, planned.plan, planned.basis.cases)
    run.start()
    assert ended(run).stage is Stage.FAILED
    with pytest.raises(ActiveSegError, match="not a trained nnU-Net model"):
        outcome(run)
    assert versions_of(project) == ["v0001"]
    (tmp_path / "away").rename(model)
    resume_finetuning(run)
    assert ended(run).stage is Stage.DONE, log(run)
    assert run.state.error is None


def test_a_training_that_diverges_fails_and_leaves_no_version(tmp_path: Path) -> None:
    # A network of two stages has one output, and nnU-Net gives the last one no weight: its loss is no number.
    model = make_model(tmp_path / "model", LABELS, spacing=(4.0, 4.0, 4.0), features=(4, 8))
    project = Project.create(tmp_path / "p", f"nnunet:{model}")
    add(project, 0, "A")
    run = fine_tuned(project)
    assert run.state.stage is Stage.FAILED
    with pytest.raises(ActiveSegError, match=r"diverged in epoch 1.*lower learning rate"):
        outcome(run)
    assert versions_of(project) == []


def test_a_project_that_was_moved_while_its_fine_tuning_stood_still_goes_on_where_it_is(
    project: Project, tmp_path: Path
) -> None:
    run = started(project, epochs=50, iterations=50)
    until_iteration(run, 1)
    run.tell(Control.STOP)
    wait_for_end(run)
    project.folder.rename(tmp_path / "moved")
    moved = RunFolder.last_of(Project.open(tmp_path / "moved"))
    done = len(iterations(moved))
    resume_finetuning(moved)
    until(lambda: len(iterations(moved)) > done or moved.state.stage.ended)
    moved.tell(Control.CANCEL)
    assert ended(moved).stage is Stage.CANCELLED, log(moved)
    assert not project.folder.exists()


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_what_somebody_else_prepared_is_prepared_again_and_never_unpickled(project: Project, tmp_path: Path) -> None:
    folder, basis = tmp_path / "preprocessed", TrainingBasis.of(project, BASE)

    def prepared() -> dict[str, bytes]:
        prepare(project, basis, TrainingPlan(), folder, Progress())
        return {path.name: path.read_bytes() for path in (folder / DATASET / "cases").iterdir()}

    first = prepared()
    (folder / DATASET / "labels").rename(tmp_path / "labels-of-the-first-time")
    assert prepared() == first
    assert not list((folder / DATASET / "labels").iterdir())  # all were there already
    name = min(first)
    case = folder / DATASET / "cases" / name
    proof = tmp_path / "it-ran"
    case.with_suffix(".pkl").write_bytes(f"cos\nmkdir\n(V{proof}\ntR.".encode())
    case.with_name("more.npz").write_bytes(b"theirs")
    assert set(prepared()) == set(first)
    assert case.with_suffix(".pkl").read_bytes() == first[case.with_suffix(".pkl").name]
    elsewhere = tmp_path / "documents"
    (folder / DATASET).rename(elsewhere)
    (folder / DATASET).symlink_to(elsewhere, target_is_directory=True)
    before = sorted(path.stat().st_mtime_ns for path in elsewhere.rglob("*"))
    prepared()
    assert sorted(path.stat().st_mtime_ns for path in elsewhere.rglob("*")) == before
    assert not proof.exists()


# The gate, and what stays


def test_the_gate_promotes_what_is_better_and_a_later_one_begins_with_it(tmp_path: Path) -> None:
    # The base model's last layer is turned towards background, which a few iterations mend.
    spoiled = tmp_path / "model"
    shutil.copytree(DEMO, spoiled)
    for fold in (1, 2, 3):
        shutil.rmtree(spoiled / f"fold_{fold}")
    path = spoiled / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=True)
    last = max(name for name in content["network_weights"] if ".seg_layers." in name and name.endswith("bias"))
    content["network_weights"][last][0] += 8.0
    torch.save(content, path)
    project = Project.create(tmp_path / "p", f"nnunet:{spoiled}")
    for seed, patient in enumerate("AB"):
        add(project, seed, patient)
    run = fine_tuned(project, epochs=1, iterations=25, learning_rate=5e-3, margin=1.0, patch_kji=(24, 40, 40))
    state = run.state
    assert state.stage is Stage.DONE, log(run)
    assert state.promoted, state.verdict
    assert project.state.current == "v0001"
    (promotion,) = project.state.promotions
    assert (promotion.version, promotion.by, promotion.reason) == ("v0001", "gate", state.verdict)
    assert plan_finetuning(project, TINY, device="cpu").parent == "v0001"
    assert project.rollback().current == BASE


def test_the_gate_keeps_what_is_worse_and_the_user_may_overrule_it(project: Project) -> None:
    before = project.state
    first = hashes(project.version_folder("v0001"))
    run = fine_tuned(project, learning_rate=0.5, epochs=1, iterations=4)
    state = outcome(run)
    assert not state.promoted
    assert state.verdict.startswith("Refused: ")
    assert project.state == before
    version = project.version(state.version)
    assert version.verdict is not None
    assert any(structure.falls for structure in version.verdict.structures)
    project.promote(version.id, "I know better")
    assert [(p.version, p.by, p.reason) for p in project.state.promotions] == [(version.id, "user", "I know better")]
    # Neither the second fine-tuning nor a comparison touched the first version.
    compared = compare_versions(project, "v0001", version.id, "cpu")
    assert compared.verdict.promoted is False
    assert compared.rows()
    assert hashes(project.version_folder("v0001")) == first


def test_a_version_that_is_there_is_never_written_again(trained: tuple[Project, RunFolder]) -> None:
    project, _ = trained
    record = json.loads((project.version_folder("v0001") / "version.json").read_text())
    assert (record["metrics"], record["verdict"]) == ({}, None)  # they came later, into a file of their own
    before = hashes(project.version_folder("v0001"))
    results = measure(project, "v0001", "cpu", Progress())
    assert results["CT_0002"].seen == 1.0
    assert hashes(project.version_folder("v0001")) == before


# Plans


def test_a_plan_says_what_would_be_done(trained: tuple[Project, RunFolder]) -> None:
    planned = plan_finetuning(trained[0], TINY, device="cpu")
    assert (planned.parent, planned.part, planned.held_out) == (BASE, "", 1)
    assert planned.basis.network.encoder_stages == 4
    assert planned.estimate.learning <= planned.estimate.parameters
    assert planned.estimate.seconds > 0
    assert planned.estimate.peak_bytes > 0
    assert json.loads(json.dumps(planned.to_dict()))["cases"] == ["CT_0001", "CT_0003"]
    frozen = plan_finetuning(trained[0], {**TINY, "frozen_stages": 3}, device="cpu")
    assert frozen.estimate.learning < frozen.estimate.parameters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": 0}, "members"),
        ({"replay": 1.0}, "nothing new"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"members": 3, "members_from": "snapshots", "epochs": 2}, "snapshots"),
        ({"members_from": "luck"}, "luck"),
        ({"frozen_stages": 4}, "cannot be frozen"),
        ({"speed": 3}, "speed"),
        ({"patch_kji": (0, 8, 8)}, "patch_kji"),
        ({"patch_kji": (16, 24)}, "2 numbers; the network needs 3"),
        ({"patch_kji": (16, 20, 24)}, "multiples of 8, 8, 8"),
        ({"patch_kji": (8, 8, 8)}, "multiples of 8, 8, 8"),
    ],
)
def test_numbers_that_cannot_be_trained_with_are_refused_before_anything_begins(
    trained: tuple[Project, RunFolder], changes: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        plan_finetuning(trained[0], changes, device="cpu")


def test_a_single_network_has_no_part(trained: tuple[Project, RunFolder]) -> None:
    with pytest.raises(InputError, match="no part 'Dataset9'"):
        plan_finetuning(trained[0], TINY, part="Dataset9", device="cpu")


def test_members_come_from_seeds_or_snapshots_only() -> None:
    with pytest.raises(InputError, match="cannot come from 'seed'") as refused:
        TrainingPlan().changed({"members_from": "seed"})
    assert "seeds or snapshots" in refused.value.action


def test_the_rate_warms_up_and_falls_once_in_each_cycle() -> None:
    plan = TrainingPlan(members=2, members_from=MembersFrom.SNAPSHOTS, epochs=4, iterations=25, warm_up=0.2)
    rates = [plan.rate(number) for number in range(100)]
    assert rates[:50] == rates[50:]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:50] == sorted(rates[10:50], reverse=True)
    assert max(rates) == pytest.approx(plan.learning_rate, rel=0.01)
    assert 0 < rates[49] < 0.05 * plan.learning_rate
    assert TrainingPlan.from_dict(json.loads(json.dumps(to_json(plan)))) == plan


def test_defaults_fit_the_device_and_the_number_of_cases() -> None:
    small, many = default_plan("cpu", 1, 4, 6, False), default_plan("cpu", 40, 4, 6, False)
    assert (small.members, small.frozen_stages) == (2, 3)
    assert many.all_iterations > small.all_iterations
    assert default_plan("cuda", 1, 5, 6, False).members == 4
    assert default_plan("cuda", 1, 1, 6, True).members == 1


def test_a_stopped_fine_tuning_can_be_cancelled_for_good(project: Project) -> None:
    run = started(project, epochs=1, iterations=50)
    until_iteration(run, 1)
    run.tell(Control.STOP)
    wait_for_end(run)
    run.tell(Control.CANCEL)
    assert run.state.stage is Stage.CANCELLED
    assert not (run.folder / "preprocessed").exists()
    with pytest.raises(InputError, match="has ended"):
        resume_finetuning(run)


def test_cases_that_the_parent_has_learnt_are_replayed_beside_the_new_one(project: Project) -> None:
    project.promote("v0001", "a test")
    fresh = add(project, 7, "D")
    planned = plan_finetuning(project, {**TINY, "iterations": 20, "replay": 0.5}, device="cpu")
    assert planned.earlier == 2
    assert dict(planned.rows())["corrected cases"] == "1"
    run = start_finetuning(project, planned.plan)
    assert ended(run).stage is Stage.DONE, log(run)
    served = [case for event in iterations(run) for case in event["cases"]]
    assert {f"new_{case}" for case in planned.basis.cases.corrected} <= set(served)
    assert 0.25 < served.count(f"new_{fresh}") / len(served) < 0.75

"""What holds a fine-tuning near its parent, with the demonstration network and real trainings of a few iterations."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from finetuned import TINY, add, copy_of, ended, fine_tuned, iterations, log, make_project, piece, weights

from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase
from activeseg.learning.measuring.comparison import compare_versions
from activeseg.learning.measuring.forgetting import EarlierImages
from activeseg.learning.project.gate import kept_of
from activeseg.learning.project.opening import open_version
from activeseg.learning.project.project import REPLAY, Project
from activeseg.learning.project.share import Chosen
from activeseg.learning.project.version import BASE, MODEL
from activeseg.learning.training.averaging import averaged
from activeseg.learning.training.distillation import DistillingLoss
from activeseg.learning.training.finetuning import plan_finetuning, resume_finetuning
from activeseg.learning.training.replay import FOLDER
from activeseg.learning.training.run_folder import RunFolder, Stage
from activeseg.samples.phantom import PHANTOM_SCHEMA, Domain
from activeseg.segmenters.demo import demo_segmenter
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter

DEMO = demo_segmenter().folder
HELD_OUT = ("CT_0002",)
STEPS = {"epochs": 1, "iterations": 4, "learning_rate": 3e-3, "replay": 0.5, "batch_size": 2}


@pytest.fixture(scope="module", autouse=True)
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("private")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTIVESEG_PRIVATE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, RunFolder]:
    """A project with one version, of which no forgetting was refused; nothing may change it."""
    project = make_project(tmp_path_factory.mktemp("trained") / "organs")
    run = fine_tuned(project, **STEPS, forgetting_margin=1.0)
    assert run.state.stage is Stage.DONE, log(run)
    return project, run


# Distillation


class Heads(torch.nn.Module):
    """A network of one layer, and the list of outputs that nnU-Net's losses take."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.layer = torch.nn.Conv3d(1, heads, 1)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.layer(image)]


BATCH = {"data": torch.linspace(-1, 1, 2 * 27).reshape(2, 1, 3, 3, 3), "keys": ["new_CT_0001", "replay_CT_0001"]}


def distance(
    network: Heads, child: Heads, known: list[int], regions: bool = False, keys: object = None
) -> torch.Tensor:
    """What is added to nnU-Net's loss, which is left out here."""
    loss = DistillingLoss(lambda outputs, _target: outputs[0].sum() * 0, network, known, regions, weight=3.0)
    loss.of_batch({**BATCH, "keys": keys or BATCH["keys"]}, lambda name: name.startswith("replay_"))
    return loss(child(BATCH["data"]), None)


def other(network: Heads, row: int) -> Heads:
    changed = copy.deepcopy(network)
    with torch.no_grad():
        changed.layer.bias[row] += 1.0
    return changed


@pytest.mark.parametrize("regions", [False, True])
def test_the_parent_is_at_no_distance_from_itself_and_a_child_is(regions: bool) -> None:
    torch.manual_seed(0)
    parent = Heads(3)
    assert distance(parent, parent, [0, 1, 2], regions).item() == pytest.approx(0.0, abs=1e-7)
    assert distance(parent, other(parent, 1), [0, 1, 2], regions).item() > 0.01


def test_the_distance_pulls_a_child_back_and_leaves_the_parent() -> None:
    torch.manual_seed(0)
    parent = Heads(3)
    child, before = other(parent, 1), copy.deepcopy(parent.state_dict())
    optimizer = torch.optim.SGD(child.parameters(), 0.5)
    found = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = distance(parent, child, [0, 1, 2])
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.2 * found[0]
    assert all(torch.equal(parent.state_dict()[name], tensor) for name, tensor in before.items())


def test_a_structure_that_is_new_is_free_to_appear() -> None:
    torch.manual_seed(0)
    parent = Heads(4)
    assert distance(parent, other(parent, 3), [0, 1, 2]).item() == pytest.approx(0.0, abs=1e-6)


def test_corrected_images_are_not_held_near_the_parent() -> None:
    torch.manual_seed(0)
    parent = Heads(3)
    assert distance(parent, other(parent, 1), [0, 1, 2], keys=["new_CT_0001", "new_CT_0002"]).item() == 0.0


def test_nnunets_own_validation_sees_nnunets_loss_alone() -> None:
    parent = Heads(3)
    loss = DistillingLoss(lambda outputs, _target: outputs[0].sum() * 0, parent, [0, 1, 2], False, weight=3.0)
    assert loss(other(parent, 1)(BATCH["data"]), None).item() == 0.0


# Averaging


def test_weights_between_parent_and_child_lie_where_the_share_says() -> None:
    parent, child = (
        {"w": torch.tensor([0.0, 2.0]), "n": torch.tensor(3)},
        {"w": torch.tensor([4.0, 2.0]), "n": torch.tensor(5)},
    )
    assert averaged(parent, child, 0.25)["w"].tolist() == [1.0, 2.0]
    assert averaged(parent, child, 1.0)["w"].tolist() == [4.0, 2.0]
    assert averaged(parent, child, 0.25)["n"].item() == 5


def test_a_version_that_forgets_is_averaged_with_its_parent_and_the_gate_refuses_what_still_does(
    trained: tuple[Project, RunFolder], tmp_path: Path
) -> None:
    project, first = trained
    as_trained = project.version(first.state.version)
    assert as_trained.share == 1.0
    mine = copy_of(project, tmp_path / "organs")
    run = fine_tuned(mine, **STEPS, forgetting_margin=0.0)
    assert run.state.stage is Stage.DONE, log(run)
    version = mine.version(run.state.version)
    assert version.share == 0.25
    assert set(version.metrics["kept"]["tried"]) == {"1", "0.75", "0.5", "0.25"}
    assert not run.state.promoted
    assert version.verdict is not None
    assert version.verdict.kept is not None
    assert version.verdict.kept.falls
    before, whole = weights(DEMO), weights(project.version_folder(as_trained.id) / MODEL)
    quarter = weights(mine.version_folder(version.id) / MODEL)
    for name, tensor in before.items():
        assert torch.allclose(quarter[name], tensor.lerp(whole[name], 0.25), atol=1e-4), name
    assert not (run.folder / "results").exists()


def test_the_original_predictor_loads_an_averaged_version_and_finds_what_the_segmenter_finds(
    trained: tuple[Project, RunFolder], tmp_path: Path
) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    project, run = trained
    model = project.version_folder(run.state.version) / MODEL
    file = model / "fold_0" / "checkpoint_final.pth"
    folder = tmp_path / "model"
    (folder / "fold_0").mkdir(parents=True)
    for name in ("plans.json", "dataset.json"):
        (folder / name).write_bytes((model / name).read_bytes())
    content = torch.load(file, weights_only=True)
    content["network_weights"] = averaged(weights(DEMO), content["network_weights"], 0.5)
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(folder), (0,))
    ct = piece(20).ct
    expected = predictor.predict_single_npy_array(ct.array[None].astype(np.float32), {"spacing": [4.0] * 3})
    found = NnUNetSegmenter(folder).segment({"CT": ct}, Settings(device="cpu", mode=Mode.EXACT), Progress())
    assert np.array_equal(found.labels, expected)


# What is measured


def test_the_parent_keeps_all_that_it_can_do_and_another_version_does_not(trained: tuple[Project, RunFolder]) -> None:
    project, run = trained
    parent = open_version(project, BASE)
    images = EarlierImages(project, parent, HELD_OUT, "cpu", Progress())
    kept = kept_of(images.parent, images.dice_of(parent, Progress()))
    assert kept is not None
    assert (kept.before, kept.after, kept.cases) == (1.0, 1.0, 1)
    child = kept_of(images.parent, images.dice_of(open_version(project, run.state.version), Progress()))
    assert child is not None
    assert 0.5 < child.after < 1.0
    verdict = project.version(run.state.version).verdict
    assert verdict is not None
    assert verdict.kept is not None
    assert verdict.kept.after == pytest.approx(child.after)  # the gate saw the same
    assert compare_versions(project, BASE, run.state.version, "cpu").verdict.kept is not None


def test_a_replayed_image_with_a_ground_truth_is_compared_with_that(
    trained: tuple[Project, RunFolder], tmp_path: Path
) -> None:
    project = copy_of(trained[0], tmp_path / "organs")
    phantom = piece(11, Domain.CONTRAST)
    with Dataset.opened_or_created(project.folder / REPLAY / FOLDER, PHANTOM_SCHEMA) as dataset:
        dataset.add_case(NewCase.of_truth(phantom.ct, Volume(phantom.labels.array, phantom.labels.geometry)))
    images = EarlierImages(project, open_version(project, BASE), HELD_OUT, "cpu", Progress())
    mean = float(np.mean(list(images.parent["CT_0002"].values())))
    assert 0.5 < mean < 1.0  # the model makes errors, of which its own result knows nothing


def test_what_measures_forgetting_is_not_trained_on_and_the_plan_says_so(trained: tuple[Project, RunFolder]) -> None:
    project, run = trained
    served = {case for event in iterations(run) for case in event["cases"]}
    assert "replay_CT_0002" not in served
    planned = plan_finetuning(project, TINY, parent=BASE, device="cpu")
    assert planned.to_dict()["replay_held_out"] == ["CT_0002"]
    assert dict(planned.rows())["replayed images held out"].startswith("1, ")
    assert not any("forgets is not measured" in sentence for sentence in planned.sentences())


def test_a_plan_without_a_held_out_replayed_image_says_that_forgetting_is_not_measured(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "organs", "demo")
    add(project, 0, "A")
    planned = plan_finetuning(project, TINY, device="cpu")
    assert any("forgets is not measured" in sentence for sentence in planned.sentences())


def test_what_was_measured_before_a_kill_is_not_measured_again(
    trained: tuple[Project, RunFolder], tmp_path: Path
) -> None:
    project = copy_of(trained[0], tmp_path / "organs")
    planned = plan_finetuning(project, {**TINY, **STEPS}, parent=BASE, device="cpu")
    run = RunFolder.create(project, BASE, planned.plan, planned.basis.cases)
    chosen = Chosen(0.5, {"CT_0002": {"liver": 1.0}}, {"CT_0002": {"liver": 0.998}}, {"1": 0.98, "0.5": 0.998})
    run.write_chosen(chosen)  # as a process leaves it that was killed before its version appeared
    resume_finetuning(run)
    assert ended(run).stage is Stage.DONE, log(run)
    version = project.version(run.state.version)
    assert version.share == 0.5
    assert version.verdict is not None
    assert version.verdict.kept == chosen.kept(planned.plan.forgetting_margin)

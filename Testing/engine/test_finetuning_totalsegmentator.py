"""One network of TotalSegmentator learns: the one that owns what was corrected, and the genuine package loads it.

The networks are stand-ins (``standin.py``); the package and the training are genuine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from finetuned import TINY, ended, log
from standin import environment_of, genuine, piece_of_ct, volume_of, write_standin

from activeseg.core.correction import Correction, Review
from activeseg.core.errors import InputError, ModelError
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Settings
from activeseg.dataset import NewCase, Provenance
from activeseg.dataset.training_labels import label_for_training
from activeseg.learning.bundle import export_version, import_version
from activeseg.learning.project.opening import open_version
from activeseg.learning.project.project import Project
from activeseg.learning.project.version import BASE, MODEL, ModelKind
from activeseg.learning.training.finetuning import plan_finetuning, start_finetuning
from activeseg.learning.training.run_folder import Stage
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.segmenter import TotalSegmentatorSegmenter
from activeseg.segmenters.totalsegmentator.tasks import task_named

NAME = "totalsegmentator:total"
WINDOWS = (
    {"lung_upper_lobe_left": (-1100, -500), "liver": (0, 60)},
    {"vertebrae_T8": (180, 3000)},
    {"heart": (30, 110), "aorta": (110, 180)},
    {"humerus_left": (250, 3000), "autochthon_left": (40, 90)},
    {"rib_left_5": (200, 900)},
)
CORRECTED, OTHER = "aorta", "liver"
PARTS = task_named(NAME).parts()
OWNER = next(model for model in PARTS if CORRECTED in model.classes.values())
OTHERS = next(model for model in PARTS if OTHER in model.classes.values())
SMALL = {**{key: value for key, value in TINY.items() if key != "patch_kji"}, "frozen_stages": 0}


@pytest.fixture(scope="module")
def ct() -> nibabel.Nifti1Image:
    return piece_of_ct((slice(38, 74), slice(36, 68), slice(2, 26)), smooth=1.5)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, ct: nibabel.Nifti1Image) -> Iterator[UserHome]:
    """The user's home, as the environment tells it."""
    folder = tmp_path_factory.mktemp("home")
    home = UserHome(folder, folder / "weights")
    for model, windows in zip(PARTS, WINDOWS, strict=True):
        write_standin(home, model, windows, ct, features=(8, 16, 16))  # nnU-Net trains three stages or more
    with environment_of(home), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTIVESEG_PRIVATE_DIR", str(folder / "private"))
        yield home


def corrected(project: Project, ct: nibabel.Nifti1Image, *boxes: tuple[str, int]) -> str:
    """A case in which so many layers of these structures were drawn."""
    dataset, volume = project.dataset(), volume_of(ct)
    predicted = np.zeros(volume.geometry.shape_kji, np.uint8)
    edited = predicted.copy()
    for number, (name, layers) in enumerate(boxes):
        edited[4 : 4 + layers, 4 + 8 * number : 10 + 8 * number, 4:20] = dataset.schema.named(name).value
    change = Correction.between(predicted, edited, volume.geometry, dataset.schema)
    labels, training = label_for_training(edited, predicted, dataset.schema, Review.ALL, volume.geometry)
    provenance = Provenance.of_correction(change, training, model=NAME, decided=dataset.schema.names)
    case = dataset.add_case(NewCase(volume, labels, volume.geometry, provenance)).name
    project.admit(case, "A")
    return case


@pytest.fixture(scope="module")
def trained(home: UserHome, ct: nibabel.Nifti1Image, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which the aorta was corrected, most of all, and its network has learnt; nothing may change it."""
    project = Project.create(tmp_path_factory.mktemp("ts") / "aortas", NAME)
    corrected(project, ct, (CORRECTED, 8), (OTHER, 2))
    before = hashes(home.weights)
    run = start_finetuning(project, plan_finetuning(project, {**SMALL, "learning_rate": 1e-3}, device="cpu").plan)
    assert ended(run).stage is Stage.DONE, log(run)
    assert hashes(home.weights) == before  # the user's own stay as they are
    return project


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_network_that_owns_most_of_what_was_corrected_is_chosen_by_itself(trained: Project) -> None:
    planned = plan_finetuning(trained, SMALL, parent=BASE, device="cpu")
    assert planned.part == OWNER.dataset
    assert planned.basis.left_over == (OTHER,)
    assert any(OTHER in sentence and "separately" in sentence for sentence in planned.sentences())


def test_the_user_may_choose_another_network(trained: Project) -> None:
    for name in (OTHERS.dataset, str(OTHERS.dataset_id)):
        planned = plan_finetuning(trained, SMALL, part=name, parent=BASE, device="cpu")
        assert (planned.part, planned.basis.left_over) == (OTHERS.dataset, (CORRECTED,))
    with pytest.raises(InputError, match=r"no part '77'.*" + OWNER.dataset):
        plan_finetuning(trained, SMALL, part="77", device="cpu")


def test_more_members_than_the_package_loads_are_refused(trained: Project) -> None:
    with pytest.raises(InputError, match="1 member, and 2 were asked for"):
        plan_finetuning(trained, {**SMALL, "members": 2}, device="cpu")


def test_a_structure_that_the_package_does_not_know_is_refused(home: UserHome, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", NAME, new_structures=["tumour"])
    corrected(project, piece_of_ct((slice(38, 74), slice(36, 68), slice(2, 26))), ("tumour", 5))
    with pytest.raises(ModelError, match=r"'tumour' cannot be added.*list is fixed"):
        plan_finetuning(project, SMALL, device="cpu")


def test_the_version_holds_the_one_network_that_learnt(trained: Project, home: UserHome) -> None:
    version = trained.version("v0001")
    assert (version.kind, version.task) == (ModelKind.TOTALSEGMENTATOR, "total")
    model = trained.version_folder("v0001") / MODEL
    assert [path.name for path in model.iterdir() if not path.is_symlink()] == [OWNER.dataset]
    place = Path(OWNER.dataset) / OWNER.trained / "fold_0" / "checkpoint_final.pth"
    before, after = (torch.load(root / place, weights_only=True) for root in (home.weights, model))
    assert {key: value for key, value in after.items() if key != "network_weights"} == {
        key: value for key, value in before.items() if key != "network_weights"
    }
    assert after["network_weights"].keys() == before["network_weights"].keys()
    assert not torch.equal(
        after["network_weights"]["encoder.stages.0.0.convs.0.conv.weight"],
        before["network_weights"]["encoder.stages.0.0.convs.0.conv.weight"],
    )
    assert all(torch.isfinite(tensor).all() for tensor in after["network_weights"].values())


def test_the_genuine_package_loads_the_version_and_finds_what_the_segmenter_finds(
    trained: Project, home: UserHome, ct: nibabel.Nifti1Image
) -> None:
    segmenter = open_version(trained, "v0001")
    assert segmenter.name == f"project:{trained.folder}@v0001", "the engine opens it again by its name"
    model = trained.version_folder("v0001") / MODEL
    assert {path.name for path in model.iterdir()} == {path.dataset for path in PARTS}
    settings = Settings(device="cpu", mode=Mode.EXACT)
    ours = segmenter.segment({segmenter.channels[0]: volume_of(ct)}, settings, Progress()).labels
    theirs = genuine(ct, UserHome(home.home, model), task="total")
    assert np.array_equal(ours, theirs)
    untrained = TotalSegmentatorSegmenter("total", home)
    before = untrained.segment({segmenter.channels[0]: volume_of(ct)}, settings, Progress()).labels
    assert not np.array_equal(ours, before)  # it did learn something


def test_a_version_of_one_network_is_the_parent_of_the_next(trained: Project) -> None:
    planned = plan_finetuning(trained, SMALL, parent="v0001", device="cpu")
    assert (planned.parent, planned.part) == ("v0001", OWNER.dataset)


def test_a_version_of_one_network_travels_without_the_others(trained: Project, tmp_path: Path) -> None:
    open_version(trained, "v0001")  # links to the rest
    export_version(trained, "v0001", tmp_path / "v.zip")
    other = Project.create(tmp_path / "theirs", NAME)
    imported = import_version(other, tmp_path / "v.zip")
    model = other.version_folder(imported.id) / MODEL
    assert [path.name for path in model.iterdir()] == [OWNER.dataset]
    assert open_version(other, imported.id).schema == open_version(trained, "v0001").schema

"""The user's weights of nnInteractive: chosen, their licence confirmed, and hostile folders refused."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nninteractive_standin import CONFIGURATION, write_standin

from activeseg.core.errors import InputError, ModelError, Remedy
from activeseg.segmenters.nninteractive import weights
from activeseg.segmenters.nninteractive.model_folder import check_folder
from activeseg.segmenters.nninteractive.session import InteractiveSession
from activeseg.segmenters.nninteractive.weights import Readiness, choose, confirm, standing

NON_COMMERCIAL = "CC BY-NC-SA 4.0\nhttps://creativecommons.org/licenses/by-nc-sa/4.0/\n"


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_standin(tmp_path_factory.mktemp("nninteractive") / "weights")


@pytest.fixture
def folder(genuine: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(genuine, tmp_path / "weights"))


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder, empty."""
    place = tmp_path / "user"
    monkeypatch.setattr(weights, "data_folder", lambda: place)
    monkeypatch.delenv(weights.PLACE, raising=False)
    return place


def confirmed() -> Readiness:
    licence = standing().licence
    assert licence is not None
    return confirm(licence.sha256).state


def refusal() -> ModelError:
    with pytest.raises(ModelError) as refused:
        standing().required()
    return refused.value


def test_without_weights_the_user_is_told_where_they_are_published(own: Path) -> None:
    error = refusal()
    assert str(own / "nninteractive") in error.message
    assert "huggingface.co/MIC-DKFZ/nnInteractive" in error.action
    assert error.details["remedy"] == Remedy.ADD_NNINTERACTIVE


def test_a_confirmed_licence_makes_the_weights_usable_and_they_stay_where_they_are(folder: Path, own: Path) -> None:
    assert choose(folder).state is Readiness.LICENCE
    assert confirmed() is Readiness.READY
    assert standing().required().folder == folder
    assert [path.name for path in own.iterdir()] == ["nninteractive.json"]


def test_a_non_commercial_licence_is_named(folder: Path) -> None:
    (folder / "LICENSE").write_text(NON_COMMERCIAL)
    choose(folder)
    error = refusal()
    assert "'CC BY-NC-SA 4.0' (not for commercial use)" in error.message
    assert error.details["licence"] == "CC BY-NC-SA 4.0"


def test_another_licence_is_asked_for_again_and_the_first_one_stays_confirmed(folder: Path) -> None:
    choose(folder)
    confirmed()
    first = (folder / "LICENSE").read_text()
    (folder / "LICENSE").write_text(NON_COMMERCIAL)
    assert standing().state is Readiness.LICENCE
    (folder / "LICENSE").write_text(first)
    assert standing().state is Readiness.READY


def test_only_the_licence_that_was_shown_is_confirmed(folder: Path) -> None:
    shown = choose(folder).licence
    assert shown is not None
    (folder / "LICENSE").write_text(NON_COMMERCIAL)
    with pytest.raises(InputError, match="has changed"):
        confirm(shown.sha256)
    assert standing().state is Readiness.LICENCE


def test_weights_that_state_no_licence_say_so(folder: Path) -> None:
    (folder / "LICENSE").unlink()
    found = choose(folder)
    assert found.licence is not None
    assert found.licence.name == "!!MISSING!!"
    assert "state no licence" in found.problem
    assert confirmed() is Readiness.READY


def test_the_authors_first_weights_have_their_licence_without_a_file(folder: Path) -> None:
    (folder / "LICENSE").unlink()
    official = "3d_fullres_ps192_bs24"

    def renamed(content: Any) -> None:
        content["dataset_name"] = "Dataset225_nnInteractiveV2"
        content["configurations"][official] = {"inherits_from": CONFIGURATION}

    change(folder / "plans.json", renamed)
    checkpoint(folder, lambda content: content["init_args"].update(configuration=official))
    found = choose(folder)
    assert found.licence is not None
    assert found.licence.name == "CC BY-NC-SA 4.0"


def test_the_environment_names_the_folder_before_the_choice(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    choose(folder)
    confirmed()
    monkeypatch.setenv(weights.PLACE, str(other))
    assert standing().required().folder == other


@pytest.mark.parametrize(("version", "said"), [(None, "is not installed"), ("1.1.5", "is 1.1.5; ActiveSeg works with")])
def test_a_missing_or_other_package_is_named(
    folder: Path, version: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(folder)
    confirmed()

    def installed(name: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", installed)
    error = refusal()
    assert said in error.message
    assert error.details["remedy"] == Remedy.UPDATE_ENVIRONMENT


def test_a_damaged_record_confirms_nothing(folder: Path, own: Path) -> None:
    choose(folder)
    confirmed()
    (own / "nninteractive.json").write_text('{"confirmed": 7}')
    assert standing().state is Readiness.DAMAGED
    assert "damaged" in refusal().message


def test_the_folder_above_leads_to_the_right_one(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"has no plans\.json") as refused:
        choose(folder.parent)
    assert refused.value.action == f"Give the folder '{folder}'."


def change(path: Path, how: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    new = how(content)
    path.write_text(json.dumps(content if new is None else new))


def checkpoint(folder: Path, how: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=True)
    how(content)
    torch.save(content, path)


class Runs:
    """Pickles to a call that makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def plans(key: str, value: Any) -> Callable[[Path], None]:
    """Changes the architecture in plans.json."""

    def harm(folder: Path) -> None:
        def put(content: Any) -> None:
            described = content["configurations"][CONFIGURATION]["architecture"]
            (described["arch_kwargs"] if key in described["arch_kwargs"] else described)[key] = value

        change(folder / "plans.json", put)

    return harm


def told(key: str, value: Any) -> Callable[[Path], None]:
    """Changes inference_info.json."""
    return lambda folder: change(folder / "inference_info.json", lambda content: content.update({key: value}))


HARMS: dict[str, Callable[[Path], object]] = {
    "a network that is a call": plans("network_class_name", "os.system"),
    "a layer that is a call": plans("conv_op", "os.system"),
    "a network larger than any memory": plans("features_per_stage", [10**9] * 3),
    "a patch smaller than its borders": lambda folder: change(
        folder / "plans.json", lambda content: content["configurations"][CONFIGURATION].update(patch_size=[32] * 3)
    ),
    "a configuration that inherits itself": lambda folder: change(
        folder / "plans.json", lambda content: content["configurations"][CONFIGURATION].update(inherits_from="x")
    ),
    "another configuration": lambda folder: checkpoint(
        folder, lambda content: content["init_args"].update(configuration="2d")
    ),
    "two images": lambda folder: change(
        folder / "dataset.json", lambda content: content.update(channel_names={"0": "CT", "1": "PET"})
    ),
    "a point of a kilometre": told("point_radius", 10**6),
    "a decay of nothing": told("interaction_decay", 0),
    "a session of another program": told("inference_class", "os.system"),
    "a version that is none": told("inference_class_min_version", "9" * 5000),
    "prompts that are not known": told("supported_interactions", {"telepathy": True}),
    "a channel outside": told("channel_mapping", {"points": [3, 99]}),
    "abilities that are a list": lambda folder: change(folder / "inference_info.json", lambda _: []),
    "no abilities": lambda folder: (folder / "inference_info.json").unlink(),
    "no checkpoint": lambda folder: (folder / "fold_0" / "checkpoint_final.pth").unlink(),
    "two folds": lambda folder: shutil.copytree(folder / "fold_0", folder / "fold_1"),
    "a licence that is a folder": lambda folder: ((folder / "LICENSE").unlink(), (folder / "LICENSE").mkdir()),
}


@pytest.mark.parametrize("name", HARMS)
def test_a_hostile_or_damaged_folder_is_refused_in_words(folder: Path, name: str) -> None:
    choose(folder)
    confirmed()
    HARMS[name](folder)
    found = standing()
    assert found.state is Readiness.DAMAGED
    assert found.problem.endswith(".")
    assert found.action


def test_a_checkpoint_that_hides_code_is_refused_and_the_code_does_not_run(folder: Path, tmp_path: Path) -> None:
    choose(folder)
    confirmed()
    checkpoint(folder, lambda content: content.update(logging=Runs(tmp_path / "owned")))
    assert standing().state is Readiness.DAMAGED
    assert "mkdir" in standing().problem
    assert not (tmp_path / "owned").exists()


def test_weights_of_another_network_are_refused_when_they_are_loaded(folder: Path) -> None:
    plans("features_per_stage", [4, 8, 16])(folder)
    with pytest.raises(ModelError, match="not those of the network"):
        InteractiveSession.load(check_folder(folder), "cpu")


def test_weights_that_are_no_numbers_are_refused(folder: Path) -> None:
    checkpoint(folder, lambda content: next(iter(content["network_weights"].values())).fill_(float("nan")))
    with pytest.raises(ModelError, match="no numbers"):
        InteractiveSession.load(check_folder(folder), "cpu")


def test_weights_for_a_newer_package_name_its_version(folder: Path) -> None:
    told("inference_class_min_version", "2.99.1")(folder)
    with pytest.raises(ModelError, match=r"need nnInteractive 2\.99\.1"):
        InteractiveSession.load(check_folder(folder), "cpu")


def test_labels_of_an_aggregated_training_do_not_matter(folder: Path) -> None:
    many = {"background": 0, **{f"object {n}": n for n in range(1, 5000)}}
    change(folder / "dataset.json", lambda content: content.update(labels=many))
    assert check_folder(folder).patch == (64, 64, 64)


def test_the_first_weights_say_their_abilities_with_a_name(folder: Path) -> None:
    (folder / "inference_info.json").unlink()
    (folder / "inference_session_class.json").write_text('"nnInteractiveInferenceSessionV3"')
    found = check_folder(folder)
    assert (found.decay, found.point_radius) == (0.9, 4)
    assert "point" in InteractiveSession.load(found, "cpu").supported

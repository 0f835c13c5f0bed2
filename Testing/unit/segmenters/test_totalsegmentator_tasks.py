"""The tasks of the installed TotalSegmentator, as its own tables have them; torch is never imported for a list."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from activeseg.client.environment.plan import WEIGHTS_BYTES
from activeseg.core.errors import InputError, ModelError
from activeseg.core.segmenter import ModelGroup, Settings
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.segmenter import TotalSegmentatorSegmenter, task_infos
from activeseg.segmenters.totalsegmentator.tasks import Task, task_named, task_names, tasks


@pytest.fixture
def nobody(tmp_path: Path) -> UserHome:
    """A user without weights and without a licence."""
    return UserHome(tmp_path / "home", tmp_path / "home" / "nnunet" / "results")


def licence_holder(folder: Path) -> UserHome:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"license_number": "aca_XXXXXXXXXXXXXX", "send_usage_stats": True}))
    return UserHome(folder, folder / "weights")


def test_every_task_of_the_package_has_a_name_in_each_of_its_modes() -> None:
    from totalsegmentator.map_tasks_config import TASK_CONFIGS
    from totalsegmentator.registry import TASKS

    assert set(TASKS) == set(TASK_CONFIGS) == {task.task for task in tasks()}
    expected = {(task, "") for task in TASKS}
    for task, config in TASK_CONFIGS.items():
        expected |= {(task, mode) for mode in config.get("sub_modes", {}) if mode != "default"}
    assert {(task.task, task.mode) for task in tasks()} == expected
    assert {"total", "total-fast", "total-fastest", "body-fast", "total_mr-fast"} <= set(task_names())
    assert "lung_vessels-fast" not in task_names()


def test_the_list_is_made_without_torch() -> None:
    code = "from activeseg.segmenters.totalsegmentator.segmenter import task_infos; task_infos()"
    code += "; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_list_tells_modality_structures_spacing_and_state(nobody: UserHome) -> None:
    infos = {info.name: info for info in task_infos(nobody)}
    total, fast, mr = (infos[f"totalsegmentator:{name}"] for name in ("total", "total-fast", "total_mr"))
    assert (total.modality, mr.modality) == ("CT", "MR")
    assert len(total.structures) == 117
    assert total.description == "spleen, kidney right, kidney left and 114 more; 1.5 mm"
    assert fast.description.endswith("; 3 mm")
    assert total.state == fast.state == "missing"
    assert Path(fast.folder).parent == nobody.weights
    assert infos["totalsegmentator:tissue_types"].state == "licence"
    assert "totalsegmentator:test" not in infos, "nobody can run it: no weights are published"


def test_the_list_tells_groups_grids_downloads_and_licences_without_the_network(
    nobody: UserHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a list asks the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    infos = {info.name.partition(":")[2]: info for info in task_infos(nobody)}
    assert {name for name, info in infos.items() if info.group is ModelGroup.WHOLE_BODY} >= {"total", "body-fast"}
    assert infos["liver_segments"].group is ModelGroup.ORGANS
    assert infos["total"].download_bytes == 1_170_000_000
    assert infos["total-fast"].download_bytes == 135_400_000
    assert infos["liver_vessels"].download_bytes is None, "one of its two networks has an unknown size"
    assert infos["tissue_types"].licence_page.startswith("https://")
    assert infos["total"].licence_page == ""
    assert [infos[name].spacing_mm for name in ("total", "total-fast")] == [(1.5, 1.5, 1.5), (3.0, 3.0, 3.0)]
    assert infos["liver_vessels"].spacing_mm is None


def test_a_licence_takes_away_the_licence_state(tmp_path: Path) -> None:
    infos = {info.name: info.state for info in task_infos(licence_holder(tmp_path / "home"))}
    assert infos["totalsegmentator:tissue_types"] == "missing"


def test_an_unknown_task_names_the_nearest_ones() -> None:
    with pytest.raises(ModelError, match="no task 'totl-fast'") as caught:
        task_named("totalsegmentator:totl-fast")
    assert "totalsegmentator:total-fast" in caught.value.action


def test_total_has_117_structures_with_snomed_and_colours_in_the_packages_order() -> None:
    from totalsegmentator.map_to_binary import class_map

    schema = task_named("total").schema
    assert {label.value: label.name for label in schema.labels} == class_map["total"]
    assert all(label.terminology is not None for label in schema.labels)
    liver = schema.named("liver")
    assert liver.terminology is not None
    assert liver.terminology.type.triplet() == "SCT^10200004^Liver"
    left = schema.named("kidney_left").terminology
    assert left is not None
    assert left.modifier is not None
    assert left.modifier.meaning == "Left"
    assert schema.named("aorta").color == (216, 108, 54)


@pytest.mark.parametrize("task", tasks(), ids=lambda task: task.name)
def test_every_task_has_a_schema_and_model_folders(task: Task) -> None:
    named = {name for model in task.parts() for name in model.classes.values()}
    assert named == set(task.schema.names)
    for model in task.helpers() + task.parts():
        trainer, plans, configuration = model.trained.split("__")
        assert trainer.startswith("nnUNetTrainer")
        assert plans == "nnUNetPlans"
        assert configuration == model.configuration
        if task.runnable:
            assert model.dataset.startswith(f"Dataset{model.dataset_id:03d}_")
            assert (model.url is None) == model.licensed


def test_a_subset_needs_only_its_parts_and_the_rough_model() -> None:
    total = task_named("total")
    assert [m.dataset_id for m in total.helpers()] == []
    assert [m.dataset_id for m in total.parts()] == [291, 292, 293, 294, 295]
    assert [m.dataset_id for m in total.helpers(("aorta", "spleen"))] == [298]
    assert [m.dataset_id for m in total.parts(("aorta", "spleen"))] == [291, 293]
    assert [m.dataset_id for m in task_named("total_mr").helpers(("liver",))] == [852]


def test_a_subset_that_the_package_cannot_crop_to_is_masked_afterwards() -> None:
    assert not task_named("body").takes_subset(("body_trunc",))
    assert not task_named("total_v3").takes_subset(("vertebrae_L6",)), "the rough model does not know it"
    assert task_named("total_v3").takes_subset(("liver",))


def test_a_licensed_task_says_so_before_any_run(nobody: UserHome) -> None:
    with pytest.raises(ModelError, match="'heartchambers_highres' needs a TotalSegmentator licence") as caught:
        TotalSegmentatorSegmenter("heartchambers_highres", nobody).check(Settings())
    assert "https://backend.totalsegmentator.com/license-academic/" in caught.value.action
    assert caught.value.details["remedy"] == "enter licence"


def test_a_licensed_task_is_accepted_with_a_licence(tmp_path: Path) -> None:
    TotalSegmentatorSegmenter("tissue_types", licence_holder(tmp_path / "home")).check(Settings(device="cpu"))


def test_a_task_without_published_weights_is_refused_in_words(nobody: UserHome) -> None:
    with pytest.raises(ModelError, match="'total_highres_test' is for its developers"):
        TotalSegmentatorSegmenter("total_highres_test", nobody).check(Settings())


def test_an_unknown_structure_names_the_nearest_ones(nobody: UserHome) -> None:
    with pytest.raises(InputError, match="no structure 'livr'") as caught:
        TotalSegmentatorSegmenter("total", nobody).check(Settings(structures=("livr",)))
    assert "liver" in caught.value.action


def test_the_users_folders_are_found_as_the_package_finds_them(tmp_path: Path) -> None:
    here = UserHome.of_environment({"TOTALSEG_HOME_DIR": str(tmp_path)})
    assert (here.home, here.weights) == (tmp_path, tmp_path / "nnunet" / "results")
    both = UserHome.of_environment({"TOTALSEG_HOME_DIR": str(tmp_path), "TOTALSEG_WEIGHTS_PATH": "/weights"})
    assert both.weights == Path("/weights")
    assert UserHome.of_environment({}).home == Path.home() / ".totalsegmentator"


def test_what_the_plan_says_of_weights_is_what_the_models_say(tmp_path):
    user = UserHome(tmp_path, tmp_path / "nnunet" / "results")
    sizes = {info.name: info.download_bytes for info in task_infos(user)}
    assert {name: sizes[name] for name in WEIGHTS_BYTES} == WEIGHTS_BYTES

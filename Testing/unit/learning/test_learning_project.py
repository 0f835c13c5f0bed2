"""A project keeps its word on disk: who is held out never changes, nobody is named, every promotion is remembered."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended, runner
from dataset_cases import SHAPE, ct, oblique
from forked import in_child

from activeseg.core.errors import DatasetError, DeviceError, InputError, ModelError, Remedy
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.records import from_json, to_json
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase, Origin, Provenance
from activeseg.learning.measuring.evaluation import measure
from activeseg.learning.project.holdout import HoldOut, Side, patient_key
from activeseg.learning.project.project import REPLAY, VERSIONS, Project
from activeseg.learning.project.readiness import to_review, waiting_cases, worth_it
from activeseg.learning.project.share import Chosen
from activeseg.learning.project.state import FILE, ProjectState
from activeseg.learning.project.version import BASE, RECORD, ModelKind, Version
from activeseg.learning.training.finetuning import outcome
from activeseg.learning.training.replay import FOLDER, add_replay
from activeseg.learning.training.run_folder import RunFolder, RunState, Stage
from activeseg.learning.training.training_cases import TrainingCases, changed_voxels
from activeseg.learning.training.training_plan import TrainingPlan
from activeseg.samples.phantom import PHANTOM_SCHEMA

PATIENT = "Erika Mustermann PID-1964"  # no word of figures alone: a random key may hold any few of them


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "private"
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(folder))
    return folder


@pytest.fixture
def project(tmp_path: Path, private: Path) -> Project:
    return Project.create(tmp_path / "livers", "demo")


def truth(seed: int, shape: tuple[int, int, int] = SHAPE) -> Volume:
    values = np.random.default_rng(seed).integers(0, len(PHANTOM_SCHEMA) + 1, shape).astype(np.uint8)
    return Volume(values, oblique())


def add(project: Project, seed: int, patient: str = "") -> str:
    """A case with a known truth; its patient is noted as an export notes it, where one is given."""
    source = {"patient": patient} if patient else None
    return project.dataset().add_case(replace(NewCase.of_truth(ct(seed), truth(seed)), source=source)).name


def written_version(project: Project, id: str, parent: str = BASE) -> None:
    """A version whose record is there; nothing here opens its model."""
    folder = project.folder / VERSIONS / id
    (folder / "model").mkdir(parents=True)
    schema = PHANTOM_SCHEMA.to_dict()
    version = Version(
        id, parent, "2026-01-01T00:00:00+00:00", ModelKind.NNUNET, "", {}, {}, {}, schema, {}, (0,), {}, 1
    )
    (folder / RECORD).write_text(json.dumps(version.to_dict()))


# Begin and open


def test_a_new_project_has_an_empty_dataset_with_the_models_structures(project: Project, tmp_path: Path) -> None:
    assert project.dataset().schema == PHANTOM_SCHEMA
    assert project.dataset().folder == tmp_path / "livers" / "Dataset501_livers"
    state = Project.open(tmp_path / "livers").state
    assert state.dataset == "Dataset501_livers"  # the folder may be moved
    assert state.matching == {name: name for name in PHANTOM_SCHEMA.names}
    assert (state.base_model, state.current, state.promotions) == ("demo", BASE, ())
    assert project.versions() == {}
    assert project.replay_dataset() is None


def test_a_project_that_was_moved_finds_its_dataset(project: Project, tmp_path: Path) -> None:
    case = add(project, 0)
    project.folder.rename(tmp_path / "elsewhere")
    assert list(Project.open(tmp_path / "elsewhere").dataset().cases()) == [case]


def test_there_is_one_project_in_a_folder(project: Project) -> None:
    with pytest.raises(DatasetError, match="already"):
        Project.create(project.folder, "demo")


def test_a_folder_without_a_project_says_how_to_make_one(tmp_path: Path, private: Path) -> None:
    with pytest.raises(DatasetError, match="There is no project") as caught:
        Project.open(tmp_path)
    assert caught.value.details["remedy"] is Remedy.NEW_PROJECT


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"format": 1}', '{"format": 1, "id": "x", "matching": 3}'])
def test_a_damaged_project_is_told(project: Project, text: str) -> None:
    (project.folder / FILE).write_text(text)
    with pytest.raises(DatasetError, match="damaged"):
        Project.open(project.folder)


def test_a_project_of_a_later_format_asks_for_an_update(project: Project) -> None:
    later = {**json.loads((project.folder / FILE).read_text()), "format": 99}
    (project.folder / FILE).write_text(json.dumps(later))
    with pytest.raises(DatasetError, match=r"format 99.*Update"):
        Project.open(project.folder)


def test_a_state_comes_back_from_disk_as_it_was(project: Project) -> None:
    def change(state: ProjectState) -> ProjectState:
        hold_out = state.hold_out.with_case("a", "p").with_case("b", "q")
        return replace(state, margin=0.02, hold_out=hold_out, matching={"x": None, "y": "liver"}).promoted(
            "v1", "u", "r"
        )

    changed = project.change(change)
    assert project.state == changed
    assert changed.hold_out.side("b") is Side.HELD_OUT


def test_a_model_without_a_network_cannot_learn(tmp_path: Path, private: Path) -> None:
    with pytest.raises(ModelError, match=r"'hounsfield' cannot learn.*Choose demo"):
        Project.create(tmp_path / "x", "hounsfield")
    assert not (tmp_path / "x").exists()


# Structures


def test_new_structures_follow_those_of_the_model(tmp_path: Path, private: Path) -> None:
    project = Project.create(tmp_path / "p", "demo", new_structures=["tumour", "cyst"])
    assert project.dataset().schema.names == (*PHANTOM_SCHEMA.names, "tumour", "cyst")
    assert project.state.matching["tumour"] is None
    assert project.dataset().schema.labels[: len(PHANTOM_SCHEMA)] == PHANTOM_SCHEMA.labels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"new_structures": ["liver"]}, "knows 'liver' already"),
        ({"new_structures": ["tumour", "tumour"]}, "used twice"),
        ({"matching": {"lever": "liver"}}, "no structure 'lever'"),
        ({"matching": {"liver": "lever"}}, "no structure 'lever'"),
        ({"matching": {"spleen": "liver"}}, "Two structures"),
        ({"matching": {"liver": None}}, "cannot be new"),
    ],
)
def test_structures_that_do_not_fit_are_refused_and_nothing_is_left(
    tmp_path: Path, private: Path, options: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Project.create(tmp_path / "p", "demo", **options)
    assert not (tmp_path / "p").exists()
    Project.create(tmp_path / "p", "demo")


def test_names_match_whatever_case_spaces_and_hyphens_they_have(tmp_path: Path, private: Path) -> None:
    names = ["Liver", "Kidney left", "kidney-right", "milz", "Tumour", "aorta thoracica"]
    dataset = Dataset.create(tmp_path / "theirs", LabelSchema.from_names(names), private_dir=private)
    given = {"milz": "spleen", "aorta thoracica": None}
    project = Project.create(tmp_path / "p", "demo", dataset=dataset.folder, matching=given)
    assert project.state.matching == {
        "Liver": "liver",
        "Kidney left": "kidney_left",
        "kidney-right": "kidney_right",
        "milz": "spleen",
        "Tumour": None,
        "aorta thoracica": None,
    }
    assert project.dataset().folder == dataset.folder
    assert not list((tmp_path / "p").glob("Dataset*"))


def test_a_dataset_that_is_there_gets_no_new_structures(tmp_path: Path, private: Path) -> None:
    dataset = Dataset.create(tmp_path / "theirs", LabelSchema.from_names(["liver"]), private_dir=private)
    with pytest.raises(InputError, match="migration") as caught:
        Project.create(tmp_path / "p", "demo", dataset=dataset.folder, new_structures=["tumour"])
    assert caught.value.details["remedy"] is Remedy.MIGRATE_DATASET


def test_a_dataset_with_other_images_is_refused(tmp_path: Path, private: Path) -> None:
    dataset = Dataset.create(tmp_path / "mr", LabelSchema.from_names(["liver"]), ("T1", "T2"), private_dir=private)
    with pytest.raises(InputError, match="T2"):
        Project.create(tmp_path / "p", "demo", dataset=dataset.folder)


# Hold-out


def test_the_second_patient_is_held_out_and_every_fifth_one_after() -> None:
    hold_out = HoldOut()
    for number in range(1, 14):
        hold_out = hold_out.with_case(f"CT_{number:04d}", f"patient {number}")
    assert hold_out.on(Side.HELD_OUT) == ("CT_0002", "CT_0007", "CT_0012")
    assert len(hold_out.on(Side.TRAIN)) == 10
    assert hold_out.side("CT_0099") is None
    assert from_json(HoldOut, json.loads(json.dumps(to_json(hold_out)))) == hold_out


def test_nobody_moves_when_more_arrive_and_all_images_of_a_patient_lie_on_one_side() -> None:
    random = np.random.default_rng(3)
    hold_out = HoldOut()
    known: dict[str, Side | None] = {}
    for number, patient in enumerate(random.integers(0, 15, 60)):
        hold_out = hold_out.with_case(f"c{number}", f"p{patient}")
        known[f"c{number}"] = hold_out.side(f"c{number}")
        assert {case: hold_out.side(case) for case in known} == known
    for patient in hold_out.patients:
        assert len({known[case] for case, owner in hold_out.cases.items() if owner == patient}) == 1
    assert hold_out.with_case("c0", hold_out.cases["c0"]) == hold_out


def test_later_images_of_a_patient_go_to_his_side_however_his_name_is_written(project: Project) -> None:
    cases = [add(project, seed) for seed in range(5)]
    assert project.admit(cases[0], "A") is Side.TRAIN
    assert project.admit(cases[1], PATIENT) is Side.HELD_OUT
    assert project.admit(cases[2], f"  {PATIENT.upper()} ") is Side.HELD_OUT
    assert project.admit(cases[3], "a") is Side.TRAIN
    assert project.admit(cases[4], "C") is Side.TRAIN
    assert project.admit(cases[1], PATIENT) is Side.HELD_OUT  # said again


def test_a_case_never_changes_its_patient(project: Project) -> None:
    case = add(project, 0)
    project.admit(case, "A")
    before = project.state
    with pytest.raises(InputError, match="another patient"):
        project.admit(case, "B")
    assert project.state == before


def test_only_cases_of_the_dataset_and_patients_with_a_name_are_admitted(project: Project) -> None:
    case = add(project, 0)
    with pytest.raises(DatasetError, match="CT_0007"):
        project.admit("CT_0007", "A")
    with pytest.raises(InputError, match="empty"):
        project.admit(case, "  ")
    assert project.state.hold_out == HoldOut()


def test_no_file_of_a_project_names_a_patient(project: Project) -> None:
    for seed, patient in enumerate(("A", PATIENT, PATIENT)):
        add(project, seed, patient)
    assert project.admit_known() == ()
    texts = [path.read_bytes() for path in project.folder.rglob("*") if path.is_file()]
    assert texts
    for word in PATIENT.split():
        assert not any(word.encode() in text for text in texts)
    (held_out,) = (key for key, side in project.state.hold_out.patients.items() if side is Side.HELD_OUT)
    assert held_out != patient_key("", PATIENT)  # who knows the names cannot try them out


def test_what_a_training_failed_with_is_raised_as_it_was(project: Project) -> None:
    run = RunFolder.create(project, BASE, TrainingPlan(), TrainingCases({}, {}, (), ()))
    error = DeviceError("It does not fit.", "Choose a smaller patch.", setting="device")
    run.write_state(RunState(Stage.FAILED, error=error.to_dict()))
    with pytest.raises(DeviceError, match=r"It does not fit\. Choose") as told:
        outcome(run)
    assert told.value.details == {"setting": "device"}


def test_the_last_fine_tuning_is_the_one_that_began_last(project: Project) -> None:
    cases = TrainingCases({}, {}, (), ())
    runs = [RunFolder.create(project, BASE, TrainingPlan(), cases).id for _ in range(12)]
    assert [run.id for run in RunFolder.all_of(project)] == runs
    assert RunFolder.last_of(project).id == runs[-1]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_the_secret_is_the_users_own(project: Project, private: Path) -> None:
    project.admit(add(project, 0), "A")
    (secret,) = private.glob("*.key")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert len(secret.read_text()) == 64
    before = secret.read_text()
    project.admit(add(project, 1), "B")
    assert secret.read_text() == before


def test_a_case_whose_patient_was_told_when_it_was_exported_can_be_marked_as_reviewed(project: Project) -> None:
    add(project, 0, "A")
    held_out = add(project, 1, "B")
    assert project.mark_reviewed(held_out).reviewed == (held_out,)


def test_cases_whose_patient_was_told_when_they_were_exported_get_their_side_by_themselves(project: Project) -> None:
    first, nobody, second, third = add(project, 0, "A"), add(project, 1), add(project, 2, "B"), add(project, 3, "B")
    assert project.admit_known() == (nobody,)
    hold_out = project.state.hold_out
    assert [hold_out.side(case) for case in (first, nobody, second, third)] == [
        Side.TRAIN,
        None,
        Side.HELD_OUT,
        Side.HELD_OUT,
    ]
    assert project.admit_known() == (nobody,)
    assert project.state.hold_out == hold_out


# What is trained on


def test_held_out_cases_and_those_of_nobody_are_not_trained_on(project: Project) -> None:
    add(project, 0, "A"), add(project, 1, "B"), add(project, 2)
    cases = TrainingCases.of(project)
    assert list(cases.corrected) == ["CT_0001"]
    assert cases.corrected["CT_0001"] == project.dataset().record("CT_0001").current.label.sha256
    assert cases.without_side == ("CT_0003",)
    assert cases.replayed == {}


def test_without_a_case_to_learn_from_the_reason_is_counted(project: Project) -> None:
    add(project, 0)
    with pytest.raises(InputError, match=r"0 are held out, 0 wait.* 1 have no patient ID") as caught:
        TrainingCases.of(project)
    assert caught.value.details["remedy"] is Remedy.ASSIGN_PATIENT


def replayed(project: Project, seed: int) -> str:
    """An image among the replayed ones, with some label map."""
    with Dataset.opened_or_created(project.folder / REPLAY / FOLDER, PHANTOM_SCHEMA) as dataset:
        labels = truth(seed)
        provenance = Provenance(Origin.PREDICTED, "demo", BASE)
        return dataset.add_case(NewCase(ct(seed), labels.array, labels.geometry, provenance)).name


@pytest.mark.parametrize("patient", ["A", "B"])
def test_an_image_that_is_a_case_is_not_replayed(project: Project, patient: str) -> None:
    add(project, 0, "A"), add(project, 1, "B")
    project.admit_known()
    image = ct("AB".index(patient))
    with pytest.raises(InputError, match="a case of the dataset already"):
        add_replay(project, image, "cpu", Progress())
    assert project.replay_dataset() is None


def test_a_replayed_image_that_became_a_case_is_left_out(project: Project) -> None:
    add(project, 0, "A")
    kept, _, became = replayed(project, 5), replayed(project, 7), replayed(project, 6)
    assert set(TrainingCases.of(project).replayed) == {kept, became}
    add(project, 6, "B")  # held out now: it must not be learnt from the other door
    cases = TrainingCases.of(project)
    assert list(cases.replayed) == [kept]
    assert project.state.hold_out.side("CT_0002") is Side.HELD_OUT
    assert list(cases.corrected) == ["CT_0001"]


def test_the_second_replayed_image_and_every_fifth_one_after_only_measure_what_is_forgotten(project: Project) -> None:
    add(project, 0, "A")
    names = [replayed(project, seed) for seed in range(5, 13)]
    cases = TrainingCases.of(project)
    assert list(cases.replay_held_out) == [names[1], names[6]]
    assert list(cases.replayed) == [name for name in names if name not in cases.replay_held_out]
    assert all(len(sha256) == 64 for sha256 in cases.replay_held_out.values())


def test_of_a_single_replayed_image_none_is_held_out(project: Project) -> None:
    add(project, 0, "A")
    name = replayed(project, 5)
    cases = TrainingCases.of(project)
    assert (list(cases.replayed), list(cases.replay_held_out)) == ([name], [])


def test_a_replayed_image_that_a_version_has_learnt_is_not_held_out_later(project: Project) -> None:
    add(project, 0, "A")
    first, second = replayed(project, 5), replayed(project, 6)
    written_version(project, "v0001")
    record = project.folder / VERSIONS / "v0001" / RECORD
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "replay": {first: "0" * 64, second: "0" * 64}}))
    cases = TrainingCases.of(project)
    assert (set(cases.replayed), cases.replay_held_out) == ({first, second}, {})


def test_a_training_from_before_replayed_images_were_held_out_is_read_and_trains_as_it_began(project: Project) -> None:
    add(project, 0, "A")
    run = RunFolder.create(project, BASE, TrainingPlan(), TrainingCases.of(project))
    content = json.loads((run.folder / "run.json").read_text())
    del content["cases"]["replay_held_out"], content["plan"]["distillation"], content["plan"]["forgetting_margin"]
    (run.folder / "run.json").write_text(json.dumps(content))
    assert run.asked.cases.replay_held_out == {}
    assert run.asked.plan.distillation == 0.0
    assert run.chosen is None


def test_how_much_of_what_was_learnt_is_kept_comes_back_from_disk_and_damage_is_told(project: Project) -> None:
    add(project, 0, "A")
    run = RunFolder.create(project, BASE, TrainingPlan(), TrainingCases.of(project))
    chosen = Chosen(0.75, {"CT_0002": {"liver": 1.0}}, {"CT_0002": {"liver": 0.996}}, {"1": 0.98, "0.75": 0.996})
    run.write_chosen(chosen)
    assert run.chosen == chosen
    (run.folder / "share.json").write_text('{"share": 7}')
    with pytest.raises(DatasetError, match="damaged"):
        _ = run.chosen


def test_a_version_from_before_weights_were_averaged_is_read(project: Project) -> None:
    written_version(project, "v0001")
    record = project.folder / VERSIONS / "v0001" / RECORD
    content = json.loads(record.read_text())
    del content["share"], content["replay_held_out"]
    record.write_text(json.dumps(content))
    version = project.version("v0001")
    assert (version.share, version.replay_held_out) == (1.0, {})


def test_a_truth_counts_for_all_structures_of_the_model(project: Project) -> None:
    case = add(project, 0, "A")
    assert changed_voxels(project, {case: ""}) == dict.fromkeys(PHANTOM_SCHEMA.names, 1)


def test_waiting_cases_are_those_that_the_current_version_has_not_seen(project: Project) -> None:
    add(project, 0, "A"), add(project, 1, "B"), add(project, 2, "C")
    project.admit_known()
    assert waiting_cases(project) == ("CT_0001", "CT_0003")
    assert worth_it(project, waiting_cases(project), to_review(project)).startswith("2 corrected cases are waiting")
    written_version(project, "v0001")
    record = project.version_folder("v0001") / RECORD
    seen = {"CT_0001": project.dataset().record("CT_0001").current.label.sha256, "CT_0003": "another"}
    record.write_text(json.dumps({**json.loads(record.read_text()), "data": seen}))
    project.promote("v0001", "better")
    assert waiting_cases(project) == ("CT_0003",)
    assert worth_it(project, waiting_cases(project), to_review(project)).startswith("1 corrected case is waiting")


# Versions


def test_rolling_back_goes_back_step_by_step_and_everything_is_remembered(project: Project) -> None:
    for id in ("v0001", "v0002", "v0003"):
        written_version(project, id)
    project.promote("v0001", "better", by="gate")
    project.promote("v0003", "I like it")
    assert project.rollback().current == "v0001"
    assert project.rollback().current == BASE
    with pytest.raises(ModelError, match="Nothing was current before 'base'"):
        project.rollback()
    project.promote("v0002", "again")
    assert project.rollback().current == BASE
    assert [(entry.version, entry.by) for entry in project.state.promotions] == [
        ("v0001", "gate"),
        ("v0003", "user"),
        ("v0001", "user"),
        (BASE, "user"),
        ("v0002", "user"),
        (BASE, "user"),
    ]
    assert "back from v0003" in project.state.promotions[2].reason
    assert list(project.versions()) == ["v0001", "v0002", "v0003"]


@pytest.mark.parametrize("id", ["v0009", "../v0001", "", "."])
def test_what_is_no_version_does_not_become_current(project: Project, id: str) -> None:
    written_version(project, "v0001")
    with pytest.raises(ModelError):
        project.promote(id, "")
    assert project.state.current == BASE


def test_a_damaged_version_is_told(project: Project) -> None:
    written_version(project, "v0001")
    (project.version_folder("v0001") / RECORD).write_text('{"format": 1}')
    written_version(project, "v0002")
    assert list(project.versions()) == ["v0002"], "it does not hide the others"
    assert "v0001" in project.damaged_versions()
    with pytest.raises(ModelError, match="damaged"):
        project.version("v0001")


def test_measurements_change_nothing_else_of_a_version(project: Project) -> None:
    written_version(project, "v0001")
    measured = {"metrics": {"child": {}}, "verdict": None, "id": "v0007", "kind": "totalsegmentator"}
    (project.version_folder("v0001") / "measured.json").write_text(json.dumps(measured))
    version = project.version("v0001")
    assert (version.id, version.kind, version.metrics) == ("v0001", ModelKind.NNUNET, {"child": {}})


# Several at once


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_changes_of_several_processes_are_all_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "activeseg.learning.project.project.LOCK_WAIT_S", 240.0
    )  # others' turns last as long as they last
    add(project, 0)

    def work() -> None:
        for number in range(10):
            Project.open(project.folder).change(lambda state, n=number: state.promoted(f"{os.getpid()}", "x", f"{n}"))

    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                work()
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    promotions = project.state.promotions
    assert len(promotions) == 30
    for child in children:
        assert [entry.reason for entry in promotions if entry.version == str(child)] == [str(n) for n in range(10)]


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_a_change_that_is_killed_leaves_the_state_before(project: Project) -> None:
    before = project.state

    def killed(state: ProjectState) -> ProjectState:
        os.kill(os.getpid(), signal.SIGKILL)
        return state

    in_child(lambda: project.change(killed))
    assert project.state == before
    assert project.promote(BASE, "the lock is free").current == BASE


# The command


@pytest.fixture
def activeseg(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    return runner(monkeypatch, capfd)


def test_the_command_begins_and_shows_a_project(tmp_path: Path, private: Path, activeseg: Callable[..., Ended]) -> None:
    folder = tmp_path / "p"
    made = activeseg("project", "new", folder, "--model", "demo", "--add", "tumour", "--json").document
    assert made["matching"]["tumour"] is None
    project = Project.open(folder)
    add(project, 0)
    shown = activeseg("project", "show", folder)
    assert (shown.code, shown.err) == (0, "")
    assert "activeseg project admit" in shown.out
    admitted = activeseg("project", "admit", folder, "CT_0001", "--patient", PATIENT, "--json").document
    assert admitted == {"case": "CT_0001", "side": "train"}
    shown = activeseg("project", "show", folder, "--json").document
    assert shown["cases"] == {"CT_0001": "train"}
    assert shown["current"] == BASE


def test_the_command_says_what_is_wrong_in_a_sentence(
    project: Project, tmp_path: Path, activeseg: Callable[..., Ended]
) -> None:
    again = activeseg("project", "new", project.folder, "--model", "demo")
    assert (again.code, again.out) == (DatasetError.exit_code, "")
    assert "already" in again.err
    assert activeseg("project", "show", tmp_path / "nowhere").code == DatasetError.exit_code
    assert activeseg("project", "new", tmp_path / "q", "--model", "hounsfield").code == ModelError.exit_code


def test_the_command_lists_promotes_and_rolls_back(project: Project, activeseg: Callable[..., Ended]) -> None:
    written_version(project, "v0001")
    assert activeseg("versions", "promote", project.folder, "v0001", "--json").document == {"current": "v0001"}
    listed = activeseg("versions", "list", project.folder)
    assert "v0001 *" in listed.out
    assert activeseg("versions", "rollback", project.folder, "--json").document == {"current": BASE}
    assert activeseg("versions", "rollback", project.folder).code == ModelError.exit_code
    assert activeseg("versions", "promote", project.folder, "v0009").code == ModelError.exit_code


# Candidates that a machine made


def test_a_candidate_that_no_person_has_reviewed_is_neither_trained_on_nor_waited_for(project: Project) -> None:
    add(project, 0, patient="A")
    for seed, patient in ((1, "B"), (2, "C")):
        made = replace(NewCase.of_truth(ct(seed), truth(seed)), source={"patient": patient})
        project.dataset().add_case(replace(made, provenance=Provenance(Origin.MACHINE, "demo")))
    cases = TrainingCases.of(project)
    assert list(cases.corrected) == ["CT_0001"]
    assert cases.candidates == ("CT_0002", "CT_0003")
    assert waiting_cases(project) == ("CT_0001",)
    told = worth_it(project, waiting_cases(project), to_review(project))
    assert "made by a machine and not reviewed yet, so not used: CT_0002, CT_0003" in told
    project.dataset().add_case(NewCase.of_truth(ct(2), truth(3)))  # a person has gone through it
    assert list(TrainingCases.of(project).corrected) == ["CT_0001", "CT_0003"]


def test_a_held_out_candidate_measures_nothing_before_a_person_has_reviewed_it(project: Project) -> None:
    add(project, 0, patient="A")
    made = replace(NewCase.of_truth(ct(1), truth(1)), source={"patient": "B"})
    project.dataset().add_case(replace(made, provenance=Provenance(Origin.MACHINE, "demo")))
    project.admit_known()
    assert project.state.hold_out.on(Side.HELD_OUT) == ("CT_0002",)
    assert measure(project, BASE, "cpu", Progress()) == {}

"""A project whose files were damaged, by an earlier ActiveSeg or by hand, is told apart and mended."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import runner
from forked import in_child

from activeseg.core.errors import DatasetError, ModelError
from activeseg.core.labels import LabelSchema
from activeseg.dataset import NewCase
from activeseg.dataset.verification import verify_dataset
from activeseg.learning.project.project import Project
from activeseg.learning.project.version import BASE, ModelKind, Version
from activeseg.learning.project_check import check_project


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    return runner(monkeypatch, capfd)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))
    made = Project.create(tmp_path / "livers", "demo")
    for number, parent in ((1, BASE), (2, "v0001"), (3, "v0002")):
        write_version(made, f"v{number:04d}", parent)
    made.promote("v0001", "better")
    made.promote("v0002", "better still")
    return made


def write_version(project: Project, id: str, parent: str) -> None:
    schema = LabelSchema.from_names(["liver"]).to_dict()
    version = Version(id, parent, "", ModelKind.NNUNET, "", {}, {}, {}, schema, {}, (0,), {}, 0.0)
    folder = project.folder / "versions" / id
    (folder / "model").mkdir(parents=True)
    (folder / "version.json").write_text(json.dumps(version.to_dict()))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_whole_project_has_no_problem(project: Project, run) -> None:
    assert check_project(project.folder) == []
    assert run("project", "check", str(project.folder)).code == 0


@pytest.mark.parametrize(
    "id", ["v0001/", "./v0001", "../versions/v0001", "v0001\\", "V0001", " v0001", "v0001\n", "v١٢٣٤"]
)
def test_no_way_to_write_a_version_leads_to_its_folder(project: Project, id: str) -> None:
    for use in (project.version, project.version_folder, lambda id: project.promote(id, "")):
        with pytest.raises(ModelError, match="There is no version"):
            use(id)
    assert project.state.current == "v0002"


@pytest.mark.parametrize("id", ["v0001/", "./v0001", "../versions/v0001"])
def test_what_an_earlier_activeseg_took_for_a_version_is_mended(project: Project, run, id: str) -> None:
    state = json.loads((project.folder / "project.json").read_text())
    promotions = [*state["promotions"], {"time": "", "version": id, "by": "user", "reason": ""}]
    change(project.folder / "project.json", current=id, promotions=promotions)
    change(project.folder / "versions/v0002/version.json", parent=id)
    shown = run("versions", "list", str(project.folder), "--json")
    assert shown.code == 0
    document = shown.document
    assert [version["id"] for version in document["versions"]] == ["v0001", "v0003"]
    assert list(document["damaged"]) == ["v0002"]
    assert run("project", "show", str(project.folder)).code == 0
    before = (project.folder / "project.json").read_bytes()
    assert run("project", "check", str(project.folder)).code == 4
    assert (project.folder / "project.json").read_bytes() == before, "looking changes nothing"
    repaired = run("project", "check", str(project.folder), "--repair")
    assert repaired.code == 0, repaired.err
    assert check_project(project.folder) == []
    assert project.state.current == "v0001"
    assert project.version("v0002").parent == "v0001"
    assert list(project.versions()) == ["v0001", "v0002", "v0003"]


@pytest.mark.parametrize("record", ["", "{}", "[]", '{"format": 1, "id": 5}', "[" * 100_000])
def test_a_damaged_version_is_set_aside_and_its_id_is_not_given_again(project: Project, record: str) -> None:
    (project.folder / "versions/v0003/version.json").write_text(record)
    (project.folder / "versions/v0003/model/weights").write_text("kept")
    change(project.folder / "project.json", current="v0003")
    check_project(project.folder, repair=True)
    assert project.state.current == "v0002", "the last promoted one that is whole"
    assert (project.folder / "versions/damaged-v0003/model/weights").read_text() == "kept"
    assert check_project(project.folder) == []
    from activeseg.learning.project.version import next_id

    assert next_id({path.name for path in (project.folder / "versions").iterdir()}) == "v0004"


@pytest.mark.parametrize(
    "values", [{"format": None}, {"format": 0}, {"metrics": []}, {"parent": "./v0002", "format": 0}]
)
def test_a_version_whose_parent_is_not_what_is_wrong_is_set_aside(project: Project, values: dict[str, object]) -> None:
    change(project.folder / "versions/v0003/version.json", **values)
    before = (project.folder / "versions/v0003/version.json").read_bytes()
    assert "set aside" in check_project(project.folder, repair=True)[0].mending
    assert (project.folder / "versions/damaged-v0003/version.json").read_bytes() == before
    assert check_project(project.folder) == []


def test_a_version_of_a_later_activeseg_stays_where_it_is(project: Project) -> None:
    change(project.folder / "versions/v0003/version.json", format=2)
    for _ in range(2):
        (problem,) = check_project(project.folder, repair=True)
        assert ("another format" in problem.what, problem.mending) == (True, "")
    assert (project.folder / "versions/v0003/version.json").exists()


@pytest.mark.parametrize("promotions", [5, {"0": {"version": "v0001"}}, None, [{"version": "v0001"}, "v0002"]])
def test_promotions_that_are_left_out_are_told_and_kept_beside(project: Project, promotions: object) -> None:
    change(project.folder / "project.json", promotions=promotions)
    before = (project.folder / "project.json").read_bytes()
    problems = check_project(project.folder, repair=True)
    assert any("promotions" in problem.what for problem in problems)
    if all(problem.mending for problem in problems):
        assert (project.folder / "damaged-project.json").read_bytes() == before
        assert check_project(project.folder) == []
    else:
        assert (project.folder / "project.json").read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="a limit of what a process may write")
@pytest.mark.parametrize("most_bytes", [0, 1, 500])
def test_on_a_full_disk_the_projects_file_stays_and_that_is_told(project: Project, most_bytes: int) -> None:
    change(project.folder / "project.json", current="v0002/")
    before = {path: path.read_bytes() for path in project.folder.rglob("*.json")}

    def repaired() -> None:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        with pytest.raises(DatasetError, match=r"project\.json' could not be mended"):
            check_project(project.folder, repair=True)

    assert in_child(repaired) == 0
    assert {path: path.read_bytes() for path in project.folder.rglob("*.json")} == before


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_version_that_is_a_link_is_none_and_what_it_leads_to_stays(project: Project, tmp_path: Path) -> None:
    os.rename(project.folder / "versions/v0003", tmp_path / "elsewhere")
    (project.folder / "versions/v0003").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(ModelError, match="is a link"):
        project.version("v0003")
    assert list(project.versions()) == ["v0001", "v0002"]
    check_project(project.folder, repair=True)
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["model", "version.json"]
    assert check_project(project.folder) == []


def test_what_only_a_backup_mends_is_told_and_stays(project: Project) -> None:
    change(project.folder / "project.json", hold_out=5)
    before = (project.folder / "project.json").read_bytes()
    problems = check_project(project.folder, repair=True)
    assert {problem.mending for problem in problems if "hold_out" in problem.what} == {""}
    assert (project.folder / "project.json").read_bytes() == before
    (project.folder / "project.json").write_text("{")
    with pytest.raises(DatasetError, match="is damaged"):
        check_project(project.folder, repair=True)


def test_a_run_that_cannot_be_read_is_set_aside(project: Project, run) -> None:
    damaged = project.folder / "runs/20260101-000000-000001"
    damaged.mkdir(parents=True)
    (damaged / "run.json").write_text("{}")
    assert run("project", "show", str(project.folder)).code == 0
    assert run("training", "show", str(project.folder)).code == 4
    check_project(project.folder, repair=True)
    assert (project.folder / "runs/damaged-20260101-000000-000001/run.json").exists()
    assert check_project(project.folder) == []


@pytest.mark.parametrize("key", ["", "abc", "g" * 64, "0" * 63])
def test_a_damaged_key_is_refused_in_words_and_never_replaced(project: Project, key: str) -> None:
    project.key_file.parent.mkdir(parents=True, exist_ok=True)
    project.key_file.write_text(key)
    case = "CT_0001"
    from dataset_cases import ct, labels, oblique

    from activeseg.dataset import Origin, Provenance

    names = project.dataset().schema.names
    provenance = Provenance(Origin.TRUTH, decided=names)
    project.dataset().add_case(NewCase(ct(0), labels(0) % 2, oblique(), provenance, case))
    with pytest.raises(DatasetError, match="64 hex digits"):
        project.admit(case, "P1")
    assert project.key_file.read_text() == key
    assert project.state.hold_out.side(case) is None
    assert any("64 hex digits" in problem.what for problem in check_project(project.folder))


def test_the_model_that_a_project_begins_with_means_the_same_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from activeseg.learning.project.project import absolute_name

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert absolute_name("nnunet:models/../m") == f"nnunet:{tmp_path / 'm'}"
    assert absolute_name("nnunet:~/m") == f"nnunet:{tmp_path / 'home/m'}"
    assert absolute_name("project:p@v0001") == f"project:{tmp_path / 'p@v0001'}"
    assert [absolute_name(name) for name in ("demo", "totalsegmentator:total")] == ["demo", "totalsegmentator:total"]


@pytest.mark.parametrize("name", ["con", "NUL", "lpt1", "aux.x", "COM¹", "ends.", "a:b"])
def test_a_project_gets_no_name_that_windows_cannot_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="cannot be a project's name"):
        Project.create(tmp_path / name, "demo")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_of_several_processes_that_begin_the_same_project_one_wins_and_the_others_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activeseg.learning.project.project.LOCK_WAIT_S", 240.0)
    folder = tmp_path / "livers"
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                Project.create(folder, "demo", private_dir=tmp_path / "private")
                code = 0
            except DatasetError as error:
                code = 4 if "already" in str(error) else 5
            finally:
                os._exit(code)
        children.append(child)
    ends = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert ends == [0, 4, 4, 4]
    assert verify_dataset(Project.open(folder, tmp_path / "private").dataset()) == []
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "Dataset501_livers", "project.json"]


def test_a_folder_that_is_no_project_is_called_so_and_a_project_without_its_file_damaged(project: Project) -> None:
    with pytest.raises(DatasetError, match="There is no project"):
        check_project(project.folder / "elsewhere")
    (project.folder / "project.json").unlink()
    with pytest.raises(DatasetError, match=r"'project\.json' is missing"):
        check_project(project.folder)

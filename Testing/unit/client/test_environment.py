"""The engine's environment, made for real: the original uv installs small packages from a folder of wheels, offline."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from installable import PYTHON, make_wheel, offline, small_lock

from activeseg.client.environment.environment import EngineEnvironment, State
from activeseg.client.environment.folder import LOCK_FILE, MARKER
from activeseg.client.environment.uv import program_in
from activeseg.client.launch import engine_environment
from activeseg.core.errors import Cancelled, EngineError, InputError, Remedy
from activeseg.core.progress import Progress

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes the way POSIX does")


def version_in(environment: EngineEnvironment) -> str:
    """Which alveole the installed Python imports."""
    command = [str(environment.python), "-I", "-c", "import alveole; print(alveole.VERSION)"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=engine_environment()).stdout.strip()


@pytest.fixture
def installed(tmp_path, wheels):
    environment = EngineEnvironment(tmp_path / "engine", small_lock())
    environment.install(environment.plan(offline(wheels)))
    return environment


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its time and size."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in files}


def test_an_environment_is_made_from_a_folder_of_wheels_without_internet(tmp_path, wheels):
    environment = EngineEnvironment(tmp_path / "engine", small_lock())
    assert environment.check().state is State.MISSING
    reports = []
    status = environment.install(environment.plan(offline(wheels)), Progress(lambda *report: reports.append(report)))
    assert status.state is State.READY
    assert status.versions == {"alveole": "1.0"}
    assert status.python_version.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert status.size_bytes > 1e6
    assert status.python == environment.python
    assert version_in(environment) == "1.0"
    assert list(dict.fromkeys(stage for stage, _, _ in reports)) == ["uv", "python", "packages", "check"]
    fractions = [fraction for _, fraction, _ in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert environment.check(files=True).state is State.READY


def test_what_is_excluded_is_not_installed_though_others_ask_for_it(installed):
    names = {path.name for path in installed.python.parents[1].glob("lib/*/site-packages/*")}
    assert "bronchus" in names
    assert not [name for name in names if name.startswith("trachea")]


def test_the_plan_writes_nothing_and_tells_what_will_be_done(tmp_path, wheels):
    environment = EngineEnvironment(tmp_path / "engine", small_lock())
    plan = environment.plan(offline(wheels))
    assert not (tmp_path / "engine").exists()
    text = "\n".join(plan.sentences())
    assert str(tmp_path / "engine") in text
    assert str(PYTHON) in text
    assert str(wheels) in text
    assert "nothing is downloaded" in text
    assert plan.free_bytes > plan.disk_bytes > 0
    json.dumps(plan.to_dict())


def test_settings_of_uv_and_of_slicer_around_it_change_nothing(tmp_path, wheels, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("[tool.uv]\noverride-dependencies = ['bronchus==9']\n", "utf-8")
    for name, value in {
        "PYTHONHOME": "/nowhere",
        "PYTHONPATH": "/nowhere",
        "LD_LIBRARY_PATH": "/nowhere",
        "UV_CONSTRAINT": "/nowhere",
        "UV_PYTHON": "2.7",
        "VIRTUAL_ENV": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    environment = EngineEnvironment(tmp_path / "engine", small_lock())
    assert environment.install(environment.plan(offline(wheels))).state is State.READY
    monkeypatch.undo()
    assert version_in(environment) == "1.0"


def test_files_that_belong_beside_the_packages_are_put_there(tmp_path, wheels):
    remedy = tmp_path / "activeseg_remedy.py"
    remedy.write_text("HERE = True\n", "utf-8")
    environment = EngineEnvironment(tmp_path / "engine", small_lock(remedy=(remedy,)))
    environment.install(environment.plan(offline(wheels)))
    (copy,) = environment.folder.environment.glob("lib/*/site-packages/activeseg_remedy.py")
    assert environment.check().state is State.READY
    copy.unlink()
    assert environment.check().state is State.DAMAGED


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{here!r}, {package!r}]
from installable import offline, small_lock
from activeseg.client.environment.environment import EngineEnvironment
from activeseg.core.progress import Progress

def report(stage, fraction, text):
    if stage == {stage!r} and text.startswith({text!r}):
        os.kill(os.getpid(), signal.SIGKILL)

environment = EngineEnvironment({folder!r}, small_lock({version!r}))
environment.install(environment.plan(offline(Path({wheels!r}))), Progress(report))
"""


def install_and_be_killed(folder: Path, wheels: Path, stage: str, text: str, version: str = "1.0") -> None:
    """Install in another process, which is killed at its first report of ``stage`` that begins with ``text``."""
    here = Path(__file__).parents[1]
    package = str(here.parents[1] / "ActiveSegExtension")
    code = KILLED.format(
        here=str(here), package=package, stage=stage, text=text, folder=str(folder), wheels=str(wheels), version=version
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    with (folder / LOCK_FILE).open() as file:  # an installer that was still running keeps it until it ends
        fcntl.flock(file, fcntl.LOCK_EX)


MOMENTS = [
    ("uv", "Loading"),
    ("python", ""),
    ("packages", "Looking up"),
    ("packages", "0 of"),
    ("check", ""),
    ("check", "Ready"),
]


@pytest.mark.parametrize(("stage", "text"), MOMENTS, ids=lambda value: value or "-")
def test_killed_at_any_moment_it_is_recognised_and_can_be_repeated(tmp_path, wheels, stage, text):
    install_and_be_killed(tmp_path / "engine", wheels, stage, text)
    environment = EngineEnvironment(tmp_path / "engine", small_lock())
    half = environment.check()
    assert half.state is (State.READY if text == "Ready" else State.INCOMPLETE)
    assert environment.install(environment.plan(offline(wheels))).state is State.READY
    assert environment.check().state is State.READY
    assert version_in(environment) == "1.0"


@pytest.mark.parametrize("between", ["staging", "replaced"])
def test_killed_between_the_two_steps_of_replacing_it_is_finished(installed, between):
    options = installed.options_of_installation()
    installed.folder.environment.rename(installed.folder.path / between)
    assert installed.check().state is State.INCOMPLETE
    installed.folder.recover()
    assert installed.check().state is State.READY
    assert installed.install(installed.plan(options)).state is State.READY


def test_an_update_that_is_killed_leaves_the_old_environment_in_use(installed, wheels):
    install_and_be_killed(installed.folder.path, wheels, "check", "", version="2.0")
    newer = EngineEnvironment(installed.folder.path, small_lock("2.0"))
    assert newer.check().state is State.OUTDATED
    assert version_in(newer) == "1.0"
    assert newer.update().state is State.READY
    assert version_in(newer) == "2.0"


def test_another_lock_makes_it_outdated_and_update_brings_it_up_to_date(installed):
    newer = EngineEnvironment(installed.folder.path, small_lock("2.0"))
    status = newer.check()
    assert status.state is State.OUTDATED
    assert status.usable
    assert "other packages" in status.problem
    assert newer.update().versions == {"alveole": "2.0"}
    before = listing(newer.folder.environment)
    assert newer.update().state is State.READY
    assert listing(newer.folder.environment) == before


def test_an_update_that_fails_leaves_the_old_environment_in_use(installed):
    newer = EngineEnvironment(installed.folder.path, small_lock(extra="pleura>=1\n"))
    with pytest.raises(EngineError, match="pleura") as error:
        newer.update()
    assert error.value.details["cause"] == "missing"
    assert error.value.action
    assert version_in(installed) == "1.0"
    assert installed.check().state is State.READY


@pytest.mark.parametrize("stage", ["uv", "packages"])
def test_cancelled_in_any_stage_it_can_be_repeated(tmp_path, wheels, stage):
    environment = EngineEnvironment(tmp_path / "engine", small_lock())
    reached: list[str] = []
    progress = Progress(lambda *report: reached.append(report[0]), lambda: stage in reached)
    with pytest.raises(Cancelled):
        environment.install(environment.plan(offline(wheels)), progress)
    assert environment.check().state is State.INCOMPLETE
    assert environment.install(environment.plan(offline(wheels))).state is State.READY


@pytest.mark.parametrize("damage", ["shortened", "deleted", "python", "metadata"])
def test_a_damaged_environment_is_recognised_and_repaired(installed, damage):
    (module,) = installed.folder.environment.glob("lib/*/site-packages/bronchus/__init__.py")
    if damage == "shortened":
        module.write_text("", "utf-8")
    elif damage == "deleted":
        module.unlink()
    elif damage == "python":
        installed.python.unlink()
    else:
        (module.parents[1] / "alveole-1.0.dist-info" / "METADATA").unlink()
    status = installed.check()
    assert status.state is State.DAMAGED
    assert status.action == "The environment has to be repaired."
    assert status.remedy is Remedy.REPAIR_ENVIRONMENT
    if damage in ("shortened", "deleted"):
        assert "bronchus/__init__.py" in status.problem
    assert installed.repair().state is State.READY
    assert installed.check().state is State.READY
    assert version_in(installed) == "1.0"


def test_a_damaged_uv_is_replaced(installed, wheels):
    program = program_in(installed.folder.uv)
    program.write_bytes(b"no program")
    program.chmod(0o755)
    assert installed.install(installed.plan(offline(wheels))).state is State.READY


@pytest.mark.skipif(sys.platform == "win32", reason="Windows replaces no program that runs")
def test_several_engines_share_the_folder_and_none_of_them_loses_it_to_an_installation(
    installed: EngineEnvironment,
) -> None:
    held = [installed.folder.share(), installed.folder.share()]
    for descriptor in held:
        with pytest.raises(EngineError, match="used by another Slicer"), installed.folder.exclusive():
            pass
        assert descriptor is not None
        os.close(descriptor)
    with installed.folder.exclusive(), pytest.raises(EngineError, match="Another program") as error:
        installed.folder.share()
    assert error.value.details["cause"] == "busy"


def test_a_folder_that_does_not_exist_is_not_held(tmp_path: Path) -> None:
    assert EngineEnvironment(tmp_path / "nothing").folder.share() is None


def test_two_programs_do_not_install_into_one_folder(installed, wheels):
    plan = installed.plan(offline(wheels))
    with installed.folder.exclusive(), pytest.raises(EngineError, match="Another program") as error:
        EngineEnvironment(installed.folder.path, small_lock()).install(plan)
    assert error.value.details["cause"] == "busy"
    assert installed.install(plan).state is State.READY


def test_removed_it_leaves_nothing(installed):
    assert installed.remove() == []
    assert not installed.folder.path.exists()
    assert installed.check().state is State.MISSING


def test_removing_keeps_files_of_the_user_and_does_not_follow_links(installed, tmp_path):
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "thesis.txt").write_text("mine", "utf-8")
    installed.folder.cache.symlink_to(treasure)
    (installed.folder.path / "notes.txt").write_text("mine", "utf-8")
    assert installed.remove() == ["notes.txt"]
    assert (treasure / "thesis.txt").read_text("utf-8") == "mine"


@pytest.mark.parametrize("marker", [None, "{}", '{"activeseg_environment": "1"}', "half a file"])
def test_a_folder_that_is_not_ours_is_neither_filled_nor_removed(tmp_path, wheels, marker):
    folder = tmp_path / "home"
    (folder / "environment").mkdir(parents=True)
    (folder / "environment" / "thesis.txt").write_text("mine", "utf-8")
    if marker is not None:
        (folder / MARKER).write_text(marker, "utf-8")
    environment = EngineEnvironment(folder, small_lock())
    before = listing(folder)
    with pytest.raises(InputError, match="not made by ActiveSeg"):
        environment.remove()
    with pytest.raises(InputError, match="holds other things"):
        environment.plan(offline(wheels))
    with pytest.raises(InputError, match="holds other things"), environment.folder.exclusive():
        pass
    with pytest.raises(InputError, match="holds other things"):
        environment.folder.claim({})
    assert listing(folder) == before


def test_a_python_that_the_user_has_is_used_and_never_changed(installed, tmp_path):
    theirs = installed.folder.environment
    before = listing(theirs)
    environment = EngineEnvironment(tmp_path / "other", small_lock())
    status = environment.use_existing(installed.python)
    assert status.state is State.READY
    assert status.existing
    assert environment.python == installed.python
    assert listing(theirs) == before
    with pytest.raises(InputError, match="your own"):
        environment.repair()
    assert environment.remove() == []
    assert listing(theirs) == before


def test_a_python_without_the_packages_is_refused_by_their_names(tmp_path):
    environment = EngineEnvironment(tmp_path / "engine", small_lock())
    with pytest.raises(InputError, match="alveole is missing"):
        environment.use_existing(PYTHON)
    assert environment.python is None


def test_a_python_with_other_versions_is_refused_with_the_bounds(installed, tmp_path, wheels):
    make_wheel(wheels, "alveole", "3.0", needs=("bronchus",))
    lock = small_lock()
    narrow = type(lock)("alveole>=2,<3\n", lock.pins, lock.excludes, lock.imports)
    with pytest.raises(InputError, match=r"alveole is 1\.0 \(needs >=2,<3\)"):
        EngineEnvironment(tmp_path / "other", narrow).use_existing(installed.python)


def test_a_python_whose_packages_do_not_import_is_refused(installed, tmp_path):
    (module,) = installed.folder.environment.glob("lib/*/site-packages/alveole/__init__.py")
    module.write_text("raise ImportError('DLL load failed while importing alveole')\n", "utf-8")
    with pytest.raises(EngineError, match="DLL load failed") as error:
        EngineEnvironment(tmp_path / "other", small_lock()).use_existing(installed.python)
    assert "Visual C++" in error.value.action


def test_a_plan_tells_what_an_attempt_that_was_not_completed_left(tmp_path, wheels):
    environment = EngineEnvironment(tmp_path / "engine", small_lock())
    plan, seen = environment.plan(offline(wheels)), []
    assert plan.present_bytes == 0
    with pytest.raises(Cancelled):
        environment.install(plan, Progress(lambda stage, *_: seen.append(stage), lambda: "python" in seen))
    plan = environment.plan(offline(wheels))
    assert plan.present_bytes > 1e6
    assert any("earlier attempt left" in sentence for sentence in plan.sentences())
    assert plan.to_dict()["present_bytes"] == plan.present_bytes
    environment.install(plan)
    assert environment.plan(offline(wheels)).present_bytes == 0


def test_a_plan_of_a_repair_has_the_options_of_the_installation(installed, wheels):
    assert installed.plan_again().options == offline(wheels)


def test_a_plan_of_a_repair_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="no engine's environment"):
        EngineEnvironment(tmp_path / "engine", small_lock()).plan_again()

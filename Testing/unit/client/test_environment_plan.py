"""Before an environment is made: the lock, the Python, the disk and the computer that it needs."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from installable import PYTHON, offline, small_lock

from activeseg.client.environment import interpreter, lock
from activeseg.client.environment import plan as plans
from activeseg.client.environment.environment import EngineEnvironment, Options, Source, State, default_folder
from activeseg.client.environment.lock import Lock, engine_lock
from activeseg.client.environment.plan import refuse_unknown_build
from activeseg.core.errors import EngineError, InputError

PACKAGE = Path(__file__).resolve().parents[3] / "ActiveSegExtension"


# The lock.


def test_the_bounds_are_those_of_the_project():
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["engine"]]
    assert engine_lock().bounds() == type(engine_lock())("\n".join(lines), "").bounds()


def test_the_pinned_versions_lie_within_the_bounds_and_pin_everything_that_is_asked_for():
    engine = engine_lock()
    pins = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", engine.pins, re.MULTILINE))
    assert engine.outside(pins) == []
    assert {"torch": "2.13.0", "nnunetv2": "2.8.1", "totalsegmentator": "2.18.0"}.items() <= pins.items()
    assert engine.uses_torch


def test_nothing_that_is_excluded_or_that_torch_decides_is_pinned():
    engine = engine_lock()
    pinned = set(lock.names(engine.pins))
    assert {"fury", "dipy", "pyarrow"} <= set(lock.names(engine.excludes))
    assert not pinned & set(lock.names(engine.excludes))
    assert not [name for name in pinned if name.startswith(("nvidia-", "cuda-", "triton"))]
    assert "sha256" not in engine.pins
    assert "torch" not in lock.names(engine.with_free_torch().pins)


def test_the_remedy_for_torchvision_belongs_to_the_lock():
    assert [path.name for path in engine_lock().remedy] == list(lock.REMEDY)
    assert all(path.is_file() for path in engine_lock().remedy)


def test_a_change_of_what_is_installed_changes_the_digest(tmp_path):
    remedy = tmp_path / "remedy.py"
    remedy.write_text("a", "utf-8")
    locks = [small_lock(), small_lock("2.0"), small_lock(extra="x\n"), small_lock(remedy=(remedy,))]
    digests = {each.digest for each in locks}
    remedy.write_text("b", "utf-8")
    assert len({*digests, locks[-1].digest}) == 5


@pytest.mark.parametrize(
    ("version", "specifier", "holds"),
    [
        ("2.13.0+cpu", ">=2.6,!=2.9.*,<2.14", True),
        ("2.9.1", ">=2.6,!=2.9.*,<2.14", False),
        ("2.14.0", ">=2.6,!=2.9.*,<2.14", False),
        ("2.10", ">=2.6", True),
        ("2.13.0rc1", ">=2.6,!=2.9.*,<2.14", True),
        ("2.8.1", "==2.8.*", True),
        ("2.8", "==2.8.0", True),
        ("1.4.9", "~=1.4.2", True),
        ("1.5.0", "~=1.4.2", False),
        ("3", "", True),
        ("no version", ">=1", False),
    ],
)
def test_versions_are_compared_as_numbers(version, specifier, holds):
    wrong = Lock(f"alveole{specifier}\n", "").outside({"alveole": version})
    assert wrong == ([] if holds else [f"alveole is {version} (needs {specifier})"])


def test_names_of_packages_are_compared_as_indexes_do():
    assert Lock("Alveole.Of_Lung>=1\n", "").outside({"alveole-of-lung": "2"}) == []


def test_a_python_of_the_users_may_lack_nninteractive_but_not_have_a_wrong_one():
    engine = engine_lock()
    pins = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", engine.pins, re.MULTILINE))
    assert "nninteractive" in engine.bounds()
    assert engine.outside({name: version for name, version in pins.items() if name != "nninteractive"}) == []
    assert engine.outside({**pins, "nninteractive": "1.1.5"}) == ["nninteractive is 1.1.5 (needs >=2.5.1,<3)"]
    assert {"fastapi", "uvicorn"} <= set(lock.names(engine.excludes))


# The computer and its disk.


def test_too_little_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "free_bytes", lambda folder: 10**9)
    monkeypatch.setattr(plans, "refuse_system", lambda: None)
    environment = EngineEnvironment(tmp_path / "engine")
    with pytest.raises(
        InputError, match=r"Too little disk space at .*engine': [\d.]+ GB are needed, 1\.0 GB are free"
    ) as e:
        environment.plan(Options(PYTHON, Source(torch="cpu")))
    assert "another disk" in e.value.action
    assert not (tmp_path / "engine").exists()


def test_the_disk_is_measured_where_the_folder_will_be(tmp_path):
    needed = plans.free_bytes(tmp_path / "not" / "yet") + 10**9
    with pytest.raises(InputError, match="Too little disk space"):
        plans.refuse_full_disk(tmp_path / "not" / "yet", needed)
    plans.refuse_full_disk(tmp_path / "not" / "yet", 0)


def test_a_disk_that_filled_up_since_the_plan_is_noticed_before_anything_is_installed(tmp_path, wheels, monkeypatch):
    environment = EngineEnvironment(tmp_path / "engine", small_lock())
    plan = environment.plan(offline(wheels))
    monkeypatch.setattr(plans, "free_bytes", lambda folder: 0)
    with pytest.raises(InputError, match="Too little disk space"):
        environment.install(plan)
    assert environment.check().state is State.MISSING


@pytest.mark.parametrize(
    ("torch", "system", "nvidia", "kind"),
    [
        ("auto", "linux", True, "cuda"),
        ("auto", "linux", False, "cpu"),
        ("auto", "darwin", True, "cpu"),
        ("cu130", "win32", False, "cuda"),
        ("cpu", "linux", True, "cpu"),
        ("", "linux", False, "cuda"),
        ("", "win32", True, "cpu"),
    ],
)
def test_which_build_of_torch_is_expected(torch, system, nvidia, kind):
    assert plans.expected_accelerator(torch, system, nvidia) == kind
    download, disk = plans.expected_bytes(engine_lock(), kind, True, system)
    assert 0 < download < disk < 10 * 10**9


@pytest.mark.parametrize(
    ("system", "machine", "version", "says"),
    [
        ("darwin", "x86_64", "15.0", "Intel"),
        ("darwin", "arm64", "13.6", r"macOS 13\.6"),
        ("win32", "ARM64", "", "arm64"),
        ("linux", "ppc64le", "2.36", "ppc64le"),
        ("linux", "x86_64", "2.17", r"glibc 2\.17"),
    ],
)
def test_computers_without_builds_of_torch_are_told_at_once(system, machine, version, says):
    with pytest.raises(InputError, match=says):
        plans.refuse_system(system, machine, version)


@pytest.mark.parametrize(
    ("system", "machine", "version"),
    [("darwin", "arm64", "14.0"), ("win32", "AMD64", ""), ("linux", "x86_64", "2.28"), ("linux", "aarch64", "2.36")],
)
def test_computers_with_builds_of_torch_are_accepted(system, machine, version):
    plans.refuse_system(system, machine, version)


def test_a_path_that_windows_cannot_hold_is_refused():
    long = Path("C:/Users/anna/" + "deep/" * 20)
    with pytest.raises(InputError, match="too long for Windows"):
        plans.refuse_long_path(long, "win32", long_paths=False)
    plans.refuse_long_path(long, "win32", long_paths=True)
    plans.refuse_long_path(long, "linux")
    plans.refuse_long_path(Path("C:/Users/an-ordinary-name/AppData/Local/ActiveSeg/engine"), "win32", long_paths=False)


def test_there_is_a_default_folder_of_the_user(monkeypatch):
    monkeypatch.delenv("XDG_DATA_HOME")
    assert default_folder().is_relative_to(Path.home())


def test_a_plan_of_the_engine_tells_minutes_and_that_weights_come_on_top(tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "refuse_system", lambda: None)
    monkeypatch.setattr(plans, "free_bytes", lambda folder: 10**11)
    plan = EngineEnvironment(tmp_path / "engine").plan(Options(PYTHON, Source(torch="cpu")))
    told = plan.to_dict()
    assert 1 <= told["minutes"] < plans.replace(plan, download_bytes=4 * plan.download_bytes).minutes
    assert told["mbit_per_s"] == 50
    assert told["weights_bytes"]["totalsegmentator:total-fast"] == 135_400_000
    sentences = "\n".join(plan.sentences())
    assert f"about {plan.minutes} minute" in sentences
    assert "50 Mbit/s" in sentences
    assert "135 MB for totalsegmentator:total-fast" in sentences
    assert "GiB" not in sentences


def test_without_internet_a_folder_is_needed(tmp_path):
    with pytest.raises(InputError, match="folder of wheels is needed"):
        Options(source=Source(offline=True))
    with pytest.raises(InputError, match="There is no folder"):
        Options(source=Source(wheels=tmp_path / "none"))


def test_options_are_kept_for_repair_and_update(tmp_path):
    options = Options(PYTHON, Source("https://a/", tmp_path, True, "http://p:1", "cpu"))
    assert Options.from_dict(options.to_dict()) == options
    assert Options.from_dict(Options().to_dict()) == Options()


def test_a_password_of_the_index_is_not_in_the_plan(tmp_path):
    environment = EngineEnvironment(tmp_path / "engine", small_lock())
    plan = environment.plan(Options(PYTHON, Source(index="https://anna:secret@host/simple")))
    assert "secret" not in str([plan.sentences(), plan.to_dict()])


# The Python.


def program(path: Path, text: str = "#!/bin/sh\nexit 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(0o755)
    return path


def standing_for(version: str, **more) -> str:
    """A program that answers like another Python."""
    said = {"version": version, "implementation": "CPython", "bits": 64, "gil": True, "base": "/usr", **more}
    return f"#!{PYTHON}\nimport json\nprint(json.dumps({said!r}))\n"


@pytest.mark.parametrize("name", ["bin/PythonSlicer", "bin/python-real", "lib/Python/bin/python3.12", "Slicer"])
def test_slicers_own_python_is_refused_wherever_it_lies(tmp_path, name):
    program(tmp_path / "Slicer-5.12" / "bin" / "PythonSlicer")
    path = program(tmp_path / "Slicer-5.12" / name)
    link = tmp_path / "innocent"
    link.symlink_to(path)
    for given in (path, link):
        with pytest.raises(InputError, match="Slicer's own Python"):
            interpreter.probe(given)
        with pytest.raises(InputError, match="Slicer's own Python"):
            EngineEnvironment(tmp_path / "engine", small_lock()).use_existing(given)


def test_slicers_own_python_is_recognised_by_slicers_home_on_every_system():
    assert interpreter.is_slicer("/opt/S/x/python3", {"SLICER_HOME": "/opt/S"})
    assert not interpreter.is_slicer("/usr/bin/python3", {"SLICER_HOME": "/opt/S"})
    assert interpreter.is_slicer("/anywhere/PythonSlicer.exe", {})
    assert not interpreter.is_slicer(PYTHON, {})


def test_a_virtual_environment_of_slicers_python_is_refused(tmp_path):
    program(tmp_path / "Slicer" / "bin" / "PythonSlicer")
    base = str(tmp_path / "Slicer" / "lib" / "Python")
    with pytest.raises(InputError, match="Slicer's own Python"):
        interpreter.probe(program(tmp_path / "venv" / "python", standing_for("3.12.10", base=base)))


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"version": "3.10.4"}, "is version 3.10.4"),
        ({"version": "3.14.0"}, "is version 3.14.0"),
        ({"version": "3.12.0", "implementation": "PyPy"}, "PyPy"),
        ({"version": "3.12.0", "bits": 32}, "32 bit"),
        ({"version": "3.13.0", "gil": False}, "free-threaded"),
    ],
)
def test_a_python_that_packages_have_no_builds_for_is_refused(tmp_path, said, says):
    with pytest.raises(InputError, match=says) as error:
        interpreter.probe(program(tmp_path / "python", standing_for(**said)))
    assert "3.11, 3.12 or 3.13" in error.value.action


def test_what_is_no_python_is_refused_in_words(tmp_path):
    with pytest.raises(EngineError, match="does not work as a Python: no such luck"):
        interpreter.probe(program(tmp_path / "python", "#!/bin/sh\necho no such luck >&2\nexit 3\n"))
    with pytest.raises(EngineError, match="cannot be started"):
        interpreter.probe(tmp_path / "none")


def test_the_search_path_is_looked_through_without_slicers_folders(tmp_path):
    program(tmp_path / "Slicer" / "bin" / "python3", standing_for("3.12.10"))
    program(tmp_path / "Slicer" / "bin" / "PythonSlicer")
    old = program(tmp_path / "old" / "python3.12", standing_for("3.8.1"))
    good = program(tmp_path / "good" / "python3", standing_for("3.11.9"))
    variables = {"PATH": f"{tmp_path}/Slicer/bin:{old.parent}:{good.parent}", "SLICER_HOME": str(tmp_path / "Slicer")}
    found = interpreter.on_path(variables)
    assert found is not None
    assert (found.path, found.version) == (good, "3.11.9")
    assert interpreter.on_path({"PATH": str(old.parent)}) is None


TRIPLE = interpreter.standalone_triple()
PYTHON_PROGRAM = f'#!/bin/sh\nexec {PYTHON} "$@"\n'
RUNNING = ".".join(map(str, sys.version_info[:3]))
INSIDE = f"python/bin/python3.{sys.version_info.minor}"
LIBRARY = f"python/lib/python3.{sys.version_info.minor}/_sysconfigdata__linux_{TRIPLE.partition('-')[0]}-linux-gnu.py"
VARIABLES = "# system configuration generated and used by the sysconfig module\nbuild_time_vars = {'EXE': ''}\n"
"""uv reads and corrects that file in what it unpacks."""


def archive(folder: Path, name: str, files: dict[str, str]) -> Path:
    path = folder / name
    with tarfile.open(path, "w:gz") as tar:
        for inner, text in files.items():
            info = tarfile.TarInfo(inner)
            info.size, info.mode = len(text.encode()), 0o755
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def test_the_archive_for_this_machine_is_chosen(tmp_path):
    for version, triple in [
        ("3.12.9", TRIPLE),
        ("3.12.10", TRIPLE),
        ("3.13.1", TRIPLE),
        ("3.12.11", "other"),
        ("3.14.0", TRIPLE),
    ]:
        (tmp_path / f"cpython-{version}+20260101-{triple}-install_only.tar.gz").touch()
    found = interpreter.archive_in(tmp_path)
    assert found is not None
    assert found.name.startswith("cpython-3.12.10+")
    assert interpreter.standalone_triple("win32", "AMD64") == "x86_64-pc-windows-msvc"
    assert interpreter.standalone_triple("darwin", "arm64") == "aarch64-apple-darwin"


def without_pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineEnvironment:
    """A computer on which no Python is found."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    return EngineEnvironment(tmp_path / "engine", small_lock())


@pytest.mark.skipif(sys.platform != "linux", reason="the archive that is made here is one for Linux")
def test_without_internet_the_python_comes_from_the_archive_beside_the_wheels(tmp_path, wheels, monkeypatch):
    name = f"cpython-{RUNNING}+1-{TRIPLE}-install_only.tar.gz"
    path = archive(wheels, name, {INSIDE: PYTHON_PROGRAM, LIBRARY: VARIABLES})
    (wheels / f"{name}.sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest() + "\n", "utf-8")
    environment = without_pythons(tmp_path, monkeypatch)
    plan = environment.plan(offline(wheels, python=None))
    assert name in plan.python_text
    assert environment.install(plan).state is State.READY
    assert list(environment.folder.python.glob(f"cpython-{RUNNING}-*/bin/python3*"))


def test_without_internet_and_without_a_python_it_is_told_what_to_do(tmp_path, wheels, monkeypatch):
    environment = without_pythons(tmp_path, monkeypatch)
    with pytest.raises(EngineError, match="none can be downloaded") as error:
        environment.install(environment.plan(offline(wheels, python=None)))
    assert f"{TRIPLE}-install_only.tar.gz" in error.value.action
    assert environment.check().state is State.INCOMPLETE


def test_an_archive_that_leaves_its_folder_is_refused(tmp_path, wheels, monkeypatch):
    name = f"cpython-{RUNNING}+1-{TRIPLE}-install_only.tar.gz"
    archive(wheels, name, {INSIDE: PYTHON_PROGRAM, LIBRARY: VARIABLES, "../../../escaped": "!"})
    environment = without_pythons(tmp_path, monkeypatch)
    with suppress(EngineError):  # uv leaves such a file out, or refuses the archive
        environment.install(environment.plan(offline(wheels, python=None)))
    assert not list(tmp_path.rglob("escaped"))


def test_an_archive_that_is_not_the_published_one_is_refused(tmp_path, wheels, monkeypatch):
    name = f"cpython-{RUNNING}+1-{TRIPLE}-install_only.tar.gz"
    archive(wheels, name, {INSIDE: PYTHON_PROGRAM, LIBRARY: VARIABLES})
    (wheels / f"{name}.sha256").write_text("0" * 64 + "\n", "utf-8")
    environment = without_pythons(tmp_path, monkeypatch)
    with pytest.raises(EngineError, match="could not be unpacked: a downloaded file is damaged"):
        environment.install(environment.plan(offline(wheels, python=None)))


def test_the_core_needs_nothing_but_the_standard_library_for_it():
    code = (
        "import sys, activeseg.client.environment.environment as e; "
        "print(sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE)
    for name in ("numpy", "requests", "torch", "typer", "filelock", "psutil"):
        assert f"'{name}'" not in done.stdout


@pytest.mark.parametrize("build", ["gpu", "cu130 ", "CUDA", "cu13.0"])
def test_a_build_of_torch_that_there_is_not_is_refused_before_anything_is_downloaded(build):
    with pytest.raises(InputError, match=f"no build of PyTorch called '{build}'"):
        refuse_unknown_build(build)


@pytest.mark.parametrize("build", ["auto", "cpu", "cu126", "cu130", "rocm6.4", "xpu", ""])
def test_a_build_of_torch_that_there_is_passes(build):
    refuse_unknown_build(build)

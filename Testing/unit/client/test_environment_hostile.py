"""An environment's folder that is damaged, or that somebody else has prepared."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from installable import small_lock

from activeseg.client.environment import folder as environment_folder
from activeseg.client.environment.environment import EngineEnvironment, State
from activeseg.client.environment.folder import DOWNLOADS, INSTALLED, MARKER
from activeseg.client.environment.plan import Options
from activeseg.client.environment.uv_commands import Source, uv_environment
from activeseg.core.errors import EngineError, InputError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, rights and programs of POSIX")

SECRET = "http://anna:sec%20ret@proxy:3128"


@pytest.fixture
def environment(tmp_path: Path) -> EngineEnvironment:
    """A folder of ours in which nothing is installed."""
    made = EngineEnvironment(tmp_path / "engine", small_lock())
    made.folder.claim({"options": {}, "activeseg": "1"})
    return made


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    folder = tmp_path / "treasure"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine", "utf-8")
    (folder / "thesis.txt").chmod(0o444)
    return folder


def program(path: Path, witness: Path) -> Path:
    """A program that would leave a trace."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ntouch '{witness}'\necho '{{}}'\n", "utf-8")
    path.chmod(0o755)
    return path


NAMES = ("staging", "replaced", "cache", "environment", "uv", "python")


@pytest.mark.parametrize("name", NAMES)
def test_a_link_in_place_of_a_folder_of_ours_is_removed_and_never_followed(
    environment: EngineEnvironment, treasure: Path, name: str
) -> None:
    (environment.folder.path / name).symlink_to(treasure)
    with environment.folder.exclusive():
        assert not (environment.folder.path / name).is_symlink()
    assert (treasure / "thesis.txt").read_text("utf-8") == "mine"


@pytest.mark.parametrize("name", ["install.log", "uv.toml", "packages.txt", DOWNLOADS])
def test_a_link_in_place_of_a_file_of_ours_is_not_written_through(
    environment: EngineEnvironment, treasure: Path, name: str
) -> None:
    (treasure / "thesis.txt").chmod(0o644)
    (environment.folder.path / name).symlink_to(treasure / "thesis.txt")
    with environment.folder.exclusive():
        (environment.folder.path / name).write_text("ours", "utf-8")
    assert (treasure / "thesis.txt").read_text("utf-8") == "mine"


def test_a_link_in_place_of_the_marker_is_replaced_and_not_written_through(tmp_path: Path, treasure: Path) -> None:
    (treasure / "thesis.txt").chmod(0o644)
    folder = EngineEnvironment(tmp_path / "engine", small_lock()).folder
    folder.claim({})
    (treasure / "thesis.txt").write_bytes((folder.path / MARKER).read_bytes())
    (folder.path / MARKER).unlink()
    (folder.path / MARKER).symlink_to(treasure / "thesis.txt")
    folder.claim({"more": 1})
    assert not (folder.path / MARKER).is_symlink()
    assert "more" not in (treasure / "thesis.txt").read_text("utf-8")


def test_a_marker_whose_writer_was_killed_leaves_a_folder_that_can_be_used_and_removed(
    environment: EngineEnvironment, tmp_path: Path
) -> None:
    code = (
        "import os, sys; from pathlib import Path; from activeseg.system.files import replacing\n"
        "with replacing(Path(sys.argv[1]), '.json') as fresh: fresh.write_text('half'); os._exit(1)"
    )
    new = EngineEnvironment(tmp_path / "new", small_lock())
    for folder in (environment.folder, new.folder):
        folder.path.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-c", code, str(folder.path / MARKER)], check=False)
        assert list(folder.path.glob(".activeseg-*.json"))
        folder.refuse_foreign()
        with folder.exclusive():
            assert not list(folder.path.glob(".activeseg-*.json"))
    assert environment.remove() == []
    assert not environment.folder.path.exists()


def test_a_link_in_place_of_the_lock_is_refused(environment: EngineEnvironment, treasure: Path) -> None:
    (treasure / "thesis.txt").chmod(0o644)
    (environment.folder.path / environment_folder.LOCK_FILE).symlink_to(treasure / "thesis.txt")
    with pytest.raises(EngineError, match="cannot be written"), environment.folder.exclusive():
        pass
    assert (treasure / "thesis.txt").read_text("utf-8") == "mine"


def test_removing_changes_no_rights_of_what_links_lead_to(environment: EngineEnvironment, treasure: Path) -> None:
    locked = environment.folder.environment / "locked"
    locked.mkdir(parents=True)
    (locked / "link").symlink_to(treasure / "thesis.txt")
    os.link(treasure / "thesis.txt", locked / "other name")
    locked.chmod(0o555)
    assert environment.remove() == []
    assert stat.S_IMODE((treasure / "thesis.txt").stat().st_mode) == 0o444
    path = str(locked / "link")
    locked.mkdir(parents=True)
    (locked / "link").symlink_to(treasure / "thesis.txt")
    environment_folder.make_writable(os.unlink, path, None)
    assert stat.S_IMODE((treasure / "thesis.txt").stat().st_mode) == 0o444


@pytest.mark.parametrize("length", [0, 1, 20, 26, 40, -1])
def test_a_marker_that_was_cut_off_blocks_neither_installing_nor_removing(
    environment: EngineEnvironment, length: int
) -> None:
    marker = environment.folder.path / MARKER
    whole = marker.read_text("utf-8")
    marker.write_text(whole[:length], "utf-8")
    recognised = length in (0, 40, -1) or whole[:length].lstrip().startswith('{\n "activeseg_environment": 1')
    if recognised:
        assert environment.check().state is State.INCOMPLETE
        environment.folder.refuse_foreign()
        assert environment.remove() == []
        assert not environment.folder.path.exists()
    else:
        marker.write_text("", "utf-8")
        assert environment.remove() == []


def test_an_empty_marker_beside_things_of_the_user_is_not_ours(environment: EngineEnvironment) -> None:
    (environment.folder.path / MARKER).write_text("", "utf-8")
    (environment.folder.path / "thesis.txt").write_text("mine", "utf-8")
    assert environment.check().state is State.MISSING
    with pytest.raises(InputError, match="not made by ActiveSeg"):
        environment.remove()
    assert (environment.folder.path / "thesis.txt").exists()


ODD = [7, "text", [], [1], {"a": 1}, None, True]


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("key", ["versions", "lock", "python", "base"])
def test_odd_types_in_the_record_of_what_is_installed_are_told(
    environment: EngineEnvironment, key: str, value: object
) -> None:
    folder = environment.folder.environment
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    record = {"lock": "x", "versions": {}, "python": "3.12", "base": "/usr", key: value}
    (folder / INSTALLED).write_text(json.dumps(record), "utf-8")
    status = environment.check()
    assert status.state in (State.DAMAGED, State.OUTDATED)
    assert environment.python is not None


@pytest.mark.parametrize("value", [*ODD, {"wheels": 7}, {"python": ["/x"]}, {"index": {}}], ids=repr)
@pytest.mark.parametrize("key", ["options", "existing", "activeseg"])
def test_odd_types_in_the_marker_are_told(environment: EngineEnvironment, key: str, value: object) -> None:
    content = {"activeseg_environment": 1, "options": {}, "activeseg": "1", key: value}
    (environment.folder.path / MARKER).write_text(json.dumps(content), "utf-8")
    assert not environment.check().usable
    assert environment.python is None
    with contextlib.suppress(InputError):
        assert isinstance(environment.options_of_installation(), Options)
    assert environment.remove() == []


@pytest.mark.parametrize("name", [MARKER, f"environment/{INSTALLED}"])
def test_a_pipe_in_place_of_a_record_is_not_waited_for(environment: EngineEnvironment, name: str) -> None:
    path = environment.folder.path / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    assert not environment.check().usable


def test_a_program_that_a_marker_names_is_not_started(environment: EngineEnvironment, tmp_path: Path) -> None:
    witness = tmp_path / "was started"
    evil = program(tmp_path / "evil" / "python", witness)
    environment.folder.claim({"existing": str(evil)})
    status = environment.check()
    assert status.state is State.DAMAGED
    assert "you have not chosen" in status.problem
    assert str(evil) in status.problem
    assert environment.python is None
    with pytest.raises(InputError):
        environment.update()
    assert environment.remove() == []
    assert not witness.exists()


def test_a_python_that_does_not_answer_as_one_is_told(environment: EngineEnvironment, tmp_path: Path) -> None:
    evil = program(environment.folder.environment / "bin" / "python", tmp_path / "started")
    (environment.folder.environment / INSTALLED).write_text("{}", "utf-8")
    assert evil == environment.python
    assert "does not answer" in environment.check().problem
    with pytest.raises(EngineError, match="does not answer"):
        environment.use_existing(evil)
    with pytest.raises(EngineError, match="does not answer"):
        environment.plan(Options(evil))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_drive_without_locks_is_not_told_as_another_program(
    environment: EngineEnvironment, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(environment_folder.fcntl, "flock", refuse)
    with pytest.raises(EngineError, match="cannot lock files") as caught, environment.folder.exclusive():
        pass
    assert "another drive" in caught.value.action


# Passwords.


def test_no_password_is_kept_and_what_must_be_given_again_is_told() -> None:
    options = Options(source=Source(proxy=SECRET, index="https://bert:pw@host/simple", torch="cpu"))
    record = json.dumps(options.to_dict())
    for secret in ("anna", "sec", "ret@", "bert", "pw@"):
        assert secret not in record
    again = Options.from_dict(json.loads(record))
    assert again.source.proxy == "http://proxy:3128"
    assert again.source.index == "https://host/simple"
    assert again.unknown == ("proxy", "index")
    said = "\n".join(again.password_sentences())
    assert "ACTIVESEG_PROXY" in said
    assert "ACTIVESEG_INDEX" in said
    assert Options.from_dict(again.to_dict()).unknown == ("proxy", "index")
    completed = again.completed({"ACTIVESEG_PROXY": SECRET})
    assert completed.source.proxy == SECRET
    assert completed.unknown == ("index",)


def test_an_address_without_a_password_is_kept_as_it_is() -> None:
    options = Options(source=Source(proxy="http://proxy:3128", index="https://host/simple"))
    assert Options.from_dict(options.to_dict()) == options
    assert options.password_sentences() == []


def test_the_index_and_its_password_reach_the_installer_by_a_variable_only(tmp_path: Path) -> None:
    source = Source(index="https://bert:pw@host/simple", proxy=SECRET)
    assert "pw" not in " ".join(source.arguments())
    variables = uv_environment(tmp_path, source, {}, {})
    assert variables["UV_DEFAULT_INDEX"] == source.index
    assert variables["HTTPS_PROXY"] == SECRET
